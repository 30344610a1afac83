/* SPDX-License-Identifier: MIT */
/*
 * check.c - counts references and compares with the refcounts (check.h).
 *
 * One coroutine; memory of its own, four bytes for each host cluster, touched
 * only where something is counted.
 */
#include "drivers/format/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "drivers/format/qcow2/l2.h"
#include "drivers/format/qcow2/refcount.h"

/* Host clusters that we count: 4 GiB of address space. */
#define CLUSTERS_MAX (UINT64_C(1) << 30)

static PRINTF(2, 3) void found(struct qcow2_check *c, const char *fmt, ...)
{
	va_list args;

	if (c->errors++)
		return;
	va_start(args, fmt);
	vsnprintf(c->first_error, sizeof(c->first_error), fmt, args);
	va_end(args);
}

static const struct qcow2_geometry *geo(const struct qcow2_check *c)
{
	return &c->header->geo;
}

/* One more reference to each cluster that the bytes touch. */
static bool count(struct qcow2_check *c, uint64_t offset, uint64_t bytes,
		  const char *what)
{
	uint64_t first = offset >> geo(c)->cluster_bits;
	uint64_t last = (offset + bytes - 1) >> geo(c)->cluster_bits;

	if (!bytes)
		return true;
	if (last >= c->counts_max) {
		found(c, "%s at offset %" PRIu64 " is outside the file", what,
		      offset);
		return false;
	}
	for (uint64_t i = first; i <= last; i++)
		if (c->counts[i] < UINT32_MAX)
			c->counts[i]++;
	c->end = max(c->end, last + 1);
	return true;
}

static void count_l2_entry(struct qcow2_check *c, uint64_t entry)
{
	struct qcow2_packed p;

	switch (qcow2_entry_kind(geo(c), c->header->version >= 3, entry)) {
	case QCOW2_NORMAL:
	case QCOW2_ZERO_ALLOCATED:
		c->allocated += count(c, qcow2_entry_host(entry),
				      geo(c)->cluster_size, "data cluster");
		break;
	case QCOW2_PACKED:
		p = qcow2_entry_packed(geo(c), entry);
		c->allocated += count(c, p.offset, p.len,
				      "compressed cluster");
		break;
	case QCOW2_BAD:
		found(c, "L2 entry %#" PRIx64 " is not valid", entry);
		break;
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
		break;
	}
}

/* Calls fn for each entry of a table in the file. */
static int each_entry(struct qcow2_check *c, uint64_t offset, uint64_t entries,
		      int (*fn)(struct qcow2_check *c, uint64_t entry))
{
	const uint32_t step = 512;
	struct be64 *buf = malloc(step * sizeof(*buf));
	int ret = buf ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < entries && ret == 0; i += step) {
		uint32_t n = (uint32_t)min(entries - i, (uint64_t)step);

		ret = co_edge_read(c->file, offset + i * 8, n * 8, buf);
		for (uint32_t k = 0; k < n && ret == 0; k++)
			ret = fn(c, be64_get(buf[k]));
	}
	free(buf);
	return ret;
}

static int count_l2(struct qcow2_check *c, uint64_t entry)
{
	count_l2_entry(c, entry);
	return 0;
}

static int count_l1(struct qcow2_check *c, uint64_t entry)
{
	uint64_t host = qcow2_entry_host(entry);

	if (!entry)
		return 0;
	if (!host || !is_aligned(host, geo(c)->cluster_size)) {
		found(c, "L1 entry %#" PRIx64 " is not valid", entry);
		return 0;
	}
	if (!count(c, host, geo(c)->cluster_size, "L2 table"))
		return 0;
	return each_entry(c, host, UINT64_C(1) << geo(c)->l2_bits, count_l2);
}

/* All but the refcounts themselves. */
static int count_tables(struct qcow2_check *c)
{
	const struct qcow2_header *h = c->header;

	count(c, 0, geo(c)->cluster_size, "header");
	count(c, h->l1_offset, h->l1_entries * UINT64_C(8), "L1 table");
	return each_entry(c, h->l1_offset, h->l1_entries, count_l1);
}

static int count_block(struct qcow2_check *c, uint64_t entry)
{
	uint64_t host = entry & QCOW2_HOST_MASK;

	if (!entry)
		return 0;
	if (!host || !is_aligned(host, geo(c)->cluster_size))
		found(c, "reftable entry %#" PRIx64 " is not valid", entry);
	else
		count(c, host, geo(c)->cluster_size, "refcount block");
	return 0;
}

/* --- comparing --- */

struct reader {		/* of refcounts, one block at a time */
	struct be64 *table;
	uint64_t entries;
	uint8_t *block;
	uint64_t loaded;	/* number of the block, or UINT64_MAX */
};

static int refcount_of(struct qcow2_check *c, struct reader *r,
		       uint64_t cluster, uint64_t *out)
{
	uint64_t n = cluster >> geo(c)->block_bits, host;
	int ret;

	*out = 0;
	if (n >= r->entries)
		return 0;
	host = be64_get(r->table[n]) & QCOW2_HOST_MASK;
	if (!host || !is_aligned(host, geo(c)->cluster_size))
		return 0;
	if (r->loaded != n) {
		ret = co_edge_read(c->file, host, geo(c)->cluster_size,
				   r->block);
		if (ret < 0)
			return ret;
		r->loaded = n;
	}
	*out = refcount_get(r->block, geo(c)->refcount_order, cluster &
			    ((UINT64_C(1) << geo(c)->block_bits) - 1));
	return 0;
}

static int compare_counts(struct qcow2_check *c, struct reader *r)
{
	uint64_t end = max(c->file_clusters, c->end), refs;
	int ret = 0;

	for (uint64_t i = 0; i < end; i++) {
		ret = refcount_of(c, r, i, &refs);
		if (ret < 0)
			break;
		if (refs < c->counts[i])
			found(c, "cluster %" PRIu64 " has refcount %" PRIu64
			      " and %" PRIu32 " references", i, refs,
			      c->counts[i]);
		else if (refs > c->counts[i])
			c->leaks++;
	}
	return ret;
}

/* COPIED says that the refcount is one: without it nothing else is wrong, with
 * it a shared cluster would be written in place. */
static int check_copied(struct qcow2_check *c, struct reader *r,
			uint64_t entry, const char *what)
{
	uint64_t host = qcow2_entry_host(entry), refs;
	int ret;

	if (entry & QCOW2_COMPRESSED || !host)
		return 0;
	ret = refcount_of(c, r, host >> geo(c)->cluster_bits, &refs);
	if (ret == 0 && !!(entry & QCOW2_COPIED) != (refs == 1))
		found(c, "%s entry %#" PRIx64 " is marked wrongly for"
		      " refcount %" PRIu64, what, entry, refs);
	return ret;
}

static int check_copied_l2(struct qcow2_check *c, struct reader *r,
			   uint64_t host)
{
	uint64_t entries = UINT64_C(1) << geo(c)->l2_bits;
	struct be64 *table = malloc(geo(c)->cluster_size);
	int ret = table ? co_edge_read(c->file, host, geo(c)->cluster_size,
				       table) : -ENOMEM;

	for (uint64_t i = 0; i < entries && ret == 0; i++)
		ret = check_copied(c, r, be64_get(table[i]), "L2");
	free(table);
	return ret;
}

static int check_copied_l1(struct qcow2_check *c, struct reader *r)
{
	const struct qcow2_header *h = c->header;
	int ret = 0;

	for (uint32_t i = 0; i < h->l1_entries && ret == 0; i++) {
		struct be64 raw;
		uint64_t entry, host;

		ret = co_edge_read(c->file, h->l1_offset + i * UINT64_C(8), 8,
				   &raw);
		entry = ret < 0 ? 0 : be64_get(raw);
		host = qcow2_entry_host(entry);
		if (!host || !is_aligned(host, geo(c)->cluster_size))
			continue;
		ret = check_copied(c, r, entry, "L1");
		if (ret == 0)
			ret = check_copied_l2(c, r, host);
	}
	return ret;
}

static int compare(struct qcow2_check *c)
{
	const struct qcow2_header *h = c->header;
	uint64_t bytes = (uint64_t)h->reftable_clusters <<
			 geo(c)->cluster_bits;
	struct reader r = {
		.table = malloc(bytes),
		.entries = bytes / 8,
		.block = malloc(geo(c)->cluster_size),
		.loaded = UINT64_MAX,
	};
	int ret = -ENOMEM;

	if (r.table && r.block)
		ret = co_edge_read(c->file, h->reftable_offset,
				   (uint32_t)bytes, r.table);
	if (ret == 0)
		ret = compare_counts(c, &r);
	/* snapshots share tables that are counted elsewhere */
	if (ret == 0 && !h->snapshots)
		ret = check_copied_l1(c, &r);
	free(r.table);
	free(r.block);
	return ret;
}

/* --- setting up --- */

static int counts_map(struct qcow2_check *c)
{
	uint64_t size;
	void *mem;
	int ret = co_edge_storage_size(c->file, &size);

	if (ret < 0)
		return ret;
	c->file_clusters = div_up(size, geo(c)->cluster_size);
	/* allocated is what lies in the file, or just behind its end */
	c->counts_max = 2 * c->file_clusters + 1024;
	if (c->counts_max > CLUSTERS_MAX)
		return -EFBIG;
	mem = mmap(NULL, c->counts_max * sizeof(*c->counts),
		   PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	c->counts = mem;
	return 0;
}

static void counts_unmap(struct qcow2_check *c)
{
	munmap(c->counts, c->counts_max * sizeof(*c->counts));
	c->counts = NULL;
}

static int read_header(struct qcow2_check *c, struct qcow2_header *h)
{
	const uint32_t most = 1u << QCOW2_CLUSTER_BITS_MAX;
	CLEANUP_ERROR struct error *err = NULL;
	uint8_t *buf = calloc(1, most);
	uint64_t size = 0;
	uint32_t len = 0;
	int ret = buf ? co_edge_storage_size(c->file, &size) : -ENOMEM;

	if (ret == 0)
		ret = co_edge_read(c->file, 0, QCOW2_SECTOR, buf);
	if (ret == 0)
		ret = qcow2_header_extent(buf, &len, &err);
	if (ret == 0)
		ret = co_edge_read(c->file, 0, len, buf);
	if (ret == 0)
		ret = qcow2_header_parse(buf, size, h, &err);
	if (err)
		found(c, "%s", err->text);
	free(buf);
	return ret;
}

int qcow2_check(struct edge *file, struct qcow2_check *check)
{
	struct qcow2_header *h = calloc(1, sizeof(*h));
	int ret = h ? 0 : -ENOMEM;

	*check = (struct qcow2_check){ .file = file, .header = h };
	if (ret == 0)
		ret = read_header(check, h);
	if (ret == 0)
		ret = counts_map(check);
	if (ret == 0) {
		ret = count_tables(check);
		count(check, h->reftable_offset,
		      (uint64_t)h->reftable_clusters << h->geo.cluster_bits,
		      "refcount table");
		if (ret == 0)
			ret = each_entry(check, h->reftable_offset,
					 ((uint64_t)h->reftable_clusters <<
					  h->geo.cluster_bits) / 8,
					 count_block);
		if (ret == 0)
			ret = compare(check);
		counts_unmap(check);
	}
	free(h);
	check->header = NULL;
	return ret;
}

/* --- rebuilding --- */

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
	const struct qcow2_geometry *g = geo(c);

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
	const struct qcow2_geometry *g = geo(c);
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
	const struct qcow2_geometry *g = geo(c);
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
	const struct qcow2_geometry *g = geo(c);
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

static int write_rebuilt(struct qcow2_check *c, const struct rebuild *r)
{
	uint8_t *buf = malloc(geo(c)->cluster_size);
	int ret = buf ? write_blocks(c, r, buf) : -ENOMEM;

	if (ret == 0)
		ret = write_table(c, r, buf);
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
	new->reftable_offset = (r->first + r->blocks) << geo(c)->cluster_bits;
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
	int ret = counts_map(&c);

	if (ret == 0) {
		ret = count_tables(&c);
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
		counts_unmap(&c);
	}
	if (ret == 0)
		return 0;
	return error_set(err, -ret, "qcow2 image was not closed properly and"
			 " its refcounts could not be rebuilt%s%s",
			 c.errors ? ": " : "", c.first_error);
}
