/* SPDX-License-Identifier: MIT */
/*
 * limits.c - what nodes ask of requests, and where overlapping writes must
 * serialise (A12).
 *
 * Main thread, on the shape that a transaction will leave. A node realigns
 * only for alignment that it brings in itself (own_mask): a protocol node's,
 * or what a driver asks for beyond its children. So every block is read,
 * modified and written in one place for all its parents. That place serialises
 * when a parent's writes may be finer than its blocks.
 */
#include "graph/limits.h"

#include <errno.h>

#include "graph/state.h"
#include "graph/walk.h"

static const struct limits no_child = {
	.align = 1,
	.mem_align = 1,
	.max_transfer = 1u << 30,
	.zeroes = SUPPORT_EMULATED,
};

static const struct edge *primary_edge(const struct transaction *t,
				       const struct node *node)
{
	const struct edge *e;

	for (e = transaction_first_child(t, node); e;
	     e = transaction_next_child(t, node, e))
		if (e->role & ROLE_PRIMARY)
			return e;
	return NULL;
}

static uint8_t weaker(uint8_t a, uint8_t b)
{
	return a < b ? a : b;
}

/* What several can do together. */
static void limits_join(struct limits *lim, const struct limits *with)
{
	lim->align = max(lim->align, with->align);
	lim->mem_align = max(lim->mem_align, with->mem_align);
	lim->max_transfer = min(lim->max_transfer, with->max_transfer);
	lim->optimal_io = max(lim->optimal_io, with->optimal_io);
	lim->discard_align = max(lim->discard_align, with->discard_align);
	lim->zeroes = weaker(lim->zeroes, with->zeroes);
	lim->discard = weaker(lim->discard, with->discard);
	lim->rotational |= with->rotational;
	lim->fixed_size |= with->fixed_size;
}

static void limits_of_children(const struct transaction *t,
			       const struct node *node, struct limits *lim)
{
	const struct edge *e;
	bool first = true;

	for (e = transaction_first_child(t, node); e;
	     e = transaction_next_child(t, node, e)) {
		if (e->role & ROLE_COW)
			continue;
		if (first)
			*lim = e->target->new_limits;
		else
			limits_join(lim, &e->target->new_limits);
		first = false;
	}
}

static void limits_compute(const struct transaction *t, struct node *node)
{
	const struct edge *primary = primary_edge(t, node);
	struct limits *lim = &node->new_limits;
	uint32_t before;

	*lim = no_child;
	if (primary)
		*lim = primary->target->new_limits;
	else
		limits_of_children(t, node, lim);
	lim->placement = 0;
	before = node->driver->kind == DRIVER_PROTOCOL ? 1 : lim->align;
	if (node->driver->limits)
		node->driver->limits(node, lim);
	assert(is_pow2(lim->align) && lim->align <= BOUNCE_SIZE);
	assert(is_pow2(lim->mem_align) && lim->mem_align <= 65536);
	assert(lim->max_transfer >= lim->align);
	assert(is_pow2(lim->placement) || !lim->placement);
	node->new_own_mask = lim->align > before ? lim->align - 1 : 0;
}

/* What an undone transaction may have left. */
static void limits_forget(const struct transaction *t, struct node *node)
{
	struct edge *e;

	node->new_limits = node->limits;
	for (e = transaction_first_child(t, node); e;
	     e = transaction_next_child(t, node, e))
		e->target->new_limits = e->target->limits;
}

/* The node after everything above it. */
static void collect_above(const struct transaction *t, struct node *node,
			  uint32_t stamp, struct node_list *found)
{
	struct edge *e;

	if (node->mark == stamp)
		return;
	node->mark = stamp;
	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e))
		if (e->parent)
			collect_above(t, e->parent, stamp, found);
	node_list_add(found, node);
}

static uint32_t finer(uint32_t a, uint32_t b)
{
	if (!a || !b)
		return a ? a : b;
	return min(a, b);
}

/* The finest writes that reach the node; 0: none do. */
static uint32_t granularity_from(const struct edge *e)
{
	const struct node *parent = e->parent;

	if (!(e->new_perm & (PERM_WRITE | PERM_WRITE_UNCHANGED)))
		return 0;
	if (e->root)
		return e->root->granularity;
	return parent->granularity ? finer(parent->granularity,
					   parent->new_limits.placement) : 0;
}

static void granularity_compute(const struct transaction *t, struct node *node)
{
	struct edge *e;

	node->granularity = 0;
	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e))
		node->granularity = finer(node->granularity,
					  granularity_from(e));
	node->new_serialise = node->granularity &&
			      node->granularity <= node->new_own_mask;
}

void limits_prepare(const struct transaction *t, const struct node_list *order,
		    struct node_list *above)
{
	struct walk walk;

	walk_begin(&walk);
	for (unsigned i = 0; i < order->count; i++)
		collect_above(t, order->list[i], walk.stamp, above);
	for (unsigned i = 0; i < above->count; i++)
		limits_forget(t, above->list[i]);
	/* parents were listed first; limits come from the children */
	for (unsigned i = above->count; i--;)
		if (node_is_open(above->list[i]))
			limits_compute(t, above->list[i]);
	for (unsigned i = 0; i < above->count; i++)
		granularity_compute(t, above->list[i]);
}

static bool limits_equal(const struct limits *a, const struct limits *b)
{
	return a->align == b->align && a->mem_align == b->mem_align &&
	       a->max_transfer == b->max_transfer &&
	       a->optimal_io == b->optimal_io &&
	       a->discard_align == b->discard_align &&
	       a->placement == b->placement && a->zeroes == b->zeroes &&
	       a->discard == b->discard && a->rotational == b->rotational &&
	       a->fixed_size == b->fixed_size;
}

bool limits_change(const struct node *node)
{
	return node_is_open(node) &&
	       (!limits_equal(&node->limits, &node->new_limits) ||
		node->own_mask != node->new_own_mask ||
		node->serialise != node->new_serialise);
}

int limits_check(const struct node_list *list, struct error **err)
{
	for (unsigned i = 0; i < list->count; i++) {
		const struct node *node = list->list[i];

		if (node_is_open(node) && node->new_perm & PERM_WRITE &&
		    !(node->new_perm & PERM_RESIZE) &&
		    is_aligned(node->size, node->limits.align) &&
		    !is_aligned(node_will_have(node),
				node->new_limits.align))
			return error_set(err, EINVAL, "Node '%s' would ask for"
					 " blocks of %u bytes, and its size is"
					 " no multiple of that", node->name,
					 node->new_limits.align);
	}
	return 0;
}

void limits_commit(const struct node_list *list)
{
	for (unsigned i = 0; i < list->count; i++) {
		struct node *node = list->list[i];

		if (!limits_change(node))
			continue;
		node->limits = node->new_limits;
		node->own_mask = node->new_own_mask;
		node->serialise = node->new_serialise;
	}
}

void limits_open(struct node *node)
{
	limits_forget(NULL, node);
	limits_compute(NULL, node);
	node->limits = node->new_limits;
	node->own_mask = node->new_own_mask;
}
