/* SPDX-License-Identifier: MIT */
/*
 * error.c - error objects. Any thread; control path only, it allocates.
 */
#include "runtime/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an error becomes when there is no memory to describe it. */
static char no_memory[] = "out of memory while describing an error";

static void PRINTF(4, 0)
error_make(struct error **err, enum error_class cls, int code, const char *fmt,
	   va_list args)
{
	struct error *e;

	assert(err && !*err);
	e = malloc(sizeof(*e));
	if (!e)
		abort();
	e->cls = cls;
	e->code = code;
	if (vasprintf(&e->text, fmt, args) < 0)
		e->text = no_memory;
	*err = e;
}

int error_set(struct error **err, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	error_make(err, ERROR_GENERIC, code, fmt, args);
	va_end(args);
	return -code;
}

int error_set_class(struct error **err, enum error_class cls, int code,
		    const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	error_make(err, cls, code, fmt, args);
	va_end(args);
	return -code;
}

void error_prefix(struct error **err, const char *fmt, ...)
{
	struct error *e = *err;
	char *prefix, *text;
	va_list args;
	int n;

	assert(e);
	va_start(args, fmt);
	n = vasprintf(&prefix, fmt, args);
	va_end(args);
	if (n < 0)
		return;
	n = asprintf(&text, "%s: %s", prefix, e->text);
	free(prefix);
	if (n < 0)
		return;
	if (e->text != no_memory)
		free(e->text);
	e->text = text;
}

void error_propagate(struct error **to, struct error **from)
{
	assert(!*to && *from);
	*to = *from;
	*from = NULL;
}

void error_clear(struct error **err)
{
	if (!*err)
		return;
	if ((*err)->text != no_memory)
		free((*err)->text);
	free(*err);
	*err = NULL;
}
