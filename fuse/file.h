/* SPDX-License-Identifier: MIT */
/*
 * file.h - the life of one exported file. Main thread, coroutines.
 *
 *	NEW --open--> OPENED --start--> SHOWN --stop--> STOPPED --close--> gone
 *	                                  |                ^
 *	                                  +--> STUCK ------+ when it ends late
 *
 * SHOWN: mounted, every queue reads; with a loop device on it where that was
 * asked for. STUCK: unmounted, but the graph still has requests.
 */
#ifndef FUSE_FILE_H
#define FUSE_FILE_H

#include "fuse/loop.h"
#include "fuse/mount.h"
#include "fuse/queue.h"
#include "fuse/watch.h"
#include "graph/export.h"

struct fuse_options {
	char *mountpoint;		/* or NULL */
	bool growable, block_device, partition_scan;
	int allow_other;		/* off, on, auto */
	uint32_t queues, depth;
	uint32_t logical_block_size;	/* bytes; requests are multiples */
	uint32_t device_id;		/* of the loop device */
};

enum fuse_state { FUSE_NEW, FUSE_OPENED, FUSE_SHOWN, FUSE_STOPPED, FUSE_STUCK };

struct fuse_file {
	char *export_id;
	enum fuse_state state;
	struct fuse_options opts;	/* its strings are the export's */
	struct fuse_common common;
	char *path;			/* the mount point */
	bool mounted;
	bool vanished;			/* others have unmounted it */
	unsigned queues;
	struct fuse_queue *queue;
	struct loop loop;
	struct watch watch;		/* of the mount below that */
	uint64_t stuck_since_ns;
	unsigned readers;	/* coroutines that ask the queues something */
};

/* path, opts, shape and the rest of what is known are set. Takes room on the
 * I/O threads; on failure nothing is left. */
int co_fuse_file_open(struct fuse_file *f, struct error **err) MUST_CHECK;
/* Bit per I/O thread that serves a queue. */
uint64_t fuse_file_threads(const struct fuse_file *f);
/* common.root is set. On failure close is still to be called. */
int co_fuse_file_start(struct fuse_file *f, struct error **err) MUST_CHECK;
/* C9. On failure it goes on as it was, or is STUCK. */
int co_fuse_file_stop(struct fuse_file *f, enum export_stop mode,
		      struct error **err) MUST_CHECK;
/* Another size of the file, and of the loop device on it; on failure it stays
 * as it was. */
int co_fuse_file_resize(struct fuse_file *f, uint64_t size,
			struct error **err) MUST_CHECK;
/* As co_disk_idle. */
int co_fuse_file_idle(struct fuse_file *f, bool patient, struct error **err)
	MUST_CHECK;
/* Whether somebody else has taken it away: its mount, or its loop device. With
 * the mount the device goes as well, now or with its last user. */
bool co_fuse_file_is_gone(struct fuse_file *f);
/* Gives back everything. False where it is STUCK: then f must stay. */
bool co_fuse_file_close(struct fuse_file *f);

#endif
