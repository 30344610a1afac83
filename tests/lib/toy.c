/* SPDX-License-Identifier: MIT */
/*
 * toy.c - the toy drivers (toy.h). Any thread; shared state is atomic or
 * belongs to the cluster's or sector's writer.
 */
#include "tests/lib/toy.h"

#undef NDEBUG
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/reopen.h"
#include "graph/thread-state.h"
#include "graph/wait.h"
#include "runtime/co.h"

struct toy_wishes toy_wishes;
struct toy_calls toy_calls;

struct toy_opts {
	uint64_t size;
	uint32_t align, mem_align, max_transfer;
};

#define COUNT(field) __atomic_add_fetch(&(field), 1, __ATOMIC_RELAXED)
#define UNCOUNT(field) __atomic_sub_fetch(&(field), 1, __ATOMIC_RELAXED)

/* ---- holding ---- */

struct toy_waiter {
	struct co *co;
	struct toy_waiter *next;
};

/* by thread: held operations, each woken on its own thread */
static struct toy_waiter *toy_waiters[THREADS_MAX];

static void co_toy_hold(struct toy *toy)
{
	struct toy_waiter w = { .co = co_self() };
	struct toy_waiter **list;

	if (!__atomic_load_n(&toy_wishes.hold, __ATOMIC_RELAXED))
		return;
	list = &toy_waiters[thread_index(thread_self())];
	w.next = *list;
	*list = &w;
	COUNT(toy->held);
	co_wait();
	UNCOUNT(toy->held);
}

void toy_release(void)
{
	struct toy_waiter **list = &toy_waiters[thread_index(thread_self())];
	struct toy_waiter *w = *list, *next;

	*list = NULL;
	for (; w; w = next) {
		next = w->next;
		co_wake(w->co);
	}
}

/* ---- toy ---- */

/*
 * The memory is a disk, and disks may be read and written at once: what is
 * read then is either. TSan shall look at the graph, so it does not see this;
 * bytes through volatile, lest it becomes a memcpy that it does see.
 */
#if defined(__clang__)
__attribute__((no_sanitize("thread"), noinline))
#endif
static void disk_copy(void *to, const void *from, size_t len)
{
	volatile char *t = to;
	const volatile char *f = from;

	while (len--)
		*t++ = *f++;
}

#if defined(__clang__)
__attribute__((no_sanitize("thread"), noinline))
#endif
static void disk_clear(void *to, size_t len)
{
	volatile char *t = to;

	while (len--)
		*t++ = 0;
}

struct toy *toy_of(struct node *node)
{
	return node->state;
}

static bool toy_is_meant(const struct node *node)
{
	return toy_wishes.name && !strcmp(toy_wishes.name, node->name);
}

static int toy_open_memory(struct node *node, struct error **err)
{
	const struct toy_opts *opts = node->opts;
	struct toy *toy = node->state;

	if (toy_wishes.fail_open && toy_is_meant(node))
		return error_set(err, -toy_wishes.fail_open,
				 "toy '%s' does not open", node->name);
	toy->size = opts->size;
	toy->data = calloc(1, opts->size);
	toy->stable = calloc(1, opts->size);
	assert(toy->data && toy->stable);
	node->size = opts->size;
	toy_calls.opens++;
	return 0;
}

static int toy_close(struct node *node, struct error **err)
{
	struct toy *toy = node->state;

	assert(!toy->busy && !toy->held);
	if (toy_wishes.close_ns && toy_is_meant(node))
		co_sleep(toy_wishes.close_ns);
	free(toy->data);
	free(toy->stable);
	toy_calls.closes++;
	if (!toy_wishes.fail_close || !toy_is_meant(node))
		return 0;
	return error_set(err, -toy_wishes.fail_close, "toy '%s' was full",
			 node->name);
}

static void toy_limits(const struct node *node, struct limits *lim)
{
	const struct reopen *r = node->reopen;
	const struct toy_opts *opts = r && r->opts ? r->opts : node->opts;

	*lim = (struct limits){
		.align = opts->align,
		.mem_align = opts->mem_align,
		.max_transfer = opts->max_transfer,
		.zeroes = SUPPORT_NATIVE,
		.discard = SUPPORT_NATIVE,
	};
}

static int toy_reopen_prepare(struct node *node, struct reopen *r,
			      struct error **err)
{
	co_yield();
	if (toy_wishes.fail_reopen && toy_is_meant(node))
		return error_set(err, -toy_wishes.fail_reopen,
				 "toy '%s' does not reopen", node->name);
	r->state = node;
	toy_calls.reopen_prepares++;
	return 0;
}

static void toy_reopen_commit(struct node *node, struct reopen *r)
{
	assert(r->state == node);
	toy_calls.reopen_commits++;
}

static void toy_reopen_abort(struct node *node, struct reopen *r)
{
	assert(r->state == node);
	toy_calls.reopen_aborts++;
}

static int toy_reopen_finish(struct node *node, struct reopen *r)
{
	assert(r->state == node);
	co_yield();
	toy_calls.reopen_finishes++;
	return toy_is_meant(node) ? toy_wishes.fail_settle : 0;
}

static void toy_reopen_end(struct node *node, struct reopen *r)
{
	assert(r->state == node);
	toy_calls.reopen_ends++;
}

static int toy_perm_check(struct node *node, unsigned perm, unsigned shared,
			  struct error **err)
{
	(void)perm;
	(void)shared;
	toy_calls.perm_checks++;
	if (toy_wishes.fail_perm && toy_is_meant(node)) {
		toy_calls.perm_checks--;
		return error_set(err, -toy_wishes.fail_perm,
				 "toy '%s' refuses", node->name);
	}
	return 0;
}

static void toy_perm_commit(struct node *node)
{
	(void)node;
	toy_calls.perm_commits++;
}

static void toy_perm_abort(struct node *node)
{
	(void)node;
	toy_calls.perm_aborts++;
}

static void toy_perm_let_go(struct node *node)
{
	if (toy_wishes.let_go_ns && toy_is_meant(node))
		co_sleep(toy_wishes.let_go_ns);
}

static int toy_fails(const struct node *node, int error)
{
	return !toy_wishes.fails || !strcmp(toy_wishes.fails, node->name) ?
	       error : 0;
}

/* The contract of driver.h, and how much of it to do now. */
static uint32_t toy_begin(struct node *node, uint64_t offset, uint32_t len,
			  const void *buf, bool data)
{
	struct toy *toy = node->state;
	uint32_t prefix = toy_wishes.prefix ? toy_wishes.prefix : UINT32_MAX;

	assert(len > 0 && offset + len <= toy->size);
	assert(is_aligned(offset | len, node->limits.align));
	assert(!data || len <= node->limits.max_transfer);
	assert(!data || is_aligned((uintptr_t)buf, node->limits.mem_align));
	COUNT(toy->busy);
	co_toy_hold(toy);
	return min(len, prefix);
}

static int64_t toy_end(struct node *node, int fail, uint32_t n)
{
	struct toy *toy = node->state;

	UNCOUNT(toy->busy);
	return fail ? fail : (int64_t)n;
}

static int64_t toy_read(struct node *node, uint64_t offset, uint32_t len,
			void *buf)
{
	struct toy *toy = node->state;
	uint32_t n = toy_begin(node, offset, len, buf, true);
	int fail = toy_fails(node, toy_wishes.fail_read);

	COUNT(toy->reads);
	if (!fail)
		disk_copy(buf, toy->data + offset, n);
	rt_step();
	return toy_end(node, fail, n);
}

static int64_t toy_write(struct node *node, uint64_t offset, uint32_t len,
			 const void *buf, unsigned flags)
{
	struct toy *toy = node->state;
	uint32_t n = toy_begin(node, offset, len, buf, true);
	int fail = toy_fails(node, toy_wishes.fail_write);

	assert(!(flags & REQ_FUA));
	COUNT(toy->writes);
	rt_step();
	if (!fail)
		disk_copy(toy->data + offset, buf, n);
	return toy_end(node, fail, n);
}

static int64_t toy_zero(struct node *node, uint64_t offset, uint32_t len,
			unsigned flags)
{
	struct toy *toy = node->state;
	uint32_t n;

	(void)flags;
	if (toy_wishes.no_zeroes)
		return -ENOTSUP;
	n = toy_begin(node, offset, len, NULL, false);
	COUNT(toy->zeroes);
	disk_clear(toy->data + offset, n);
	return toy_end(node, toy_fails(node, toy_wishes.fail_write), n);
}

static int64_t toy_discard(struct node *node, uint64_t offset, uint32_t len)
{
	struct toy *toy = node->state;
	uint32_t n;

	if (toy_wishes.no_discard)
		return -ENOTSUP;
	n = toy_begin(node, offset, len, NULL, false);
	COUNT(toy->discards);
	disk_clear(toy->data + offset, n);
	return toy_end(node, 0, n);
}

static int toy_flush(struct node *node)
{
	struct toy *toy = node->state;

	COUNT(toy->flushes);
	toy_calls.most_flushing = max(COUNT(toy_calls.flushing),
				      toy_calls.most_flushing);
	if (toy_wishes.hold_flush)
		co_toy_hold(toy);
	UNCOUNT(toy_calls.flushing);
	if (toy_fails(node, toy_wishes.fail_flush))
		return toy_wishes.fail_flush;
	disk_copy(toy->stable, toy->data, toy->size);
	rt_step();
	return 0;
}

static bool sector_is_zero(const struct toy *toy, uint64_t offset)
{
	for (uint64_t i = align_down(offset, 512);
	     i < align_down(offset, 512) + 512 && i < toy->size; i++)
		if (toy->data[i])
			return false;
	return true;
}

static int toy_status(struct node *node, struct extent *e)
{
	struct toy *toy = node->state;
	uint64_t end = e->offset + toy_begin(node, e->offset, e->len, NULL,
					     false);
	uint64_t at = align_down(e->offset, 512) + 512;
	bool zero = sector_is_zero(toy, e->offset);

	while (at < end && sector_is_zero(toy, at) == zero)
		at += 512;
	e->len = (uint32_t)(min(at, end) - e->offset);
	e->flags = STATUS_OFFSET | (zero ? STATUS_ZERO : STATUS_DATA);
	COUNT(toy->statuses);
	return (int)toy_end(node, e->offset >= toy_wishes.fail_status_from ?
			    toy_wishes.fail_status : 0, 0);
}

static const struct option toy_options[] = {
	{ .name = "size", .type = OPT_SIZE, .def = "1M",
	  .offset = offsetof(struct toy_opts, size) },
	{ .name = "align", .type = OPT_UINT, .def = "1", .changes = true,
	  .offset = offsetof(struct toy_opts, align) },
	{ .name = "mem-align", .type = OPT_UINT, .def = "1",
	  .offset = offsetof(struct toy_opts, mem_align) },
	{ .name = "max-transfer", .type = OPT_UINT, .def = "1M",
	  .offset = offsetof(struct toy_opts, max_transfer) },
	{ .name = NULL },
};

static const struct driver toy_driver = {
	.name = "toy",
	.kind = DRIVER_PROTOCOL,
	.state_size = sizeof(struct toy),
	.options = toy_options,
	.options_size = sizeof(struct toy_opts),
	.open = toy_open_memory,
	.close = toy_close,
	.limits = toy_limits,
	.reopen_prepare = toy_reopen_prepare,
	.reopen_commit = toy_reopen_commit,
	.reopen_abort = toy_reopen_abort,
	.reopen_finish = toy_reopen_finish,
	.reopen_end = toy_reopen_end,
	.perm_check = toy_perm_check,
	.perm_commit = toy_perm_commit,
	.perm_abort = toy_perm_abort,
	.perm_let_go = toy_perm_let_go,
	.read = toy_read,
	.write = toy_write,
	.zeroes = toy_zero,
	.discard = toy_discard,
	.flush = toy_flush,
	.status = toy_status,
};

/* ---- toy-format ---- */

struct format_opts {
	uint64_t size;
	char *header_backing, *header_format;
	bool probe;		/* open reads the file */
};

struct format {
	struct co_mutex lock;	/* one allocation at a time */
	uint64_t size;		/* for the accessors below */
	unsigned char *allocated;	/* atomic bytes, by cluster */
	unsigned char *loaded;
};

static int format_open(struct node *node, struct error **err)
{
	const struct format_opts *opts = node->opts;
	struct format *f = node->state;
	uint64_t clusters;
	char *sector;

	if (toy_wishes.fail_open && toy_is_meant(node))
		return error_set(err, -toy_wishes.fail_open,
				 "toy '%s' does not open", node->name);
	node->size = opts->size ? opts->size : node->file->child->size;
	clusters = div_up(node->size, TOY_CLUSTER);
	f->size = node->size;
	f->allocated = calloc(1, clusters);
	f->loaded = calloc(1, clusters);
	assert(f->allocated && f->loaded);
	co_mutex_init(&f->lock);
	if (opts->probe) {
		sector = aligned_alloc(4096, 4096);
		if (co_edge_read(node->file, 0, 512, sector))
			abort();
		free(sector);
	}
	if (opts->header_backing)
		node->header_backing = strdup(opts->header_backing);
	if (opts->header_format)
		node->header_backing_format = strdup(opts->header_format);
	toy_calls.opens++;
	return 0;
}

static int format_close(struct node *node, struct error **err)
{
	struct format *f = node->state;

	co_mutex_destroy(&f->lock);
	free(f->allocated);
	free(f->loaded);
	toy_calls.closes++;
	(void)err;
	return 0;
}

static unsigned char byte_get(const unsigned char *byte)
{
	return __atomic_load_n(byte, __ATOMIC_ACQUIRE);
}

static void byte_set(unsigned char *byte, unsigned char value)
{
	__atomic_store_n(byte, value, __ATOMIC_RELEASE);
}

static void format_map(struct node *node, struct map *map)
{
	struct format *f = node->state;
	uint64_t cluster = map->offset / TOY_CLUSTER;

	map->len = (uint32_t)min((uint64_t)map->len,
				 (cluster + 1) * TOY_CLUSTER - map->offset);
	map->kind = MAP_SLOW;
	rt_step();
	if (!byte_get(&f->loaded[cluster]))
		return;
	if (byte_get(&f->allocated[cluster])) {
		map->kind = MAP_FORWARD;
		map->child = node->file;
	} else if (map->op == REQ_READ && node->backing) {
		map->kind = MAP_FORWARD;
		map->child = node->backing;
	} else if (map->op == REQ_READ) {
		map->kind = MAP_ZEROES;
	}
}

static int64_t format_read(struct node *node, uint64_t offset, uint32_t len,
			   void *buf)
{
	struct format *f = node->state;

	(void)len;
	(void)buf;
	co_yield();
	byte_set(&f->loaded[offset / TOY_CLUSTER], 1);
	return STEER_AGAIN;
}

static int format_allocate(struct node *node, uint64_t cluster)
{
	struct format *f = node->state;
	uint64_t start = cluster * TOY_CLUSTER;
	uint32_t len = (uint32_t)min((uint64_t)TOY_CLUSTER,
				     f->size - start);
	char *copy;
	int ret = 0;

	if (byte_get(&f->allocated[cluster]))
		return 0;
	copy = aligned_alloc(4096, TOY_CLUSTER);
	memset(copy, 0, TOY_CLUSTER);
	if (node->backing)
		ret = co_edge_read(node->backing, start, len, copy);
	if (ret == 0)
		ret = co_edge_write(node->file, start, len, copy, 0);
	free(copy);
	if (ret == 0)
		byte_set(&f->allocated[cluster], 1);
	return ret;
}

static int64_t format_write(struct node *node, uint64_t offset, uint32_t len,
			    const void *buf, unsigned flags)
{
	struct format *f = node->state;
	uint64_t cluster = offset / TOY_CLUSTER;
	int ret;

	(void)len;
	(void)buf;
	(void)flags;
	co_lock(&f->lock);
	ret = format_allocate(node, cluster);
	co_unlock(&f->lock);
	byte_set(&f->loaded[cluster], 1);
	return ret ? ret : STEER_AGAIN;
}

static int64_t format_zeroes(struct node *node, uint64_t offset, uint32_t len,
			     unsigned flags)
{
	int64_t ret = format_write(node, offset, len, NULL, flags);

	return ret;
}

static int format_status(struct node *node, struct extent *e)
{
	struct format *f = node->state;
	uint64_t cluster = e->offset / TOY_CLUSTER;

	e->len = (uint32_t)min((uint64_t)e->len,
			       (cluster + 1) * TOY_CLUSTER - e->offset);
	co_yield();
	e->kind = EXTENT_BACKING;
	if (byte_get(&f->allocated[cluster])) {
		e->kind = EXTENT_CHILD;
		e->child = node->file;
	}
	return 0;
}

void toy_format_forget(struct node *node)
{
	struct format *f = node->state;

	for (uint64_t i = 0; i < div_up(f->size, TOY_CLUSTER); i++)
		byte_set(&f->loaded[i], 0);
}

bool toy_format_is_allocated(struct node *node, uint64_t offset)
{
	struct format *f = node->state;

	return byte_get(&f->allocated[offset / TOY_CLUSTER]);
}

static const struct option format_options[] = {
	{ .name = "size", .type = OPT_SIZE,
	  .offset = offsetof(struct format_opts, size) },
	{ .name = "header-backing", .type = OPT_STRING,
	  .offset = offsetof(struct format_opts, header_backing) },
	{ .name = "probe", .type = OPT_BOOL,
	  .offset = offsetof(struct format_opts, probe) },
	{ .name = "header-format", .type = OPT_STRING,
	  .offset = offsetof(struct format_opts, header_format) },
	{ .name = NULL },
};

static const struct child_decl format_children[] = {
	{ .name = "file", .role = ROLE_IMAGE },
	{ .name = "backing", .role = ROLE_COW, .optional = true,
	  .after_open = true },
	{ .name = NULL },
};

static const struct driver format_driver = {
	.name = "toy-format",
	.kind = DRIVER_FORMAT,
	.state_size = sizeof(struct format),
	.options = format_options,
	.options_size = sizeof(struct format_opts),
	.children = format_children,
	.open = format_open,
	.close = format_close,
	.map = format_map,
	.read = format_read,
	.write = format_write,
	.zeroes = format_zeroes,
	.status = format_status,
};

/* ---- filters ---- */

static struct edge *filter_edge(const struct node *node)
{
	return node->file ? node->file : node->backing;
}

static const struct child_decl filter_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

static void filter_map(struct node *node, struct map *map)
{
	rt_step();
	/* odd sectors take the long way, so both ways are mixed */
	map->kind = map->offset / 512 & 1 ? MAP_SLOW : MAP_FORWARD;
	map->child = node->file;
}

static int64_t filter_read(struct node *node, uint64_t offset, uint32_t len,
			   void *buf)
{
	int ret;

	co_yield();
	ret = co_edge_read(filter_edge(node), offset, len, buf);
	return ret ? ret : (int64_t)len;
}

static int64_t filter_write(struct node *node, uint64_t offset, uint32_t len,
			    const void *buf, unsigned flags)
{
	int ret;

	co_yield();
	ret = co_edge_write(filter_edge(node), offset, len, buf, flags);
	return ret ? ret : (int64_t)len;
}

static const struct driver filter_driver = {
	.name = "toy-filter",
	.kind = DRIVER_FILTER,
	.children = filter_children,
	.map = filter_map,
	.read = filter_read,
	.write = filter_write,
};

static const struct child_decl backing_children[] = {
	{ .name = "image", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

static const struct driver writes_driver = {
	.name = "toy-writes",
	.kind = DRIVER_FILTER,
	.filtered_is_backing = true,
	.children = backing_children,
	.write = filter_write,
};

/* ---- toy-throttle ---- */

struct toy_throttle_opts {
	uint32_t step;
};

struct toy_throttle *toy_throttle_of(struct node *node)
{
	return node->state;
}

static void toy_throttle_map(struct node *node, struct map *map)
{
	map->kind = map->op == REQ_READ ? MAP_FORWARD : MAP_SLOW;
	map->child = filter_edge(node);
}

static int64_t toy_throttle_write(struct node *node, uint64_t offset,
				  uint32_t len, const void *buf,
				  unsigned flags)
{
	const struct toy_throttle_opts *opts = node->opts;
	unsigned self = thread_index(thread_self());
	struct toy_throttle *t = node->state;
	struct charge here = { .node = node }, *c = charge_here(node);
	int ret = 0;

	len = min(len, opts->step);
	if (!c)
		c = &here;
	if (offset + len > c->end) {
		t->charged[self] += offset + len - max(c->end, offset);
		c->end = offset + len;
		c->due = t->charged[self];
	}
	if (c->due > t->given[self])
		ret = co_wait_turn(node, 0, c->due);
	if (ret < 0)
		return ret;
	t->log[self][t->passed[self]++ % 64] = offset;
	ret = co_edge_write(filter_edge(node), offset, len, buf, flags);
	return ret ? ret : (int64_t)len;
}

void toy_throttle_give(struct node *node, uint64_t bytes)
{
	unsigned self = thread_index(thread_self());
	struct toy_throttle *t = node->state;
	const struct waiter *first;

	t->given[self] += bytes;
	while ((first = wait_turn_first(node, 0)) &&
	       first->due <= t->given[self])
		wait_turn_over(node, 0);
}

static const struct option toy_throttle_options[] = {
	{ .name = "step", .type = OPT_UINT, .def = "65536",
	  .offset = offsetof(struct toy_throttle_opts, step) },
	{ .name = NULL },
};

static const struct driver toy_throttle_driver = {
	.name = "toy-throttle",
	.kind = DRIVER_FILTER,
	.state_size = sizeof(struct toy_throttle),
	.options = toy_throttle_options,
	.options_size = sizeof(struct toy_throttle_opts),
	.children = filter_children,
	.map = toy_throttle_map,
	.write = toy_throttle_write,
};

/* ---- toy-counter ---- */

struct toy_counter *toy_counter_of(struct node *node)
{
	return node->state;
}

static void counter_count(struct node *node, uint64_t offset, uint32_t len,
			  int res)
{
	struct toy_counter *c = node->state;

	if (res < 0) {
		COUNT(c->failed);
		return;
	}
	for (uint64_t s = offset / 512; s < (offset + len) / 512; s++)
		COUNT(c->sectors[s]);
}

static void counter_ended(const struct op_hook *hook, uint32_t len, int res)
{
	struct toy_counter *c = hook->node->state;

	COUNT(c->hooked);
	counter_count(hook->node, hook->offset, len, res);
}

static void counter_map(struct node *node, struct map *map)
{
	map->kind = MAP_FORWARD;
	map->child = filter_edge(node);
	if (map->op != REQ_READ && !map_hook(map, node, counter_ended))
		map->kind = MAP_SLOW;
}

static int64_t counter_end(struct node *node, uint64_t offset, uint32_t len,
			   int res)
{
	struct toy_counter *c = node->state;

	COUNT(c->slow);
	counter_count(node, offset, len, res);
	return res ? res : (int64_t)len;
}

static int64_t counter_write(struct node *node, uint64_t offset, uint32_t len,
			     const void *buf, unsigned flags)
{
	return counter_end(node, offset, len,
			   co_edge_write(filter_edge(node), offset, len, buf,
					 flags));
}

static int64_t counter_zeroes(struct node *node, uint64_t offset,
			      uint32_t len, unsigned flags)
{
	return counter_end(node, offset, len,
			   co_edge_zeroes(filter_edge(node), offset, len,
					  flags));
}

static int64_t counter_discard(struct node *node, uint64_t offset,
			       uint32_t len)
{
	return counter_end(node, offset, len,
			   co_edge_discard(filter_edge(node), offset, len));
}

static const struct driver counter_driver = {
	.name = "toy-counter",
	.kind = DRIVER_FILTER,
	.state_size = sizeof(struct toy_counter),
	.children = filter_children,
	.map = counter_map,
	.write = counter_write,
	.zeroes = counter_zeroes,
	.discard = counter_discard,
};

/* ---- toy-full ---- */

static int64_t full_write(struct node *node, uint64_t offset, uint32_t len,
			  const void *buf, unsigned flags)
{
	if (toy_wishes.full) {
		toy_wishes.full--;
		return wish_grace(node);
	}
	return filter_write(node, offset, len, buf, flags);
}

static const struct driver full_driver = {
	.name = "toy-full",
	.kind = DRIVER_FILTER,
	.children = filter_children,
	.map = toy_throttle_map,
	.write = full_write,
};

/* ---- toy-quorum ---- */

static const struct child_decl quorum_children[] = {
	{ .name = "children", .role = ROLE_DATA, .list = true },
	{ .name = NULL },
};

static int quorum_open(struct node *node, struct error **err)
{
	node->size = node->children->child->size;
	for (const struct edge *e = node->children; e; e = e->next_child)
		if (e->child->size != node->size)
			return error_set(err, EINVAL, "toy '%s' has children"
					 " of different sizes", node->name);
	return 0;
}

static int64_t quorum_read(struct node *node, uint64_t offset, uint32_t len,
			   void *buf)
{
	int ret = -EIO;

	for (struct edge *e = node->children; e && ret < 0; e = e->next_child)
		ret = co_edge_read(e, offset, len, buf);
	return ret < 0 ? ret : (int64_t)len;
}

struct quorum_write {
	struct co_group *group;
	struct errand *of;
	struct edge *edge;
	uint64_t offset;
	uint32_t len;
	const void *buf;
	int *ret;
};

static void quorum_write_run(void *arg)
{
	struct quorum_write w = *(struct quorum_write *)arg;
	struct errand errand;
	int ret;

	errand_help(&errand, w.of);
	ret = co_edge_write(w.edge, w.offset, w.len, w.buf, 0);
	errand_end(&errand);
	if (ret < 0)
		*w.ret = ret;
	co_group_done(w.group);
}

static int64_t quorum_write(struct node *node, uint64_t offset, uint32_t len,
			    const void *buf, unsigned flags)
{
	struct co_group group;
	int ret = 0;

	(void)flags;
	co_group_init(&group);
	for (struct edge *e = node->children; e; e = e->next_child) {
		struct quorum_write w = { &group, errand_self(), e, offset,
					  len, buf, &ret };

		co_group_add(&group);
		/* what it needs of w it copies before it first waits */
		if (!co_spawn(quorum_write_run, &w))
			quorum_write_run(&w);
	}
	co_group_wait(&group);
	return ret < 0 ? ret : (int64_t)len;
}

static const struct driver quorum_driver = {
	.name = "toy-quorum",
	.kind = DRIVER_FORMAT,
	.children = quorum_children,
	.open = quorum_open,
	.read = quorum_read,
	.write = quorum_write,
};

/* ---- toy-threads ---- */

struct by_thread {
	struct io_thread *thread;
	unsigned ops;
};

static int threads_open(struct node *node, void *state)
{
	struct by_thread *b = state;

	co_yield();
	if (toy_wishes.fail_thread && toy_is_meant(node))
		return toy_wishes.fail_thread;
	b->thread = thread_self();
	COUNT(toy_calls.thread_opens);
	return 0;
}

static void threads_close(struct node *node, void *state)
{
	struct by_thread *b = state;

	(void)node;
	assert(b->thread == thread_self());
	co_yield();
	__atomic_add_fetch(&toy_calls.thread_ops, b->ops, __ATOMIC_RELAXED);
	COUNT(toy_calls.thread_closes);
}

static void threads_map(struct node *node, struct map *map)
{
	struct by_thread *b = node_thread_state(node);

	map->kind = MAP_SLOW;
	if (!b)
		return;
	b->ops++;
	map->kind = MAP_FORWARD;
	map->child = node->file;
}

static int64_t threads_bring(struct node *node)
{
	void *state;
	int ret = co_node_thread_state(node, &state);

	/* ask map again */
	return ret < 0 ? ret : STEER_AGAIN;
}

static int64_t threads_read(struct node *node, uint64_t offset, uint32_t len,
			    void *buf)
{
	(void)offset;
	(void)len;
	(void)buf;
	return threads_bring(node);
}

static int64_t threads_write(struct node *node, uint64_t offset, uint32_t len,
			     const void *buf, unsigned flags)
{
	(void)offset;
	(void)len;
	(void)buf;
	(void)flags;
	return threads_bring(node);
}

static const struct driver threads_driver = {
	.name = "toy-threads",
	.kind = DRIVER_FILTER,
	.children = filter_children,
	.thread_state_size = sizeof(struct by_thread),
	.thread_open = threads_open,
	.thread_close = threads_close,
	.map = threads_map,
	.read = threads_read,
	.write = threads_write,
};

/* ---- for tests ---- */

/* toy_open's, until somebody takes over the reference */
static struct node *opened[64];

void toy_start(void)
{
	memset(&toy_wishes, 0, sizeof(toy_wishes));
	memset(&toy_calls, 0, sizeof(toy_calls));
	memset(toy_waiters, 0, sizeof(toy_waiters));
	memset(opened, 0, sizeof(opened));
	toy_quiesce = toy_resume = NULL;
	driver_register(&toy_driver);
	driver_register(&format_driver);
	driver_register(&filter_driver);
	driver_register(&writes_driver);
	driver_register(&quorum_driver);
	driver_register(&threads_driver);
	driver_register(&toy_throttle_driver);
	driver_register(&counter_driver);
	driver_register(&full_driver);
}

json_t *toy_json(const char *text)
{
	char *json = strdup(text);
	json_t *options;

	for (char *c = json; *c; c++)
		if (*c == '\'')
			*c = '"';
	options = json_loads(json, 0, NULL);
	free(json);
	assert(options);
	return options;
}

struct node *toy_open(const char *text)
{
	json_t *options = toy_json(text);
	struct error *err = NULL;
	struct node *node;

	node = node_open(options, 0, &err);
	json_decref(options);
	if (err) {
		fprintf(stderr, "%s\n", err->text);
		abort();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(opened); i++)
		if (!opened[i]) {
			opened[i] = node;
			return node;
		}
	abort();
}

/* Whether the reference is still whoever's comes first. */
static bool toy_take(const struct node *node)
{
	for (unsigned i = 0; i < ARRAY_SIZE(opened); i++)
		if (opened[i] == node) {
			opened[i] = NULL;
			return true;
		}
	return false;
}

void toy_hold(struct node *node)
{
	bool taken = toy_take(node);

	assert(taken);
	(void)taken;
}

void toy_give(struct node *node)
{
	if (toy_take(node))
		node_put(node, "opener");
}

void toy_let_go(struct node *node)
{
	struct error *err = NULL;

	toy_take(node);
	if (co_node_put(node, "opener", &err) < 0)
		fprintf(stderr, "%s\n", err->text);
	error_clear(&err);
}

char *toy_open_error(const char *text)
{
	json_t *options = toy_json(text);
	struct error *err = NULL;
	struct node *node;
	char *sentence;

	node = node_open(options, 0, &err);
	json_decref(options);
	assert(!node && err);
	sentence = strdup(err->text);
	error_clear(&err);
	return sentence;
}

/* ---- roots ---- */

void (*toy_quiesce)(struct root *root);
void (*toy_resume)(struct root *root);

static void toy_on_quiesce(struct root *root)
{
	if (toy_quiesce)
		toy_quiesce(root);
}

static void toy_on_resume(struct root *root)
{
	if (toy_resume)
		toy_resume(root);
}

static const struct root_ops toy_gated = { .kind = "export", .gated = true };
static const struct root_ops toy_job = {
	.kind = "job",
	.quiesce = toy_on_quiesce,
	.resume = toy_on_resume,
};

struct root *toy_root(const char *name, struct node *node, bool gated,
		      uint32_t granularity)
{
	struct error *err = NULL;
	struct root *root = root_new(gated ? &toy_gated : &toy_job, NULL, name,
				     node, node->read_only ?
				     PERM_CONSISTENT_READ : PERM_ALL, PERM_ALL,
				     granularity,
				     (UINT64_C(1) << thread_count()) - 1,
				     &err);

	if (!root) {
		fprintf(stderr, "%s\n", err->text);
		abort();
	}
	toy_give(node);
	return root;
}

int toy_request(struct root *root, enum req_op op, uint64_t offset,
		uint32_t len, void *buf, unsigned flags)
{
	struct request req = {
		.op = (uint8_t)op,
		.flags = (uint8_t)flags,
		.offset = offset,
		.len = len,
		.buf = buf,
		.fixed = IO_NOT_FIXED,
	};

	return co_root_submit(root, &req);
}
