/* SPDX-License-Identifier: MIT */
/*
 * json-stream.c - JSON values out of a stream of bytes: the lexer, and where a
 * value ends.
 */
#include "server/json-stream.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/json-token.h"

/* What is being read. */
enum state {
	BETWEEN,		/* nothing */
	IN_DOUBLE, IN_DOUBLE_ESCAPE, IN_SINGLE, IN_SINGLE_ESCAPE,
	IN_SIGN,		/* "-" */
	IN_ZERO, IN_DIGITS,	/* "0", "12" */
	IN_POINT, IN_FRACTION,	/* "1.", "1.5" */
	IN_E, IN_E_SIGN, IN_EXPONENT,	/* "1e", "1e-", "1e-5" */
	IN_WORD,
	LOST_TRACK,	/* after a mistake, up to where JSON can begin */
};

/* What a byte does to it. */
enum step {
	TAKE,		/* belongs to it; the new state is in *state */
	SKIP,		/* belongs to nothing */
	END,		/* is its last byte */
	END_BEFORE,	/* it ended before, look at the byte again */
	MISTAKE,
};

static bool is_punctuation(char c)
{
	return c && strchr("{}[]:,", c);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static enum step step_between(char c, int *state)
{
	*state = c == '"' ? IN_DOUBLE : c == '\'' ? IN_SINGLE :
		 c == '-' ? IN_SIGN : c == '0' ? IN_ZERO :
		 is_digit(c) ? IN_DIGITS : c >= 'a' && c <= 'z' ? IN_WORD :
		 BETWEEN;
	if (*state != BETWEEN)
		return TAKE;
	if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
		return SKIP;
	return is_punctuation(c) ? END : MISTAKE;
}

static enum step step_string(char c, int *state)
{
	char quote = *state == IN_DOUBLE || *state == IN_DOUBLE_ESCAPE ?
		'"' : '\'';

	if ((unsigned char)c < ' ' || (unsigned char)c > 0xfd)
		return MISTAKE;
	if (*state == IN_DOUBLE_ESCAPE || *state == IN_SINGLE_ESCAPE) {
		*state = *state == IN_DOUBLE_ESCAPE ? IN_DOUBLE : IN_SINGLE;
		return TAKE;
	}
	if (c == '\\')
		*state = quote == '"' ? IN_DOUBLE_ESCAPE : IN_SINGLE_ESCAPE;
	return c == quote ? END : TAKE;
}

static enum step step_digit(char c, int *state, int next)
{
	if (!is_digit(c))
		return MISTAKE;
	*state = next;
	return TAKE;
}

static enum step step_number(char c, int *state)
{
	if (*state == IN_SIGN)
		return step_digit(c, state, c == '0' ? IN_ZERO : IN_DIGITS);
	if (*state == IN_POINT)
		return step_digit(c, state, IN_FRACTION);
	if (*state == IN_E && (c == '+' || c == '-')) {
		*state = IN_E_SIGN;
		return TAKE;
	}
	if (*state == IN_E || *state == IN_E_SIGN)
		return step_digit(c, state, IN_EXPONENT);
	if (is_digit(c))
		return *state == IN_ZERO ? MISTAKE : TAKE;
	if ((*state == IN_ZERO || *state == IN_DIGITS) && c == '.') {
		*state = IN_POINT;
		return TAKE;
	}
	if (*state != IN_EXPONENT && (c == 'e' || c == 'E')) {
		*state = IN_E;
		return TAKE;
	}
	return END_BEFORE;
}

/* Up to a byte that JSON can begin at, or a control character. */
static enum step step_lost(char c, int *state)
{
	/* a tab stands within a line */
	if (c == '\t' || (!is_punctuation(c) && (unsigned char)c >= ' ' &&
			  (unsigned char)c <= 0xfd))
		return SKIP;
	*state = BETWEEN;
	return END_BEFORE;
}

static enum step lexer_step(char c, int *state)
{
	switch (*state) {
	case BETWEEN:
		return step_between(c, state);
	case IN_DOUBLE:
	case IN_DOUBLE_ESCAPE:
	case IN_SINGLE:
	case IN_SINGLE_ESCAPE:
		return step_string(c, state);
	case IN_WORD:
		return c >= 'a' && c <= 'z' ? TAKE : END_BEFORE;
	case LOST_TRACK:
		return step_lost(c, state);
	default:
		return step_number(c, state);
	}
}

static enum json_token_type token_type(int state)
{
	switch (state) {
	case BETWEEN:
		return JSON_TOKEN_PUNCTUATION;
	case IN_DOUBLE:
	case IN_SINGLE:
		return JSON_TOKEN_STRING;
	case IN_ZERO:
	case IN_DIGITS:
		return JSON_TOKEN_INTEGER;
	case IN_WORD:
		return JSON_TOKEN_WORD;
	default:
		return JSON_TOKEN_FLOAT;
	}
}

/* --- from tokens to values ------------------------------------------------ */

void json_stream_init(struct json_stream *s)
{
	memset(s, 0, sizeof(*s));
}

void json_stream_free(struct json_stream *s)
{
	free(s->text);
	free(s->tokens);
	json_stream_init(s);
}

static void *grown(void *memory, size_t *size, size_t unit)
{
	*size = *size ? *size * 2 : 256;
	memory = realloc(memory, *size * unit);
	if (!memory)
		abort();
	return memory;
}

static void add_byte(struct json_stream *s, char c)
{
	if (s->len == s->size)
		s->text = grown(s->text, &s->size, 1);
	s->text[s->len++] = c;
}

/* Forgets what is there: a value is complete, or will never be. */
static void start_over(struct json_stream *s, int state)
{
	s->len = 0;
	s->start = 0;
	s->count = 0;
	s->braces = 0;
	s->brackets = 0;
	s->state = state;
}

static void add_token(struct json_stream *s)
{
	if (s->count == s->room)
		s->tokens = grown(s->tokens, &s->room, sizeof(*s->tokens));
	s->tokens[s->count++] = (struct json_token){
		.type = token_type(s->state),
		.at = s->start,
		.len = s->len - s->start,
	};
	switch (s->text[s->start]) {
	case '{':
		s->braces++;
		break;
	case '}':
		s->braces--;
		break;
	case '[':
		s->brackets++;
		break;
	case ']':
		s->brackets--;
		break;
	}
	s->start = s->len;
	s->state = BETWEEN;
}

static bool is_open(const struct json_stream *s)
{
	return s->braces >= 0 && s->brackets >= 0 &&
		s->braces + s->brackets > 0;
}

/* A token is complete: so may be the value. */
static enum json_stream_result stream_token(struct json_stream *s,
					    json_t **value, struct error **err)
{
	struct json_tokens tokens;

	add_token(s);
	if (s->braces + s->brackets > (long)JSON_STREAM_DEPTH) {
		error_set(err, E2BIG, "JSON nesting depth limit exceeded");
		return JSON_STREAM_LOST;
	}
	if (is_open(s))
		return JSON_STREAM_MORE;
	tokens = (struct json_tokens){ s->text, s->tokens, s->count };
	*value = json_parse_tokens(&tokens, err);
	start_over(s, BETWEEN);
	return *value ? JSON_STREAM_VALUE : JSON_STREAM_ERROR;
}

static enum json_stream_result stream_mistake(struct json_stream *s,
					      struct error **err)
{
	error_set(err, EINVAL, "JSON parse error, stray '%.*s'",
		  (int)(s->len - s->start), s->text + s->start);
	start_over(s, LOST_TRACK);
	return JSON_STREAM_ERROR;
}

/* One byte; *again: it is to be given once more. */
static enum json_stream_result stream_byte(struct json_stream *s, char c,
					   bool *again, json_t **value,
					   struct error **err)
{
	int before = s->state;
	enum step step = lexer_step(c, &s->state);

	*again = step == END_BEFORE;
	if (step == SKIP || (*again && before == LOST_TRACK))
		return JSON_STREAM_MORE;
	if (step != END_BEFORE)
		add_byte(s, c);
	if (step == MISTAKE)
		return stream_mistake(s, err);
	if (s->len > JSON_STREAM_MAX) {
		error_set(err, E2BIG, "JSON token size limit exceeded");
		return JSON_STREAM_LOST;
	}
	return step == TAKE ? JSON_STREAM_MORE : stream_token(s, value, err);
}

enum json_stream_result json_stream_feed(struct json_stream *s,
					 const char **data, size_t *len,
					 json_t **value, struct error **err)
{
	enum json_stream_result got = JSON_STREAM_MORE;
	bool again;

	while (*len && got == JSON_STREAM_MORE) {
		got = stream_byte(s, **data, &again, value, err);
		if (again)
			continue;
		(*data)++;
		(*len)--;
	}
	return got;
}

json_t *json_from_text(const char *text, struct error **err)
{
	struct json_stream s;
	json_t *value = NULL;
	size_t len = strlen(text);

	json_stream_init(&s);
	if (json_stream_feed(&s, &text, &len, &value, err) == JSON_STREAM_MORE)
		error_set(err, EINVAL, "JSON parse error, premature EOI");
	if (value && len && text[strspn(text, " \t\r\n")]) {
		error_set(err, EINVAL, "Expecting at most one JSON value");
		json_decref(value);
		value = NULL;
	} else if (value && !json_is_object(value)) {
		error_set(err, EINVAL, "'%c' does not begin an object",
			  s.text[0]);
		json_decref(value);
		value = NULL;
	}
	json_stream_free(&s);
	return value;
}
