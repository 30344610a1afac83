/* SPDX-License-Identifier: MIT */
/*
 * JSON whose strings are any bytes (A44).
 */
#include "tests/lib/suite.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"

static char *written(json_t *value)
{
	char *text = json_write(value, JSON_COMPACT | JSON_ENCODE_ANY);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	json_decref(value);
	return text;
}

static json_t *value_read(const char *text)
{
	return json_read(text, strlen(text), JSON_DECODE_ANY | JSON_ALLOW_NUL,
			 NULL);
}

/* The string is written so, and what is written is it again. */
static void check_both_ways(const char *bytes, size_t len, const char *wanted)
{
	char *text = written(json_text_of(bytes, len));
	json_t *value = value_read(text);

	CU_ASSERT_STRING_EQUAL(text, wanted);
	CU_ASSERT_EQUAL_FATAL(json_string_length(value), len);
	CU_ASSERT_EQUAL(memcmp(json_string_value(value), bytes, len), 0);
	json_decref(value);
	free(text);
}

static void check_text(const char *bytes, const char *wanted)
{
	check_both_ways(bytes, strlen(bytes), wanted);
}

static void utf8_is_written_as_it_is(void)
{
	check_text("", "\"\"");
	check_text("a\"\\\n", "\"a\\\"\\\\\\n\"");
	check_text("\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\"");
	check_both_ways("a\0b", 3, "\"a\\u0000b\"");
}

static void other_bytes_are_escaped(void)
{
	check_text("a\xff" "b", "\"a\\udcffb\"");
	check_text("\x80", "\"\\udc80\"");
	check_text("\xc3(", "\"\\udcc3(\"");
	check_text("\xc0\x80", "\"\\udcc0\\udc80\"");
	check_text("\xf0\x9f\x98", "\"\\udcf0\\udc9f\\udc98\"");
	/* a half of a pair as others write it */
	check_text("\xed\xb2\x80", "\"\\udced\\udcb2\\udc80\"");
	check_both_ways("\xff\0\xfe", 3, "\"\\udcff\\u0000\\udcfe\"");
}

static void every_byte_comes_back(void)
{
	char bytes[256], *text;
	json_t *value;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(255 - i);
	text = written(json_text_of(bytes, sizeof(bytes)));
	CU_ASSERT(utf8_is_valid(text, strlen(text)));
	value = value_read(text);
	CU_ASSERT_EQUAL_FATAL(json_string_length(value), sizeof(bytes));
	CU_ASSERT_EQUAL(memcmp(json_string_value(value), bytes,
			       sizeof(bytes)), 0);
	json_decref(value);
	free(text);
}

/* What stands for a byte within is not taken for it when a name has it. */
static void stand_ins_in_names_are_bytes(void)
{
	check_text("\xef\xb7\x98\xef\xb7\xa0", "\"\\udcef\\udcb7\\udc98"
		   "\\udcef\\udcb7\\udca0\"");
	check_text("\xff\xef\xb7\x98\xef\xb7\xa0", "\"\\udcff\\udcef\\udcb7"
		   "\\udc98\\udcef\\udcb7\\udca0\"");
}

static void escapes_in_names_are_letters(void)
{
	check_text("\\udc80", "\"\\\\udc80\"");
	check_text("\\\xff", "\"\\\\\\udcff\"");
	check_text("\\\\udc80\xff", "\"\\\\\\\\udc80\\udcff\"");
}

static void check_read(const char *text, const char *wanted)
{
	json_t *value = value_read(text);

	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	CU_ASSERT_STRING_EQUAL(json_string_value(value), wanted);
	json_decref(value);
}

static void bytes_are_read_either_way(void)
{
	check_read("\"\\udcff\"", "\xff");
	check_read("\"\\uDCFF\"", "\xff");
	check_read("\"\xff\"", "\xff");
	check_read("\"\\udcc3\\udca9\"", "\xc3\xa9");
	check_read("\"\xef\xb7\x98\xef\xb7\xa0\"", "\xef\xb7\x98\xef\xb7\xa0");
	/* the second half of a pair is none */
	check_read("\"\\ud800\\udc80\\udc80\"", "\xf0\x90\x82\x80\x80");
	check_read("\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80");
}

static void what_is_no_json_stays_none(void)
{
	static const char *const bad[] = {
		"", "\"", "\"\\", "\"\\u", "\"\\udc80", "\"\\udc7f\"",
		"\"\\udd00\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\xff",
		"\\udc80", "\"\\\xff\"",
		/* a member's name is no bytes */
		"{\"\xc4\":1}", "[{\"x\\udcff\":1}]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CU_ASSERT_PTR_NULL(value_read(bad[i]));
}

static void all_of_a_value_is_looked_at(void)
{
	json_t *value = json_pack("{s:[i,{s:o}],s:s}", "a", 1, "b",
				  json_text("\xff"), "c", "d");
	char *text;

	/* and what was written is as it was */
	for (unsigned i = 0; i < 2; i++) {
		text = written(json_incref(value));
		CU_ASSERT_STRING_EQUAL(text, "{\"a\":[1,{\"b\":\"\\udcff\"}],"
				       "\"c\":\"d\"}");
		free(text);
	}
	text = written(json_incref(value));
	json_decref(value);
	value = value_read(text);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(
		json_array_get(json_object_get(value, "a"), 1), "b")), "\xff");
	json_decref(value);
	free(text);
}

TEST_MAIN("runtime-json",
	  TEST(utf8_is_written_as_it_is),
	  TEST(other_bytes_are_escaped),
	  TEST(every_byte_comes_back),
	  TEST(stand_ins_in_names_are_bytes),
	  TEST(escapes_in_names_are_letters),
	  TEST(bytes_are_read_either_way),
	  TEST(what_is_no_json_stays_none),
	  TEST(all_of_a_value_is_looked_at))
