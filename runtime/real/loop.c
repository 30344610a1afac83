/* SPDX-License-Identifier: MIT */
/*
 * loop.c - the loop of each thread, and messages into it (A3-A5).
 *
 * One turn: deliver messages, handle what completed, run timers and coroutines,
 * then one system call that submits everything and waits if nothing is left to
 * do. A turn does what was there when it began, and of what it makes itself as
 * it goes on (completions, memory that is given back) no more than TURN_MAX
 * each (A42): so whatever feeds itself, the others get their turn, messages of
 * the control plane first.
 *
 * The inbox is a list that posters push to and the owner takes whole and
 * reverses: so messages arrive in the order they were pushed, from all senders.
 *
 * Sleep: the owner sets `sleeping`, then looks at the inbox once more; a poster
 * pushes, then looks at `sleeping`. All four are sequentially consistent, so at
 * least one of the two sees the other, and an idle thread is woken exactly when
 * it must be. The wake-up is an eventfd that has a read armed on the ring.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "runtime/real/real.h"

__thread struct real_thread *real_self;

struct io_thread *thread_self(void)
{
	return real_self ? &real_self->base : NULL;
}

uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t clock_turn_ns(void)
{
	struct real_thread *t = real_self;

	if (!t->turn_ns)
		t->turn_ns = clock_ns();
	return t->turn_ns;
}

void rt_step(void)
{
}

void rt_may_wait(void)
{
}

void thread_post(struct io_thread *to, struct message *msg)
{
	struct real_thread *t = container_of(to, struct real_thread, base);
	struct message *first = __atomic_load_n(&t->inbox, __ATOMIC_RELAXED);
	uint64_t one = 1;

	do {
		msg->next = first;
	} while (!__atomic_compare_exchange_n(&t->inbox, &first, msg, true,
					      __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
	if (__atomic_load_n(&t->sleeping, __ATOMIC_SEQ_CST) &&
	    __atomic_exchange_n(&t->sleeping, 0, __ATOMIC_SEQ_CST)) {
		ssize_t n = write(t->wake_fd, &one, sizeof(one));

		assert(n == sizeof(one));
	}
}

static void wake_arm(struct real_thread *t)
{
	struct io_uring_sqe *sqe = ring_entry(t);

	io_uring_prep_read(sqe, t->wake_fd, &t->wake_value,
			   sizeof(t->wake_value), 0);
	ring_set_op(sqe, &t->wake_op);
}

static void wake_done(struct ring_op *op, int res, unsigned flags)
{
	struct real_thread *t = container_of(op, struct real_thread, wake_op);

	(void)flags;
	assert(res == sizeof(t->wake_value) || res == -EINTR ||
	       res == -EAGAIN || res == -ECANCELED);
	wake_arm(t);
}

static void inbox_run(struct real_thread *t)
{
	struct message *msg, *list = NULL;

	if (!__atomic_load_n(&t->inbox, __ATOMIC_RELAXED))
		return;
	msg = __atomic_exchange_n(&t->inbox, NULL, __ATOMIC_ACQUIRE);
	while (msg) {
		struct message *next = msg->next;

		msg->next = list;
		list = msg;
		msg = next;
	}
	while (list) {
		msg = list;
		list = msg->next;
		msg->fn(msg);
	}
}

/* What is runnable now; what that makes runnable waits for the next turn, or
 * a coroutine that yields would keep the ring from being served. */
static void run_coroutines(struct io_thread *t)
{
	struct co *last;

	if (!t->run_first)
		return;
	last = container_of(t->run_last, struct co, next);
	while (t->run_first != last)
		co_run_one(t);
	co_run_one(t);
}

static bool may_sleep(struct real_thread *t)
{
	if (t->base.run_first || buffer_granted(&t->base) || ring_has_more(t))
		return false;
	__atomic_store_n(&t->sleeping, 1, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&t->inbox, __ATOMIC_SEQ_CST);
}

static void loop_turn(struct real_thread *t)
{
	struct io_thread *base = &t->base;

	t->turn_ns = 0;
	inbox_run(t);
	ring_reap(t);
	if (base->timers) {
		uint64_t now = clock_ns();

		while (timer_run_one(base, now))
			;
	}
	for (unsigned n = 0; n < TURN_MAX && buffer_grant_one(base); n++)
		;
	run_coroutines(base);
}

void real_loop_run(struct real_thread *t, const bool *over)
{
	for (;;) {
		loop_turn(t);
		if (*over)
			break;
		ring_turn(t, may_sleep(t), timer_next(&t->base));
		/* a poster need not wake a thread that is awake */
		__atomic_store_n(&t->sleeping, 0, __ATOMIC_RELAXED);
	}
}

int real_loop_init(struct real_thread *t, unsigned index,
		   uint64_t buffer_bytes)
{
	int rc;

	if (!loop_init(&t->base, index, buffer_bytes))
		return ENOMEM;
	t->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (t->wake_fd < 0) {
		rc = errno;
		goto destroy_loop;
	}
	rc = ring_init(t);
	if (rc)
		goto close_wake_fd;
	t->wake_op.done = wake_done;
	real_self = t;
	wake_arm(t);
	return 0;

close_wake_fd:
	close(t->wake_fd);
	t->wake_fd = -1;
destroy_loop:
	loop_destroy(&t->base);
	return rc;
}

void real_loop_exit(struct real_thread *t)
{
	ring_exit(t);
	loop_destroy(&t->base);
	real_self = NULL;
}
