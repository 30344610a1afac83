/* SPDX-License-Identifier: MIT */
/*
 * flush.c - metadata to disk in an order that every cut survives (A24).
 *
 * Coroutines of any thread; one flush at a time (flush_lock), and who waited
 * for one that covers him needs none of his own. A flush takes copies of all
 * that is dirty under s->lock and writes copies only, never what others may
 * be changing (Q8):
 *
 *	phase 1	refcounts; slices of tables that nothing on disk names yet;
 *		the dirty bit
 *		-- file flush: with it the data that entries will name --
 *		reftable entries		-- file flush, if any --
 *		header with a moved reftable	-- file flush, if it moved --
 *	phase 2	slices of tables in use, L1 entries
 *		-- file flush --
 *
 * Only then the unlinks before the snapshot are durable (Q11). A failed flush
 * leaves everything dirty; what it wrote is written again.
 */
#include <errno.h>
#include <sys/mman.h>

#include "drivers/format/qcow2/qcow2.h"
#include "graph/upkeep.h"

/* Bytes of one write when neighbours go together. */
#define WRITE_MAX (1u << 20)
/* Dirty slices at which a writer flushes itself. */
#define DIRTY_MAX 1024u

/* A part of the area's snapshots, to be written side by side. */
struct batch {
	uint32_t first, count;
};

struct flush {
	bool all;		/* refcounts too, though they could wait */
	bool refs;		/* they are in this flush */
	uint64_t gen, seq;
	uint64_t reftable_offset;
	uint64_t reftable_entries;
	bool moved;		/* the header names another reftable */
	bool mark_dirty;
	bool named;		/* phase 2 began: L1 may be on disk, or not */
	struct batch early, reftable, late;
};

int flush_area_init(struct qcow2 *s)
{
	struct flush_area *a = &s->area;
	void *mem;

	a->copies_max = (size_t)s->l2.count * s->geo.slice_size +
			(size_t)s->refs.count * s->geo.slice_size +
			QCOW2_L1_BYTES_MAX + QCOW2_REFTABLE_BYTES_MAX;
	a->copies_max = align_up(a->copies_max, 4096);
	a->snap_max = (uint32_t)(a->copies_max >> s->geo.slice_bits);
	a->mapped = a->copies_max + a->snap_max * sizeof(struct snap);
	mem = mmap(NULL, a->mapped, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	a->copies = mem;
	a->snaps = (struct snap *)(a->copies + a->copies_max);
	return 0;
}

void flush_area_destroy(struct qcow2 *s)
{
	if (s->area.copies)
		munmap(s->area.copies, s->area.mapped);
	s->area.copies = NULL;
}

bool qcow2_is_crowded(const struct qcow2 *s)
{
	return s->l2.dirty_count >= min(s->l2.count / 2, DIRTY_MAX) ||
	       s->refs.dirty_count >= min(s->refs.count / 2, DIRTY_MAX);
}

int qcow2_write_header(struct qcow2 *s)
{
	qcow2_header_store(&s->header, s->sector);
	return co_edge_write(qcow2_file(s), 0, QCOW2_HEADER_BYTES, s->sector,
			     0);
}

/* --- taking the snapshot, under s->lock --- */

static void snap_add(struct qcow2 *s, struct batch *b, uint64_t host,
		     void *from, struct slice *slice, uint32_t chunk)
{
	struct flush_area *a = &s->area;

	assert(a->snap_count < a->snap_max);
	a->snaps[a->snap_count++] = (struct snap){
		.host = host,
		.slice = slice,
		.from = from,
		.len = s->geo.slice_size,
		.chunk = chunk,
	};
	b->count++;
}

static void sift_down(struct snap *v, uint32_t at, uint32_t n)
{
	for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
		struct snap swap = v[at];

		if (child + 1 < n && v[child].host < v[child + 1].host)
			child++;
		if (v[child].host <= swap.host)
			return;
		v[at] = v[child];
		v[child] = swap;
	}
}

/* By place in the file. A heap: no memory, no bad case (qsort has both). */
static void sort(struct snap *v, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sift_down(v, i, n);
	for (uint32_t i = n; i-- > 1;) {
		struct snap swap = v[0];

		v[0] = v[i];
		v[i] = swap;
		sift_down(v, 0, i);
	}
}

/* Sorts the batch and copies its payloads in that order. */
static void batch_copy(struct qcow2 *s, const struct batch *b)
{
	struct flush_area *a = &s->area;
	struct snap *v = &a->snaps[b->first];

	sort(v, b->count);
	for (uint32_t i = 0; i < b->count; i++) {
		assert(a->copied + v[i].len <= a->copies_max);
		memcpy(a->copies + a->copied, v[i].from, v[i].len);
		v[i].from = a->copies + a->copied;
		a->copied += v[i].len;
	}
}

static void batch_begin(const struct qcow2 *s, struct batch *b)
{
	b->first = s->area.snap_count;
	b->count = 0;
}

static void snap_slices(struct qcow2 *s, struct batch *b, struct slice *list)
{
	for (struct slice *slice = list; slice; slice = slice->next)
		snap_add(s, b, slice->host, slice->entries, slice, 0);
}

/* Slices by whether the L1 table on disk names their table: those of one kind
 * stay in the list for the other batch. */
static struct slice *snap_unlinked(struct qcow2 *s, struct batch *b,
				   struct slice *list)
{
	struct slice *rest = NULL;

	while (list) {
		struct slice *slice = list;
		uint32_t l1 = qcow2_slice_l1(&s->geo, slice->number);

		list = slice->next;
		if (s->l1_state[l1] != L1_LINKED) {
			snap_add(s, b, slice->host, slice->entries, slice, 0);
		} else {
			slice->next = rest;
			rest = slice;
		}
	}
	return rest;
}

static void chunk_state(struct qcow2 *s, uint32_t chunk, enum l1_state from,
			enum l1_state to)
{
	uint32_t n = 1u << s->geo.slice_l2_bits;
	uint32_t first = chunk * n;
	uint32_t end = min(first + n, s->header.l1_entries);

	for (uint32_t i = first; i < end; i++)
		if (s->l1_state[i] == from)
			s->l1_state[i] = (uint8_t)to;
}

static void snap_l1(struct qcow2 *s, struct batch *b)
{
	uint8_t *l1 = (uint8_t *)s->l1;

	for (uint32_t i = 0; s->l1_dirty_count; i++) {
		uint64_t at = (uint64_t)i << s->geo.slice_bits;

		if (!s->l1_dirty[i])
			continue;
		s->l1_dirty[i] = 0;
		s->l1_dirty_count--;
		chunk_state(s, i, L1_NEW, L1_FLUSHING);
		snap_add(s, b, s->header.l1_offset + at, l1 + at, NULL, i);
	}
}

static void snap_reftable(struct qcow2 *s, struct batch *b)
{
	uint8_t *table = (uint8_t *)s->reftable;

	for (uint32_t i = 0; s->reftable_dirty_count; i++) {
		uint64_t at = (uint64_t)i << s->geo.slice_bits;

		if (!s->reftable_dirty[i])
			continue;
		s->reftable_dirty[i] = 0;
		s->reftable_dirty_count--;
		snap_add(s, b, s->reftable_offset + at, table + at, NULL, i);
	}
}

/* Whether refcounts may stay behind: the dirty bit stands in for them. */
static bool may_skip_refs(const struct qcow2 *s, const struct flush *f)
{
	return s->lazy && !f->all && !qcow2_is_crowded(s);
}

static void snapshot(struct qcow2 *s, struct flush *f)
{
	struct slice *linked;

	s->area.snap_count = 0;
	s->area.copied = 0;
	f->gen = s->gen;
	f->seq = s->limbo.seq;
	f->refs = !may_skip_refs(s, f);
	batch_begin(s, &f->early);
	linked = snap_unlinked(s, &f->early, slice_take_dirty(&s->l2));
	if (f->refs)
		snap_slices(s, &f->early, slice_take_dirty(&s->refs));
	batch_copy(s, &f->early);
	batch_begin(s, &f->reftable);
	if (f->refs) {
		snap_reftable(s, &f->reftable);
		f->reftable_offset = s->reftable_offset;
		f->reftable_entries = s->reftable_entries;
		f->moved = s->reftable_offset != s->header.reftable_offset;
	}
	batch_copy(s, &f->reftable);
	batch_begin(s, &f->late);
	snap_slices(s, &f->late, linked);
	snap_l1(s, &f->late);
	batch_copy(s, &f->late);
	f->mark_dirty = s->lazy && !f->refs && f->late.count + f->early.count &&
			!(s->header.incompatible & QCOW2_INCOMPAT_DIRTY);
}

/* --- writing it, without s->lock --- */

/* Writes of one batch in flight at once. */
#define WRITERS 8u

struct batch_job {
	struct qcow2 *s;
	const struct snap *v;
	uint32_t next, count;	/* snapshots nobody has taken yet, all */
	int ret;
	struct errand *errand;	/* whose flush it is */
	struct co_group helpers;
};

/* Takes and writes one piece after the other. Neighbours in the file are
 * neighbours in the copies, and go together. */
static void batch_work(struct batch_job *job)
{
	while (job->next < job->count && job->ret == 0) {
		const struct snap *first = &job->v[job->next++];
		uint32_t bytes = first->len;
		int ret;

		while (job->next < job->count && bytes < WRITE_MAX &&
		       job->v[job->next].host == first->host + bytes)
			bytes += job->v[job->next++].len;
		ret = co_edge_write(qcow2_file(job->s), first->host, bytes,
				    first->from, 0);
		if (ret < 0)
			job->ret = ret;
	}
}

static void batch_help(void *arg)
{
	struct batch_job *job = arg;
	struct errand errand;

	errand_help(&errand, job->errand);
	batch_work(job);
	errand_end(&errand);
	co_group_done(&job->helpers);
}

/* Order within a batch does not matter: several pieces are in flight, written
 * by coroutines of this thread as far as it has stacks. */
static int batch_write(struct qcow2 *s, const struct batch *b)
{
	struct batch_job job = {
		.s = s,
		.v = &s->area.snaps[b->first],
		.count = b->count,
		.errand = errand_self(),
	};

	co_group_init(&job.helpers);
	for (unsigned i = 1; i < WRITERS && job.next + 1 < job.count; i++) {
		co_group_add(&job.helpers);
		if (!co_spawn(batch_help, &job)) {
			co_group_done(&job.helpers);
			break;
		}
	}
	batch_work(&job);
	co_group_wait(&job.helpers);
	return job.ret;
}

static int mark_dirty(struct qcow2 *s)
{
	int ret;

	co_lock(&s->lock);
	qcow2_set_incompatible(s, QCOW2_INCOMPAT_DIRTY, true);
	ret = qcow2_write_header(s);
	if (ret < 0)
		qcow2_set_incompatible(s, QCOW2_INCOMPAT_DIRTY, false);
	co_unlock(&s->lock);
	return ret;
}

/* Sector 0 names the new reftable; the old one is unlinked by that. */
static int switch_reftable(struct qcow2 *s, const struct flush *f)
{
	uint64_t old = qcow2_host_cluster(&s->geo, s->header.reftable_offset);
	uint32_t count = s->header.reftable_clusters, n;
	uint64_t was = s->header.reftable_offset;
	int ret;

	co_lock(&s->lock);
	s->header.reftable_offset = f->reftable_offset;
	n = (uint32_t)(f->reftable_entries >> s->geo.l2_bits);
	s->header.reftable_clusters = n;
	ret = qcow2_write_header(s);
	co_unlock(&s->lock);
	if (ret == 0)
		ret = co_edge_flush(qcow2_file(s));
	co_lock(&s->lock);
	if (ret < 0) {
		/* either may be on disk, and both are complete */
		s->header.reftable_offset = was;
		s->header.reftable_clusters = count;
	} else if (limbo_reserve(s, 1)) {
		limbo_add(s, old, count);
		limbo_unreserve(s, 1);
	} else {
		qcow2_leak(s, count);
	}
	co_unlock(&s->lock);
	return ret;
}

int qcow2_settle_header(struct qcow2 *s)
{
	int ret;

	co_lock(&s->lock);
	ret = qcow2_write_header(s);
	co_unlock(&s->lock);
	if (ret == 0)
		ret = co_edge_flush(qcow2_file(s));
	if (ret == 0)
		__atomic_store_n(&s->header_unsure, false, __ATOMIC_RELAXED);
	return ret;
}

static int write_phases(struct qcow2 *s, struct flush *f)
{
	struct edge *file = qcow2_file(s);
	int ret = 0;

	if (s->header_unsure)
		ret = qcow2_settle_header(s);
	if (ret == 0 && f->mark_dirty)
		ret = mark_dirty(s);
	if (ret == 0)
		ret = batch_write(s, &f->early);
	if (ret == 0)
		ret = co_edge_flush(file);
	if (ret == 0 && f->reftable.count) {
		ret = batch_write(s, &f->reftable);
		if (ret == 0)
			ret = co_edge_flush(file);
	}
	if (ret == 0 && f->moved)
		ret = switch_reftable(s, f);
	if (ret == 0 && f->late.count) {
		f->named = true;
		ret = batch_write(s, &f->late);
		if (ret == 0)
			ret = co_edge_flush(file);
	}
	return ret;
}

/* --- its end, under s->lock --- */

static void end_slices(struct qcow2 *s, struct slice_cache *c,
		       const struct batch *b, bool ok)
{
	for (uint32_t i = 0; i < b->count; i++) {
		struct slice *slice = s->area.snaps[b->first + i].slice;

		if (!slice || slice < c->slices ||
		    slice >= c->slices + c->count)
			continue;
		slice->flushing = false;
		if (!ok)
			slice_set_dirty(c, slice);
	}
}

static void chunk_again(uint8_t *dirty, unsigned *count)
{
	*count += !*dirty;
	*dirty = 1;
}

static void end_chunks(struct qcow2 *s, const struct flush *f, bool ok)
{
	const struct snap *v = s->area.snaps;

	for (uint32_t i = 0; i < f->reftable.count && !ok; i++)
		chunk_again(&s->reftable_dirty[v[f->reftable.first + i].chunk],
			    &s->reftable_dirty_count);
	for (uint32_t i = 0; i < f->late.count; i++) {
		const struct snap *snap = &v[f->late.first + i];

		if (snap->slice)
			continue;
		/* Once it may be on disk that L1 names a table, the table's
		 * slices may not be written in phase 1 any more. */
		chunk_state(s, snap->chunk, L1_FLUSHING,
			    f->named ? L1_LINKED : L1_NEW);
		if (!ok)
			chunk_again(&s->l1_dirty[snap->chunk],
				    &s->l1_dirty_count);
	}
}

static void flush_finish(struct qcow2 *s, const struct flush *f, bool ok)
{
	end_slices(s, &s->l2, &f->early, ok);
	end_slices(s, &s->refs, &f->early, ok);
	end_slices(s, &s->l2, &f->late, ok);
	end_chunks(s, f, ok);
	if (ok) {
		s->limbo.durable = max(s->limbo.durable, f->seq);
		__atomic_store_n(&s->durable_gen, f->gen, __ATOMIC_RELEASE);
	}
	limbo_poll(s);
	/* slices can be evicted again */
	co_queue_wake_all(&s->pins);
}

static bool is_clean(const struct qcow2 *s, bool all)
{
	if (qcow2_is_undurable(s) || s->header_unsure)
		return false;
	return !all || (!s->refs.dirty_count && !s->reftable_dirty_count &&
			!s->l2.dirty_count && !s->l1_dirty_count &&
			s->reftable_offset == s->header.reftable_offset);
}

static int flush_locked(struct qcow2 *s, bool all)
{
	struct flush f = { .all = all };
	int ret = 0;

	co_lock(&s->lock);
	limbo_poll(s);
	limbo_release(s, false);
	if (is_clean(s, all)) {
		s->limbo.durable = s->limbo.seq;
	} else {
		snapshot(s, &f);
		co_unlock(&s->lock);
		ret = write_phases(s, &f);
		co_lock(&s->lock);
		flush_finish(s, &f, ret == 0);
	}
	/* not with the next flush: there may be none for long */
	limbo_release(s, false);
	if (s->limbo.first)
		node_wants_flush(s->node);
	co_unlock(&s->lock);
	assert(ret >= -4095);	/* Q18 */
	return ret;
}

int qcow2_flush_held(struct qcow2 *s)
{
	return flush_locked(s, true);
}

int qcow2_flush_all(struct qcow2 *s)
{
	int ret;

	co_lock(&s->flush_lock);
	ret = qcow2_flush_held(s);
	co_unlock(&s->flush_lock);
	return ret;
}

static bool anything_in_limbo(struct qcow2 *s)
{
	bool any;

	co_lock(&s->lock);
	any = s->limbo.first;
	co_unlock(&s->lock);
	return any;
}

int qcow2_flush(struct node *node)
{
	struct qcow2 *s = node->state;
	uint64_t want = __atomic_load_n(&s->gen, __ATOMIC_ACQUIRE);
	bool durable = __atomic_load_n(&s->durable_gen,
				       __ATOMIC_ACQUIRE) >= want &&
		       !__atomic_load_n(&s->header_unsure, __ATOMIC_RELAXED);
	int ret = 0;

	/* a disk that is trimmed and then left alone gives space back too */
	if (durable && !anything_in_limbo(s))
		return 0;
	co_lock(&s->flush_lock);
	if (durable || s->header_unsure ||
	    __atomic_load_n(&s->durable_gen, __ATOMIC_ACQUIRE) < want)
		ret = flush_locked(s, false);
	co_unlock(&s->flush_lock);
	return ret;
}
