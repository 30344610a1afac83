/* SPDX-License-Identifier: MIT */
/*
 * alloc.c - host clusters taken and given back.
 *
 * A cluster is free when its refcount in memory is zero. A cluster that was
 * unlinked keeps its refcount until limbo releases it (A28), so this file does
 * not know about limbo, except that having no space is final only when there
 * is nothing in it.
 *
 * Under s->lock, coroutines of any thread.
 */
#include <errno.h>

#include "drivers/format/qcow2/qcow2.h"
#include "drivers/format/qcow2/refcount.h"

/* So far a run that is long enough is looked for. */
#define RUN_SLICES 4

int qcow2_corrupt(struct qcow2 *s, bool locked)
{
	if (!locked)
		co_lock(&s->lock);
	__atomic_store_n(&s->fast_writes, false, __ATOMIC_RELEASE);
	if (!s->node->read_only && !s->corrupt) {
		qcow2_set_incompatible(s, QCOW2_INCOMPAT_CORRUPT, true);
		/* best effort: this run writes no more in any case */
		if (s->v3 && qcow2_write_header(s) < 0)
			qcow2_set_incompatible(s, QCOW2_INCOMPAT_CORRUPT,
					       false);
	}
	__atomic_store_n(&s->corrupt, true, __ATOMIC_RELEASE);
	if (!locked)
		co_unlock(&s->lock);
	return -EIO;
}

/* The free clusters in `slice` from `cluster` on, up to `want`; skips what is
 * in use first. *cluster: the first free one, or the end of the slice. */
static uint64_t scan(const struct qcow2 *s, const struct slice *slice,
		     uint64_t *cluster, uint64_t want)
{
	unsigned order = s->geo.refcount_order;
	uint64_t base = align_down(*cluster,
				   UINT64_C(1) << s->geo.slice_ref_bits);
	uint64_t end = min(base + (UINT64_C(1) << s->geo.slice_ref_bits),
			   s->capacity);
	uint64_t c = *cluster, n = 0;

	while (c < end && refcount_get(slice->entries, order, c - base))
		c++;
	*cluster = c;
	/* a run is either virgin or not */
	if (c < s->virgin)
		end = min(end, s->virgin);
	while (n < want && c + n < end &&
	       !refcount_get(slice->entries, order, c + n - base))
		n++;
	return n;
}

static int take(struct qcow2 *s, struct slice *slice, uint64_t first,
		uint64_t count, struct qcow2_extent *out)
{
	uint64_t mask = (UINT64_C(1) << s->geo.slice_ref_bits) - 1;
	int ret;

	for (uint64_t c = first; c < first + count; c++)
		if (meta_set_has(&s->meta, c))
			return qcow2_corrupt(s, true);
	ret = qcow2_claim_slice(s, slice);
	if (ret < 0)
		return ret;
	for (uint64_t c = first; c < first + count; c++)
		refcount_put(slice->entries, s->geo.refcount_order, c & mask,
			     1);
	slice_set_dirty(&s->refs, slice);
	*out = (struct qcow2_extent){
		.first = first,
		.count = count,
		.virgin = first >= s->virgin,
	};
	if (first == s->hint)
		s->hint += count;
	s->virgin = max(s->virgin, first + count);
	return 0;
}

/* The device may be larger than it was when the image was opened. */
static bool has_grown(struct qcow2 *s)
{
	uint64_t bytes;

	if (s->capacity == UINT64_MAX ||
	    co_edge_storage_size(qcow2_file(s), &bytes) < 0 ||
	    bytes >> s->geo.cluster_bits <= s->capacity)
		return false;
	s->capacity = bytes >> s->geo.cluster_bits;
	/* as it is new to us it may hold anything */
	s->virgin = s->capacity;
	return true;
}

static uint64_t clusters_end(const struct qcow2 *s)
{
	return min(s->capacity, QCOW2_OFFSET_LIMIT >> s->geo.cluster_bits);
}

/*
 * The first run of `want` free clusters, or the longest of those that lie in
 * RUN_SLICES slices from the first free cluster on. What has no refcounts yet
 * gets them only where nothing is free before it.
 */
static int find_run(struct qcow2 *s, uint64_t want, uint64_t *first,
		    uint64_t *count)
{
	uint64_t c = s->hint, end = clusters_end(s), n;
	struct slice *slice;
	int ret;

	for (*count = 0; *count < want && c < end; c += n) {
		ret = qcow2_ref_slice(s, c, &slice);
		n = 0;
		if (ret < 0 && *count)
			return 0;
		if (ret == OUTCOME_NO_ENTRY)
			ret = qcow2_reftable_grow(s);
		else if (ret == OUTCOME_NO_BLOCK)
			ret = qcow2_ref_block_create(s, c);
		else if (ret == 0)
			n = scan(s, slice, &c, want);
		if (ret < 0)
			return ret;
		if (!*count)
			s->hint = c;
		else if (c - s->hint >= (uint64_t)RUN_SLICES <<
					s->geo.slice_ref_bits)
			return 0;
		if (n > *count) {
			*first = c;
			*count = n;
		}
	}
	return *count ? 0 : -ENOSPC;
}

int qcow2_alloc(struct qcow2 *s, uint64_t want, struct qcow2_extent *out)
{
	uint64_t first = 0, count;
	struct slice *slice = NULL;
	int ret;

	do {
		ret = find_run(s, want, &first, &count);
		if (ret == 0)
			ret = qcow2_ref_slice(s, first, &slice);
		if (ret == 0)
			ret = take(s, slice, first, count, out);
		if (ret != -ENOSPC)
			return ret;
		if (s->limbo.clusters)
			return OUTCOME_LIMBO;
	} while (has_grown(s));
	return ret;
}

static int free_one(struct qcow2 *s, uint64_t cluster)
{
	struct slice *slice;
	unsigned order = s->geo.refcount_order;
	uint32_t index = qcow2_ref_pos(&s->geo, cluster).index;
	uint64_t count;
	int ret;

	ret = qcow2_ref_slice(s, cluster, &slice);
	if (ret == OUTCOME_NO_BLOCK || ret == OUTCOME_NO_ENTRY)
		return qcow2_corrupt(s, true);
	if (ret == 0)
		ret = qcow2_claim_slice(s, slice);
	if (ret < 0)
		return ret;
	count = refcount_get(slice->entries, order, index);
	if (!count)
		return qcow2_corrupt(s, true);
	refcount_put(slice->entries, order, index, count - 1);
	slice_set_dirty(&s->refs, slice);
	if (count > 1)
		return 0;
	meta_set_remove(&s->meta, cluster);
	s->hint = min(s->hint, cluster);
	return 0;
}

int qcow2_free(struct qcow2 *s, uint64_t first, uint64_t count, uint64_t *done)
{
	int ret = 0;

	for (*done = 0; *done < count; ++*done) {
		ret = free_one(s, first + *done);
		if (ret < 0)
			break;
	}
	return ret;
}

/* No lock held. STEER_AGAIN, STEER_WAIT, or what is final. */
static int make_room(struct qcow2 *s, enum outcome why)
{
	uint64_t graced, clusters;
	int ret;

	co_lock(&s->lock);
	graced = s->limbo.graced;
	clusters = s->limbo.clusters;
	co_unlock(&s->lock);
	ret = qcow2_flush_all(s);
	if (ret < 0)
		return ret;
	if (why == OUTCOME_FLUSH)
		return STEER_AGAIN;
	ret = 0;
	co_lock(&s->flush_lock);
	co_lock(&s->lock);
	limbo_poll(s);
	limbo_release(s, true);
	if (s->limbo.graced == graced && s->limbo.clusters >= clusters)
		ret = wish_grace(s->node);
	co_unlock(&s->lock);
	co_unlock(&s->flush_lock);
	return ret == STEER_WAIT ? ret : STEER_AGAIN;
}

int64_t qcow2_answer(struct qcow2 *s, int64_t ret)
{
	if (ret == OUTCOME_FLUSH || ret == OUTCOME_LIMBO)
		ret = make_room(s, (enum outcome)ret);
	else if (ret == OUTCOME_AGAIN)
		ret = STEER_AGAIN;
	assert(ret >= -4095 || ret == STEER_AGAIN || ret == STEER_WAIT);
	return ret;
}
