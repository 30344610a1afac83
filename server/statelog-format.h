/* SPDX-License-Identifier: MIT */
/*
 * statelog-format.h - records of the state log as bytes (A23).
 *
 * The state is a JSON object: a key per thing ("nodes/base", "exports/d0",
 * "intents/7"). A record changes any number of keys at once and is the unit
 * that survives whole or not at all:
 *
 *	LENGTH CRC32 {"seq": N, "set": {KEY: VALUE, ...}, "del": [KEY, ...]}\n
 *
 * LENGTH: of the JSON text, 8 hexadecimal digits; CRC32 of it, the same.
 * Documentation/state-log.md describes the file.
 *
 * Pure functions. blkgraph(8) uses them too: it says what a dead daemon left.
 */
#ifndef SERVER_STATELOG_FORMAT_H
#define SERVER_STATELOG_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define STATELOG_VERSION 1
#define STATELOG_RECORD_MAX (16u * 1024 * 1024)

/* The record's bytes, to be freed; NULL when there is no memory. */
char *statelog_encode(json_t *record, size_t *len);
/*
 * The record that data begins with, and its length in *used; NULL when it is
 * not whole or not right.
 */
json_t *statelog_decode(const char *data, size_t len, size_t *used);
/* Changes state as the record says; false when it says nothing sensible. */
bool statelog_apply(json_t *state, json_t *record);
/*
 * Applies all good records that data begins with, and gives their bytes. *head:
 * the first one, a new reference; NULL: there is none. state: the caller's.
 */
size_t statelog_replay(json_t *state, const char *data, size_t len,
		       json_t **head);
/* The record that makes `to` of `from`, without "seq"; NULL: they are equal.
 * New reference. */
json_t *statelog_diff(json_t *from, json_t *to);

#endif
