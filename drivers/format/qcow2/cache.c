/* SPDX-License-Identifier: MIT */
/*
 * cache.c - slices of L2 tables and refcount blocks (cache.h).
 *
 * What readers without the lock see: hash heads, hash_next, number and the
 * entries. An insertion fills all of it before the release store of the head.
 * A removal leaves the slice's own hash_next as it is, so that a reader that
 * stands on it finds the rest of its chain.
 */
#include "drivers/format/qcow2/cache.h"

#include <errno.h>
#include <sys/mman.h>

#include "runtime/thread.h"

#define SLICES_MIN 16u

static struct slice **bucket(const struct slice_cache *c, uint64_t number)
{
	return &c->hash[((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) &
			c->hash_mask];
}

int slice_cache_init(struct slice_cache *c, uint64_t bytes,
		     uint32_t slice_size, bool lockless)
{
	uint64_t count = max(bytes / slice_size, (uint64_t)SLICES_MIN);
	uint64_t buckets = 1;
	size_t data_bytes, slice_bytes;
	void *mem;

	while (buckets < count)
		buckets *= 2;
	data_bytes = align_up(count * slice_size, 4096);
	slice_bytes = count * sizeof(struct slice);
	*c = (struct slice_cache){
		.mapped = data_bytes + slice_bytes + buckets * sizeof(void *),
		.slice_size = slice_size,
		.hash_mask = buckets - 1,
		.count = (unsigned)count,
		.lockless = lockless,
	};
	/* not malloc: pages cost nothing before their first use */
	mem = mmap(NULL, c->mapped, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	c->data = mem;
	c->slices = (struct slice *)(c->data + data_bytes);
	c->hash = (struct slice **)(c->data + data_bytes + slice_bytes);
	c->retired_last = &c->retired;
	return 0;
}

void slice_cache_destroy(struct slice_cache *c)
{
	if (c->data)
		munmap(c->data, c->mapped);
	c->data = NULL;
}

struct slice *slice_find(const struct slice_cache *c, uint64_t number)
{
	struct slice *slice = __atomic_load_n(bucket(c, number),
					      __ATOMIC_ACQUIRE);

	while (slice && slice->number != number)
		slice = __atomic_load_n(&slice->hash_next, __ATOMIC_ACQUIRE);
	/* no store where it is set: the line stays shared between threads */
	if (slice && !__atomic_load_n(&slice->used, __ATOMIC_RELAXED))
		__atomic_store_n(&slice->used, 1, __ATOMIC_RELAXED);
	return slice;
}

struct slice *slice_take(struct slice_cache *c)
{
	struct slice *slice = c->free;

	if (slice) {
		c->free = slice->next;
		c->free_count--;
	} else if (c->untouched < c->count) {
		slice = &c->slices[c->untouched];
		slice->entries = (struct be64 *)(c->data +
				 (size_t)c->untouched++ * c->slice_size);
	}
	return slice;
}

void slice_drop(struct slice_cache *c, struct slice *slice)
{
	assert(!slice->hashed && !slice->dirty);
	slice->next = c->free;
	c->free = slice;
	c->free_count++;
}

void slice_insert(struct slice_cache *c, struct slice *slice, uint64_t number,
		  uint64_t host)
{
	struct slice **head = bucket(c, number);

	assert(!slice->hashed);
	slice->number = number;
	slice->host = host;
	slice->hashed = true;
	slice->used = 1;
	slice->pins = 0;
	slice->hash_next = *head;
	rt_step();
	__atomic_store_n(head, slice, __ATOMIC_RELEASE);
}

static void unhash(struct slice_cache *c, struct slice *slice)
{
	struct slice **at = bucket(c, slice->number);

	while (*at != slice)
		at = &(*at)->hash_next;
	__atomic_store_n(at, slice->hash_next, __ATOMIC_RELEASE);
	slice->hashed = false;
}

void slice_set_dirty(struct slice_cache *c, struct slice *slice)
{
	assert(slice->hashed && !slice->hole);
	if (slice->dirty)
		return;
	slice->dirty = true;
	slice->next = c->dirty;
	c->dirty = slice;
	c->dirty_count++;
}

struct slice *slice_take_dirty(struct slice_cache *c)
{
	struct slice *list = c->dirty;

	for (struct slice *s = list; s; s = s->next) {
		s->dirty = false;
		s->flushing = true;
	}
	c->dirty = NULL;
	c->dirty_count = 0;
	return list;
}

static void retire(struct slice_cache *c, struct slice *slice, uint64_t seq)
{
	unhash(c, slice);
	if (!c->lockless) {
		slice_drop(c, slice);
		return;
	}
	slice->retired = seq;
	slice->next = NULL;
	*c->retired_last = slice;
	c->retired_last = &slice->next;
	c->retired_count++;
}

unsigned slice_evict(struct slice_cache *c, unsigned n, uint64_t seq)
{
	unsigned found = 0;

	/* the first round may only clear the second chances */
	for (unsigned i = 0; i < 2 * c->untouched && found < n; i++) {
		struct slice *s = &c->slices[c->hand];

		c->hand = (c->hand + 1) % c->untouched;
		if (!s->hashed || s->dirty || s->flushing || s->pins)
			continue;
		if (__atomic_exchange_n(&s->used, 0, __ATOMIC_RELAXED))
			continue;
		retire(c, s, seq);
		found++;
	}
	return found;
}

void slice_reap(struct slice_cache *c, uint64_t seq)
{
	while (c->retired && c->retired->retired <= seq) {
		struct slice *slice = c->retired;

		c->retired = slice->next;
		if (!c->retired)
			c->retired_last = &c->retired;
		c->retired_count--;
		slice_drop(c, slice);
	}
}

unsigned slice_available(const struct slice_cache *c)
{
	return c->free_count + (c->count - c->untouched);
}
