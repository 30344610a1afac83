/* SPDX-License-Identifier: MIT */
/*
 * open.c - from options to open nodes.
 *
 * Main thread, coroutine; without the change lock but for attaching. A chain is
 * opened from the top in a loop, a node's other children by recursion, which is
 * bounded. Nodes get their names when all of it succeeded, so nobody finds a
 * half of it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/backing.h"
#include "graph/edge.h"
#include "graph/generic.h"
#include "graph/graph.h"
#include "graph/limits.h"
#include "graph/node-life.h"
#include "graph/state.h"
#include "graph/transaction.h"
#include "graph/walk.h"

#define NESTING_MAX 16

/* One call of node_open. */
struct opening {
	unsigned flags;
	/* made by it, in the order of opening, and found */
	struct node_list nodes;
	struct error **err;
};

/* ---- options of one node ---- */

static int parse_node_options(json_t *options, const struct generic *g,
			      struct node *node, struct error **err)
{
	int ret;

	node->read_only = g->read_only;
	node->auto_read_only = g->auto_read_only;
	node->force_share = g->force_share;
	node->cache_direct = g->direct;
	node->no_flush = g->no_flush;
	node->discard_unmap = g->discard;
	node->generic_given = g->given;
	node->given = options_given(options, node->driver->options);
	generic_pass_on(g, node->driver, options);
	ret = options_parse(options, node->driver->options, NULL, node->opts,
			    err);
	return ret < 0 ? ret : options_refuse_rest(options, err);
}

/* ---- children ---- */

/* at: in a list. */
static int attach(struct node *parent, const struct child_decl *decl,
		  size_t at, struct node *child, struct error **err)
{
	struct transaction *t = transaction_begin();
	struct edge *edge;
	unsigned role = parent->driver->child_role ?
			parent->driver->child_role(parent, decl) : decl->role;

	edge = transaction_attach(t, parent, decl->name, role, child);
	if (decl->list) {
		if (asprintf(&edge->own_name, "%s.%zu", decl->name, at) < 0)
			abort();
		edge->name = edge->own_name;
	}
	return transaction_commit(t, NULL, err);
}

static struct node *open_tree(struct opening *o, json_t *options,
			      const struct inherit *from, bool guessed,
			      unsigned nesting);

/* An object is opened, a name looked up. */
static struct node *open_or_find(struct opening *o, json_t *value,
				 const struct inherit *from, const char *name,
				 unsigned nesting)
{
	struct node *node;

	if (json_is_object(value))
		return open_tree(o, value, from, false, nesting + 1);
	if (!json_is_string(value)) {
		error_set(o->err, EINVAL, "Invalid parameter type for '%s',"
			  " expected: BlockdevRef", name);
		return NULL;
	}
	node = node_find(json_string_value(value));
	if (node)
		node_list_add(&o->nodes, node);
	else
		error_set(o->err, ENOENT, "Cannot find device='%s' nor"
			  " node-name='%s'", json_string_value(value),
			  json_string_value(value));
	return node;
}

static int open_one(struct opening *o, struct node *node,
		    const struct child_decl *decl, size_t at, json_t *value,
		    unsigned nesting)
{
	struct inherit from = inherit_from_node(node, decl->role & ROLE_COW);
	struct node *child = open_or_find(o, value, &from, decl->name,
					  nesting);

	if (!child)
		return -EINVAL;
	/* what cannot be written below cannot be written here */
	if (child->read_only && node->auto_read_only &&
	    decl->role & ROLE_PRIMARY)
		node->read_only = true;
	if (json_is_object(value))
		child->inherits_from = node;
	return attach(node, decl, at, child, o->err);
}

static int open_list(struct opening *o, struct node *node,
		     const struct child_decl *decl, json_t *list,
		     unsigned nesting)
{
	int ret = 0;

	if (!json_is_array(list))
		return error_set(o->err, EINVAL, "Invalid parameter type for"
				 " '%s', expected: array", decl->name);
	if (!decl->optional && !json_array_size(list))
		return error_set(o->err, EINVAL, "Number of provided %s must"
				 " be 1 or more", decl->name);
	for (size_t i = 0; i < json_array_size(list) && ret == 0; i++)
		ret = open_one(o, node, decl, i, json_array_get(list, i),
			       nesting);
	return ret;
}

static int open_child(struct opening *o, struct node *node,
		      const struct child_decl *decl, json_t *value,
		      unsigned nesting)
{
	if (!value && !decl->optional)
		return error_set(o->err, EINVAL, "A block device must be"
				 " specified for \"%s\"", decl->name);
	if (!value || (json_is_null(value) && decl->optional))
		return 0;
	return decl->list ? open_list(o, node, decl, value, nesting) :
			    open_one(o, node, decl, 0, value, nesting);
}

static int open_children(struct opening *o, struct node *node,
			 json_t *children, unsigned nesting)
{
	const struct child_decl *decl = node->driver->children;
	int ret;

	for (; decl && decl->name; decl++) {
		if (decl->after_open)
			continue;
		ret = open_child(o, node, decl,
				 json_object_get(children, decl->name),
				 nesting);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int open_driver(struct node *node, struct error **err)
{
	struct node *primary = node_primary_child(node);
	int ret;

	if (primary) {
		node->size = primary->size;
		node->temporary = primary->temporary;
	}
	node->allocated = UINT64_MAX;
	if (node->driver->open) {
		co_node_busy(node);
		ret = node->driver->open(node, err);
		node_idle(node);
		if (ret < 0)
			return ret;
	}
	node_set_life(node, NODE_OPENED);
	limits_open(node);
	node_identify(node);
	return 0;
}

static struct node *make_node(struct opening *o, const struct driver *driver,
			      const char *name)
{
	char generated[NODE_NAME_MAX + 1];
	struct node *node;

	if (name && node_check_name(name, o->flags & NODE_REBUILD, o->err) < 0)
		return NULL;
	if (!name)
		node_generate_name(generated);
	node = node_new(driver, name ? name : generated);
	node_list_add(&o->nodes, node);
	return node;
}

/*
 * One node with everything but its backing child. options is used up. On
 * failure what was made stays in o->nodes.
 */
static struct node *open_node(struct opening *o, json_t *options,
			      const struct inherit *from, bool guessed,
			      json_t **children, unsigned nesting)
{
	const struct driver *driver;
	struct generic g;
	struct node *node;
	int ret;

	*children = NULL;
	if (nesting > NESTING_MAX) {
		error_set(o->err, ELOOP, "Block nodes are nested deeper than"
			  " %d", NESTING_MAX);
		return NULL;
	}
	driver = driver_take(options, o->err);
	if (!driver || generic_parse(options, from, &g, o->err) < 0)
		return NULL;
	node = make_node(o, driver, g.node_name);
	if (node) {
		node->guessed = guessed;
		*children = generic_take_children(options, driver);
		ret = parse_node_options(options, &g, node, o->err);
		if (ret == 0)
			ret = open_children(o, node, *children, nesting);
		if (ret == 0)
			ret = open_driver(node, o->err);
		if (ret < 0)
			node = NULL;
	}
	generic_free(&g);
	return node;
}

/* ---- the chain ---- */

static const struct child_decl *backing_decl(const struct node *node)
{
	const struct child_decl *decl = node->driver->children;

	for (; decl && decl->name; decl++)
		if (decl->after_open)
			return decl;
	return NULL;
}

/* The node that the header of `node` names; NULL with *err unset: none. */
static struct node *open_by_header(struct opening *o, struct node *node,
				   const struct node_list *chain,
				   json_t **children, unsigned nesting)
{
	struct inherit from = inherit_from_node(node, true);
	struct backing_file file;
	struct node *backing;

	if (!node->header_backing)
		return NULL;
	if (backing_resolve(node, chain->list, chain->count, &file,
			    o->err) < 0)
		return NULL;
	backing = o->flags & NODE_SHARE ? backing_find_shared(node, &file)
					: NULL;
	if (backing) {
		node_list_add(&o->nodes, backing);
	} else {
		backing = open_node(o, file.options, &from, file.guessed,
				    children, nesting);
		if (backing)
			backing->shareable = o->flags & NODE_SHARE;
		else
			error_prefix(o->err, "Could not open backing file '%s'"
				     " of node '%s'", file.path, node->name);
	}
	backing_file_free(&file);
	return backing;
}

/* The next image of the chain, attached; NULL with *err unset: the end. */
static struct node *open_next(struct opening *o, struct node *node,
			      const struct node_list *chain,
			      json_t **children, unsigned nesting)
{
	const struct child_decl *decl = backing_decl(node);
	struct inherit from = inherit_from_node(node, true);
	json_t *value, *own = *children;
	struct node *backing = NULL;

	*children = NULL;
	value = decl ? json_object_get(own, decl->name) : NULL;
	if (!value && decl)
		backing = open_by_header(o, node, chain, children, nesting);
	else if (json_is_object(value))
		backing = open_node(o, value, &from, false, children, nesting);
	else if (value && !json_is_null(value))
		backing = open_or_find(o, value, &from, decl->name, nesting);
	node->backing_given = value && !(o->flags & NODE_BY_HEADER);
	if (*o->err && value)
		error_prefix(o->err, "Could not open backing file");
	json_decref(own);
	if (backing && backing->life == NODE_OPENED)
		backing->inherits_from = node;
	if (backing && attach(node, decl, 0, backing, o->err) < 0)
		return NULL;
	return backing;
}

static struct node *open_tree(struct opening *o, json_t *options,
			      const struct inherit *from, bool guessed,
			      unsigned nesting)
{
	struct node_list chain = { .owner = "opening" };
	json_t *children;
	struct node *top, *node;

	top = open_node(o, options, from, guessed, &children, nesting);
	/* children: NULL below a node that was there already */
	for (node = top; node && children && !*o->err;) {
		node_list_add(&chain, node);
		if (chain.count > NODE_CHAIN_MAX) {
			error_set(o->err, ELOOP, "The backing chain of node"
				  " '%s' is longer than %d images", top->name,
				  NODE_CHAIN_MAX);
			break;
		}
		node = open_next(o, node, &chain, &children, nesting);
	}
	json_decref(children);
	node_list_free(&chain);
	return *o->err ? NULL : top;
}

/* All of it is there and gets names, or all of it goes. */
static void opening_end(struct opening *o, struct node *top)
{
	struct close_wait wait = { .links = NULL };
	struct error *ignored CLEANUP_ERROR = NULL;

	for (unsigned i = 0; i < o->nodes.count; i++) {
		struct node *node = o->nodes.list[i];

		/* what was there already is others' to close */
		if (node->life > NODE_OPENED)
			continue;
		if (!top)
			close_wait_add(&wait, node);
		else
			node_set_life(node, NODE_LIVE);
	}
	if (top)
		node_get(top, "opener");
	node_list_free(&o->nodes);
	/* who tries again at once finds names and files free */
	if (!top)
		(void)!co_close_wait(&wait, false, &ignored);
}

struct node *node_open(json_t *options, unsigned flags, struct error **err)
{
	struct inherit from = { 0 };
	struct opening o = { .flags = flags, .err = err };
	json_t *copy = json_deep_copy(options);
	struct node *node;

	assert(thread_is_main() && co_self() && !*err);
	graph_open_zero_file();
	o.nodes.owner = "opening";
	node = open_tree(&o, copy, &from, flags & NODE_GUESSED, 0);
	json_decref(copy);
	opening_end(&o, node);
	return node;
}
