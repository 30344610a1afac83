/* SPDX-License-Identifier: MIT */
/*
 * create.c - makes an image: cluster 0 is the header, behind it lie the
 * refcount table, its blocks, the L1 table, and with preallocation the L2
 * tables and the data, each without a gap.
 *
 * Main thread, a job's coroutine; nobody else uses the file. The header is
 * written last, when all it names is durable, so half an image is none; what
 * the file was before ends with the first write.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/format/qcow2/create.h"
#include "drivers/format/qcow2/header.h"
#include "drivers/format/qcow2/l2.h"
#include "drivers/format/qcow2/refcount.h"
#include "graph/io.h"
#include "runtime/late.h"

#define HEADER_LEN_V3 112u	/* with the compression type, padded */
#define FILL_BYTES (1u << 20)
/* Of what the storage daemon has any: a whole number of its largest blocks. */
#define IMAGE_SIZE_MAX ((uint64_t)INT64_MAX >> 30 << 30)

enum { VERSION_2, VERSION_3 };
enum { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL };

static const char *const version_values[] = { "v2", "v3", NULL };
static const char *const qcow2_prealloc_values[] = {
	"off", "metadata", "falloc", "full", NULL,
};
static const char *const compression_values[] = { "zlib", "zstd", NULL };

const struct option qcow2_create_options[] = {
	{
		.name = "size",
		.type = OPT_UINT64,
		.offset = offsetof(struct qcow2_create, size),
		.required = true,
		.help = "bytes of the disk",
	}, {
		.name = "version",
		.type = OPT_ENUM,
		.offset = offsetof(struct qcow2_create, version),
		.def = "v3",
		.values = version_values,
		.help = "v2 for old software",
	}, {
		.name = "backing-file",
		.type = OPT_STRING,
		.offset = offsetof(struct qcow2_create, backing),
		.help = "name of the image below, as the header has it",
	}, {
		.name = "backing-fmt",
		.type = OPT_STRING,
		.offset = offsetof(struct qcow2_create, backing_format),
		.help = "its format",
	}, {
		.name = "cluster-size",
		.type = OPT_UINT64,
		.offset = offsetof(struct qcow2_create, cluster_size),
		.def = "65536",
		.help = "bytes: a power of two from 512 to 2M",
	}, {
		.name = "preallocation",
		.type = OPT_ENUM,
		.offset = offsetof(struct qcow2_create, preallocation),
		.def = "off",
		.values = qcow2_prealloc_values,
		.help = "metadata: all tables; falloc: and space for the data;"
			" full: and zeroes in it",
	}, {
		.name = "lazy-refcounts",
		.type = OPT_BOOL,
		.offset = offsetof(struct qcow2_create, lazy_refcounts),
		.def = "off",
		.help = "refcounts are updated late, and anew after a crash",
	}, {
		.name = "refcount-bits",
		.type = OPT_INT64,
		.offset = offsetof(struct qcow2_create, refcount_bits),
		.def = "16",
		.help = "1, 2, 4, 8, 16, 32 or 64",
	}, {
		.name = "compression-type",
		.type = OPT_ENUM,
		.offset = offsetof(struct qcow2_create, compression),
		.def = "zlib",
		.values = compression_values,
		.help = "of compressed clusters",
	},
	{ .name = NULL },
};

/* Where everything lies, in clusters. */
struct layout {
	struct qcow2_geometry geo;
	uint64_t table, table_count;	/* of refcount blocks */
	uint64_t blocks, block_count;
	uint64_t l1, l1_count, l1_entries;
	uint64_t l2, l2_count;
	uint64_t data, data_count;
	uint64_t end;
};

/* --- what is asked --- */

static int check_version(const struct qcow2_create *o, struct error **err)
{
	if (o->version == VERSION_3)
		return 0;
	if (o->lazy_refcounts)
		return error_set(err, EINVAL, "Lazy refcounts only supported"
				 " with compatibility level 1.1 and above (use"
				 " version=v3 or greater)");
	if (o->refcount_bits != 16)
		return error_set(err, EINVAL, "Different refcount widths than"
				 " 16 bits require compatibility level 1.1 or"
				 " above (use version=v3 or greater)");
	if (o->compression != QCOW2_ZLIB)
		return error_set(err, EINVAL, "Non-zlib compression type is"
				 " only supported with compatibility level 1.1"
				 " and above (use version=v3 or greater)");
	return 0;
}

static int check_backing(const struct qcow2_create *o, struct error **err)
{
	if (!o->backing && o->backing_format)
		return error_set(err, EINVAL, "Backing format cannot be used"
				 " without backing file");
	if (!o->backing)
		return 0;
	if (o->preallocation != PREALLOC_OFF)
		return error_set(err, EINVAL, "Backing file and preallocation"
				 " can only be used at the same time if"
				 " extended_l2 is on");
	if (!*o->backing || strlen(o->backing) > QCOW2_BACKING_NAME_MAX)
		return error_set(err, EINVAL, "Backing file name '%s' has not"
				 " 1 to %d bytes", o->backing,
				 QCOW2_BACKING_NAME_MAX);
	if (o->backing_format && strlen(o->backing_format) > 15)
		return error_set(err, EINVAL, "Backing format name '%s' is too"
				 " long", o->backing_format);
	return 0;
}

static int check_create(const struct qcow2_create *o, struct error **err)
{
	int ret;

	if (!is_aligned(o->size, QCOW2_SECTOR)) {
		error_set(err, EINVAL, "Image size must be a multiple of 512"
			  " bytes");
		return error_add(err, ", not %" PRIu64, o->size);
	}
	if (!is_pow2(o->cluster_size) ||
	    o->cluster_size < 1u << QCOW2_CLUSTER_BITS_MIN ||
	    o->cluster_size > 1u << QCOW2_CLUSTER_BITS_MAX) {
		error_set(err, EINVAL, "Cluster size must be a power of two"
			  " between 512 and 2048k");
		return error_add(err, ", not %" PRIu64, o->cluster_size);
	}
	if (!is_pow2(o->refcount_bits) || o->refcount_bits > 64) {
		error_set(err, EINVAL, "Refcount width must be a power of two"
			  " and may not exceed 64 bits");
		return error_add(err, ", not %" PRId64,
				 (int64_t)o->refcount_bits);
	}
	ret = check_version(o, err);
	return ret < 0 ? ret : check_backing(o, err);
}

/* --- where it goes --- */

/* In the order in which the storage daemon looks. */
static int too_large(const struct qcow2_create *o, struct error **err)
{
	if (o->size > INT64_MAX)
		error_set(err, EFBIG, "Could not resize image: Image size"
			  " cannot be negative");
	else if (o->size > IMAGE_SIZE_MAX)
		error_set(err, EFBIG, "Could not resize image: offset(%" PRIu64
			  ") exceeds maximum(%" PRIu64 ")", o->size,
			  IMAGE_SIZE_MAX);
	else
		error_set(err, EFBIG, "Could not resize image: Failed to grow"
			  " the L1 table: File too large");
	return error_add(err, " (a disk of %" PRIu64 " bytes needs clusters"
			 " larger than %" PRIu64 " bytes)", o->size,
			 o->cluster_size);
}

/* Blocks have refcounts of themselves and of their table too. */
static int layout_refcounts(struct layout *l, uint64_t others)
{
	const struct qcow2_geometry *g = &l->geo;
	uint64_t blocks = 0, table = 0;

	do {
		l->block_count = blocks;
		l->table_count = table;
		blocks = div_up(others + blocks + table,
				UINT64_C(1) << g->block_bits);
		table = div_up(blocks * 8, g->cluster_size);
		if (table << g->cluster_bits > QCOW2_REFTABLE_BYTES_MAX)
			return -EFBIG;
	} while (blocks != l->block_count || table != l->table_count);
	return 0;
}

static int layout_make(const struct qcow2_create *o, struct layout *l,
		       struct error **err)
{
	unsigned bits = (unsigned)__builtin_ctzll(o->cluster_size);
	int ret = -EFBIG;

	*l = (struct layout){ .table = 1 };
	l->geo = qcow2_geometry_make(bits, (unsigned)
				     __builtin_ctzll(o->refcount_bits));
	if (o->size <= INT64_MAX - o->cluster_size) {
		l->l1_entries = qcow2_l1_needed(&l->geo, o->size);
		l->l1_count = div_up(l->l1_entries * 8, o->cluster_size);
		if (o->preallocation != PREALLOC_OFF) {
			l->l2_count = l->l1_entries;
			l->data_count = div_up(o->size, o->cluster_size);
		}
		if (l->l1_entries * 8 <= QCOW2_L1_BYTES_MAX)
			ret = layout_refcounts(l, 1 + l->l1_count +
					       l->l2_count + l->data_count);
	}
	if (ret < 0)
		return too_large(o, err);
	l->blocks = l->table + l->table_count;
	l->l1 = l->blocks + l->block_count;
	l->l2 = l->l1 + l->l1_count;
	l->data = l->l2 + l->l2_count;
	l->end = l->data + l->data_count;
	return 0;
}

/* --- writing it --- */

struct writer {
	const struct qcow2_create *o;
	const struct layout *l;
	struct edge *file;
	uint8_t *cluster;	/* to write from */
};

static uint64_t host(const struct writer *w, uint64_t cluster)
{
	return cluster << w->l->geo.cluster_bits;
}

static int co_put(struct writer *w, uint64_t cluster)
{
	if (late_unwanted())
		return -ECANCELED;
	return co_edge_write(w->file, host(w, cluster),
			     w->l->geo.cluster_size, w->cluster, 0);
}

/* A table over `count` clusters whose entries name clusters from `first` on. */
static int co_put_table(struct writer *w, uint64_t at, uint64_t count,
			uint64_t first, uint64_t entries, uint64_t flags)
{
	uint64_t per_cluster = w->l->geo.cluster_size / 8;
	int ret = 0;

	for (uint64_t i = 0; i < count && ret == 0; i++) {
		memset(w->cluster, 0, w->l->geo.cluster_size);
		for (uint64_t k = 0; k < per_cluster; k++) {
			uint64_t n = i * per_cluster + k;

			if (n < entries)
				be64_put(w->cluster + k * 8,
					 host(w, first + n) | flags);
		}
		ret = co_put(w, at + i);
	}
	return ret;
}

static int co_put_blocks(struct writer *w)
{
	const struct layout *l = w->l;
	uint64_t per_block = UINT64_C(1) << l->geo.block_bits;
	int ret = 0;

	for (uint64_t i = 0; i < l->block_count && ret == 0; i++) {
		memset(w->cluster, 0, l->geo.cluster_size);
		for (uint64_t k = 0; k < per_block; k++)
			if (i * per_block + k < l->end)
				refcount_put(w->cluster, l->geo.refcount_order,
					     k, 1);
		ret = co_put(w, l->blocks + i);
	}
	return ret;
}

static int co_put_tables(struct writer *w)
{
	const struct layout *l = w->l;
	int ret;

	ret = co_put_table(w, l->table, l->table_count, l->blocks,
			   l->block_count, 0);
	if (ret == 0)
		ret = co_put_blocks(w);
	if (ret == 0)
		ret = co_put_table(w, l->l1, l->l1_count, l->l2,
				   l->l2_count ? l->l1_entries : 0,
				   QCOW2_COPIED);
	if (ret == 0)
		ret = co_put_table(w, l->l2, l->l2_count, l->data,
				   l->data_count, QCOW2_COPIED);
	return ret;
}

static int co_pad_zeroes(struct writer *w, uint64_t from, uint64_t to)
{
	uint8_t *zeroes = calloc(1, FILL_BYTES);
	int ret = zeroes ? 0 : -ENOMEM;

	for (; from < to && ret == 0; from += FILL_BYTES)
		ret = late_unwanted() ? -ECANCELED :
			co_edge_write(w->file, from, (uint32_t)
				      min(to - from, (uint64_t)FILL_BYTES),
				      zeroes, 0);
	free(zeroes);
	return ret;
}

/* What data clusters hold, in a file of `size` bytes before; and the file
 * reaches to the end of the last cluster that a table names. */
static int co_put_data(struct writer *w, uint64_t size)
{
	uint64_t from = host(w, w->l->data), to = host(w, w->l->end);
	int ret = 0;

	if (w->o->preallocation == PREALLOC_FULL)
		return co_pad_zeroes(w, from, to);
	if (w->o->preallocation == PREALLOC_FALLOC)
		return co_edge_zeroes(w->file, from, to - from, REQ_NO_UNMAP);
	if (size > from)
		ret = co_edge_zeroes(w->file, from, min(size, to) - from, 0);
	if (ret == 0 && size < to && to > from)
		ret = co_pad_zeroes(w, to - QCOW2_SECTOR, to);
	return ret;
}

/* --- the header --- */

static uint32_t put_backing_format(const struct qcow2_create *o, uint8_t *at)
{
	uint32_t len = o->backing_format ? (uint32_t)strlen(o->backing_format)
					 : 0;

	if (!len)
		return 0;
	be32_put(at, QCOW2_EXT_BACKING_FORMAT);
	be32_put(at + 4, len);
	memcpy(at + 8, o->backing_format, len);
	return 8 + (uint32_t)align_up(len, 8);
}

static void put_version_3(const struct qcow2_create *o,
			  const struct layout *l, uint8_t *buf)
{
	bool zstd = o->compression == QCOW2_ZSTD;

	be64_put(buf + QCOW2_H_INCOMPATIBLE,
		 zstd ? QCOW2_INCOMPAT_COMPRESSION : 0);
	be64_put(buf + QCOW2_H_COMPATIBLE,
		 o->lazy_refcounts ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0);
	be32_put(buf + QCOW2_H_REFCOUNT_ORDER, l->geo.refcount_order);
	be32_put(buf + QCOW2_H_LEN, HEADER_LEN_V3);
	buf[QCOW2_H_COMPRESSION] = (uint8_t)o->compression;
}

/* The backing name is behind the extensions; -ENOSPC: it does not fit. */
static int put_backing(const struct qcow2_create *o, uint8_t *buf)
{
	uint32_t at = o->version == VERSION_3 ? HEADER_LEN_V3
					      : QCOW2_H_V2_LEN;
	uint32_t len = o->backing ? (uint32_t)strlen(o->backing) : 0;

	at += put_backing_format(o, buf + at);
	at += 8;	/* the end mark is zeroes */
	if (at + len > o->cluster_size)
		return -ENOSPC;
	if (!len)
		return 0;
	be64_put(buf + QCOW2_H_BACKING_OFFSET, at);
	be32_put(buf + QCOW2_H_BACKING_LEN, len);
	memcpy(buf + at, o->backing, len);
	return 0;
}

static int put_header(struct writer *w)
{
	const struct layout *l = w->l;
	uint8_t *buf = w->cluster;

	memset(buf, 0, l->geo.cluster_size);
	be32_put(buf + QCOW2_H_MAGIC, QCOW2_MAGIC);
	be32_put(buf + QCOW2_H_VERSION, w->o->version == VERSION_3 ? 3 : 2);
	be32_put(buf + QCOW2_H_CLUSTER_BITS, l->geo.cluster_bits);
	be64_put(buf + QCOW2_H_SIZE, w->o->size);
	be32_put(buf + QCOW2_H_L1_ENTRIES, (uint32_t)l->l1_entries);
	be64_put(buf + QCOW2_H_L1_OFFSET, l->l1_count ? host(w, l->l1) : 0);
	be64_put(buf + QCOW2_H_REFTABLE_OFFSET, host(w, l->table));
	be32_put(buf + QCOW2_H_REFTABLE_CLUSTERS, (uint32_t)l->table_count);
	if (w->o->version == VERSION_3)
		put_version_3(w->o, l, buf);
	return put_backing(w->o, buf);
}

/* --- all of it --- */

static int co_write_image(struct writer *w, uint64_t size)
{
	int ret = 0;

	if (size) {
		memset(w->cluster, 0, w->l->geo.cluster_size);
		ret = co_put(w, 0);
		if (ret == 0)
			ret = co_edge_flush(w->file);
	}
	if (ret == 0)
		ret = co_put_data(w, size);
	if (ret == 0)
		ret = co_put_tables(w);
	if (ret == 0)
		ret = co_edge_flush(w->file);
	if (ret < 0)
		return ret;
	ret = put_header(w);
	assert(ret == 0);	/* has been tried */
	ret = co_put(w, 0);
	return ret < 0 ? ret : co_edge_flush(w->file);
}

static int check_room(const struct writer *w, struct error **err)
{
	const struct node *node = w->file->child;

	if (put_header(&(struct writer){ w->o, w->l, NULL, w->cluster }) < 0)
		return error_set(err, EINVAL, "The backing file name does not"
				 " fit into a header of %" PRIu64 " bytes",
				 w->o->cluster_size);
	if (node->limits.fixed_size && node->size < host(w, w->l->end))
		return error_set(err, ENOSPC, "The image needs %" PRIu64
				 " bytes, and node '%s' has %" PRIu64,
				 host(w, w->l->end), node->name, node->size);
	return 0;
}

static void not_written(const struct node *node, int code, struct error **err)
{
	/* a job that opens the file makes up a name for the node */
	error_set(err, code, "Could not write the image to %s'%s': %s",
		  node->filename ? "" : "node ",
		  node->filename ? node->filename : node->name,
		  strerror(code));
}

int qcow2_create(const void *opts, struct edge *file, struct error **err)
{
	const struct qcow2_create *o = opts;
	struct layout l;
	struct writer w = { .o = o, .l = &l, .file = file };
	uint64_t size;
	int ret = check_create(o, err);

	if (ret == 0)
		ret = layout_make(o, &l, err);
	if (ret < 0)
		return ret;
	w.cluster = malloc(o->cluster_size);
	if (!w.cluster)
		return error_set(err, ENOMEM, "Out of memory");
	ret = check_room(&w, err);
	if (ret == 0) {
		ret = co_edge_storage_size(file, &size);
		if (ret == 0)
			ret = co_write_image(&w, size);
		if (ret < 0)
			not_written(file->child, -ret, err);
	}
	free(w.cluster);
	return ret;
}
