/* SPDX-License-Identifier: MIT */
/*
 * poll.c - waiting for a descriptor. Own thread only.
 */
#include <errno.h>

#include "runtime/real/real.h"

struct poll {
	struct ring_op op, cancel_op;
	struct timer timer;
	struct co *co;
	struct poll **shown;	/* to who may cancel it; or NULL */
	int res;
	bool timed_out, cancelled;
	unsigned pending;	/* completions to come */
};

static void poll_finish(struct poll *p)
{
	if (--p->pending == 0)
		co_enter(p->co);
}

static void poll_done(struct ring_op *op, int res, unsigned flags)
{
	struct poll *p = container_of(op, struct poll, op);

	(void)flags;
	timer_stop(&p->timer);
	if (p->shown)
		*p->shown = NULL;
	p->res = res;
	poll_finish(p);
}

static void poll_cancelled(struct ring_op *op, int res, unsigned flags)
{
	(void)res;
	(void)flags;
	poll_finish(container_of(op, struct poll, cancel_op));
}

void poll_cancel(struct poll *p)
{
	struct io_uring_sqe *sqe;

	if (!p || p->cancelled)
		return;
	sqe = ring_sqe();
	p->cancelled = true;
	p->pending++;
	p->cancel_op.done = poll_cancelled;
	io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, sqe, -1, NULL, 0, 0);
	sqe->addr = (uintptr_t)&p->op | USER_DATA_OP;
	ring_set_op(sqe, &p->cancel_op);
}

static void poll_timeout(struct timer *timer)
{
	struct poll *p = container_of(timer, struct poll, timer);

	p->timed_out = true;
	poll_cancel(p);
}

static int co_poll_run(struct poll *p, int fd, unsigned events,
		       uint64_t timeout_ns)
{
	struct io_uring_sqe *sqe = ring_sqe();

	assert(p->co);
	io_uring_prep_poll_add(sqe, fd, events);
	ring_set_op(sqe, &p->op);
	if (timeout_ns)
		timer_start(&p->timer, timeout_ns, poll_timeout);
	co_park("co_poll");
	return p->timed_out && p->res == -ECANCELED ? -ETIMEDOUT : p->res;
}

int co_poll(int fd, unsigned events, uint64_t timeout_ns)
{
	struct poll p = {
		.op = { .done = poll_done },
		.co = co_self(),
		.pending = 1,
	};

	return co_poll_run(&p, fd, events, timeout_ns);
}

int co_poll_until_cancelled(int fd, unsigned events, struct poll **poll)
{
	struct poll p = {
		.op = { .done = poll_done },
		.co = co_self(),
		.shown = poll,
		.pending = 1,
	};

	*poll = &p;
	return co_poll_run(&p, fd, events, 0);
}
