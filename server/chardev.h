/* SPDX-License-Identifier: MIT */
/*
 * chardev.h - the ends that monitors listen and talk on, as the storage
 * daemon's --chardev names them: a Unix socket that clients connect to, one
 * that is connected, standard input and output, nothing.
 *
 * A TCP socket is refused: whoever can connect could open any file.
 *
 * Main thread.
 */
#ifndef SERVER_CHARDEV_H
#define SERVER_CHARDEV_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/error.h"

struct chardev {
	char *id;
	char *path;		/* of a socket that is listened on; or NULL */
	const char *kind;	/* "unix", "stdio", "null" */
	int listener;		/* -1: there is none */
	int in, out;		/* of the one connection; -1: none yet */
	bool taken;		/* a monitor has it */
	struct chardev *next;
};

/*
 * options: of the type "ChardevOptions". Coroutine; waits for a client where
 * they say so. daemonized: standard input is not ours.
 */
int co_chardev_add(json_t *options, bool daemonized, struct error **err)
	MUST_CHECK;
/* A monitor takes it: not found, or taken, is an error. */
struct chardev *chardev_take(const char *id, struct error **err);
/* What query-chardev shows; new reference. */
json_t *chardev_list(void);
/* At the daemon's end: sockets are closed and their files removed. */
void chardev_close_all(void);

#endif
