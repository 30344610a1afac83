/* SPDX-License-Identifier: MIT */
/*
 * state.h - what the graph keeps for each thread; private to graph/.
 *
 * Everything in struct graph_thread belongs to its thread. The array itself is
 * made by graph_start and freed by graph_stop.
 */
#ifndef GRAPH_STATE_H
#define GRAPH_STATE_H

#include "graph/request.h"
#include "runtime/co.h"

/* Stacks that slow requests leave to drivers and exports. */
#define SLOW_RESERVE 64u
#define SLOW_BUCKETS 256u

/* Largest alignment a node may ask for, and the unit of bouncing. */
#define BOUNCE_SIZE 65536u
#define BOUNCE_COUNT 16u
enum bounce_level { BOUNCE_PROTOCOL, BOUNCE_ABOVE, BOUNCE_LEVELS };

/* A request that runs as a coroutine; lives on its stack. */
struct slow {
	struct co *co;
	struct request *req;
	struct node *wants_grace;
	struct slow *next, **prev;
};

struct bounce_waiter {
	struct co *co;
	void *buf;
	struct bounce_waiter *next;
};

struct bounce_pool {
	char *memory;
	void *free[BOUNCE_COUNT];
	unsigned count;
	struct bounce_waiter *first, **last;
};

struct graph_thread {
	struct slow *slow[SLOW_BUCKETS];	/* by coroutine */
	unsigned slow_count;
	/* gates whose first request found no stack (A7) */
	struct root_gate *short_first, **short_last;
	struct message kick;
	bool kicked;
	struct timer retry;
	struct node *wants_grace;	/* of a coroutine without request */
	struct bounce_pool bounce[BOUNCE_LEVELS];
} CACHELINE_ALIGNED;

struct graph_thread *graph_self(void);
/* The running coroutine's request; NULL in any other. */
struct slow *slow_self(void);
void slow_enter(struct slow *slow, struct request *req);
void slow_leave(struct slow *slow);
void slow_retry_later(void);
void graph_threads_start(void);
void graph_threads_stop(void);

/* /dev/zero, or NULL where there is none (simulation). */
struct file *graph_zero_file(void);
/* Coroutine of the main thread; the first node_open calls it. */
void graph_open_zero_file(void);
/* Zeroes to write from; ZERO_SIZE bytes, never written. */
#define ZERO_SIZE (1u << 20)
const void *graph_zeroes(void);

#endif
