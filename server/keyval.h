/* SPDX-License-Identifier: MIT */
/*
 * keyval.h - a command line's "driver=qcow2,file.filename=x,list.0=y" as JSON.
 *
 * Pure: text in, an object out whose values are strings, objects and arrays of
 * them. What the strings mean is the matter of types.h.
 */
#ifndef SERVER_KEYVAL_H
#define SERVER_KEYVAL_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/error.h"

#define KEYVAL_NAME_MAX 127u	/* bytes of a name between dots */
#define KEYVAL_DEPTH_MAX 32u	/* dots in a key */

/*
 * implied: the key of a first value without one, or NULL. flags: a name
 * without value is "on", and "off" with "no" before it. New reference, or NULL
 * and *err, in the words of the storage daemon, naming the key.
 *
 * A key is made of names with dots between them; names that are all numbers,
 * 0 to n, are an array's. In a value ",," is a comma. The last of two equal
 * keys wins.
 */
json_t *keyval_parse(const char *text, const char *implied, bool flags,
		     struct error **err);

#endif
