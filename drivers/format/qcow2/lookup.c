/* SPDX-License-Identifier: MIT */
/*
 * lookup.c - guest offset to host offset, and the operations that need no
 * more: map and read.
 *
 * Any thread, inside a counted request, no lock (A5): L1 entry, slice, entry,
 * each by an acquire load. What is found may change at once; the clusters it
 * names are not used for anything else while the request is in flight (A28).
 */
#include <errno.h>

#include "drivers/format/qcow2/qcow2.h"

/* How many entries from index on say the same as the first, up to `most`. */
static uint32_t count_same(const struct qcow2 *s, const struct slice *slice,
			   uint32_t index, uint32_t most,
			   const struct qcow2_run *run)
{
	const struct qcow2_geometry *g = &s->geo;
	uint64_t host = qcow2_entry_host(run->entry);
	uint32_t n = 1;

	for (; n < most; n++) {
		uint64_t entry = be64_acquire(&slice->entries[index + n]);

		if (run->kind == QCOW2_NORMAL) {
			host += g->cluster_size;
			if (entry != ((run->entry & ~QCOW2_HOST_MASK) | host))
				break;
		} else if (qcow2_entry_kind(g, s->v3, entry) != run->kind) {
			break;
		}
	}
	return n;
}

bool qcow2_has_beyond(const struct qcow2 *s, const struct slice *slice)
{
	for (uint32_t i = 0; i < s->geo.slice_size / 8; i++) {
		uint64_t entry = be64_get(slice->entries[i]);

		if (qcow2_entry_kind(&s->geo, s->v3, entry) == QCOW2_NORMAL &&
		    qcow2_entry_host(entry) + s->geo.cluster_size > s->end)
			return true;
	}
	return false;
}

/* How many of n clusters, which follow each other in the file, start before its
 * end; where the first does not, it is lost (Q16). */
static __attribute__((cold, noinline)) uint32_t
clip_lost(const struct qcow2 *s, uint32_t n, struct qcow2_run *run)
{
	uint64_t host = qcow2_entry_host(run->entry);
	/* after the entry was read: its writer moves the end first */
	uint64_t end = __atomic_load_n(&s->end, __ATOMIC_RELAXED);

	if (host + ((uint64_t)n << s->geo.cluster_bits) <= end)
		return n;
	if (host < end)
		return (uint32_t)min((uint64_t)n, div_up(end - host,
						  s->geo.cluster_size));
	run->kind = QCOW2_BAD;
	return 1;
}

void qcow2_lookup(const struct qcow2 *s, uint64_t offset, uint32_t len,
		  struct qcow2_run *run)
{
	const struct qcow2_geometry *g = &s->geo;
	struct qcow2_pos pos = qcow2_pos(g, offset);
	uint64_t slice_end = qcow2_slice_start(g, pos.slice + 1);
	const struct slice *slice;
	uint64_t most, end;
	uint32_t n;

	run->missing = false;
	run->writable = false;
	run->entry = 0;
	run->len = (uint32_t)min((uint64_t)len, slice_end - offset);
	run->kind = QCOW2_UNALLOCATED;
	if (!be64_acquire(&s->l1[pos.l1]))
		return;
	rt_step();
	slice = slice_find(&s->l2, pos.slice);
	run->missing = !slice;
	if (!slice)
		return;
	rt_step();
	run->entry = be64_acquire(&slice->entries[pos.index]);
	run->kind = qcow2_entry_kind(g, s->v3, run->entry);
	most = ((uint64_t)pos.in_cluster + run->len + g->cluster_size - 1) >>
	       g->cluster_bits;
	n = run->kind >= QCOW2_PACKED ? 1 :
	    count_same(s, slice, pos.index, (uint32_t)most, run);
	if (unlikely(slice->beyond) && run->kind == QCOW2_NORMAL)
		n = clip_lost(s, n, run);
	end = ((uint64_t)n << g->cluster_bits) - pos.in_cluster;
	run->len = (uint32_t)min((uint64_t)run->len, end);
	if (run->kind == QCOW2_NORMAL) {
		run->host = qcow2_entry_host(run->entry) + pos.in_cluster;
		run->writable = run->entry & QCOW2_COPIED;
	}
}

/* Whether a write to these bytes of the file would destroy metadata. */
static bool hits_metadata(const struct qcow2 *s, uint64_t host, uint32_t len)
{
	uint64_t last = qcow2_host_cluster(&s->geo, host + len - 1);

	for (uint64_t c = qcow2_host_cluster(&s->geo, host); c <= last; c++)
		if (unlikely(meta_set_has(&s->meta, c)))
			return true;
	return false;
}

bool qcow2_entry_hits_metadata(const struct qcow2 *s, uint64_t entry)
{
	struct qcow2_packed p;

	switch (qcow2_entry_kind(&s->geo, s->v3, entry)) {
	case QCOW2_NORMAL:
	case QCOW2_ZERO_ALLOCATED:
		return hits_metadata(s, qcow2_entry_host(entry),
				     s->geo.cluster_size);
	case QCOW2_PACKED:
		p = qcow2_entry_packed(&s->geo, entry);
		return hits_metadata(s, p.offset, p.len);
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
	case QCOW2_BAD:
		break;
	}
	return false;
}

static void map_read(const struct qcow2 *s, struct map *map)
{
	const struct edge *backing = s->node->backing;
	struct qcow2_run run;

	qcow2_lookup(s, map->offset, map->len, &run);
	map->len = run.len;
	map->kind = MAP_SLOW;
	if (run.missing)
		return;
	switch (run.kind) {
	case QCOW2_NORMAL:
		map->kind = MAP_FORWARD;
		map->child = qcow2_file(s);
		map->offset = run.host;
		break;
	case QCOW2_UNALLOCATED:
		map->kind = MAP_ZEROES;
		if (!backing || map->offset >= backing->child->size)
			break;
		map->kind = MAP_FORWARD;
		map->child = s->node->backing;
		map->len = (uint32_t)min((uint64_t)map->len,
				backing->child->size - map->offset);
		map_ask_above(map, s->node);
		break;
	case QCOW2_ZERO_PLAIN:
	case QCOW2_ZERO_ALLOCATED:
		map->kind = MAP_ZEROES;
		break;
	case QCOW2_PACKED:
	case QCOW2_BAD:
		break;
	}
}

static void map_write(const struct qcow2 *s, struct map *map)
{
	struct qcow2_run run;

	map->kind = MAP_SLOW;
	if (!__atomic_load_n(&s->fast_writes, __ATOMIC_ACQUIRE))
		return;
	qcow2_lookup(s, map->offset, map->len, &run);
	map->len = run.len;
	if (run.missing || !run.writable || hits_metadata(s, run.host, run.len))
		return;
	/* After the entry was read: a writer counts before it publishes, so
	 * an entry that is not durable shows in the count (Q9, A29). */
	if (map->flags & REQ_FUA && qcow2_is_undurable(s))
		return;
	map->kind = MAP_FORWARD;
	map->child = qcow2_file(s);
	map->offset = run.host;
}

void qcow2_map(struct node *node, struct map *map)
{
	const struct qcow2 *s = node->state;

	/* clusters smaller than the file's blocks */
	if (unlikely(node->file->child->limits.align > s->geo.cluster_size))
		map->kind = MAP_SLOW;
	else if (map->op == REQ_READ)
		map_read(s, map);
	else if (map->op == REQ_WRITE)
		map_write(s, map);
	else
		map->kind = MAP_SLOW;
}

int qcow2_status(struct node *node, struct extent *e)
{
	struct qcow2 *s = node->state;
	struct qcow2_run run;
	int ret;

	qcow2_lookup(s, e->offset, e->len, &run);
	while (run.missing) {
		ret = qcow2_load_slice(s, qcow2_pos(&s->geo, e->offset).slice);
		if (ret < 0)
			return ret;
		qcow2_lookup(s, e->offset, e->len, &run);
	}
	e->len = run.len;
	switch (run.kind) {
	case QCOW2_NORMAL:
		e->flags = STATUS_DATA | STATUS_OFFSET;
		e->offset = run.host;
		break;
	case QCOW2_UNALLOCATED:
		e->kind = EXTENT_BACKING;
		break;
	case QCOW2_ZERO_PLAIN:
	case QCOW2_ZERO_ALLOCATED:
		/* what the file has there is not what is read */
		e->flags = STATUS_ZERO;
		break;
	case QCOW2_PACKED:
		e->flags = STATUS_DATA | STATUS_COMPRESSED;
		break;
	case QCOW2_BAD:
		return -EIO;
	}
	return 0;
}

int qcow2_read_backing(const struct qcow2 *s, uint64_t offset, uint32_t len,
		       void *buf)
{
	struct edge *backing = s->node->backing;
	uint64_t size = backing ? backing->child->size : 0;
	uint32_t part = 0;
	int ret;

	if (offset < size)
		part = (uint32_t)min((uint64_t)len, size - offset);
	if (part) {
		ret = co_edge_read(backing, offset, part, buf);
		if (ret < 0)
			return ret;
	}
	memset((uint8_t *)buf + part, 0, len - part);
	return 0;
}

static int read_packed(struct qcow2 *s, uint64_t offset,
		       const struct qcow2_run *run, void *buf)
{
	uint32_t cluster = s->geo.cluster_size;
	uint32_t in_cluster = (uint32_t)(offset & (cluster - 1));
	struct bounce b;
	int ret;

	qcow2_bounce_get(s, cluster + qcow2_unpack_bytes(&s->geo), &b);
	ret = qcow2_unpack(s, run->entry, b.mem, b.mem + cluster);
	if (ret == 0)
		memcpy(buf, b.mem + in_cluster, run->len);
	qcow2_bounce_put(s, &b);
	return ret;
}

int64_t qcow2_read(struct node *node, uint64_t offset, uint32_t len,
		   void *buf)
{
	struct qcow2 *s = node->state;
	struct qcow2_run run;
	int ret = 0;

	qcow2_lookup(s, offset, len, &run);
	if (run.missing) {
		ret = qcow2_load_slice(s, qcow2_pos(&s->geo, offset).slice);
		return ret < 0 ? ret : STEER_AGAIN;
	}
	switch (run.kind) {
	case QCOW2_NORMAL:
		ret = co_edge_read(qcow2_file(s), run.host, run.len, buf);
		break;
	case QCOW2_UNALLOCATED:
		ret = qcow2_read_backing(s, offset, run.len, buf);
		break;
	case QCOW2_ZERO_PLAIN:
	case QCOW2_ZERO_ALLOCATED:
		memset(buf, 0, run.len);
		break;
	case QCOW2_PACKED:
		ret = read_packed(s, offset, &run, buf);
		break;
	case QCOW2_BAD:
		return -EIO;
	}
	return ret < 0 ? ret : (int64_t)run.len;
}
