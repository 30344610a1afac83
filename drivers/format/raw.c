/* SPDX-License-Identifier: MIT */
/*
 * raw.c - the disk is the file, or a window of it given by offset and size.
 *
 * Without a window the child is filtered: what raw shows is what the file
 * holds, and walks along a chain pass it (G2). A raw format that was guessed
 * watches sector 0: a guest that could put an image format's magic there would
 * have its disk opened as that format the next time (A26).
 *
 * Any thread; the state is the options, immutable after open.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "drivers/drivers.h"
#include "graph/io.h"
#include "graph/magic.h"

#define RAW_SECTOR 512u

static_assert(RAW_SECTOR == MAGIC_BYTES, "the first sector says it all");

struct raw_opts {
	uint64_t offset;
	uint64_t size;		/* 0: to the end of the file */
};

static const struct option raw_options[] = {
	{
		.name = "offset",
		.type = OPT_SIZE,
		.offset = offsetof(struct raw_opts, offset),
		.def = "0",
		.lowest = 0,
		.highest = INT64_MAX,
		.strong = true,
		.help = "first byte of the file that the disk shows",
	}, {
		.name = "size",
		.type = OPT_SIZE,
		.offset = offsetof(struct raw_opts, size),
		.def = "0",
		.lowest = 0,
		.highest = INT64_MAX,
		.strong = true,
		.help = "bytes of the disk; 0: to the end of the file",
	},
	{ .name = NULL },
};

static const struct child_decl raw_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

static bool raw_is_window(const struct raw_opts *opts)
{
	return opts->offset || opts->size;
}

static unsigned raw_child_role(const struct node *node,
			       const struct child_decl *child)
{
	return raw_is_window(node->opts) ? ROLE_DATA | ROLE_PRIMARY
					 : child->role;
}

static int raw_open(struct node *node, struct error **err)
{
	const struct raw_opts *opts = node->opts;
	uint64_t below = node->file->child->size;

	if (opts->offset > below) {
		error_set(err, EINVAL, "Offset (%" PRIu64 ") cannot be greater"
			  " than size of the containing file (%" PRIu64 ")",
			  opts->offset, below);
		return error_add(err, " of node '%s'", node->name);
	}
	node->size = below - opts->offset;
	if (!opts->size)
		return 0;
	if (opts->size > node->size) {
		/* two spaces: so it is there */
		error_set(err, EINVAL, "The sum of offset (%" PRIu64 ") and"
			  " size (%" PRIu64 ") has to be smaller or equal to"
			  " the  actual size of the containing file (%" PRIu64
			  ")", opts->offset, opts->size, below);
		return error_add(err, " of node '%s'", node->name);
	}
	if (!is_aligned(opts->size, RAW_SECTOR)) {
		error_set(err, EINVAL, "Specified size is not multiple of %u",
			  RAW_SECTOR);
		return error_add(err, ": %" PRIu64 " of node '%s'", opts->size,
				 node->name);
	}
	node->size = opts->size;
	return 0;
}

static void raw_limits(const struct node *node, struct limits *lim)
{
	const struct raw_opts *opts = node->opts;
	uint64_t divides = opts->offset & -opts->offset;

	if (raw_is_window(opts))
		lim->fixed_size = true;
	/* what lies crooked in the child is realigned there (raw_is_slow) */
	if (opts->offset) {
		divides = min(divides, (uint64_t)1 << 31);
		lim->placement = (uint32_t)divides;
		lim->align = min(lim->align, lim->placement);
	}
	/* raw_write must see sector 0 whole to judge it */
	if (node->guessed)
		lim->align = max(lim->align, RAW_SECTOR);
}

/* Whether the request has to be looked at, or realigned, on its way. */
static bool raw_is_slow(const struct node *node, const struct map *map)
{
	const struct raw_opts *opts = node->opts;

	if (!is_aligned(opts->offset, node->file->child->limits.align))
		return true;
	return node->guessed && map->op == REQ_WRITE &&
	       map->offset < RAW_SECTOR;
}

static void raw_map(struct node *node, struct map *map)
{
	const struct raw_opts *opts = node->opts;

	if (raw_is_slow(node, map)) {
		map->kind = MAP_SLOW;
		return;
	}
	map->kind = MAP_FORWARD;
	map->child = node->file;
	map->offset += opts->offset;
}

static int64_t raw_read(struct node *node, uint64_t offset, uint32_t len,
			void *buf)
{
	const struct raw_opts *opts = node->opts;
	int64_t ret = co_edge_read(node->file, offset + opts->offset, len, buf);

	return ret < 0 ? ret : len;
}

static int64_t raw_write(struct node *node, uint64_t offset, uint32_t len,
			 const void *buf, unsigned flags)
{
	const struct raw_opts *opts = node->opts;
	unsigned char sector[RAW_SECTOR];
	int64_t ret;

	if (!node->guessed || offset) {
		ret = co_edge_write(node->file, offset + opts->offset, len,
				    buf, flags);
		return ret < 0 ? ret : len;
	}
	/* The client may change its buffer meanwhile (A31): what is judged
	 * must be what is written. */
	assert(len >= RAW_SECTOR);
	memcpy(sector, buf, RAW_SECTOR);
	if (magic_of_start(sector))
		return -EPERM;
	ret = co_edge_write(node->file, opts->offset, RAW_SECTOR, sector,
			    flags);
	return ret < 0 ? ret : (int64_t)RAW_SECTOR;
}

static int64_t raw_zeroes(struct node *node, uint64_t offset, uint32_t len,
			  unsigned flags)
{
	const struct raw_opts *opts = node->opts;
	int64_t ret = co_edge_zeroes(node->file, offset + opts->offset, len,
				 flags);

	return ret < 0 ? ret : len;
}

static int64_t raw_discard(struct node *node, uint64_t offset, uint32_t len)
{
	const struct raw_opts *opts = node->opts;
	int64_t ret = co_edge_discard(node->file, offset + opts->offset, len);

	return ret < 0 ? ret : len;
}

static int raw_status(struct node *node, struct extent *e)
{
	const struct raw_opts *opts = node->opts;

	e->kind = EXTENT_CHILD;
	e->child = node->file;
	e->offset += opts->offset;
	return 0;
}

const struct driver raw_driver = {
	.name = "raw",
	.kind = DRIVER_FORMAT,
	.options = raw_options,
	.options_size = sizeof(struct raw_opts),
	.children = raw_children,
	.child_role = raw_child_role,
	.open = raw_open,
	.limits = raw_limits,
	.map = raw_map,
	.read = raw_read,
	.write = raw_write,
	.zeroes = raw_zeroes,
	.discard = raw_discard,
	.status = raw_status,
};
