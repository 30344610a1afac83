/* SPDX-License-Identifier: MIT */
/*
 * rebuild.c - refcounts anew, from what the tables name (check.h), and with
 * them what entries say about them. Images that were not closed with lazy
 * refcounts need it before they are written to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "drivers/format/qcow2/check-count.h"
#include "drivers/format/qcow2/l2.h"
#include "drivers/format/qcow2/refcount.h"

/* What is written: blocks for all clusters up to `end`, then their table. */
struct rebuild {
	uint64_t first;		/* host cluster of the first block */
	uint64_t blocks;
	uint64_t table_clusters;
	uint64_t end;
};

/* Behind everything in use. */
static int plan_behind(const struct qcow2_check *c, struct rebuild *r)
{
	const struct qcow2_geometry *g = &c->header->geo;

	*r = (struct rebuild){ .first = max(c->end, c->file_clusters) };
	for (;;) {
		uint64_t blocks, clusters;

		r->end = r->first + r->blocks + r->table_clusters;
		blocks = div_up(r->end, UINT64_C(1) << g->block_bits);
		clusters = div_up(blocks * 8, g->cluster_size);
		if (clusters << g->cluster_bits > QCOW2_REFTABLE_BYTES_MAX)
			return -EFBIG;
		if (blocks <= r->blocks && clusters <= r->table_clusters)
			return 0;
		r->blocks = max(blocks, r->blocks);
		r->table_clusters = max(clusters, r->table_clusters);
	}
}

/*
 * In the first gap that is large enough. Where the old refcounts lay is a gap
 * too: the dirty bit says that nobody trusts them, until the header names the
 * new ones.
 */
static int plan_between(const struct qcow2_check *c, struct rebuild *r)
{
	const struct qcow2_geometry *g = &c->header->geo;
	uint64_t n = 0, i;

	*r = (struct rebuild){
		.blocks = div_up(c->end, UINT64_C(1) << g->block_bits),
	};
	r->table_clusters = div_up(r->blocks * 8, g->cluster_size);
	for (i = 0; i < c->end && n < r->blocks + r->table_clusters; i++)
		n = c->counts[i] ? 0 : n + 1;
	if (n < r->blocks + r->table_clusters)
		return -ENOSPC;
	r->end = i;
	r->first = i - n;
	return 0;
}

/* capacity: host clusters that the file can have. */
static int plan_rebuild(const struct qcow2_check *c, uint64_t capacity,
			struct rebuild *r)
{
	int ret = plan_behind(c, r);

	return ret == 0 && r->end > capacity ? plan_between(c, r) : ret;
}

static uint64_t rebuilt_count(const struct qcow2_check *c,
			      const struct rebuild *r, uint64_t cluster)
{
	if (cluster >= r->first && cluster < r->end)
		return 1;
	return cluster < c->counts_max ? c->counts[cluster] : 0;
}

static int write_blocks(struct qcow2_check *c, const struct rebuild *r,
			uint8_t *buf)
{
	const struct qcow2_geometry *g = &c->header->geo;
	uint64_t most = refcount_max(g->refcount_order);
	uint64_t per_block = UINT64_C(1) << g->block_bits;
	int ret = 0;

	for (uint64_t i = 0; i < r->blocks && ret == 0; i++) {
		memset(buf, 0, g->cluster_size);
		for (uint64_t k = 0; k < per_block; k++) {
			uint64_t n = rebuilt_count(c, r, i * per_block + k);

			if (n > most)
				return -ERANGE;
			refcount_put(buf, g->refcount_order, k, n);
		}
		ret = co_edge_write(c->file, (r->first + i) << g->cluster_bits,
				    g->cluster_size, buf, 0);
	}
	return ret;
}

static int write_table(struct qcow2_check *c, const struct rebuild *r,
		       uint8_t *buf)
{
	const struct qcow2_geometry *g = &c->header->geo;
	uint64_t per_cluster = g->cluster_size / 8;
	uint64_t at = (r->first + r->blocks) << g->cluster_bits;
	int ret = 0;

	for (uint64_t i = 0; i < r->table_clusters && ret == 0; i++) {
		memset(buf, 0, g->cluster_size);
		for (uint64_t k = 0; k < per_cluster; k++) {
			uint64_t n = i * per_cluster + k;

			if (n < r->blocks)
				be64_put(buf + k * 8, (r->first + n) <<
						      g->cluster_bits);
		}
		ret = co_edge_write(c->file, at + (i << g->cluster_bits),
				    g->cluster_size, buf, 0);
	}
	return ret;
}

/* COPIED says that the refcount is one. */
static void mark(const struct qcow2_check *c, const struct rebuild *r,
		 uint8_t *at)
{
	uint64_t entry = be64_at(at), host = qcow2_entry_host(entry);

	if (entry & QCOW2_COMPRESSED || !host)
		return;
	entry &= ~QCOW2_COPIED;
	if (rebuilt_count(c, r, host >> c->header->geo.cluster_bits) == 1)
		entry |= QCOW2_COPIED;
	be64_put(at, entry);
}

/* A part of a table, in place: until the header names the new refcounts nobody
 * asks either. It stays in buf, where there is room for as much again. */
static int mark_table(struct qcow2_check *c, const struct rebuild *r,
		      uint64_t offset, uint32_t bytes, uint8_t *buf)
{
	int ret = co_edge_read(c->file, offset, bytes, buf);

	if (ret < 0)
		return ret;
	memcpy(buf + bytes, buf, bytes);
	for (uint32_t i = 0; i < bytes; i += 8)
		mark(c, r, buf + i);
	if (!memcmp(buf + bytes, buf, bytes))
		return 0;
	return co_edge_write(c->file, offset, bytes, buf, 0);
}

static int mark_all(struct qcow2_check *c, const struct rebuild *r,
		    uint8_t *buf)
{
	const struct qcow2_header *h = c->header;
	uint32_t step = h->geo.cluster_size;
	uint64_t l1_bytes = h->l1_entries * UINT64_C(8);
	int ret = 0;

	for (uint64_t at = 0; at < l1_bytes && ret == 0; at += step) {
		uint32_t n = (uint32_t)min(l1_bytes - at, (uint64_t)step);

		ret = mark_table(c, r, h->l1_offset + at, n, buf);
		for (uint32_t i = 0; i < n && ret == 0; i += 8) {
			uint64_t host = qcow2_entry_host(be64_at(buf + i));

			if (host)
				ret = mark_table(c, r, host, step,
						 buf + 2 * (size_t)step);
		}
	}
	return ret;
}

static int write_rebuilt(struct qcow2_check *c, const struct rebuild *r)
{
	uint8_t *buf = malloc(4 * (size_t)c->header->geo.cluster_size);
	int ret = buf ? write_blocks(c, r, buf) : -ENOMEM;

	if (ret == 0)
		ret = write_table(c, r, buf);
	if (ret == 0)
		ret = mark_all(c, r, buf);
	if (ret == 0)
		ret = co_edge_flush(c->file);
	free(buf);
	return ret;
}

static int switch_header(struct qcow2_check *c, const struct rebuild *r,
			 struct qcow2_header *h, uint8_t *sector)
{
	struct qcow2_header *new = malloc(sizeof(*new));
	int ret;

	if (!new)
		return -ENOMEM;
	*new = *h;
	new->reftable_offset = (r->first + r->blocks) <<
			       c->header->geo.cluster_bits;
	new->reftable_clusters = (uint32_t)r->table_clusters;
	new->incompatible &= ~QCOW2_INCOMPAT_DIRTY;
	qcow2_header_store(new, sector);
	ret = co_edge_write(c->file, 0, QCOW2_HEADER_BYTES, sector, 0);
	if (ret == 0)
		ret = co_edge_flush(c->file);
	if (ret == 0)
		*h = *new;
	free(new);
	return ret;
}

int qcow2_rebuild_refcounts(struct edge *file, struct qcow2_header *h,
			    uint8_t *sector, bool fixed_size,
			    struct error **err)
{
	struct qcow2_check c = { .file = file, .header = h };
	uint64_t capacity = UINT64_MAX;
	struct rebuild r;
	int ret = qcow2_check_map(&c);

	if (ret == 0) {
		ret = qcow2_check_count(&c);
		if (fixed_size) {
			c.file_clusters = 0;
			capacity = file->child->size >> h->geo.cluster_bits;
		}
		if (ret == 0 && c.errors)
			ret = -EINVAL;
		if (ret == 0)
			ret = plan_rebuild(&c, capacity, &r);
		if (ret == 0)
			ret = write_rebuilt(&c, &r);
		if (ret == 0)
			ret = switch_header(&c, &r, h, sector);
		qcow2_check_unmap(&c);
	}
	if (ret == 0)
		return 0;
	return error_set(err, -ret, "qcow2 image was not closed properly and"
			 " its refcounts could not be rebuilt%s%s",
			 c.errors ? ": " : "", c.first_error);
}
