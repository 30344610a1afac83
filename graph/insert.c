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

/* Nothing would hold the filter, nor see it (G1). */
static bool is_only_parent(const struct node *below, const struct node *filter)
{
	const struct edge *e = below->parents;

	return !e || (e->parent == filter && !e->next_parent);
}

/* Under the change lock: while the filter was opened others made changes. */
static void move_to_filter(struct transaction *t, struct node *below,
			   const char *parent, struct node *filter)
{
	struct edge *e = parent ? find_parent(below, parent) : NULL;
	struct error *err = NULL;

	if (e && e->parent != filter)
		transaction_move(t, e, filter);
	else if (parent)
		error_set(&err, ENOENT, "'%s' is not a parent of node '%s'",
			  parent, below->name);
	else if (is_only_parent(below, filter))
		error_set(&err, EINVAL, "Node '%s' has no parent that could "
			  "move to a filter", below->name);
	else
		transaction_move_parents(t, below, filter);
	if (err)
		transaction_fail(t, err);
}

struct node *graph_insert(struct node *below, const char *parent,
			  json_t *options, struct change_stats *stats,
			  struct error **err)
{
	struct transaction *t;
	struct node *filter;
	int ret = -EINVAL;

	assert(thread_is_main());
	/* pinned: the commands that wait beside us may close it otherwise */
	below->pins++;
	filter = open_filter(below, options, err);
	if (filter) {
		filter->pins++;
		t = transaction_begin();
		move_to_filter(t, below, parent, filter);
		ret = transaction_commit(t, stats, err);
		filter->pins--;
		if (ret < 0) {
			node_unref(filter);
			filter = NULL;
		}
	}
	below->pins--;
	if (ret < 0)
		node_unref(below);
	return filter;
}

int graph_remove(struct node *filter, struct change_stats *stats,
		 struct error **err)
{
	struct node *child = node_filtered_child(filter);
	struct transaction *t;
	int ret;

	assert(thread_is_main());
	if (filter->driver->kind != DRIVER_FILTER || !child)
		return error_set(err, EINVAL, "Node '%s' is not a filter",
				 filter->name);
	filter->pins++;
	t = transaction_begin();
	/* again, now that nobody else changes anything */
	child = node_filtered_child(filter);
	transaction_move_parents(t, filter, child);
	ret = transaction_commit(t, stats, err);
	filter->pins--;
	/* what blockdev-add made stays until blockdev-del (G1); failed or not,
	 * who else held it may have gone meanwhile */
	node_unref(filter);
	return ret;
}
