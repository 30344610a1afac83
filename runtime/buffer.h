/* SPDX-License-Identifier: MIT */
/*
 * buffer.h - payload memory: per thread, bounded, aligned for O_DIRECT (A7).
 *
 * Sizes are rounded up to a power of two of at least 4 KiB; memory is touched
 * on first use and kept for the thread's life. A buffer is put back on the
 * thread that got it.
 */
#ifndef RUNTIME_BUFFER_H
#define RUNTIME_BUFFER_H

#include "runtime/thread.h"

#define BUFFER_MAX (4u * 1024 * 1024)	/* bytes, the largest piece */

/* NULL when the thread's budget is used up, or others wait for memory. */
void *buffer_get(uint32_t size);
/* Waits for memory (coroutine), in order. The caller holds no lock and no
 * other buffer that somebody could wait for. */
void *co_buffer_get(uint32_t size);
void buffer_put(void *buf, uint32_t size);
/* Bytes of this thread's pool, used or not. */
uint64_t buffer_budget(void);

/*
 * Calls fn when memory came back, once, on this thread; for code outside
 * coroutines that got NULL. Waiters of both kinds are served in one order.
 */
struct buffer_waiter {
	struct buffer_waiter *next;
	uint32_t size;
	void (*fn)(struct buffer_waiter *w, void *buf);
	void *buf;	/* the runtime's own */
};
void buffer_wait(struct buffer_waiter *w, uint32_t size,
		 void (*fn)(struct buffer_waiter *, void *buf));

#endif
