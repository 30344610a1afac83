/* SPDX-License-Identifier: MIT */
/*
 * leftovers.c - devices of a daemon that died (K4, K5).
 *
 * Its sockets are closed then, and the kernel fails the device's I/O; but the
 * device stays connected until somebody disconnects it.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "export/served.h"
#include "kernel-nbd/kernel-nbd.h"
#include "kernel-nbd/netlink.h"
#include "runtime/thread.h"

struct scan {
	unsigned removed;
	struct error *err;
};

static bool is_left(unsigned index)
{
	char backend[KNBD_BACKEND_MAX];
	int pid;

	if (!knbd_backend(index, backend) ||
	    strncmp(backend, "blkgraph:", 9) != 0)
		return false;
	pid = atoi(backend + 9);
	return pid > 0 && !served_by_other(pid);
}

static void knbd_remove_run(void *arg)
{
	struct scan *s = arg;
	DIR *dir = opendir("/sys/block");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		unsigned index;

		if (strncmp(e->d_name, "nbd", 3) != 0 ||
		    !isdigit((unsigned char)e->d_name[3]))
			continue;
		index = (unsigned)atoi(e->d_name + 3);
		if (!s->err && is_left(index) &&
		    !knbd_disconnect(index, &s->err))
			s->removed++;
	}
	if (dir)
		closedir(dir);
}

unsigned co_kernel_nbd_remove_leftovers(struct error **err)
{
	struct scan s = { 0 };

	co_blocking(knbd_remove_run, &s);
	if (s.err)
		error_propagate(err, &s.err);
	return s.removed;
}
