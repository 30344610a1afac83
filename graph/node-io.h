/* SPDX-License-Identifier: MIT */
/*
 * node-io.h - what a node keeps for its I/O: write counters and flush state
 * (flush.c), the range lock (serialise.c), counts of tests (counts.h).
 */
#ifndef GRAPH_NODE_IO_H
#define GRAPH_NODE_IO_H

#include "graph/epoch.h"
#include "graph/node.h"
#include "graph/range-lock.h"
#include "graph/root.h"
#include "graph/wait.h"
#include "runtime/co.h"

/* One thread's part. */
struct node_thread {
	/* atomic: written by its thread, read by any thread's flush */
	uint64_t writes;
	uint64_t span;		/* atomic: span.h */
	/* wait.c: who waits here, in order of coming */
	struct waiter_list turns[TURN_LINES], graces;
	struct grace grace;
	bool grace_runs;
#ifdef NODE_COUNTS
	uint32_t requests;	/* of counts.h; main reads it under a drain */
#endif
} CACHELINE_ALIGNED;

struct node_io {
	struct co_mutex flush_lock;	/* flush.c: one sync at a time */
	uint64_t synced;	/* atomic: sum of writes that a sync covered */
	uint64_t cut;		/* atomic: span.h; UINT64_MAX: never */
	bool failed;		/* atomic: a sync of cached pages failed */
	/* atomic: the storage refused it once, so it is emulated (A12) */
	bool no_punch, no_zero;
	struct range_lock range_lock;	/* of serialise.c */
	struct epochs loose;	/* main: operations without a request here */
	struct node_thread threads[];
};

struct node_io *node_io_new(void);
void node_io_free(struct node_io *io);

/* After an operation that may have changed data, before it is acknowledged
 * (A29). thread: the caller's index. */
static inline void node_wrote(struct node *node, unsigned thread)
{
	uint64_t *writes = &node->io->threads[thread].writes;

	/* one writer, so no atomic add; release: a flush that sees the count
	 * starts after the write ended */
	__atomic_store_n(writes, *writes + 1, __ATOMIC_RELEASE);
}

#endif
