/* SPDX-License-Identifier: MIT */
/*
 * magic.h - what image format a file's bytes say that it has: the one table of
 * all that we know by sight, read by us or not. Any thread.
 */
#ifndef GRAPH_MAGIC_H
#define GRAPH_MAGIC_H

#include "runtime/compiler.h"

/* How much of the start, and of the end, of a file says it. */
#define MAGIC_BYTES 512u

struct magic {
	const char *name;	/* "VDI", for users */
	const char *format;	/* the driver that reads it; NULL: none does */
};

/* Of the first MAGIC_BYTES, zeroes behind the end of a shorter file; NULL: of
 * nothing that is known. */
const struct magic *magic_of_start(const unsigned char *bytes);
/* The same of the last MAGIC_BYTES of a file that has as many. */
const struct magic *magic_of_end(const unsigned char *bytes);

#endif
