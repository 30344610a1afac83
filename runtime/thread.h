/* SPDX-License-Identifier: MIT */
/*
 * thread.h - the threads everything runs on, messages between them, timers.
 *
 * There is one main thread (index 0), which owns the graph's shape and the
 * control plane, and N I/O threads (1..N). Each runs a loop over a ring of its
 * own: completions, messages, timers, runnable coroutines. Data belongs to one
 * thread; another that wants something of it posts a message (A5).
 *
 * The simulated runtime has the same threads as contexts of one scheduler,
 * which picks the next step by its seed; nothing here is different for the
 * callers, so there must be no thread-local variables outside runtime/.
 */
#ifndef RUNTIME_THREAD_H
#define RUNTIME_THREAD_H

#include <stdbool.h>

#include "runtime/compiler.h"
#include "runtime/error.h"

#define THREADS_MAX 64
#define MAIN_THREAD 0

struct io_thread;

struct runtime_options {
	unsigned io_threads;	/* 1..THREADS_MAX - 1; 0: by CPU count */
	uint64_t buffer_bytes;		/* payload pool per thread; 0: 64 MiB */
	uint64_t seed;			/* simulated runtime only */
};

/*
 * Starts the I/O threads; the caller becomes the main thread. Once a process
 * (the simulation: once between runtime_stop calls). Sets PR_SET_IO_FLUSHER
 * before the first thread and ring exist (A7); *warning, if not NULL, gets a
 * static sentence when that or something else desirable was refused.
 */
int runtime_start(const struct runtime_options *opts, const char **warning,
		  struct error **err) MUST_CHECK;
/*
 * Runs the main thread's loop with fn(arg) as its first coroutine, until
 * runtime_quit was called and that coroutine has returned.
 */
void runtime_run(void (*fn)(void *), void *arg);
void runtime_quit(void);		/* main thread */
/* Joins the I/O threads; all roots are closed, nothing is in flight. */
void runtime_stop(void);

struct io_thread *thread_self(void);
unsigned thread_index(const struct io_thread *t);
struct io_thread *thread_by_index(unsigned index);
/* How many threads there are, main included: indices are below this. */
unsigned thread_count(void);
static inline bool thread_is_main(void);

/*
 * A message runs fn once on the thread it was posted to, outside any
 * coroutine. It belongs to the poster and is free again when fn is called.
 * Messages from one thread to one other arrive in order. Posting never fails,
 * never waits and is allowed on any thread, to oneself too (then fn runs later
 * from the loop, never inside the call).
 */
struct message {
	struct message *next;
	void (*fn)(struct message *msg);
};

void thread_post(struct io_thread *to, struct message *msg);

/* Monotonic clock, ns. Simulated time in the simulation. */
uint64_t clock_ns(void);
/* The same, read at most once in a turn of the thread's loop: for stamps on
 * the data path, where a millisecond does not matter. */
uint64_t clock_turn_ns(void);

/* A timer belongs to the thread that started it; fn runs there, once. */
struct timer {
	uint64_t deadline_ns;
	void (*fn)(struct timer *timer);
	struct timer *next, *prev, *child;	/* the thread's heap */
	bool armed;		/* false before the first start */
};

void timer_start(struct timer *timer, uint64_t delay_ns,
		 void (*fn)(struct timer *));
/* After this fn will not run. Harmless when not armed. */
void timer_stop(struct timer *timer);

/*
 * Marks a step of lock-free code: between any two of them another thread may
 * run. Empty in the real runtime; a possible switch in the simulation. Costs a
 * call, so it stands where threads share something, not in every function.
 */
void rt_step(void);

/*
 * Runs fn(arg) on a helper thread that serves no I/O and waits for it (any
 * coroutine). For calls that may block: ioctl on block devices, libudev,
 * libkmod (A3, A6), seeking holes.
 */
void co_blocking(void (*fn)(void *), void *arg);

/* Runs fn(arg) on thread `to` (no coroutine), waits until it returned. */
void co_call(struct io_thread *to, void (*fn)(void *), void *arg);

static inline bool thread_is_main(void)
{
	return thread_index(thread_self()) == MAIN_THREAD;
}

#endif
