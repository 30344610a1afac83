/* SPDX-License-Identifier: MIT */
/*
 * host-mounts.h - doing something where users see mounts (A7): the daemon lives
 * in a mount namespace of its own, what it mounts must not be there.
 */
#ifndef EXPORT_HOST_MOUNTS_H
#define EXPORT_HOST_MOUNTS_H

#include <stdbool.h>

/* The namespace that the process is in now is the users'. Before the first
 * thread, and before the process leaves it. */
void host_mounts_keep(void);
/* It did not leave it after all. */
void host_mounts_stay(void);
/* Whether the daemon's own namespace is another one. */
bool host_mounts_apart(void);
/*
 * Runs fn(arg) in the users' namespace, on a thread that then ends, and waits
 * for it. For helper threads. 0 or a positive errno, when it did not run.
 */
int host_mounts_run(void (*fn)(void *arg), void *arg)
	__attribute__((warn_unused_result));

#endif
