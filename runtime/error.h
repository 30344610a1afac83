/* SPDX-License-Identifier: MIT */
/*
 * error.h - the error object of the control path (A20).
 *
 * A function that can fail on the control path takes `struct error **err` and
 * returns a negative errno, false or NULL. On failure it sets *err exactly
 * once to one sentence that names the object and the value; on success it does
 * not touch it. err itself is never NULL. The caller owns the object.
 */
#ifndef RUNTIME_ERROR_H
#define RUNTIME_ERROR_H

#include "runtime/compiler.h"

/* classes as the control protocol names them */
enum error_class {
	ERROR_GENERIC,
	ERROR_COMMAND_NOT_FOUND,
	ERROR_DEVICE_NOT_FOUND,
	ERROR_KVM_MISSING_CAP,	/* never set; keeps the protocol's list whole */
};

struct error {
	enum error_class cls;
	int code;	/* errno, positive; 0 where none fits */
	char *text;	/* one sentence, no final full stop */
	size_t added;	/* bytes of it, the last, that error_add gave */
};

/* Sets *err and returns -code (so `return error_set(...)` reads well). */
int error_set(struct error **err, int code, const char *fmt, ...)
	PRINTF(3, 4);
int error_set_class(struct error **err, enum error_class cls, int code,
		    const char *fmt, ...) PRINTF(4, 5);
/*
 * Lengthens the sentence of an error that is set by what only people are told:
 * in the control protocol the text is another's, and who compares it must find
 * it as it is there (A21). Returns as error_set does.
 */
int error_add(struct error **err, const char *fmt, ...) PRINTF(2, 3);
/* Puts "prefix: " before the sentence of an error that is set. */
void error_prefix(struct error **err, const char *fmt, ...) PRINTF(2, 3);
/* Moves *from to *to; *to must be unset. */
void error_propagate(struct error **to, struct error **from);
/* Frees *err and clears it; harmless when unset. */
void error_clear(struct error **err);
#define CLEANUP_ERROR CLEANUP(error_clear)

#endif
