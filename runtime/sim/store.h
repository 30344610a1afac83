/* SPDX-License-Identifier: MIT */
/*
 * store.h - the contents of one simulated file, and what of it a power cut
 * leaves. Knows nothing of threads or operations; private to runtime/sim/.
 *
 * There is what everybody reads (the page cache) and what is surely on the
 * disk. Between the two lies the log of changes in the order in which they took
 * effect. A change that is durable goes to the disk for certain; of the others
 * a cut keeps all, nothing, or some 512-byte sectors.
 */
#ifndef RUNTIME_SIM_STORE_H
#define RUNTIME_SIM_STORE_H

#include <stdbool.h>

#include "runtime/compiler.h"

#define SECTOR 512u
/* In these space is counted. */
#define STORE_PAGE 4096u

struct store;
struct record;

/* What one operation did: its records in the log, until it completes. */
struct effect {
	struct record *rec[3];
	unsigned n;
};

struct store *store_new(uint64_t size);
void store_free(struct store *s);
uint64_t store_size(const struct store *s);
uint64_t store_allocated(const struct store *s);	/* bytes */
/* Whether there is data at offset; *len shortened to where that changes. */
bool store_extent(const struct store *s, uint64_t offset, uint64_t *len);

/* Zeroes past the end; buf may be fresh zeroed memory that stays untouched
 * where the file has holes (skip_holes). */
void store_read(const struct store *s, uint64_t offset, void *buf,
		uint64_t len, bool skip_holes);
void store_write(struct store *s, uint64_t offset, const void *buf,
		 uint64_t len, struct effect *e);
/* Zeroes; grows the file only if asked to. */
void store_zero(struct store *s, uint64_t offset, uint64_t len, bool grow,
		struct effect *e);
void store_resize(struct store *s, uint64_t size, struct effect *e);
/* The change's sender was told; durable at once with FUA. */
void store_complete(struct store *s, struct effect *e, bool durable);

/* A point in time, for store_sync: what is complete now. */
uint64_t store_mark(struct store *s);
/* Everything complete at the mark is durable. */
void store_sync(struct store *s, uint64_t mark);
/*
 * A sync failed: what it would have made durable is decided now, by chance, and
 * no later sync makes up for it (the page cache forgot that it was dirty).
 */
void store_sync_failed(struct store *s, uint64_t mark);

/*
 * Power cut in three steps: store_cut decides the fate of the log, store_tear
 * that of operations that were in flight and without effect yet (buf NULL:
 * zeroes), store_cut_end makes what is on the disk what everybody reads.
 */
void store_cut(struct store *s);
void store_tear(struct store *s, uint64_t offset, const void *buf,
		uint64_t len, bool grow);
void store_cut_end(struct store *s);

#endif
