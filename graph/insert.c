/* SPDX-License-Identifier: MIT */
/*
 * insert.c - putting filters into a live graph and taking them out (C4, B5).
 *
 * Main thread, coroutines. The filter is opened first, which may take long and
 * holds nobody up; then one transaction moves the parents under a drain.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "graph/edge.h"
#include "graph/graph.h"
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

static struct edge *find_parent(const struct node *node, const char *name)
{
	struct edge *e;

	for (e = node->parents; e; e = e->next_parent)
		if (e->root ? root_is_named(e->root, name) :
			      !strcmp(e->parent->name, name))
			return e;
	return NULL;
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

/*
 * Under the change lock. While the filter was opened others made changes: who
 * put one above the same node came first, so ours is above that one.
 */
static void move_to_filter(struct transaction *t, struct node *below,
			   const char *parent, struct node *filter)
{
	struct node *child = node_filtered_child(filter);
	struct edge *e = parent ? find_parent(child, parent) : NULL;
	struct error *err = NULL;

	if (e && e->parent != filter)
		transaction_move(t, e, filter);
	else if (parent)
		error_set(&err, ENOENT, "'%s' is not a parent of node '%s'",
			  parent, below->name);
	else if (!transaction_move_parents(t, child, filter))
		error_set(&err, EINVAL, "Node '%s' has no parent that could "
			  "move to a filter", below->name);
	if (err)
		transaction_fail(t, err);
}

struct node *graph_insert(struct node *below, const char *parent,
			  json_t *options, struct change_stats *stats,
			  struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct transaction *t;
	struct node *filter;
	int ret;

	assert(thread_is_main());
	filter = open_filter(below, options, err);
	if (!filter)
		return NULL;
	t = transaction_begin();
	move_to_filter(t, below, parent, filter);
	ret = transaction_commit(t, stats, err);
	if (ret == 0)
		return filter;
	(void)!co_node_put(filter, "opener", &ignored);
	return NULL;
}

int graph_remove(struct node *filter, struct change_stats *stats,
		 struct error **err)
{
	const struct edge *frozen;
	struct error *why = NULL;
	struct transaction *t;
	struct node *child;

	assert(thread_is_main());
	if (filter->driver->kind != DRIVER_FILTER ||
	    !node_filtered_child(filter))
		return error_set(err, EINVAL, "Node '%s' is not a filter",
				 filter->name);
	t = transaction_begin();
	/* now that nobody else changes anything */
	child = node_filtered_child(filter);
	transaction_move_parents(t, filter, child);
	frozen = edge_first_frozen(filter);
	if (frozen)
		error_set(&why, EBUSY, "Cannot remove node '%s': its '%s' link"
			  " to '%s' is used by %s", filter->name, frozen->name,
			  frozen->child->name, frozen->frozen_by);
	if (why)
		transaction_fail(t, why);
	/* what blockdev-add made stays until blockdev-del (G1) */
	return transaction_commit(t, stats, err);
}
