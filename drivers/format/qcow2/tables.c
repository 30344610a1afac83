/* SPDX-License-Identifier: MIT */
/*
 * tables.c - L1 and L2: slices brought into memory, new tables.
 *
 * Coroutines of any thread, under s->lock unless said otherwise; it is given
 * up while a slice is loaded, and kept while a new table is blanked. What
 * always holds (Documentation/qcow2.md):
 *
 *  Q2  An L1 entry in memory names a table whose bytes in the file are
 *	entries, zeroes at first: a slice that is not cached can be loaded.
 *  Q3  A slice is loaded by one coroutine at a time and is hashed whole.
 */
#include <errno.h>

#include "drivers/format/qcow2/qcow2.h"

/*
 * A slice to load into. OUTCOME_FLUSH; OUTCOME_AGAIN: waited. Readers look into
 * a slice without lock and without waiting, so one that was taken from them is
 * free when all threads have passed by; an eighth of the cache at once, so that
 * seldom anybody waits for that.
 */
static int l2_take(struct qcow2 *s, struct slice **out)
{
	struct slice_cache *c = &s->l2;
	unsigned share = c->count / 8 + 1;
	uint64_t seq;

	*out = slice_take(c);
	if (*out)
		return 0;
	if (c->retired_count < share)
		slice_evict(c, share, ++s->retire_seq);
	if (c->retired_count) {
		seq = s->retire_seq;
		co_unlock(&s->lock);
		co_threads_pass();
		co_lock(&s->lock);
		slice_reap(c, seq);
		return OUTCOME_AGAIN;
	}
	if (c->dirty_count)
		return OUTCOME_FLUSH;
	co_queue_wait(&s->pins, &s->lock);
	return OUTCOME_AGAIN;
}

void qcow2_unpin(struct qcow2 *s, struct slice *slice)
{
	assert(slice->pins);
	if (!--slice->pins)
		co_queue_wake_all(&s->pins);
}

/* Where the L2 table of an L1 entry is; 0 when that is no place for one. */
static uint64_t table_host(const struct qcow2 *s, uint64_t l1_entry)
{
	uint64_t host = qcow2_entry_host(l1_entry);

	if (!is_aligned(host, s->geo.cluster_size) ||
	    qcow2_host_cluster(&s->geo, host) >= s->virgin)
		return 0;
	return host;
}

static struct busy *loading_find(struct qcow2 *s, uint64_t number)
{
	struct busy *b = s->loading;

	while (b && b->first != number)
		b = b->next;
	return b;
}

static void loading_end(struct qcow2 *s, struct busy *b)
{
	struct busy **at = &s->loading;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	co_queue_wake_all(&b->waiters);
}

/* OUTCOME_AGAIN: it, or something else, came in meanwhile. */
static int load(struct qcow2 *s, uint64_t number)
{
	const struct be64 *l1 = &s->l1[qcow2_slice_l1(&s->geo, number)];
	uint64_t entry = be64_get(*l1), host = table_host(s, entry);
	struct busy me = { .first = number, .next = s->loading };
	struct busy *other = loading_find(s, number);
	struct slice *slice;
	int ret;

	if (!host)
		return qcow2_corrupt(s, true);
	if (other) {
		co_queue_wait(&other->waiters, &s->lock);
		return OUTCOME_AGAIN;
	}
	ret = l2_take(s, &slice);
	if (ret < 0)
		return ret;
	co_queue_init(&me.waiters);
	s->loading = &me;
	host += qcow2_slice_in_table(&s->geo, number);
	co_unlock(&s->lock);
	ret = co_edge_read(qcow2_file(s), host, s->geo.slice_size,
			   slice->entries);
	co_lock(&s->lock);
	/* the table may have been copied to another place meanwhile */
	slice->hole = ret == 0 && qcow2_may_be_hole(s, slice->entries);
	slice->beyond = ret == 0 && qcow2_has_beyond(s, slice);
	if (ret == 0 && be64_get(*l1) == entry)
		slice_insert(&s->l2, slice, number, host);
	else
		slice_drop(&s->l2, slice);
	loading_end(s, &me);
	return ret < 0 ? ret : OUTCOME_AGAIN;
}

int qcow2_load_slice(struct qcow2 *s, uint64_t number)
{
	uint32_t l1 = qcow2_slice_l1(&s->geo, number);
	int ret = 0;

	co_lock(&s->lock);
	if (be64_get(s->l1[l1]) && !slice_find(&s->l2, number))
		ret = load(s, number);
	co_unlock(&s->lock);
	ret = (int)qcow2_answer(s, ret);
	return ret == STEER_AGAIN ? 0 : ret;
}

static void changed(struct qcow2 *s)
{
	/* before what changed is published: see map_write */
	__atomic_store_n(&s->gen, s->gen + 1, __ATOMIC_RELEASE);
	rt_step();
}

void qcow2_set_entry(struct qcow2 *s, struct slice *slice, uint32_t index,
		     uint64_t entry)
{
	changed(s);
	be64_publish(&slice->entries[index], entry);
	slice_set_dirty(&s->l2, slice);
}

static void set_l1(struct qcow2 *s, uint32_t l1, uint64_t host)
{
	uint8_t *dirty = &s->l1_dirty[l1 >> s->geo.slice_l2_bits];

	s->l1_dirty_count += !*dirty;
	*dirty = 1;
	s->l1_state[l1] = L1_NEW;
	s->l1_changes++;
	meta_set_add(&s->meta, qcow2_host_cluster(&s->geo, host));
	changed(s);
	be64_publish(&s->l1[l1], host | QCOW2_COPIED);
}

/* Gives back a cluster that nothing came to name. */
static void unalloc(struct qcow2 *s, const struct qcow2_extent *e)
{
	uint64_t done;

	if (qcow2_free(s, e->first, e->count, &done) < 0)
		qcow2_leak(s, e->count - done);
}

/* What may fail of set_l1. */
static int table_prepare(struct qcow2 *s, uint32_t l1)
{
	int ret = meta_set_reserve(&s->meta, 1);

	return ret < 0 ? ret : qcow2_claim_chunk(s, s->header.l1_offset, s->l1,
						 s->l1_claimed, l1);
}

/*
 * The first table of its range, all zeroes. The slice that is wanted comes
 * with it and is dirty, so that the file reaches the table when L1 names it.
 */
static int table_create(struct qcow2 *s, uint64_t number)
{
	struct qcow2_extent e;
	struct slice *slice = NULL;
	uint32_t l1 = qcow2_slice_l1(&s->geo, number);
	uint64_t host;
	int ret;

	ret = table_prepare(s, l1);
	if (ret == 0)
		ret = l2_take(s, &slice);
	if (ret < 0)
		return ret;
	ret = qcow2_alloc(s, 1, &e);
	if (ret < 0)
		goto drop;
	host = qcow2_host_offset(&s->geo, e.first);
	memset(slice->entries, 0, s->geo.slice_size);
	slice->hole = true;
	slice->beyond = false;
	slice->host = host + qcow2_slice_in_table(&s->geo, number);
	if (s->geo.slices_per_table > 1 && !e.virgin)
		ret = qcow2_blank_cluster(s, e.first);
	if (ret == 0)
		ret = qcow2_claim_slice(s, slice);
	if (ret < 0) {
		unalloc(s, &e);
		goto drop;
	}
	slice_insert(&s->l2, slice, number, slice->host);
	slice_set_dirty(&s->l2, slice);
	set_l1(s, l1, host);
	return 0;
drop:
	slice_drop(&s->l2, slice);
	return ret;
}

/* Copies all slices of a table to the cluster at `to`. */
static int table_copy_slices(struct qcow2 *s, uint64_t first, uint64_t from,
			     uint64_t to, struct slice *buf)
{
	uint32_t size = s->geo.slice_size;
	int ret = 0;

	for (uint32_t i = 0; i < s->geo.slices_per_table && ret == 0; i++) {
		struct slice *have = slice_find(&s->l2, first + i);
		uint64_t at = (uint64_t)i * size;

		if (!have)
			ret = co_edge_read(qcow2_file(s), from + at, size,
					   buf->entries);
		if (ret == 0)
			ret = co_edge_write(qcow2_file(s), to + at, size,
					    have ? have->entries
						 : buf->entries, 0);
	}
	return ret;
}

/*
 * A table that may be shared (not COPIED) is never changed: its range gets a
 * copy. The old one is given up only when the copy is complete and named.
 */
static int table_copy(struct qcow2 *s, uint64_t number)
{
	uint32_t l1 = qcow2_slice_l1(&s->geo, number);
	uint64_t from = table_host(s, be64_get(s->l1[l1])), to;
	uint64_t first = align_down(number, s->geo.slices_per_table);
	struct qcow2_extent e;
	struct slice *buf = NULL;
	int ret;

	if (!from)
		return qcow2_corrupt(s, true);
	ret = table_prepare(s, l1);
	if (ret == 0)
		ret = l2_take(s, &buf);
	if (ret < 0)
		return ret;
	if (!limbo_reserve(s, 1)) {
		slice_drop(&s->l2, buf);
		return OUTCOME_LIMBO;
	}
	ret = qcow2_alloc(s, 1, &e);
	if (ret < 0)
		goto out;
	to = qcow2_host_offset(&s->geo, e.first);
	ret = table_copy_slices(s, first, from, to, buf);
	if (ret < 0) {
		unalloc(s, &e);
		goto out;
	}
	for (uint32_t i = 0; i < s->geo.slices_per_table; i++) {
		struct slice *have = slice_find(&s->l2, first + i);

		if (!have)
			continue;
		have->host = to + (uint64_t)i * s->geo.slice_size;
		have->hole = false;
	}
	set_l1(s, l1, to);
	limbo_add(s, qcow2_host_cluster(&s->geo, from), 1);
out:
	limbo_unreserve(s, 1);
	slice_drop(&s->l2, buf);
	return ret;
}

int qcow2_get_slice(struct qcow2 *s, uint64_t offset, bool create,
		    struct slice **out)
{
	struct qcow2_pos pos = qcow2_pos(&s->geo, offset);
	uint64_t l1 = be64_get(s->l1[pos.l1]);
	int ret = 0;

	*out = NULL;
	if (!l1 && create)
		ret = table_create(s, pos.slice);
	else if (create && !(l1 & QCOW2_COPIED))
		ret = table_copy(s, pos.slice);
	if (ret < 0)
		return ret;
	if (!be64_get(s->l1[pos.l1]))
		return 0;
	*out = slice_find(&s->l2, pos.slice);
	return *out ? 0 : load(s, pos.slice);
}
