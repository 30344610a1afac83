/* SPDX-License-Identifier: MIT */
/*
 * object.h - things that commands refer to by id and that are neither nodes
 * nor exports: credentials, secrets (object-add, object-del). Main thread.
 *
 *	object.c	the registry
 *	object-secret.c	secret, iothread
 *	object-tls.c	tls-creds-x509, tls-creds-psk
 *	object-throttle.c	throttle-group
 */
#ifndef SERVER_OBJECT_H
#define SERVER_OBJECT_H

#include <jansson.h>
#include <stdbool.h>

#include "graph/options.h"
#include "runtime/ref.h"

struct object;

struct object_type {
	const char *name;	/* "secret" */
	const struct option *options;	/* ends with name NULL; may be NULL */
	size_t options_size;
	size_t state_size;	/* object->state, zeroed */
	/* Options are parsed; may wait. NULL: nothing to do. */
	int (*open)(struct object *obj, struct error **err);
	/* After open has succeeded; nobody uses it any more. */
	void (*close)(struct object *obj);
	/*
	 * A property that has all options, which are those of its members with
	 * BUNDLE_PREFIX before: what is set in both is as the bundle says. Only
	 * it can be set while the object lives. NULL: there is none.
	 */
	const char *bundle, *bundle_type;	/* "limits", "ThrottleLimits" */
	/* Whether opts could be set; then obj->opts are new, and it may wait
	 * until that is so for all. */
	int (*check)(const void *opts, struct error **err);
	void (*changed)(struct object *obj);
	/* Whether something refers to it beside references. NULL: nothing. */
	bool (*is_used)(const struct object *obj);
};
#define BUNDLE_PREFIX "x-"

/* The life of an object (A33); object.c has the table of what may follow
 * what. */
enum object_life {
	OBJECT_OPENING,		/* its id is taken; nobody finds it */
	OBJECT_READY,
	OBJECT_LEAVING,		/* its id is free; closes with the last one */
	OBJECT_CLOSED,
	OBJECT_LIVES
};

struct object {
	const struct object_type *type;
	enum object_life life;
	char *id;
	void *opts;
	json_t *given;		/* to object_add, but what is secret */
	/* until it is deleted; else it ends when nothing uses it any more */
	bool held;
	void *state;
	struct ref ref;		/* one is that of being in the list */
	struct object *next;
};

/* Every type, ends with NULL. */
extern const struct object_type *const object_types[];
extern const struct object_type object_secret, object_iothread;
extern const struct object_type object_throttle_group;

const struct object_type *object_type_find(const char *name);
/*
 * Takes a copy of options ("qom-type", "id", the type's own). On failure
 * nothing is left. What it gives is held. Coroutine.
 */
struct object *object_add(json_t *options, struct error **err) MUST_CHECK;
/* NULL: there is none, or it is still being made. */
struct object *object_find(const char *id);
/* Whether there is one, or one is being made. */
bool object_id_is_taken(const char *id);
/* All, of any life that has an id. */
struct object *object_first(void);
bool object_is_found(const struct object *obj);
/* A pointer kept across a wait is a reference; the owner is a word (ref.h).
 * What anybody refers to cannot be deleted. */
#define object_get(obj, owner) ref_get(&(obj)->ref, owner)
void object_put(struct object *obj, const char *owner);
/* What is_used counts is down to nothing: one that is not held goes. */
void object_unused(struct object *obj);
/* All that are not held, and that nothing has come to use. */
void object_unused_all(void);
/* The bundle as it is; new reference. */
json_t *object_bundle(const struct object *obj);
/* Sets members of it: all or none. Coroutine. */
int object_set_bundle(struct object *obj, json_t *value, struct error **err)
	MUST_CHECK;
/* At the daemon's end: what a late load still uses goes with that. */
void object_del_all(void);

/* The secret of that id, and its bytes, which are there as long as it is. NULL
 * and *err: no such one. */
struct object *object_secret_find(const char *id, const void **bytes,
				  size_t *len, struct error **err);

#endif
