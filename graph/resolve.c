/* SPDX-License-Identifier: MIT */
/*
 * resolve.c - the fast path: root_submit, resolve, submit, complete (A9).
 *
 * Any thread of the root. Nothing here waits, locks or allocates; everything
 * that does not fit one submission goes to slow.c.
 */
#include "graph/resolve.h"

#include <errno.h>
#include <string.h>

#include "graph/flush.h"
#include "graph/gate.h"
#include "graph/node-io.h"
#include "graph/span.h"
#include "graph/state.h"

/* A discard or zeroing at a node that keeps its space. True: nothing to do. */
static bool resolve_keeps_space(const struct node *node, struct map *map)
{
	if (node->discard_unmap)
		return false;
	map->flags |= REQ_NO_UNMAP;
	map->kind = MAP_DONE;
	return map->op == REQ_DISCARD;
}

/* Below an overlay that is longer than its backing image there are zeroes. */
static bool resolve_past_end(const struct node *backing, struct map *map)
{
	if (likely(map->len <= backing->size &&
		   map->offset <= backing->size - map->len))
		return false;
	assert(map->op == REQ_READ);
	if (map->offset < backing->size) {
		map->len = (uint32_t)(backing->size - map->offset);
		return false;
	}
	map->kind = MAP_ZEROES;
	return true;
}

struct node *resolve(struct node *node, struct map *map,
		     struct node_path *path)
{
	bool realigned = map->realigned;

	for (;;) {
		node_path_enter(path, node);
		if (unlikely(map->op > REQ_FLUSH) &&
		    resolve_keeps_space(node, map))
			return node;
		if (unlikely((map->offset | map->len) & node->own_mask ||
			     (node->serialise && map->op != REQ_READ)) &&
		    !realigned) {
			map->kind = MAP_REALIGN;
			return node;
		}
		realigned = false;
		map->kind = MAP_SLOW;
		if (node->driver->map) {
			node->driver->map(node, map);
			if (map->kind != MAP_FORWARD)
				return node;
			if (unlikely(map->child->role & ROLE_COW) &&
			    resolve_past_end(map->child->child, map))
				return node;
			node = map->child->child;
		} else if (node->forwards) {
			node = (node->file ? node->file : node->backing)->child;
		} else {
			return node;
		}
	}
}

/* It may be another image's, that has it from further down. */
void map_above_of(struct map *map, const struct node *image)
{
	const struct node *below = map->above;

	do
		below = node_filtered_child(below);
	while (below && below != image);
	if (below)
		map->kind = MAP_ASK_ABOVE;
}

bool map_hook(struct map *map, struct node *node, op_hook_fn *ended)
{
	struct op_hooks *hooks = map->hooks;

	if (hooks->count == HOOKS_MAX)
		return false;
	hooks->hook[hooks->count++] = (struct op_hook){
		.ended = ended,
		.node = node,
		.offset = map->offset,
		.op = map->op,
	};
	return true;
}

/* From the bottom up, as an operation's layers end. */
void op_hooks_run(struct op_hooks *hooks, uint32_t len, int res)
{
	while (hooks->count) {
		const struct op_hook *hook = &hooks->hook[--hooks->count];

		hook->ended(hook, len, res);
	}
}

/* One writer, so no atomic add. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void request_count(const struct request *req,
				 struct root_gate *gate, int res)
{
	struct root_counts *counts = &gate->counts;
	struct op_counts *op = counts->ops + (size_t)req->op;
	uint64_t end = req->offset + req->len;

	if (unlikely(res < 0)) {
		count(&op->failed, 1);
		failure_note(req, res, false);
		return;
	}
	count(&op->ok, 1);
	count(&op->bytes, req->len);
	count(&op->ns, clock_turn_ns() - req->start_ns);
	if (req->op == REQ_WRITE && end > counts->highest)
		__atomic_store_n(&counts->highest, end, __ATOMIC_RELAXED);
}

static inline void request_leave(struct request *req, struct root_gate *gate,
				 unsigned parity, int res)
{
	node_path_leave(&req->path);
	gate_unlist(gate, req);
	req->done(req, res);
	gate_leave(gate, parity);
}

/* What is used on both sides of a call is read before it, once. */
void request_finish(struct request *req, int res)
{
	struct root_gate *gate = req->gate;
	unsigned parity = req->parity;

	if (unlikely(req->hooks.count))
		op_hooks_run(&req->hooks, req->len, res);
	request_count(req, gate, res);
	request_leave(req, gate, parity, res);
}

void request_hand_back(struct request *req)
{
	request_leave(req, req->gate, req->parity, STEER_WAIT);
}

/* The rest of a read past the end of the file is zeroes; where the file should
 * not have ended (D6) the slow path looks again, and has more to compare. */
static int request_read_done(struct request *req, int res)
{
	if (req->fixed != IO_NOT_FIXED ||
	    req->io.offset + (uint64_t)res < node_span(req->end))
		return -EOPNOTSUPP;
	memset((char *)req->buf + res, 0, req->len - (uint32_t)res);
	return 0;
}

static void request_io_failed(struct request *req, int res)
{
	bool *refused = req->op == REQ_DISCARD || req->io.op == IO_PUNCH ?
			&req->end->io->no_punch : &req->end->io->no_zero;

	if (req->io.flags & IO_DSYNC)
		node_dsync_failed(req->end, res);
	if (req->op <= REQ_FLUSH || !is_unsupported(res)) {
		request_failed(req, res);
		return;
	}
	__atomic_store_n(refused, true, __ATOMIC_RELAXED);
	node_path_leave(&req->path);
	request_slow(req);
}

static void request_io_done(struct io *io, int res)
{
	struct request *req = container_of(io, struct request, io);

	if (req->op != REQ_READ) {
		node_wrote(req->end, req->gate->index);
		if (res >= 0)
			node_spans_to(req->end, req->gate->index, io);
	}
	if (req->op <= REQ_WRITE && likely(res == (int)req->len)) {
		res = 0;
	} else if (req->op == REQ_READ && res >= 0) {
		res = request_read_done(req, res);
		if (res < 0) {
			node_path_leave(&req->path);
			request_slow(req);
			return;
		}
	} else if (res < 0) {
		request_io_failed(req, res);
		return;
	}
	request_finish(req, res);
}

static void request_submit(struct request *req, struct node *end,
			   const struct map *map)
{
	struct io *io = &req->io;

	req->end = end;
	io->file = map->file;
	io->buf = req->buf;
	io->offset = map->offset;
	io->len = req->len;
	io->fixed = req->op <= REQ_WRITE ? req->fixed : IO_NOT_FIXED;
	io->fixed_offset = 0;
	io->op = map->io_op;
	io->flags = map->io_flags;
	io->done = request_io_done;
	io_submit(io);
}

/* Whether one submission can carry it: what drivers need not look at. */
static bool request_is_one(const struct request *req, const struct node *end,
			   const struct map *map)
{
	if (unlikely(node_is_cut(end)))
		return false;
	if (unlikely(req->op > REQ_FLUSH))
		return !__atomic_load_n(map->io_op == IO_PUNCH ?
					&end->io->no_punch : &end->io->no_zero,
					__ATOMIC_RELAXED);
	return req->len <= end->limits.max_transfer &&
	       (req->fixed != IO_NOT_FIXED ||
		is_aligned((uintptr_t)req->buf, end->limits.mem_align));
}

/* Returns false where only a coroutine can do it. */
static bool request_zeroes(struct request *req, struct node *end)
{
	struct map map = { .io_op = IO_READ };

	if (req->fixed == IO_NOT_FIXED) {
		memset(req->buf, 0, req->len);
		request_finish(req, 0);
		return true;
	}
	/* A31: bytes that nobody here can write come from /dev/zero */
	map.file = graph_zero_file();
	if (!map.file)
		return false;
	request_submit(req, end, &map);
	return true;
}

/* Whether it has a length and is this root's as far as one look can tell. */
static bool request_is_plain(const struct request *req,
			     const struct node *node)
{
	const struct root *root = req->root;
	uint64_t end = req->offset + req->len;

	return req->len - 1 < INT32_MAX && end <= node->size &&
	       req->offset < end && req->op != REQ_STATUS &&
	       !((req->offset | req->len) & (root->granularity - 1)) &&
	       (req->op == REQ_READ || root->writable);
}

/* The rest: flushes, status, nothing at all, and what is refused. */
static void request_odd(struct request *req, const struct node *node)
{
	const struct root *root = req->root;

	if (req->op == REQ_FLUSH)
		request_slow(req);
	else if (req->op != REQ_READ && req->op != REQ_STATUS &&
		 !root->writable)
		request_finish(req, -EROFS);
	else if ((req->offset | req->len) & (root->granularity - 1) ||
		 req->len >> 31)
		request_finish(req, -EINVAL);
	else if (req->len > node->size || req->offset > node->size - req->len)
		request_finish(req, -EIO);
	else if (req->op == REQ_STATUS && req->len)
		request_slow(req);
	else
		request_finish(req, 0);
}

void request_begin(struct request *req)
{
	struct node *node = req->root->edge.child;
	struct map map = {
		.op = req->op,
		.flags = req->flags,
		.len = req->len,
		.offset = req->offset,
		.hooks = &req->hooks,
		.req = req,
	};

	req->hooks.count = 0;
	req->hooks.charged = 0;
	req->start_ns = clock_turn_ns();
	req->end = NULL;
	if (unlikely(req->op == REQ_FLUSH || !request_is_plain(req, node))) {
		request_odd(req, node);
		return;
	}
	node = resolve(node, &map, &req->path);
	if (likely(map.len == req->len)) {
		if (likely(map.kind == MAP_SUBMIT)) {
			if (request_is_one(req, node, &map)) {
				request_submit(req, node, &map);
				return;
			}
		} else if (map.kind == MAP_DONE) {
			request_finish(req, 0);
			return;
		} else if (map.kind == MAP_ZEROES &&
			   request_zeroes(req, node)) {
			return;
		}
	}
	node_path_leave(&req->path);
	request_slow(req);
}

static void root_enter(struct root *root, struct request *req)
{
	struct root_gate *gate = root_gate_self(root);

	assert(root->threads >> gate->index & 1);
	req->root = root;
	req->gate = gate;
	if (unlikely(gate->blocked)) {
		gate_append(gate, req);
		return;
	}
	gate_enter(gate, req);
	request_begin(req);
}

#ifdef NODE_COUNTS
static void request_init_path(struct request *req)
{
	req->path.count = 0;
}
#else
static void request_init_path(struct request *req)
{
	(void)req;
}
#endif

void root_submit(struct root *root, struct request *req)
{
	req->co = NULL;
	request_init_path(req);
	root_enter(root, req);
}

static void co_submit_done(struct request *req, int res)
{
	req->res = res;
	co_wake(req->co);
}

int co_root_submit(struct root *root, struct request *req)
{
	req->co = co_self();
	req->done = co_submit_done;
	req->run_here = false;
	request_init_path(req);
	root_enter(root, req);
	/* woken to run it, once or after each wait, or when it is done */
	for (;;) {
		if (!req->run_here)
			co_wait();
		if (!req->run_here)
			return req->res;
		req->run_here = false;
		request_run(req);
	}
}
