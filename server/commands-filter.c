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
#include "graph/replace.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/pause.h"

static struct node *export_node(const struct export *exp)
{
	return exp->root->edge.child;
}

static bool is_in_tree(const struct node *top, const struct node *node)
{
	if (top == node)
		return true;
	for (const struct edge *e = top->children; e; e = e->next_child)
		if (is_in_tree(e->child, node))
			return true;
	return false;
}

/* "parent" and "child"; a path is that of a device. */
static int find_link_args(json_t *args, struct link_of *link,
			  struct error **err)
{
	const struct export *exp;

	link->parent = arg_string(args, "parent", NULL);
	link->child = arg_string(args, "child", NULL);
	if (link->child && !link->parent)
		return error_set(err, EINVAL, "Whose child '%s' is meant must"
				 " be said with 'parent'", link->child);
	if (!link->parent || !strchr(link->parent, '/'))
		return 0;
	exp = export_by_name(link->parent, err);
	link->parent = exp ? exp->id : NULL;
	return exp ? 0 : -ENOENT;
}

/* What the link leads to; device: only what lies below that one. */
static struct node *node_of_link(const struct link_of *link,
				 const struct export *device,
				 struct error **err)
{
	const char *child = link->child;
	const struct edge *found = NULL, *e;
	struct place place;
	struct export *exp;

	if (find_parent_place(link->parent, &place, &exp, err) < 0)
		return NULL;
	for (e = exp ? &exp->root->edge : place.parent->children; e;
	     e = exp ? NULL : e->next_child) {
		if ((child && strcmp(e->name, child)) ||
		    (device && !is_in_tree(export_node(device), e->child)))
			continue;
		if (found) {
			error_set(err, EINVAL, "'%s' has the children '%s' and"
				  " '%s': say which with 'child'",
				  link->parent, found->name, e->name);
			return NULL;
		}
		found = e;
	}
	if (!found)
		error_set(err, ENOENT, "'%s' has no child%s%s%s%s%s%s",
			  link->parent, child ? " '" : "", child ? child : "",
			  child ? "'" : "", device ? " below device '" : "",
			  device ? device->id : "", device ? "'" : "");
	return found ? found->child : NULL;
}

int filter_place(json_t *args, struct filter_place *place, struct error **err)
{
	const char *id = arg_string(args, "id", NULL);
	const char *name = arg_string(args, "node-name", NULL);
	const struct export *device = NULL;

	if (find_link_args(args, &place->link, err) < 0)
		return -EINVAL;
	if (!id && !name && !place->link.parent)
		return error_set(err, EINVAL, "'id', 'node-name' or 'parent'"
				 " must say where the filter goes");
	if (id) {
		device = export_by_name(id, err);
		if (!device)
			return -ENOENT;
	}
	place->node = name ? node_by_name(name, err) : place->link.parent ?
		      node_of_link(&place->link, device, err) :
		      export_node(device);
	if (!place->node)
		return -ENOENT;
	return !device || is_in_tree(export_node(device), place->node) ? 0 :
		error_set(err, ENOENT, "Node '%s' is not below device '%s'",
			  name, device->id);
}

json_t *cmd_insert(json_t *args, struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct change_stats stats;
	struct filter_place place;
	struct node *filter;
	json_t *result;

	if (filter_place(args, &place, err) < 0)
		return NULL;
	node_get(place.node, "command");
	filter = graph_insert(place.node, filter_link(&place),
			      json_object_get(args, "options"), &stats, err);
	(void)!co_node_put(place.node, "command", &ignored);
	if (!filter) {
		error_prefix(err, "Could not insert '%s'", arg_string(
			     json_object_get(args, "options"), "driver", ""));
		return NULL;
	}
	result = with_pause(json_object(), &stats);
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

int filter_to_remove(json_t *args, struct filter_place *place,
		     struct error **err)
{
	const char *id = arg_string(args, "id", NULL);
	const char *name = arg_string(args, "node-name", "");
	struct node *node;

	if (find_link_args(args, &place->link, err) < 0)
		return -EINVAL;
	node = id ? filter_of_export(id, name, err) : node_by_name(name, err);
	place->node = node;
	if (!node)
		return -ENOENT;
	return node->driver->kind == DRIVER_FILTER ? 0 :
		error_set(err, EINVAL, "Node '%s' is no filter but a '%s'",
			  node->name, node->driver->name);
}

json_t *cmd_remove(json_t *args, struct error **err)
{
	struct change_stats stats;
	struct filter_place place;
	int rc;

	if (filter_to_remove(args, &place, err) < 0)
		return NULL;
	node_get(place.node, "command");
	rc = graph_remove(place.node, filter_link(&place), &stats, err);
	if (rc < 0)
		node_put(place.node, "command");
	else
		rc = co_node_put(place.node, "command", err);
	return rc < 0 ? NULL : with_pause(json_object(), &stats);
}
