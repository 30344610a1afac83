/* SPDX-License-Identifier: MIT */
/*
 * resize.c - another size for an open image (C8).
 *
 * The main thread's coroutines, while any thread reads and writes what is in
 * front of both ends. The size is one field of sector 0, so it changes by one
 * write (Q10), after everything that it needs is durable:
 *
 *	grow	L1 gets its entries, by a write of sector 0 of its own
 *		what is between the ends shows zeroes: neither what an earlier
 *		end left there nor what the backing file has
 *		-- flush --
 *		sector 0 with the size	-- flush --
 *	shrink	sector 0 with the size	-- flush --
 *		clusters behind it are unlinked, as by a discard
 *
 * A cut leaves the old size or the new one. Entries behind the end may stay for
 * a while, or for ever; nobody sees them, and a later growth blots them out.
 */
#include <errno.h>
#include <string.h>

#include "drivers/format/qcow2/qcow2.h"

/* Runs that were too short, put aside while a longer one is looked for. */
#define ASIDE_MAX 64u
/* Guests that make new tables all the time have L1 copied again. */
#define COPIES_MAX 64u

/* --- sector 0 --- */

/* flush_lock held. On failure it is not known which header is on disk: the old
 * one is written before anything that relies on it. */
static int write_size(struct qcow2 *s, uint64_t size, uint64_t l1_offset,
		      uint32_t l1_entries)
{
	struct qcow2_header *h = &s->header;
	struct qcow2_header old;
	int ret;

	co_lock(&s->lock);
	old = *h;
	h->size = size;
	h->l1_offset = l1_offset;
	h->l1_entries = l1_entries;
	ret = qcow2_write_header(s);
	co_unlock(&s->lock);
	if (ret == 0)
		ret = co_edge_flush(qcow2_file(s));
	if (ret == 0)
		return 0;
	co_lock(&s->lock);
	h->size = old.size;
	h->l1_offset = old.l1_offset;
	h->l1_entries = old.l1_entries;
	__atomic_store_n(&s->header_unsure, true, __ATOMIC_RELAXED);
	co_unlock(&s->lock);
	/* at once, or with the next flush */
	(void)!qcow2_settle_header(s);
	return ret;
}

static int write_new_size(struct qcow2 *s, uint64_t size)
{
	int ret;

	co_lock(&s->flush_lock);
	ret = write_size(s, size, s->header.l1_offset, s->header.l1_entries);
	co_unlock(&s->flush_lock);
	return ret;
}

/* --- L1 --- */

/* Lock held. So many clusters in a row, or -ENOSPC, or an outcome. */
static int alloc_row(struct qcow2 *s, uint64_t want, uint64_t *first)
{
	struct qcow2_extent aside[ASIDE_MAX], e;
	unsigned n = 0;
	uint64_t done;
	int ret;

	for (;;) {
		ret = qcow2_alloc(s, want, &e);
		if (ret < 0)
			break;
		if (e.count == want) {
			*first = e.first;
			break;
		}
		if (n == ASIDE_MAX) {
			ret = -ENOSPC;
			if (qcow2_free(s, e.first, e.count, &done) < 0)
				qcow2_leak(s, e.count - done);
			break;
		}
		aside[n++] = e;
	}
	while (n--)
		if (qcow2_free(s, aside[n].first, aside[n].count, &done) < 0)
			qcow2_leak(s, aside[n].count - done);
	return ret;
}

/* They are metadata from here on (Q15). */
static int co_alloc_l1(struct qcow2 *s, uint64_t clusters, uint64_t *first)
{
	int ret;

	do {
		co_lock(&s->lock);
		ret = meta_set_reserve(&s->meta, clusters);
		if (ret == 0)
			ret = alloc_row(s, clusters, first);
		if (ret == 0)
			meta_set_add_run(&s->meta, *first, clusters);
		co_unlock(&s->lock);
		if (ret != OUTCOME_FLUSH && ret != OUTCOME_LIMBO)
			continue;
		ret = qcow2_flush_all(s) ? -EIO : ret;
	} while (ret == OUTCOME_AGAIN || ret == OUTCOME_FLUSH);
	return ret == OUTCOME_LIMBO ? -ENOSPC : ret;
}

/* What memory has of so many bytes of L1, where it shall be; the lock is held,
 * so that no entry changes meanwhile. */
static int write_l1(struct qcow2 *s, uint64_t to, uint64_t from_byte,
		    uint64_t bytes)
{
	return co_edge_write(qcow2_file(s), to + from_byte, (uint32_t)bytes,
			     (const uint8_t *)s->l1 + from_byte, 0);
}

/*
 * flush_lock held. All that L1 in memory names is durable, with the refcounts
 * of the clusters at `to`, and L1 is there as it is in memory: then sector 0
 * may name it. What changes from here on is in memory, and for the next flush.
 */
static int co_copy_l1(struct qcow2 *s, uint64_t to, uint64_t bytes)
{
	for (unsigned i = 0; i < COPIES_MAX; i++) {
		uint64_t changes;
		int ret;

		co_lock(&s->lock);
		changes = s->l1_changes;
		ret = write_l1(s, to, 0, bytes);
		co_unlock(&s->lock);
		if (ret == 0)
			ret = qcow2_flush_held(s);
		if (ret == 0)
			ret = co_edge_flush(qcow2_file(s));
		if (ret < 0)
			return ret;
		if (changes == s->l1_changes)
			return 0;
	}
	return -EAGAIN;
}

/* The old table is free when nothing on disk names it. */
static void give_back_l1(struct qcow2 *s, uint64_t offset, uint64_t clusters)
{
	if (!clusters)
		return;
	co_lock(&s->lock);
	if (limbo_reserve(s, 1)) {
		limbo_add(s, qcow2_host_cluster(&s->geo, offset), clusters);
		limbo_unreserve(s, 1);
	} else {
		qcow2_leak(s, clusters);
	}
	co_unlock(&s->lock);
}

static int co_move_l1(struct qcow2 *s, uint64_t entries, uint64_t had)
{
	uint64_t clusters = div_up(entries * 8, s->geo.cluster_size);
	uint64_t bytes = clusters << s->geo.cluster_bits;
	uint64_t old = s->header.l1_offset, first, to;
	int ret = co_alloc_l1(s, clusters, &first);

	if (ret < 0)
		return ret;
	to = qcow2_host_offset(&s->geo, first);
	co_lock(&s->flush_lock);
	ret = co_copy_l1(s, to, bytes);
	if (ret == 0)
		ret = write_size(s, s->header.size, to, (uint32_t)entries);
	if (ret == 0)
		memset(s->l1_claimed, 1, QCOW2_L1_BYTES_MAX >>
					 s->geo.slice_bits);
	co_unlock(&s->flush_lock);
	if (ret == 0) {
		give_back_l1(s, old, had);
		return 0;
	}
	/* sector 0 may name it after all, until it is written again */
	co_lock(&s->lock);
	qcow2_leak(s, clusters);
	co_unlock(&s->lock);
	return ret;
}

/* What is behind the table in its last cluster may be anything. */
static int co_lengthen_l1(struct qcow2 *s, uint64_t entries, uint64_t had)
{
	uint64_t from = s->header.l1_entries * UINT64_C(8);
	uint64_t end = had << s->geo.cluster_bits;
	int ret;

	co_lock(&s->flush_lock);
	ret = write_l1(s, s->header.l1_offset, from, end - from);
	if (ret == 0)
		ret = co_edge_flush(qcow2_file(s));
	if (ret == 0)
		ret = write_size(s, s->header.size, s->header.l1_offset,
				 (uint32_t)entries);
	co_unlock(&s->flush_lock);
	return ret;
}

static int co_grow_l1(struct qcow2 *s, uint64_t size)
{
	uint64_t entries = qcow2_l1_needed(&s->geo, size);
	uint64_t had = div_up(s->header.l1_entries * UINT64_C(8),
			      s->geo.cluster_size);

	if (entries <= s->header.l1_entries)
		return 0;
	if (entries * 8 > QCOW2_L1_BYTES_MAX)
		return -EFBIG;
	return entries * 8 <= had << s->geo.cluster_bits ?
		co_lengthen_l1(s, entries, had) : co_move_l1(s, entries, had);
}

/* --- what is between the ends --- */

/* Where a cluster without an entry may show something. */
static uint64_t shows_through(const struct qcow2 *s)
{
	const struct edge *backing = s->node->backing;

	if (backing)
		return backing->child->size;
	return s->header.backing_len ? UINT64_MAX : 0;
}

/* Table by table: most have none, and nothing to hide. */
static int co_blot_out(struct qcow2 *s, uint64_t from, uint64_t to)
{
	unsigned bits = s->geo.l2_bits + s->geo.cluster_bits;

	while (from < to) {
		uint64_t end = min(to, ((from >> bits) + 1) << bits);
		int ret = 0;

		if (be64_acquire(&s->l1[from >> bits]) ||
		    from < shows_through(s))
			ret = co_node_zeroes(s->node, from, end - from, 0);
		if (ret < 0)
			return ret;
		from = end;
	}
	return 0;
}

static int co_grow_image(struct qcow2 *s, uint64_t from, uint64_t to,
		   struct error **err)
{
	int ret = co_grow_l1(s, to);

	if (ret < 0)
		return error_set(err, -ret, "Failed to grow the L1 table: %s",
				 strerror(-ret));
	ret = co_blot_out(s, from, to);
	if (ret < 0)
		return error_set(err, -ret, "Failed to zero the new part of"
				 " the image: %s", strerror(-ret));
	ret = co_node_flush(s->node);
	if (ret == 0)
		ret = write_new_size(s, to);
	return ret == 0 ? 0 : error_set(err, -ret, "Failed to update the image"
					" size: %s", strerror(-ret));
}

/* Space that is not given back is no reason to fail. */
static void co_unlink_tail(struct qcow2 *s, uint64_t from, uint64_t to)
{
	unsigned bits = s->geo.l2_bits + s->geo.cluster_bits;
	int ret = 0;

	from = align_up(from, s->geo.cluster_size);
	while (from < to && ret == 0) {
		uint64_t end = min(to, ((from >> bits) + 1) << bits);

		if (be64_acquire(&s->l1[from >> bits]))
			ret = co_node_discard(s->node, from, end - from);
		from = end;
	}
}

int qcow2_resize(struct node *node, uint64_t from, uint64_t to,
		 struct error **err)
{
	struct qcow2 *s = node->state;
	int ret;

	if (!is_aligned(to, QCOW2_SECTOR))
		return error_set(err, EINVAL, "The new size must be a multiple"
				 " of %d", QCOW2_SECTOR);
	ret = qcow2_begin_write(s);
	if (ret < 0)
		return error_set(err, -ret, "Could not write to qcow2 node"
				 " '%s': %s", node->name, strerror(-ret));
	if (to > from)
		return co_grow_image(s, from, to, err);
	ret = write_new_size(s, to);
	if (ret < 0)
		return error_set(err, -ret, "Failed to update the image size:"
				 " %s", strerror(-ret));
	co_unlink_tail(s, to, from);
	return 0;
}
