/* SPDX-License-Identifier: MIT */
/*
 * json-stream.h - finds where one JSON value ends in a stream of bytes.
 *
 * Clients need not put messages on lines, so the daemon cuts the stream by
 * counting brackets outside strings. Length and nesting are bounded before
 * anything is parsed (A27): what comes out is at most JSON_STREAM_MAX bytes
 * and JSON_STREAM_DEPTH levels, but not yet known to be valid JSON.
 *
 * Main thread; knows no sockets.
 */
#ifndef SERVER_JSON_STREAM_H
#define SERVER_JSON_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_STREAM_MAX (1024u * 1024)
/* The parser recurses, on a coroutine's stack: see CO_STACK_SIZE. */
#define JSON_STREAM_DEPTH 128u

enum json_stream_result {
	JSON_STREAM_MORE,	/* all input taken, no value is complete */
	JSON_STREAM_VALUE,	/* text and len hold one value */
	JSON_STREAM_TOO_LONG,	/* the stream cannot be followed any more */
	JSON_STREAM_TOO_DEEP,
};

struct json_stream {
	char *text;		/* not terminated */
	size_t len, size;
	unsigned depth;
	bool in_string, escaped, in_word, complete;
};

void json_stream_init(struct json_stream *s);
void json_stream_free(struct json_stream *s);

/*
 * Takes bytes from *data (advancing it and *len) up to the end of a value.
 * The text of a value is good until the next call.
 */
enum json_stream_result json_stream_feed(struct json_stream *s,
					 const char **data, size_t *len);

#endif
