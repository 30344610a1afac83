/* SPDX-License-Identifier: MIT */
/*
 * copy-on-read.c - the filter that gives the image what is read through it and
 * comes from below: the next time it is the image's own.
 *
 * Any thread, no state. Reads of what the image has pass on the fast path, and
 * so does all else: the image's map says where its data is another's
 * (map_ask_above), and only then is there an operation here. The image fetches
 * by itself, in whole clusters, where guests' writes allocate too: of both one
 * is first, and a write is never undone (C11).
 */
#include <errno.h>
#include <string.h>

#include "drivers/drivers.h"
#include "graph/io.h"
#include "graph/status.h"
#include "graph/wait.h"

struct copy_on_read_opts {
	char *bottom;	/* name of the last image that is copied from */
};

static void copy_on_read_map(struct node *node, struct map *map)
{
	map->kind = MAP_FORWARD;
	map->child = node->file;
	map->above = node;
}

/* The bottom, and how far down it is as status counts, 1 for the image itself;
 * NULL and 0: it is not in the chain, or no more. */
static const struct node *bottom_of(const struct node *node, unsigned *depth)
{
	const struct copy_on_read_opts *opts = node->opts;
	const struct node *at = node->file->child, *next;

	*depth = 1;
	while (at && strcmp(at->name, opts->bottom)) {
		next = node_filtered_child(at);
		*depth += !next;
		at = next ? next : node_cow_child(at);
	}
	if (!at)
		*depth = 0;
	return at;
}

/* Whether the start of the range is to be copied; shortens it to what that
 * holds for. */
static int co_is_above_bottom(struct node *node, uint64_t offset,
			      uint32_t *len, bool *above)
{
	const struct copy_on_read_opts *opts = node->opts;
	struct status status;
	unsigned bottom;
	int ret;

	*above = true;
	if (!opts->bottom)
		return 0;
	ret = co_node_status(node->file->child, offset, *len, 1, 0, &status);
	if (ret < 0)
		return ret;
	*len = (uint32_t)min((uint64_t)*len, status.len);
	(void)bottom_of(node, &bottom);
	*above = status.depth && status.depth <= bottom;
	return 0;
}

/* A read that can be answered is, also where the image takes no copy. */
static int64_t copy_on_read_read(struct node *node, uint64_t offset,
				 uint32_t len, void *buf)
{
	bool above;
	int ret = co_is_above_bottom(node, offset, &len, &above);

	if (ret == 0 && above)
		ret = co_edge_fetch(node->file, offset, len);
	if (ret == STEER_WAIT)
		return ret;
	ret = co_edge_read(node->file, offset, len, buf);
	return ret < 0 ? ret : (int64_t)len;
}

/* What it writes changes nothing that is seen. */
static void copy_on_read_child_perm(const struct node *node,
				    const struct edge *child, unsigned *perm,
				    unsigned *shared)
{
	(void)node;
	(void)child;
	*perm |= PERM_WRITE_UNCHANGED;
	*shared |= PERM_WRITE_UNCHANGED;
}

static int copy_on_read_open(struct node *node, struct error **err)
{
	const struct copy_on_read_opts *opts = node->opts;
	const struct node *bottom;
	const struct node *below = node->file->child;
	unsigned depth;

	if (below->read_only)
		return error_set(err, EPERM, "Block node is read-only: node"
				 " '%s' takes no copies", below->name);
	if (!opts->bottom)
		return 0;
	bottom = bottom_of(node, &depth);
	if (bottom && bottom->driver->kind == DRIVER_FILTER)
		return error_set(err, EINVAL, "Bottom node '%s' is a filter",
				 opts->bottom);
	if (!bottom && !node_find(opts->bottom))
		return error_set(err, EINVAL, "Bottom node '%s' not found",
				 opts->bottom);
	if (!bottom)
		return error_set(err, EINVAL, "Bottom node '%s' is not in the"
				 " chain of node '%s'", opts->bottom,
				 below->name);
	return 0;
}

static const struct option copy_on_read_options[] = {
	{ .name = "bottom", .type = OPT_STRING,
	  .offset = offsetof(struct copy_on_read_opts, bottom),
	  .help = "the last image of the chain that is copied from" },
	{ .name = NULL },
};

static const struct child_decl copy_on_read_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

const struct driver copy_on_read_driver = {
	.name = "copy-on-read",
	.kind = DRIVER_FILTER,
	.options = copy_on_read_options,
	.options_size = sizeof(struct copy_on_read_opts),
	.children = copy_on_read_children,
	.open = copy_on_read_open,
	.child_perm = copy_on_read_child_perm,
	.map = copy_on_read_map,
	.read = copy_on_read_read,
};
