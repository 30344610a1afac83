/* SPDX-License-Identifier: MIT */
/*
 * statelog-format.c - records of the state log as bytes. Pure functions.
 */
#include "server/statelog-format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/json.h"

#define RECORD_HEAD 18u		/* "LENGTH CRC32 " */

static uint32_t statelog_crc(const char *text, size_t len)
{
	return (uint32_t)crc32_z(0, (const unsigned char *)text, len);
}

char *statelog_encode(json_t *record, size_t *len)
{
	char *json = json_write(record, JSON_COMPACT | JSON_SORT_KEYS);
	size_t size = json ? strlen(json) : 0;
	char *text = json ? malloc(RECORD_HEAD + size + 2) : NULL;

	if (text) {
		*len = RECORD_HEAD + size + 1;
		snprintf(text, *len + 1, "%08zx %08x %s\n", size,
			 statelog_crc(json, size), json);
	}
	free(json);
	return text;
}

/* Eight lower case hexadecimal digits and a space, as we write them. */
static bool statelog_hex(const char *text, uint32_t *value)
{
	*value = 0;
	for (unsigned i = 0; i < 8; i++) {
		const char *digits = "0123456789abcdef";
		const char *digit = memchr(digits, text[i], 16);

		if (!digit)
			return false;
		*value = *value << 4 | (uint32_t)(digit - digits);
	}
	return text[8] == ' ';
}

json_t *statelog_decode(const char *data, size_t len, size_t *used)
{
	uint32_t size, crc;
	json_t *record;

	if (len < RECORD_HEAD || !statelog_hex(data, &size) ||
	    !statelog_hex(data + 9, &crc))
		return NULL;
	if (size > STATELOG_RECORD_MAX || len - RECORD_HEAD < size + 1u)
		return NULL;
	data += RECORD_HEAD;
	if (data[size] != '\n' || statelog_crc(data, size) != crc)
		return NULL;
	record = json_read(data, size, JSON_REJECT_DUPLICATES, NULL);
	if (record)
		*used = RECORD_HEAD + size + 1;
	return record;
}

bool statelog_apply(json_t *state, json_t *record)
{
	json_t *set = json_object_get(record, "set");
	json_t *del = json_object_get(record, "del");
	json_t *key;
	size_t i;

	if ((set && !json_is_object(set)) || (del && !json_is_array(del)))
		return false;
	json_array_foreach(del, i, key)
		json_object_del(state, json_string_value(key));
	if (set)
		json_object_update(state, set);
	return true;
}

static bool statelog_head_is_known(const json_t *head)
{
	return json_integer_value(json_object_get(head, "blkgraph-state")) ==
	       STATELOG_VERSION;
}

size_t statelog_replay(json_t *state, const char *data, size_t len,
		       json_t **head)
{
	size_t done = 0, used;

	*head = NULL;
	while (done < len) {
		json_t *record = statelog_decode(data + done, len - done,
						 &used);

		if (!record)
			break;
		if (*head ? !statelog_apply(state, record) :
			    !statelog_head_is_known(record)) {
			json_decref(record);
			break;
		}
		if (*head)
			json_decref(record);
		else
			*head = record;
		done += used;
	}
	return done;
}

json_t *statelog_diff(json_t *from, json_t *to)
{
	json_t *set = json_object(), *del = json_array(), *value;
	const char *key;

	json_object_foreach(to, key, value)
		if (!json_equal(json_object_get(from, key), value))
			json_object_set(set, key, value);
	json_object_foreach(from, key, value)
		if (!json_object_get(to, key))
			json_array_append_new(del, json_string(key));
	if (json_object_size(set) || json_array_size(del))
		return json_pack("{s:o,s:o}", "set", set, "del", del);
	json_decref(set);
	json_decref(del);
	return NULL;
}
