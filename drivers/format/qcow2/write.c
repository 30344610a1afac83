/* SPDX-License-Identifier: MIT */
/*
 * write.c - writes that the fast path could not do: allocation, copy on write.
 *
 * Coroutines of any thread. Under s->lock a write takes host clusters for a
 * run of guest clusters and enters the run as busy; without the lock it fills
 * the host clusters whole: its own data, and around it what the guest
 * clusters show so far; under the lock it publishes the entries. What always
 * holds:
 *
 *  Q6  Entries of a busy run are changed by its owner only; others wait.
 *  Q7  An entry is published when all of its cluster is written. Until then,
 *	and when that failed, nothing names the new cluster.
 */
#include <errno.h>

#include "drivers/format/qcow2/qcow2.h"

/* Up to here data and copied parts are put together for one write. */
#define MERGE_MAX (256u * 1024)
/* Larger pieces of zeroes are not written from memory. */
#define ZEROES_MIN 65536u

/* What a run of guest clusters needs. */
enum plan {
	PLAN_IN_PLACE,		/* write to the host cluster */
	PLAN_REUSE,		/* the same, but its old bytes do not count */
	PLAN_FRESH,		/* new host clusters */
	PLAN_BAD,
};

/* Of plan(), for a fetch: the first cluster is the image's own. */
#define PLAN_NOTHING 1

struct write {
	struct qcow2 *s;
	struct slice *slice;	/* pinned while busy */
	uint32_t index;		/* first entry in it */
	uint32_t count;		/* clusters */
	enum plan plan;
	struct qcow2_extent fresh;
	unsigned reserved;	/* runs in limbo */
	struct busy busy;
	uint64_t start;		/* guest byte where the run starts */
	uint64_t host;		/* byte of the file where it goes */
	uint64_t offset;	/* of the data, in the run */
	uint32_t len;
	const uint8_t *buf;	/* NULL: zeroes */
	bool fetch;		/* the data is what the image shows */
	bool zero;		/* it is zeroes, which an entry says */
};

/* --- busy runs --- */

static struct busy *busy_find(const struct qcow2 *s, uint64_t first,
			      uint64_t last)
{
	struct busy *b = s->busy;

	while (b && (b->last < first || b->first > last))
		b = b->next;
	return b;
}

bool qcow2_wait_busy(struct qcow2 *s, uint64_t first, uint64_t last)
{
	struct busy *b = busy_find(s, first, last);

	if (b)
		co_queue_wait(&b->waiters, &s->lock);
	return b;
}

static void busy_begin(struct qcow2 *s, struct busy *b, uint64_t first,
		       uint64_t count)
{
	b->first = first;
	b->last = first + count - 1;
	co_queue_init(&b->waiters);
	b->next = s->busy;
	s->busy = b;
}

static void busy_end(struct qcow2 *s, struct busy *b)
{
	struct busy **at = &s->busy;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	co_queue_wake_all(&b->waiters);
}

/* --- deciding, under s->lock --- */

static enum plan plan_of(const struct qcow2 *s, uint64_t entry)
{
	bool copied = entry & QCOW2_COPIED;

	switch (qcow2_entry_kind(&s->geo, s->v3, entry)) {
	case QCOW2_NORMAL:
		/* lost: not to be found again as zeroes (Q16) */
		if (qcow2_entry_host(entry) >= s->end)
			break;
		return copied ? PLAN_IN_PLACE : PLAN_FRESH;
	case QCOW2_ZERO_ALLOCATED:
		return copied ? PLAN_REUSE : PLAN_FRESH;
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
	case QCOW2_PACKED:
		return PLAN_FRESH;
	case QCOW2_BAD:
		break;
	}
	return PLAN_BAD;
}

static uint64_t entry_at(const struct write *w, uint32_t i)
{
	return be64_get(w->slice->entries[w->index + i]);
}

static bool is_images_own(const struct write *w, uint64_t entry)
{
	return qcow2_entry_kind(&w->s->geo, w->s->v3, entry) !=
	       QCOW2_UNALLOCATED;
}

/* How many clusters, of at most `most`, one plan holds for. */
static uint32_t plan_run(const struct write *w, uint32_t most)
{
	const struct qcow2 *s = w->s;
	uint64_t first = w->start >> s->geo.cluster_bits;
	uint32_t n = 1;

	for (; n < most; n++) {
		uint64_t entry = entry_at(w, n);
		uint64_t host = w->host + ((uint64_t)n << s->geo.cluster_bits);

		if (plan_of(s, entry) != w->plan ||
		    (w->plan != PLAN_FRESH &&
		     qcow2_entry_host(entry) != host) ||
		    (w->fetch && is_images_own(w, entry)) ||
		    busy_find(s, first + n, first + n))
			break;
	}
	return n;
}

/* Clusters that the new ones replace, or -EIO: replaced metadata would be
 * freed. */
static int count_replaced(const struct write *w)
{
	int n = 0;

	for (uint32_t i = 0; i < w->count; i++) {
		uint64_t entry = entry_at(w, i);

		if (qcow2_entry_hits_metadata(w->s, entry))
			return qcow2_corrupt(w->s, true);
		n += entry & QCOW2_COMPRESSED || qcow2_entry_host(entry);
	}
	return n;
}

static int take_fresh(struct write *w)
{
	struct qcow2 *s = w->s;
	int ret = count_replaced(w);

	if (ret < 0)
		return ret;
	w->reserved = (unsigned)ret;
	if (!limbo_reserve(s, w->reserved)) {
		w->reserved = 0;
		return OUTCOME_LIMBO;
	}
	ret = qcow2_alloc(s, w->count, &w->fresh);
	if (ret < 0) {
		limbo_unreserve(s, w->reserved);
		return ret;
	}
	w->count = (uint32_t)w->fresh.count;
	w->host = qcow2_host_offset(&s->geo, w->fresh.first);
	return 0;
}

static int check_overlap(const struct write *w)
{
	uint64_t c = qcow2_host_cluster(&w->s->geo, w->host);

	for (uint64_t i = 0; i < w->count; i++)
		if (meta_set_has(&w->s->meta, c + i))
			return qcow2_corrupt(w->s, true);
	return 0;
}

/* Decides what the write does with a prefix of its range; takes what it needs.
 * Unless it fails or goes in place the run is busy and the slice pinned. */
static int plan(struct write *w)
{
	struct qcow2 *s = w->s;
	const struct qcow2_geometry *g = &s->geo;
	struct qcow2_pos pos = qcow2_pos(g, w->offset);
	uint64_t cluster = w->offset >> g->cluster_bits, most;
	bool crowded = qcow2_is_crowded(s);
	int ret;

	if (qcow2_wait_busy(s, cluster, cluster))
		return OUTCOME_AGAIN;
	ret = qcow2_get_slice(s, w->offset, !crowded, &w->slice);
	if (ret < 0)
		return ret;
	if (!w->slice)
		return OUTCOME_FLUSH;
	w->index = pos.index;
	w->start = w->offset - pos.in_cluster;
	if (w->fetch && is_images_own(w, entry_at(w, 0)))
		return PLAN_NOTHING;
	w->plan = plan_of(s, entry_at(w, 0));
	if (w->plan == PLAN_BAD)
		return qcow2_corrupt(s, true);
	/* what changes no metadata needs no flush, which may find no space */
	if (crowded && w->plan != PLAN_IN_PLACE)
		return OUTCOME_FLUSH;
	w->host = qcow2_entry_host(entry_at(w, 0));
	most = ((uint64_t)pos.in_cluster + w->len + g->cluster_size - 1) >>
	       g->cluster_bits;
	most = min(most, (1u << g->slice_l2_bits) - (uint64_t)pos.index);
	w->count = plan_run(w, (uint32_t)most);
	ret = w->plan == PLAN_IN_PLACE ? 0 : qcow2_claim_slice(s, w->slice);
	if (ret == 0)
		ret = w->plan == PLAN_FRESH ? take_fresh(w) : check_overlap(w);
	if (ret < 0)
		return ret;
	w->len = (uint32_t)min((uint64_t)w->len,
			       ((uint64_t)w->count << g->cluster_bits) -
			       pos.in_cluster);
	if (w->plan == PLAN_IN_PLACE)
		return 0;
	busy_begin(s, &w->busy, cluster, w->count);
	w->slice->pins++;
	return 0;
}

/* --- filling the clusters, without the lock --- */

/* Part of the first or last cluster that the data leaves open. */
struct edge_part {
	uint64_t at;		/* guest byte */
	uint32_t len;
	uint64_t entry;		/* of its cluster, old */
	enum qcow2_kind kind;
	bool zero;		/* it shows zeroes */
	bool needed;		/* it has to be written */
};

static struct edge_part part_make(const struct write *w, uint64_t at,
				  uint64_t end)
{
	const struct qcow2 *s = w->s;
	const struct edge *backing = s->node->backing;
	struct edge_part p = { .at = at, .len = (uint32_t)(end - at) };
	uint32_t i = (uint32_t)((at - w->start) >> s->geo.cluster_bits);

	if (!p.len)
		return p;
	p.entry = entry_at(w, i);
	p.kind = qcow2_entry_kind(&s->geo, s->v3, p.entry);
	p.zero = p.kind == QCOW2_ZERO_PLAIN || p.kind == QCOW2_ZERO_ALLOCATED ||
		 (p.kind == QCOW2_UNALLOCATED &&
		  (!backing || at >= backing->child->size));
	p.needed = !(p.zero && w->plan == PLAN_FRESH && w->fresh.virgin);
	return p;
}

/* Memory to unpack a compressed cluster for this part. */
static uint32_t part_work(const struct qcow2 *s, const struct edge_part *p)
{
	return p->needed && p->kind == QCOW2_PACKED ?
	       s->geo.cluster_size + qcow2_unpack_bytes(&s->geo) : 0;
}

/* Where that memory starts behind `len` bytes of payload: aligned. */
static uint32_t work_at(uint32_t len)
{
	return (uint32_t)align_up(len, 64);
}

/* What the guest sees in the part so far. */
static int part_read(struct qcow2 *s, const struct edge_part *p, uint8_t *to,
		     uint8_t *work)
{
	uint32_t cluster = s->geo.cluster_size;
	uint32_t in_cluster = (uint32_t)(p->at & (cluster - 1));
	int ret;

	if (p->zero) {
		memset(to, 0, p->len);
		return 0;
	}
	switch (p->kind) {
	case QCOW2_UNALLOCATED:
		return qcow2_read_backing(s, p->at, p->len, to);
	case QCOW2_NORMAL:
		return co_edge_read(qcow2_file(s), in_cluster +
				    qcow2_entry_host(p->entry), p->len, to);
	case QCOW2_PACKED:
		ret = qcow2_unpack(s, p->entry, work, work + cluster);
		if (ret == 0)
			memcpy(to, work + in_cluster, p->len);
		return ret;
	case QCOW2_ZERO_PLAIN:
	case QCOW2_ZERO_ALLOCATED:
	case QCOW2_BAD:
		break;
	}
	return -EIO;
}

static int part_copy(struct write *w, const struct edge_part *p)
{
	struct qcow2 *s = w->s;
	uint64_t to = w->host + (p->at - w->start);
	uint32_t work = work_at(p->len);
	struct bounce b;
	int ret;

	if (!p->needed || !p->len)
		return 0;
	if (p->zero && p->len >= ZEROES_MIN)
		return co_edge_zeroes(qcow2_file(s), to, p->len,
				      REQ_NO_UNMAP);
	qcow2_bounce_get(s, work + part_work(s, p), &b);
	ret = part_read(s, p, b.mem, b.mem + work);
	if (ret == 0)
		ret = co_edge_write(qcow2_file(s), to, p->len, b.mem, 0);
	qcow2_bounce_put(s, &b);
	return ret;
}

static int write_body(struct write *w)
{
	struct edge *file = qcow2_file(w->s);
	uint64_t to = w->host + (w->offset - w->start);

	if (w->buf)
		return co_edge_write(file, to, w->len, w->buf, 0);
	return co_edge_zeroes(file, to, w->len, REQ_NO_UNMAP);
}

/* Head, data and tail in one piece. */
static int write_merged(struct write *w, const struct edge_part *head,
			const struct edge_part *tail)
{
	struct qcow2 *s = w->s;
	uint64_t from = head->needed && head->len ? head->at : w->offset;
	uint64_t body = w->offset - from, end = body + w->len;
	uint32_t len = (uint32_t)end + (tail->needed ? tail->len : 0);
	uint32_t work = work_at(len);
	struct bounce b;
	int ret = 0;

	qcow2_bounce_get(s, work + max(part_work(s, head), part_work(s, tail)),
			 &b);
	if (body)
		ret = part_read(s, head, b.mem, b.mem + work);
	if (w->buf)
		memcpy(b.mem + body, w->buf, w->len);
	else
		memset(b.mem + body, 0, w->len);
	if (ret == 0 && len > end)
		ret = part_read(s, tail, b.mem + end, b.mem + work);
	if (ret == 0)
		ret = co_edge_write(qcow2_file(s), w->host + (from - w->start),
				    len, b.mem, 0);
	qcow2_bounce_put(s, &b);
	return ret;
}

static int fill(struct write *w)
{
	uint64_t end = w->start + ((uint64_t)w->count <<
				   w->s->geo.cluster_bits);
	struct edge_part head = part_make(w, w->start, w->offset);
	struct edge_part tail = part_make(w, w->offset + w->len, end);
	uint64_t copied = (head.needed ? head.len : 0) +
			  (tail.needed ? tail.len : 0);
	int ret;

	if (!copied)
		return write_body(w);
	if (copied + w->len <= MERGE_MAX)
		return write_merged(w, &head, &tail);
	ret = part_copy(w, &head);
	if (ret == 0)
		ret = write_body(w);
	if (ret == 0)
		ret = part_copy(w, &tail);
	return ret;
}

/* --- the end, under the lock --- */

static void publish(struct write *w)
{
	uint64_t end = w->host + ((uint64_t)w->count <<
				  w->s->geo.cluster_bits);

	if (!w->zero && end > w->s->end)
		__atomic_store_n(&w->s->end, end, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < w->count; i++) {
		uint64_t old = entry_at(w, i);
		uint64_t host = w->host + ((uint64_t)i <<
					   w->s->geo.cluster_bits);

		if (w->plan == PLAN_FRESH)
			limbo_add_entry(w->s, old);
		qcow2_set_entry(w->s, w->slice, w->index + i, w->zero ?
				QCOW2_ZERO : host | QCOW2_COPIED);
	}
}

static int write_finish(struct write *w, int ret)
{
	struct qcow2 *s = w->s;
	uint64_t done;

	co_lock(&s->lock);
	if (ret == 0)
		publish(w);
	if ((ret < 0 || w->zero) && w->plan == PLAN_FRESH &&
	    qcow2_free(s, w->fresh.first, w->count, &done) < 0)
		qcow2_leak(s, w->count - done);
	/* the file could not grow: what is in limbo needs no growing */
	if (ret == -ENOSPC && s->limbo.clusters)
		ret = OUTCOME_LIMBO;
	limbo_unreserve(s, w->reserved);
	busy_end(s, &w->busy);
	qcow2_unpin(s, w->slice);
	co_unlock(&s->lock);
	return ret;
}

int64_t qcow2_write_data(struct qcow2 *s, uint64_t offset, uint32_t len,
			 const uint8_t *buf)
{
	struct write w = { .s = s, .offset = offset, .len = len, .buf = buf };
	int ret;

	co_lock(&s->lock);
	ret = plan(&w);
	co_unlock(&s->lock);
	if (ret == 0 && w.plan == PLAN_IN_PLACE) {
		w.host += offset - w.start;
		w.start = offset;
		ret = write_body(&w);
		return ret < 0 ? ret : (int64_t)w.len;
	}
	if (ret == 0)
		ret = write_finish(&w, fill(&w));
	return qcow2_answer(s, ret < 0 ? ret : (int64_t)w.len);
}

/* --- fetching: an allocating write of what the image shows --- */

static bool all_zero(const uint8_t *mem, uint32_t len)
{
	return !*mem && !memcmp(mem, mem + 1, len - 1);
}

static int fill_from_below(struct write *w)
{
	struct qcow2 *s = w->s;
	uint32_t len = w->count << s->geo.cluster_bits;
	struct bounce b;
	int ret;

	qcow2_bounce_get(s, len, &b);
	ret = qcow2_read_backing(s, w->start, len, b.mem);
	w->zero = ret == 0 && s->v3 && all_zero(b.mem, len);
	if (ret == 0 && !w->zero)
		ret = co_edge_write(qcow2_file(s), w->host, len, b.mem, 0);
	qcow2_bounce_put(s, &b);
	return ret;
}

int64_t qcow2_fetch(struct node *node, uint64_t offset, uint32_t len)
{
	struct qcow2 *s = node->state;
	uint32_t cluster = s->geo.cluster_size;
	uint32_t in_cluster = (uint32_t)(offset & (cluster - 1));
	struct write w = {
		.s = s, .offset = offset - in_cluster, .fetch = true,
		.len = (uint32_t)min((uint64_t)len + in_cluster,
				     (uint64_t)max(cluster, MERGE_MAX)),
	};
	int ret = qcow2_begin_write(s);

	if (ret < 0)
		return ret;
	co_lock(&s->lock);
	ret = plan(&w);
	co_unlock(&s->lock);
	if (ret == PLAN_NOTHING)
		return min(len, cluster - in_cluster);
	if (ret == 0)
		ret = write_finish(&w, fill_from_below(&w));
	if (ret < 0)
		return qcow2_answer(s, ret);
	return min((int64_t)len, ((int64_t)w.count << s->geo.cluster_bits) -
				 in_cluster);
}

int qcow2_begin_write(struct qcow2 *s)
{
	uint64_t autoclear;
	int ret = 0;

	if (likely(__atomic_load_n(&s->fast_writes, __ATOMIC_ACQUIRE)))
		return 0;
	co_lock(&s->lock);
	autoclear = s->header.autoclear;
	if (s->node->read_only) {
		ret = -EROFS;
	} else if (s->corrupt) {
		ret = -EIO;
	} else if (autoclear) {
		/* we keep none of what these bits stand for up to date */
		s->header.autoclear = 0;
		ret = qcow2_write_header(s);
		if (ret == 0)
			ret = co_edge_flush(qcow2_file(s));
		if (ret < 0)
			s->header.autoclear = autoclear;
	}
	if (ret == 0)
		__atomic_store_n(&s->fast_writes, true, __ATOMIC_RELEASE);
	co_unlock(&s->lock);
	return ret;
}

int64_t qcow2_write(struct node *node, uint64_t offset, uint32_t len,
		    const void *buf, unsigned flags)
{
	struct qcow2 *s = node->state;
	int ret = qcow2_begin_write(s);

	(void)flags;	/* FUA is the wrapper's matter */
	if (ret < 0)
		return ret;
	return qcow2_write_data(s, offset, len, buf);
}
