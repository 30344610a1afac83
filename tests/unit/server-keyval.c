/* SPDX-License-Identifier: MIT */
/*
 * server-keyval.c - keys and values of a command line as JSON.
 */
#include "tests/lib/suite.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "server/keyval.h"

static void gives(const char *text, const char *implied, const char *wanted)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_auto_t *got = keyval_parse(text, implied, false, &err);
	char *dump = got ? json_write(got, JSON_COMPACT | JSON_SORT_KEYS) :
		strdup(err->text);

	CU_ASSERT_STRING_EQUAL(dump, wanted);
	free(dump);
}

static void fails(const char *text, const char *wanted)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_t *got = keyval_parse(text, "driver", false, &err);

	CU_ASSERT_PTR_NULL(got);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, wanted);
}

static void values_are_text(void)
{
	gives("", "driver", "{}");
	gives("a=1,b=,c=x=y", NULL, "{\"a\":\"1\",\"b\":\"\",\"c\":\"x=y\"}");
	gives("a=on,", NULL, "{\"a\":\"on\"}");
	gives("a=1,a=2", NULL, "{\"a\":\"2\"}");
	/* A44 */
	gives("a=x\xff\xc3\xa9", NULL, "{\"a\":\"x\\udcff\xc3\xa9\"}");
	gives("\xff,b=y", "a", "{\"a\":\"\\udcff\",\"b\":\"y\"}");
}

static void a_double_comma_is_a_comma(void)
{
	gives("a=x,,y,b=,,", NULL, "{\"a\":\"x,y\",\"b\":\",\"}");
	gives("a=,,,,,b=1", NULL, "{\"a\":\",,\",\"b\":\"1\"}");
}

static void the_first_key_may_be_implied(void)
{
	gives("qcow2,a=1", "driver", "{\"a\":\"1\",\"driver\":\"qcow2\"}");
	gives("driver=raw", "driver", "{\"driver\":\"raw\"}");
	gives("raw,driver=qcow2", "driver", "{\"driver\":\"qcow2\"}");
}

static void dots_nest(void)
{
	gives("a.b.c=1,a.d=2", NULL,
	      "{\"a\":{\"b\":{\"c\":\"1\"},\"d\":\"2\"}}");
}

static void numbers_make_lists(void)
{
	gives("a.0=x,a.1=y", NULL, "{\"a\":[\"x\",\"y\"]}");
	gives("a.1.b=y,a.0.b=x", NULL,
	      "{\"a\":[{\"b\":\"x\"},{\"b\":\"y\"}]}");
	gives("a.0.0=x", NULL, "{\"a\":[[\"x\"]]}");
	fails("x,a.0=x,a.2=y", "Parameter 'a.1' missing");
	fails("x,a.b.0=x,a.b.2=y", "Parameter 'a.b.1' missing");
	fails("x,a.00=x", "Parameter 'a.0' missing");
	fails("x,a.0=x,a.b=y", "Parameters 'a.*' used inconsistently");
	fails("x,0=x", "Invalid parameter '0'");
}

static void keys_are_names(void)
{
	fails("x,1a=5", "Invalid parameter '1a'");
	fails("x,a..b=5", "Invalid parameter 'a..b'");
	fails("x,a.=5", "Invalid parameter 'a.'");
	fails("x,.a=5", "Invalid parameter '.a'");
	fails("x,a b=5", "Invalid parameter 'a b'");
	fails("=x", "Invalid parameter ''");
	fails("x,,y", "Invalid parameter ''");
	fails("x,a", "Expected '=' after parameter 'a'");
	fails("x,\xff=5", "Invalid parameter '\xff'");
}

static void a_value_has_no_members(void)
{
	fails("x,a=5,a.b=1", "Parameters 'a.*' used inconsistently");
	fails("x,a.b=1,a=5", "Parameters 'a.*' used inconsistently");
	fails("x,a.b=1,a.b.c=5", "Parameters 'a.b.*' used inconsistently");
}

static void names_and_depth_are_bounded(void)
{
	char key[3 * KEYVAL_NAME_MAX], wanted[4 * KEYVAL_NAME_MAX];

	memset(key, 'k', KEYVAL_NAME_MAX + 1);
	strcpy(key + KEYVAL_NAME_MAX + 1, "=1");
	snprintf(wanted, sizeof(wanted), "Parameter '%.*s' is too long",
		 (int)KEYVAL_NAME_MAX + 1, key);
	fails(key, wanted);
	for (unsigned i = 0; i < KEYVAL_DEPTH_MAX + 2; i++)
		memcpy(key + 2 * i, "a.", 2);
	strcpy(key + 2 * KEYVAL_DEPTH_MAX + 4, "a=1");
	snprintf(wanted, sizeof(wanted), "Invalid parameter '%.*s'",
		 (int)strlen(key) - 2, key);
	fails(key, wanted);
}

static void flags_need_no_value(void)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_auto_t *got = keyval_parse("socket,server,nowait,path=x",
					"backend", true, &err);

	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(got,
					"server")), "on");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(got,
					"wait")), "off");
}

TEST_MAIN("server-keyval",
	  TEST(values_are_text),
	  TEST(a_double_comma_is_a_comma),
	  TEST(the_first_key_may_be_implied),
	  TEST(dots_nest),
	  TEST(numbers_make_lists),
	  TEST(keys_are_names),
	  TEST(a_value_has_no_members),
	  TEST(names_and_depth_are_bounded),
	  TEST(flags_need_no_value))
