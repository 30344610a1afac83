/* SPDX-License-Identifier: MIT */
/*
 * commands-filter.c - filters put in and taken out under live I/O (C4, B5).
 *
 * Main thread.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "graph/export.h"
#include "graph/graph.h"
#include "server/command.h"
#include "server/commands.h"

static struct node *export_node(const struct export *exp)
{
	return exp->root->edge.child;
}

static json_t *filter_result(const struct change_stats *stats)
{
	return json_pack("{s:I,s:I}",
			 "pause-ns", (json_int_t)stats->pause_ns,
			 "in-flight", (json_int_t)stats->in_flight);
}

struct node *filter_place(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", NULL);
	const char *name = arg_string(args, "node-name", NULL);
	struct export *exp = NULL;
	struct node *node;

	if (!id == !name) {
		error_set(err, EINVAL, "Either 'id' or 'node-name' must say "
			  "where the filter goes");
		return NULL;
	}
	if (id)
		exp = export_by_name(id, err);
	node = name ? node_by_name(name, err) : exp ? export_node(exp) : NULL;
	return node ? node_get(node, "command") : NULL;
}

json_t *cmd_insert(json_t *args, struct error **err)
{
	struct node *below = filter_place(args, err), *filter;
	struct error *ignored CLEANUP_ERROR = NULL;
	struct change_stats stats;
	json_t *result;

	if (!below)
		return NULL;
	filter = graph_insert(below, arg_string(args, "parent", NULL),
			      json_object_get(args, "options"), &stats, err);
	(void)!co_node_put(below, "command", &ignored);
	if (!filter) {
		error_prefix(err, "Could not insert '%s'", arg_string(
			     json_object_get(args, "options"), "driver", ""));
		return NULL;
	}
	result = filter_result(&stats);
	json_object_set_new(result, "node-name", json_string(filter->name));
	node_put(filter, "opener");
	return result;
}

struct filter_search {
	const char *name;
	bool by_driver;
	struct node *node;
	unsigned found;
};

/* Among the nodes that one sees from `node` down; a node reached by two ways
 * counts once. */
static void filter_search(struct filter_search *search, struct node *node)
{
	bool match = search->by_driver ?
		node->driver->kind == DRIVER_FILTER &&
		!strcmp(node->driver->name, search->name) :
		!strcmp(node->name, search->name);

	if (match && node != search->node) {
		search->node = node;
		search->found++;
	}
	for (struct edge *e = node->children; e; e = e->next_child)
		filter_search(search, e->child);
}

/* The node of that name, else the only filter of that driver. */
static struct node *filter_of_export(const char *id, const char *name,
				     struct error **err)
{
	struct export *exp = export_by_name(id, err);
	struct filter_search search = { .name = name };

	if (!exp)
		return NULL;
	filter_search(&search, export_node(exp));
	search.by_driver = !search.found;
	if (search.by_driver)
		filter_search(&search, export_node(exp));
	if (search.found == 1)
		return search.node;
	if (search.found)
		error_set(err, EINVAL, "there are %u filters '%s' on device "
			  "'%s': name the node", search.found, name, exp->id);
	else
		error_set(err, ENOENT, "there is no filter '%s' on device "
			  "'%s'", name, exp->id);
	return NULL;
}

struct node *filter_to_remove(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", NULL);
	const char *name = arg_string(args, "node-name", "");
	struct node *node = id ? filter_of_export(id, name, err) :
		node_by_name(name, err);

	if (!node || node->driver->kind == DRIVER_FILTER)
		return node;
	error_set(err, EINVAL, "Node '%s' is no filter but a '%s'", node->name,
		  node->driver->name);
	return NULL;
}

json_t *cmd_remove(json_t *args, struct error **err)
{
	struct node *node = filter_to_remove(args, err);
	struct change_stats stats;
	int rc;

	if (!node)
		return NULL;
	node_get(node, "command");
	rc = graph_remove(node, &stats, err);
	if (rc < 0)
		node_put(node, "command");
	else
		rc = co_node_put(node, "command", err);
	return rc < 0 ? NULL : filter_result(&stats);
}
