/* SPDX-License-Identifier: MIT */
/*
 * watch.h - whether our mounts are still there, where users see them (A7). A
 * lazy unmount of one that a loop device is on tells nobody: the kernel keeps
 * the file as long as the device does.
 *
 * Main thread. While any is watched the table of mounts is read after changes
 * of it, which the kernel announces; otherwise nothing is done.
 */
#ifndef FUSE_WATCH_H
#define FUSE_WATCH_H

#include <stdint.h>
#include <sys/types.h>

struct watch {
	dev_t dev;		/* of the file system that was mounted */
	/* No mount of it is there: it is watched no more. Does not wait. */
	void (*vanished)(struct watch *w);
	uint64_t since;		/* looks that began before are not of it */
	struct watch *next;
};

/* Looks at once, and after each change. Where the table cannot be read nothing
 * vanishes. */
void watch_begin(struct watch *w);
/* Harmless where it is not watched. */
void watch_end(struct watch *w);

#endif
