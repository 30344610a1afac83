/* SPDX-License-Identifier: MIT */
/*
 * types.c - the types of what the protocol takes and gives. Main thread.
 */
#include "server/types.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- making them ---------------------------------------------------------- */

static struct type builtin[] = {
	{ .kind = TYPE_STRING, .name = "str" },
	{ .kind = TYPE_BOOL, .name = "bool" },
	{ .kind = TYPE_INT, .name = "int" },
	{ .kind = TYPE_NUMBER, .name = "number" },
	{ .kind = TYPE_NULL, .name = "null" },
	{ .kind = TYPE_ANY, .name = "any" },
	{ .kind = TYPE_SIZE, .name = "size" },
	{ .kind = TYPE_UINT, .name = "uint16", .most = UINT16_MAX },
	{ .kind = TYPE_UINT, .name = "uint32", .most = UINT32_MAX },
	{ .kind = TYPE_UINT, .name = "uint64", .most = UINT64_MAX },
};

static struct type *types, **last_type = &types;

static void *or_abort(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static void type_start(void)
{
	if (types)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(builtin); i++) {
		*last_type = &builtin[i];
		last_type = &builtin[i].next;
	}
}

struct type *type_named(const char *name)
{
	struct type *type;

	type_start();
	for (type = types; type; type = type->next)
		if (!strcmp(type->name, name))
			return type;
	type = or_abort(calloc(1, sizeof(*type)));
	type->kind = TYPE_OBJECT;
	type->name = or_abort(strdup(name));
	*last_type = type;
	last_type = &type->next;
	return type;
}

const struct type *type_parse(const char *text)
{
	struct type *type = type_named(text);
	char *element;

	if (text[0] != '[' || type->kind == TYPE_ARRAY)
		return type;
	element = or_abort(strndup(text + 1, strlen(text) - 2));
	type->kind = TYPE_ARRAY;
	type->element = type_parse(element);
	free(element);
	return type;
}

static void *one_more(void *list, unsigned count, size_t size)
{
	return or_abort(reallocarray(list, count + 1, size));
}

void type_add_value(struct type *type, const char *value)
{
	type->kind = TYPE_ENUM;
	type->values = one_more(type->values, type->value_count,
				sizeof(*type->values));
	type->values[type->value_count++] = or_abort(strdup(value));
}

struct member *type_add_member(struct type *type, const char *name,
			       const struct type *of, bool optional)
{
	struct member *m;

	type->members = one_more(type->members, type->member_count,
				 sizeof(*type->members));
	m = &type->members[type->member_count++];
	*m = (struct member){ or_abort(strdup(name)), of, optional, NULL };
	return m;
}

void type_add_variant(struct type *type, const char *value,
		      const struct type *of)
{
	type->variants = one_more(type->variants, type->variant_count,
				  sizeof(*type->variants));
	type->variants[type->variant_count++] = (struct variant){
		or_abort(strdup(value)), of };
}

void type_add_members(struct type *type, const char *text)
{
	char *copy = or_abort(strdup(text)), *rest, *word, *colon;

	for (word = strtok_r(copy, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		bool optional;

		colon = strchr(word, ':');
		assert(colon && colon > word);
		optional = colon[-1] == '?';
		colon[optional ? -1 : 0] = 0;
		type_add_member(type, word, type_parse(colon + 1), optional);
	}
	free(copy);
}

/* --- checking ------------------------------------------------------------- */

/* The check recurses on a coroutine's stack. */
#define NESTING_MAX 32

struct check {
	enum type_source source;
	struct error **err;
	unsigned depth;
};

/* Where in the arguments a value is: "file.cache", "enable[0]". */
struct place {
	const struct place *up;
	const char *name;	/* NULL: `index` of an array */
	size_t index;
};

static void place_write(FILE *out, const struct place *at)
{
	if (at->up)
		place_write(out, at->up);
	if (!at->name)
		fprintf(out, "[%zu]", at->index);
	else
		fprintf(out, "%s%s", at->up ? "." : "", at->name);
}

static char *place_text(const struct place *at)
{
	char *text = NULL;
	size_t size;
	FILE *out = or_abort(open_memstream(&text, &size));

	if (at)
		place_write(out, at);
	fclose(out);
	return or_abort(text);
}

/* "BEFORE", where it is, "AFTER". */
static bool fail(struct check *c, const struct place *at, const char *before,
		 const char *after)
{
	char *where = place_text(at);

	error_set(c->err, EINVAL, "%s '%s%s", before, where, after);
	free(where);
	return false;
}

static bool bad_type(struct check *c, const struct place *at,
		     const char *expected)
{
	char *where = place_text(at);

	error_set(c->err, EINVAL, "Invalid parameter type for '%s', expected: "
		  "%s", where, expected);
	free(where);
	return false;
}

static bool check_value(struct check *c, const struct type *type,
			const struct place *at, json_t **value);

static const char *const kind_names[] = {
	[TYPE_STRING] = "string", [TYPE_BOOL] = "boolean",
	[TYPE_INT] = "integer", [TYPE_SIZE] = "integer",
	[TYPE_UINT] = "integer",
	[TYPE_NUMBER] = "number", [TYPE_NULL] = "null",
	[TYPE_ENUM] = "string", [TYPE_ARRAY] = "array",
	[TYPE_OBJECT] = "object",
};

static bool json_has_kind(enum type_kind kind, const json_t *value)
{
	switch (kind) {
	case TYPE_STRING:
	case TYPE_ENUM:
		return json_is_string(value);
	case TYPE_BOOL:
		return json_is_boolean(value);
	case TYPE_INT:
	case TYPE_SIZE:
	case TYPE_UINT:
		return json_is_integer(value);
	case TYPE_NUMBER:
		return json_is_number(value);
	case TYPE_NULL:
		return json_is_null(value);
	case TYPE_ARRAY:
		return json_is_array(value);
	case TYPE_OBJECT:
		return json_is_object(value);
	case TYPE_ANY:
	case TYPE_ALTERNATE:
		break;
	}
	return true;
}

static bool text_bool(const char *text, json_t **out)
{
	static const char *const on[] = { "on", "yes", "true", "y" };
	static const char *const off[] = { "off", "no", "false", "n" };

	for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
		if (!strcmp(text, on[i]))
			*out = json_true();
		if (!strcmp(text, off[i]))
			*out = json_false();
	}
	return *out;
}

/* A size's letter, as a shift; false: it is none. */
static bool text_unit(const char *end, unsigned *shift)
{
	static const char units[] = "bkmgtpe";
	const char *unit = *end ? strchr(units, *end | 0x20) : units;

	*shift = unit ? 10 * (unsigned)(unit - units) : 0;
	return unit && (!*end || !end[1]);
}

static bool text_int(const char *text, bool size, json_t **out)
{
	unsigned shift = 0;
	intmax_t n;
	char *end;

	errno = 0;
	n = strtoimax(text, &end, 0);
	if (errno || end == text || (*end && !size) ||
	    (size && !text_unit(end, &shift)))
		return false;
	if (shift && (n < 0 || n > INT64_MAX >> shift))
		return false;
	*out = json_integer((json_int_t)((uint64_t)n << shift));
	return true;
}

/* What a word of the command line means where this is expected. */
static bool convert(struct check *c, const struct type *type,
		    const struct place *at, json_t **value)
{
	const char *text = json_string_value(*value);
	json_t *meant = NULL;

	if (type->kind == TYPE_BOOL && !text_bool(text, &meant))
		return fail(c, at, "Parameter", "' expects 'on' or 'off'");
	if ((type->kind == TYPE_INT || type->kind == TYPE_SIZE ||
	     type->kind == TYPE_UINT) &&
	    !text_int(text, type->kind != TYPE_INT, &meant))
		return fail(c, at, "Parameter", "' expects integer");
	if (!meant)
		return true;
	json_decref(*value);
	*value = meant;
	return true;
}

/* In some of its texts the storage daemon has not the whole way, but the last
 * name, if there is one. */
static const char *last_name(const struct place *at)
{
	return at && at->name ? at->name : "null";
}

static bool check_enum(struct check *c, const struct type *type,
		       const struct place *at, const json_t *value)
{
	const char *given = json_string_value(value);

	for (unsigned i = 0; i < type->value_count; i++)
		if (!strcmp(type->values[i], given))
			return true;
	error_set(c->err, EINVAL, "Parameter '%s' does not accept value '%s'",
		  last_name(at), given);
	return false;
}

static bool check_uint(struct check *c, const struct type *type,
		       const struct place *at, const json_t *value)
{
	if ((uint64_t)json_integer_value(value) <= type->most)
		return true;
	error_set(c->err, EINVAL, "Parameter '%s' expects %s_t", last_name(at),
		  type->name);
	return false;
}

static bool check_array(struct check *c, const struct type *type,
			const struct place *at, json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *item = json_incref(json_array_get(list, i));
		struct place here = { .up = at, .index = i };
		bool ok = check_value(c, type->element, &here, &item);

		json_array_set_new(list, i, item);
		if (!ok)
			return false;
	}
	return true;
}

static bool check_member(struct check *c, const struct member *m,
			 const struct place *at, json_t *object)
{
	json_t *value = json_incref(json_object_get(object, m->name));
	struct place here = { .up = at, .name = m->name };
	bool ok;

	if (!value)
		return m->optional ||
			fail(c, &here, "Parameter", "' is missing");
	ok = check_value(c, m->type, &here, &value);
	json_object_set_new(object, m->name, value);
	return ok;
}

static const struct type *find_variant(const struct type *type,
				       const json_t *object)
{
	const char *tag = type->tag ?
		json_string_value(json_object_get(object, type->tag)) : NULL;

	if (!tag)
		tag = type->tag_default;

	for (unsigned i = 0; tag && i < type->variant_count; i++)
		if (!strcmp(type->variants[i].value, tag))
			return type->variants[i].type;
	return NULL;
}

static bool has_member(const struct type *type, const char *name)
{
	for (unsigned i = 0; type && i < type->member_count; i++)
		if (!strcmp(type->members[i].name, name))
			return true;
	return false;
}

static bool check_members(struct check *c, const struct type *type,
			  const struct place *at, json_t *object)
{
	for (unsigned i = 0; type && i < type->member_count; i++)
		if (!check_member(c, &type->members[i], at, object))
			return false;
	return true;
}

static bool check_object(struct check *c, const struct type *type,
			 const struct place *at, json_t *object)
{
	const struct type *variant = NULL;
	const char *name;
	json_t *value;

	if (!check_members(c, type, at, object))
		return false;
	variant = find_variant(type, object);
	if (!check_members(c, variant, at, object))
		return false;
	json_object_foreach(object, name, value) {
		struct place here = { .up = at, .name = name };

		if (has_member(type, name) || has_member(variant, name))
			continue;
		if (c->source == FROM_TEXT && !json_is_string(value))
			return fail(c, &here, "Parameters",
				    ".*' are unexpected");
		return fail(c, &here, "Parameter", "' is unexpected");
	}
	return true;
}

static bool check_nested(struct check *c, const struct type *type,
			 const struct place *at, json_t *object)
{
	bool ok;

	if (c->depth++ == NESTING_MAX) {
		error_set(c->err, E2BIG, "Arguments are nested deeper than %d "
			  "levels", NESTING_MAX);
		return false;
	}
	ok = check_object(c, type, at, object);
	c->depth--;
	return ok;
}

static bool check_alternate(struct check *c, const struct type *type,
			    const struct place *at, json_t **value)
{
	for (unsigned i = 0; i < type->member_count; i++) {
		const struct type *of = type->members[i].type;

		if (json_has_kind(of->kind, *value))
			return check_value(c, of, at, value);
	}
	error_set(c->err, EINVAL, "Invalid parameter type for '%s', expected: "
		  "%s", last_name(at), type->name);
	return false;
}

static bool check_value(struct check *c, const struct type *type,
			const struct place *at, json_t **value)
{
	bool scalar = type->kind != TYPE_OBJECT && type->kind != TYPE_ARRAY &&
		type->kind != TYPE_ALTERNATE && type->kind != TYPE_ANY;

	if (type->kind == TYPE_ALTERNATE)
		return check_alternate(c, type, at, value);
	if (c->source == FROM_TEXT && scalar && !json_is_string(*value))
		return fail(c, at, "Parameters", ".*' are unexpected");
	if (c->source == FROM_TEXT && scalar && !convert(c, type, at, value))
		return false;
	if (!json_has_kind(type->kind, *value))
		return type->kind == TYPE_UINT ?
			fail(c, at, "Parameter", "' expects uint64") :
			bad_type(c, at, kind_names[type->kind]);
	if (type->kind == TYPE_UINT)
		return check_uint(c, type, at, *value);
	if (json_is_string(*value) &&
	    strlen(json_string_value(*value)) != json_string_length(*value))
		return fail(c, at, "Parameter", "' contains a zero byte");
	if (type->kind == TYPE_ENUM)
		return check_enum(c, type, at, *value);
	if (type->kind == TYPE_ARRAY)
		return check_array(c, type, at, *value);
	if (type->kind == TYPE_OBJECT)
		return check_nested(c, type, at, *value);
	return true;
}

bool type_check(const struct type *type, const char *name, json_t **value,
		enum type_source source, struct error **err)
{
	struct check c = { source, err, 0 };
	struct place at = { .name = name };

	return check_value(&c, type, name ? &at : NULL, value);
}
