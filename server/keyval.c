/* SPDX-License-Identifier: MIT */
/*
 * keyval.c - keys and values of a command line as JSON. Pure, any thread.
 */
#include "server/keyval.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"

struct span {
	const char *text;
	size_t len;
};

static bool bad_key(struct span key, struct error **err)
{
	error_set(err, EINVAL, "Invalid parameter '%.*s'", (int)key.len,
		  key.text);
	return false;
}

/* The length of a name: a word that begins with a letter, or a number. 0: it
 * is none. */
static size_t name_length(const char *s, const char *end)
{
	const char *c = s;

	if (c < end && isdigit((unsigned char)*c)) {
		while (c < end && isdigit((unsigned char)*c))
			c++;
		return c < end && (isalpha((unsigned char)*c) ||
				   strchr("-_", *c)) ? 0 : (size_t)(c - s);
	}
	if (c == end || !isalpha((unsigned char)*c))
		return 0;
	while (c < end && (isalnum((unsigned char)*c) || *c == '-' ||
			   *c == '_'))
		c++;
	return (size_t)(c - s);
}

static bool used_both_ways(struct span key, size_t upto, struct error **err)
{
	error_set(err, EINVAL, "Parameters '%.*s.*' used inconsistently",
		  (int)upto, key.text);
	return false;
}

/* The object behind the name that ends at `upto` of the key, made if there is
 * none. NULL: it is a value. */
static json_t *enter(json_t *in, struct span name)
{
	json_t *next = json_object_getn(in, name.text, name.len);

	if (!next) {
		next = json_object();
		json_object_setn_new(in, name.text, name.len, next);
	}
	return json_is_object(next) ? next : NULL;
}

/* Puts value, which it takes over, where the key says. */
static bool keyval_put(json_t *top, struct span key, json_t *value,
		       struct error **err)
{
	const char *end = key.text + key.len;
	struct span name = { key.text, 0 };
	json_t *in = top;
	unsigned depth = 0;

	for (;; name.text += name.len + 1) {
		name.len = name_length(name.text, end);
		if (!name.len || depth++ > KEYVAL_DEPTH_MAX ||
		    (name.text + name.len < end && name.text[name.len] != '.'))
			goto bad;
		if (name.len > KEYVAL_NAME_MAX) {
			error_set(err, EINVAL, "Parameter%s '%.*s' is too "
				  "long", name.len == key.len ? "" :
				  " fragment", (int)name.len, name.text);
			goto out;
		}
		if (name.text + name.len == end)
			break;
		in = enter(in, name);
		if (!in) {
			used_both_ways(key, (size_t)(name.text + name.len -
						     key.text), err);
			goto out;
		}
	}
	if (json_is_object(json_object_getn(in, name.text, name.len))) {
		used_both_ways(key, key.len, err);
		goto out;
	}
	json_object_setn_new(in, name.text, name.len, value);
	return true;
bad:
	bad_key(key, err);
out:
	json_decref(value);
	return false;
}

/* A value up to the comma that ends it; advances *s past that. */
static json_t *take_value(const char **s)
{
	char *text = malloc(strlen(*s) + 1);
	json_t *value;
	size_t len = 0;

	if (!text)
		abort();
	while (**s && (**s != ',' || (*s)[1] == ',')) {
		*s += **s == ',';
		text[len++] = *(*s)++;
	}
	*s += **s == ',';
	value = json_text_of(text, len);
	free(text);
	return value;
}

static bool put_flag(json_t *top, struct span key, struct error **err)
{
	bool off = key.len > 2 && !strncmp(key.text, "no", 2);

	if (off)
		key = (struct span){ key.text + 2, key.len - 2 };
	return keyval_put(top, key, json_string(off ? "off" : "on"), err);
}

/* One "key=value", or what may stand instead; advances *s past its comma. */
static bool take_pair(json_t *top, const char **s, const char *implied,
		      bool flags, struct error **err)
{
	struct span key = { *s, strcspn(*s, "=,") }, first;

	if (key.text[key.len] == '=') {
		*s += key.len + 1;
		return keyval_put(top, key, take_value(s), err);
	}
	*s += key.len + (key.text[key.len] == ',');
	if (implied && key.len) {
		first = (struct span){ implied, strlen(implied) };
		return keyval_put(top, first, json_text_of(key.text, key.len),
				  err);
	}
	if (name_length(key.text, key.text + key.len) != key.len || !key.len)
		return bad_key(key, err);
	if (flags)
		return put_flag(top, key, err);
	error_set(err, EINVAL, "Expected '=' after parameter '%.*s'",
		  (int)key.len, key.text);
	return false;
}

/* --- arrays -------------------------------------------------------------- */

/* Where a member is, for errors: "a.b". */
struct path {
	const struct path *up;
	const char *name;
};

static void path_write(FILE *out, const struct path *at)
{
	if (at->up) {
		path_write(out, at->up);
		fputc('.', out);
	}
	fputs(at->name, out);
}

static char *path_text(const struct path *at)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	path_write(out, at);
	fclose(out);
	return text;
}

static json_t *list_of(json_t *object, const struct path *at,
		       struct error **err)
{
	json_t *list = json_array();
	char name[24], *where;

	for (size_t i = 0; i < json_object_size(object); i++) {
		json_t *item;

		snprintf(name, sizeof(name), "%zu", i);
		item = json_object_get(object, name);
		if (item) {
			json_array_append(list, item);
			continue;
		}
		where = path_text(&(struct path){ at, name });
		error_set(err, EINVAL, "Parameter '%s' missing", where);
		free(where);
		json_decref(list);
		return NULL;
	}
	return list;
}

/* An object whose names are all numbers becomes an array, below first. Takes
 * over the object; NULL and *err. */
static json_t *make_lists(json_t *object, const struct path *up,
			  const char *own, struct error **err)
{
	struct path at = { up, own };
	size_t numbers = 0;
	json_t *value, *made;
	const char *name;
	char *where;
	void *next;

	json_object_foreach_safe(object, next, name, value) {
		numbers += isdigit((unsigned char)*name) != 0;
		if (!json_is_object(value))
			continue;
		made = make_lists(json_incref(value), own ? &at : NULL, name,
				  err);
		if (!made)
			goto fail;
		json_object_set_new(object, name, made);
	}
	if (!numbers || !own)
		return object;
	if (numbers == json_object_size(object)) {
		made = list_of(object, &at, err);
		json_decref(object);
		return made;
	}
	where = path_text(&at);
	error_set(err, EINVAL, "Parameters '%s.*' used inconsistently", where);
	free(where);
fail:
	json_decref(object);
	return NULL;
}

static bool refuse_numbers(json_t *top, struct error **err)
{
	const char *name;
	json_t *value;

	json_object_foreach(top, name, value)
		if (isdigit((unsigned char)*name))
			return bad_key((struct span){ name, strlen(name) },
				       err);
	return true;
}

json_t *keyval_parse(const char *text, const char *implied, bool flags,
		     struct error **err)
{
	json_t *top = json_object();
	const char *s = text;

	while (*s) {
		if (!take_pair(top, &s, implied, flags, err))
			goto fail;
		implied = NULL;
	}
	if (refuse_numbers(top, err))
		return make_lists(top, NULL, NULL, err);
fail:
	json_decref(top);
	return NULL;
}
