/* SPDX-License-Identifier: MIT */
/*
 * slow.c - operations in coroutines (A10, A12): the loop over prefixes, and
 * everything that drivers need not do themselves.
 *
 * Any thread, inside a counted request or a node's open and close. Each turn
 * asks from the top again, map first; so a driver's operation runs only for
 * what it cannot map, and what it brought in serves the fast path next time.
 */
#include "graph/slow.h"

#include <errno.h>
#include <string.h>

#include "graph/epoch.h"
#include "graph/flush.h"
#include "graph/gate.h"
#include "graph/hold.h"
#include "graph/node-io.h"
#include "graph/resolve.h"
#include "graph/serialise.h"
#include "graph/span.h"
#include "graph/state.h"
#include "graph/status.h"
#include "graph/walk.h"
#include "runtime/co.h"

/* ---- one step ---- */

/* Zeroes by writing them, where the storage has nothing better. */
static int64_t co_write_zeroes(struct node *node, const struct map *map)
{
	struct map write = *map;
	/* written from, never to */
	void *zeroes = (void *)(uintptr_t)graph_zeroes();

	if (map->flags & REQ_FAST)
		return -EOPNOTSUPP;
	write.op = REQ_WRITE;
	write.flags &= REQ_FUA;
	write.len = min(map->len, ZERO_SIZE);
	/* whole blocks first: the rest is realigned in a step of its own */
	if (write.len > node->own_mask)
		write.len &= ~node->own_mask;
	write.realigned = true;
	return co_step(node, &write, zeroes);
}

static int64_t co_bounce_io(struct node *node, struct io *io, void *buf)
{
	char *bounce = co_node_bounce_get(node);
	int ret;

	io->len = min(io->len, BOUNCE_SIZE);
	io->buf = bounce;
	if (io->op == IO_WRITE)
		memcpy(bounce, buf, io->len);
	ret = co_io(io);
	if (io->op == IO_READ && ret > 0)
		memcpy(buf, bounce, (size_t)ret);
	node_bounce_put(node, bounce);
	return ret;
}

/* The storage cannot punch or zero. */
static int64_t co_refused(struct node *node, const struct map *map,
			  uint8_t io_op)
{
	bool *flag = io_op == IO_PUNCH ? &node->io->no_punch
				       : &node->io->no_zero;

	__atomic_store_n(flag, true, __ATOMIC_RELAXED);
	return map->op == REQ_DISCARD ? map->len : co_write_zeroes(node, map);
}

static bool was_refused(const struct node *node, const struct map *map)
{
	const bool *flag = map->io_op == IO_PUNCH ? &node->io->no_punch
						  : &node->io->no_zero;

	return map->op > REQ_FLUSH && __atomic_load_n(flag, __ATOMIC_RELAXED);
}

/* A read ended at `at`, which the file once reached: whether it does not any
 * more is known only when it is asked. */
static int64_t co_short(struct node *node, const struct map *map, uint64_t at)
{
	uint64_t len = 1;
	bool data;

	if (co_file_extent(map->file, at, &len, &data) == -ENXIO)
		node_cut(node, len);
	return -EIO;
}

static int64_t co_submit(struct node *node, const struct map *map, void *buf)
{
	struct errand *errand = errand_self();
	struct io io = {
		.file = map->file,
		.buf = buf,
		.offset = map->offset,
		.len = map->len,
		.fixed = IO_NOT_FIXED,
		.op = map->io_op,
		.flags = map->io_flags,
	};
	bool data = map->op == REQ_READ || map->op == REQ_WRITE;
	uint64_t span = map->op == REQ_READ ? node_span(node) : 0;
	int64_t ret;

	/* writes are counted where they end, and only there flushed (A29) */
	assert(node->driver->kind == DRIVER_PROTOCOL || map->op == REQ_READ);
	if (was_refused(node, map))
		return co_refused(node, map, map->io_op);
	if (errand && errand->req)
		errand->req->end = node;
	if (data)
		io.len = min(io.len, node->limits.max_transfer);
	if (io.offset + io.len > node_uncut(node))
		return -EIO;
	if (data && !is_aligned((uintptr_t)buf, node->limits.mem_align))
		ret = co_bounce_io(node, &io, buf);
	else
		ret = co_io(&io);
	if (map->op != REQ_READ)
		node_wrote(node, thread_index(thread_self()));
	if (ret < 0 && io.flags & IO_DSYNC)
		node_dsync_failed(node, (int)ret);
	if (map->op > REQ_FLUSH && is_unsupported(ret))
		return co_refused(node, map, map->io_op);
	if (ret < 0)
		/* no client knows what to do with that */
		return ret == -EAGAIN ? -EIO : ret;
	if (map->op != REQ_READ) {
		node_spans_to(node, thread_index(thread_self()), &io);
	} else if (ret < io.len) {
		if (map->offset + (uint64_t)ret < span)
			return co_short(node, map, map->offset + (uint64_t)ret);
		memset((char *)buf + ret, 0, io.len - (size_t)ret);
	}
	return io.len;
}

/* A NULL operation of a filter means its child's. */
static int64_t co_forward(struct node *node, const struct map *map, void *buf)
{
	struct node *child = node_filtered_child(node);

	if (child)
		return co_step(child, map, buf);
	if (map->op == REQ_DISCARD)
		return map->len;
	if (map->op == REQ_ZEROES)
		return co_write_zeroes(node, map);
	return map->op == REQ_READ ? -EIO : -EROFS;
}

static int64_t co_zeroes(struct node *node, const struct map *map, void *buf)
{
	int64_t ret;

	if (!node->driver->zeroes)
		return co_forward(node, map, buf);
	ret = node->driver->zeroes(node, map->offset, map->len,
				   map->flags & REQ_NO_UNMAP);
	return ret == -ENOTSUP ? co_write_zeroes(node, map) : ret;
}

static int64_t co_discard(struct node *node, const struct map *map, void *buf)
{
	int64_t ret;

	if (!node->driver->discard)
		return co_forward(node, map, buf);
	ret = node->driver->discard(node, map->offset, map->len);
	return ret == -ENOTSUP ? map->len : ret;
}

/* Drivers that end here get memory as they stated it. */
static int64_t co_transfer(struct node *node, const struct map *map, void *buf)
{
	const struct driver *driver = node->driver;
	uint32_t len = min(map->len, node->limits.max_transfer);
	bool bounces = driver->kind == DRIVER_PROTOCOL &&
		       !is_aligned((uintptr_t)buf, node->limits.mem_align);
	void *p = buf;
	int64_t ret;

	if (bounces) {
		p = co_node_bounce_get(node);
		len = min(len, BOUNCE_SIZE);
	}
	if (map->op == REQ_READ) {
		ret = driver->read(node, map->offset, len, p);
		if (bounces && ret > 0)
			memcpy(buf, p, (size_t)ret);
	} else {
		if (bounces)
			memcpy(p, buf, len);
		ret = driver->write(node, map->offset, len, p, 0);
	}
	if (bounces)
		node_bounce_put(node, p);
	return ret;
}

static int64_t co_driver(struct node *node, const struct map *map, void *buf)
{
	const struct driver *driver = node->driver;
	struct errand *errand = errand_self();
	int64_t ret;

	/* map shortens to what the node itself asks for, or less */
	assert(!((map->offset | map->len) & node->own_mask));
	if (errand && errand->req && driver->kind == DRIVER_PROTOCOL)
		errand->req->end = node;
	if (map->op == REQ_ZEROES)
		ret = co_zeroes(node, map, buf);
	else if (map->op == REQ_DISCARD)
		ret = co_discard(node, map, buf);
	else if (map->op == REQ_READ ? !driver->read : !driver->write)
		return co_forward(node, map, buf);
	else
		ret = co_transfer(node, map, buf);
	assert(ret != 0 && ret <= (int64_t)map->len &&
	       (ret >= -4095 || ret == STEER_WAIT || ret == STEER_AGAIN));
	if (map->op != REQ_READ && driver->kind == DRIVER_PROTOCOL)
		node_wrote(node, thread_index(thread_self()));
	return ret;
}

/* Nothing has been done yet of what is to be asked again; what stops at a wish
 * to wait may have been, in part. */
static void step_hooks(struct op_hooks *hooks, const struct map *map,
		       int64_t ret)
{
	if (ret > 0)
		op_hooks_run(hooks, (uint32_t)ret, 0);
	else if (ret != STEER_AGAIN && ret != STEER_PLAIN)
		op_hooks_run(hooks, map->len,
			  ret == STEER_WAIT ? -ECANCELED : (int)ret);
}

int64_t co_step(struct node *node, const struct map *ask, void *buf)
{
	struct node_path path = {};
	struct map map = *ask;
	struct op_hooks hooks;
	int64_t ret = 0;

	hooks.count = 0;
	map.hooks = &hooks;
	node = resolve(node, &map, &path);
	map.realigned = false;
	assert(map.len && map.len <= ask->len);
	switch ((enum map_kind)map.kind) {
	case MAP_SUBMIT:
		ret = co_submit(node, &map, buf);
		break;
	case MAP_ZEROES:
		memset(buf, 0, map.len);
		ret = map.len;
		break;
	case MAP_DONE:
		ret = map.len;
		break;
	case MAP_REALIGN:
		ret = co_step_aligned(node, &map, buf);
		break;
	case MAP_ASK_ABOVE:
		ret = co_driver(map.above, &map, buf);
		break;
	case MAP_SLOW:
	case MAP_FORWARD:
		/* no driver's operation knows FUA: without it, then a flush */
		ret = map.flags & REQ_FUA ? STEER_PLAIN :
					    co_driver(node, &map, buf);
		break;
	}
	node_path_leave(&path);
	if (hooks.count)
		step_hooks(&hooks, &map, ret);
	return ret;
}

/* ---- whole operations ---- */

struct operation {
	struct node *node;
	uint8_t op, flags;
	bool flush;		/* in the end */
	/* what is left of it */
	uint64_t offset, len;
	void *buf;
};

/* One prefix after the other. */
static int co_operate(struct operation *o)
{
	while (o->len) {
		struct map map = {
			.op = o->op,
			.flags = o->flags,
			.offset = o->offset,
			.len = (uint32_t)min(o->len, (uint64_t)1 << 30),
		};
		int64_t n = co_step(o->node, &map, o->buf);

		if (n == STEER_AGAIN)
			continue;
		if (n == STEER_PLAIN) {
			o->flags &= (uint8_t)~REQ_FUA;
			o->flush = true;
			continue;
		}
		if (n < 0)
			return (int)n;
		assert(n && n <= (int64_t)map.len);
		o->offset += (uint64_t)n;
		o->len -= (uint64_t)n;
		if (o->buf)
			o->buf = (char *)o->buf + n;
	}
	return o->flush ? co_node_flush(o->node) : 0;
}

static int co_operate_from_outside(struct operation *o)
{
	struct loose loose;
	int ret;

	loose_begin(&loose, o->node);
	do
		ret = co_operate(o);
	while (ret == STEER_WAIT && co_loose_again(&loose));
	loose_end(&loose);
	return ret;
}

int co_node_read(struct node *node, uint64_t offset, uint32_t len, void *buf)
{
	struct operation o = {
		.node = node, .op = REQ_READ,
		.offset = offset, .len = len, .buf = buf,
	};

	return co_operate_from_outside(&o);
}

int co_node_write(struct node *node, uint64_t offset, uint32_t len,
		  const void *buf, unsigned flags)
{
	struct operation o = {
		.node = node, .op = REQ_WRITE, .flags = (uint8_t)flags,
		.offset = offset, .len = len,
		/* read from only: see the operations */
		.buf = (void *)(uintptr_t)buf,
	};

	return co_operate_from_outside(&o);
}

int co_node_zeroes(struct node *node, uint64_t offset, uint64_t len,
		   unsigned flags)
{
	struct operation o = {
		.node = node, .op = REQ_ZEROES, .flags = (uint8_t)flags,
		.offset = offset, .len = len,
	};

	return co_operate_from_outside(&o);
}

int co_node_discard(struct node *node, uint64_t offset, uint64_t len)
{
	struct operation o = {
		.node = node, .op = REQ_DISCARD,
		.offset = offset, .len = len,
	};

	return co_operate_from_outside(&o);
}

/* An overlay may be longer than its backing image. */
int co_edge_read(struct edge *edge, uint64_t offset, uint32_t len, void *buf)
{
	struct node *child = edge->child;
	uint32_t inside = len;
	int ret;

	if (edge->role & ROLE_COW && (len > child->size ||
				      offset > child->size - len)) {
		inside = offset < child->size ?
			 (uint32_t)(child->size - offset) : 0;
		memset((char *)buf + inside, 0, len - inside);
	}
	ret = co_node_read(child, offset, inside, buf);
	return ret;
}

int co_edge_write(struct edge *edge, uint64_t offset, uint32_t len,
		  const void *buf, unsigned flags)
{
	return co_node_write(edge->child, offset, len, buf, flags);
}

int co_edge_zeroes(struct edge *edge, uint64_t offset, uint64_t len,
		   unsigned flags)
{
	return co_node_zeroes(edge->child, offset, len, flags);
}

int co_edge_discard(struct edge *edge, uint64_t offset, uint64_t len)
{
	return co_node_discard(edge->child, offset, len);
}

/* One prefix after the other. */
static int co_fetch(struct node *image, uint64_t offset, uint32_t len)
{
	while (len) {
		int64_t n = image->driver->fetch(image, offset, len);

		if (n == STEER_AGAIN)
			continue;
		if (n < 0)
			return (int)n;
		assert(n && n <= (int64_t)len);
		offset += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

int co_edge_fetch(struct edge *edge, uint64_t offset, uint32_t len)
{
	struct node *image = node_skip_filters(edge->child);
	struct node_path path = {};
	int ret = -ENOTSUP;

	assert(errand_self());
	node_path_enter(&path, image);
	if (image->driver->fetch)
		ret = co_fetch(image, offset, len);
	node_path_leave(&path);
	return ret;
}

/* Of the file that a protocol node, or one below filters, is. */
static int co_storage_info(struct node *node, struct file_info *info)
{
	return node->driver->identify ? node->driver->identify(node, info)
				      : -ENOTSUP;
}

int co_edge_storage_size(struct edge *edge, uint64_t *size)
{
	struct node *node = node_skip_filters(edge->child);
	struct file_info info;
	int ret = co_storage_info(node, &info);

	if (ret < 0 && ret != -ENOTSUP)
		return ret;
	*size = ret == 0 ? info.size : node->size;
	return 0;
}

int co_node_disk_usage(struct node *node, uint64_t *bytes)
{
	struct file_info info;
	struct node *primary;
	int ret;

	while ((primary = node_primary_child(node)))
		node = primary;
	ret = co_storage_info(node, &info);
	if (ret == 0)
		*bytes = info.allocated;
	return ret;
}

int co_node_contents(struct node *node, struct json_t *object,
		     struct error **err)
{
	int ret;

	if (!node->driver->contents)
		return 0;
	co_node_busy(node);
	ret = node->driver->contents(node, object, err);
	node_idle(node);
	return ret;
}

/* ---- requests ---- */

/* Whether it is still a request of this disk: it may have been shrunk, or made
 * read-only, while the request waited. */
static int request_look_again(const struct request *req)
{
	const struct node *node = req->root->edge.child;

	if (req->op != REQ_READ && req->op < REQ_STATUS &&
	    !req->root->writable)
		return -EROFS;
	return req->len > node->size || req->offset > node->size - req->len ?
	       -EIO : 0;
}

static int co_request_data(struct request *req)
{
	struct operation o = {
		.node = req->root->edge.child,
		.op = req->op,
		.flags = req->flags,
		.offset = req->offset + req->finished,
		.len = req->len - req->finished,
	};
	int ret;

	if (req->fixed != IO_NOT_FIXED && req->op <= REQ_WRITE) {
		ret = req->root->ops->materialise(req);
		if (ret < 0)
			return ret;
		assert(req->fixed == IO_NOT_FIXED && req->buf);
	}
	if (req->op <= REQ_WRITE)
		o.buf = (char *)req->buf + req->finished;
	/* its parts may have gone different ways, of which none is durable by
	 * itself any more */
	if (req->waited && req->flags & REQ_FUA) {
		o.flags &= (uint8_t)~REQ_FUA;
		o.flush = true;
	}
	ret = co_operate(&o);
	req->finished = (uint32_t)(req->len - o.len);
	return ret;
}

static int co_request(struct request *req)
{
	struct node *node = req->root->edge.child;

	if (req->op == REQ_FLUSH)
		return co_node_flush(node);
	if (req->op == REQ_STATUS)
		return co_node_status(node, req->offset, req->len,
				      req->root->granularity, req->flags,
				      req->buf);
	return co_request_data(req);
}

void request_run(struct request *req)
{
	struct errand errand;
	int ret = req->waited ? request_look_again(req) : 0;

	if (ret < 0) {
		request_end(req, ret);
		return;
	}
	errand_begin(&errand, req);
	ret = co_request(req);
	errand_end(&errand);
	if (ret == STEER_WAIT)
		request_wait(req, &errand);
	else if (ret >= 0 || !request_hold(req, ret))
		request_end(req, ret);
}

static void request_run_spawned(void *arg)
{
	request_run(arg);
}

/* A7: without a stack it waits at the gate, uncounted. */
static void request_wait_for_stack(struct request *req)
{
	struct graph_thread *t = graph_self();
	struct root_gate *gate = req->gate;

	if (!gate->short_of_stacks) {
		gate->short_of_stacks = true;
		gate->next_short = NULL;
		*t->short_last = gate;
		t->short_last = &gate->next_short;
	}
	gate_return(gate, req);
	stacks_retry_later();
}

void request_go_on(struct request *req)
{
	if (req->co) {
		req->run_here = true;
		if (req->co != co_self())
			co_wake(req->co);
		return;
	}
	if (co_available() > SLOW_RESERVE &&
	    co_spawn(request_run_spawned, req))
		return;
	request_wait_for_stack(req);
}

/* It leaves the fast path. */
static void request_turn_slow(struct request *req)
{
	if (!(req->flags & REQ_AGAIN)) {
		req->finished = 0;
		req->charged = (uint8_t)req->hooks.charged;
		req->waited = false;
		req->held_ns = 0;
	}
	req->hooks.count = 0;
	req->turn = req->gate->turns++;
}

void request_slow(struct request *req)
{
	request_turn_slow(req);
	request_go_on(req);
}

void request_failed(struct request *req, int res)
{
	if (likely(!hold_wants(req, res))) {
		request_finish(req, res);
		return;
	}
	/* any part of it may have been done */
	op_hooks_run(&req->hooks, req->len, res);
	node_path_leave(&req->path);
	request_turn_slow(req);
	if (!request_hold(req, res))
		request_end(req, res);
}
