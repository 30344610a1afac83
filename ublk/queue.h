/* SPDX-License-Identifier: MIT */
/*
 * queue.h - one queue of a device: its tags, on one I/O thread (A4).
 *
 *	            FETCH                       root_submit
 *	  idle ---------------> armed -------> delivered -----> in the graph
 *	                          ^   CQE 0       |  ^  payload      |
 *	                          |               v  |               | done
 *	                          |            waiting for memory    v
 *	                          +------------------------------ committed
 *	                                   COMMIT_AND_FETCH
 *	  armed ---> dead: CQE of any error, when the kernel refuses the FETCH
 *			   or the device stops
 *
 * A tag is in exactly one of these states (U3). The queue is dead when all its
 * tags are; then nothing of it is in the kernel any more.
 */
#ifndef UBLK_QUEUE_H
#define UBLK_QUEUE_H

#include <linux/ublk_cmd.h>

#include "graph/root.h"
#include "runtime/ring.h"
#include "runtime/wait.h"

struct ublk_tag;

struct ublk_queue {
	/* immutable while tags are armed */
	struct root *root;
	int char_fd;
	uint16_t id, depth;
	int32_t first_buffer;	/* of depth slots in the ring; -1: none */
	const struct ublksrv_io_desc *descs;
	struct ublk_tag *tags;
	struct io_thread *thread;
	/* I/O thread */
	uint32_t alive;		/* tags that are not dead */
	uint64_t completed;	/* requests */
	uint64_t copied;	/* of these, with a payload in our memory */
	int fetch_error;	/* of the first tag that died; main reads it
				 * after taken_msg */
	struct ring_op taken_op;
	/* main */
	bool reserved, fetching;
	struct wait_event dead;
	struct message dead_msg;
	struct wait_event taken;
	struct message taken_msg;
};

/* Main thread, coroutines. */

/*
 * Takes room for the tags on the queue's thread, and buffer slots if wanted:
 * 0; -ENOSPC when there is no room for the tags; -ENOBUFS when there is for the
 * tags only (then nothing is taken). release: harmless when nothing is.
 */
int co_ublk_queue_reserve(struct ublk_queue *q, bool buffers) MUST_CHECK;
void co_ublk_queue_release(struct ublk_queue *q);
/* Makes the tags and maps the descriptors. Positive errno. */
int ublk_queue_map(struct ublk_queue *q) MUST_CHECK;
void ublk_queue_unmap(struct ublk_queue *q);
/*
 * Arms every tag; returns when the kernel has taken or refused each. 0, or the
 * negative errno of the first that it refused: the others are armed all the
 * same, and the queue is dead once STOP_DEV has ended them.
 */
int co_ublk_queue_fetch(struct ublk_queue *q) MUST_CHECK;

struct ublk_queue_stats {
	uint64_t completed, copied;
	uint32_t alive;
};
void co_ublk_queue_stats(struct ublk_queue *q, struct ublk_queue_stats *out);

/* root_ops.materialise of ublk's roots. */
int ublk_queue_materialise(struct request *req);

#endif
