/* SPDX-License-Identifier: MIT */
/*
 * json-token.h - JSON's words, between the lexer that cuts them out of a
 * stream (json-stream.c) and the parser that makes a value of them.
 */
#ifndef SERVER_JSON_TOKEN_H
#define SERVER_JSON_TOKEN_H

#include <jansson.h>
#include <stddef.h>

#include "runtime/error.h"

enum json_token_type {
	JSON_TOKEN_PUNCTUATION,	/* one of {}[]:, */
	JSON_TOKEN_STRING,	/* with its quotes, ' or " */
	JSON_TOKEN_INTEGER,
	JSON_TOKEN_FLOAT,
	JSON_TOKEN_WORD,	/* true, false, null, or a mistake */
};

struct json_token {
	enum json_token_type type;
	size_t at, len;		/* in the text of all tokens */
};

struct json_tokens {
	const char *text;
	const struct json_token *list;
	size_t count;
};

/*
 * The value that the tokens are; new reference, or NULL and *err. Recurses to
 * the depth that the lexer let through.
 */
json_t *json_parse_tokens(const struct json_tokens *tokens,
			  struct error **err);

#endif
