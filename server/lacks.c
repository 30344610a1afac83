/* SPDX-License-Identifier: MIT */
/*
 * lacks.c - see lacks.h. Main thread.
 */
#include "server/lacks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/log.h"

/* Each is noted once, as the process starts. */
#define LACKS_MAX 8

static char *lacks[LACKS_MAX];
static unsigned lacks_count;

void lacks_note(const char *fmt, ...)
{
	va_list args;

	assert(lacks_count < LACKS_MAX);
	va_start(args, fmt);
	if (vasprintf(&lacks[lacks_count], fmt, args) >= 0)
		lacks_count++;
	va_end(args);
}

void lacks_tell(void)
{
	for (unsigned i = 0; i < lacks_count; i++) {
		log_write(LOG_WARNING, "%s", lacks[i]);
		free(lacks[i]);
	}
	lacks_count = 0;
}
