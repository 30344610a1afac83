/* SPDX-License-Identifier: MIT */
/*
 * ring.c - one io_uring per thread, its budgets and its completions (A4).
 *
 * Everything here runs on the ring's thread. Submission happens once per turn
 * of the loop (or when the submission queue is full), so filling an entry costs
 * no system call. user_data is a struct io, or a struct ring_op with the low
 * bit set.
 */
#include "runtime/real/real.h"

#include <errno.h>
#include <linux/io_uring_iowait.h>
#include <signal.h>
#include <string.h>

/* Tried in this order; the last one is what every kernel has. */
static const unsigned setup_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
	0,
};

/* Completions kept back for the runtime's own operations. */
#define RESERVED_OWN 1024u

int ring_init(struct real_thread *t)
{
	struct io_uring_params p;
	int rc = -EINVAL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(setup_flags); i++) {
		memset(&p, 0, sizeof(p));
		p.flags = setup_flags[i] | IORING_SETUP_CQSIZE |
			  IORING_SETUP_CLAMP;
		p.cq_entries = CQ_ENTRIES;
		rc = io_uring_queue_init_params(SQ_ENTRIES, &t->ring, &p);
		if (rc != -EINVAL)
			break;
	}
	if (rc < 0)
		return -rc;
	/* without it liburing waits by a completion that is not ours */
	if (!(p.features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(&t->ring);
		return ENOSYS;
	}
	/* only saves the kernel a look-up per call: may fail */
	io_uring_register_ring_fd(&t->ring);
	rc = io_uring_register_buffers_sparse(&t->ring, BUFFER_SLOTS);
	t->buffer_table = rc == 0;
	t->no_iowait = p.features & IORING_FEAT_NO_IOWAIT;
	t->reserved = RESERVED_OWN;
	return 0;
}

void ring_exit(struct real_thread *t)
{
	io_uring_queue_exit(&t->ring);
}

void ring_add_lane(struct real_thread *t)
{
	/* those that wait for files and devices; 0 leaves the others alone */
	unsigned threads[2] = { LANE_OPS_MAX * (++t->lanes_used + 1), 0 };

	/* before 5.15 there is no such limit to be set */
	io_uring_register_iowq_max_workers(&t->ring, threads);
}

struct io_uring_sqe *ring_entry(struct real_thread *t)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);

	while (unlikely(!sqe)) {
		int rc = io_uring_submit(&t->ring);

		/*
		 * Completions cannot be handled here, inside somebody's call,
		 * but they have room: what is in flight was reserved.
		 */
		assert(rc >= 0 || rc == -EINTR || rc == -EAGAIN);
		sqe = io_uring_get_sqe(&t->ring);
	}
	return sqe;
}

struct io_uring_sqe *ring_sqe(void)
{
	struct io_uring_sqe *sqe = ring_entry(real_self);

	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

void ring_set_op(struct io_uring_sqe *sqe, struct ring_op *op)
{
	sqe->user_data = (uintptr_t)op | USER_DATA_OP;
}

void ring_cancel(struct ring_op *victim, struct ring_op *op)
{
	struct io_uring_sqe *sqe = ring_sqe();

	io_uring_prep_cancel64(sqe, (uintptr_t)victim | USER_DATA_OP, 0);
	ring_set_op(sqe, op);
}

void ring_reap(struct real_thread *t)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&t->ring, head, cqe) {
		uint64_t data = cqe->user_data;
		int res = cqe->res;

		n++;
		if (data & USER_DATA_OP) {
			struct ring_op *op = (struct ring_op *)(uintptr_t)
				(data - USER_DATA_OP);

			op->done(op, res, cqe->flags);
		} else {
			io_complete((struct io *)(uintptr_t)data, res);
		}
		/* what these submitted may have completed already */
		if (n == TURN_MAX)
			break;
	}
	io_uring_cq_advance(&t->ring, n);
}

bool ring_has_more(struct real_thread *t)
{
	return io_uring_cq_ready(&t->ring);
}

/* Entries that the kernel has not taken yet, all of them shown to it. */
static unsigned ring_show(struct io_uring_sq *sq)
{
	for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++)
		if (sq->array)
			sq->array[sq->sqe_head & sq->ring_mask] =
				sq->sqe_head & sq->ring_mask;
	__atomic_store_n(sq->ktail, sq->sqe_tail, __ATOMIC_RELEASE);
	return sq->sqe_tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
}

/*
 * As io_uring_submit_and_wait(_timeout), which in the liburing of today's
 * distributions cannot say that whoever waits here is idle: every thread of an
 * idle daemon, which has reads armed, counted as waiting for a disk.
 */
static int ring_submit_and_idle(struct real_thread *t,
				struct __kernel_timespec *ts)
{
	struct io_uring_getevents_arg arg = {
		.sigmask_sz = _NSIG / 8,
		.ts = (uintptr_t)ts,
	};
	unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_NO_IOWAIT |
			 IORING_ENTER_EXT_ARG;

	if (t->ring.enter_ring_fd != t->ring.ring_fd)
		flags |= IORING_ENTER_REGISTERED_RING;
	return io_uring_enter2((unsigned)t->ring.enter_ring_fd,
			       ring_show(&t->ring.sq), 1, flags,
			       (sigset_t *)(void *)&arg, sizeof(arg));
}

void ring_turn(struct real_thread *t, bool wait, uint64_t deadline_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	uint64_t now;
	int rc;

	if (!wait) {
		rc = io_uring_submit_and_get_events(&t->ring);
	} else if (deadline_ns == UINT64_MAX) {
		rc = t->no_iowait ? ring_submit_and_idle(t, NULL) :
			io_uring_submit_and_wait(&t->ring, 1);
	} else {
		now = clock_ns();
		deadline_ns = deadline_ns > now ? deadline_ns - now : 0;
		ts.tv_sec = (long long)(deadline_ns / 1000000000);
		ts.tv_nsec = (long long)(deadline_ns % 1000000000);
		rc = t->no_iowait ? ring_submit_and_idle(t, &ts) :
			io_uring_submit_and_wait_timeout(&t->ring, &cqe, 1,
							 &ts, NULL);
	}
	/* EBUSY: completions that overflowed come first, in ring_reap */
	assert(rc >= 0 || rc == -EINTR || rc == -ETIME || rc == -EAGAIN ||
	       rc == -EBUSY);
}

bool ring_reserve(unsigned n)
{
	struct real_thread *t = real_self;

	if (n > t->ring.cq.ring_entries - t->reserved)
		return false;
	t->reserved += n;
	return true;
}

void ring_release(unsigned n)
{
	struct real_thread *t = real_self;

	assert(n <= t->reserved - RESERVED_OWN);
	t->reserved -= n;
}

bool ring_has_buffer_table(void)
{
	return real_self->buffer_table;
}

static bool slot_taken(const struct real_thread *t, unsigned i)
{
	return t->slots[i / 64] >> i % 64 & 1;
}

int ring_buffers_get(unsigned n)
{
	struct real_thread *t = real_self;
	unsigned i, run = 0;

	assert(n);
	if (!t->buffer_table)
		return -1;
	for (i = 0; i < BUFFER_SLOTS; i++) {
		run = slot_taken(t, i) ? 0 : run + 1;
		if (run == n)
			break;
	}
	if (i == BUFFER_SLOTS)
		return -1;
	for (; run; run--, i--)
		t->slots[i / 64] |= 1ull << i % 64;
	return (int)(i + 1);
}

void ring_buffers_put(int first, unsigned n)
{
	struct real_thread *t = real_self;
	unsigned i;

	for (i = (unsigned)first; i < (unsigned)first + n; i++) {
		assert(slot_taken(t, i));
		t->slots[i / 64] &= ~(1ull << i % 64);
	}
}
