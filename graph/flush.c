/* SPDX-License-Identifier: MIT */
/*
 * flush.c - flush generations (A29) and the counts that tests keep (A8).
 *
 * Any thread. Why comparing sums is enough, although the counters are not read
 * at one instant: let a flush F read the counters (sum T) after it was sent,
 * and let a sync S have read them (sum C) before it started. If S started
 * after F was sent, it covers F whatever the sums say. Otherwise S's reading
 * ended before F's began, so no counter that F read is below what S read; then
 * C >= T means that all of them are equal, and F asks for nothing newer.
 */
#include "graph/flush.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/drain.h"
#include "graph/node-io.h"
#include "runtime/late.h"

struct node_io *node_io_new(void)
{
	unsigned threads = thread_count();
	size_t size = sizeof(struct node_io) +
		      threads * sizeof(struct node_thread);
	struct node_io *io = aligned_alloc(64, align_up(size, 64));

	if (!io)
		abort();
	memset(io, 0, size);
	io->cut = UINT64_MAX;
	co_mutex_init(&io->flush_lock);
	range_lock_init(&io->range_lock);
	return io;
}

void node_io_free(struct node_io *io)
{
	co_mutex_destroy(&io->flush_lock);
	range_lock_destroy(&io->range_lock);
	free(io);
}

static uint64_t node_writes(const struct node *node)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < thread_count(); i++) {
		sum += __atomic_load_n(&node->io->threads[i].writes,
				       __ATOMIC_ACQUIRE);
		rt_step();
	}
	return sum;
}

static bool node_is_synced(const struct node *node, uint64_t target)
{
	return __atomic_load_n(&node->io->synced, __ATOMIC_ACQUIRE) >= target;
}

/* Holding flush_lock. */
static int node_sync(struct node *node)
{
	struct node_io *io = node->io;
	uint64_t covers = node_writes(node);
	int ret = node->driver->flush(node);

	assert(ret <= 0 && ret >= -4095);
	if (ret == 0)
		__atomic_store_n(&io->synced, covers, __ATOMIC_RELEASE);
	else if (!node->cache_direct)
		__atomic_store_n(&io->failed, true, __ATOMIC_RELEASE);
	return ret;
}

void node_dsync_failed(struct node *node, int res)
{
	/* full storage fails the write before there is anything to sync */
	if (!node->cache_direct && res != -ENOSPC)
		__atomic_store_n(&node->io->failed, true, __ATOMIC_RELEASE);
}

static int co_protocol_flush(struct node *node)
{
	struct node_io *io = node->io;
	uint64_t target;
	int ret = 0;

	if (!node->driver->flush || node->no_flush)
		return 0;
	target = node_writes(node);
	if (__atomic_load_n(&io->failed, __ATOMIC_ACQUIRE))
		return -EIO;
	if (node_is_synced(node, target))
		return 0;
	co_lock(&io->flush_lock);
	if (__atomic_load_n(&io->failed, __ATOMIC_ACQUIRE))
		ret = -EIO;
	else if (!node_is_synced(node, target))
		ret = node_sync(node);
	co_unlock(&io->flush_lock);
	return ret;
}

/*
 * The COW child is the loop's next turn, not a call: a backing chain may be
 * longer than a coroutine's stack bears.
 */
static int co_flush_down(struct node *node);

/* One of several children, beside the others. */
struct child_flush {
	struct co_group *group;
	struct errand *of;
	struct node *node;
	int ret;
};

static void child_flush_run(void *arg)
{
	struct child_flush *f = arg;
	struct errand errand;

	errand_help(&errand, f->of);
	f->ret = co_flush_down(f->node);
	errand_end(&errand);
	co_group_done(f->group);
}

/* How many at once; a list may be longer. */
#define FLUSHES_MAX 8u

/* All children but COW ones, side by side; the last by the caller itself, and
 * those for which there is no stack. */
static int co_flush_children(struct node *node)
{
	struct child_flush flushes[FLUSHES_MAX];
	struct edge *e = node->children, *last = NULL;
	int first = 0;

	for (; e; e = e->next_child)
		if (!(e->role & ROLE_COW))
			last = e;
	e = node->children;
	while (e) {
		struct co_group group;
		unsigned count = 0;

		co_group_init(&group);
		for (; e && count < FLUSHES_MAX; e = e->next_child) {
			struct child_flush *f = &flushes[count];

			if (e->role & ROLE_COW)
				continue;
			*f = (struct child_flush){ &group, errand_self(),
						   e->child, 0 };
			count++;
			co_group_add(&group);
			if (e == last || !co_spawn(child_flush_run, f)) {
				f->ret = co_flush_down(f->node);
				co_group_done(&group);
			}
		}
		co_group_wait(&group);
		for (unsigned i = 0; i < count; i++)
			if (flushes[i].ret < 0 && !first)
				first = flushes[i].ret;
	}
	return first;
}

static int co_flush_down(struct node *node)
{
	int first = 0, ret;

	while (node) {
		struct node_path path = {};
		struct node *next = NULL;

		node_path_enter(&path, node);
		if (node->driver->kind == DRIVER_PROTOCOL)
			ret = co_protocol_flush(node);
		else
			ret = node->driver->flush ? node->driver->flush(node)
						  : 0;
		if (ret < 0 && !first)
			first = ret;
		for (struct edge *e = node->children; e; e = e->next_child)
			if (e->role & ROLE_COW)
				next = e->child;
		ret = node->driver->flushes_children ? 0 :
						co_flush_children(node);
		if (ret < 0 && !first)
			first = ret;
		node_path_leave(&path);
		node = next;
	}
	return first;
}

int co_node_flush(struct node *node)
{
	struct loose loose;
	int ret;

	loose_begin(&loose, node);
	do
		ret = co_flush_down(node);
	while (ret == STEER_WAIT && co_loose_again(&loose));
	loose_end(&loose);
	return ret;
}

/* Before a change: its own, once it is late. */
struct flush_before {
	struct late late;
	struct node *node;
	int ret;
};

static void flush_before_run(struct late *late)
{
	struct flush_before *f = container_of(late, struct flush_before, late);

	co_node_busy(f->node);
	f->ret = co_node_flush(f->node);
	node_idle(f->node);
}

static void flush_before_undo(struct late *late)
{
	struct flush_before *f = container_of(late, struct flush_before, late);

	node_put(f->node, "flush");
	free(f);
}

int co_flush_before(struct node *node, struct error **err)
{
	struct flush_before *f = calloc(1, sizeof(*f));
	struct error *late CLEANUP_ERROR = NULL;
	uint64_t deadline = drain_get_deadline();
	int ret;

	if (!f)
		abort();
	f->late.run = flush_before_run;
	f->late.undo = flush_before_undo;
	f->node = node_get(node, "flush");
	if (!co_late(&f->late, deadline, &late, "Flushing node '%s'",
		     node->name)) {
		if (late->code == ETIMEDOUT)
			return error_set(err, ETIMEDOUT, "Node '%s' has not "
					 "been flushed within %u.%u s: its "
					 "storage does not answer", node->name,
					 (unsigned)(deadline / 1000000000),
					 (unsigned)(deadline / 100000000 % 10));
		ret = -late->code;
		error_propagate(err, &late);
		return ret;
	}
	ret = f->ret;
	flush_before_undo(&f->late);
	if (ret < 0)
		error_set(err, -ret, "Could not flush node '%s': %s",
			  node->name, strerror(-ret));
	return ret;
}

int co_edge_flush(struct edge *edge)
{
	return co_node_flush(edge->child);
}

int co_close_flush(struct node *node)
{
	assert(thread_is_main());
	return node->driver->kind == DRIVER_PROTOCOL ? co_protocol_flush(node)
						     : 0;
}

#ifdef NODE_COUNTS

void node_path_enter(struct node_path *path, struct node *node)
{
	if (path->count == NODE_PATH_MAX)
		return;
	path->nodes[path->count++] = node;
	node->io->threads[thread_index(thread_self())].requests++;
}

void node_path_leave(struct node_path *path)
{
	unsigned self = thread_index(thread_self());

	while (path->count) {
		struct node *node = path->nodes[--path->count];

		assert(node->io->threads[self].requests > 0);
		node->io->threads[self].requests--;
	}
}

void node_assert_idle(struct node *node)
{
	for (unsigned i = 0; i < thread_count(); i++)
		assert(node->io->threads[i].requests == 0);
}

#endif
