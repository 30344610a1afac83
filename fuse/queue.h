/* SPDX-License-Identifier: MIT */
/*
 * queue.h - one descriptor of a file's connection to the kernel, on one I/O
 * thread.
 *
 *	         poll: something to read         read
 *	armed ---------------------------> pumping ----> a request in a slot
 *	  ^                                |    ^
 *	  |  nothing left to read          |    |  a slot, memory
 *	  +--------------------------------+    |
 *	                                   v    |
 *	                           waiting for a slot or memory
 *
 * All queues of a file read from one line of requests; a request is answered
 * where it was read. The queue is dead when it was told to end, or the kernel
 * has ended the connection, and none of its requests is unanswered (F4).
 */
#ifndef FUSE_QUEUE_H
#define FUSE_QUEUE_H

#include "export/payload.h"
#include "runtime/wait.h"
#include "fuse/protocol.h"
#include "graph/root.h"
#include "graph/status.h"
#include "runtime/ring.h"

struct fuse_slot;

/* What the queues of one file share. */
struct fuse_common {
	/* immutable while served */
	struct root *root;
	struct fuse_shape shape;
	uint32_t depth;		/* requests of all queues at a time */
	bool tells_closes;	/* of the file, to main */
	/* atomic, relaxed */
	uint64_t written;	/* bytes */
	/* main */
	struct fuse_owner owner;
};

struct fuse_queue {
	/* immutable while served */
	struct fuse_common *common;
	int fd;
	uint32_t depth;
	struct io_thread *thread;
	/* I/O thread */
	struct fuse_slot *slots, *free;
	uint32_t busy;		/* slots */
	struct payload inbox;	/* what the next request is read into */
	bool waiting;		/* for the inbox's memory */
	bool armed, pumping;
	bool kicked;		/* a message that makes it read is under way */
	bool ending;		/* told to, or the connection is over */
	bool dead;
	struct ring_op ready, cancelled;
	struct message kick;
	bool cancelling;
	uint64_t completed;	/* requests */
	int64_t opens;		/* less releases; of all queues together >= 0 */
	/* main */
	bool reserved, serving;
	struct wait_event died;
	struct message died_msg;
};

/* Main thread, coroutines. */

/* Takes room on its thread and makes the slots: 0, -ENOSPC or -ENOMEM. */
int co_fuse_queue_open(struct fuse_queue *q) MUST_CHECK;
/* Gives both back; harmless when there is nothing. The queue is dead. */
void co_fuse_queue_close(struct fuse_queue *q);
/* Serves q->fd, which stays the caller's. */
void co_fuse_queue_serve(struct fuse_queue *q);
/* Reads no more; `died` is set when the last request is answered. */
void co_fuse_queue_end(struct fuse_queue *q);

struct fuse_queue_stats {
	uint64_t completed;
	int64_t opens;
};
void co_fuse_queue_stats(struct fuse_queue *q, struct fuse_queue_stats *out);

#endif
