/* SPDX-License-Identifier: MIT */
/*
 * check.c - counts references and compares with the refcounts (check.h).
 *
 * One coroutine. Four bytes for each host cluster of a window of the file, so
 * that the memory is bounded whatever the image says; the tables are walked
 * again for each window, and what is wrong with them told in the first.
 */
#include "drivers/format/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "drivers/format/qcow2/check-count.h"
#include "drivers/format/qcow2/l2.h"
#include "drivers/format/qcow2/refcount.h"
#include "runtime/co.h"

/* Host clusters that we count: 4 GiB of address space, where all at once. */
#define CLUSTERS_MAX (UINT64_C(1) << 30)
/* Of these at a time where the window moves: 128 MiB. */
#define WINDOW_CLUSTERS (UINT64_C(1) << 25)
/* Others get their turn after so many clusters without any I/O. */
#define TURN_CLUSTERS 65536u

/* Refcounts that lie over something else contradict it sooner or later. */
static void check_alone(struct qcow2_check *c, uint64_t host)
{
	uint64_t cluster = host >> check_geo(c)->cluster_bits;

	if (cluster >= c->window && cluster < c->window + c->counts_max &&
	    c->counts[cluster - c->window] != 1)
		qcow2_check_found(c, "refcount block at offset %" PRIu64
				  " overlaps other data", host);
}

static int count_block(struct qcow2_check *c, uint64_t entry)
{
	uint64_t host = entry & QCOW2_HOST_MASK;

	if (!entry)
		return 0;
	if (!host || !is_aligned(host, check_geo(c)->cluster_size) ||
	    entry & ~QCOW2_HOST_MASK) {
		qcow2_check_found_once(c, "reftable entry %#" PRIx64 " is not"
				       " valid", entry);
		return 0;
	}
	if (qcow2_check_refer(c, host, check_geo(c)->cluster_size,
			      "refcount block"))
		check_alone(c, host);
	return 0;
}

/* --- comparing --- */

/* Of refcounts, one block at a time. */
struct qcow2_check_reader {
	struct be64 *table;
	uint64_t entries;
	uint8_t *block;
	uint64_t loaded;	/* number of the block, or UINT64_MAX */
};

static int refcount_of(struct qcow2_check *c, uint64_t cluster, uint64_t *out)
{
	struct qcow2_check_reader *r = c->reader;
	uint64_t n = cluster >> check_geo(c)->block_bits, host;
	int ret;

	*out = 0;
	if (n >= r->entries)
		return 0;
	host = be64_get(r->table[n]) & QCOW2_HOST_MASK;
	if (!host || !is_aligned(host, check_geo(c)->cluster_size))
		return 0;
	if (r->loaded != n) {
		ret = co_qcow2_check_read(c, host, check_geo(c)->cluster_size,
				   r->block);
		if (ret < 0)
			return ret;
		r->loaded = n;
	}
	*out = refcount_get(r->block, check_geo(c)->refcount_order, cluster &
			    ((UINT64_C(1) << check_geo(c)->block_bits) - 1));
	return 0;
}

static int compare_counts(struct qcow2_check *c)
{
	uint64_t end = min(max(c->file_clusters, c->end),
			   c->window + c->counts_max);
	int ret = 0;

	for (uint64_t i = c->window; i < end && ret == 0; i++) {
		uint32_t counted = c->counts[i - c->window];
		uint64_t refs;

		ret = refcount_of(c, i, &refs);
		if (ret < 0)
			break;
		if (refs || counted)
			c->used_end = i + 1;
		if (refs < counted)
			qcow2_check_found(c, "cluster %" PRIu64 " has refcount"
					  " %" PRIu64 " and %" PRIu32
					  " references", i, refs, counted);
		else if (refs > counted)
			c->leaks++;
		if (i % TURN_CLUSTERS == 0)
			co_yield();
	}
	return ret;
}

/* COPIED says that the refcount is one: without it nothing else is wrong, with
 * it a shared cluster would be written in place. */
static int check_copied(struct qcow2_check *c, uint64_t entry,
			const char *what)
{
	uint64_t host = qcow2_entry_host(entry), refs;
	int ret;

	if (entry & QCOW2_COMPRESSED || !host)
		return 0;
	ret = refcount_of(c, host >> check_geo(c)->cluster_bits, &refs);
	if (ret == 0 && !!(entry & QCOW2_COPIED) != (refs == 1))
		qcow2_check_found(c, "%s entry %#" PRIx64 " is marked wrongly"
				  " for refcount %" PRIu64, what, entry, refs);
	return ret;
}

static int check_copied_l2(struct qcow2_check *c, uint64_t entry)
{
	return check_copied(c, entry, "L2");
}

static int check_copied_l1(struct qcow2_check *c, uint64_t entry)
{
	uint64_t host = qcow2_entry_host(entry);
	int ret;

	if (!host || !is_aligned(host, check_geo(c)->cluster_size))
		return 0;
	ret = check_copied(c, entry, "L1");
	return ret < 0 ? ret :
		qcow2_check_each(c, host, UINT64_C(1) << check_geo(c)->l2_bits,
				 check_copied_l2);
}

/* The window's refcounts; in the first pass also what the entries claim. */
static int compare(struct qcow2_check *c)
{
	const struct qcow2_header *h = c->header;
	uint64_t bytes = (uint64_t)h->reftable_clusters <<
			 check_geo(c)->cluster_bits;
	struct qcow2_check_reader r = {
		.table = malloc(bytes),
		.entries = bytes / 8,
		.block = malloc(check_geo(c)->cluster_size),
		.loaded = UINT64_MAX,
	};
	int ret = -ENOMEM;

	c->reader = &r;
	if (r.table && r.block)
		ret = co_qcow2_check_read(c, h->reftable_offset,
					  (uint32_t)bytes, r.table);
	if (ret == 0)
		ret = compare_counts(c);
	if (ret == 0 && c->window == 0) {
		c->tables = 0;
		ret = qcow2_check_each(c, h->l1_offset, h->l1_entries,
				       check_copied_l1);
	}
	c->reader = NULL;
	free(r.table);
	free(r.block);
	return ret;
}

/* --- setting up --- */

int qcow2_check_map(struct qcow2_check *c)
{
	uint64_t size;
	void *mem;
	int ret = co_edge_storage_size(c->file, &size);

	if (ret < 0)
		return ret;
	c->file_clusters = div_up(size, check_geo(c)->cluster_size);
	/* the last cluster may be there in part */
	c->end_max = size + check_geo(c)->cluster_size - 1;
	c->counts_max = c->file_clusters + 1;
	if (c->strict) {
		c->counts_max = min(c->counts_max, WINDOW_CLUSTERS);
	} else {
		/* allocated is what lies in the file, or just behind its end */
		c->counts_max = 2 * c->file_clusters + 1024;
		c->end_max = c->counts_max << check_geo(c)->cluster_bits;
	}
	if (c->file_clusters > CLUSTERS_MAX || c->counts_max > CLUSTERS_MAX)
		return -EFBIG;
	mem = mmap(NULL, c->counts_max * sizeof(*c->counts),
		   PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	c->counts = mem;
	return 0;
}

void qcow2_check_unmap(struct qcow2_check *c)
{
	munmap(c->counts, c->counts_max * sizeof(*c->counts));
	c->counts = NULL;
}

/* Everything about the clusters of one window. */
static int check_window(struct qcow2_check *c)
{
	const struct qcow2_header *h = c->header;
	uint64_t bytes = (uint64_t)h->reftable_clusters <<
			 check_geo(c)->cluster_bits;
	int ret;

	if (c->window)
		(void)madvise(c->counts, c->counts_max * sizeof(*c->counts),
			      MADV_DONTNEED);
	ret = qcow2_check_count(c);
	if (ret < 0)
		return ret;
	qcow2_check_refer(c, h->reftable_offset, bytes, "refcount table");
	ret = qcow2_check_each(c, h->reftable_offset, bytes / 8, count_block);
	return ret < 0 ? ret : compare(c);
}

static int check_read_header(struct qcow2_check *c, struct qcow2_header *h)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint8_t first[QCOW2_SECTOR], *buf = NULL;
	uint64_t size = 0;
	uint32_t len = 0;
	int ret = co_edge_storage_size(c->file, &size);

	if (ret == 0)
		ret = co_qcow2_check_read(c, 0, sizeof(first), first);
	if (ret == 0)
		ret = qcow2_header_extent(first, &len, &err);
	if (ret == 0) {
		buf = malloc(len);
		ret = buf ? co_qcow2_check_read(c, 0, len, buf) : -ENOMEM;
	}
	if (ret == 0)
		ret = qcow2_header_parse(buf, size, h, &err);
	if (err)
		qcow2_check_found(c, "%s", err->text);
	free(buf);
	return ret;
}

int qcow2_check(struct edge *file, uint64_t *progress,
		struct qcow2_check *check)
{
	struct qcow2_header *h = calloc(1, sizeof(*h));
	int ret = h ? 0 : -ENOMEM;

	*check = (struct qcow2_check){
		.file = file, .header = h, .strict = true,
		.progress = progress,
	};
	if (ret == 0)
		ret = check_read_header(check, h);
	if (ret == 0)
		ret = qcow2_check_map(check);
	if (ret == 0) {
		check->total = div_up(h->size, check_geo(check)->cluster_size);
		do {
			ret = check_window(check);
			check->window += check->counts_max;
		} while (ret == 0 && check->window <
			 max(check->file_clusters, check->end));
		check->used_end <<= check_geo(check)->cluster_bits;
		qcow2_check_unmap(check);
	}
	free(h);
	check->header = NULL;
	return ret;
}

/* --- for users --- */

int qcow2_check_image(struct edge *file, struct image_check *out,
		      struct error **err)
{
	struct qcow2_check c;
	int ret = qcow2_check(file, out->progress, &c);

	/* what is no qcow2 image at all is no damaged one */
	if (ret < 0)
		return error_set(err, -ret, "%s", c.errors ? c.first_error :
				 strerror(-ret));
	*out = (struct image_check){
		.errors = c.errors,
		.leaks = c.leaks,
		.total = c.total,
		.allocated = c.allocated,
		.compressed = c.packed,
		.end = c.used_end,
	};
	memcpy(out->first_error, c.first_error, sizeof(c.first_error));
	return 0;
}
