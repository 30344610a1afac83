/* SPDX-License-Identifier: MIT */
/*
 * server-json-stream.c - JSON values out of a stream of bytes (A27).
 */
#include "tests/lib/suite.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "server/json-stream.h"

/* Appends a value, or an error in <>, and '|'. */
static void note(FILE *out, json_t *value, struct error **err)
{
	char *text = value ? json_write(value, JSON_COMPACT |
					JSON_ENCODE_ANY) : NULL;

	if (value)
		fprintf(out, "%s|", text);
	else
		fprintf(out, "<%s>|", (*err)->text);
	free(text);
	json_decref(value);
	error_clear(err);
}

/* Feeds text in pieces of `step` bytes; what came out is to be freed. */
static char *cut(const char *text, size_t len, size_t step)
{
	enum json_stream_result got = JSON_STREAM_MORE;
	struct json_stream s;
	char *all = NULL;
	size_t size;
	FILE *out = open_memstream(&all, &size);

	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	json_stream_init(&s);
	while (len && got != JSON_STREAM_LOST) {
		size_t piece = min(step, len), rest = piece;
		const char *data = text;
		struct error *err = NULL;
		json_t *value = NULL;

		while ((got = json_stream_feed(&s, &data, &rest, &value,
					       &err)) != JSON_STREAM_MORE) {
			note(out, value, &err);
			value = NULL;
			if (got == JSON_STREAM_LOST)
				break;
		}
		text += piece;
		len -= piece;
	}
	json_stream_free(&s);
	fclose(out);
	return all;
}

static void check_cut(const char *text, const char *wanted)
{
	for (size_t step = 1; step <= strlen(text); step++) {
		char *got = cut(text, strlen(text), step);

		CU_ASSERT_STRING_EQUAL(got, wanted);
		free(got);
	}
}

static void needs_no_newlines(void)
{
	check_cut("{\"a\":1}{\"b\":[2]}", "{\"a\":1}|{\"b\":[2]}|");
	check_cut(" \r\n{} \n\t{}", "{}|{}|");
}

static void brackets_in_strings_do_not_count(void)
{
	check_cut("{\"}\\\"{\":\"]\\\\\"}[\"\\\\\\\"]\"]",
		  "{\"}\\\"{\":\"]\\\\\"}|[\"\\\\\\\"]\"]|");
}

static void an_unfinished_value_waits(void)
{
	check_cut("{\"a\":[", "");
	check_cut("12", "");
}

static void numbers_are_exact(void)
{
	check_cut("[0,-1,9223372036854775807,-9223372036854775808]",
		  "[0,-1,9223372036854775807,-9223372036854775808]|");
	check_cut("[1.5,25e-1,1E2]", "[1.5,2.5,100.0]|");
	check_cut("[1e400]", "<JSON parse error, number out of range>|");
	check_cut("01 ", "<JSON parse error, stray '01'>|");
	check_cut("[-]", "<JSON parse error, stray '-]'>|");
}

static void strings_may_have_single_quotes(void)
{
	check_cut("{'a':'it\"s'}", "{\"a\":\"it\\\"s\"}|");
}

static void escapes_are_characters(void)
{
	check_cut("[\"\\u00e9\\ud83d\\ude00\\n\\'\\/\"]",
		  "[\"\xc3\xa9\xf0\x9f\x98\x80\\n'/\"]|");
	check_cut("[\"\\ud800\"]", "<JSON parse error, \\ud800 is not a "
		  "valid Unicode character>|");
	check_cut("[\"\\u12\"]", "<JSON parse error, \\u12\" is not a valid "
		  "Unicode character>|");
	check_cut("[\"\\x\"]", "<JSON parse error, invalid escape sequence "
		  "in string>|");
}

/* A44 */
static void escapes_may_be_bytes(void)
{
	check_cut("[\"a\\udcff\\uDC80\"]", "[\"a\\udcff\\udc80\"]|");
	check_cut("[\"\\udcc3\\udca9\"]", "[\"\xc3\xa9\"]|");
	check_cut("[\"\\ud800\\udc80\\udc80\"]",
		  "[\"\xf0\x90\x82\x80\\udc80\"]|");
	check_cut("[\"\\udc7f\"]", "<JSON parse error, \\udc7f is not a "
		  "valid Unicode character>|");
	check_cut("[\"\\udd00\"]", "<JSON parse error, \\udd00 is not a "
		  "valid Unicode character>|");
	/* names of members are looked up, and are ours */
	check_cut("{\"\\udcff\":1}{}",
		  "<JSON parse error, key is not valid UTF-8>|{}|");
}

static void strings_are_utf8(void)
{
	static const char *const bad[] = {
		"\x80", "\xc3(", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xef\xbf\xbf", "\xf0\x9f\x98",
	};
	char text[16];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "\"%s\"", bad[i]);
		check_cut(text, "<JSON parse error, invalid UTF-8 sequence in "
			  "string>|");
	}
}

static void mistakes_are_named_and_skipped(void)
{
	check_cut("@ {}", "<JSON parse error, stray '@'>|{}|");
	check_cut("tru {}", "<JSON parse error, invalid keyword 'tru'>|{}|");
	check_cut("}{}", "<JSON parse error, expecting value>|{}|");
	check_cut("{]{}", "<JSON parse error, expecting value>|{}|");
	check_cut("{\"a\" 1}", "<JSON parse error, missing : in object "
		  "pair>|");
	check_cut("{\"a\":1,\"a\":2}", "<JSON parse error, duplicate key>|");
	check_cut("[1 2]", "<JSON parse error, expected separator in list>|");
	check_cut("{1:2}", "<JSON parse error, key is not a string in "
		  "object>|");
}

static void a_byte_that_is_no_json_resets(void)
{
	char *got = cut("{\"a\":[\xff{}", 9, 3);

	CU_ASSERT_STRING_EQUAL(got, "<JSON parse error, stray '\xff'>|{}|");
	free(got);
}

static void depth_is_bounded(void)
{
	char text[2 * JSON_STREAM_DEPTH + 2], *got;

	memset(text, '[', JSON_STREAM_DEPTH);
	memset(text + JSON_STREAM_DEPTH, ']', JSON_STREAM_DEPTH);
	got = cut(text, 2 * JSON_STREAM_DEPTH, 7);
	CU_ASSERT_EQUAL(strlen(got), 2 * JSON_STREAM_DEPTH + 1);
	free(got);
	memset(text, '[', sizeof(text));
	got = cut(text, sizeof(text), 7);
	CU_ASSERT_STRING_EQUAL(got, "<JSON nesting depth limit exceeded>|");
	free(got);
}

static void length_is_bounded(void)
{
	char *text = calloc(1, JSON_STREAM_MAX + 2), *got;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, 'x', JSON_STREAM_MAX + 1);
	text[0] = '"';
	text[JSON_STREAM_MAX - 1] = '"';
	got = cut(text, JSON_STREAM_MAX, 4096);
	CU_ASSERT_EQUAL(strlen(got), JSON_STREAM_MAX + 1);
	free(got);
	text[JSON_STREAM_MAX - 1] = 'x';
	text[JSON_STREAM_MAX] = '"';
	got = cut(text, JSON_STREAM_MAX + 1, 4096);
	CU_ASSERT_STRING_EQUAL(got, "<JSON token size limit exceeded>|");
	free(got);
	/* white space between values is no value */
	memset(text, ' ', JSON_STREAM_MAX + 1);
	got = cut(text, JSON_STREAM_MAX + 1, 4096);
	CU_ASSERT_STRING_EQUAL(got, "");
	free(got);
	free(text);
}

static void zero_bytes_are_mistakes(void)
{
	char *got = cut("\0{}", 3, 1);

	CU_ASSERT_STRING_EQUAL(got, "<JSON parse error, stray ''>|{}|");
	free(got);
	got = cut("[\"\\u0000\"]", 10, 1);
	CU_ASSERT_STRING_EQUAL(got, "[\"\\u0000\"]|");
	free(got);
	/* a key is a name, which "execute" with one more byte is not */
	check_cut("{\"execute\\u0000\":\"x\"}{}",
		  "<JSON parse error, zero byte in key>|{}|");
}

static void one_object_is_a_whole_text(void)
{
	static const char *const bad[][2] = {
		{ "{", "JSON parse error, premature EOI" },
		{ "{}x", "Expecting at most one JSON value" },
		{ "[]", "'[' does not begin an object" },
	};
	struct error *err = NULL;
	json_t *value = json_from_text(" {\"a\":1}\n", &err);

	CU_ASSERT_EQUAL(json_object_size(value), 1);
	json_decref(value);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CU_ASSERT_PTR_NULL(json_from_text(bad[i][0], &err));
		CU_ASSERT_STRING_EQUAL(err->text, bad[i][1]);
		error_clear(&err);
	}
}

TEST_MAIN("server-json-stream",
	  TEST(needs_no_newlines),
	  TEST(brackets_in_strings_do_not_count),
	  TEST(an_unfinished_value_waits),
	  TEST(numbers_are_exact),
	  TEST(strings_may_have_single_quotes),
	  TEST(escapes_are_characters),
	  TEST(escapes_may_be_bytes),
	  TEST(strings_are_utf8),
	  TEST(mistakes_are_named_and_skipped),
	  TEST(a_byte_that_is_no_json_resets),
	  TEST(depth_is_bounded),
	  TEST(length_is_bounded),
	  TEST(zero_bytes_are_mistakes),
	  TEST(one_object_is_a_whole_text))
