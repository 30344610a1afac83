/* SPDX-License-Identifier: MIT */
/*
 * object.c - the registry of objects, and the commands on it. Main thread.
 *
 * An object is in the list from the moment its id is taken, but is found by
 * others only when it is whole.
 */
#include "server/object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/late.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/object-tls.h"
#include "server/types.h"

#define BIT(life) (1u << OBJECT_##life)

static const unsigned object_life_follows[OBJECT_LIVES] = {
	[OBJECT_OPENING] = BIT(READY) | BIT(CLOSED),
	[OBJECT_READY] = BIT(LEAVING),
	[OBJECT_LEAVING] = BIT(CLOSED),
};

static struct object *objects;

const struct object_type *const object_types[] = {
	&object_iothread,
	&object_secret,
	&object_throttle_group,
	&object_tls_psk,
	&object_tls_x509,
	NULL
};

const struct object_type *object_type_find(const char *name)
{
	const struct object_type *const *type = object_types;

	while (*type && strcmp((*type)->name, name))
		type++;
	return *type;
}

static struct object *object_by_id(const char *id)
{
	struct object *obj = objects;

	while (obj && strcmp(obj->id, id))
		obj = obj->next;
	return obj;
}

bool object_id_is_taken(const char *id)
{
	return object_by_id(id);
}

static void object_set_life(struct object *obj, enum object_life life)
{
	assert(object_life_follows[obj->life] >> life & 1);
	obj->life = life;
}

bool object_is_found(const struct object *obj)
{
	return obj->life == OBJECT_READY;
}

struct object *object_find(const char *id)
{
	struct object *obj = object_by_id(id);

	return obj && object_is_found(obj) ? obj : NULL;
}

struct object *object_first(void)
{
	return objects;
}

static int object_check_id(const char *id, struct error **err)
{
	int rc = arg_check_id(id, err);

	if (rc < 0)
		return rc;
	if (object_by_id(id))
		return error_set(err, EEXIST, "attempt to add duplicate "
				 "property '%s' to object (type 'container')",
				 id);
	return 0;
}

static void object_unlink(struct object *obj)
{
	struct object **at = &objects;

	while (*at != obj)
		at = &(*at)->next;
	*at = obj->next;
}

static void object_free(struct object *obj)
{
	if (obj->type->options)
		options_free(obj->type->options, obj->opts);
	free(obj->opts);
	json_decref(obj->given);
	free(obj->state);
	free(obj->id);
	free(obj);
}

static bool object_is_used(const struct object *obj)
{
	return obj->ref.count > 1 ||
		(obj->type->is_used && obj->type->is_used(obj));
}

void object_put(struct object *obj, const char *owner)
{
	if (!ref_put(&obj->ref, owner)) {
		object_unused(obj);
		return;
	}
	if (obj->life == OBJECT_LEAVING) {
		if (obj->type->close)
			obj->type->close(obj);
		object_set_life(obj, OBJECT_CLOSED);
	}
	assert(obj->life == OBJECT_CLOSED);
	object_free(obj);
}

/* Nobody finds it any more. */
static void object_take_out(struct object *obj)
{
	object_unlink(obj);
	object_set_life(obj, obj->life == OBJECT_READY ? OBJECT_LEAVING :
							 OBJECT_CLOSED);
	object_put(obj, "list");
}

void object_unused(struct object *obj)
{
	if (object_is_found(obj) && !obj->held && !object_is_used(obj))
		object_take_out(obj);
}

void object_unused_all(void)
{
	struct object *obj, *next;

	for (obj = objects; obj; obj = next) {
		next = obj->next;
		object_unused(obj);
	}
}

static struct object *object_new(const struct object_type *type,
				 const char *id)
{
	struct object *obj = calloc(1, sizeof(*obj));

	if (!obj)
		abort();
	obj->type = type;
	obj->id = strdup(id);
	obj->opts = calloc(1, type->options_size + 1);
	obj->state = calloc(1, type->state_size + 1);
	if (!obj->id || !obj->opts || !obj->state)
		abort();
	obj->next = objects;
	objects = obj;
	object_get(obj, "list");
	return obj;
}

/* Members of the bundle become options. */
static void bundle_undo(const struct object_type *type, json_t *options)
{
	json_t *bundle = type->bundle ?
		json_object_get(options, type->bundle) : NULL;
	char key[80];
	const char *name;
	json_t *value;

	if (!bundle)
		return;
	json_object_foreach(bundle, name, value) {
		snprintf(key, sizeof(key), BUNDLE_PREFIX "%s", name);
		json_object_set(options, key, value);
	}
	json_object_del(options, type->bundle);
}

json_t *object_bundle(const struct object *obj)
{
	json_auto_t *options = options_describe(obj->type->options, obj->opts);
	json_t *bundle = json_object(), *value;
	const char *name;

	json_object_foreach(options, name, value)
		json_object_set(bundle, name + strlen(BUNDLE_PREFIX), value);
	return bundle;
}

int object_set_bundle(struct object *obj, json_t *value, struct error **err)
{
	const struct object_type *type = obj->type;
	json_t *checked = json_deep_copy(value);
	json_auto_t *options = options_describe(type->options, obj->opts);
	void *opts = calloc(1, type->options_size + 1);
	int rc = 0;

	if (!opts)
		abort();
	if (!type_check(type_named(type->bundle_type), type->bundle, &checked,
			FROM_JSON, err))
		rc = -EINVAL;
	json_object_set_new(options, type->bundle, checked);
	if (rc == 0) {
		bundle_undo(type, options);
		rc = options_parse(options, type->options, NULL, opts, err);
	}
	if (rc == 0)
		rc = type->check(opts, err);
	if (rc == 0) {
		memcpy(obj->opts, opts, type->options_size);
		for (const struct option *o = type->options; o->name; o++)
			json_object_del(obj->given, o->name);
		json_object_set_new(obj->given, type->bundle,
				    object_bundle(obj));
		type->changed(obj);
	}
	free(opts);
	return rc;
}

static int object_open(struct object *obj, json_t *options,
		       struct error **err)
{
	void *left;
	int rc = 0;

	json_object_del(options, "qom-type");
	json_object_del(options, "id");
	bundle_undo(obj->type, options);
	if (obj->type->options)
		rc = options_parse(options, obj->type->options, NULL,
				   obj->opts, err);
	left = json_object_iter(options);
	if (rc == 0 && left)
		rc = error_set(err, EINVAL, "Parameter '%s' is unexpected",
			       json_object_iter_key(left));
	if (rc == 0 && obj->type->open)
		rc = obj->type->open(obj, err);
	return rc;
}

/* A secret is in no list and in no log. */
static json_t *given_in_public(const struct object_type *type, json_t *options)
{
	const struct option *o = type->options;
	json_t *given = json_deep_copy(options);

	for (; o && o->name; o++)
		if (o->secret && json_object_del(given, o->name) == 0)
			json_object_set_new(given, o->name, json_null());
	return given;
}

struct object *object_add(json_t *options, struct error **err)
{
	const char *name = arg_string(options, "qom-type", "");
	const struct object_type *type = object_type_find(name);
	const char *id = arg_string(options, "id", "");
	struct object *obj;
	json_t *copy;
	int rc;

	if (!type) {
		error_set(err, EINVAL, "Parameter 'qom-type' does not accept "
			  "value '%s'", name);
		return NULL;
	}
	if (object_check_id(id, err) < 0)
		return NULL;
	obj = object_new(type, id);
	obj->given = given_in_public(type, options);
	copy = json_copy(options);
	rc = object_open(obj, copy, err);
	json_decref(copy);
	if (rc < 0) {
		object_take_out(obj);
		return NULL;
	}
	obj->held = true;
	object_set_life(obj, OBJECT_READY);
	return obj;
}

/* Refused while it is in use. */
static int object_del(const char *id, struct error **err)
{
	struct object *obj = object_find(id);

	if (!obj)
		return error_set(err, ENOENT, "object '%s' not found", id);
	if (object_is_used(obj))
		return error_set(err, EBUSY, "object '%s' is in use, can not "
				 "be deleted", id);
	object_take_out(obj);
	return 0;
}

void object_del_all(void)
{
	struct object *obj, *next;

	for (obj = objects; obj; obj = next) {
		next = obj->next;
		/* else it is still being made, or what is left uses it */
		if (object_is_found(obj) &&
		    !(obj->type->is_used && obj->type->is_used(obj)))
			object_take_out(obj);
	}
}

/* Its files may not answer, a directory of certificates say (A38). */
struct object_work {
	struct late late;
	json_t *options;
	struct object *obj;
	struct error *err;
};

static void object_work_run(struct late *late)
{
	struct object_work *w = container_of(late, struct object_work, late);

	w->obj = object_add(w->options, &w->err);
}

static void object_work_free(struct object_work *w)
{
	json_decref(w->options);
	error_clear(&w->err);
	free(w);
}

static void object_work_undo(struct late *late)
{
	struct object_work *w = container_of(late, struct object_work, late);

	if (w->obj)
		object_take_out(w->obj);
	object_work_free(w);
}

json_t *cmd_object_add(json_t *args, struct error **err)
{
	struct object_work *w = calloc(1, sizeof(*w));
	bool added;

	if (!w)
		abort();
	w->options = json_deep_copy(args);
	w->late.run = object_work_run;
	w->late.undo = object_work_undo;
	w->late.gives_way = true;
	if (!co_late(&w->late, late_bound_ns(), err, "Adding object '%s'",
		     arg_string(args, "id", "")))
		return NULL;
	added = w->obj;
	if (w->err)
		error_propagate(err, &w->err);
	object_work_free(w);
	return added ? json_object() : NULL;
}

json_t *cmd_object_del(json_t *args, struct error **err)
{
	return object_del(arg_string(args, "id", ""), err) < 0 ?
		NULL : json_object();
}
