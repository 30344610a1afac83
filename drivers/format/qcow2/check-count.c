/* SPDX-License-Identifier: MIT */
/*
 * check-count.c - one more for each reference that header, tables, snapshots
 * and bitmaps make (check-count.h). One coroutine; what it reads is hostile.
 */
#include "drivers/format/qcow2/check-count.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "drivers/format/qcow2/l2.h"
#include "runtime/late.h"

/* Clusters of tables that are walked, for each cluster of the file: snapshots
 * and bitmaps may name the same ones again and again. */
#define TABLES_PER_CLUSTER 256u

/* Bits that must be zero in what the specification calls reserved. */
#define L1_RESERVED UINT64_C(0x7f000000000001ff)
#define L2_RESERVED UINT64_C(0x3f000000000001fe)
#define BITMAP_RESERVED UINT64_C(0xff000000000001fe)
/* In a bitmap's table, without a cluster: all ones, not all zeroes. */
#define BITMAP_ONES UINT64_C(1)

int co_qcow2_check_read(struct qcow2_check *c, uint64_t offset, uint32_t len,
			void *buf)
{
	if (c->progress)
		(*c->progress)++;
	return late_unwanted() ? -ECANCELED :
		co_edge_read(c->file, offset, len, buf);
}

static PRINTF(2, 0) void found(struct qcow2_check *c, const char *fmt,
			       va_list args)
{
	if (!c->errors++)
		vsnprintf(c->first_error, sizeof(c->first_error), fmt, args);
}

void qcow2_check_found(struct qcow2_check *c, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	found(c, fmt, args);
	va_end(args);
}

void qcow2_check_found_once(struct qcow2_check *c, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (c->window == 0)
		found(c, fmt, args);
	va_end(args);
}

bool qcow2_check_refer(struct qcow2_check *c, uint64_t offset, uint64_t bytes,
		       const char *what)
{
	uint64_t first = offset >> check_geo(c)->cluster_bits;
	uint64_t last = (offset + bytes - 1) >>
			check_geo(c)->cluster_bits;

	if (!bytes)
		return true;
	if (offset + bytes > c->end_max) {
		qcow2_check_found_once(c, "%s at offset %" PRIu64 " is outside"
				       " the file", what, offset);
		return false;
	}
	c->end = max(c->end, last + 1);
	for (uint64_t i = max(first, c->window);
	     i <= last && i < c->window + c->counts_max; i++)
		if (c->counts[i - c->window] < UINT32_MAX)
			c->counts[i - c->window]++;
	return true;
}

int qcow2_check_each(struct qcow2_check *c, uint64_t offset, uint64_t entries,
		     int (*fn)(struct qcow2_check *c, uint64_t entry))
{
	const uint32_t step = 512;
	struct be64 *buf;
	int ret = 0;

	c->tables += div_up(entries * 8, check_geo(c)->cluster_size);
	if (c->tables > (c->file_clusters + 1) * TABLES_PER_CLUSTER)
		return -EFBIG;
	buf = malloc(step * sizeof(*buf));
	if (!buf)
		return -ENOMEM;
	for (uint64_t i = 0; i < entries && ret == 0; i += step) {
		uint32_t n = (uint32_t)min(entries - i, (uint64_t)step);

		ret = co_qcow2_check_read(c, offset + i * 8, n * 8, buf);
		for (uint32_t k = 0; k < n && ret == 0; k++)
			ret = fn(c, be64_get(buf[k]));
	}
	free(buf);
	return ret;
}

/* Whether a cluster can be at host. */
static bool host_ok(const struct qcow2_check *c, uint64_t host)
{
	return host && is_aligned(host, check_geo(c)->cluster_size);
}

/* --- the disk --- */

static int count_l2_entry(struct qcow2_check *c, uint64_t entry)
{
	const struct qcow2_geometry *g = check_geo(c);
	bool first = c->window == 0 && !c->in_snapshot;
	struct qcow2_packed p;

	if (c->strict && entry & L2_RESERVED && !(entry & QCOW2_COMPRESSED))
		qcow2_check_found_once(c, "L2 entry %#" PRIx64 " has reserved"
				       " bits set", entry);

	switch (qcow2_entry_kind(g, c->header->version >= 3, entry)) {
	case QCOW2_NORMAL:
	case QCOW2_ZERO_ALLOCATED:
		c->allocated += qcow2_check_refer(c, qcow2_entry_host(entry),
						  g->cluster_size,
						  "data cluster") && first;
		break;
	case QCOW2_PACKED:
		p = qcow2_entry_packed(g, entry);
		c->allocated += first;
		c->packed += first;
		qcow2_check_refer(c, p.offset, p.len, "compressed cluster");
		break;
	case QCOW2_BAD:
		qcow2_check_found_once(c, "L2 entry %#" PRIx64 " is not valid",
				       entry);
		break;
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
		break;
	}
	return 0;
}

static int count_l1(struct qcow2_check *c, uint64_t entry)
{
	const struct qcow2_geometry *g = check_geo(c);
	uint64_t host = qcow2_entry_host(entry);

	if (!entry)
		return 0;
	if (c->strict && entry & L1_RESERVED)
		qcow2_check_found_once(c, "L1 entry %#" PRIx64 " has reserved"
				       " bits set", entry);
	if (!host_ok(c, host)) {
		qcow2_check_found_once(c, "L1 entry %#" PRIx64 " is not valid",
				       entry);
		return 0;
	}
	if (!qcow2_check_refer(c, host, g->cluster_size, "L2 table"))
		return 0;
	return qcow2_check_each(c, host, UINT64_C(1) << g->l2_bits,
				count_l2_entry);
}

/* --- snapshots --- */

static int count_snapshot(struct qcow2_check *c, uint64_t offset,
			  uint64_t entries)
{
	if (!is_aligned(offset, check_geo(c)->cluster_size) ||
	    entries * 8 > QCOW2_L1_BYTES_MAX) {
		qcow2_check_found_once(c, "L1 table of a snapshot at offset %"
				       PRIu64 " is not valid", offset);
		return 0;
	}
	if (!qcow2_check_refer(c, offset, entries * 8,
			       "L1 table of a snapshot"))
		return 0;
	return qcow2_check_each(c, offset, entries, count_l1);
}

/* One entry of the table at *at, which moves on. */
static int count_snapshot_entry(struct qcow2_check *c, uint64_t *at)
{
	uint8_t buf[QCOW2_SNAPSHOT_BYTES];
	uint32_t extra, id_len, name_len;
	int ret = co_qcow2_check_read(c, *at, sizeof(buf), buf);

	if (ret < 0)
		return ret;
	extra = be32_at(buf + QCOW2_SNAPSHOT_EXTRA_LEN);
	if (extra > QCOW2_SNAPSHOT_EXTRA_MAX)
		return -EUCLEAN;
	id_len = be16_at(buf + QCOW2_SNAPSHOT_ID_LEN);
	name_len = be16_at(buf + QCOW2_SNAPSHOT_NAME_LEN);
	*at = align_up(*at + sizeof(buf) + extra + id_len + name_len, 8);
	return count_snapshot(c, be64_at(buf + QCOW2_SNAPSHOT_L1_OFFSET),
			      be32_at(buf + QCOW2_SNAPSHOT_L1_ENTRIES));
}

static int count_snapshots(struct qcow2_check *c)
{
	uint64_t start = c->header->snapshots_offset, at = start;
	int ret = 0;

	c->in_snapshot = true;
	for (uint32_t i = 0; i < c->header->snapshots && ret == 0; i++)
		ret = count_snapshot_entry(c, &at);
	c->in_snapshot = false;
	if (ret == -EUCLEAN)
		qcow2_check_found_once(c, "snapshot table at offset %" PRIu64
				       " is not valid", start);
	else if (ret == 0)
		qcow2_check_refer(c, start, at - start, "snapshot table");
	return ret == -EUCLEAN ? 0 : ret;
}

/* --- bitmaps --- */

static int count_bitmap_entry(struct qcow2_check *c, uint64_t entry)
{
	uint64_t host = entry & QCOW2_HOST_MASK;

	if (!(entry & ~BITMAP_ONES))
		return 0;
	if (entry & BITMAP_RESERVED || entry & BITMAP_ONES ||
	    !host_ok(c, host)) {
		qcow2_check_found_once(c, "entry %#" PRIx64 " of a bitmap's"
				       " table is not valid", entry);
		return 0;
	}
	qcow2_check_refer(c, host, check_geo(c)->cluster_size,
			  "cluster of a bitmap");
	return 0;
}

static int count_bitmap(struct qcow2_check *c, uint64_t offset,
			uint64_t entries)
{
	if (!host_ok(c, offset) || !entries ||
	    entries > QCOW2_BITMAP_ENTRIES_MAX) {
		qcow2_check_found_once(c, "table of a bitmap at offset %"
				       PRIu64 " is not valid", offset);
		return 0;
	}
	if (!qcow2_check_refer(c, offset, entries * 8, "table of a bitmap"))
		return 0;
	return qcow2_check_each(c, offset, entries, count_bitmap_entry);
}

static bool bitmap_ok(const uint8_t *entry, uint32_t name_len)
{
	uint32_t flags = be32_at(entry + QCOW2_BITMAP_FLAGS);
	uint8_t granularity = entry[QCOW2_BITMAP_GRANULARITY];

	return !(flags & ~QCOW2_BITMAP_FLAGS_KNOWN) &&
	       entry[QCOW2_BITMAP_TYPE] == QCOW2_BITMAP_TYPE_DIRTY &&
	       granularity >= QCOW2_BITMAP_GRANULARITY_MIN &&
	       granularity <= QCOW2_BITMAP_GRANULARITY_MAX &&
	       name_len && name_len <= QCOW2_BITMAP_NAME_MAX;
}

/* One entry of the directory at *at, which moves on and not past end. */
static int count_bitmap_of(struct qcow2_check *c, uint64_t *at, uint64_t end)
{
	uint8_t buf[QCOW2_BITMAP_BYTES];
	uint32_t name_len;
	uint64_t bytes;
	int ret;

	if (end - *at < sizeof(buf))
		return -EUCLEAN;
	ret = co_qcow2_check_read(c, *at, sizeof(buf), buf);
	if (ret < 0)
		return ret;
	name_len = be16_at(buf + QCOW2_BITMAP_NAME_LEN);
	bytes = align_up(sizeof(buf) + name_len +
			 (uint64_t)be32_at(buf + QCOW2_BITMAP_EXTRA_LEN), 8);
	if (bytes > end - *at || !bitmap_ok(buf, name_len))
		return -EUCLEAN;
	*at += bytes;
	return count_bitmap(c, be64_at(buf + QCOW2_BITMAP_TABLE_OFFSET),
			    be32_at(buf + QCOW2_BITMAP_TABLE_ENTRIES));
}

static int count_bitmaps(struct qcow2_check *c)
{
	const struct qcow2_header *h = c->header;
	uint64_t at = h->bitmaps_offset, end = at + h->bitmaps_bytes;
	int ret = 0;

	if (!qcow2_check_refer(c, at, h->bitmaps_bytes, "bitmap directory"))
		return 0;
	for (uint32_t i = 0; i < h->bitmaps && ret == 0; i++)
		ret = count_bitmap_of(c, &at, end);
	if (ret == -EUCLEAN || (ret == 0 && at != end))
		qcow2_check_found_once(c, "bitmap directory at offset %" PRIu64
				       " is not valid", h->bitmaps_offset);
	return ret == -EUCLEAN ? 0 : ret;
}

int qcow2_check_count(struct qcow2_check *c)
{
	const struct qcow2_header *h = c->header;
	int ret;

	c->tables = 0;
	qcow2_check_refer(c, 0, h->geo.cluster_size, "header");
	qcow2_check_refer(c, h->l1_offset, h->l1_entries * UINT64_C(8),
			  "L1 table");
	ret = qcow2_check_each(c, h->l1_offset, h->l1_entries, count_l1);
	if (ret == 0 && c->strict)
		ret = count_snapshots(c);
	if (ret == 0 && c->strict && h->bitmaps)
		ret = count_bitmaps(c);
	return ret;
}
