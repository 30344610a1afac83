/* SPDX-License-Identifier: MIT */
/*
 * insert.c - putting filters into a live graph and taking them out (C4, B5).
 *
 * Main thread, coroutines. The filter is opened first, which may take long and
 * holds nobody up; then one transaction moves the parents under a drain.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/edge.h"
#include "graph/transaction.h"

/* "export 'd0'" is also found as d0. */
static bool root_is_named(const struct root *root, const char *name)
{
	size_t len = strlen(name);
	const char *quote;

	if (!strcmp(root->name, name))
		return true;
	quote = strchr(root->name, '\'');
	return quote && !strncmp(quote + 1, name, len) &&
	       !strcmp(quote + 1 + len, "'");
}

/* As struct link_of; parent NULL: all. */
struct whose {
	char *parent, *child;
};

static void whose_init(struct whose *whose, const struct link_of *of)
{
	if (!of)
		return;
	whose->parent = strdup(of->parent);
	whose->child = of->child ? strdup(of->child) : NULL;
	if (!whose->parent || (of->child && !whose->child))
		abort();
}

static void whose_free(struct whose *whose)
{
	free(whose->parent);
	free(whose->child);
}

/* The link of one parent to `node`; but: no parent in this sense. */
static struct edge *find_link(const struct transaction *t,
			      const struct node *node, const struct node *but,
			      const struct whose *whose, struct error **err)
{
	struct edge *e, *found = NULL;
	bool is_parent = false;

	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e)) {
		if (e->root ? !root_is_named(e->root, whose->parent) :
			      e->parent == but ||
			      strcmp(e->parent->name, whose->parent))
			continue;
		is_parent = true;
		if (whose->child && strcmp(e->name, whose->child))
			continue;
		if (found) {
			error_set(err, EINVAL, "'%s' has node '%s' as '%s' and"
				  " as '%s': say which with 'child'",
				  whose->parent, node->name, found->name,
				  e->name);
			return NULL;
		}
		found = e;
	}
	if (!is_parent)
		error_set(err, ENOENT, "'%s' is not a parent of node '%s'",
			  whose->parent, node->name);
	else if (!found)
		error_set(err, ENOENT, "Node '%s' is not the '%s' child of"
			  " '%s'", node->name, whose->child, whose->parent);
	return found;
}

/* The name of the one child that makes it a filter; NULL: it is none. */
static const char *filter_child_name(const char *driver_name)
{
	const struct driver *driver = driver_find(driver_name);
	const struct child_decl *decl;

	if (!driver || driver->kind != DRIVER_FILTER)
		return NULL;
	for (decl = driver->children; decl->name; decl++)
		if (decl->role & ROLE_FILTERED)
			return decl->name;
	return NULL;
}

static struct node *open_filter(struct node *below, json_t *options,
				struct error **err)
{
	const char *driver, *child;
	struct node *filter = NULL;
	json_t *copy;

	driver = json_string_value(json_object_get(options, "driver"));
	if (!driver) {
		error_set(err, EINVAL, "Parameter 'driver' is missing");
		return NULL;
	}
	child = filter_child_name(driver);
	if (!child) {
		error_set(err, EINVAL, "Driver '%s' is not a filter", driver);
		return NULL;
	}
	copy = json_deep_copy(options);
	json_object_set_new(copy, child, json_string(below->name));
	/* a filter is as writable, and gives back space, as what it is on */
	if (!json_object_get(copy, "read-only"))
		json_object_set_new(copy, "read-only",
				    json_boolean(below->read_only));
	if (!json_object_get(copy, "discard"))
		json_object_set_new(copy, "discard", json_string(
				    below->discard_unmap ? "unmap" :
				    "ignore"));
	filter = node_open(copy, 0, err);
	json_decref(copy);
	return filter;
}

/* ---- putting in ---- */

struct insertion {
	struct action action;
	struct node *below;
	struct whose whose;
	json_t *options;
	struct node *filter, **out;
};

static int insertion_prepare(struct action *action, struct error **err)
{
	struct insertion *i = container_of(action, struct insertion, action);

	i->filter = open_filter(i->below, i->options, err);
	return i->filter ? 0 : -EINVAL;
}

/*
 * While the filter was opened others made changes: who put one above the same
 * node came first, so ours is above that one.
 */
static void insertion_step(struct action *action, struct transaction *t)
{
	struct insertion *i = container_of(action, struct insertion, action);
	struct node *child = node_filtered_child(i->filter);
	struct error *err = NULL;
	struct edge *e;

	transaction_set_kind(t, DRAIN_FOR_INSERT);
	if (i->whose.parent) {
		e = find_link(t, child, i->filter, &i->whose, &err);
		if (e)
			transaction_move(t, e, i->filter);
	} else if (!transaction_move_parents(t, child, i->filter)) {
		error_set(&err, EINVAL, "Node '%s' has no parent that could "
			  "move to a filter", i->below->name);
	}
	if (err)
		transaction_fail(t, err);
}

static void insertion_end(struct action *action, bool committed)
{
	struct insertion *i = container_of(action, struct insertion, action);
	struct error *ignored CLEANUP_ERROR = NULL;

	if (committed)
		*i->out = i->filter;
	else if (i->filter)
		(void)!co_node_put(i->filter, "opener", &ignored);
	node_put(i->below, "insertion");
	json_decref(i->options);
	whose_free(&i->whose);
	free(i);
}

static const struct action_ops insertion_ops = {
	.prepare = insertion_prepare,
	.step = insertion_step,
	.end = insertion_end,
};

struct action *action_insert(struct node *below, const struct link_of *of,
			     json_t *options, struct node **filter)
{
	struct insertion *i = calloc(1, sizeof(*i));

	if (!i)
		abort();
	i->action.ops = &insertion_ops;
	i->below = node_get(below, "insertion");
	whose_init(&i->whose, of);
	i->options = json_incref(options);
	i->out = filter;
	*filter = NULL;
	return &i->action;
}

struct node *graph_insert(struct node *below, const struct link_of *of,
			  json_t *options, struct change_stats *stats,
			  struct error **err)
{
	struct actions all = { NULL };
	struct node *filter;

	assert(thread_is_main());
	if (co_action_add(&all, action_insert(below, of, options, &filter),
			  err) < 0) {
		co_actions_give_up(&all);
		return NULL;
	}
	return co_actions_commit(&all, stats, err) == 0 ? filter : NULL;
}

/* ---- taking out ---- */

struct removal {
	struct action action;
	struct node *filter;
	struct whose whose;
};

static int removal_prepare(struct action *action, struct error **err)
{
	const struct node *filter = container_of(action, struct removal,
						 action)->filter;

	if (filter->driver->kind == DRIVER_FILTER &&
	    node_filtered_child(filter))
		return 0;
	return error_set(err, EINVAL, "Node '%s' is not a filter",
			 filter->name);
}

/* As it is now that nobody else changes anything. */
static struct node *filtered_now(const struct transaction *t,
				 const struct node *filter)
{
	struct edge *e = transaction_first_child(t, filter);

	while (!(e->role & ROLE_FILTERED))
		e = transaction_next_child(t, filter, e);
	return e->target;
}

/* What blockdev-add made stays until blockdev-del (G1), and what others have
 * above them until they let go. */
static void removal_step(struct action *action, struct transaction *t)
{
	struct removal *r = container_of(action, struct removal, action);
	const struct edge *frozen = edge_first_frozen(r->filter);
	struct node *below = filtered_now(t, r->filter);
	struct error *why = NULL;
	struct edge *e;

	transaction_set_kind(t, DRAIN_FOR_REMOVE);
	if (r->whose.parent) {
		e = find_link(t, r->filter, NULL, &r->whose, &why);
		if (e)
			transaction_move(t, e, below);
	} else {
		transaction_move_parents(t, r->filter, below);
		if (frozen)
			error_set(&why, EBUSY, "Cannot remove node '%s': its"
				  " '%s' link to '%s' is used by %s",
				  r->filter->name, frozen->name,
				  frozen->child->name, frozen->frozen_by);
	}
	if (why)
		transaction_fail(t, why);
}

static void removal_end(struct action *action, bool committed)
{
	struct removal *r = container_of(action, struct removal, action);

	(void)committed;
	node_put(r->filter, "removal");
	whose_free(&r->whose);
	free(r);
}

static const struct action_ops removal_ops = {
	.prepare = removal_prepare,
	.step = removal_step,
	.end = removal_end,
};

struct action *action_remove(struct node *filter, const struct link_of *of)
{
	struct removal *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	r->action.ops = &removal_ops;
	r->filter = node_get(filter, "removal");
	whose_init(&r->whose, of);
	return &r->action;
}

int graph_remove(struct node *filter, const struct link_of *of,
		 struct change_stats *stats, struct error **err)
{
	struct actions all = { NULL };
	int ret;

	assert(thread_is_main());
	ret = co_action_add(&all, action_remove(filter, of), err);
	if (ret == 0)
		return co_actions_commit(&all, stats, err);
	co_actions_give_up(&all);
	return ret;
}
