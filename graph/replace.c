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
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/edge.h"
#include "graph/flush.h"
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

static int co_flush_node(struct node *node)
{
	int ret;

	co_node_busy(node);
	ret = co_node_flush(node);
	node_idle(node);
	return ret;
}

struct replacement {
	struct action action;
	struct place place;
	char *child;		/* place.child */
	struct node *from, *to;	/* from: NULL before it is known */
	struct error **lost;
};

static int replacement_prepare(struct action *action, struct error **err)
{
	struct replacement *r = container_of(action, struct replacement,
					     action);
	const struct edge *e = place_edge(&r->place);

	if (!e)
		return no_such_child(&r->place, err);
	r->from = node_get(e->child, "replacing");
	if (r->from == r->to)
		return 0;
	return co_flush_before(r->from, err);
}

/* Under the change lock: others may have changed what was looked at. */
static void replacement_step(struct action *action, struct transaction *t)
{
	struct replacement *r = container_of(action, struct replacement,
					     action);
	const struct place *place = &r->place;
	struct edge *e = place_edge(place);
	struct error *why = NULL;

	transaction_set_kind(t, DRAIN_FOR_REPLACE);
	if (!e || e->child != r->from)
		error_set(&why, EBUSY, "The '%s' child of %s%s%s has been"
			  " changed meanwhile", place->child,
			  place->root ? "" : "node '",
			  place->root ? place->root->name :
			  place->parent->name, place->root ? "" : "'");
	else if (e->child == r->to)
		transaction_move(t, e, r->to);
	else if (edge_check_new_child(e, r->to, &why) == 0)
		transaction_exchange(t, e, r->to);
	if (why)
		transaction_fail(t, why);
}

static void replacement_end(struct action *action, bool committed)
{
	struct replacement *r = container_of(action, struct replacement,
					     action);
	struct error *ignored CLEANUP_ERROR = NULL;

	/* what fails now is the next flush's error, of whoever has it */
	if (committed && r->from != r->to)
		(void)co_flush_node(r->from);
	if (r->from && (!committed || r->from == r->to))
		node_put(r->from, "replacing");
	else if (r->from)
		(void)!co_node_put(r->from, "replacing",
				   r->lost ? r->lost : &ignored);
	node_put(r->to, "replacing");
	if (r->place.parent)
		node_put(r->place.parent, "replacing");
	free(r->child);
	free(r);
}

static const struct action_ops replacement_ops = {
	.prepare = replacement_prepare,
	.step = replacement_step,
	.end = replacement_end,
};

struct action *action_replace(const struct place *place, struct node *to,
			      struct error **lost)
{
	struct replacement *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	r->action.ops = &replacement_ops;
	r->place = *place;
	r->place.child = r->child = strdup(place->child);
	if (!r->child)
		abort();
	if (place->parent)
		node_get(place->parent, "replacing");
	r->to = node_get(to, "replacing");
	r->lost = lost;
	return &r->action;
}

int graph_replace(const struct place *place, struct node *to,
		  struct change_stats *stats, struct error **err)
{
	struct actions all = { NULL };
	struct error *lost = NULL;
	int ret;

	memset(stats, 0, sizeof(*stats));
	ret = co_action_add(&all, action_replace(place, to, &lost), err);
	if (ret == 0)
		ret = co_actions_commit(&all, stats, err);
	else
		co_actions_give_up(&all);
	if (!lost)
		return ret;
	error_propagate(err, &lost);
	return -(*err)->code;
}
