/* SPDX-License-Identifier: MIT */
/*
 * types.h - the types of what the protocol takes and gives.
 *
 * One description of each drives three things: the check of a command's
 * arguments, the meaning of a command line's words, which are all text, and
 * query-qmp-schema. Types are made once, by name, of short texts (schema.c)
 * and of the option tables of drivers and exports, and live as long as the
 * process.
 *
 * Main thread.
 */
#ifndef SERVER_TYPES_H
#define SERVER_TYPES_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/error.h"

enum type_kind {
	TYPE_STRING, TYPE_BOOL, TYPE_INT, TYPE_NUMBER, TYPE_NULL, TYPE_ANY,
	TYPE_SIZE,	/* an integer; as text also "64k" */
	/* An integer from 0 to `most`. Below 2^63 JSON is what it says; what
	 * is more has the bits of a negative one, which the storage daemon
	 * takes for it too. As text also "64k". */
	TYPE_UINT,
	TYPE_ENUM,
	TYPE_ARRAY,
	TYPE_OBJECT,
	TYPE_ALTERNATE,	/* one of several, told apart by their JSON */
};

struct member {
	const char *name;
	const struct type *type;
	bool optional;
	const char *help;	/* or NULL */
};

struct variant {
	const char *value;	/* of the tag */
	const struct type *type;
};

struct type {
	enum type_kind kind;
	const char *name;
	const char **values;		/* TYPE_ENUM */
	const struct type *element;	/* TYPE_ARRAY */
	struct member *members;		/* TYPE_OBJECT; TYPE_ALTERNATE: types */
	const char *tag;		/* member that says which variant */
	const char *tag_default;	/* where it may be absent; or NULL */
	struct variant *variants;	/* the object's further members */
	uint64_t most;			/* TYPE_UINT */
	unsigned value_count, member_count, variant_count;
	struct type *next;
};

/* By name; makes it, still empty, when there is none: types refer to each
 * other. */
struct type *type_named(const char *name);
/* "str", "[str]", "NAME"; the array type is made. */
const struct type *type_parse(const char *text);
void type_add_value(struct type *type, const char *value);
/* The member is good until the next is added. */
struct member *type_add_member(struct type *type, const char *name,
			       const struct type *of, bool optional);
void type_add_variant(struct type *type, const char *value,
		      const struct type *of);
/* "id:str mode?:Mode force?:bool" */
void type_add_members(struct type *type, const char *text);

enum type_source {
	FROM_JSON,	/* types as they are */
	FROM_TEXT,	/* a command line: all of it is text */
};

/*
 * Whether *value, a member `name` or the arguments themselves (name NULL), is
 * of the type; else *err, in the words that clients of the protocol know.
 * From text it is converted, in place where it is an object or an array.
 */
bool type_check(const struct type *type, const char *name, json_t **value,
		enum type_source source, struct error **err) MUST_CHECK;

#endif
