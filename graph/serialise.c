/* SPDX-License-Identifier: MIT */
/*
 * serialise.c - read-modify-write under the node's range lock (A12).
 *
 * Any thread, coroutines. A block is modified by reading it whole, changing
 * some bytes and writing it back, under a lock of its range that all threads
 * respect; on a node that serialises every write takes that lock. Waiting
 * order is range lock, then bounce buffer, then I/O; nobody who waits for a
 * range holds a bounce of the same node.
 */
#include "graph/serialise.h"

#include <errno.h>
#include <string.h>

#include "graph/node-io.h"
#include "graph/slow.h"
#include "graph/state.h"
#include "runtime/co.h"

/* ---- bounce buffers ---- */

static struct bounce_pool *bounce_pool(const struct node *node)
{
	return &graph_self()->bounce[node->driver->kind == DRIVER_PROTOCOL ?
				     BOUNCE_PROTOCOL : BOUNCE_ABOVE];
}

void *co_node_bounce_get(const struct node *node)
{
	struct bounce_pool *pool = bounce_pool(node);
	struct bounce_waiter w = { .co = co_self() };

	if (pool->count)
		return pool->free[--pool->count];
	*pool->last = &w;
	pool->last = &w.next;
	co_wait();
	return w.buf;
}

void node_bounce_put(const struct node *node, void *buf)
{
	struct bounce_pool *pool = bounce_pool(node);
	struct bounce_waiter *w = pool->first;

	if (!w) {
		pool->free[pool->count++] = buf;
		return;
	}
	pool->first = w->next;
	if (!pool->first)
		pool->last = &pool->first;
	w->buf = buf;
	co_wake(w->co);
}

/* ---- pieces ---- */

/* All of map, in as many steps as it takes; the node is dealt with. */
static int co_steps(struct node *node, struct map map, void *buf)
{
	char *p = buf;

	map.realigned = true;
	while (map.len) {
		int64_t n = co_step(node, &map, p);

		if (n == STEER_AGAIN)
			continue;
		if (n < 0)
			return (int)n;
		p += n;
		map.offset += (uint64_t)n;
		map.len -= (uint32_t)n;
	}
	return 0;
}

static int64_t co_read_wide(struct node *node, const struct map *map,
			    void *buf)
{
	uint64_t align = (uint64_t)node->own_mask + 1;
	uint64_t start = align_down(map->offset, align);
	uint64_t end = align_up(map->offset + map->len, align);
	uint32_t skip = (uint32_t)(map->offset - start), n;
	struct map wide = *map;
	char *bounce;
	int ret;

	wide.offset = start;
	wide.len = (uint32_t)min(end - start, (uint64_t)BOUNCE_SIZE);
	n = min(map->len, wide.len - skip);
	bounce = co_node_bounce_get(node);
	ret = co_steps(node, wide, bounce);
	if (ret == 0)
		memcpy(buf, bounce + skip, n);
	node_bounce_put(node, bounce);
	return ret < 0 ? ret : (int64_t)n;
}

/* The block that holds map's start; range locked. */
static int64_t co_modify_block(struct node *node, const struct map *map,
			       const void *buf)
{
	uint64_t align = (uint64_t)node->own_mask + 1;
	uint64_t start = align_down(map->offset, align);
	uint32_t skip = (uint32_t)(map->offset - start);
	uint32_t n = min(map->len, (uint32_t)align - skip);
	struct map block = {
		.op = REQ_READ,
		.offset = start,
		.len = (uint32_t)align,
	};
	char *bounce = co_node_bounce_get(node);
	int ret = co_steps(node, block, bounce);

	if (ret == 0) {
		if (map->op == REQ_WRITE)
			memcpy(bounce + skip, buf, n);
		else
			memset(bounce + skip, 0, n);
		block.op = REQ_WRITE;
		block.flags = map->flags & REQ_FUA;
		ret = co_steps(node, block, bounce);
	}
	node_bounce_put(node, bounce);
	return ret < 0 ? ret : (int64_t)n;
}

static int64_t co_modify(struct node *node, const struct map *map, void *buf)
{
	uint64_t align = (uint64_t)node->own_mask + 1;
	uint64_t head = align_up(map->offset, align) - map->offset;
	struct map middle = *map;
	struct range range;
	int64_t ret;

	middle.realigned = true;
	middle.len = (uint32_t)align_down(map->len, align);
	co_range_lock(&node->io->range_lock, &range,
		      align_down(map->offset, align),
		      align_up(map->offset + map->len, align), false);
	if (!head && middle.len)
		ret = co_step(node, &middle, buf);
	else if (map->op == REQ_DISCARD)
		/* advisory: only whole blocks are given back */
		ret = (int64_t)min((uint64_t)map->len, head ? head : align);
	else
		ret = co_modify_block(node, map, buf);
	co_range_unlock(&node->io->range_lock, &range);
	return ret;
}

int64_t co_step_aligned(struct node *node, const struct map *map, void *buf)
{
	if (map->op == REQ_READ)
		return co_read_wide(node, map, buf);
	return co_modify(node, map, buf);
}
