/* SPDX-License-Identifier: MIT */
/*
 * served.h - what is served from user space below a file: the disks that a
 * blkgraphd makes, and our mounts. Blocking, for helper threads.
 *
 * A file lies on a disk of ours when its file system's device is one, or lies
 * on one: through partitions, mapped devices, loop devices on files, to any
 * depth. (File systems without a block device of their own, as btrfs and
 * overlays show them, are not looked through.)
 */
#ifndef EXPORT_SERVED_H
#define EXPORT_SERVED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Our mounts are of this type, and their source is "blkgraph:PID:ID" with the
 * pid of the daemon that serves them and the export's id (F9). */
#define SERVED_MOUNT_TYPE "fuse.blkgraph"
#define SERVED_MOUNT_SOURCE "blkgraph:"	/* what it begins with */

/* Whose. */
enum served_by {
	/* Of any daemon, alive or not: after a crash one of ours has none. So
	 * every ublk device counts. */
	SERVED_BY_ANY,
	/* of this process */
	SERVED_BY_US,
};

/* Whether pid, which a disk, a mount or a lock has noted, may be another daemon
 * that lives; then it is not ours to remove. One that was killed does not, from
 * then on: what is left of it may be there for long. */
bool served_by_other(int pid);
/*
 * Whether a block device or, if it has one, the device of a file system is
 * served, or lies on what is. dev: st_rdev, or st_dev of a file. Writes the
 * served device's, or mount's, path. root: "", but in tests, which have a tree
 * of their own for /sys and /proc; the paths are those that the calling thread
 * sees.
 */
bool served_below(const char *root, dev_t dev, enum served_by by, char *path,
		  size_t size);

/* Whether one line of a mountinfo file is a mount of ours. Writes the mount
 * point, unescaped, and the pid. */
bool served_mount(const char *line, int *pid, char *point, size_t size);

/*
 * The disks that a process serves, as "/dev/loop3, /dev/ublkb0"; what has no
 * room is "...". For who has a disk open and may be a daemon with another on
 * it. root: as above.
 */
void served_by_process(const char *root, int pid, char *text, size_t size);

#endif
