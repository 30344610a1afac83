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
	e->added = 0;
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

/* Takes the place of the text; NULL: there was no memory, it stays. */
static void error_reword(struct error *e, char *text)
{
	if (!text)
		return;
	if (e->text != no_memory)
		free(e->text);
	e->text = text;
}

/* NULL: there is no memory. */
static char *PRINTF(1, 0) error_words(const char *fmt, va_list args)
{
	char *words;

	return vasprintf(&words, fmt, args) < 0 ? NULL : words;
}

void error_prefix(struct error **err, const char *fmt, ...)
{
	struct error *e = *err;
	char *prefix, *text = NULL;
	va_list args;

	assert(e);
	va_start(args, fmt);
	prefix = error_words(fmt, args);
	va_end(args);
	if (!prefix || asprintf(&text, "%s: %s", prefix, e->text) < 0)
		text = NULL;
	free(prefix);
	error_reword(e, text);
}

int error_add(struct error **err, const char *fmt, ...)
{
	struct error *e = *err;
	char *more, *text = NULL;
	va_list args;

	assert(e);
	va_start(args, fmt);
	more = error_words(fmt, args);
	va_end(args);
	if (more && asprintf(&text, "%s%s", e->text, more) < 0)
		text = NULL;
	if (text)
		e->added += strlen(more);
	free(more);
	error_reword(e, text);
	return -e->code;
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
