/* SPDX-License-Identifier: MIT */
/*
 * options.c - fills structs from JSON objects by option tables.
 *
 * Control plane, any thread. What a table does not name stays in the object,
 * so that whoever parsed last refuses it by name.
 */
#include "graph/options.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"

static int option_bad_type(const struct option *opt, struct error **err)
{
	const char *expected = "string";

	if (opt->type == OPT_BOOL)
		expected = "boolean";
	else if (opt->type == OPT_SIZE)
		expected = "size";
	else if (opt->type == OPT_FLAGS || opt->type == OPT_LIST)
		expected = "array";
	else if (opt->type != OPT_STRING && opt->type != OPT_ENUM)
		expected = "integer";
	return error_set(err, EINVAL,
			 "Invalid parameter type for '%s', expected: %s",
			 opt->name, expected);
}

static bool option_unit(const char *end, unsigned *shift)
{
	static const char units[] = "kmgtpe";
	const char *unit;

	*shift = 0;
	if (*end == '\0' || !strcmp(end, "b") || !strcmp(end, "B"))
		return true;
	unit = strchr(units, *end | 0x20);
	if (!unit || end[1] != '\0')
		return false;
	*shift = 10 * ((unsigned)(unit - units) + 1);
	return true;
}

/* "65536", "0x10000", "64k"; false when it is none or does not fit. */
static bool option_number(const char *text, uint64_t *out)
{
	unsigned shift;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 0);
	if (errno || !option_unit(end, &shift))
		return false;
	if (shift && *out > UINT64_MAX >> shift)
		return false;
	*out <<= shift;
	return true;
}

static int option_check_range(const struct option *opt, uint64_t n,
			      struct error **err)
{
	uint64_t highest = opt->highest;

	if (!highest && !opt->lowest)
		highest = opt->type == OPT_UINT ? UINT32_MAX : UINT64_MAX;
	if (n < opt->lowest || n > highest)
		return error_set(err, EINVAL,
			"Parameter '%s' is %" PRIu64 ", but must be from %"
			PRIu64 " to %" PRIu64, opt->name, n, opt->lowest,
			highest);
	return 0;
}

static int option_set_number(const struct option *opt, uint64_t n, char *out,
			     struct error **err)
{
	int ret = option_check_range(opt, n, err);

	if (ret < 0)
		return ret;
	if (opt->type == OPT_UINT)
		*(uint32_t *)(void *)(out + opt->offset) = (uint32_t)n;
	else
		*(uint64_t *)(void *)(out + opt->offset) = n;
	return 0;
}

/* The value's index, or a negative errno. */
static int option_index(const struct option *opt, const char *text,
			struct error **err)
{
	for (int i = 0; opt->values[i]; i++)
		if (!strcmp(opt->values[i], text))
			return i;
	return error_set(err, EINVAL,
			 "Parameter '%s' does not accept value '%s'",
			 opt->name, text);
}

static int option_set_enum(const struct option *opt, const char *text,
			   char *out, struct error **err)
{
	int i = option_index(opt, text, err);

	if (i < 0)
		return i;
	*(int *)(void *)(out + opt->offset) = i;
	return 0;
}

static int option_set_flags(const struct option *opt, const json_t *array,
			    char *out, struct error **err)
{
	uint32_t *flags = (void *)(out + opt->offset);

	for (size_t n = 0; n < json_array_size(array); n++) {
		const json_t *value = json_array_get(array, n);
		int i;

		if (!json_is_string(value))
			return option_bad_type(opt, err);
		i = option_index(opt, json_string_value(value), err);
		if (i < 0)
			return i;
		*flags |= 1u << i;
	}
	return 0;
}

/* What is wrong with an item is said of the item. */
static int option_set_list(const struct option *opt, const json_t *array,
			   char *out, struct error **err)
{
	struct option_list *list = (void *)(out + opt->offset);
	size_t count = json_array_size(array);
	int ret = 0;

	list->items = calloc(count ? count : 1, opt->item_size);
	if (!list->items)
		abort();
	while (ret == 0 && list->count < count) {
		json_auto_t *item = json_deep_copy(json_array_get(array,
							list->count));
		char *to = (char *)list->items + list->count * opt->item_size;

		if (!json_is_object(item))
			return error_set(err, EINVAL, "Invalid parameter type"
					 " for '%s', expected: object",
					 opt->name);
		ret = options_parse(item, opt->members, opt->name, to, err);
		if (ret < 0)
			return ret;
		list->count++;
		ret = options_refuse_rest(item, err);
	}
	return ret;
}

static int option_set_bool(const struct option *opt, const char *text,
			   char *out, struct error **err)
{
	bool on = !strcmp(text, "on") || !strcmp(text, "true");

	if (!on && strcmp(text, "off") && strcmp(text, "false"))
		return option_bad_type(opt, err);
	*(bool *)(out + opt->offset) = on;
	return 0;
}

static int option_set_text(const struct option *opt, const char *text,
			   char *out, struct error **err)
{
	uint64_t n;
	char *copy;

	switch (opt->type) {
	case OPT_STRING:
		copy = strdup(text);
		if (!copy)
			abort();
		*(char **)(void *)(out + opt->offset) = copy;
		return 0;
	case OPT_BOOL:
		return option_set_bool(opt, text, out, err);
	case OPT_ENUM:
		return option_set_enum(opt, text, out, err);
	case OPT_SIZE:
	case OPT_UINT:
	case OPT_UINT64:
	case OPT_INT64:
		if (!option_number(text, &n))
			return error_set(err, EINVAL,
					 "Parameter '%s' expects a size, not"
					 " '%s'", opt->name, text);
		return option_set_number(opt, n, out, err);
	case OPT_FLAGS:
	case OPT_LIST:
		break;
	}
	return option_bad_type(opt, err);
}

static int option_set_json(const struct option *opt, const json_t *value,
			   char *out, struct error **err)
{
	if (json_is_string(value) && strlen(json_string_value(value)) !=
	    json_string_length(value))
		return error_set(err, EINVAL,
				 "Parameter '%s' contains a zero byte",
				 opt->name);
	/* booleans and enums also as text: command lines have nothing else */
	if (json_is_string(value))
		return option_set_text(opt, json_string_value(value), out,
				       err);
	if (json_is_boolean(value) && opt->type == OPT_BOOL) {
		*(bool *)(out + opt->offset) = json_is_true(value);
		return 0;
	}
	if (json_is_array(value) && opt->type == OPT_FLAGS)
		return option_set_flags(opt, value, out, err);
	if (json_is_array(value) && opt->type == OPT_LIST)
		return option_set_list(opt, value, out, err);
	if (!json_is_integer(value) || opt->type == OPT_STRING ||
	    opt->type == OPT_BOOL || opt->type >= OPT_ENUM)
		return option_bad_type(opt, err);
	if (json_integer_value(value) < 0 && opt->type != OPT_UINT64 &&
	    opt->type != OPT_INT64)
		return error_set(err, EINVAL, "Parameter '%s' expects a "
				 "non-negative number below 2^64", opt->name);
	return option_set_number(opt, (uint64_t)json_integer_value(value), out,
				 err);
}

static int option_parse(json_t *object, const struct option *opt,
			const char *what, char *out, struct error **err)
{
	json_t *value = json_object_get(object, opt->name);
	int ret;

	if (!value && opt->required)
		return error_set(err, EINVAL, "Parameter '%s' is missing",
				 opt->name);
	if (!value)
		ret = opt->def ? option_set_text(opt, opt->def, out, err) : 0;
	else
		ret = option_set_json(opt, value, out, err);
	if (ret < 0 && what)
		error_prefix(err, "%s", what);
	if (value)
		json_object_del(object, opt->name);
	return ret;
}

int options_parse(json_t *object, const struct option *table, const char *what,
		  void *out, struct error **err)
{
	const struct option *opt;
	int ret;

	for (opt = table; opt && opt->name; opt++) {
		ret = option_parse(object, opt, what, out, err);
		if (ret < 0) {
			options_free(table, out);
			return ret;
		}
	}
	return 0;
}

json_t *options_given(json_t *object, const struct option *table)
{
	json_t *given = json_object();

	for (; table && table->name; table++) {
		json_t *value = json_object_get(object, table->name);

		if (value)
			json_object_set(given, table->name, value);
	}
	return given;
}

static json_t *flags_value(const struct option *opt, uint32_t flags)
{
	json_t *array = json_array();

	for (unsigned i = 0; opt->values[i]; i++)
		if (flags >> i & 1)
			json_array_append_new(array,
					      json_string(opt->values[i]));
	return array;
}

static json_t *list_value(const struct option *opt,
			  const struct option_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, options_describe(opt->members,
			(const char *)list->items + i * opt->item_size));
	return array;
}

json_t *option_value(const struct option *opt, const void *opts)
{
	const void *at = (const char *)opts + opt->offset;
	const char *text;

	switch (opt->type) {
	case OPT_STRING:
		text = *(char *const *)at;
		return text ? json_text(text) : NULL;
	case OPT_BOOL:
		return json_boolean(*(const bool *)at);
	case OPT_SIZE:
	case OPT_UINT64:
	case OPT_INT64:
		return json_integer((json_int_t)*(const uint64_t *)at);
	case OPT_UINT:
		return json_integer(*(const uint32_t *)at);
	case OPT_ENUM:
		return json_string(opt->values[*(const int *)at]);
	case OPT_FLAGS:
		return flags_value(opt, *(const uint32_t *)at);
	case OPT_LIST:
		return list_value(opt, at);
	}
	return NULL;
}

json_t *options_describe(const struct option *table, const void *opts)
{
	json_t *object = json_object();

	for (; table && table->name; table++) {
		json_t *value = option_value(table, opts);

		if (value)
			json_object_set_new(object, table->name, value);
	}
	return object;
}

static bool option_differs(const struct option *opt, const void *a,
			   const void *b)
{
	json_t *x = option_value(opt, a), *y = option_value(opt, b);
	bool differs = x && y ? !json_equal(x, y) : x != y;

	json_decref(x);
	json_decref(y);
	return differs;
}

const char *options_differ(const struct option *table, const void *a,
			   const void *b, bool fixed)
{
	for (; table && table->name; table++)
		if (!(fixed && table->changes) && option_differs(table, a, b))
			return table->name;
	return NULL;
}

static void list_free(const struct option *opt, struct option_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		options_free(opt->members,
			     (char *)list->items + i * opt->item_size);
	free(list->items);
	*list = (struct option_list){};
}

void options_free(const struct option *table, void *out)
{
	const struct option *opt;
	char *base = out;

	if (!out)
		return;
	for (opt = table; opt && opt->name; opt++) {
		void *at = base + opt->offset;

		if (opt->type == OPT_STRING) {
			free(*(char **)at);
			*(char **)at = NULL;
		} else if (opt->type == OPT_LIST) {
			list_free(opt, at);
		}
	}
}

int options_refuse_rest(json_t *object, struct error **err)
{
	void *iter = json_object_iter(object);

	if (!iter)
		return 0;
	return error_set(err, EINVAL, "Parameter '%s' is unexpected",
			 json_object_iter_key(iter));
}
