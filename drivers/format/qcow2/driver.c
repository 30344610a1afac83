/* SPDX-License-Identifier: MIT */
/*
 * driver.c - opening and closing qcow2 images, and the table of operations.
 *
 * The main thread's coroutines, when nobody else uses the node. Opening
 * changes nothing on disk, except that an image that was not closed with lazy
 * refcounts gets them anew when it is opened for writing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "drivers/drivers.h"
#include "drivers/format/qcow2/check.h"
#include "drivers/format/qcow2/create.h"
#include "drivers/format/qcow2/info.h"
#include "drivers/format/qcow2/qcow2.h"
#include "graph/reopen.h"

#define L2_CACHE_DEFAULT (UINT64_C(32) << 20)
#define REF_CACHE_DEFAULT (UINT64_C(4) << 20)
#define CACHE_MAX (UINT64_C(1) << 32)
/* Rounds in which close empties limbo: one for what the flush before unlinked,
 * one for a reftable that moved meanwhile, and one to spare. */
#define CLOSE_ROUNDS 3

static const struct option qcow2_options[] = {
	{
		.name = "lazy-refcounts",
		.type = OPT_BOOL,
		.offset = offsetof(struct qcow2_opts, lazy_refcounts),
		.changes = true,
		.def = "false",
		.help = "postpone refcount updates, also where the image does"
			" not ask for it",
	}, {
		.name = "cache-size",
		.type = OPT_SIZE,
		.offset = offsetof(struct qcow2_opts, cache_size),
		.highest = CACHE_MAX,
		.help = "most memory for L2 tables and refcount blocks"
			" together",
	}, {
		.name = "l2-cache-size",
		.type = OPT_SIZE,
		.offset = offsetof(struct qcow2_opts, l2_cache_size),
		.highest = CACHE_MAX,
		.help = "most memory for L2 tables; default: as needed, up to"
			" 32 MiB",
	}, {
		.name = "refcount-cache-size",
		.type = OPT_SIZE,
		.offset = offsetof(struct qcow2_opts, refcount_cache_size),
		.highest = CACHE_MAX,
		.help = "most memory for refcount blocks; default: 4 MiB",
	}, {
		.name = "l2-cache-entry-size",
		.type = OPT_SIZE,
		.offset = offsetof(struct qcow2_opts, l2_cache_entry_size),
		.highest = CACHE_MAX,
		.help = "accepted for compatibility; always 4 KiB, or a"
			" cluster that is smaller",
	}, {
		.name = "pass-discard-request",
		.type = OPT_BOOL,
		.offset = offsetof(struct qcow2_opts, pass_discard),
		.changes = true,
		.def = "true",
		.help = "give the space of discarded clusters back to the file",
	},
	{ .name = NULL },
};

static const struct child_decl qcow2_children[] = {
	{ .name = "file", .role = ROLE_IMAGE },
	{
		.name = "backing",
		.role = ROLE_COW,
		.optional = true,
		.after_open = true,
	},
	{ .name = NULL },
};

/* --- memory --- */

/* Pieces of one mapping that is touched as it is used: the size of a table is
 * the image's claim, and costs nothing until there is something in it. */
struct carve {
	uint8_t *mem;		/* NULL: only adding up */
	size_t used;
};

static void *carve(struct carve *c, uint64_t bytes)
{
	void *p = c->mem ? c->mem + c->used : NULL;

	c->used += align_up(bytes, 4096);
	return p;
}

static void carve_tables(struct qcow2 *s, struct carve *c)
{
	const uint64_t l1_max = QCOW2_L1_BYTES_MAX;

	/* one more: what is asked about ends behind the last */
	s->l1 = carve(c, l1_max + 8);
	s->l1_state = carve(c, l1_max / 8);
	s->l1_dirty = carve(c, l1_max / QCOW2_SECTOR);
	s->l1_claimed = carve(c, l1_max / QCOW2_SECTOR);
	s->reftable = carve(c, QCOW2_REFTABLE_BYTES_MAX);
	s->reftable_dirty = carve(c, QCOW2_REFTABLE_BYTES_MAX / QCOW2_SECTOR);
	s->reftable_claimed = carve(c, QCOW2_REFTABLE_BYTES_MAX /
				       QCOW2_SECTOR);
	s->sector = carve(c, 4096);
	s->blank = carve(c, BLANK_BYTES);
	s->table_buf = carve(c, s->geo.cluster_size);
	s->scratch = carve(c, SCRATCH_BYTES);
}

static int tables_init(struct qcow2 *s)
{
	struct carve c = { NULL, 0 };
	void *mem;

	carve_tables(s, &c);
	s->tables_mapped = c.used;
	mem = mmap(NULL, c.used, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	c = (struct carve){ .mem = mem };
	s->tables = mem;
	carve_tables(s, &c);
	return 0;
}

static int caches_init(struct qcow2 *s)
{
	const struct qcow2_opts *o = s->node->opts;
	uint64_t needed = qcow2_l1_needed(&s->geo, s->header.size) <<
			  s->geo.cluster_bits;
	uint64_t refs = o->refcount_cache_size ? o->refcount_cache_size :
						 REF_CACHE_DEFAULT;
	uint64_t l2 = min(L2_CACHE_DEFAULT, needed);
	int ret;

	if (o->cache_size && o->l2_cache_size)
		refs = o->cache_size - o->l2_cache_size;
	else if (o->cache_size && !o->refcount_cache_size)
		refs = min(refs, o->cache_size / 5);
	if (o->cache_size)
		l2 = o->cache_size - min(o->cache_size, refs);
	if (o->l2_cache_size)
		l2 = o->l2_cache_size;
	ret = slice_cache_init(&s->l2, l2, s->geo.slice_size, true);
	if (ret < 0)
		return ret;
	return slice_cache_init(&s->refs, refs, s->geo.slice_size, false);
}

/* What options of the caches say against each other. */
static int check_caches(const struct qcow2 *s, struct error **err)
{
	const struct qcow2_opts *o = s->node->opts;
	uint64_t entry = o->l2_cache_entry_size;

	if (o->cache_size && o->l2_cache_size && o->refcount_cache_size)
		return error_set(err, EINVAL, "cache-size, l2-cache-size and"
				 " refcount-cache-size may not be set at the"
				 " same time");
	if (o->cache_size && o->l2_cache_size > o->cache_size)
		return error_set(err, EINVAL, "l2-cache-size may not exceed"
				 " cache-size");
	if (o->cache_size && o->refcount_cache_size > o->cache_size)
		return error_set(err, EINVAL, "refcount-cache-size may not"
				 " exceed cache-size");
	if (entry && (!is_pow2(entry) || entry < QCOW2_SECTOR ||
		      entry > s->geo.cluster_size))
		return error_set(err, EINVAL, "L2 cache entry size must be a"
				 " power of two between %d and the cluster size"
				 " (%" PRIu32 ")", QCOW2_SECTOR,
				 s->geo.cluster_size);
	return 0;
}

static int memory_init(struct qcow2 *s)
{
	int ret = tables_init(s);

	if (ret == 0)
		ret = caches_init(s);
	if (ret == 0)
		ret = limbo_init(s);
	if (ret == 0)
		ret = flush_area_init(s);
	return ret;
}

static void memory_free(struct qcow2 *s)
{
	flush_area_destroy(s);
	limbo_destroy(s);
	slice_cache_destroy(&s->l2);
	slice_cache_destroy(&s->refs);
	meta_set_destroy(&s->meta);
	if (s->tables)
		munmap(s->tables, s->tables_mapped);
	s->tables = NULL;
}

/* --- opening --- */

static int read_error(const struct qcow2 *s, const char *what, int ret,
		      struct error **err)
{
	return error_set(err, -ret, "Could not read the %s of qcow2 node '%s':"
			 " %s", what, s->node->name, strerror(-ret));
}

static int read_header(struct qcow2 *s, struct error **err)
{
	uint8_t first[QCOW2_HEADER_BYTES], *buf;
	uint64_t size = 0;
	uint32_t len;
	int ret = co_edge_read(qcow2_file(s), 0, sizeof(first), first);

	if (ret < 0)
		return read_error(s, "header", ret, err);
	ret = qcow2_header_extent(first, &len, err);
	if (ret < 0)
		return ret;
	buf = malloc(len);
	ret = buf ? co_edge_read(qcow2_file(s), 0, len, buf) : -ENOMEM;
	/* it may have been made since its node was opened */
	if (ret == 0)
		ret = co_edge_storage_size(qcow2_file(s), &size);
	if (ret < 0)
		read_error(s, "header", ret, err);
	else
		ret = qcow2_header_parse(buf, size, &s->header, err);
	free(buf);
	return ret;
}

static int read_table(struct qcow2 *s, uint64_t offset, uint64_t bytes,
		      void *to, const char *what, struct error **err)
{
	int ret = co_edge_read(qcow2_file(s), offset, (uint32_t)bytes, to);

	return ret < 0 ? read_error(s, what, ret, err) : 0;
}

/* Where the file and host clusters end, and from where on they read as
 * zeroes. */
static int measure_file(struct qcow2 *s, struct error **err)
{
	uint64_t size;
	int ret = co_edge_storage_size(qcow2_file(s), &size);

	if (ret < 0)
		return read_error(s, "file size", ret, err);
	s->capacity = UINT64_MAX;
	s->end = size;
	s->virgin = div_up(size, s->geo.cluster_size);
	if (qcow2_file(s)->child->limits.fixed_size) {
		s->capacity = qcow2_file(s)->child->size >>
			      s->geo.cluster_bits;
		s->virgin = s->capacity;
	}
	return 0;
}

static int meta_claim(struct qcow2 *s, uint64_t offset, uint64_t bytes,
		      const char *what, struct error **err)
{
	uint64_t first = qcow2_host_cluster(&s->geo, offset);
	uint64_t count = div_up(bytes, s->geo.cluster_size);

	if (meta_set_reserve(&s->meta, count) < 0)
		return error_set(err, ENOMEM, "Out of memory");
	for (uint64_t c = first; c < first + count; c++) {
		if (meta_set_has(&s->meta, c))
			return error_set(err, EUCLEAN, "qcow2 node '%s': %s at"
				" offset %" PRIu64 " overlaps other metadata",
				s->node->name, what, offset);
		meta_set_add(&s->meta, c);
	}
	return 0;
}

/* A table that the image names twice, or over another one, would destroy
 * itself with the first write. */
static int meta_collect(struct qcow2 *s, struct error **err)
{
	const struct qcow2_header *h = &s->header;
	uint64_t reftable_bytes = (uint64_t)h->reftable_clusters <<
				  s->geo.cluster_bits;
	int ret;

	ret = meta_claim(s, 0, QCOW2_HEADER_BYTES, "header", err);
	if (ret == 0)
		ret = meta_claim(s, h->l1_offset, h->l1_entries * UINT64_C(8),
				 "L1 table", err);
	if (ret == 0)
		ret = meta_claim(s, h->reftable_offset, reftable_bytes,
				 "refcount table", err);
	for (uint32_t i = 0; i < h->l1_entries && ret == 0; i++) {
		uint64_t host = qcow2_entry_host(be64_get(s->l1[i]));

		if (host)
			ret = meta_claim(s, host, 1, "L2 table", err);
	}
	for (uint64_t i = 0; i < s->reftable_entries && ret == 0; i++) {
		uint64_t host = be64_get(s->reftable[i]) & QCOW2_HOST_MASK;

		if (host)
			ret = meta_claim(s, host, 1, "refcount block", err);
	}
	return ret;
}

static int read_l1(struct qcow2 *s, struct error **err)
{
	const struct qcow2_header *h = &s->header;

	return read_table(s, h->l1_offset, h->l1_entries * UINT64_C(8), s->l1,
			  "L1 table", err);
}

/*
 * The disk's bytes that lie behind the end of the file are no zeroes, but what
 * is gone (Q16). Writing would make the file grow over their places, and the
 * next opener find holes there; so that is refused. What cannot be read here
 * is an error for who needs it.
 */
static int look_for_lost(struct qcow2 *s, bool writable, struct error **err)
{
	struct node *node = s->node;
	uint64_t guest;
	int ret = measure_file(s, err);

	if (ret < 0 || qcow2_find_lost(s, &guest) <= 0)
		return ret;
	if (writable)
		return error_set(err, EUCLEAN, "qcow2 node '%s' has data behind"
			" the end of its file, which has %" PRIu64 " bytes:"
			" what is missing is lost, first at byte %" PRIu64
			" of the disk; it can only be opened read-only",
			node->name, s->end, guest);
	s->lost = true;
	if (!node->warning &&
	    asprintf(&node->warning, "qcow2 node '%s' has data behind the end"
		     " of its file, which has %" PRIu64 " bytes: what is"
		     " missing is lost and reads as an error, first at byte %"
		     PRIu64 " of the disk", node->name, s->end, guest) < 0)
		node->warning = NULL;
	return 0;
}

/* What only writing needs, and reading does not look at. */
static int load_refcounts(struct qcow2 *s, struct error **err)
{
	const struct qcow2_header *h = &s->header;
	uint64_t bytes = (uint64_t)h->reftable_clusters << s->geo.cluster_bits;
	int ret = read_table(s, h->reftable_offset, bytes, s->reftable,
			     "refcount table", err);

	if (ret < 0)
		return ret;
	s->reftable_offset = h->reftable_offset;
	s->reftable_entries = bytes / 8;
	meta_set_destroy(&s->meta);
	if (meta_set_init(&s->meta) < 0)
		return error_set(err, ENOMEM, "Out of memory");
	return meta_collect(s, err);
}

/* Everything that only writing needs. A rebuild changes marks in tables, so
 * nothing that was read of them before outlives it. */
static int prepare_writing(struct qcow2 *s, struct error **err)
{
	struct qcow2_header *h = &s->header;
	int ret;

	ret = qcow2_header_writable(h, err);
	if (ret < 0)
		return ret;
	ret = read_table(s, 0, QCOW2_HEADER_BYTES, s->sector, "header", err);
	if (ret < 0)
		return ret;
	if (h->incompatible & QCOW2_INCOMPAT_DIRTY) {
		bool fixed = qcow2_file(s)->child->limits.fixed_size;

		ret = qcow2_rebuild_refcounts(qcow2_file(s), h, s->sector,
					      fixed, err);
		if (ret < 0)
			return ret;
		slice_evict(&s->l2, s->l2.count, ++s->retire_seq);
		ret = read_l1(s, err);
		if (ret < 0)
			return ret;
	}
	ret = measure_file(s, err);
	return ret < 0 ? ret : load_refcounts(s, err);
}

static int check_lazy(const struct qcow2 *s, const struct qcow2_opts *o,
		      struct error **err)
{
	if (o->lazy_refcounts && !s->v3)
		return error_set(err, EINVAL, "Lazy refcounts require a qcow2"
				 " image of version 3, node '%s' is version 2",
				 s->node->name);
	return 0;
}

static void use_opts(struct qcow2 *s)
{
	const struct qcow2_opts *o = s->node->opts;

	s->lazy = o->lazy_refcounts ||
		  s->header.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
	s->pass_discard = o->pass_discard;
}

static int open_tables(struct qcow2 *s, struct error **err)
{
	int ret = memory_init(s);

	if (ret < 0)
		return error_set(err, -ret, "Out of memory");
	ret = read_l1(s, err);
	if (ret == 0)
		ret = look_for_lost(s, !s->node->read_only, err);
	if (ret == 0 && !s->node->read_only)
		ret = prepare_writing(s, err);
	return ret;
}

static int name_backing(struct qcow2 *s, struct error **err)
{
	struct node *node = s->node;

	if (!s->header.backing_len)
		return 0;
	node->header_backing = strdup(s->header.backing);
	if (s->header.backing_format[0])
		node->header_backing_format = strdup(s->header.backing_format);
	if (!node->header_backing)
		return error_set(err, ENOMEM, "Out of memory");
	return 0;
}

static int qcow2_open(struct node *node, struct error **err)
{
	const struct qcow2_opts *o = node->opts;
	struct qcow2 *s = node->state;
	int ret;

	s->node = node;
	co_mutex_init(&s->lock);
	co_mutex_init(&s->flush_lock);
	co_mutex_init(&s->scratch_lock);
	co_queue_init(&s->pins);
	ret = read_header(s, err);
	if (ret < 0)
		return ret;
	s->geo = s->header.geo;
	s->v3 = s->header.version >= 3;
	s->reftable_offset = s->header.reftable_offset;
	ret = check_lazy(s, o, err);
	use_opts(s);
	if (ret == 0)
		ret = check_caches(s, err);
	if (ret == 0)
		ret = open_tables(s, err);
	if (ret == 0)
		ret = name_backing(s, err);
	if (ret < 0) {
		memory_free(s);
		return ret;
	}
	node->size = align_down(s->header.size, QCOW2_SECTOR);
	return 0;
}

/* --- closing --- */

/* Everything to disk, nothing in limbo, the dirty bit gone. Nobody writes any
 * more, so few rounds of flush and grace period empty limbo. */
static int write_all_out(struct qcow2 *s)
{
	int ret = qcow2_flush_all(s);

	limbo_wait(s);
	for (int i = 0; i < CLOSE_ROUNDS && ret == 0 && s->limbo.first; i++) {
		ret = qcow2_flush_all(s);
		limbo_wait(s);
	}
	/* the refcounts of what the last one released */
	if (ret == 0)
		ret = qcow2_flush_all(s);
	if (ret < 0 || !(s->header.incompatible & QCOW2_INCOMPAT_DIRTY))
		return ret;
	qcow2_set_incompatible(s, QCOW2_INCOMPAT_DIRTY, false);
	ret = qcow2_write_header(s);
	return ret < 0 ? ret : co_edge_flush(qcow2_file(s));
}

/* What a failed flush left in memory goes with it. */
static void name_loss(const struct qcow2 *s, int ret, struct error **err)
{
	uint64_t slices = s->l2.dirty_count;

	if (slices)
		error_set(err, -ret, "up to %" PRIu64 " clusters of"
			  " acknowledged data may be lost, whose places are in"
			  " %" PRIu64 " parts of its tables that could not be"
			  " written: %s", slices << s->geo.slice_l2_bits,
			  slices, strerror(-ret));
	else
		error_set(err, -ret, "the rest of its metadata could not be"
			  " written: %s", strerror(-ret));
}

static int qcow2_close(struct node *node, struct error **err)
{
	struct qcow2 *s = node->state;
	int ret = 0;

	if (node_writes(node))
		ret = write_all_out(s);
	if (ret < 0)
		name_loss(s, ret, err);
	limbo_wait(s);
	memory_free(s);
	co_mutex_destroy(&s->lock);
	co_mutex_destroy(&s->flush_lock);
	co_mutex_destroy(&s->scratch_lock);
	return ret;
}

/* --- reopening --- */

/*
 * To write, the image's refcounts are loaded beforehand: while it is read-only
 * nobody writes to its file, and reads do not look at them. One whose refcounts
 * are not up to date cannot have them made anew below a file that is not
 * writable yet.
 */
static int qcow2_reopen_prepare(struct node *node, struct reopen *r,
				struct error **err)
{
	const struct qcow2_opts *o = r->opts ? r->opts : node->opts;
	struct qcow2 *s = node->state;
	int ret = check_lazy(s, o, err);

	if (ret < 0 || r->read_only || node_writes(node))
		return ret;
	ret = qcow2_header_writable(&s->header, err);
	if (ret < 0)
		return ret;
	if (s->lost)
		return error_set(err, EUCLEAN, "%s; it can only be opened"
				 " read-only", node->warning ? node->warning :
				 "Data is missing");
	if (s->header.incompatible & QCOW2_INCOMPAT_DIRTY)
		return error_set(err, EUCLEAN, "The refcounts of qcow2 node"
				 " '%s' are not up to date: they are made anew"
				 " when it is opened for writing, not later",
				 node->name);
	ret = read_table(s, 0, QCOW2_HEADER_BYTES, s->sector, "header", err);
	return ret < 0 ? ret : load_refcounts(s, err);
}

static void qcow2_reopen_commit(struct node *node, struct reopen *r)
{
	struct qcow2 *s = node->state;

	(void)r;
	use_opts(s);
	/* the first write of each opening has something to do before it */
	__atomic_store_n(&s->fast_writes, false, __ATOMIC_RELEASE);
}

/* Nobody writes any more, and what was in flight has ended under the drain. */
static int qcow2_reopen_finish(struct node *node, struct reopen *r)
{
	(void)r;
	return node->owes ? write_all_out(node->state) : 0;
}

static void qcow2_limits(const struct node *node, struct limits *lim)
{
	const struct qcow2 *s = node->state;

	/* the file realigns what needs it; a disk whose size is no multiple of
	 * the file's blocks can be written all the same */
	while (!is_aligned(node_will_have(node), lim->align))
		lim->align /= 2;
	lim->placement = s->geo.cluster_size;
	lim->discard_align = s->geo.cluster_size;
	lim->zeroes = SUPPORT_NATIVE;
	lim->discard = SUPPORT_NATIVE;
	lim->fixed_size = true;
}

const struct driver qcow2_driver = {
	.name = "qcow2",
	.kind = DRIVER_FORMAT,
	.state_size = sizeof(struct qcow2),
	.options = qcow2_options,
	.options_size = sizeof(struct qcow2_opts),
	.children = qcow2_children,
	.create_options = qcow2_create_options,
	.create_size = sizeof(struct qcow2_create),
	.create = qcow2_create,
	.check = qcow2_check_image,
	.open = qcow2_open,
	.close = qcow2_close,
	.limits = qcow2_limits,
	.resize = qcow2_resize,
	.reopen_prepare = qcow2_reopen_prepare,
	.reopen_commit = qcow2_reopen_commit,
	.reopen_finish = qcow2_reopen_finish,
	.map = qcow2_map,
	.read = qcow2_read,
	.write = qcow2_write,
	.zeroes = qcow2_zeroes,
	.discard = qcow2_discard,
	.fetch = qcow2_fetch,
	.flush = qcow2_flush,
	.status = qcow2_status,
	.info = qcow2_info,
	.contents = qcow2_contents,
	.set_backing = qcow2_set_backing,
};
