/* SPDX-License-Identifier: MIT */
/*
 * refs.c - reftable and refcount blocks.
 *
 * Under s->lock throughout, which is kept across loads and the writes of new
 * blocks: that is rare, and the allocator stays simple. What always holds:
 *
 *  Q4  The reftable in memory names blocks whose bytes in the file are
 *	refcounts, zeroes at first.
 *  Q5  A refcount block lies in a cluster that it counts itself, or (when the
 *	reftable moves) in one counted by a block made at the same time.
 */
#include <errno.h>

#include "drivers/format/qcow2/qcow2.h"
#include "drivers/format/qcow2/refcount.h"

/* Where the block of a reftable entry is; 0 when that is no place for one. */
static uint64_t block_host(const struct qcow2 *s, uint64_t block)
{
	uint64_t host = be64_get(s->reftable[block]) & QCOW2_HOST_MASK;

	if (!is_aligned(host, s->geo.cluster_size) ||
	    qcow2_host_cluster(&s->geo, host) >= s->virgin)
		return 0;
	return host;
}

static int take_slice(struct qcow2 *s, struct slice **out)
{
	if (!slice_available(&s->refs))
		slice_evict(&s->refs, s->refs.count / 8 + 1, 0);
	*out = slice_take(&s->refs);
	return *out ? 0 : OUTCOME_FLUSH;
}

int qcow2_ref_slice(struct qcow2 *s, uint64_t cluster, struct slice **out)
{
	struct qcow2_ref_pos pos = qcow2_ref_pos(&s->geo, cluster);
	struct slice *slice;
	uint64_t host;
	int ret;

	if (pos.block >= s->reftable_entries)
		return OUTCOME_NO_ENTRY;
	if (!be64_get(s->reftable[pos.block]))
		return OUTCOME_NO_BLOCK;
	*out = slice_find(&s->refs, pos.slice);
	if (*out)
		return 0;
	host = block_host(s, pos.block);
	if (!host)
		return qcow2_corrupt(s, true);
	ret = take_slice(s, &slice);
	if (ret < 0)
		return ret;
	host += qcow2_slice_in_table(&s->geo, pos.slice);
	ret = co_edge_read(qcow2_file(s), host, s->geo.slice_size,
			   slice->entries);
	if (ret < 0) {
		slice_drop(&s->refs, slice);
		return ret;
	}
	slice->hole = qcow2_may_be_hole(s, slice->entries);
	slice_insert(&s->refs, slice, pos.slice, host);
	*out = slice;
	return 0;
}

int qcow2_refcount(struct qcow2 *s, uint64_t cluster, uint64_t *out)
{
	struct slice *slice;
	int ret = qcow2_ref_slice(s, cluster, &slice);

	*out = 0;
	if (ret == OUTCOME_NO_BLOCK || ret == OUTCOME_NO_ENTRY)
		return 0;
	if (ret < 0)
		return ret;
	*out = refcount_get(slice->entries, s->geo.refcount_order,
			    qcow2_ref_pos(&s->geo, cluster).index);
	return 0;
}

static void set_reftable(struct qcow2 *s, uint64_t block, uint64_t host)
{
	uint8_t *dirty = &s->reftable_dirty[block >> s->geo.slice_l2_bits];

	s->reftable[block] = be64_make(host);
	s->reftable_dirty_count += !*dirty;
	*dirty = 1;
}

int qcow2_ref_block_create(struct qcow2 *s, uint64_t cluster)
{
	struct qcow2_ref_pos pos = qcow2_ref_pos(&s->geo, cluster);
	uint64_t host = qcow2_host_offset(&s->geo, cluster);
	bool virgin = cluster >= s->virgin;
	struct slice *slice = NULL;
	int ret;

	if (meta_set_has(&s->meta, cluster))
		return qcow2_corrupt(s, true);
	ret = meta_set_reserve(&s->meta, 1);
	if (ret == 0)
		ret = qcow2_claim_chunk(s, s->reftable_offset, s->reftable,
					s->reftable_claimed, pos.block);
	if (ret == 0)
		ret = take_slice(s, &slice);
	if (ret < 0)
		return ret;
	/* before anything is there: a write that fails may leave some of it */
	s->virgin = max(s->virgin, cluster + 1);
	if (!virgin && s->geo.slices_per_table > 1)
		ret = qcow2_blank_cluster(s, cluster);
	memset(slice->entries, 0, s->geo.slice_size);
	slice->hole = true;
	slice->host = host + qcow2_slice_in_table(&s->geo, pos.slice);
	if (ret == 0)
		ret = qcow2_claim_slice(s, slice);
	if (ret < 0) {
		slice_drop(&s->refs, slice);
		return ret;
	}
	refcount_put(slice->entries, s->geo.refcount_order, pos.index, 1);
	slice_insert(&s->refs, slice, pos.slice, slice->host);
	slice_set_dirty(&s->refs, slice);
	set_reftable(s, pos.block, host);
	meta_set_add(&s->meta, cluster);
	return 0;
}

/* The layout of a new reftable: blocks from `first` on, then the table. */
struct growth {
	uint64_t first;		/* host cluster */
	uint64_t blocks;	/* new refcount blocks; the table follows */
	uint64_t first_block;	/* their entry in the reftable */
	uint64_t clusters;	/* of the table */
	uint64_t end;		/* host cluster after it all */
};

/* Blocks and table must be counted by the blocks; both only get larger. */
static int plan_growth(const struct qcow2 *s, struct growth *g)
{
	const struct qcow2_geometry *geo = &s->geo;
	uint64_t per_cluster = geo->cluster_size / 8;
	uint64_t entries = s->reftable_entries * 2;
	uint64_t covered = s->reftable_entries << geo->block_bits;

	g->first = max(covered, s->virgin);
	if (s->capacity != UINT64_MAX)
		g->first = covered;
	g->first_block = g->first >> geo->block_bits;
	g->blocks = 1;
	for (;;) {
		uint64_t blocks, last_block;

		g->clusters = div_up(entries, per_cluster);
		g->end = g->first + g->blocks + g->clusters;
		last_block = (g->end - 1) >> geo->block_bits;
		blocks = last_block - g->first_block + 1;
		if (g->clusters * geo->cluster_size >
		    QCOW2_REFTABLE_BYTES_MAX || g->end > s->capacity ||
		    g->end > QCOW2_OFFSET_LIMIT >> geo->cluster_bits)
			return -ENOSPC;
		if (blocks <= g->blocks && last_block < entries)
			return 0;
		g->blocks = max(blocks, g->blocks);
		entries = max(entries, last_block + 1);
	}
}

/* Writes the n-th new block: one for each cluster of the new area. */
static int write_new_block(struct qcow2 *s, const struct growth *g, uint64_t n,
			   uint8_t *block)
{
	uint64_t first = (g->first_block + n) << s->geo.block_bits;
	uint64_t end = first + (UINT64_C(1) << s->geo.block_bits);

	memset(block, 0, s->geo.cluster_size);
	for (uint64_t c = max(first, g->first); c < min(end, g->end); c++)
		refcount_put(block, s->geo.refcount_order, c - first, 1);
	return co_edge_write(qcow2_file(s),
			     qcow2_host_offset(&s->geo, g->first + n),
			     s->geo.cluster_size, block, 0);
}

static int write_growth(struct qcow2 *s, const struct growth *g)
{
	uint64_t at = qcow2_host_offset(&s->geo, g->first + g->blocks);
	uint64_t bytes = g->clusters << s->geo.cluster_bits;
	int ret = 0;

	for (uint64_t i = 0; i < g->blocks && ret == 0; i++)
		ret = write_new_block(s, g, i, s->table_buf);
	for (uint64_t done = 0; done < bytes && ret == 0;
	     done += s->geo.cluster_size)
		ret = co_edge_write(qcow2_file(s), at + done,
				    s->geo.cluster_size,
				    (const uint8_t *)s->reftable + done, 0);
	return ret;
}

/*
 * Everything is written before anything is named; the header follows in the
 * next flush (Q10). A second move has to wait for that: OUTCOME_FLUSH.
 */
int qcow2_reftable_grow(struct qcow2 *s)
{
	uint64_t old_entries = s->reftable_entries;
	struct growth g;
	int ret;

	if (s->reftable_offset != s->header.reftable_offset)
		return OUTCOME_FLUSH;
	ret = plan_growth(s, &g);
	if (ret == 0)
		ret = meta_set_reserve(&s->meta, g.end - g.first);
	if (ret < 0)
		return ret;
	for (uint64_t c = g.first; c < g.end; c++)
		if (meta_set_has(&s->meta, c))
			return qcow2_corrupt(s, true);
	for (uint64_t i = 0; i < g.blocks; i++)
		s->reftable[g.first_block + i] = be64_make(
			qcow2_host_offset(&s->geo, g.first + i));
	s->virgin = max(s->virgin, g.end);
	ret = write_growth(s, &g);
	if (ret < 0) {
		memset(&s->reftable[old_entries], 0,
		       (g.first_block + g.blocks - old_entries) * 8);
		return ret;
	}
	s->reftable_entries = g.clusters << (s->geo.cluster_bits - 3);
	s->reftable_offset = qcow2_host_offset(&s->geo, g.first + g.blocks);
	memset(s->reftable_claimed, 1, QCOW2_REFTABLE_BYTES_MAX >>
				       s->geo.slice_bits);
	meta_set_add_run(&s->meta, g.first, g.end - g.first);
	return 0;
}
