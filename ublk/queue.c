/* SPDX-License-Identifier: MIT */
/*
 * queue.c - requests from the kernel to the graph and back (A7, A31).
 *
 * I/O threads, one per queue; functions named co_ are main's. Each request's
 * bytes stand in one of two places:
 *
 *	zero copy	the client's pages, registered by the kernel in slot
 *			first_buffer + tag of the ring (AUTO_BUF_REG); nobody
 *			here sees them unless the graph asks (materialise)
 *	user copy	memory of ours, from delivery to commit; moved by pread
 *			and pwrite on ublkcN
 *
 * A zero-copy queue serves a request by user copy when the kernel could not
 * register its pages. Nothing here allocates, waits or takes a lock.
 */
#include "ublk/queue.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/ring.h"
#include "ublk/params.h"
#include "export/payload.h"
#include "graph/export.h"

struct ublk_tag {
	struct request req;
	struct ring_op op;
	struct ublk_queue *queue;
	struct payload payload;		/* buf NULL: zero copy, or no bytes */
	struct co *co;			/* materialise: who waits for it */
	uint32_t len;			/* of the payload; bytes */
	uint16_t tag;
};

static void tag_command(struct ublk_tag *t, unsigned cmd_op, int result)
{
	struct ublk_queue *q = t->queue;
	struct io_uring_sqe *sqe = ring_sqe();
	struct ublksrv_io_cmd *cmd = (struct ublksrv_io_cmd *)(void *)sqe->cmd;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = q->char_fd;
	sqe->cmd_op = cmd_op;
	/* without FALLBACK a failure to register would be the client's EIO */
	if (q->first_buffer >= 0)
		sqe->addr = ublk_auto_buf_addr(
			(uint16_t)(q->first_buffer + t->tag),
			UBLK_AUTO_BUF_REG_FALLBACK);
	cmd->q_id = q->id;
	cmd->tag = t->tag;
	cmd->result = result;
	ring_set_op(sqe, &t->op);
}

static void tag_commit(struct ublk_tag *t, int result)
{
	t->queue->completed++;
	tag_command(t, UBLK_U_IO_COMMIT_AND_FETCH_REQ, result);
}

/* Takes a WRITE's bytes out of the request. 0 or a negative errno. */
static int copy_in(struct ublk_tag *t)
{
	struct ublk_queue *q = t->queue;
	ssize_t n = pread(q->char_fd, t->payload.buf, t->len,
			  (off_t)ublk_data_offset(q->id, t->tag));

	return n == t->len ? 0 : -EIO;
}

/* Puts a READ's bytes into the request. */
static int copy_out(struct ublk_tag *t)
{
	struct ublk_queue *q = t->queue;
	ssize_t n = pwrite(q->char_fd, t->payload.buf, t->len,
			   (off_t)ublk_data_offset(q->id, t->tag));

	return n == t->len ? 0 : -EIO;
}

static void tag_done(struct request *req, int res)
{
	struct ublk_tag *t = container_of(req, struct ublk_tag, req);

	if (t->payload.buf) {
		t->queue->copied++;
		if (req->op == REQ_READ && !res)
			res = copy_out(t);
		payload_put(&t->payload);
	}
	/* a flush, discard or zeroes ends whole with any result >= 0 */
	tag_commit(t, res ? res : (int)t->len);
}

static void tag_submit(struct ublk_tag *t)
{
	root_submit(t->queue->root, &t->req);
}

static void tag_payload_came(struct payload *p)
{
	struct ublk_tag *t = container_of(p, struct ublk_tag, payload);
	int rc = 0;

	if (t->req.op == REQ_WRITE)
		rc = copy_in(t);
	if (unlikely(rc)) {
		tag_done(&t->req, rc);
		return;
	}
	t->req.buf = p->buf;
	tag_submit(t);
}

static void tag_dead(struct ublk_tag *t)
{
	struct ublk_queue *q = t->queue;

	if (--q->alive == 0)
		thread_post(thread_by_index(MAIN_THREAD), &q->dead_msg);
}

static void tag_delivered(struct ring_op *op, int res, unsigned flags)
{
	struct ublk_tag *t = container_of(op, struct ublk_tag, op);
	struct ublk_queue *q = t->queue;
	const struct ublksrv_io_desc *desc = &q->descs[t->tag];
	int rc;

	(void)flags;
	if (unlikely(res != UBLK_IO_RES_OK)) {
		if (!q->fetch_error)
			q->fetch_error = res;
		tag_dead(t);
		return;
	}
	rc = ublk_decode(desc, &t->req);
	t->len = 0;
	if (unlikely(rc)) {
		tag_commit(t, rc);
		return;
	}
	t->req.buf = NULL;
	t->req.fixed = IO_NOT_FIXED;
	if (t->req.op > REQ_WRITE) {
		tag_submit(t);
		return;
	}
	t->len = t->req.len;
	if (q->first_buffer >= 0 &&
	    likely(!(desc->op_flags & UBLK_IO_F_NEED_REG_BUF))) {
		t->req.fixed = q->first_buffer + t->tag;
		tag_submit(t);
		return;
	}
	payload_get(&t->payload, PAYLOAD_DELIVERED, t->len, tag_payload_came);
}

static void materialise_came(struct payload *p)
{
	co_wake(container_of(p, struct ublk_tag, payload)->co);
}

int ublk_queue_materialise(struct request *req)
{
	struct ublk_tag *t = container_of(req, struct ublk_tag, req);
	int rc = 0;

	assert(req->fixed >= 0 && !t->payload.buf);
	t->co = co_self();
	payload_get(&t->payload, PAYLOAD_IN_FLIGHT, t->len, materialise_came);
	co_wait();
	if (req->op == REQ_WRITE)
		rc = copy_in(t);
	if (rc) {
		payload_put(&t->payload);
		return rc;
	}
	req->buf = t->payload.buf;
	req->fixed = IO_NOT_FIXED;
	return 0;
}

/* --- main thread --- */

struct reserve {
	struct ublk_queue *q;
	bool buffers;
	int rc;
};

/* Each tag, and what tells that all of them have been taken. */
static uint32_t ring_room(const struct ublk_queue *q)
{
	return q->depth + 1u;
}

static void tags_reserve_run(void *arg)
{
	struct reserve *r = arg;
	struct ublk_queue *q = r->q;

	if (!ring_reserve(ring_room(q))) {
		r->rc = -ENOSPC;
		return;
	}
	q->first_buffer = r->buffers ? ring_buffers_get(q->depth) : -1;
	if (r->buffers && q->first_buffer < 0) {
		ring_release(ring_room(q));
		r->rc = -ENOBUFS;
	}
}

int co_ublk_queue_reserve(struct ublk_queue *q, bool buffers)
{
	struct reserve r = { .q = q, .buffers = buffers };

	co_call(q->thread, tags_reserve_run, &r);
	q->reserved = !r.rc;
	return r.rc;
}

static void tags_release_run(void *arg)
{
	struct ublk_queue *q = arg;

	assert(!q->alive);
	ring_release(ring_room(q));
	if (q->first_buffer >= 0)
		ring_buffers_put(q->first_buffer, q->depth);
	q->first_buffer = -1;
}

void co_ublk_queue_release(struct ublk_queue *q)
{
	if (q->reserved)
		co_call(q->thread, tags_release_run, q);
	q->reserved = false;
}

static size_t descs_bytes(const struct ublk_queue *q)
{
	return align_up(q->depth * sizeof(*q->descs),
			(uint64_t)sysconf(_SC_PAGESIZE));
}

static void tags_died(struct message *msg)
{
	struct ublk_queue *q = container_of(msg, struct ublk_queue, dead_msg);

	q->fetching = false;
	wait_event_set(&q->dead);
	export_lost(q->root);
}

static void fetches_taken(struct ring_op *op, int res, unsigned flags)
{
	struct ublk_queue *q = container_of(op, struct ublk_queue, taken_op);

	(void)res;
	(void)flags;
	thread_post(thread_by_index(MAIN_THREAD), &q->taken_msg);
}

static void queue_fetched(struct message *msg)
{
	wait_event_set(&container_of(msg, struct ublk_queue,
				     taken_msg)->taken);
}

int ublk_queue_map(struct ublk_queue *q)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	void *at;
	uint16_t i;

	q->tags = calloc(q->depth, sizeof(*q->tags));
	if (!q->tags)
		return ENOMEM;
	at = mmap(NULL, descs_bytes(q), PROT_READ, MAP_SHARED | MAP_POPULATE,
		  q->char_fd, (off_t)ublk_desc_offset(q->id, page));
	if (at == MAP_FAILED)
		return errno;
	q->descs = at;
	q->dead_msg.fn = tags_died;
	q->taken_op.done = fetches_taken;
	q->taken_msg.fn = queue_fetched;
	for (i = 0; i < q->depth; i++) {
		struct ublk_tag *t = &q->tags[i];

		t->queue = q;
		t->tag = i;
		t->op.done = tag_delivered;
		t->req.done = tag_done;
	}
	return 0;
}

void ublk_queue_unmap(struct ublk_queue *q)
{
	assert(!q->fetching);
	if (q->descs)
		munmap((void *)(uintptr_t)q->descs, descs_bytes(q));
	q->descs = NULL;
	free(q->tags);
	q->tags = NULL;
}

/*
 * The ring takes its entries in order and completes at once what it refuses:
 * when the last entry, which does nothing, has completed, no fetch will be
 * refused any more.
 */
static void fetch_run(void *arg)
{
	struct ublk_queue *q = arg;
	struct io_uring_sqe *sqe;
	uint16_t i;

	q->alive = q->depth;
	q->fetch_error = 0;
	for (i = 0; i < q->depth; i++)
		tag_command(&q->tags[i], UBLK_U_IO_FETCH_REQ, 0);
	sqe = ring_sqe();
	io_uring_prep_nop(sqe);
	ring_set_op(sqe, &q->taken_op);
}

int co_ublk_queue_fetch(struct ublk_queue *q)
{
	bool taken;

	q->fetching = true;
	q->taken = (struct wait_event) { 0 };
	co_call(q->thread, fetch_run, q);
	taken = co_wait_event(&q->taken, WAIT_FOREVER);
	assert(taken);
	return q->fetch_error;
}

struct stats {
	struct ublk_queue *q;
	struct ublk_queue_stats *out;
};

static void tags_stats_run(void *arg)
{
	struct stats *s = arg;

	s->out->completed = s->q->completed;
	s->out->copied = s->q->copied;
	s->out->alive = s->q->alive;
}

void co_ublk_queue_stats(struct ublk_queue *q, struct ublk_queue_stats *out)
{
	struct stats s = { .q = q, .out = out };

	co_call(q->thread, tags_stats_run, &s);
}
