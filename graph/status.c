/* SPDX-License-Identifier: MIT */
/*
 * status.c - block status: the way down a chain, alignment, and merging.
 *
 * Any thread, coroutines, inside a counted request: the chain stays as it is.
 * A driver says what one of its own ranges is, or who knows; everything that is
 * the same for all of them is done here.
 */
#include "graph/status.h"

#include <errno.h>

#include "graph/node.h"

/* How many answers of drivers become one. Each may cost a read of metadata. */
#define STATUS_TURNS 256u

/* What a driver without the operation means. */
static int co_extent(struct node *node, struct extent *e)
{
	struct node *child;

	e->kind = EXTENT_HERE;
	e->flags = STATUS_DATA;
	e->child = NULL;
	if (node->driver->status)
		return node->driver->status(node, e);
	child = node_filtered_child(node);
	if (child) {
		e->kind = EXTENT_CHILD;
		e->child = node->file ? node->file : node->backing;
	}
	return 0;
}

static void describe(struct status *out, const struct extent *e,
		     const struct node *node, unsigned depth, unsigned flags)
{
	*out = (struct status){
		.len = e->len,
		.flags = flags,
		.depth = depth,
		.host_offset = flags & STATUS_OFFSET ? e->offset : 0,
		.node = node,
	};
}

/* Past an image's end there are zeroes (Q8). */
static bool ends_before(const struct node *node, struct extent *e)
{
	if (e->offset >= node->size)
		return true;
	e->len = (uint32_t)min((uint64_t)e->len, node->size - e->offset);
	return false;
}

/*
 * What an image has at one place of its file, as it is, reads as zeroes where
 * the file has a hole: preallocated clusters, most often. It stays data, for
 * it takes part in what the image has.
 */
static int co_look_below(struct node *node, struct extent *e,
			 struct node_path *path)
{
	struct extent below = { .offset = e->offset, .len = e->len };
	int ret;

	do {
		node = below.child ? below.child->child : node->file->child;
		node_path_enter(path, node);
		ret = co_extent(node, &below);
	} while (ret == 0 && below.kind == EXTENT_CHILD);
	if (ret < 0)
		return ret;
	e->len = below.len;
	/* an image in the file may have it from elsewhere: data then */
	if (below.kind == EXTENT_HERE)
		e->flags |= below.flags & STATUS_ZERO;
	return 0;
}

/* From the top of the chain to whoever decides the start of the range. */
static int co_descend(struct node *node, struct extent *e,
		      struct node_path *path, struct status *out)
{
	unsigned depth = 1;

	for (;;) {
		int ret;

		node_path_enter(path, node);
		ret = co_extent(node, e);
		if (ret < 0)
			return ret;
		assert(e->len);
		switch ((enum extent_kind)e->kind) {
		case EXTENT_HERE:
			if (node->file && e->flags & STATUS_DATA &&
			    e->flags & STATUS_OFFSET)
				ret = co_look_below(node, e, path);
			describe(out, e, node, depth, e->flags);
			return ret;
		case EXTENT_BACKING:
			if (!node->backing) {
				describe(out, e, node, 0, STATUS_ZERO);
				return 0;
			}
			e->child = node->backing;
			depth++;
			break;
		case EXTENT_CHILD:
			break;
		}
		node = e->child->child;
		if (ends_before(node, e)) {
			describe(out, e, node, depth,
				 STATUS_ZERO | STATUS_PAST_END);
			return 0;
		}
	}
}

/* A prefix, of any length. */
static int co_answer(struct node *node, uint64_t offset, uint64_t len,
		     unsigned flags, struct status *out)
{
	struct extent e = {
		.offset = offset,
		.len = (uint32_t)min(len, UINT64_C(1) << 30),
	};
	struct node_path path = {};
	int ret = co_descend(node, &e, &path, out);

	node_path_leave(&path);
	if (ret == 0 && !(flags & REQ_OFFSETS)) {
		out->flags &= ~STATUS_OFFSET;
		out->host_offset = 0;
	}
	return ret;
}

static bool continues(const struct status *a, const struct status *b)
{
	return !(a->flags & STATUS_OFFSET) ||
	       a->host_offset + a->len == b->host_offset;
}

static bool is_same(const struct status *a, const struct status *b)
{
	return a->flags == b->flags && a->depth == b->depth &&
	       a->node == b->node;
}

/* One block in which not everything is the same: what a reader must expect. */
static void mix(struct status *a, const struct status *b)
{
	unsigned both = a->flags & b->flags, any = a->flags | b->flags;

	if (a->node != b->node || !continues(a, b))
		both &= ~STATUS_OFFSET;
	a->flags = (both & ~STATUS_DATA) | (any & STATUS_DATA);
	a->depth = a->depth && b->depth ? min(a->depth, b->depth)
					: a->depth + b->depth;
	a->len += b->len;
}

/* A prefix of whole blocks, or all there is. */
static int co_aligned(struct node *node, uint64_t offset, uint64_t len,
		      uint32_t align, unsigned flags, struct status *out)
{
	uint64_t block = min(len, (uint64_t)align);
	int ret = co_answer(node, offset, len, flags, out);

	while (ret == 0 && out->len < block) {
		struct status next;

		ret = co_answer(node, offset + out->len, block - out->len,
				flags, &next);
		if (ret == 0)
			mix(out, &next);
	}
	if (ret == 0 && out->len < len && out->len > align)
		out->len = align_down(out->len, align);
	return ret;
}

int co_node_status(struct node *node, uint64_t offset, uint64_t len,
		   uint32_t align, unsigned flags, struct status *out)
{
	int ret;

	assert(is_aligned(offset, align) && len);
	ret = co_aligned(node, offset, len, align, flags, out);
	for (unsigned i = 1; ret == 0 && i < STATUS_TURNS; i++) {
		struct status next;

		if (out->len >= len)
			break;
		/* an error is told when it is asked for by itself */
		if (co_aligned(node, offset + out->len, len - out->len, align,
			       flags, &next) < 0 ||
		    !is_same(out, &next) || !continues(out, &next))
			break;
		out->len += next.len;
	}
	return ret;
}
