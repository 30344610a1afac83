/* SPDX-License-Identifier: MIT */
/*
 * object.h - things that commands refer to by id and that are neither nodes
 * nor exports: credentials, secrets (object-add, object-del). Main thread.
 *
 *	object.c	the registry
 *	object-secret.c	secret, iothread
 *	object-tls.c	tls-creds-x509, tls-creds-psk
 */
#ifndef SERVER_OBJECT_H
#define SERVER_OBJECT_H

#include <jansson.h>
#include <stdbool.h>

#include "graph/options.h"

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
};

struct object {
	const struct object_type *type;
	char *id;
	void *opts;
	json_t *given;		/* to object_add, but what is secret */
	void *state;
	unsigned users;		/* who holds it: it cannot be deleted */
	bool ready;		/* open is over */
	struct object *next;
};

/* Every type, ends with NULL. */
extern const struct object_type *const object_types[];
extern const struct object_type object_secret, object_iothread;

const struct object_type *object_type_find(const char *name);
/*
 * Takes a copy of options ("qom-type", "id", the type's own). On failure
 * nothing is left. Coroutine.
 */
struct object *object_add(json_t *options, struct error **err) MUST_CHECK;
/* Refused while it is in use. */
int object_del(const char *id, struct error **err) MUST_CHECK;
/* NULL: there is none, or it is still being made. */
struct object *object_find(const char *id);
struct object *object_first(void);
/* What a user holds stays until it lets go. */
void object_ref(struct object *obj);
void object_unref(struct object *obj);
/* At the daemon's end, when nobody uses any. */
void object_del_all(void);

/* The bytes of a secret; they stay its own. NULL and *err: no such one. */
const void *object_secret_bytes(const char *id, size_t *len,
				struct error **err);

#endif
