/* SPDX-License-Identifier: MIT */
/*
 * json-stream.c - finds where one JSON value ends in a stream of bytes.
 *
 * Main thread. A value outside brackets (a number, a word) ends at the first
 * byte that cannot belong to it; it is no message, but the error about it must
 * come out where it stands.
 */
#include "server/json-stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void json_stream_init(struct json_stream *s)
{
	memset(s, 0, sizeof(*s));
}

void json_stream_free(struct json_stream *s)
{
	free(s->text);
	json_stream_init(s);
}

static bool json_stream_append(struct json_stream *s, char c)
{
	if (s->len == JSON_STREAM_MAX)
		return false;
	if (s->len == s->size) {
		size_t size = s->size ? s->size * 2 : 1024;
		char *text = realloc(s->text, size);

		if (!text)
			return false;
		s->text = text;
		s->size = size;
	}
	s->text[s->len++] = c;
	return true;
}

static void json_stream_string(struct json_stream *s, char c)
{
	if (s->escaped) {
		s->escaped = false;
	} else if (c == '\\') {
		s->escaped = true;
	} else if (c == '"') {
		s->in_string = false;
		s->complete = s->depth == 0;
	}
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* One byte outside strings. False: nested too deep. */
static bool json_stream_structure(struct json_stream *s, char c)
{
	switch (c) {
	case '"':
		s->in_string = true;
		break;
	case '{':
	case '[':
		if (s->depth == JSON_STREAM_DEPTH)
			return false;
		s->depth++;
		break;
	case '}':
	case ']':
		if (s->depth)
			s->depth--;
		s->complete = s->depth == 0;
		break;
	default:
		s->in_word = s->depth == 0;
		break;
	}
	return true;
}

/* Whether c ends a word at top level without belonging to it. */
static bool json_stream_ends_word(const struct json_stream *s, char c)
{
	return s->in_word && (is_space(c) || memchr("{}[]\"", c, 5));
}

enum json_stream_result json_stream_feed(struct json_stream *s,
					 const char **data, size_t *len)
{
	if (s->complete) {
		s->complete = false;
		s->in_word = false;
		s->len = 0;
	}
	for (; *len; (*data)++, (*len)--) {
		char c = **data;

		if (json_stream_ends_word(s, c)) {
			s->complete = true;
			return JSON_STREAM_VALUE;
		}
		if (s->len == 0 && is_space(c))
			continue;
		if (!json_stream_append(s, c))
			return JSON_STREAM_TOO_LONG;
		if (s->in_string)
			json_stream_string(s, c);
		else if (!json_stream_structure(s, c))
			return JSON_STREAM_TOO_DEEP;
		if (s->complete) {
			(*data)++;
			(*len)--;
			return JSON_STREAM_VALUE;
		}
	}
	return JSON_STREAM_MORE;
}
