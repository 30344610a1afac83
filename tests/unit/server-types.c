/* SPDX-License-Identifier: MIT */
/*
 * server-types.c - types of arguments: checked as JSON, converted from the
 * text of a command line (A21).
 */
#include "tests/lib/suite.h"

#include <stdlib.h>
#include <string.h>

#include "server/types.h"

static const struct type *top(void)
{
	static struct type *type;
	struct type *base;

	if (type)
		return type;
	type = type_named("Top");
	type_add_value(type_named("Kind"), "one");
	type_add_value(type_named("Kind"), "two");
	type_add_members(type_named("One"), "file:Ref size?:size");
	type_add_members(type_named("Two"), "list?:[int]");
	type_add_members(type_named("Cache"), "direct?:bool");
	type_add_members(type_named("Ref"), "name:str options:Top none:null");
	type_named("Ref")->kind = TYPE_ALTERNATE;
	base = type;
	base->tag = "kind";
	type_add_members(base, "kind:Kind on?:bool n?:int cache?:Cache "
			 "kinds?:[Kind] any?:any");
	type_add_variant(base, "one", type_named("One"));
	type_add_variant(base, "two", type_named("Two"));
	return type;
}

/* The value that comes out, or the error; to be freed. */
static char *checked(const char *text, enum type_source source)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_t *value = json_loads(text, JSON_ALLOW_NUL, NULL);
	char *out;

	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	if (type_check(top(), NULL, &value, source, &err))
		out = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
	else
		out = strdup(err->text);
	json_decref(value);
	return out;
}

static void is(const char *text, enum type_source source, const char *wanted)
{
	char *got = checked(text, source);

	CU_ASSERT_STRING_EQUAL(got, wanted);
	free(got);
}

static void json_is_taken_as_it_is(void)
{
	is("{\"kind\":\"two\",\"on\":true,\"n\":5,\"list\":[1],\"any\":{}}",
	   FROM_JSON,
	   "{\"any\":{},\"kind\":\"two\",\"list\":[1],\"n\":5,\"on\":true}");
	is("{\"kind\":\"two\",\"on\":\"on\"}", FROM_JSON,
	   "Invalid parameter type for 'on', expected: boolean");
	is("{\"kind\":\"one\",\"file\":\"f\",\"size\":\"1k\"}", FROM_JSON,
	   "Invalid parameter type for 'size', expected: integer");
}

/* A union whose tag may be absent. */
static void an_absent_tag_means_its_default(void)
{
	struct type *type = type_named("Loose");
	struct error *err CLEANUP_ERROR = NULL;
	json_t *value = json_pack("{s:[i]}", "list", 1);

	type->tag = "kind";
	type_add_members(type, "kind?:Kind");
	type_add_variant(type, "one", type_named("One"));
	type_add_variant(type, "two", type_named("Two"));
	CU_ASSERT_FALSE(type_check(type, NULL, &value, FROM_JSON, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Parameter 'list' is unexpected");
	type->tag_default = "two";
	error_clear(&err);
	CU_ASSERT_TRUE(type_check(type, NULL, &value, FROM_JSON, &err));
	json_object_set_new(value, "kind", json_string("one"));
	CU_ASSERT_FALSE(type_check(type, NULL, &value, FROM_JSON, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Parameter 'file' is missing");
	json_decref(value);
}

static void errors_name_the_whole_way(void)
{
	is("{}", FROM_JSON, "Parameter 'kind' is missing");
	is("{\"kind\":\"three\"}", FROM_JSON,
	   "Parameter 'kind' does not accept value 'three'");
	is("{\"kind\":\"one\"}", FROM_JSON, "Parameter 'file' is missing");
	is("{\"kind\":\"one\",\"file\":{\"kind\":\"one\",\"file\":{}}}",
	   FROM_JSON, "Parameter 'file.file.kind' is missing");
	is("{\"kind\":\"one\",\"file\":5}", FROM_JSON,
	   "Invalid parameter type for 'file', expected: Ref");
	is("{\"kind\":\"one\",\"file\":null,\"list\":[]}", FROM_JSON,
	   "Parameter 'list' is unexpected");
	is("{\"kind\":\"two\",\"cache\":{\"x\":1}}", FROM_JSON,
	   "Parameter 'cache.x' is unexpected");
	is("{\"kind\":\"two\",\"list\":[1,\"x\"]}", FROM_JSON,
	   "Invalid parameter type for 'list[1]', expected: integer");
	is("{\"kind\":\"two\",\"kinds\":[\"x\"]}", FROM_JSON,
	   "Parameter 'null' does not accept value 'x'");
	is("{\"kind\":\"one\",\"file\":\"a\\u0000b\"}", FROM_JSON,
	   "Parameter 'file' contains a zero byte");
}

static void text_becomes_what_is_expected(void)
{
	is("{\"kind\":\"two\",\"on\":\"off\",\"n\":\"-0x10\","
	   "\"cache\":{\"direct\":\"yes\"},\"list\":[\"7\"]}", FROM_TEXT,
	   "{\"cache\":{\"direct\":true},\"kind\":\"two\",\"list\":[7],"
	   "\"n\":-16,\"on\":false}");
	is("{\"kind\":\"one\",\"file\":\"on\",\"size\":\"64k\"}", FROM_TEXT,
	   "{\"file\":\"on\",\"kind\":\"one\",\"size\":65536}");
	is("{\"kind\":\"two\",\"any\":\"on\"}", FROM_TEXT,
	   "{\"any\":\"on\",\"kind\":\"two\"}");
}

static void text_that_does_not_fit_is_refused(void)
{
	is("{\"kind\":\"two\",\"on\":\"maybe\"}", FROM_TEXT,
	   "Parameter 'on' expects 'on' or 'off'");
	is("{\"kind\":\"two\",\"n\":\"1k\"}", FROM_TEXT,
	   "Parameter 'n' expects integer");
	is("{\"kind\":\"two\",\"n\":\"\"}", FROM_TEXT,
	   "Parameter 'n' expects integer");
	is("{\"kind\":\"two\",\"n\":\"99999999999999999999\"}", FROM_TEXT,
	   "Parameter 'n' expects integer");
	is("{\"kind\":\"one\",\"file\":\"f\",\"size\":\"9999999999G\"}",
	   FROM_TEXT, "Parameter 'size' expects integer");
	is("{\"kind\":\"two\",\"cache\":\"5\"}", FROM_TEXT,
	   "Invalid parameter type for 'cache', expected: object");
	is("{\"kind\":\"two\",\"cache\":{\"direct\":{\"x\":\"1\"}}}",
	   FROM_TEXT, "Parameters 'cache.direct.*' are unexpected");
	is("{\"kind\":\"two\",\"x\":{\"y\":\"1\"}}", FROM_TEXT,
	   "Parameters 'x.*' are unexpected");
}

static void nesting_is_bounded(void)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_t *value = json_pack("{s:s,s:s}", "kind", "one", "file", "f");

	for (unsigned i = 0; i < 40; i++)
		value = json_pack("{s:s,s:o}", "kind", "one", "file", value);
	CU_ASSERT_FALSE(type_check(top(), NULL, &value, FROM_JSON, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Arguments are nested deeper than "
			       "32 levels");
	json_decref(value);
}

TEST_MAIN("server-types",
	  TEST(json_is_taken_as_it_is),
	  TEST(an_absent_tag_means_its_default),
	  TEST(errors_name_the_whole_way),
	  TEST(text_becomes_what_is_expected),
	  TEST(text_that_does_not_fit_is_refused),
	  TEST(nesting_is_bounded))
