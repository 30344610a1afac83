/* SPDX-License-Identifier: MIT */
/*
 * epoch.h - waiting for the requests of before (A28).
 *
 * Each root counts its requests per thread in two counters, the current epoch
 * and the one before. A grace period of a node ends when every request that
 * was in flight at its start, on any root that reaches the node, has
 * completed. What such a request may still read or write (a mapping table, a
 * host cluster) is freed after that.
 *
 * What is read without a wait in it, as a table is by `map`, needs less: each
 * thread has to come by once (co_threads_pass).
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
 * Coroutine, any thread: returns when each thread has ended whatever it did at
 * the call, up to its next wait; so who looked at something without waiting
 * meanwhile has ended. Depends on no request, and may be waited for with
 * anything in hand but a lock that threads spin on.
 */
void co_threads_pass(void);
#endif
