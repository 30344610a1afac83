/* SPDX-License-Identifier: MIT */
/*
 * process.h - what the daemon does to its own process before it serves:
 * background, lock, mount namespace, the kernel's out-of-memory killer.
 *
 * Called before the runtime starts, while there is one thread; may block.
 */
#ifndef SERVER_PROCESS_H
#define SERVER_PROCESS_H

#include "runtime/error.h"

/*
 * Goes to the background: returns in the child only. The parent stays until
 * process_ready, and passes on what the child prints and its exit status, so
 * that whoever started us knows that the socket answers.
 */
int process_daemonize(struct error **err) MUST_CHECK;
/* Lets the parent go, and with it its terminal and what else it had open that
 * nobody took (passed.h). Harmless without process_daemonize. */
void process_ready(void);

/*
 * Wins PATH's lock for the life of the process, or says who has it: one
 * daemon per socket. One that was killed, or that listens on the socket no
 * more since it leaves, is waited for, a few seconds. The file stays: it has
 * the lock, and says the pid and, a line each, what `note` says.
 */
int process_lock(const char *path, const char *socket, const char *note,
		 struct error **err) MUST_CHECK;
/* Before an exit that may take the kernel long: the next daemon may begin. */
void process_unlock(void);

/* Makes a directory of mode 0700 unless it is there. */
int process_make_dir(const char *path, struct error **err) MUST_CHECK;

/*
 * A mount namespace of our own, mounts still coming in from outside (A7): else
 * our exit could be what unmounts a file system on our own device. Where they
 * cannot come in, since the root mount is not shared, the users' own. The
 * killer's last choice, and as many descriptors as are allowed. What is refused
 * is noted (lacks.h).
 */
void process_protect(void);
int process_write_pid(const char *path, struct error **err) MUST_CHECK;

#endif
