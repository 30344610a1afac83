/* SPDX-License-Identifier: MIT */
/*
 * leftovers.c - files of a daemon that died (F9, F10).
 *
 * When a daemon dies the kernel ends its connections: whoever uses a file, or
 * the loop device on it, gets errors. What stays is the mount and the loop
 * device. They are ours when the mount's source says so and the process that it
 * names is not alive. Of a loop device whose mount others took away (umount
 * -l) nothing tells whose it is: that the caller has noted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "export/host-mounts.h"
#include "export/served.h"
#include "export/users.h"
#include "fuse/fuse.h"
#include "fuse/loop.h"
#include "fuse/mount.h"
#include "runtime/thread.h"

struct scan {
	unsigned removed;
	struct error *err;
};

static void remove_one(struct scan *s, const char *point)
{
	char disk[16];
	int hit = users_find_loop(point, disk), rc = 0;

	/* a loop device that cannot be seen would stay on a dead file */
	if (hit)
		rc = hit < 0 ? -hit : loop_clear(disk);
	if (!rc)
		rc = fuse_unmount_here(point, MNT_DETACH);
	if (!rc)
		s->removed++;
	else if (!s->err)
		error_set(&s->err, rc, "'%s' of a dead blkgraphd cannot be "
			  "unmounted: %s", point, strerror(rc));
}

static void remove_all(void *arg)
{
	char *line = NULL, point[USERS_PATH_MAX];
	struct scan *s = arg;
	size_t size = 0;
	int pid;
	FILE *f = fopen("/proc/thread-self/mountinfo", "re");

	while (f && getline(&line, &size, f) > 0)
		if (served_mount(line, &pid, point, sizeof(point)) &&
		    !served_by_other(pid))
			remove_one(s, point);
	free(line);
	if (f)
		fclose(f);
}

static void remove_run(void *arg)
{
	struct scan *s = arg, copies = { 0 };
	int rc = host_mounts_run(remove_all, s);

	if (rc && !s->err)
		error_set(&s->err, rc, "cannot look for mounts of a dead "
			  "blkgraphd: %s", strerror(rc));
	/* our namespace began as a copy of the users' */
	if (host_mounts_apart())
		remove_all(&copies);
	error_clear(&copies.err);
}

struct remove_loop {
	const char *disk;
	uint64_t seq;
	bool was;
	int error;
};

static void remove_loop_run(void *arg)
{
	struct remove_loop *r = arg;

	r->was = loop_is(r->disk, r->seq);
	if (r->was)
		r->error = loop_clear(r->disk);
}

bool co_fuse_remove_loop(const char *device, uint64_t seq, struct error **err)
{
	static const char folder[] = "/dev/";
	struct remove_loop r = { .seq = seq };

	if (strncmp(device, folder, strlen(folder)) != 0)
		return false;
	r.disk = device + strlen(folder);
	co_blocking(remove_loop_run, &r);
	if (r.error)
		error_set(err, r.error, "'%s' of a dead blkgraphd cannot be "
			  "detached: %s", device, strerror(r.error));
	return r.was && !r.error;
}

unsigned co_fuse_remove_leftovers(struct error **err)
{
	struct scan s = { 0 };

	co_blocking(remove_run, &s);
	if (s.err)
		error_propagate(err, &s.err);
	return s.removed;
}
