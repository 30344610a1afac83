/* SPDX-License-Identifier: MIT */
/*
 * node.c - nodes: life, names, lookup, and walking along meaning (G4, G5).
 *
 * Main thread, except the small accessors, which I/O threads may use inside a
 * counted request.
 */
#include "graph/node.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node-io.h"
#include "graph/node-life.h"
#include "graph/transaction.h"
#include "graph/walk.h"

static struct node *nodes;
static unsigned generated;

/* ---- meaning ---- */

struct node *node_cow_child(const struct node *node)
{
	if (!node->backing || !(node->backing->role & ROLE_COW))
		return NULL;
	return node->backing->child;
}

struct node *node_filtered_child(const struct node *node)
{
	if (node->file && node->file->role & ROLE_FILTERED)
		return node->file->child;
	if (node->backing && node->backing->role & ROLE_FILTERED)
		return node->backing->child;
	return NULL;
}

struct node *node_filtered_or_cow_child(const struct node *node)
{
	struct node *filtered = node_filtered_child(node);

	return filtered ? filtered : node_cow_child(node);
}

struct node *node_primary_child(const struct node *node)
{
	if (node->file)
		return node->file->child;
	return node_filtered_child(node);
}

struct node *node_skip_filters(struct node *node)
{
	struct node *child;

	while (node && (child = node_filtered_child(node)))
		node = child;
	return node;
}

struct node *node_skip_implicit(struct node *node)
{
	while (node && node->implicit)
		node = node_filtered_child(node);
	return node;
}

/*
 * raw over a file filters it: the walk has to stop at the image that may have
 * a backing file, which is the first node on the way down that is no filter.
 */
struct node *node_backing_next(struct node *node)
{
	node = node_skip_filters(node);
	return node ? node_skip_filters(node_cow_child(node)) : NULL;
}

uint64_t node_chain_allocated(struct node *node)
{
	uint64_t sum = 0;

	for (; node; node = node_backing_next(node)) {
		struct node *end = node, *primary;

		while ((primary = node_primary_child(end)))
			end = primary;
		sum += min(end->allocated, end->size);
	}
	return sum;
}

const char *node_chain_warning(const struct node *node)
{
	while (node && !node->warning)
		node = node_filtered_or_cow_child(node);
	return node ? node->warning : NULL;
}

/* ---- names ---- */

struct node *node_first(void)
{
	return nodes;
}

struct node *node_find(const char *name)
{
	struct node *node;

	for (node = nodes; node; node = node->next)
		if (node->ready && !strcmp(node->name, name))
			return node;
	return NULL;
}

/* Those being opened have taken theirs already. */
static bool name_is_taken(const char *name)
{
	struct node *node;

	for (node = nodes; node; node = node->next)
		if (!strcmp(node->name, name))
			return true;
	return false;
}

int node_check_name(const char *name, struct error **err)
{
	const char *c = name;

	if (strlen(name) > NODE_NAME_MAX)
		return error_set(err, EINVAL, "Node name too long");
	if (!isalpha((unsigned char)*c))
		return error_set(err, EINVAL, "Invalid node-name: '%s'", name);
	for (; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-._", *c))
			return error_set(err, EINVAL,
					 "Invalid node-name: '%s'", name);
	if (name_is_taken(name))
		return error_set(err, EEXIST, "Duplicate nodes with"
				 " node-name='%s'", name);
	return 0;
}

void node_generate_name(char name[NODE_NAME_MAX + 1])
{
	/* users cannot give names with a '#', so this is unique */
	snprintf(name, NODE_NAME_MAX + 1, "#block%03u", generated++);
}

/* ---- life ---- */

static void *xcalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

static bool driver_forwards(const struct driver *driver)
{
	return !driver->map && !driver->read && !driver->write &&
	       !driver->zeroes && !driver->discard;
}

struct node *node_new(const struct driver *driver, const char *name)
{
	struct node *node = xcalloc(sizeof(*node)), **last;

	node->driver = driver;
	snprintf(node->name, sizeof(node->name), "%s", name);
	node->state = xcalloc(driver->state_size);
	node->opts = xcalloc(driver->options_size);
	node->io = node_io_new();
	node->forwards = driver_forwards(driver);
	node->shared = PERM_ALL;
	node->limits.align = node->limits.mem_align = 1;
	/* oldest first: queries show nodes in the order of opening */
	for (last = &nodes; *last; last = &(*last)->next)
		;
	*last = node;
	return node;
}

static void node_free(struct node *node)
{
	assert(!node->children && !node->parents && !node->busy);
	options_free(node->driver->options, node->opts);
	free(node->opts);
	free(node->state);
	node_io_free(node->io);
	json_decref(node->strong);
	free(node->filename);
	free(node->header_backing);
	free(node->header_backing_format);
	free(node->warning);
	free(node);
}

static void node_unlist(struct node *node)
{
	struct node **at;

	for (at = &nodes; *at != node; at = &(*at)->next)
		;
	*at = node->next;
	node->next = NULL;
}

/* Without a name from the start, so that nobody takes hold of it meanwhile. */
static void node_close(struct node *node, struct orphans *orphans)
{
	struct transaction *t;
	struct edge *edge;

	node_unlist(node);
	/* a drain that covers it knows it until it ends */
	co_node_busy(node);
	if (node->opened && node->driver->close)
		/* what close could not write is the driver's to log */
		(void)node->driver->close(node);
	node_idle(node);
	node->opened = false;
	if (node->children) {
		t = transaction_begin();
		transaction_set_loosening(t);
		transaction_set_orphans(t, orphans);
		for (edge = node->children; edge; edge = edge->next_child)
			transaction_move(t, edge, NULL);
		if (transaction_commit(t, NULL, NULL) < 0)
			abort();
	}
	node_free(node);
}

void node_orphan(struct orphans *orphans, struct node *node)
{
	if (node->orphan || node->parents || node->held || node->pins)
		return;
	node->orphan = true;
	node->next_orphan = orphans->first;
	orphans->first = node;
}

void node_reap(struct orphans *orphans)
{
	struct node *node;

	while ((node = orphans->first)) {
		orphans->first = node->next_orphan;
		node->orphan = false;
		if (!node->parents && !node->held && !node->pins)
			node_close(node, orphans);
	}
}

void node_unref(struct node *node)
{
	struct orphans orphans = { NULL };

	assert(thread_is_main());
	node_orphan(&orphans, node);
	node_reap(&orphans);
}

void node_discard(struct node *node)
{
	assert(!node->parents && !node->held);
	node->pins = 0;
	node_unref(node);
}

struct node *node_add(struct json_t *options, struct error **err)
{
	struct node *node = node_open(options, 0, err);

	if (!node)
		return NULL;
	if (node->name[0] == '#') {
		error_set(err, EINVAL, "'node-name' must be specified for the"
			  " root node");
		node_unref(node);
		return NULL;
	}
	node->held = true;
	return node;
}

/* Says who keeps it, in the words that the protocol's users know. */
static int node_del_refuse(const struct node *node, struct error **err)
{
	bool by_node = false;

	for (const struct edge *e = node->parents; e; e = e->next_parent) {
		by_node |= e->parent != NULL;
		if (e->parent && e->role & ROLE_COW)
			return error_set(err, EBUSY, "Node '%s' is busy: node "
					 "is used as backing hd of '%s'",
					 node->name, e->parent->name);
	}
	if (!node->held)
		return error_set(err, EBUSY, "Node %s is not owned by the "
				 "monitor", node->name);
	return error_set(err, EBUSY, "%s %s is in use",
			 by_node ? "Block device" : "Node", node->name);
}

int node_del(const char *name, struct error **err)
{
	struct node *node = node_find(name);

	assert(thread_is_main());
	if (!node)
		return error_set(err, ENOENT,
				 "Failed to find node with node-name='%s'",
				 name);
	if (node->parents || node->pins || !node->held)
		return node_del_refuse(node, err);
	node->held = false;
	node_unref(node);
	return 0;
}

void node_forget_all(void)
{
	static struct node *forgotten;
	struct node *node;

	while ((node = nodes)) {
		nodes = node->next;
		node->next = forgotten;
		forgotten = node;
	}
	generated = 0;
}

/* ---- upwards ---- */

void walk_begin(struct walk *walk)
{
	static uint32_t stamp;

	walk->stamp = ++stamp;
}

bool walk_root(struct walk *walk, struct root *root)
{
	if (root->mark == walk->stamp)
		return false;
	root->mark = walk->stamp;
	walk->root(walk, root);
	return true;
}

void walk_up(struct walk *walk, struct node *node)
{
	struct edge *edge;

	if (node->mark == walk->stamp)
		return;
	node->mark = walk->stamp;
	if (walk->node)
		walk->node(walk, node);
	for (edge = node->parents; edge; edge = edge->next_parent) {
		if (edge->root)
			walk_root(walk, edge->root);
		else
			walk_up(walk, edge->parent);
	}
}
