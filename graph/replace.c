/* SPDX-License-Identifier: MIT */
/*
 * replace.c - another node in the place of one, for one parent (C2).
 *
 * Main thread, coroutines. What the parent shows does not change its size, and
 * a format keeps the file that it has its tables in. What was written through
 * the node that goes is flushed before and, for what came between, after: a
 * flush of the parent goes to the new one from then on (A29).
 */
#include "graph/replace.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "graph/edge.h"
#include "graph/io.h"
#include "graph/transaction.h"
#include "graph/walk.h"

static struct edge *place_edge(const struct place *place)
{
	struct edge *e;

	if (place->root)
		return strcmp(place->child, "root") ? NULL :
						      &place->root->edge;
	for (e = place->parent->children; e; e = e->next_child)
		if (!strcmp(e->name, place->child))
			return e;
	return NULL;
}

int edge_check_new_child(const struct edge *e, const struct node *to,
			 struct error **err)
{
	const char *parent = e->root ? e->root->name : e->parent->name;

	if (e->role & ROLE_COW)
		return 0;
	if (e->role & ROLE_METADATA &&
	    (to->dev != e->child->dev || to->ino != e->child->ino || !to->ino))
		return error_set(err, EINVAL, "Cannot replace '%s' of node"
				 " '%s' by '%s': it is not the same file",
				 e->name, parent, to->name);
	if (to->size != e->child->size)
		return error_set(err, EINVAL, "Cannot replace '%s' of %s%s%s by"
				 " '%s': their sizes differ", e->name,
				 e->root ? "" : "node '", parent,
				 e->root ? "" : "'", to->name);
	return 0;
}

static int no_such_child(const struct place *place, struct error **err)
{
	if (place->root)
		return error_set(err, ENOENT, "The child of %s is 'root', not"
				 " '%s'", place->root->name, place->child);
	return error_set(err, ENOENT, "Node '%s' doesn't have child '%s'",
			 place->parent->name, place->child);
}

/* Its children have another reason from now on than what the header says. */
static void backing_is_given(void *arg)
{
	struct node *parent = arg;

	parent->backing_given = true;
}

/* Under the change lock: others may have changed what was looked at. */
static void replace_step(struct transaction *t, const struct place *place,
			 const struct node *from, struct node *to)
{
	struct edge *e = place_edge(place);
	struct error *why = NULL;

	if (!e || e->child != from)
		error_set(&why, EBUSY, "The '%s' child of %s%s%s has been"
			  " changed meanwhile", place->child,
			  place->root ? "" : "node '",
			  place->root ? place->root->name :
			  place->parent->name, place->root ? "" : "'");
	else if (edge_check_new_child(e, to, &why) == 0)
		transaction_move(t, e, to);
	if (why)
		transaction_fail(t, why);
	else if (e->role & ROLE_COW)
		transaction_on_commit(t, backing_is_given, e->parent);
}

static int co_flush_node(struct node *node)
{
	int ret;

	co_node_busy(node);
	ret = co_node_flush(node);
	node_idle(node);
	return ret;
}

int graph_replace(const struct place *place, struct node *to,
		  struct change_stats *stats, struct error **err)
{
	const struct edge *e = place_edge(place);
	struct transaction *t;
	struct node *from;
	int ret;

	if (!e)
		return no_such_child(place, err);
	memset(stats, 0, sizeof(*stats));
	if (e->child == to)
		return 0;
	from = node_get(e->child, "replacing");
	ret = co_flush_node(from);
	if (ret < 0) {
		error_set(err, -ret, "Could not flush node '%s': %s",
			  from->name, strerror(-ret));
	} else {
		t = transaction_begin();
		replace_step(t, place, from, to);
		ret = transaction_commit(t, stats, err);
	}
	/* what fails now is the next flush's error, of whoever has it */
	if (ret == 0)
		(void)co_flush_node(from);
	if (ret < 0)
		node_put(from, "replacing");
	else
		ret = co_node_put(from, "replacing", err);
	return ret;
}
