/* SPDX-License-Identifier: MIT */
/*
 * co.h - coroutines, and what they wait on.
 *
 * A coroutine belongs to the thread that spawned it and runs only there. Its
 * stack comes from the thread's pool (guard page below, never freed while the
 * thread lives). It gives up the thread only inside a call whose name starts
 * with co_, so code between two such calls is atomic for its thread.
 */
#ifndef RUNTIME_CO_H
#define RUNTIME_CO_H

#include <stdbool.h>

#include "runtime/thread.h"

#define CO_STACK_SIZE (128u * 1024)
/* stacks a thread hands out at most; past it co_spawn says false */
#define CO_MAX_PER_THREAD 4096u

struct co;

typedef void co_fn(void *arg);

/*
 * Runs fn(arg) as a coroutine of this thread, at once, until it first waits.
 * False, and nothing runs, when the thread has no stack left.
 */
bool co_spawn(co_fn *fn, void *arg) MUST_CHECK;
/*
 * The same on another thread, or this one, from where thread_post may be
 * called. remote lives until done has been called, on this thread, when fn has
 * returned; remote->ran is false where there was no stack: then fn never ran.
 */
struct co_remote {
	struct message msg;
	struct io_thread *from;
	co_fn *fn;
	void *arg;
	void (*done)(struct co_remote *remote);
	bool ran;
};
void co_spawn_on(struct io_thread *to, struct co_remote *remote, co_fn *fn,
		 void *arg, void (*done)(struct co_remote *remote));
/* Waits for its end. False: it never ran. */
bool co_run_on(struct io_thread *to, co_fn *fn, void *arg) MUST_CHECK;
/* Stacks that co_spawn could still hand out on this thread. */
unsigned co_available(void);
/* The running coroutine; NULL outside one. */
struct co *co_self(void);
/* Waits until somebody calls co_wake on this coroutine. */
void co_wait(void);
/*
 * Makes a waiting coroutine runnable on its own thread; from any thread. Each
 * co_wait takes exactly one co_wake, which may come before the wait.
 */
void co_wake(struct co *co);
/* Lets other work of this thread run. */
void co_yield(void);
void co_sleep(uint64_t ns);

/*
 * co_mutex: held across waits, by coroutines of any threads; first come, first
 * served. Never taken by code outside a coroutine.
 */
struct co_waiter;
struct co_mutex {
	unsigned char guard;	/* atomic; spins for a few instructions */
	struct co *owner;
	struct co_waiter *first, **last;
};

void co_mutex_init(struct co_mutex *m);
void co_mutex_destroy(struct co_mutex *m);	/* asserts that it is free */
void co_lock(struct co_mutex *m);
void co_unlock(struct co_mutex *m);
bool co_mutex_held(const struct co_mutex *m);	/* by the caller */

/*
 * co_queue: coroutines of any threads waiting for a condition that a co_mutex
 * protects. co_queue_wait unlocks, waits, locks again; the caller tests its
 * condition in a loop. Wakers hold the mutex.
 */
struct co_queue {
	struct co_waiter *first, **last;
};

void co_queue_init(struct co_queue *q);
void co_queue_wait(struct co_queue *q, struct co_mutex *m);
void co_queue_wake_one(struct co_queue *q);
void co_queue_wake_all(struct co_queue *q);

/*
 * co_group: waits for a number of things, all on the caller's thread. Used to
 * run several coroutines or operations side by side:
 *   co_group_init(&g); co_group_add(&g); ... co_group_done(&g) ...;
 *   co_group_wait(&g);
 */
struct co_group {
	unsigned pending;
	struct co *waiter;
};

void co_group_init(struct co_group *g);
void co_group_add(struct co_group *g);
void co_group_done(struct co_group *g);
void co_group_wait(struct co_group *g);

#endif
