/* SPDX-License-Identifier: MIT */
/*
 * mount.h - a file's mount, where users see it (A7). Blocking, for helper
 * threads; none of it waits for the file's storage.
 *
 * How a mount of ours is told from others stands in export/served.h (F9).
 */
#ifndef FUSE_MOUNT_H
#define FUSE_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/error.h"

#define FUSE_QUEUES_MAX 16u

struct fuse_mount {
	const char *id;		/* the export's */
	const char *path;	/* absolute */
	bool writable, allow_other;
	unsigned queues;
	int fd[FUSE_QUEUES_MAX];	/* out: non-blocking, the caller's */
};

/*
 * Where mount points are that nobody named; before the first mount, stays the
 * caller's. Files there are ours to make and to remove.
 */
void fuse_set_mount_dir(const char *dir);
/* The default mount point of an export: malloc'ed, or NULL. */
char *fuse_default_path(const char *id);

/* Whether this machine has FUSE, and lets us. */
int fuse_available(struct error **err) MUST_CHECK;
/* The mount point is a regular file. On failure nothing is left. */
int fuse_mount(struct fuse_mount *m, struct error **err) MUST_CHECK;
/*
 * Takes the mount away. flags as umount2: 0 refuses with EBUSY while somebody
 * has the file open. 0 or a positive errno; EINVAL: there is none.
 */
int fuse_unmount(const char *path, int flags) MUST_CHECK;
/* The same in the mount namespace of the calling thread. */
int fuse_unmount_here(const char *path, int flags) MUST_CHECK;

#endif
