/* SPDX-License-Identifier: MIT */
/*
 * chardev.h - the ends that monitors listen and talk on, as the storage
 * daemon's --chardev names them: a socket that clients connect to, or that
 * connects to one; standard input and output; files, pipes, nothing.
 *
 * Main thread.
 */
#ifndef SERVER_CHARDEV_H
#define SERVER_CHARDEV_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/address.h"

struct chardev {
	char *id;
	const char *kind;	/* "socket", "stdio", ... */
	json_t *addr;		/* of a socket; or NULL */
	char *path;		/* its file, where it is listened on; or NULL */
	int listeners[ADDRESS_SOCKETS_MAX];
	unsigned listener_count;
	unsigned reconnect_s;	/* one that connects does so again; 0: once */
	int in, out;		/* of the one connection; -1: none */
	bool taken;		/* a monitor has it */
	struct poll *awaited;	/* its first client; or NULL */
	struct chardev *next;
};

/* Once, where standard input is not ours: in the background. */
void chardev_forbid_stdio(void);
/* What a command line says, of the type "ChardevOptions", as the arguments of
 * chardev-add; new reference, or NULL and *err. */
json_t *chardev_from_options(json_t *options, struct error **err);
/* args: of chardev-add. Coroutine; waits for a client where they say so. */
int co_chardev_add(json_t *args, struct error **err) MUST_CHECK;
/* A monitor takes it: not found, or taken, is an error. */
struct chardev *chardev_take(const char *id, struct error **err);
/* We leave: who waits for a first client hears that none came. */
void chardevs_stop_waiting(void);
/*
 * The connection goes to the caller, who closes what is a socket (in equals
 * out); other descriptors stay the chardev's. False: there is none.
 */
bool chardev_connection(struct chardev *c, int *in, int *out);
/* A socket, connected; or a negative errno. Coroutine. */
int co_chardev_connect(const struct chardev *c, struct error **err) MUST_CHECK;
/* At the daemon's end: sockets are closed and their files removed. */
void chardev_close_all(void);

#endif
