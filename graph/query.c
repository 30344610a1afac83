/* SPDX-License-Identifier: MIT */
/*
 * query.c - the graph as JSON, in the shapes that the protocol's users know.
 *
 * Main thread; nothing here waits, so what is shown is one moment. Roots are
 * nodes of the graph query with the type that their kind has there.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/backing.h"
#include "graph/edge.h"
#include "graph/graph.h"
#include "runtime/json.h"

/* ---- names ---- */

/* Options given that say what is seen: they are part of its name. */
static json_t *strong_options(const struct node *node)
{
	const struct option *o = node->driver->options;
	json_t *strong = json_object();

	for (; o && o->name; o++) {
		json_t *value = json_object_get(node->given, o->name);

		if (value && o->strong)
			json_object_set(strong, o->name, value);
	}
	return strong;
}

static bool backing_is_another(const struct node *node);

/* What opens the node by one name: only files, and formats right on them. */
static const char *plain_name(const struct node *node)
{
	const struct node *primary = node_primary_child(node);

	json_t *strong = strong_options(node);
	bool is_strong = json_object_size(strong) > 0;

	json_decref(strong);
	if (is_strong || backing_is_another(node))
		return NULL;
	if (node->driver->plain_name)
		return node->driver->plain_name;
	if (node->driver->kind == DRIVER_PROTOCOL)
		return node->filename;
	if (node->driver->kind == DRIVER_FORMAT && primary &&
	    primary->driver->kind == DRIVER_PROTOCOL)
		return plain_name(primary);
	return NULL;
}

/* Whether it was opened on another image than its header names. */
static bool backing_is_another(const struct node *node)
{
	const struct node *backing = node_cow_child(node);
	const char *name = backing ? plain_name(backing) : NULL;

	if (!node->backing_given)
		return false;
	if (!backing || !node->header_backing)
		return backing || node->header_backing;
	return !name || strcmp(name, node->header_backing);
}

/* The longest options text shown; deeper graphs end in "...". */
#define JSON_NAME_MAX 1024

static json_t *options_of(const struct node *node, unsigned depth)
{
	json_t *options = json_pack("{s:s}", "driver", node->driver->name);
	const struct edge *e;
	json_t *strong;

	if (node->filename)
		json_object_set_new(options, "filename",
				    json_text(node->filename));
	strong = strong_options(node);
	json_object_update(options, strong);
	json_decref(strong);
	for (e = node->children; e && depth < 8; e = e->next_child)
		if (!(e->role & ROLE_COW) || backing_is_another(node))
			edge_describe(e, options, options_of(e->child,
							     depth + 1));
	if (!node_cow_child(node) && backing_is_another(node))
		json_object_set_new(options, "backing", json_null());
	return options;
}

static json_t *json_name(const struct node *node)
{
	char text[JSON_NAME_MAX + 16];
	json_t *options = options_of(node, 0);
	char *dump = json_write(options, JSON_SORT_KEYS);

	snprintf(text, sizeof(text), "json:%.*s%s", JSON_NAME_MAX - 3,
		 dump ? dump : "{}", dump && strlen(dump) > JSON_NAME_MAX - 3 ?
		 "..." : "");
	json_decref(options);
	free(dump);
	return json_text(text);
}

static json_t *file_name(const struct node *node)
{
	const char *plain = plain_name(node);

	return plain ? json_text(plain) : json_name(node);
}

/* ---- query-named-block-nodes ---- */

static json_t *image_info(const struct node *node, bool flat)
{
	const struct node *backing = node_cow_child(node);
	json_t *image = json_pack("{s:o, s:s, s:o, s:b}",
				  "filename", file_name(node),
				  "format", node->driver->name,
				  "virtual-size",
				  json_integer((json_int_t)node->size),
				  "dirty-flag", 0);

	if (node->header_backing)
		json_object_set_new(image, "backing-filename",
				    json_text(node->header_backing));
	if (node->header_backing_format)
		json_object_set_new(image, "backing-filename-format",
				    json_text(node->header_backing_format));
	if (backing) {
		json_object_set_new(image, "full-backing-filename",
				    file_name(backing));
		if (!flat)
			json_object_set_new(image, "backing-image",
					    image_info(backing, flat));
	}
	if (node->driver->info)
		/* the driver's hook only adds to the object */
		node->driver->info((struct node *)(uintptr_t)node, image);
	return image;
}

static unsigned backing_depth(const struct node *node)
{
	unsigned depth = 0;
	const struct node *backing;

	while ((backing = node_filtered_or_cow_child(node))) {
		depth += node_cow_child(node) != NULL;
		node = backing;
	}
	return depth;
}

static json_t *children_info(const struct node *node)
{
	json_t *list = json_array();
	const struct edge *e;

	for (e = node->children; e; e = e->next_child)
		json_array_append_new(list, json_pack("{s:s, s:s}", "child",
					e->name, "node-name", e->child->name));
	return list;
}

static json_t *node_info(const struct node *node, bool flat)
{
	json_t *object = json_pack(
		"{s:o, s:s, s:b, s:s, s:b, s:s, s:i, s:i, s:b}",
		"file", file_name(node),
		"node-name", node->name,
		"ro", node->read_only,
		"drv", node->driver->name,
		"encrypted", 0,
		"detect_zeroes", "off",
		"backing_file_depth", (int)backing_depth(node),
		"write_threshold", 0,
		"active", 1);
	static const char *const limits[] = {
		"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(limits); i++)
		json_object_set_new(object, limits[i], json_integer(0));
	json_object_set_new(object, "cache", json_pack("{s:b, s:b, s:b}",
			    "writeback", 1, "direct", node->cache_direct,
			    "no-flush", node->no_flush));
	if (node_cow_child(node))
		json_object_set_new(object, "backing_file",
				    file_name(node_cow_child(node)));
	else if (node->header_backing)
		json_object_set_new(object, "backing_file",
				    json_text(node->header_backing));
	json_object_set_new(object, "children", children_info(node));
	json_object_set_new(object, "image", image_info(node, flat));
	if (node->driver->describe)
		node->driver->describe(node, object);
	if (node->implicit)
		json_object_set_new(object, "implicit", json_true());
	if (node->temporary)
		json_object_set_new(object, "temporary",
				    json_text(own_file_name(node)));
	return object;
}

json_t *graph_query_nodes(bool flat)
{
	json_t *list = json_array();
	struct node *node = NULL;

	while ((node = node_next(node)) != NULL)
		json_array_append_new(list, node_info(node, flat));
	return list;
}

/* ---- x-debug-query-block-graph ---- */

static json_t *perm_list(unsigned perm)
{
	static const char *const names[] = {
		"consistent-read", "write", "write-unchanged", "resize",
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (perm >> i & 1)
			json_array_append_new(list, json_string(names[i]));
	return list;
}

static json_t *edge_info(const struct edge *e, unsigned parent, unsigned child)
{
	return json_pack("{s:i, s:i, s:s, s:o, s:o}", "parent", (int)parent,
			 "child", (int)child, "name", e->name,
			 "perm", perm_list(e->perm),
			 "shared-perm", perm_list(e->shared));
}

static json_t *vertex(unsigned id, const char *type, const char *name)
{
	return json_pack("{s:i, s:s, s:s}", "id", (int)id, "type", type,
			 "name", name);
}

static const char *root_type(const struct root *root)
{
	return strcmp(root->ops->kind, "job") ? "block-backend" : "block-job";
}

json_t *graph_query_graph(void)
{
	json_t *vertices = json_array(), *edges = json_array();
	struct node *node = NULL;
	struct root *root;
	struct edge *e;
	unsigned id = 0;

	while ((node = node_next(node)) != NULL) {
		node->id = ++id;
		json_array_append_new(vertices, vertex(id, "block-driver",
						       node->name));
	}
	for (root = root_first(); root; root = root->next) {
		if (!root->edge.child || !node_is_live(root->edge.child))
			continue;
		json_array_append_new(vertices, vertex(++id, root_type(root),
						       root->name));
		json_array_append_new(edges, edge_info(&root->edge, id,
						root->edge.child->id));
	}
	while ((node = node_next(node)) != NULL)
		for (e = node->children; e; e = e->next_child)
			json_array_append_new(edges, edge_info(e, node->id,
							e->child->id));
	return json_pack("{s:o, s:o}", "nodes", vertices, "edges", edges);
}
