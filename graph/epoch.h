/* SPDX-License-Identifier: MIT */
/*
 * epoch.h - waiting for the requests of before (A28).
 *
 * Each root counts its requests per thread in two counters, the current epoch
 * and the one before. A grace period of a node ends when every request that
 * was in flight at its start, on any root that reaches the node, has
 * completed. What such a request may still read or write (a mapping table, a
 * host cluster) is freed after that.
 */
#ifndef GRAPH_EPOCH_H
#define GRAPH_EPOCH_H

#include "runtime/thread.h"

struct node;

struct grace {
	/* Called on the thread that started it, from its loop; no I/O there. */
	void (*done)(struct grace *grace);
	/* the graph's own */
	struct message msg;
	struct node *node;
	struct io_thread *from;
	unsigned pending;
	struct grace *next;
};

/* Any thread. The node stays open until done was called: a driver's close
 * waits for its own. */
void grace_start(struct node *node, struct grace *grace,
		 void (*done)(struct grace *));
/*
 * Coroutine of a counted request, which counts itself into the new epoch
 * first: it must hold no mapping, lock or cluster. Returns after the grace
 * period.
 */
void co_grace(struct node *node);

#endif
