/* SPDX-License-Identifier: MIT */
/*
 * buffer.c - payload memory of one thread: a buddy allocator over one mapping,
 * behind a list of recently freed pieces per size (A7). Own thread only.
 *
 * Pieces are 4 KiB << order. A freed piece stays whole on its size's recent
 * list, where the next request of that size finds it in a few instructions;
 * only when a size runs dry are the recent lists merged back into the buddies.
 * What describes a piece lies beside the memory, never in it: memory that
 * nobody used stays untouched, and ASan may poison what is free.
 *
 * While somebody waits nobody else gets memory, so waiters are served in order
 * and a large one does not starve.
 */
#include "runtime/buffer.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "runtime/loop.h"

#ifdef CONTEXT_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

#define UNIT_SHIFT 12
#define ORDERS 11
#define TOP_UNITS (1u << (ORDERS - 1))
#define NONE UINT32_MAX
#define BYTES_DEFAULT (64u * 1024 * 1024)

static_assert(BUFFER_MAX >> UNIT_SHIFT == TOP_UNITS, "largest order");

enum unit_state {
	UNIT_INSIDE,	/* not the first unit of a piece */
	UNIT_FREE,	/* in the buddies */
	UNIT_RECENT,	/* on a recent list */
	UNIT_USED,
};

/* Describes the piece that begins at this unit. */
struct unit {
	uint32_t next, prev;	/* prev: buddies only */
	uint8_t state, order;
};

struct buffer_pool {
	char *base;
	uint32_t units;
	uint32_t used;			/* units given out or granted */
	uint32_t recent[ORDERS];
	uint32_t free[ORDERS];
	struct buffer_waiter *first, **last;	/* waiting */
	struct buffer_waiter *granted, **granted_last;
	struct unit *unit;
};

static void free_push(struct buffer_pool *p, uint32_t at, unsigned order)
{
	struct unit *u = &p->unit[at];

	u->state = UNIT_FREE;
	u->order = (uint8_t)order;
	u->prev = NONE;
	u->next = p->free[order];
	if (u->next != NONE)
		p->unit[u->next].prev = at;
	p->free[order] = at;
}

static void free_remove(struct buffer_pool *p, uint32_t at)
{
	struct unit *u = &p->unit[at];

	if (u->prev == NONE)
		p->free[u->order] = u->next;
	else
		p->unit[u->prev].next = u->next;
	if (u->next != NONE)
		p->unit[u->next].prev = u->prev;
	u->state = UNIT_INSIDE;
}

static uint32_t buddy_take(struct buffer_pool *p, unsigned order)
{
	unsigned o = order;
	uint32_t at;

	while (o < ORDERS && p->free[o] == NONE)
		o++;
	if (o == ORDERS)
		return NONE;
	at = p->free[o];
	free_remove(p, at);
	while (o > order) {
		o--;
		free_push(p, at + (1u << o), o);
	}
	return at;
}

static void buddy_give(struct buffer_pool *p, uint32_t at, unsigned order)
{
	p->unit[at].state = UNIT_INSIDE;
	while (order < ORDERS - 1) {
		uint32_t other = at ^ (1u << order);
		struct unit *u = &p->unit[other];

		if (u->state != UNIT_FREE || u->order != order)
			break;
		free_remove(p, other);
		at = min(at, other);
		order++;
	}
	free_push(p, at, order);
}

/* Whether it had anything to merge. */
static bool recent_merge(struct buffer_pool *p)
{
	bool any = false;
	unsigned o;

	for (o = 0; o < ORDERS; o++) {
		while (p->recent[o] != NONE) {
			uint32_t at = p->recent[o];

			p->recent[o] = p->unit[at].next;
			buddy_give(p, at, o);
			any = true;
		}
	}
	return any;
}

static unsigned order_of(uint32_t size)
{
	uint32_t units = (size - 1) >> UNIT_SHIFT;

	assert(size && size <= BUFFER_MAX);
	return units ? 32 - (unsigned)__builtin_clz(units) : 0;
}

static void *pool_take(struct buffer_pool *p, uint32_t size)
{
	unsigned order = order_of(size);
	uint32_t at = p->recent[order];
	char *buf;

	if (at != NONE) {
		p->recent[order] = p->unit[at].next;
	} else {
		at = buddy_take(p, order);
		if (at == NONE && recent_merge(p))
			at = buddy_take(p, order);
		if (at == NONE)
			return NULL;
		p->unit[at].order = (uint8_t)order;
	}
	p->unit[at].state = UNIT_USED;
	p->used += 1u << order;
	buf = p->base + ((size_t)at << UNIT_SHIFT);
	ASAN_UNPOISON_MEMORY_REGION(buf, size);
	return buf;
}

static void pool_serve(struct buffer_pool *p)
{
	while (p->first) {
		struct buffer_waiter *w = p->first;

		w->buf = pool_take(p, w->size);
		if (!w->buf)
			break;
		p->first = w->next;
		if (!p->first)
			p->last = &p->first;
		w->next = NULL;
		*p->granted_last = w;
		p->granted_last = &w->next;
	}
}

void *buffer_get(uint32_t size)
{
	struct buffer_pool *p = thread_self()->buffers;

	return p->first ? NULL : pool_take(p, size);
}

void buffer_put(void *buf, uint32_t size)
{
	struct buffer_pool *p = thread_self()->buffers;
	size_t from_base = (size_t)((char *)buf - p->base);
	uint32_t at = (uint32_t)(from_base >> UNIT_SHIFT);
	unsigned order = order_of(size);
	struct unit *u = &p->unit[at];

	/* the memory of another thread, or not a buffer at all? */
	assert((char *)buf >= p->base && from_base >> UNIT_SHIFT < p->units);
	assert(is_aligned(from_base, 1u << UNIT_SHIFT));
	assert(u->state == UNIT_USED && u->order == order);
	ASAN_POISON_MEMORY_REGION(buf, (size_t)1 << (order + UNIT_SHIFT));
	u->state = UNIT_RECENT;
	u->next = p->recent[order];
	p->recent[order] = at;
	p->used -= 1u << order;
	if (unlikely(p->first))
		pool_serve(p);
}

void buffer_wait(struct buffer_waiter *w, uint32_t size,
		 void (*fn)(struct buffer_waiter *, void *buf))
{
	struct buffer_pool *p = thread_self()->buffers;

	w->size = size;
	w->fn = fn;
	w->next = NULL;
	*p->last = w;
	p->last = &w->next;
	pool_serve(p);
}

bool buffer_granted(const struct io_thread *t)
{
	return t->buffers->granted;
}

bool buffer_grant_one(struct io_thread *t)
{
	struct buffer_pool *p = t->buffers;
	struct buffer_waiter *w = p->granted;

	if (!w)
		return false;
	p->granted = w->next;
	if (!p->granted)
		p->granted_last = &p->granted;
	w->fn(w, w->buf);
	return true;
}

struct co_buffer_wait {
	struct buffer_waiter waiter;
	struct co *co;
	void *buf;
};

static void co_buffer_got(struct buffer_waiter *waiter, void *buf)
{
	struct co_buffer_wait *w =
		container_of(waiter, struct co_buffer_wait, waiter);

	w->buf = buf;
	co_enter(w->co);
}

void *co_buffer_get(uint32_t size)
{
	struct co_buffer_wait w = { .co = co_self() };
	void *buf = buffer_get(size);

	assert(w.co);
	if (buf)
		return buf;
	buffer_wait(&w.waiter, size, co_buffer_got);
	co_park("co_buffer_get");
	return w.buf;
}

/* Everything in the largest pieces, low addresses first. */
static void pool_fill(struct buffer_pool *p)
{
	uint32_t at;
	unsigned o;

	p->first = NULL;
	p->last = &p->first;
	p->granted = NULL;
	p->granted_last = &p->granted;
	p->used = 0;
	for (o = 0; o < ORDERS; o++) {
		p->recent[o] = NONE;
		p->free[o] = NONE;
	}
	for (at = 0; at < p->units; at++)
		p->unit[at].state = UNIT_INSIDE;
	for (at = p->units; at; at -= TOP_UNITS)
		free_push(p, at - TOP_UNITS, ORDERS - 1);
	ASAN_POISON_MEMORY_REGION(p->base, (size_t)p->units << UNIT_SHIFT);
}

void buffer_pool_reset(struct buffer_pool *p)
{
	if (p->used || p->first || p->granted)
		pool_fill(p);
}

static uint32_t units_of(uint64_t bytes)
{
	if (!bytes)
		bytes = BYTES_DEFAULT;
	bytes = max(align_down(bytes, BUFFER_MAX), (uint64_t)BUFFER_MAX);
	return (uint32_t)(bytes >> UNIT_SHIFT);
}

struct buffer_pool *buffer_pool_new(uint64_t bytes)
{
	struct buffer_pool *p = calloc(1, sizeof(*p));
	size_t map_bytes;

	if (!p)
		return NULL;
	p->units = units_of(bytes);
	map_bytes = (size_t)p->units << UNIT_SHIFT;
	p->unit = calloc(p->units, sizeof(*p->unit));
	p->base = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!p->unit || p->base == MAP_FAILED) {
		if (p->base != MAP_FAILED)
			munmap(p->base, map_bytes);
		free(p->unit);
		free(p);
		return NULL;
	}
	pool_fill(p);
	return p;
}

void buffer_pool_free(struct buffer_pool *p)
{
	size_t map_bytes = (size_t)p->units << UNIT_SHIFT;

	ASAN_UNPOISON_MEMORY_REGION(p->base, map_bytes);
	munmap(p->base, map_bytes);
	free(p->unit);
	free(p);
}

bool buffer_pool_fits(const struct buffer_pool *p, uint64_t bytes)
{
	return p->units == units_of(bytes);
}

uint64_t buffer_budget(void)
{
	return (uint64_t)thread_self()->buffers->units << UNIT_SHIFT;
}
