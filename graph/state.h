/* SPDX-License-Identifier: MIT */
/*
 * state.h - what the graph keeps for each thread; private to graph/.
 *
 * Everything in struct graph_thread belongs to its thread. The array itself is
 * made by graph_start and freed by graph_stop.
 */
#ifndef GRAPH_STATE_H
#define GRAPH_STATE_H

#include "graph/report.h"
#include "graph/request.h"
#include "runtime/co.h"

/* Stacks that slow requests leave to drivers and exports. */
#define SLOW_RESERVE 64u
#define ERRAND_BUCKETS 256u

/* Largest alignment a node may ask for, and the unit of bouncing. */
#define BOUNCE_SIZE 65536u
#define BOUNCE_COUNT 16u
enum bounce_level { BOUNCE_PROTOCOL, BOUNCE_ABOVE, BOUNCE_LEVELS };

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
	struct errand *errands[ERRAND_BUCKETS];	/* by coroutine */
	unsigned errand_count;
	/* gates whose first request found no stack (A7) */
	struct root_gate *short_first, **short_last;
	struct message kick;
	bool kicked;
	struct timer retry;
	/* wait.c */
	struct waiter *waiters;		/* all of them */
	struct waiter_list ready;	/* requests that are to go on */
	struct message ready_msg;
	bool ready_posted;
	bool draining;		/* main: what has no request does not wait */
	/* hold.c: requests that have failed, those of a root in order */
	struct waiter_list held;
	struct timer hold_timer;
	uint64_t hold_due_ns;	/* of the timer, when it is armed */
	struct bounce_pool bounce[BOUNCE_LEVELS];
	struct reports reports;
} CACHELINE_ALIGNED;

struct graph_thread *graph_self(void);
/* A coroutine's work has ended: its stack is somebody else's soon. */
void stacks_come_free(void);
/* Nobody may tell: asks again later. */
void stacks_retry_later(void);
/* wait.c: of ready_msg. */
void wait_on_ready(struct message *msg);

/* /dev/zero, or NULL where there is none (simulation). */
struct file *graph_zero_file(void);
/* Coroutine of the main thread; the first node_open calls it. */
void graph_open_zero_file(void);
/* Zeroes to write from; ZERO_SIZE bytes, never written. */
#define ZERO_SIZE (1u << 20)
const void *graph_zeroes(void);

#endif
