/* SPDX-License-Identifier: MIT */
/*
 * json.h - JSON whose strings are any bytes (A44).
 *
 * Names of files, and names in images, are bytes; JSON is UTF-8. So a byte that
 * belongs to no UTF-8 character, 0xXY, is "\udcXY" in JSON's text: half of a
 * pair that no character has, so nothing else is written like that, and
 * libraries of other languages know it as the same byte. Within a json_t it is
 * the byte itself: what json_string_value gives can be opened.
 *
 * jansson checks its strings, but for the functions that are told not to. So
 * strings that may hold a name are made here, and values become text and text
 * becomes values here, nowhere else. Names of members are UTF-8 always.
 *
 * Any thread; nothing waits. Without memory they abort.
 */
#ifndef RUNTIME_JSON_H
#define RUNTIME_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string of any bytes; new reference. */
json_t *json_text(const char *bytes);
json_t *json_text_of(const char *bytes, size_t len);

/* The text of a value, to be freed, NULL for what jansson cannot write. flags:
 * of json_dumps. */
char *json_write(const json_t *value, size_t flags);
/* The value of a text, new reference, or NULL and *error. flags: of json_loads.
 * Bytes that are no UTF-8 may also stand in it as they are. */
json_t *json_read(const char *text, size_t len, size_t flags,
		  json_error_t *error);

/* The byte that the code unit of "\udcXY" means; 0: it means none. */
unsigned char json_byte_of(unsigned unit);

/* False: Unicode says that it is no character, or that there is none. */
bool unicode_is_character(uint32_t c);
/* The length of the UTF-8 character at s, before end; 0: it is none. */
size_t utf8_length(const char *s, const char *end);
bool utf8_is_valid(const char *s, size_t len);

#endif
