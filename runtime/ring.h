/* SPDX-License-Identifier: MIT */
/*
 * ring.h - the real runtime's io_uring, for code that speaks to a kernel
 * driver through it (ublk/) or waits for descriptors (server/). Not in the
 * simulation.
 */
#ifndef RUNTIME_RING_H
#define RUNTIME_RING_H

#include "runtime/thread.h"

struct io_uring_sqe;

/*
 * A raw operation: done gets the completion's res and flags; with
 * IORING_CQE_F_MORE in flags it will be called again.
 */
struct ring_op {
	void (*done)(struct ring_op *op, int res, unsigned flags);
};

/*
 * A cleared entry of this thread's submission queue whose completion calls
 * op->done. The caller fills everything but user_data (ring_set_op does that
 * after the io_uring_prep helper). Never NULL: a full queue is submitted first.
 */
struct io_uring_sqe *ring_sqe(void);
void ring_set_op(struct io_uring_sqe *sqe, struct ring_op *op);

/* Cancels victim, if it is in flight; op completes besides it. */
void ring_cancel(struct ring_op *victim, struct ring_op *op);

/*
 * Budgets of one thread (A4, A31). Taken and given back on that thread.
 * ring_reserve: operations that may be in flight at once (completion queue).
 * ring_buffers_get: a run of n slots in the sparse table of registered
 * buffers, or -1.
 */
bool ring_reserve(unsigned n);
void ring_release(unsigned n);
int ring_buffers_get(unsigned n);
void ring_buffers_put(int first, unsigned n);
/* Whether this kernel gave the ring a sparse buffer table. */
bool ring_has_buffer_table(void);

struct file;
/* A struct file around a descriptor that the caller opened; takes it over. */
struct file *file_from_fd(int fd, const char *path);

/* Waits (coroutine) until fd is ready for the poll events; returns revents or
 * a negative errno. timeout_ns 0: for ever. */
int co_poll(int fd, unsigned events, uint64_t timeout_ns);
/*
 * The same, for what may have to end the wait: while it lasts *poll is what
 * poll_cancel takes, on the same thread; then it returns -ECANCELED, or what it
 * was waited for, if that came first. Else *poll is NULL.
 */
struct poll;
int co_poll_until_cancelled(int fd, unsigned events, struct poll **poll);
void poll_cancel(struct poll *poll);	/* NULL: nobody waits */

#endif
