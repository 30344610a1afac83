/* SPDX-License-Identifier: MIT */
/*
 * json-stream.h - JSON values out of a stream of bytes.
 *
 * Clients need not put messages on lines, so the stream is cut into tokens and
 * these into values where brackets close. Input that is no JSON gives an error
 * and the stream goes on behind it, as clients of the protocol know it; a byte
 * 0xff, which is in no JSON, always gets it out of what is unfinished.
 *
 * Length and nesting of a value are bounded before it is parsed (A27). Behind
 * one that is too long or too deep the stream is lost: what lies in its
 * strings must not be taken for messages.
 *
 * Main thread; knows no sockets.
 */
#ifndef SERVER_JSON_STREAM_H
#define SERVER_JSON_STREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "runtime/error.h"

#define JSON_STREAM_MAX (1024u * 1024)
/* The parser recurses, on a coroutine's stack: see CO_STACK_SIZE. */
#define JSON_STREAM_DEPTH 128u

enum json_stream_result {
	JSON_STREAM_MORE,	/* all input taken, no value is complete */
	JSON_STREAM_VALUE,	/* *value is one */
	JSON_STREAM_ERROR,	/* *err says why it is none; go on */
	JSON_STREAM_LOST,	/* *err; the stream cannot be followed */
};

struct json_token;

struct json_stream {
	char *text;		/* of all tokens of the value */
	size_t len, size;
	struct json_token *tokens;
	size_t count, room;
	size_t start;		/* in text: the token that is being read */
	int state;
	long braces, brackets;
};

void json_stream_init(struct json_stream *s);
void json_stream_free(struct json_stream *s);

/*
 * Takes bytes from *data (advancing it and *len) up to the end of a value or
 * of a mistake. *value: new reference.
 */
enum json_stream_result json_stream_feed(struct json_stream *s,
					 const char **data, size_t *len,
					 json_t **value, struct error **err);

/* The one object that text holds; new reference, or NULL and *err. */
json_t *json_from_text(const char *text, struct error **err);

#endif
