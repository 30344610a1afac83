/* SPDX-License-Identifier: MIT */
/*
 * queue.c - requests from the kernel to the graph and back (A7).
 *
 * I/O threads, one per queue; functions named co_ are main's, and so are
 * owner_*. Reading and answering are system calls that copy and never wait: the
 * descriptor is non-blocking, and a poll in the thread's ring says when there
 * is something to read. Nothing here allocates or takes a lock.
 *
 * What a request is before it is read nobody knows, so it is read into a piece
 * of memory that could hold the largest WRITE (the inbox). A large WRITE keeps
 * that piece, a small one moves to one of its size, and a queue that has
 * nothing to read holds none: idle files cost no memory.
 *
 * The end of a request never reads the next one: that is a turn of its own, by
 * a completion of the ring or a message, or clients of a fast node would keep
 * whoever ends requests busy for ever (A42).
 */
#include "fuse/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "graph/export.h"

/* Bytes from which a WRITE keeps the inbox instead of being copied. */
#define KEEP_INBOX (64u * 1024)
/* Requests read in one go, so that others on the thread get their turn. */
#define PUMP_MAX 64u

struct fuse_slot {
	struct request req;
	struct fuse_queue *queue;
	struct fuse_slot *next;		/* free */
	struct payload payload;		/* of READ and WRITE */
	uint64_t done, left;		/* fallocate and lseek go in pieces */
	struct status status;
	struct message ask;		/* main, for what is main's */
	int res;
	struct fuse_input in;
	struct fuse_attr_out attr;
};

/* --- the end of a request --- */

static void queue_check_dead(struct fuse_queue *q)
{
	if (!q->ending || q->dead || q->busy || q->armed || q->waiting ||
	    q->pumping || q->kicked || q->cancelling)
		return;
	q->dead = true;
	thread_post(thread_by_index(MAIN_THREAD), &q->died_msg);
}

static void slot_free(struct fuse_slot *s)
{
	struct fuse_queue *q = s->queue;

	if (s->payload.buf)
		payload_put(&s->payload);
	s->next = q->free;
	q->free = s;
	q->busy--;
	if (q->ending) {
		queue_check_dead(q);
	} else if (!q->pumping && !q->armed && !q->waiting && !q->kicked) {
		/* it had no slot left to read into */
		q->kicked = true;
		thread_post(q->thread, &q->kick);
	}
}

/* False when the kernel does not want the answer any more. */
static bool slot_answer(struct fuse_slot *s, int error, const void *body,
			size_t len)
{
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + len),
		.error = error,
		.unique = s->in.head.unique,
	};
	struct iovec iov[2] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = (void *)(uintptr_t)body, .iov_len = len },
	};

	s->queue->completed++;
	return writev(s->queue->fd, iov, len ? 2 : 1) >= 0;
}

static void slot_end(struct fuse_slot *s, int error)
{
	slot_answer(s, error, NULL, 0);
	slot_free(s);
}

/* --- data --- */

static void slot_submit(struct fuse_slot *s)
{
	root_submit(s->queue->common->root, &s->req);
}

static void read_done(struct request *req, int res)
{
	struct fuse_slot *s = container_of(req, struct fuse_slot, req);

	slot_answer(s, res, req->buf, res ? 0 : req->len);
	slot_free(s);
}

static void read_payload_came(struct payload *p)
{
	struct fuse_slot *s = container_of(p, struct fuse_slot, payload);

	s->req.buf = p->buf;
	slot_submit(s);
}

static void slot_read(struct fuse_slot *s)
{
	const struct fuse_read_in *in = &s->in.arg.read;
	int64_t len = fuse_clip(&s->queue->common->shape, false, in->offset,
				in->size);

	if (len <= 0) {
		slot_end(s, (int)len);
		return;
	}
	s->req.op = REQ_READ;
	s->req.offset = in->offset;
	s->req.len = (uint32_t)len;
	s->req.done = read_done;
	payload_get(&s->payload, PAYLOAD_DELIVERED, (uint32_t)len,
		    read_payload_came);
}

static void write_done(struct request *req, int res)
{
	struct fuse_slot *s = container_of(req, struct fuse_slot, req);
	struct fuse_write_out out = { .size = req->len };

	if (!res)
		__atomic_fetch_add(&s->queue->common->written, req->len,
				   __ATOMIC_RELAXED);
	slot_answer(s, res, &out, res ? 0 : sizeof(out));
	slot_free(s);
}

/* The bytes stand in the inbox. */
static void slot_write(struct fuse_slot *s, size_t bytes)
{
	const struct fuse_write_in *in = &s->in.arg.write;
	struct fuse_queue *q = s->queue;
	int64_t len = bytes < in->size ? -EIO :
		      fuse_clip(&q->common->shape, true, in->offset, in->size);

	if (len <= 0) {
		slot_end(s, (int)len);
		return;
	}
	if (len < KEEP_INBOX && payload_try(&s->payload, PAYLOAD_DELIVERED,
					    (uint32_t)len))
		memcpy(s->payload.buf, q->inbox.buf, (size_t)len);
	else
		payload_move(&s->payload, &q->inbox);
	s->req.op = REQ_WRITE;
	s->req.offset = in->offset;
	s->req.len = (uint32_t)len;
	s->req.buf = s->payload.buf;
	s->req.done = write_done;
	slot_submit(s);
}

static void plain_done(struct request *req, int res)
{
	slot_end(container_of(req, struct fuse_slot, req), res);
}

static void slot_flush(struct fuse_slot *s)
{
	s->req.op = REQ_FLUSH;
	s->req.offset = 0;
	s->req.len = 0;
	s->req.done = plain_done;
	slot_submit(s);
}

static void range_next(struct fuse_slot *s)
{
	s->req.offset = s->done;
	s->req.len = (uint32_t)min(s->left, FUSE_PIECE_MAX);
	s->done += s->req.len;
	s->left -= s->req.len;
	slot_submit(s);
}

static void range_again(struct message *msg)
{
	range_next(container_of(msg, struct fuse_slot, ask));
}

static void range_done(struct request *req, int res)
{
	struct fuse_slot *s = container_of(req, struct fuse_slot, req);

	if (res || !s->left) {
		slot_end(s, res);
		return;
	}
	/* this piece is counted until done returns, and may end in submit */
	s->ask.fn = range_again;
	thread_post(s->queue->thread, &s->ask);
}

static void slot_fallocate(struct fuse_slot *s)
{
	struct fuse_range range;
	int rc = fuse_map_fallocate(&s->queue->common->shape,
				    &s->in.arg.fallocate, &range);

	if (rc || !range.len) {
		slot_end(s, rc);
		return;
	}
	s->req.op = range.op;
	s->req.flags = range.flags;
	s->req.done = range_done;
	s->done = range.offset;
	s->left = range.len;
	range_next(s);
}

/* --- lseek --- */

static void seek_next(struct fuse_slot *s)
{
	uint64_t size = fuse_size(&s->queue->common->shape);
	uint32_t block = s->queue->common->root->granularity;

	s->req.offset = align_down(s->done, block);
	s->req.len = (uint32_t)min(size - s->req.offset, FUSE_PIECE_MAX);
	slot_submit(s);
}

static void seek_again(struct message *msg)
{
	seek_next(container_of(msg, struct fuse_slot, ask));
}

static void seek_done(struct request *req, int res)
{
	struct fuse_slot *s = container_of(req, struct fuse_slot, req);
	const struct fuse_shape *shape = &s->queue->common->shape;
	bool want_data = s->in.arg.lseek.whence == SEEK_DATA;
	struct fuse_lseek_out out;

	if (!res && !fuse_seek_step(shape, want_data,
				    s->status.flags & STATUS_ZERO,
				    req->offset + s->status.len - s->done,
				    &s->done)) {
		if (s->done < fuse_size(shape)) {
			s->ask.fn = seek_again;
			thread_post(s->queue->thread, &s->ask);
			return;
		}
		res = -ENXIO;
	}
	out.offset = s->done;
	slot_answer(s, res, &out, res ? 0 : sizeof(out));
	slot_free(s);
}

static void slot_lseek(struct fuse_slot *s)
{
	const struct fuse_lseek_in *in = &s->in.arg.lseek;

	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE) {
		slot_end(s, -EINVAL);
		return;
	}
	if (in->offset >= fuse_size(&s->queue->common->shape)) {
		slot_end(s, -ENXIO);
		return;
	}
	s->req.op = REQ_STATUS;
	s->req.buf = &s->status;
	s->req.done = seek_done;
	s->done = in->offset;
	seek_next(s);
}

/* --- owner and mode: main's --- */

static void owner_answered(struct message *msg)
{
	struct fuse_slot *s = container_of(msg, struct fuse_slot, ask);

	slot_answer(s, s->res, &s->attr, s->res ? 0 : sizeof(s->attr));
	slot_free(s);
}

static void owner_asked(struct message *msg)
{
	struct fuse_slot *s = container_of(msg, struct fuse_slot, ask);
	struct fuse_common *c = s->queue->common;

	s->res = 0;
	if (s->in.head.opcode == FUSE_SETATTR)
		s->res = fuse_set_owner(&c->shape, &s->in.arg.setattr,
					&c->owner);
	fuse_fill_attr(&c->shape, &c->owner,
		       __atomic_load_n(&c->written, __ATOMIC_RELAXED),
		       &s->attr);
	s->ask.fn = owner_answered;
	thread_post(s->queue->thread, &s->ask);
}

static void slot_ask_owner(struct fuse_slot *s)
{
	s->ask.fn = owner_asked;
	thread_post(thread_by_index(MAIN_THREAD), &s->ask);
}

/* --- the rest --- */

static void slot_init(struct fuse_slot *s)
{
	struct fuse_init_out out;

	if (!fuse_fill_init(&s->in.arg.init, s->queue->common->depth, &out)) {
		slot_end(s, -EPROTO);
		return;
	}
	slot_answer(s, 0, &out, sizeof(out));
	slot_free(s);
}

static void slot_open(struct fuse_slot *s)
{
	/* no cache of the kernel's between users of the file and the graph */
	struct fuse_open_out out = {
		.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	};

	if (!s->queue->common->shape.writable &&
	    (s->in.arg.open.flags & O_ACCMODE) != O_RDONLY) {
		slot_end(s, -EROFS);
		return;
	}
	/* who was interrupted meanwhile has opened nothing */
	s->queue->opens += slot_answer(s, 0, &out, sizeof(out));
	slot_free(s);
}

static void close_heard(struct message *msg)
{
	slot_end(container_of(msg, struct fuse_slot, ask), 0);
}

static void close_told(struct message *msg)
{
	struct fuse_slot *s = container_of(msg, struct fuse_slot, ask);

	export_lost(s->queue->common->root);
	s->ask.fn = close_heard;
	thread_post(s->queue->thread, &s->ask);
}

static void slot_release(struct fuse_slot *s)
{
	s->queue->opens--;
	if (!s->queue->common->tells_closes) {
		slot_end(s, 0);
		return;
	}
	s->ask.fn = close_told;
	thread_post(thread_by_index(MAIN_THREAD), &s->ask);
}

static void slot_statfs(struct fuse_slot *s)
{
	struct fuse_statfs_out out;

	fuse_fill_statfs(&s->queue->common->shape, &out);
	slot_answer(s, 0, &out, sizeof(out));
	slot_free(s);
}

static void slot_run(struct fuse_slot *s, size_t bytes)
{
	switch (s->in.head.opcode) {
	case FUSE_READ:
		slot_read(s);
		break;
	case FUSE_WRITE:
		slot_write(s, bytes);
		break;
	case FUSE_FLUSH:
	case FUSE_FSYNC:
		slot_flush(s);
		break;
	case FUSE_FALLOCATE:
		slot_fallocate(s);
		break;
	case FUSE_LSEEK:
		slot_lseek(s);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		slot_ask_owner(s);
		break;
	case FUSE_OPEN:
		slot_open(s);
		break;
	case FUSE_RELEASE:
		slot_release(s);
		break;
	case FUSE_STATFS:
		slot_statfs(s);
		break;
	case FUSE_INIT:
		slot_init(s);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		slot_free(s);	/* wants no answer */
		break;
	case FUSE_DESTROY:
		slot_end(s, 0);
		break;
	default:
		slot_end(s, -ENOSYS);
		break;
	}
}

/* --- reading --- */

static struct fuse_slot *slot_take(struct fuse_queue *q)
{
	struct fuse_slot *s = q->free;

	q->free = s->next;
	q->busy++;
	s->req.flags = 0;
	s->req.buf = NULL;
	s->req.fixed = IO_NOT_FIXED;
	return s;
}

/* Reads one request and runs it. False when there is none. */
static bool queue_receive(struct fuse_queue *q)
{
	struct fuse_slot *s = q->free;
	char *in = (char *)&s->in;
	struct iovec iov[2] = {
		{ .iov_base = in, .iov_len = FUSE_INPUT_HEAD },
		{ .iov_base = q->inbox.buf, .iov_len = FUSE_IO_MAX },
	};
	ssize_t n = readv(q->fd, iov, 2);
	size_t more;

	if (n < 0) {
		/* ENOENT: it was given up while we read it */
		if (errno == EINTR || errno == ENOENT)
			return true;
		q->ending |= errno != EAGAIN;
		return false;
	}
	if ((size_t)n < sizeof(s->in.head))
		return true;
	slot_take(q);
	more = (size_t)n > FUSE_INPUT_HEAD ? (size_t)n - FUSE_INPUT_HEAD : 0;
	if (s->in.head.opcode != FUSE_WRITE)
		memcpy(in + FUSE_INPUT_HEAD, q->inbox.buf,
		       min(more, sizeof(s->in) - FUSE_INPUT_HEAD));
	slot_run(s, more);
	return true;
}

static void queue_pump(struct fuse_queue *q);

static void inbox_came(struct payload *p)
{
	struct fuse_queue *q = container_of(p, struct fuse_queue, inbox);

	q->waiting = false;
	if (!q->pumping)
		queue_pump(q);
}

static bool queue_has_inbox(struct fuse_queue *q)
{
	if (q->inbox.buf)
		return true;
	q->waiting = true;
	payload_get(&q->inbox, PAYLOAD_DELIVERED, FUSE_IO_MAX, inbox_came);
	return !q->waiting;
}

static void queue_arm(struct fuse_queue *q)
{
	struct io_uring_sqe *sqe = ring_sqe();

	/* of the threads that wait for a file's requests one is woken */
	io_uring_prep_poll_add(sqe, q->fd, POLLIN | EPOLLEXCLUSIVE);
	ring_set_op(sqe, &q->ready);
	q->armed = true;
}

/* Nothing more to read now: waits for the kernel, unless it is for us. */
static void queue_rest(struct fuse_queue *q)
{
	if (q->inbox.buf)
		payload_put(&q->inbox);
	if (q->ending)
		queue_check_dead(q);
	else if (q->free)
		queue_arm(q);
}

static void queue_pump(struct fuse_queue *q)
{
	unsigned n = 0;

	q->pumping = true;
	while (n++ < PUMP_MAX && q->free && !q->ending && queue_has_inbox(q))
		if (!queue_receive(q))
			break;
	q->pumping = false;
	if (!q->waiting)
		queue_rest(q);
}

static void queue_kicked(struct message *msg)
{
	struct fuse_queue *q = container_of(msg, struct fuse_queue, kick);

	q->kicked = false;
	queue_pump(q);
}

static void queue_ready(struct ring_op *op, int res, unsigned flags)
{
	struct fuse_queue *q = container_of(op, struct fuse_queue, ready);

	(void)res;
	(void)flags;
	q->armed = false;
	queue_pump(q);
}

static void queue_cancelled(struct ring_op *op, int res, unsigned flags)
{
	struct fuse_queue *q = container_of(op, struct fuse_queue, cancelled);

	(void)res;
	(void)flags;
	q->cancelling = false;
	queue_check_dead(q);
}

/* --- main thread --- */

struct reserve {
	struct fuse_queue *q;
	bool ok;
};

/* Each request at the graph, the poll, and its cancellation. */
static uint32_t ring_share(const struct fuse_queue *q)
{
	return q->depth + 2;
}

static void reserve_run(void *arg)
{
	struct reserve *r = arg;

	r->ok = ring_reserve(ring_share(r->q));
}

static void queue_died(struct message *msg)
{
	struct fuse_queue *q = container_of(msg, struct fuse_queue, died_msg);

	q->serving = false;
	wait_event_set(&q->died);
	export_lost(q->common->root);
}

int co_fuse_queue_open(struct fuse_queue *q)
{
	struct reserve r = { .q = q };
	uint32_t i;

	co_call(q->thread, reserve_run, &r);
	if (!r.ok)
		return -ENOSPC;
	q->reserved = true;
	q->slots = calloc(q->depth, sizeof(*q->slots));
	if (!q->slots)
		return -ENOMEM;
	for (i = 0; i < q->depth; i++) {
		q->slots[i].queue = q;
		q->slots[i].next = q->free;
		q->free = &q->slots[i];
	}
	q->ready.done = queue_ready;
	q->cancelled.done = queue_cancelled;
	q->kick.fn = queue_kicked;
	q->died_msg.fn = queue_died;
	return 0;
}

static void ring_release_run(void *arg)
{
	struct fuse_queue *q = arg;

	assert(!q->busy && !q->armed);
	ring_release(ring_share(q));
}

void co_fuse_queue_close(struct fuse_queue *q)
{
	assert(!q->serving);
	if (q->reserved)
		co_call(q->thread, ring_release_run, q);
	q->reserved = false;
	free(q->slots);
	q->slots = NULL;
}

static void serve_run(void *arg)
{
	queue_pump(arg);
}

void co_fuse_queue_serve(struct fuse_queue *q)
{
	q->serving = true;
	co_call(q->thread, serve_run, q);
}

static void end_run(void *arg)
{
	struct fuse_queue *q = arg;

	q->ending = true;
	if (q->armed && !q->cancelling) {
		q->cancelling = true;
		ring_cancel(&q->ready, &q->cancelled);
	}
	queue_check_dead(q);
}

void co_fuse_queue_end(struct fuse_queue *q)
{
	if (q->serving)
		co_call(q->thread, end_run, q);
}

struct stats {
	struct fuse_queue *q;
	struct fuse_queue_stats *out;
};

static void stats_run(void *arg)
{
	struct stats *s = arg;

	s->out->completed = s->q->completed;
	s->out->opens = s->q->opens;
}

void co_fuse_queue_stats(struct fuse_queue *q, struct fuse_queue_stats *out)
{
	struct stats s = { .q = q, .out = out };

	co_call(q->thread, stats_run, &s);
}
