/* SPDX-License-Identifier: MIT */
/*
 * blklogwrites.c - the filter that writes down every change of a disk, in the
 * format of the kernel's dm-log-writes, so that the disk can be made again as
 * it was at any flush, or between two.
 *
 * The log is a super block, which says how many entries there are, and behind
 * it the entries: a sector that says what was done, then the data of a write.
 *
 * Any thread. What always holds: an entry is written when the disk has done
 * what it says, and before that is acknowledged; entries of what overlaps are
 * in the order in which it was done; between the start of a flush's sync of the
 * disk and its entry there is no other; the super block counts what is durable
 * in the log only. One entry is written at a time, under `lock`.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/drivers.h"
#include "drivers/filter/copies.h"
#include "graph/io.h"
#include "graph/range-lock.h"
#include "graph/thread-state.h"

#define LOG_MAGIC UINT64_C(0x6a736677736872)
#define LOG_VERSION 1u
/* What an entry is. Marks are others'; a request that is to be durable is a
 * write and a flush here. */
enum {
	LOG_FLUSH = 1, LOG_FUA = 2, LOG_DISCARD = 4, LOG_MARK = 8,
	LOG_METADATA = 16, LOG_FLAGS = 31,
};

/* All little endian. */
struct log_super {
	uint64_t magic, version, entries;
	uint32_t sector_size, unused;
};

/* In the sectors of the log. */
struct log_entry {
	uint64_t sector, sectors, flags;
	uint64_t data_len;	/* of a mark, in the entry's own sector */
};

/* The start of a sector: what else is in it is zeroes. */
#define LOG_SECTOR_MIN 32u
/* The largest alignment that the graph knows. */
#define LOG_SECTOR_MAX 65536u
#define LOG_SECTOR_DEFAULT 512u

struct blklogwrites_options {
	uint64_t sector_size;	/* 0: not given */
	uint64_t interval;
	bool append;
};

struct blklogwrites {
	uint32_t sector_size;	/* immutable after open */
	struct range_lock ranges;
	struct co_mutex lock;	/* what follows */
	bool begun;		/* the super block is of this log */
	uint64_t entries, counted;	/* written; of these in the super */
	uint64_t end;		/* byte at which the next one begins */
};

static struct edge *log_edge(const struct node *node)
{
	struct edge *e = node->children;

	while (e->role & ROLE_FILTERED)
		e = e->next_child;
	return e;
}

/* ---- the log; holding the lock ---- */

static int co_log_write(struct node *node, uint64_t offset, uint32_t len,
			const void *buf)
{
	struct edge *log = log_edge(node);

	if (log->child->limits.fixed_size &&
	    (offset > log->child->size || len > log->child->size - offset))
		return -ENOSPC;
	return co_edge_write(log, offset, len, buf, 0);
}

/* A sector that begins with these bytes. sector: room for one. */
static int co_log_write_sector(struct node *node, uint64_t offset,
			       const void *start, uint32_t len, char *sector)
{
	const struct blklogwrites *l = node->state;

	memset(sector, 0, l->sector_size);
	memcpy(sector, start, len);
	return co_log_write(node, offset, l->sector_size, sector);
}

/* How many entries there are, durably; they are. */
static int co_log_count(struct node *node, uint64_t entries, char *sector)
{
	struct blklogwrites *l = node->state;
	const struct log_super super = {
		.magic = htole64(LOG_MAGIC),
		.version = htole64(LOG_VERSION),
		.entries = htole64(entries),
		.sector_size = htole32(l->sector_size),
	};
	int ret = co_log_write_sector(node, 0, &super, sizeof(super), sector);

	if (ret == 0)
		ret = co_edge_flush(log_edge(node));
	if (ret == 0)
		l->counted = entries;
	return ret;
}

static int co_log_sync(struct node *node, char *sector)
{
	const struct blklogwrites *l = node->state;
	int ret = co_edge_flush(log_edge(node));

	return ret == 0 ? co_log_count(node, l->entries, sector) : ret;
}

/*
 * One more entry, and its data; buf: of `bytes`, or NULL. Where it fails the
 * next one takes its place. sector: room for one.
 */
static int co_log_append(struct node *node, unsigned flags, uint64_t offset,
			 uint64_t len, const void *buf, char *sector)
{
	struct blklogwrites *l = node->state;
	const struct blklogwrites_options *opts = node->opts;
	const struct log_entry entry = {
		.sector = htole64(offset / l->sector_size),
		.sectors = htole64(len / l->sector_size),
		.flags = htole64(flags),
	};
	uint64_t data = l->end + l->sector_size;
	int ret = 0;

	/* what a log counted that was here before is not this one's */
	if (!l->begun) {
		ret = co_log_count(node, 0, sector);
		l->begun = ret == 0;
	}
	if (ret == 0 && buf)
		ret = co_log_write(node, data, (uint32_t)len, buf);
	if (ret == 0)
		ret = co_log_write_sector(node, l->end, &entry, sizeof(entry),
					  sector);
	if (ret < 0)
		return ret;
	l->end = data + (buf ? len : 0);
	l->entries++;
	if (flags & LOG_FLUSH || l->entries % opts->interval == 0)
		ret = co_log_sync(node, sector);
	return ret;
}

/* ---- requests ---- */

/* The disk first. data: what is written; NULL: a discard. sector: room for one.
 */
static int co_logged(struct node *node, unsigned op, uint64_t offset,
		     uint32_t len, char *data, char *sector, unsigned flags)
{
	struct blklogwrites *l = node->state;
	struct range range;
	int ret;

	co_range_lock(&l->ranges, &range, offset, offset + len, false);
	if (op == REQ_WRITE)
		ret = co_edge_write(node->file, offset, len, data, flags);
	else if (op == REQ_ZEROES)
		ret = co_edge_zeroes(node->file, offset, len, flags);
	else
		ret = co_edge_discard(node->file, offset, len);
	if (ret == 0) {
		co_lock(&l->lock);
		ret = co_log_append(node, op == REQ_DISCARD ? LOG_DISCARD : 0,
				    offset, len, data, sector);
		co_unlock(&l->lock);
	}
	co_range_unlock(&l->ranges, &range);
	return ret;
}

/* buf: NULL: zeroes, or no data. */
static int64_t co_log_request(struct node *node, unsigned op, uint64_t offset,
			      uint32_t len, const void *buf, unsigned flags)
{
	struct copies *copies;
	void *state;
	char *set;
	int ret = co_node_thread_state(node, &state);

	if (ret < 0)
		return ret;
	copies = state;
	set = co_copies_get(copies, 2);
	if (op != REQ_DISCARD)
		len = min(len, COPIES_PIECE);
	if (op == REQ_WRITE)
		memcpy(set, buf, len);
	else if (op == REQ_ZEROES)
		memset(set, 0, len);
	ret = co_logged(node, op, offset, len, op == REQ_DISCARD ? NULL : set,
			set + COPIES_PIECE, flags);
	copies_put(copies, set);
	return ret < 0 ? ret : (int64_t)len;
}

static int64_t blklogwrites_write(struct node *node, uint64_t offset,
				  uint32_t len, const void *buf,
				  unsigned flags)
{
	return co_log_request(node, REQ_WRITE, offset, len, buf, flags);
}

static int64_t blklogwrites_zeroes(struct node *node, uint64_t offset,
				   uint32_t len, unsigned flags)
{
	return co_log_request(node, REQ_ZEROES, offset, len, NULL, flags);
}

static int64_t blklogwrites_discard(struct node *node, uint64_t offset,
				    uint32_t len)
{
	return co_log_request(node, REQ_DISCARD, offset, len, NULL, 0);
}

static void blklogwrites_map(struct node *node, struct map *map)
{
	map->kind = map->op == REQ_READ ? MAP_FORWARD : MAP_SLOW;
	map->child = node->file;
}

/* Entries that others add while the disk is synced are of what that may not
 * cover: they come behind this one's. */
static int blklogwrites_flush(struct node *node)
{
	struct blklogwrites *l = node->state;
	struct copies *copies;
	void *state;
	char *set;
	int ret;

	if (node->read_only)
		return co_edge_flush(node->file);
	ret = co_node_thread_state(node, &state);
	if (ret < 0)
		return ret;
	copies = state;
	set = co_copies_get(copies, 2);
	co_lock(&l->lock);
	ret = co_edge_flush(node->file);
	if (ret == 0)
		ret = co_log_append(node, LOG_FLUSH, 0, 0, NULL, set);
	co_unlock(&l->lock);
	copies_put(copies, set);
	return ret;
}

/* ---- opening ---- */

static bool sector_size_is_valid(uint64_t size)
{
	return is_pow2(size) && size >= LOG_SECTOR_MIN &&
	       size <= LOG_SECTOR_MAX;
}

static int log_is_bad(const struct node *node, struct error **err)
{
	return error_add(err, " in the log '%s' of node '%s'",
			 log_edge(node)->child->name, node->name);
}

/* To the end of what the super block counts. */
static int co_log_walk(struct node *node, uint64_t entries, uint64_t size,
		       struct error **err)
{
	struct blklogwrites *l = node->state;

	for (l->end = l->sector_size; l->entries < entries; l->entries++) {
		struct log_entry entry;
		uint64_t sectors, flags, room;
		int ret;

		if (l->end > size || size - l->end < l->sector_size) {
			error_set(err, EINVAL, "Only %" PRIu64 " of %" PRIu64
				  " entries are there", l->entries, entries);
			return log_is_bad(node, err);
		}
		ret = co_edge_read(log_edge(node), l->end, sizeof(entry),
				   &entry);
		if (ret < 0) {
			error_set(err, -ret, "Failed to read log entry %"
				  PRIu64 ": %s", l->entries, strerror(-ret));
			return log_is_bad(node, err);
		}
		sectors = le64toh(entry.sectors);
		flags = le64toh(entry.flags);
		room = (size - l->end) / l->sector_size - 1;
		if (flags & ~(uint64_t)LOG_FLAGS) {
			error_set(err, EINVAL, "Invalid flags 0x%" PRIx64
				  " in log entry %" PRIu64, flags, l->entries);
			return log_is_bad(node, err);
		}
		if (flags & LOG_DISCARD)
			sectors = 0;
		if (sectors > room) {
			error_set(err, EINVAL, "Log entry %" PRIu64 " ends"
				  " behind the log", l->entries);
			return log_is_bad(node, err);
		}
		l->end += (sectors + 1) * l->sector_size;
	}
	return 0;
}

/* A log that is to go on. An empty one is begun. */
static int co_log_read(struct node *node, struct error **err)
{
	struct blklogwrites *l = node->state;
	struct log_super super = { .magic = 0 };
	uint64_t size = 0;
	int ret = co_edge_storage_size(log_edge(node), &size);

	if (ret == 0 && size == 0)
		return 0;
	if (ret == 0)
		ret = co_edge_read(log_edge(node), 0, sizeof(super), &super);
	if (ret < 0) {
		error_set(err, -ret, "Could not read log superblock: %s",
			  strerror(-ret));
		return log_is_bad(node, err);
	}
	if (le64toh(super.magic) != LOG_MAGIC) {
		error_set(err, EINVAL, "Invalid log superblock magic");
		return log_is_bad(node, err);
	}
	if (le64toh(super.version) != LOG_VERSION) {
		error_set(err, EINVAL, "Unsupported log version %" PRIu64,
			  le64toh(super.version));
		return log_is_bad(node, err);
	}
	l->sector_size = le32toh(super.sector_size);
	if (!sector_size_is_valid(l->sector_size))
		return 0;
	l->begun = true;
	ret = co_log_walk(node, le64toh(super.entries), size, err);
	l->counted = l->entries;
	return ret;
}

static int blklogwrites_open(struct node *node, struct error **err)
{
	const struct blklogwrites_options *opts = node->opts;
	struct blklogwrites *l = node->state;
	int ret = 0;

	if (!opts->interval)
		return error_set(err, EINVAL, "Invalid log superblock update"
				 " interval %" PRIu64, opts->interval);
	if (opts->append && opts->sector_size)
		return error_set(err, EINVAL, "log-append and log-sector-size"
				 " are mutually exclusive");
	l->sector_size = opts->sector_size ? (uint32_t)min(opts->sector_size,
		(uint64_t)UINT32_MAX) : LOG_SECTOR_DEFAULT;
	if (opts->append)
		ret = co_log_read(node, err);
	if (ret < 0)
		return ret;
	if (!sector_size_is_valid(l->sector_size)) {
		error_set(err, EINVAL, "Invalid log sector size %u",
			  l->sector_size);
		return error_add(err, " of node '%s': a power of two from %u"
				 " to %u is none", node->name, LOG_SECTOR_MIN,
				 LOG_SECTOR_MAX);
	}
	if (!l->end)
		l->end = l->sector_size;
	range_lock_init(&l->ranges);
	co_mutex_init(&l->lock);
	return 0;
}

/* Entries that no flush has counted. */
static int blklogwrites_close(struct node *node, struct error **err)
{
	struct blklogwrites *l = node->state;
	char *sector = malloc(l->sector_size);
	int ret = 0;

	if (!sector)
		abort();
	if (l->entries != l->counted)
		ret = co_log_sync(node, sector);
	free(sector);
	range_lock_destroy(&l->ranges);
	co_mutex_destroy(&l->lock);
	return ret == 0 ? 0 :
		error_set(err, -ret, "the last %" PRIu64 " entries of its log"
			  " '%s' are not counted there: %s",
			  l->entries - l->counted, log_edge(node)->child->name,
			  strerror(-ret));
}

static void blklogwrites_limits(const struct node *node, struct limits *lim)
{
	const struct blklogwrites *l = node->state;

	lim->align = max(lim->align, l->sector_size);
}

#define OPT(field) offsetof(struct blklogwrites_options, field)

static const struct option blklogwrites_options[] = {
	{ .name = "log-sector-size", .type = OPT_UINT64,
	  .offset = OPT(sector_size), .strong = true,
	  .help = "bytes of the log's sectors; 512 where it is not given" },
	{ .name = "log-append", .type = OPT_BOOL, .offset = OPT(append),
	  .def = "off", .strong = true,
	  .help = "goes on behind what the log has" },
	{ .name = "log-super-update-interval", .type = OPT_UINT64,
	  .offset = OPT(interval), .def = "4096", .strong = true,
	  .help = "entries after which they are counted without a flush" },
	{ .name = NULL },
};

static const struct child_decl blklogwrites_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = "log", .role = ROLE_METADATA },
	{ .name = NULL },
};

const struct driver blklogwrites_driver = {
	.name = "blklogwrites",
	.kind = DRIVER_FILTER,
	.state_size = sizeof(struct blklogwrites),
	.options = blklogwrites_options,
	.options_size = sizeof(struct blklogwrites_options),
	.children = blklogwrites_children,
	.open = blklogwrites_open,
	.close = blklogwrites_close,
	.thread_state_size = sizeof(struct copies),
	.thread_open = copies_thread_open,
	.thread_close = copies_thread_close,
	.limits = blklogwrites_limits,
	.map = blklogwrites_map,
	.write = blklogwrites_write,
	.zeroes = blklogwrites_zeroes,
	.discard = blklogwrites_discard,
	.flush = blklogwrites_flush,
	.flushes_children = true,
};
