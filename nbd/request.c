/* SPDX-License-Identifier: MIT */
/*
 * request.c - from a request that has been read to its reply. I/O thread.
 *
 * What is one request of the graph goes there at once, from the reader; the
 * rest (a block status, what is longer than the graph takes, a trim that is to
 * be durable) is a coroutine that sends one after the other.
 */
#include "nbd/conn.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "graph/status.h"
#include "runtime/co.h"

#define PIECE_MAX (1u << 30)		/* bytes of one trim or zeroing */
#define CACHE_PIECE (256u << 10)
#define EXTENTS_MAX 4096u		/* of one context in one reply */
#define CONTEXT_ROOM (EXTENTS_MAX * 16 + NBD_REPLY_HEAD_MAX)

/* ---- replies ---- */

static void reply_simple(struct nbd_slot *slot)
{
	const struct nbd_terms *terms = &slot->conn->service.terms;
	uint32_t data = 0;

	if (slot->ask.type == NBD_CMD_READ && !slot->error)
		data = (uint32_t)slot->ask.length;
	slot->reply[0].iov_base = slot->head;
	slot->reply[0].iov_len = nbd_reply_head(slot->head, &slot->ask, terms,
						slot->error, data);
	slot->parts = 1;
	if (data) {
		slot->reply[1].iov_base = slot->mem;
		slot->reply[1].iov_len = data;
		slot->parts = 2;
	}
	nbd_slot_ready(slot);
}

static void slot_done(struct request *req, int res)
{
	struct nbd_slot *slot = container_of(req, struct nbd_slot, req);

	slot->error = nbd_error_from(res);
	reply_simple(slot);
}

/* ---- one request of the graph ---- */

static void slot_fill(struct nbd_slot *slot, enum req_op op, uint64_t offset,
		      uint32_t len)
{
	const struct nbd_conn *c = slot->conn;
	struct request *req = &slot->req;
	bool fua = slot->ask.flags & NBD_CMD_FLAG_FUA || c->writethrough;

	req->op = (uint8_t)op;
	req->flags = 0;
	req->offset = offset;
	req->len = len;
	req->buf = op == REQ_READ || op == REQ_WRITE ? slot->mem : NULL;
	req->fixed = IO_NOT_FIXED;
	req->done = slot_done;
	if (fua && (op == REQ_WRITE || op == REQ_ZEROES))
		req->flags |= REQ_FUA;
	if (op == REQ_ZEROES && slot->ask.flags & NBD_CMD_FLAG_NO_HOLE)
		req->flags |= REQ_NO_UNMAP;
	if (op == REQ_ZEROES && slot->ask.flags & NBD_CMD_FLAG_FAST_ZERO)
		req->flags |= REQ_FAST;
}

static void submit(struct nbd_slot *slot, enum req_op op)
{
	slot_fill(slot, op, slot->ask.offset, (uint32_t)slot->ask.length);
	root_submit(slot->conn->root, &slot->req);
}

/* ---- several ---- */

static int co_slot_submit(struct nbd_slot *slot, enum req_op op,
			  uint64_t offset, uint32_t len)
{
	slot_fill(slot, op, offset, len);
	return co_root_submit(slot->conn->root, &slot->req);
}

static int co_all(struct nbd_slot *slot, enum req_op op, uint32_t piece)
{
	uint64_t at = slot->ask.offset, end = at + slot->ask.length;
	int rc = 0;

	while (at < end && rc == 0) {
		uint32_t len = (uint32_t)min(end - at, (uint64_t)piece);

		/* it may be long, and done at once */
		co_yield();
		if (slot->conn->closing)
			return -ESHUTDOWN;
		rc = co_slot_submit(slot, op, at, len);
		at += len;
	}
	return rc;
}

static int co_trim(struct nbd_slot *slot)
{
	int rc = co_all(slot, REQ_DISCARD, PIECE_MAX);

	if (rc == 0 && slot->ask.flags & NBD_CMD_FLAG_FUA)
		rc = co_slot_submit(slot, REQ_FLUSH, 0, 0);
	return rc;
}

static int co_cache(struct nbd_slot *slot)
{
	nbd_slot_touch(slot, CACHE_PIECE);
	return co_all(slot, REQ_READ, CACHE_PIECE);
}

/* ---- block status ---- */

/* Extents of one context, in the slot's memory behind room for a head. */
struct context {
	char *at;
	uint32_t count;
	uint64_t len;		/* of the last one, not yet written */
	uint32_t flags;
	bool on, full;
};

static void context_flush(struct context *x, const struct nbd_terms *terms)
{
	if (!x->len)
		return;
	nbd_extent_put(x->at + x->count++ * nbd_extent_size(terms), terms,
		       x->len, x->flags);
	x->len = 0;
}

static void context_add(struct context *x, const struct nbd_terms *terms,
			uint64_t len, uint32_t flags, uint32_t most)
{
	if (!x->on || x->full)
		return;
	if (x->len && x->flags == flags) {
		x->len += len;
		return;
	}
	context_flush(x, terms);
	x->full = x->count == most;
	x->flags = flags;
	x->len = x->full ? 0 : len;
}

static uint32_t base_flags(const struct status *status)
{
	uint32_t flags = 0;

	if (!(status->flags & STATUS_DATA))
		flags |= NBD_STATE_HOLE;
	if (status->flags & STATUS_ZERO)
		flags |= NBD_STATE_ZERO;
	return flags;
}

static bool contexts_go_on(const struct context x[2])
{
	return (x[0].on && !x[0].full) || (x[1].on && !x[1].full);
}

static int co_collect(struct nbd_slot *slot, struct context x[2])
{
	const struct nbd_terms *terms = &slot->conn->service.terms;
	uint32_t most = slot->ask.flags & NBD_CMD_FLAG_REQ_ONE ? 1 :
			EXTENTS_MAX;
	uint64_t at = slot->ask.offset, end = at + slot->ask.length;
	int rc = 0;

	while (at < end && contexts_go_on(x)) {
		struct status status = { .len = 0 };

		co_yield();
		if (slot->conn->closing)
			return -ESHUTDOWN;
		slot_fill(slot, REQ_STATUS, at,
			  (uint32_t)min(end - at, (uint64_t)PIECE_MAX));
		slot->req.buf = &status;
		rc = co_root_submit(slot->conn->root, &slot->req);
		if (rc < 0)
			return rc;
		assert(status.len && status.len <= slot->req.len);
		context_add(&x[0], terms, status.len, base_flags(&status),
			    most);
		context_add(&x[1], terms, status.len, status.depth, most);
		at += status.len;
	}
	context_flush(&x[0], terms);
	context_flush(&x[1], terms);
	return 0;
}

/* Puts the head right before the extents. */
static void slot_reply_context(struct nbd_slot *slot, const struct context *x,
			       unsigned id, bool last)
{
	const struct nbd_terms *terms = &slot->conn->service.terms;
	char head[NBD_REPLY_HEAD_MAX];
	size_t len = nbd_status_head(head, &slot->ask, terms, id, x->count,
				     last);
	struct iovec *part = &slot->reply[slot->parts++];

	memcpy(x->at - len, head, len);
	part->iov_base = x->at - len;
	part->iov_len = len + x->count * nbd_extent_size(terms);
}

static void co_status(struct nbd_slot *slot)
{
	const struct nbd_terms *terms = &slot->conn->service.terms;
	struct context x[2] = {
		{ .at = slot->mem + NBD_REPLY_HEAD_MAX, .on = terms->base },
		{ .at = slot->mem + NBD_REPLY_HEAD_MAX + CONTEXT_ROOM,
		  .on = terms->depth },
	};
	int rc;

	nbd_slot_touch(slot, 2 * CONTEXT_ROOM);
	rc = co_collect(slot, x);
	if (rc < 0) {
		slot->error = nbd_error_from(rc);
		reply_simple(slot);
		return;
	}
	slot->parts = 0;
	if (x[0].on)
		slot_reply_context(slot, &x[0], NBD_CONTEXT_BASE, !x[1].on);
	if (x[1].on)
		slot_reply_context(slot, &x[1], NBD_CONTEXT_DEPTH, true);
	nbd_slot_ready(slot);
}

/* ---- starting ---- */

uint32_t nbd_slot_bytes(const struct nbd_request *ask, uint64_t payload)
{
	switch (ask->type) {
	case NBD_CMD_READ:
		return (uint32_t)min(ask->length, (uint64_t)NBD_PAYLOAD_MAX);
	case NBD_CMD_CACHE:
		return max(CACHE_PIECE, (uint32_t)payload);
	case NBD_CMD_BLOCK_STATUS:
		return max(2 * CONTEXT_ROOM, (uint32_t)payload);
	default:
		return (uint32_t)payload;
	}
}

static void slot_coroutine(void *arg)
{
	struct nbd_slot *slot = arg;
	int rc = -EINVAL;

	if (slot->ask.type == NBD_CMD_BLOCK_STATUS) {
		co_status(slot);
		return;
	}
	if (slot->ask.type == NBD_CMD_TRIM)
		rc = co_trim(slot);
	else if (slot->ask.type == NBD_CMD_CACHE)
		rc = co_cache(slot);
	else if (slot->ask.type == NBD_CMD_WRITE_ZEROES)
		rc = co_all(slot, REQ_ZEROES, PIECE_MAX);
	slot->error = nbd_error_from(rc);
	reply_simple(slot);
}

static void slot_spawn(struct nbd_slot *slot)
{
	if (co_spawn(slot_coroutine, slot))
		return;
	slot->error = NBD_ENOMEM;
	reply_simple(slot);
}

static void slot_operate(struct nbd_slot *slot)
{
	bool is_short = slot->ask.length <= PIECE_MAX;
	bool fua = slot->ask.flags & NBD_CMD_FLAG_FUA;

	switch (slot->ask.type) {
	case NBD_CMD_READ:
		nbd_slot_touch(slot, (uint32_t)slot->ask.length);
		submit(slot, REQ_READ);
		return;
	case NBD_CMD_WRITE:
		submit(slot, REQ_WRITE);
		return;
	case NBD_CMD_FLUSH:
		slot_fill(slot, REQ_FLUSH, 0, 0);
		root_submit(slot->conn->root, &slot->req);
		return;
	case NBD_CMD_TRIM:
		if (!is_short || fua)
			break;
		submit(slot, REQ_DISCARD);
		return;
	case NBD_CMD_WRITE_ZEROES:
		if (!is_short)
			break;
		submit(slot, REQ_ZEROES);
		return;
	default:
		break;
	}
	slot_spawn(slot);
}

/* With all slots held nobody reads, and the end of the input is not seen. */
static bool client_has_left(const struct nbd_conn *c)
{
	struct pollfd end = {
		.fd = c->service.stream.fd,
		.events = POLLRDHUP,
	};

	return c->reader && poll(&end, 1, 0) > 0;
}

bool nbd_request_abandoned(struct request *req)
{
	const struct nbd_conn *c = container_of(req, struct nbd_slot,
						req)->conn;

	return c->closing || c->read_over || client_has_left(c);
}

void nbd_slot_start(struct nbd_slot *slot)
{
	const struct nbd_conn *c = slot->conn;

	slot->error = c->closing ? NBD_ESHUTDOWN :
		      nbd_request_check(&slot->ask, &c->service.terms,
					nbd_target_size(c->target),
					c->writable);
	if (slot->error)
		reply_simple(slot);
	else
		slot_operate(slot);
}
