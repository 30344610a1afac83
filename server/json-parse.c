/* SPDX-License-Identifier: MIT */
/*
 * json-parse.c - from tokens to a JSON value.
 *
 * Texts of errors are those that clients of the protocol know (A21). Strings
 * may stand in single quotes, as they may for the storage daemon. Whatever is
 * in a string has been checked to be UTF-8 when this has made a value of it,
 * but for bytes that escapes stand for (A44); names of members have none.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "server/json-token.h"

struct parser {
	const struct json_tokens *tokens;
	size_t at;
	struct error **err;
};

static json_t *parse_value(struct parser *p);

static json_t *parse_fail(struct parser *p, const char *what)
{
	error_set(p->err, EINVAL, "JSON parse error, %s", what);
	return NULL;
}

/* NULL at the end. */
static const struct json_token *next_token(struct parser *p)
{
	return p->at < p->tokens->count ? &p->tokens->list[p->at++] : NULL;
}

static const char *token_text(const struct parser *p,
			      const struct json_token *token)
{
	return p->tokens->text + token->at;
}

/* Takes the next token when it is this one. */
static bool take_token(struct parser *p, char punctuation)
{
	const struct json_token *token;

	if (p->at == p->tokens->count)
		return false;
	token = &p->tokens->list[p->at];
	if (token->type != JSON_TOKEN_PUNCTUATION ||
	    *token_text(p, token) != punctuation)
		return false;
	p->at++;
	return true;
}

/* --- strings ------------------------------------------------------------ */

/* Writes c in UTF-8, at most four bytes, or the byte that it means. */
static size_t put_character(char *out, uint32_t c)
{
	static const unsigned char first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (json_byte_of(c)) {
		out[0] = (char)json_byte_of(c);
		return 1;
	}
	for (size_t i = len; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(first[len] | c);
	return len;
}

/* Four hexadecimal digits after s's "\u"; false: they are not there. */
static bool unicode_escape(const char *s, const char *end, uint32_t *out)
{
	char digits[5] = "", *stop;

	if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
		return false;
	memcpy(digits, s + 2, 4);
	if (strspn(digits, "0123456789abcdefABCDEF") != 4)
		return false;
	*out = (uint32_t)strtoul(digits, &stop, 16);
	return true;
}

/* "\uXXXX", or two of them for what needs a pair; advances *s past it. */
static bool take_unicode(struct parser *p, const char **s, const char *end,
			 uint32_t *out)
{
	/* what is shown of a bad one ends with its closing quote */
	size_t shown = (size_t)(end + 1 - *s) < 6 ? (size_t)(end + 1 - *s) : 6;
	const char *at = *s;
	uint32_t low;
	bool ok = unicode_escape(at, end, out);

	if (ok && *out >= 0xd800 && *out <= 0xdbff &&
	    unicode_escape(at + 6, end, &low) && low >= 0xdc00 &&
	    low <= 0xdfff) {
		*out = 0x10000 + ((*out & 0x3ff) << 10 | (low & 0x3ff));
		*s += 6;
	}
	*s += 6;
	if (ok && (unicode_is_character(*out) || json_byte_of(*out)))
		return true;
	error_set(p->err, EINVAL, "JSON parse error, %.*s is not a valid "
		  "Unicode character", (int)shown, at);
	return false;
}

static bool take_escape(struct parser *p, const char **s, const char *end,
			uint32_t *out)
{
	static const char letters[] = "\"'\\/bfnrt";
	static const char meant[] = "\"'\\/\b\f\n\r\t";
	const char *letter;

	if ((*s)[1] == 'u')
		return take_unicode(p, s, end, out);
	letter = strchr(letters, (*s)[1]);
	if (!letter || !*letter) {
		parse_fail(p, "invalid escape sequence in string");
		return false;
	}
	*out = (uint32_t)meant[letter - letters];
	*s += 2;
	return true;
}

/* What the token means, in out, which has room for it; -1: nothing. */
static ssize_t unquote(struct parser *p, const struct json_token *token,
		       char *out)
{
	const char *s = token_text(p, token) + 1, *end = s + token->len - 2;
	size_t len = 0, step;
	uint32_t c;

	while (s < end) {
		if (*s == '\\') {
			if (!take_escape(p, &s, end, &c))
				return -1;
			len += put_character(out + len, c);
			continue;
		}
		step = utf8_length(s, end);
		if (step == 0) {
			parse_fail(p, "invalid UTF-8 sequence in string");
			return -1;
		}
		memcpy(out + len, s, step);
		len += step;
		s += step;
	}
	out[len] = 0;
	return (ssize_t)len;
}

static char *buffer_for(const struct json_token *token)
{
	char *out = malloc(token->len + 1);

	if (!out)
		abort();
	return out;
}

static json_t *parse_string(struct parser *p, const struct json_token *token)
{
	char *text = buffer_for(token);
	ssize_t len = unquote(p, token, text);
	json_t *value = len < 0 ? NULL : json_text_of(text, (size_t)len);

	free(text);
	return value;
}

/* --- the rest ------------------------------------------------------------ */

static json_t *parse_number(struct parser *p, const struct json_token *token)
{
	char *text = strndup(token_text(p, token), token->len);
	json_t *value;
	uintmax_t n;

	if (!text)
		abort();
	errno = 0;
	/* from 2^63 on it has the bits of a negative one (TYPE_UINT) */
	n = *text == '-' ? (uintmax_t)strtoimax(text, NULL, 10) :
		strtoumax(text, NULL, 10);
	if (token->type == JSON_TOKEN_INTEGER && errno == 0)
		value = json_integer((json_int_t)n);
	else
		value = json_real(strtod(text, NULL));	/* NULL: infinite */
	free(text);
	return value ? value : parse_fail(p, "number out of range");
}

static json_t *parse_word(struct parser *p, const struct json_token *token)
{
	const char *text = token_text(p, token);

	if (token->len == 4 && !memcmp(text, "true", 4))
		return json_true();
	if (token->len == 5 && !memcmp(text, "false", 5))
		return json_false();
	if (token->len == 4 && !memcmp(text, "null", 4))
		return json_null();
	error_set(p->err, EINVAL, "JSON parse error, invalid keyword '%.*s'",
		  (int)token->len, text);
	return NULL;
}

static bool parse_pair(struct parser *p, json_t *object)
{
	json_t *key = parse_value(p), *value = NULL;
	const char *name = json_string_value(key);
	size_t len = json_string_length(key);

	if (key && !name)
		parse_fail(p, "key is not a string in object");
	else if (key && strlen(name) != len)
		/* or those who compare names and those who look them up would
		 * differ about what is there */
		parse_fail(p, "zero byte in key");
	else if (key && !utf8_is_valid(name, len))
		parse_fail(p, "key is not valid UTF-8");
	else if (key && !take_token(p, ':'))
		parse_fail(p, "missing : in object pair");
	else if (key)
		value = parse_value(p);
	if (value && json_object_getn(object, name, len)) {
		json_decref(value);
		value = NULL;
		parse_fail(p, "duplicate key");
	}
	if (value)
		json_object_setn_new(object, name, len, value);
	json_decref(key);
	return value;
}

static bool parse_item(struct parser *p, json_t *list)
{
	json_t *value = parse_value(p);

	return value && json_array_append_new(list, value) == 0;
}

/* What stands between an opening and its closing bracket. */
static json_t *parse_members(struct parser *p, json_t *container, char closing,
			     bool (*member)(struct parser *p, json_t *in),
			     const char *no_separator)
{
	bool ok = true;

	if (take_token(p, closing))
		return container;
	for (;;) {
		ok = member(p, container);
		if (!ok || take_token(p, closing))
			break;
		if (take_token(p, ','))
			continue;
		parse_fail(p, p->at == p->tokens->count ? "premature EOI" :
			   no_separator);
		ok = false;
		break;
	}
	if (ok)
		return container;
	json_decref(container);
	return NULL;
}

static json_t *parse_value(struct parser *p)
{
	const struct json_token *token = next_token(p);

	if (!token)
		return parse_fail(p, "premature EOI");
	switch (token->type) {
	case JSON_TOKEN_STRING:
		return parse_string(p, token);
	case JSON_TOKEN_INTEGER:
	case JSON_TOKEN_FLOAT:
		return parse_number(p, token);
	case JSON_TOKEN_WORD:
		return parse_word(p, token);
	case JSON_TOKEN_PUNCTUATION:
		break;
	}
	if (*token_text(p, token) == '{')
		return parse_members(p, json_object(), '}', parse_pair,
				     "expected separator in dict");
	if (*token_text(p, token) == '[')
		return parse_members(p, json_array(), ']', parse_item,
				     "expected separator in list");
	return parse_fail(p, "expecting value");
}

json_t *json_parse_tokens(const struct json_tokens *tokens, struct error **err)
{
	struct parser p = { .tokens = tokens, .err = err };

	return parse_value(&p);
}
