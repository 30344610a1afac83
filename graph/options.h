/* SPDX-License-Identifier: MIT */
/*
 * options.h - option tables: one table drives parsing, checking, help and the
 * schema. Options come as JSON objects, as the control protocol has them.
 */
#ifndef GRAPH_OPTIONS_H
#define GRAPH_OPTIONS_H

#include <stdbool.h>

#include "runtime/error.h"

struct json_t;

enum option_type {
	OPT_STRING,	/* char *, owned by the struct */
	OPT_BOOL,	/* bool */
	OPT_SIZE,	/* uint64_t, bytes; a number, or "64k" as text */
	OPT_UINT,	/* uint32_t */
	/* uint64_t, whatever 64 bits say: the protocol takes -1 for 2^64-1,
	 * and who reads the option refuses what cannot be */
	OPT_UINT64,
	OPT_INT64,	/* the same, but that the schema calls it signed */
	OPT_ENUM,	/* int: index in values */
	OPT_FLAGS,	/* uint32_t: a bit for each value of a list */
	OPT_LIST,	/* struct option_list, of objects */
};

/* Owned by the struct that it is part of. */
struct option_list {
	void *items;
	size_t count;
};

struct option {
	const char *name;
	enum option_type type;
	size_t offset;		/* in the struct that is filled */
	const char *def;	/* default as text; NULL: zero, or required */
	bool required;
	const char *const *values;	/* of ENUM, FLAGS; ends with NULL */
	const struct option *members;	/* OPT_LIST: of each item */
	size_t item_size;		/* bytes of the struct they fill */
	uint64_t lowest, highest;	/* of numbers; both 0: any */
	bool secret;		/* queries do not show its value */
	bool changes;		/* also by reopening */
	bool strong;		/* says what is seen: part of a node's name */
	const char *help;
};

/*
 * Fills `out` from the members of `object` that the table names and removes
 * them from the object, so that what is left over can be refused with its
 * name. Negative errno, *err set, and out empty, on a bad value.
 */
int options_parse(struct json_t *object, const struct option *table,
		  const char *what, void *out, struct error **err) MUST_CHECK;
/* Those members of the object that the table names, before options_parse takes
 * them out: the rest is what it is by default, also in a later version. New
 * reference. */
struct json_t *options_given(struct json_t *object, const struct option *table);
/* One as JSON, as options_parse takes it; new reference. NULL: a string that
 * was not given. */
struct json_t *option_value(const struct option *opt, const void *opts);
/* All of them. New reference. */
struct json_t *options_describe(const struct option *table, const void *opts);
/* The first option in which two structs differ; NULL: none. fixed: of those
 * that cannot change while the node is open only. */
const char *options_differ(const struct option *table, const void *a,
			   const void *b, bool fixed);
void options_free(const struct option *table, void *out);
/* What no table took is refused by its name. */
int options_refuse_rest(struct json_t *object, struct error **err) MUST_CHECK;

#endif
