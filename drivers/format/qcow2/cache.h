/* SPDX-License-Identifier: MIT */
/*
 * cache.h - slices of L2 tables and refcount blocks in memory.
 *
 * A cache is a fixed number of slices, memory touched on first use, and a
 * hash from slice numbers to them. It changes under the image's lock. Of L2
 * tables, requests look slices up and read entries without the lock: a slice
 * taken out of the hash is *retired*, and its memory is used again only when
 * every thread has passed by since (graph/epoch.h).
 *
 *	free -> (filled by its loader) -> hashed, clean <-> dirty
 *	  ^                                  |
 *	  +---- passed ------ retired <------+
 */
#ifndef QCOW2_CACHE_H
#define QCOW2_CACHE_H

#include <stdbool.h>

#include "drivers/format/qcow2/disk.h"

struct slice {
	uint64_t number;	/* fixed while hashed */
	uint64_t host;		/* byte of the file where it belongs */
	struct be64 *entries;	/* the payload; fixed */
	struct slice *hash_next; /* atomic */
	/* under the image's lock */
	struct slice *next;	/* free, retired or dirty list */
	uint64_t retired;	/* sequence number of tables.c */
	unsigned pins;		/* users across waits; not evicted */
	bool hashed, dirty;
	bool hole;		/* may lack space in the file: never dirty */
	bool beyond;		/* of L2: has entries behind the file's end; as
				 * hashed, since what is written is before it */
	bool flushing;		/* a copy is on its way to disk: not evicted */
	uint8_t used;		/* atomic, relaxed: second chance */
};

struct slice_cache {
	struct slice *slices;	/* fixed */
	uint8_t *data;
	struct slice **hash;	/* atomic heads */
	uint64_t hash_mask;
	size_t mapped;		/* bytes of the whole allocation */
	uint32_t slice_size;
	unsigned count;
	bool lockless;		/* readers without the lock: retire */
	/* under the image's lock */
	unsigned untouched;	/* slices from here on were never used */
	unsigned hand;		/* of the clock */
	unsigned free_count, dirty_count, retired_count;
	struct slice *free;
	struct slice *dirty;
	struct slice *retired, **retired_last;
};

/* At open; -ENOMEM. bytes is rounded to whole slices, at least 16. */
int slice_cache_init(struct slice_cache *c, uint64_t bytes,
		     uint32_t slice_size, bool lockless) MUST_CHECK;
void slice_cache_destroy(struct slice_cache *c);

/* Any thread, without the lock where the cache is lockless; NULL: not here. */
struct slice *slice_find(const struct slice_cache *c, uint64_t number);

/* The rest: under the lock. */

/* A slice for its caller alone; NULL when none is free. */
struct slice *slice_take(struct slice_cache *c);
/* Gives back what slice_take gave. */
void slice_drop(struct slice_cache *c, struct slice *slice);
/* Makes a filled slice visible. */
void slice_insert(struct slice_cache *c, struct slice *slice, uint64_t number,
		  uint64_t host);
void slice_set_dirty(struct slice_cache *c, struct slice *slice);
/* The list of dirty slices, by next, valid until one of them gets dirty again;
 * all of them are clean and flushing now. */
struct slice *slice_take_dirty(struct slice_cache *c);
/* Takes up to n clean slices that nobody has used lately out of the hash; the
 * number that it found. seq: of their retirement. */
unsigned slice_evict(struct slice_cache *c, unsigned n, uint64_t seq);
/* Frees retired slices up to this sequence number. */
void slice_reap(struct slice_cache *c, uint64_t seq);
/* How many slice_take would give. */
unsigned slice_available(const struct slice_cache *c);

#endif
