/* SPDX-License-Identifier: MIT */
/*
 * json.c - see json.h.
 *
 * jansson reads and writes no half of a pair. So on their way through it bytes
 * have a stand-in: two of the code points that Unicode says are no characters,
 * U+FDDX U+FDEY. It cannot be taken for what a string holds: such a code point
 * in a string counts as bytes that are no UTF-8, and each has its own stand-in.
 * It is as long as "\udcXY", so one can take the other's place.
 */
#include "runtime/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAND_IN 6u		/* bytes */

/* --- UTF-8 --------------------------------------------------------------- */

bool unicode_is_character(uint32_t c)
{
	return c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) &&
		(c < 0xfdd0 || c > 0xfdef) && (c & 0xfffe) != 0xfffe;
}

size_t utf8_length(const char *s, const char *end)
{
	static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = (unsigned char)*s;
	size_t len = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 :
		     c < 0xf0 ? 3 : c < 0xf8 ? 4 : 0;
	uint32_t value = len == 1 ? c : c & (0x7fu >> len);

	if (len == 0 || len > (size_t)(end - s))
		return 0;
	for (size_t i = 1; i < len; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | ((unsigned char)s[i] & 0x3f);
	}
	return value >= lowest[len] && unicode_is_character(value) ? len : 0;
}

/* Of len bytes, those that belong to no character. */
static size_t count_odd_bytes(const char *s, size_t len)
{
	const char *end = s + len;
	size_t count = 0, step;

	for (; s < end; s += step ? step : 1) {
		step = utf8_length(s, end);
		count += !step;
	}
	return count;
}

bool utf8_is_valid(const char *s, size_t len)
{
	return !count_odd_bytes(s, len);
}

/* --- strings ------------------------------------------------------------- */

json_t *json_text_of(const char *bytes, size_t len)
{
	json_t *value = json_stringn_nocheck(bytes, len);

	if (!value)
		abort();
	return value;
}

json_t *json_text(const char *bytes)
{
	return json_text_of(bytes, strlen(bytes));
}

unsigned char json_byte_of(unsigned unit)
{
	return unit >= 0xdc80 && unit <= 0xdcff ? unit & 0xff : 0;
}

/* --- stand-ins ----------------------------------------------------------- */

static void put_stand_in(char *to, unsigned char byte)
{
	memcpy(to, "\xef\xb7\x90\xef\xb7\xa0", STAND_IN);
	to[2] = (char)(0x90 + (byte >> 4));
	to[5] = (char)(0xa0 + (byte & 15));
}

/* The byte whose stand-in is at s; 0: there is none. */
static unsigned char stand_in_of(const char *s, const char *end)
{
	const unsigned char *u = (const unsigned char *)s;

	if ((size_t)(end - s) < STAND_IN || memcmp(s, "\xef\xb7", 2) ||
	    memcmp(s + 3, "\xef\xb7", 2) || (u[2] & 0xf0) != 0x90 ||
	    (u[5] & 0xf0) != 0xa0)
		return 0;
	return (unsigned char)((u[2] & 15) << 4 | (u[5] & 15));
}

/* The code unit of an escape "\uXXXX" at s; 0: there is none. */
static unsigned escaped_unit(const char *s, const char *end)
{
	char digits[5] = "";

	if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
		return 0;
	memcpy(digits, s + 2, 4);
	if (strspn(digits, "0123456789abcdefABCDEF") != 4)
		return 0;
	return (unsigned)strtoul(digits, NULL, 16);
}

/* What is copied as it is from s on; 0: it is a byte, in *byte, that *len
 * bytes of text mean. */
static size_t plain_length(const char *s, const char *end, bool escapes,
			   unsigned char *byte, size_t *len)
{
	unsigned unit;

	*len = 1;
	*byte = (unsigned char)*s;
	if (!escapes || *s != '\\' || end - s < 2)
		return utf8_length(s, end);
	unit = escaped_unit(s, end);
	/* the second half of a pair is no byte */
	if (unit >= 0xd800 && unit <= 0xdbff && escaped_unit(s + 6, end))
		return 12;
	*len = STAND_IN;
	*byte = json_byte_of(unit);
	return *byte ? 0 : 1 + utf8_length(s + 1, end);
}

/* Text with stand-ins, to be freed; *len changes. escapes: it is JSON. */
static char *with_stand_ins(const char *s, size_t *len, bool escapes)
{
	const char *end = s + *len;
	size_t plain, taken;
	unsigned char byte;
	char *copy, *to;

	copy = to = malloc(*len + count_odd_bytes(s, *len) * (STAND_IN - 1) +
			   1);
	if (!copy)
		abort();
	while (s < end) {
		plain = plain_length(s, end, escapes, &byte, &taken);
		if (plain) {
			to = mempcpy(to, s, plain);
			s += plain;
			continue;
		}
		put_stand_in(to, byte);
		to += STAND_IN;
		s += taken;
	}
	*to = 0;
	*len = (size_t)(to - copy);
	return copy;
}

/* Bytes for stand-ins, in place; the new length. */
static size_t without_stand_ins(char *s, size_t len)
{
	const char *from = s, *end = s + len;
	char *to = s;

	while (from < end) {
		unsigned char byte = stand_in_of(from, end);

		*to++ = byte ? (char)byte : *from;
		from += byte ? STAND_IN : 1;
	}
	*to = 0;
	return (size_t)(to - s);
}

/* --- all strings of a value ---------------------------------------------- */

/* True: none is to be changed, or all were. */
static bool each_string(json_t *value, bool (*change)(json_t *string))
{
	const char *name;
	json_t *member;
	size_t i;

	if (json_is_string(value))
		return change(value);
	json_array_foreach(value, i, member)
		if (!each_string(member, change))
			return false;
	json_object_foreach(value, name, member)
		if (!each_string(member, change))
			return false;
	return true;
}

static bool string_is_utf8(json_t *string)
{
	return utf8_is_valid(json_string_value(string),
			     json_string_length(string));
}

static bool string_encode(json_t *string)
{
	size_t len = json_string_length(string);
	char *text = with_stand_ins(json_string_value(string), &len, false);

	if (json_string_setn_nocheck(string, text, len) < 0)
		abort();
	free(text);
	return true;
}

static bool string_decode(json_t *string)
{
	size_t len = json_string_length(string);
	char *text;

	if (string_is_utf8(string))
		return true;
	text = malloc(len + 1);
	if (!text)
		abort();
	memcpy(text, json_string_value(string), len);
	len = without_stand_ins(text, len);
	if (json_string_setn_nocheck(string, text, len) < 0)
		abort();
	free(text);
	return true;
}

/* --- text ---------------------------------------------------------------- */

static void escape_stand_ins(char *text)
{
	static const char digits[] = "0123456789abcdef";
	const char *end = text + strlen(text);
	unsigned char byte;

	while ((text = strchr(text, 0xef)) != NULL) {
		byte = stand_in_of(text, end);
		if (byte) {
			memcpy(text, "\\udc", 4);
			text[4] = digits[byte >> 4];
			text[5] = digits[byte & 15];
		}
		text += byte ? STAND_IN : 1;
	}
}

char *json_write(const json_t *value, size_t flags)
{
	/* it is only looked at */
	bool plain = each_string((json_t *)(uintptr_t)value, string_is_utf8);
	json_t *copy;
	char *text;

	if (plain)
		return json_dumps(value, flags);
	copy = json_deep_copy(value);
	if (!copy)
		abort();
	(void)each_string(copy, string_encode);
	text = json_dumps(copy, flags);
	json_decref(copy);
	if (text)
		escape_stand_ins(text);
	return text;
}

static bool has_stand_in(const char *text)
{
	const char *end = text + strlen(text);

	while ((text = strchr(text, 0xef)) != NULL)
		if (stand_in_of(text++, end))
			return true;
	return false;
}

static bool names_are_utf8(json_t *value)
{
	const char *name;
	json_t *member;
	size_t i;

	json_array_foreach(value, i, member)
		if (!names_are_utf8(member))
			return false;
	json_object_foreach(value, name, member)
		if (has_stand_in(name) || !names_are_utf8(member))
			return false;
	return true;
}

json_t *json_read(const char *text, size_t len, size_t flags,
		  json_error_t *error)
{
	char *copy = with_stand_ins(text, &len, true);
	json_t *value = json_loadb(copy, len, flags, error);

	free(copy);
	if (!names_are_utf8(value)) {
		json_decref(value);
		if (error)
			snprintf(error->text, sizeof(error->text),
				 "the name of a member is no UTF-8");
		return NULL;
	}
	(void)each_string(value, string_decode);
	return value;
}
