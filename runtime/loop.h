/* SPDX-License-Identifier: MIT */
/*
 * loop.h - what the shared part of the runtime keeps for each thread, and what
 * the real and the simulated loop call in it. Private to runtime/.
 *
 * Everything in struct io_thread belongs to that thread.
 */
#ifndef RUNTIME_LOOP_H
#define RUNTIME_LOOP_H

#include "runtime/buffer.h"
#include "runtime/co.h"
#include "runtime/context.h"
#include "runtime/io.h"
#include "runtime/thread.h"

struct buffer_pool;

enum co_state {
	CO_FREE,	/* in the pool */
	CO_RUNNING,	/* on the CPU, or below one that it spawned */
	CO_QUEUED,	/* runnable */
	CO_PARKED,	/* until the object it waits for resumes it */
	CO_WAITING,	/* in co_wait */
};

/* Lives at the top of its own stack mapping. */
struct co {
	struct context context;
	struct io_thread *thread;
	struct co *caller;	/* who entered it; NULL: the loop */
	co_fn *fn;
	void *arg;
	struct co *next;	/* run queue or pool */
	struct co *all_next;
	enum co_state state;
	bool token;		/* a co_wake came before its co_wait */
	unsigned char wake_sent; /* atomic: wake is on its way */
	int result;		/* of co_io */
	const char *waits_for;	/* what PARKED is about, for deadlock reports */
	struct message wake;	/* co_wake from another thread */
};

struct io_thread {
	unsigned index;
	/* coroutines: co.c */
	struct context loop;		/* the loop's own stack */
	struct context *running;	/* the stack on the CPU now */
	struct co *current;		/* NULL in the loop */
	struct co *run_first, **run_last;
	struct co *pool;
	struct co *all;
	unsigned co_used;
	/* timers: timer.c; a pairing heap */
	struct timer *timers;
	/* payload memory: buffer.c */
	struct buffer_pool *buffers;
};

/* False when there is no memory for the buffer pool. */
bool loop_init(struct io_thread *t, unsigned index, uint64_t buffer_bytes)
	MUST_CHECK;
void loop_destroy(struct io_thread *t);

/* co.c */
void co_pool_init(struct io_thread *t);
/* Takes every coroutine back, wherever it stands (simulated power cut). */
void co_pool_reset(struct io_thread *t);
void co_pool_destroy(struct io_thread *t);
/* Runs the first runnable coroutine; false when there is none. */
bool co_run_one(struct io_thread *t);
/* A step as rt_step, of a coroutine in a call that might wait: the simulation
 * lets others of its thread run at will (sim_wait_rate). */
void rt_may_wait(void);
/* Gives up the thread until co_enter or co_queue_run. */
void co_park(const char *waits_for);
/* Continues a parked coroutine at once; from its loop only. */
void co_enter(struct co *co);
/* Makes a parked coroutine of this thread runnable. */
void co_queue_run(struct co *co);

/* stack.c: page-aligned memory with a guard page below; NULL: none left. */
#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
#define STACK_SIZE ((size_t)CO_STACK_SIZE * 4)	/* frames are larger */
#else
#define STACK_SIZE ((size_t)CO_STACK_SIZE)
#endif
char *stack_map(void);
void stack_unmap(char *stack);

/* timer.c: deadline of the first timer, UINT64_MAX without one. */
uint64_t timer_next(const struct io_thread *t);
/* Fires the first timer if it is due; whether it did. */
bool timer_run_one(struct io_thread *t, uint64_t now);

/* buffer.c: bytes 0 means the default; NULL: no memory */
struct buffer_pool *buffer_pool_new(uint64_t bytes);
void buffer_pool_free(struct buffer_pool *pool);
/* Takes everything back (simulated restart). */
void buffer_pool_reset(struct buffer_pool *pool);
/* Whether it is what buffer_pool_new(bytes) makes. */
bool buffer_pool_fits(const struct buffer_pool *pool, uint64_t bytes);
/* Whether buffer_grant_one has something to do. */
bool buffer_granted(const struct io_thread *t);
/* Serves one waiter whose memory is there; false when there is none. */
bool buffer_grant_one(struct io_thread *t);

#endif
