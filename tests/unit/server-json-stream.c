/* SPDX-License-Identifier: MIT */
/*
 * server-json-stream.c - where JSON values end in a stream of bytes (A27).
 */
#include "tests/lib/suite.h"

#include <stdlib.h>
#include <string.h>

#include "server/json-stream.h"

/* Feeds text in pieces of `step` bytes; writes the values found, each followed
 * by '|', to out. */
static enum json_stream_result cut(const char *text, size_t step, char *out)
{
	enum json_stream_result got = JSON_STREAM_MORE;
	size_t left = strlen(text), at = 0;
	struct json_stream s;

	json_stream_init(&s);
	while (left && got == JSON_STREAM_MORE) {
		size_t piece = min(step, left), rest = piece;
		const char *data = text;

		while ((got = json_stream_feed(&s, &data, &rest)) ==
		       JSON_STREAM_VALUE) {
			memcpy(out + at, s.text, s.len);
			at += s.len;
			out[at++] = '|';
		}
		text += piece;
		left -= piece;
	}
	out[at] = 0;
	json_stream_free(&s);
	return got;
}

static void check_cut(const char *text, const char *wanted)
{
	char out[256];

	for (size_t step = 1; step <= strlen(text); step++) {
		CU_ASSERT_EQUAL(cut(text, step, out), JSON_STREAM_MORE);
		CU_ASSERT_STRING_EQUAL(out, wanted);
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

static void what_is_no_message_ends_too(void)
{
	check_cut("12 tru{}", "12|tru|{}|");
	check_cut("}{}", "}|{}|");
	check_cut("\"a b\"{}", "\"a b\"|{}|");
	check_cut("{]{}", "{]|{}|");
}

static void an_unfinished_value_waits(void)
{
	check_cut("{\"a\":[", "");
	check_cut("12", "");
}

static void depth_is_bounded(void)
{
	char text[2 * JSON_STREAM_DEPTH + 3], out[sizeof(text) + 1];

	memset(text, 0, sizeof(text));
	memset(text, '[', JSON_STREAM_DEPTH);
	memset(text + JSON_STREAM_DEPTH, ']', JSON_STREAM_DEPTH);
	CU_ASSERT_EQUAL(cut(text, 7, out), JSON_STREAM_MORE);
	CU_ASSERT_EQUAL(strlen(out), 2 * JSON_STREAM_DEPTH + 1);
	memset(text, '[', JSON_STREAM_DEPTH + 1);
	CU_ASSERT_EQUAL(cut(text, 7, out), JSON_STREAM_TOO_DEEP);
}

static void length_is_bounded(void)
{
	char *text = calloc(1, JSON_STREAM_MAX + 2);
	char *out = malloc(JSON_STREAM_MAX + 2);

	CU_ASSERT_FATAL(text && out);
	memset(text, ' ', JSON_STREAM_MAX);
	text[0] = '{';
	text[JSON_STREAM_MAX - 1] = '}';
	CU_ASSERT_EQUAL(cut(text, 4096, out), JSON_STREAM_MORE);
	CU_ASSERT_EQUAL(strlen(out), JSON_STREAM_MAX + 1);
	text[JSON_STREAM_MAX - 1] = ' ';
	text[JSON_STREAM_MAX] = '}';
	CU_ASSERT_EQUAL(cut(text, 4096, out), JSON_STREAM_TOO_LONG);
	/* white space between values is no value */
	memset(text, ' ', JSON_STREAM_MAX + 1);
	CU_ASSERT_EQUAL(cut(text, 4096, out), JSON_STREAM_MORE);
	free(out);
	free(text);
}

static void zero_bytes_are_bytes(void)
{
	const char text[] = "a\0\0{}", *data = text;
	size_t len = sizeof(text) - 1;
	struct json_stream s;

	json_stream_init(&s);
	CU_ASSERT_EQUAL(json_stream_feed(&s, &data, &len), JSON_STREAM_VALUE);
	CU_ASSERT_EQUAL(s.len, 3);
	CU_ASSERT_EQUAL(json_stream_feed(&s, &data, &len), JSON_STREAM_VALUE);
	CU_ASSERT_EQUAL(s.len, 2);
	json_stream_free(&s);
}

TEST_MAIN("server-json-stream",
	  TEST(needs_no_newlines),
	  TEST(brackets_in_strings_do_not_count),
	  TEST(what_is_no_message_ends_too),
	  TEST(an_unfinished_value_waits),
	  TEST(depth_is_bounded),
	  TEST(length_is_bounded),
	  TEST(zero_bytes_are_bytes))
