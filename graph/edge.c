/* SPDX-License-Identifier: MIT */
/*
 * edge.c - attach and detach, which derive file and backing from roles.
 *
 * Main thread. The only code that assigns node->file and node->backing (A19).
 */
#include "graph/edge.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node-life.h"

struct edge *edge_new(struct node *parent, const char *name, unsigned role)
{
	struct edge *edge = calloc(1, sizeof(*edge));

	if (!edge)
		abort();
	assert(!(role & ROLE_FILTERED) || role & ROLE_PRIMARY);
	assert(!(role & ROLE_FILTERED) || !(role & ROLE_COW));
	edge->name = name;
	edge->parent = parent;
	edge->role = role;
	edge->shared = edge->new_shared = PERM_ALL;
	return edge;
}

void edge_free(struct edge *edge)
{
	assert(!edge->child && !edge->target && !edge->frozen_by);
	free(edge->own_name);
	free(edge);
}

/* Which of the parent's two pointers shows this edge; NULL: neither (G3). */
static struct edge **edge_slot(struct edge *edge)
{
	struct node *parent = edge->parent;

	if (edge->role & ROLE_COW)
		return &parent->backing;
	if (edge->role & ROLE_FILTERED)
		return parent->driver->filtered_is_backing ? &parent->backing
							   : &parent->file;
	return edge->role & ROLE_PRIMARY ? &parent->file : NULL;
}

static void edge_attach(struct edge *edge)
{
	struct edge **slot = edge_slot(edge), **last;

	/* in the order of attaching, which is that of the declarations */
	for (last = &edge->parent->children; *last; last = &(*last)->next_child)
		;
	*last = edge;
	edge->next_child = NULL;
	if (slot) {
		assert(!*slot);
		*slot = edge;
	}
}

static void edge_detach(struct edge *edge)
{
	struct edge **slot = edge_slot(edge), **at;

	for (at = &edge->parent->children; *at != edge;
	     at = &(*at)->next_child)
		;
	*at = edge->next_child;
	edge->next_child = NULL;
	if (slot) {
		assert(*slot == edge);
		*slot = NULL;
	}
}

static void edge_leave(struct edge *edge)
{
	struct edge **at;

	for (at = &edge->child->parents; *at != edge; at = &(*at)->next_parent)
		;
	*at = edge->next_parent;
	edge->next_parent = NULL;
}

void edge_commit(struct edge *edge)
{
	struct node *old = edge->child, *new = edge->target;

	if (old == new)
		return;
	if (old)
		edge_leave(edge);
	if (new) {
		edge->next_parent = new->parents;
		new->parents = edge;
	}
	if (new) {
		node_get(new, "edge");
		node_is_kept(new);
	}
	edge->child = new;
	/* the transaction has a reference to it until it has ended */
	if (old)
		node_put(old, "edge");
	if (!edge->parent)
		return;
	if (!old)
		edge_attach(edge);
	if (!new)
		edge_detach(edge);
}

/* A node that closes lets go of its children, so the link keeps it. */
void edge_freeze(struct edge *edge, const char *by)
{
	assert(edge->parent && !edge->frozen_by);
	edge->frozen_by = by;
	node_get(edge->parent, "frozen");
}

void edge_thaw(struct edge *edge)
{
	assert(edge->frozen_by);
	edge->frozen_by = NULL;
	node_put(edge->parent, "frozen");
}

const struct edge *edge_first_frozen(const struct node *node)
{
	const struct edge *edge = node->children;

	while (edge && !edge->frozen_by)
		edge = edge->next_child;
	return edge;
}

void edge_describe(const struct edge *edge, json_t *options, json_t *value)
{
	/* "children.0" is the first of "children" */
	size_t len = strcspn(edge->name, ".");
	json_t *list;

	if (!edge->own_name) {
		json_object_set_new(options, edge->name, value);
		return;
	}
	list = json_object_getn(options, edge->name, len);
	if (!json_is_array(list)) {
		list = json_array();
		json_object_setn_new(options, edge->name, len, list);
	}
	json_array_append_new(list, value);
}
