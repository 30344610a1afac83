/* SPDX-License-Identifier: MIT */
/*
 * host-mounts.c - see host-mounts.h.
 *
 * A thread enters another mount namespace only when it shares its file system
 * state (working directory, root) with no other, and cannot share it again
 * later: so each visit is a thread of its own.
 */
#include "export/host-mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

/* set before the first thread */
static int users_namespace = -1;
static int users_root = -1;	/* which need not be the namespace's */

struct visit {
	void (*fn)(void *arg);
	void *arg;
	int error;
};

void host_mounts_keep(void)
{
	users_namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	users_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void host_mounts_stay(void)
{
	if (users_namespace >= 0)
		close(users_namespace);
	if (users_root >= 0)
		close(users_root);
	users_namespace = users_root = -1;
}

bool host_mounts_apart(void)
{
	return users_namespace >= 0;
}

/* Who enters a namespace is at its root, wherever he was before. */
static bool enter_users(void)
{
	return !unshare(CLONE_FS) && !setns(users_namespace, CLONE_NEWNS) &&
	       !fchdir(users_root) && !chroot(".");
}

static void *visit_run(void *arg)
{
	struct visit *v = arg;

	if (!enter_users())
		v->error = errno;
	else
		v->fn(v->arg);
	return NULL;
}

int host_mounts_run(void (*fn)(void *arg), void *arg)
{
	struct visit v = { .fn = fn, .arg = arg };
	pthread_t thread;
	int rc;

	if (!host_mounts_apart()) {
		fn(arg);
		return 0;
	}
	rc = pthread_create(&thread, NULL, visit_run, &v);
	if (rc)
		return rc;
	pthread_join(thread, NULL);
	return v.error;
}
