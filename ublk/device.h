/* SPDX-License-Identifier: MIT */
/*
 * device.h - the life of one ublk device. Main thread, coroutines.
 *
 *	 NEW --open--> ADDED --start--> STARTING --> LIVE
 *	                 |                 |           |
 *	                 |                 |         stop.c
 *	                 |                 v           v
 *	                 +---- close ---- STOPPED <----+
 *	                          |
 *	                        GONE         any --deadline passed--> STUCK
 *
 * STUCK: the device's memory, tags and id stay taken until the kernel has let
 * go of it and somebody stops it once more (U8).
 */
#ifndef UBLK_DEVICE_H
#define UBLK_DEVICE_H

#include "export/sole.h"
#include "graph/export.h"
#include "ublk/params.h"
#include "ublk/queue.h"

enum ublk_state {
	UBLK_NEW,
	UBLK_ADDED,	/* the kernel knows it; ublkcN open and mapped */
	UBLK_STARTING,	/* tags armed, START under way */
	UBLK_LIVE,
	UBLK_STOPPED,	/* no disk, no tag in the kernel */
	UBLK_GONE,
	UBLK_STUCK,
};

struct ublk_device {
	char *export_id;
	struct root *root;
	struct ublk_options opts;
	enum ublk_state state;
	struct disk disk;		/* from ADDED on */
	uint32_t id;
	int char_fd;
	uint64_t size;			/* bytes, as shown */
	uint64_t flags;			/* as the kernel took them */
	bool zero_copy;
	const char *copy_reason;	/* why not; static */
	const char *note;		/* what the user should know; static */
	const char *stuck_in;		/* "STOP_DEV" */
	enum ublk_state stuck_from;	/* where it was then */
	uint64_t stuck_since_ns;
	unsigned queues;
	struct ublk_queue *queue;
	unsigned readers;	/* coroutines that ask the queues something */
};

/*
 * Takes room on the I/O threads, adds the device and sets its parameters (U1).
 * The root is made later: thread mask and node's limits are known before.
 * On failure nothing is left.
 */
int co_ublk_device_open(struct ublk_device *dev, const struct limits *lim,
			uint64_t size, bool writable, struct error **err)
	MUST_CHECK;
/* Bit per I/O thread that serves a queue. */
uint64_t ublk_device_threads(const struct ublk_device *dev);
/* Serves it, shows it to the world, returns when it is usable. dev->root is
 * set. On failure close is still to be called. */
int co_ublk_device_start(struct ublk_device *dev, struct error **err)
	MUST_CHECK;
/* stop.c: C9. On failure the device goes on as it was, or is STUCK. One that is
 * STUCK already is looked at again. */
int co_ublk_device_stop(struct ublk_device *dev, enum export_stop mode,
			struct error **err) MUST_CHECK;
/* As co_disk_idle. */
int co_ublk_device_idle(struct ublk_device *dev, bool patient,
			struct error **err) MUST_CHECK;
/*
 * From ADDED, STARTING or STOPPED: gives back everything, deletes the device.
 * False where it is, or got, STUCK: then dev must stay.
 */
bool co_ublk_device_close(struct ublk_device *dev);

/* In stop.c, for device.c. */
uint64_t ublk_device_completed(struct disk *disk);
/* For stop.c: marks it and says so. -ETIMEDOUT. */
int ublk_device_stuck(struct ublk_device *dev, const char *in);
/* For stop.c: after STOP, waits until no tag is in the kernel, then deletes. */
int co_ublk_device_end(struct ublk_device *dev, bool wait,
		       struct error **err) MUST_CHECK;

#endif
