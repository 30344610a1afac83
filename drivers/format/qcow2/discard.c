/* SPDX-License-Identifier: MIT */
/*
 * discard.c - zeroes and discard: entries change, data is not written, except
 * around the whole clusters and where a version 2 image cannot say "zeroes".
 *
 * Coroutines of any thread. Entries change under s->lock, never in a busy run
 * (Q6); host clusters that are no longer named go to limbo (A28).
 */
#include <errno.h>

#include "drivers/format/qcow2/qcow2.h"

enum unlink {
	UNLINK_ZERO,		/* reads as zeroes; space may go */
	UNLINK_ZERO_KEEP,	/* reads as zeroes; space stays */
	UNLINK_DISCARD,		/* contents do not matter; space should go */
};

/*
 * Whether a cluster without an entry shows zeroes to whoever opens the image
 * next: not where there is a base now, nor where the header names one that
 * this opener left out (D7).
 */
static bool hole_is_zero(const struct qcow2 *s)
{
	return !s->node->backing && !s->header.backing_len;
}

/* What an entry becomes; the same where there is nothing to do. */
static uint64_t new_entry(const struct qcow2 *s, enum unlink how, uint64_t old)
{
	enum qcow2_kind kind = qcow2_entry_kind(&s->geo, s->v3, old);

	switch (kind) {
	case QCOW2_UNALLOCATED:
		return how == UNLINK_DISCARD || hole_is_zero(s) ? old
								: QCOW2_ZERO;
	case QCOW2_ZERO_PLAIN:
		return old;
	case QCOW2_ZERO_ALLOCATED:
		return how == UNLINK_ZERO_KEEP ? old : QCOW2_ZERO;
	case QCOW2_NORMAL:
		if (how == UNLINK_ZERO_KEEP)
			return old | QCOW2_ZERO;
		break;
	case QCOW2_PACKED:
		break;
	case QCOW2_BAD:
		return old;
	}
	/* on a hole that shows zeroes a discard leaves just that */
	if (hole_is_zero(s) && (how == UNLINK_DISCARD || !s->v3))
		return 0;
	return s->v3 ? QCOW2_ZERO : old;
}

static bool has_host(uint64_t entry)
{
	return entry & QCOW2_COMPRESSED || qcow2_entry_host(entry);
}

/* What cannot be unlinked: an entry that names metadata would free it, and
 * one that is wrong would not become zeroes. */
static bool is_corrupt(const struct qcow2 *s, uint64_t entry, enum unlink how)
{
	if (qcow2_entry_kind(&s->geo, s->v3, entry) == QCOW2_BAD)
		return how != UNLINK_DISCARD;
	return qcow2_entry_hits_metadata(s, entry);
}

/* Changes entries from index on, `n` at most; returns how many are done, or
 * a negative errno. */
static int64_t unlink_entries(struct qcow2 *s, struct slice *slice,
			      uint32_t index, uint64_t cluster, uint32_t n,
			      enum unlink how)
{
	uint32_t i;
	int ret;

	for (i = 0; i < n; i++) {
		uint64_t old = be64_get(slice->entries[index + i]);
		uint64_t new = new_entry(s, how, old);

		for (const struct busy *b = s->busy; b; b = b->next)
			if (b->first <= cluster + i && b->last >= cluster + i)
				return i;
		if (is_corrupt(s, old, how)) {
			if (i)
				return i;
			return qcow2_corrupt(s, true);
		}
		if (new == old)
			continue;
		/* at once: so nothing is half done when it fails */
		ret = qcow2_claim_slice(s, slice);
		if (ret < 0)
			return ret;
		if (has_host(old) && !has_host(new)) {
			if (!limbo_reserve(s, 1))
				return i;
			limbo_add_entry(s, old);
			limbo_unreserve(s, 1);
		}
		qcow2_set_entry(s, slice, index + i, new);
	}
	return i;
}

/* Of so many clusters from offset on those that one slice has. */
static uint32_t in_slice(const struct qcow2_geometry *g, uint64_t offset,
			 uint64_t clusters)
{
	return (uint32_t)min(clusters, (UINT64_C(1) << g->slice_l2_bits) -
				       qcow2_pos(g, offset).index);
}

/* Whole clusters from `offset` on. Returns how many, a negative errno or an
 * outcome. */
static int64_t unlink_run(struct qcow2 *s, uint64_t offset, uint64_t clusters,
			  enum unlink how)
{
	const struct qcow2_geometry *g = &s->geo;
	struct qcow2_pos pos = qcow2_pos(g, offset);
	uint64_t cluster = offset >> g->cluster_bits;
	bool create = how != UNLINK_DISCARD && !hole_is_zero(s);
	uint32_t n = in_slice(g, offset, clusters);
	struct slice *slice;
	int64_t done;
	int ret;

	if (qcow2_is_crowded(s))
		return OUTCOME_FLUSH;
	if (qcow2_wait_busy(s, cluster, cluster))
		return OUTCOME_AGAIN;
	/* a table that may be shared is copied before it is changed */
	if (be64_get(s->l1[pos.l1]))
		create = true;
	ret = qcow2_get_slice(s, offset, create, &slice);
	if (ret < 0)
		return ret;
	if (!slice)
		return n;
	done = unlink_entries(s, slice, pos.index, cluster, n, how);
	return done ? done : OUTCOME_LIMBO;
}

static int64_t unlink_clusters(struct qcow2 *s, uint64_t offset,
			       uint64_t clusters, enum unlink how)
{
	int64_t ret;

	co_lock(&s->lock);
	ret = unlink_run(s, offset, clusters, how);
	/* by the next flush it is over */
	limbo_poll(s);
	co_unlock(&s->lock);
	ret = qcow2_answer(s, ret);
	/* a table that would have to be copied: then it is not discarded */
	if (ret == -ENOSPC && how == UNLINK_DISCARD)
		ret = in_slice(&s->geo, offset, clusters);
	return ret;
}

/* Bytes of [offset, offset + len), offset at a cluster, that are whole
 * clusters; the disk's last one is whole when the rest of the disk is meant. */
static uint64_t whole_clusters(const struct qcow2 *s, uint64_t offset,
			       uint32_t len)
{
	if (offset + len >= s->node->size)
		return ((uint64_t)len + s->geo.cluster_size - 1) >>
		       s->geo.cluster_bits;
	return len >> s->geo.cluster_bits;
}

/* Zeroes by data: parts of clusters, and version 2. */
static int64_t zero_data(struct qcow2 *s, uint64_t offset, uint32_t len)
{
	struct qcow2_run run;

	qcow2_lookup(s, offset, len, &run);
	if (run.missing) {
		int ret = qcow2_load_slice(s, qcow2_pos(&s->geo,
							offset).slice);

		return ret < 0 ? ret : STEER_AGAIN;
	}
	if (run.kind == QCOW2_ZERO_PLAIN || run.kind == QCOW2_ZERO_ALLOCATED ||
	    (run.kind == QCOW2_UNALLOCATED && hole_is_zero(s)))
		return run.len;
	return qcow2_write_data(s, offset, run.len, NULL);
}

int64_t qcow2_zeroes(struct node *node, uint64_t offset, uint32_t len,
		     unsigned flags)
{
	struct qcow2 *s = node->state;
	uint32_t cluster = s->geo.cluster_size;
	uint32_t in_cluster = (uint32_t)(offset & (cluster - 1));
	bool keep = flags & REQ_NO_UNMAP;
	uint64_t clusters;
	int64_t ret = qcow2_begin_write(s);

	if (ret < 0)
		return ret;
	if (in_cluster)
		return zero_data(s, offset, min(len, cluster - in_cluster));
	clusters = whole_clusters(s, offset, len);
	/* version 2 has no entry for zeroes, only none at all */
	if (!clusters || (!s->v3 && (keep || !hole_is_zero(s))))
		return zero_data(s, offset, len);
	ret = unlink_clusters(s, offset, clusters,
			      keep ? UNLINK_ZERO_KEEP : UNLINK_ZERO);
	if (ret < 0)
		return ret;
	return min((int64_t)len, ret << s->geo.cluster_bits);
}

int64_t qcow2_discard(struct node *node, uint64_t offset, uint32_t len)
{
	struct qcow2 *s = node->state;
	uint32_t cluster = s->geo.cluster_size;
	uint32_t in_cluster = (uint32_t)(offset & (cluster - 1));
	uint64_t clusters;
	int64_t ret = qcow2_begin_write(s);

	if (ret < 0)
		return ret;
	if (in_cluster)
		return min(len, cluster - in_cluster);
	clusters = whole_clusters(s, offset, len);
	/* on a version 2 overlay the backing file would show through */
	if (!clusters || (!s->v3 && !hole_is_zero(s)))
		return len;
	ret = unlink_clusters(s, offset, clusters, UNLINK_DISCARD);
	if (ret < 0)
		return ret;
	return min((int64_t)len, ret << s->geo.cluster_bits);
}
