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
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/edge.h"
#include "graph/flush.h"
#include "graph/node-io.h"
#include "graph/node-life.h"
#include "graph/thread-state.h"
#include "graph/transaction.h"
#include "graph/upkeep.h"
#include "graph/walk.h"
#include "runtime/co.h"
#include "runtime/late.h"

static struct node *nodes;	/* of every life, oldest first */
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

struct node *node_next(const struct node *prev)
{
	struct node *node = prev ? prev->next : nodes;

	while (node && !node_is_live(node))
		node = node->next;
	return node;
}

struct node *node_find(const char *name)
{
	struct node *node = NULL;

	while ((node = node_next(node)) && strcmp(node->name, name))
		;
	return node;
}

/* From before the opening's first wait until the close's last one. */
static bool name_is_taken(const char *name)
{
	struct node *node;

	for (node = nodes; node; node = node->next)
		if (!strcmp(node->name, name))
			return true;
	return false;
}

int node_check_name(const char *name, bool rebuild, struct error **err)
{
	const char *c = name + (rebuild && name[0] == '#');

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
	/* users cannot give names with a '#'; a rebuilt node may have one */
	do
		snprintf(name, NODE_NAME_MAX + 1, "#block%03u", generated++);
	while (name_is_taken(name));
}

/* ---- life ---- */

#define BIT(life) (1u << NODE_##life)

static const unsigned node_follows[NODE_LIVES] = {
	[NODE_OPENING] = BIT(OPENED) | BIT(CLOSED),
	[NODE_OPENED] = BIT(LIVE) | BIT(CLOSING),
	[NODE_LIVE] = BIT(LEAVING) | BIT(CLOSING),
	[NODE_LEAVING] = BIT(CLOSING),
	[NODE_CLOSING] = BIT(CLOSED),
};

void node_set_life(struct node *node, enum node_life life)
{
	assert(node_follows[node->life] >> life & 1);
	node->life = life;
}

static bool life_is_in(const struct node *node, unsigned lives)
{
	return lives >> node->life & 1;
}

bool node_is_live(const struct node *node)
{
	return life_is_in(node, BIT(LIVE));
}

const struct node *node_each(const struct node *prev)
{
	return prev ? prev->next : nodes;
}

const struct node *node_unclosed(const struct node *prev)
{
	const struct node *node = prev ? prev->next : nodes;

	while (node && !life_is_in(node, BIT(LIVE) | BIT(LEAVING) |
				   BIT(CLOSING)))
		node = node->next;
	return node;
}

bool node_is_open(const struct node *node)
{
	return life_is_in(node, BIT(OPENED) | BIT(LIVE) | BIT(LEAVING) |
			  BIT(CLOSING));
}

/* An opening's own nodes get each other, everybody else only what is live. */
bool node_may_be_child(const struct node *node)
{
	return life_is_in(node, BIT(OPENED) | BIT(LIVE));
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
	node_thread_states_init(node);
	node->forwards = driver_forwards(driver);
	node->shared = PERM_ALL;
	node->limits.align = node->limits.mem_align = 1;
	/* it has metadata, and so what may want a flush */
	if (driver->kind == DRIVER_FORMAT && driver->flush)
		node->upkeep = upkeep_new(node);
	/* queries show nodes in the order of opening */
	for (last = &nodes; *last; last = &(*last)->next)
		;
	*last = node;
	return node;
}

/* ---- who waits for a close ---- */

/* A wait for a node; in the lists of both. */
struct close_link {
	struct close_wait *wait;
	struct node *node;
	struct close_link *next_of_wait, *next_of_node;
};

static void (*close_listener)(const struct node *node,
			      const struct error *err);

void node_set_close_listener(void (*failed)(const struct node *node,
					    const struct error *err))
{
	close_listener = failed;
}

void close_wait_add(struct close_wait *wait, struct node *node)
{
	struct close_link *link;

	for (link = wait->links; link; link = link->next_of_wait)
		if (link->node == node)
			return;
	link = xcalloc(sizeof(*link));
	link->wait = wait;
	link->node = node;
	link->next_of_wait = wait->links;
	wait->links = link;
	link->next_of_node = node->close_links;
	node->close_links = link;
}

static void close_wait_drop(struct close_link *link)
{
	struct close_wait *wait = link->wait;
	struct close_link **at;

	for (at = &wait->links; *at != link; at = &(*at)->next_of_wait)
		;
	*at = link->next_of_wait;
	for (at = &link->node->close_links; *at != link;
	     at = &(*at)->next_of_node)
		;
	*at = link->next_of_node;
	free(link);
	if (wait->links || !wait->waiter)
		return;
	co_wake(wait->waiter);
	wait->waiter = NULL;
}

static void close_wait_drop_all(struct node *node)
{
	while (node->close_links)
		close_wait_drop(node->close_links);
}

void node_is_kept(struct node *node)
{
	/* what is closing loses its children in the end, whoever has it */
	if (node->close_links && node->life < NODE_LEAVING)
		close_wait_drop_all(node);
}

struct close_bound {
	struct timer timer;
	struct close_wait *wait;
	bool passed;
};

static void close_wait_expire(struct timer *timer)
{
	struct close_bound *bound = container_of(timer, struct close_bound,
						 timer);

	bound->passed = true;
	if (bound->wait->waiter)
		co_wake(bound->wait->waiter);
	bound->wait->waiter = NULL;
}

/* Who deleted it waits for it, and so may somebody that waits for us. */
static bool close_has_not_begun(const struct node *node)
{
	return node->life < NODE_CLOSING;
}

/* Or only a transaction has it, that will soon let go. */
static bool close_is_not_near(const struct node *node)
{
	return close_has_not_begun(node) &&
	       (node->life == NODE_LEAVING || node->held || node->parents ||
		edge_first_frozen(node));
}

static void close_wait_drop_if(struct close_wait *wait,
			       bool (*over)(const struct node *node))
{
	struct close_link *link, *next;

	for (link = wait->links; link; link = next) {
		next = link->next_of_wait;
		if (over(link->node))
			close_wait_drop(link);
	}
}

static void close_is_late(const struct node *node, uint64_t seconds,
			  struct error **err)
{
	if (close_has_not_begun(node))
		error_set(err, ETIMEDOUT, "Node '%s' is deleted, but another"
			  " command has kept it for %" PRIu64 " s: it closes"
			  " when that ends", node->name, seconds);
	else
		error_set(err, ETIMEDOUT, "Node '%s' has been closing for %"
			  PRIu64 " s: its storage does not answer",
			  node->name, seconds);
}

static int co_close_wait_all(struct close_wait *wait, struct error **err)
{
	uint64_t bound_ns = late_bound_ns();
	struct close_bound bound = { .wait = wait };
	int ret;

	if (wait->links) {
		timer_start(&bound.timer, bound_ns, close_wait_expire);
		while (wait->links && !bound.passed) {
			wait->waiter = co_self();
			co_wait();
		}
		timer_stop(&bound.timer);
	}
	if (wait->links && !wait->err)
		close_is_late(wait->links->node, bound_ns / SECONDS(1),
			      &wait->err);
	while (wait->links)
		close_wait_drop(wait->links);
	if (!wait->err)
		return 0;
	ret = -(wait->err->code ? wait->err->code : EIO);
	error_propagate(err, &wait->err);
	return ret;
}

int co_close_wait(struct close_wait *wait, bool until_kept, struct error **err)
{
	close_wait_drop_if(wait, until_kept ? close_is_not_near
					    : close_has_not_begun);
	return co_close_wait_all(wait, err);
}

static void close_failed(struct node *node, const struct error *err)
{
	for (struct close_link *link = node->close_links; link;
	     link = link->next_of_node)
		if (!link->wait->err)
			error_set(&link->wait->err, err->code, "%s",
				  err->text);
	if (close_listener)
		close_listener(node, err);
}

/* ---- references ---- */

static void node_free(struct node *node)
{
	struct node **at;

	assert(!node->children && !node->parents && !node->busy);
	for (at = &nodes; *at != node; at = &(*at)->next)
		;
	*at = node->next;
	for (struct node *other = nodes; other; other = other->next)
		if (other->inherits_from == node)
			other->inherits_from = NULL;
	close_wait_drop_all(node);
	if (node->upkeep)
		upkeep_free(node->upkeep);
	options_free(node->driver->options, node->opts);
	free(node->opts);
	free(node->state);
	node_io_free(node->io);
	node_thread_states_free(node);
	json_decref(node->given);
	free(node->filename);
	free(node->header_backing);
	free(node->header_backing_format);
	free(node->warning);
	free(node);
}

static void co_close_driver(struct node *node)
{
	struct error *err CLEANUP_ERROR = NULL, *why CLEANUP_ERROR = NULL;
	int flushed, ret = 0;

	/* a drain that covers it knows it until it ends */
	co_node_busy(node);
	/* by what each thread has of it, a connection say */
	flushed = co_close_flush(node);
	co_node_thread_states_close(node);
	if (node->driver->close)
		ret = node->driver->close(node, &why);
	node_idle(node);
	assert((ret < 0) == (why != NULL));
	node_set_life(node, NODE_CLOSED);
	if (flushed < 0 && !why)
		error_set(&why, -flushed, "what was written could not be made "
			  "durable: %s", strerror(-flushed));
	if (!why)
		return;
	error_set(&err, why->code, "Node '%s' is closed, but %s", node->name,
		  why->text);
	close_failed(node, err);
}

/* Who waits for the node waits for what closes with it. */
static void co_let_go_of_children(struct node *node)
{
	struct transaction *t = transaction_begin();
	struct close_link *link;
	struct edge *edge;

	transaction_set_loosening(t);
	for (edge = node->children; edge; edge = edge->next_child) {
		transaction_move(t, edge, NULL);
		for (link = node->close_links; link; link = link->next_of_node)
			close_wait_add(link->wait, edge->child);
	}
	if (transaction_commit(t, NULL, NULL) < 0)
		abort();
	for (link = node->close_links; link; link = link->next_of_node)
		close_wait_drop_if(link->wait, close_has_not_begun);
}

static void node_close(struct ending *ending)
{
	struct node *node = container_of(ending, struct node, ending);

	if (node->upkeep)
		co_upkeep_stop(node->upkeep);
	if (node->life == NODE_CLOSING)
		co_close_driver(node);
	if (node->children)
		co_let_go_of_children(node);
	node_put(node, "close");
}

/*
 * In every life but the last a last reference gone means that the node is to be
 * closed; the close has one of its own meanwhile, and so may a transaction that
 * found the node above what it changes.
 */
void node_put(struct node *node, const char *owner)
{
	assert(thread_is_main());
	if (!ref_put(&node->ref, owner))
		return;
	if (node->life == NODE_CLOSED) {
		node_free(node);
		return;
	}
	node_set_life(node, node->life == NODE_OPENING ? NODE_CLOSED
						       : NODE_CLOSING);
	node_get(node, "close");
	node->ending.fn = node_close;
	ending_start(&node->ending);
}

int co_node_put(struct node *node, const char *owner, struct error **err)
{
	struct close_wait wait = { .links = NULL };

	close_wait_add(&wait, node);
	node_put(node, owner);
	return co_close_wait(&wait, true, err);
}

void node_list_add(struct node_list *list, struct node *node)
{
	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 16;
		list->list = realloc(list->list, list->room *
				     sizeof(*list->list));
		if (!list->list)
			abort();
	}
	list->list[list->count++] = node_get(node, list->owner);
}

void node_list_free(struct node_list *list)
{
	for (unsigned i = 0; i < list->count; i++)
		node_put(list->list[i], list->owner);
	free(list->list);
	list->list = NULL;
	list->count = list->room = 0;
}

void node_blame(void)
{
	if (nodes)
		ref_blame(&nodes->ref, nodes->name);
	assert(!nodes);
}

/* ---- the monitor's hold ---- */

struct node *node_add(struct json_t *options, struct error **err)
{
	struct node *node = node_open(options, 0, err);
	struct error *ignored CLEANUP_ERROR = NULL;

	if (!node)
		return NULL;
	if (node->name[0] == '#') {
		error_set(err, EINVAL, "'node-name' must be specified for the"
			  " root node");
		(void)!co_node_put(node, "opener", &ignored);
		return NULL;
	}
	node_hold(node);
	return node;
}

void node_hold(struct node *node)
{
	assert(!node->held);
	node->held = true;
	(void)node_get(node, "monitor");
}

void node_let_go(struct node *node)
{
	if (!node->held)
		return;
	node->held = false;
	node_put(node, "monitor");
}

/* Says who keeps it, in the words that the protocol's users know. */
static int node_del_refuse(const struct node *node, struct error **err)
{
	const struct edge *frozen = edge_first_frozen(node);
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
	if (frozen && !node->parents)
		return error_set(err, EBUSY, "Node '%s' is busy: its '%s' link"
				 " is used by %s", node->name, frozen->name,
				 frozen->frozen_by);
	return error_set(err, EBUSY, "%s %s is in use",
			 by_node ? "Block device" : "Node", node->name);
}

static int node_not_found(const char *name, struct error **err)
{
	return error_set(err, ENOENT,
			 "Failed to find node with node-name='%s'", name);
}

int node_del(const char *name, struct error **err)
{
	struct node *node = node_find(name);
	struct close_wait wait = { .links = NULL };

	assert(thread_is_main());
	if (!node)
		return node_not_found(name, err);
	if (node->parents || !node->held || node->shown_soon ||
	    edge_first_frozen(node) ||
	    transaction_gives_parent(node))
		return node_del_refuse(node, err);
	node_set_life(node, NODE_LEAVING);
	close_wait_add(&wait, node);
	node_let_go(node);
	return co_close_wait_all(&wait, err);
}

struct deletion {
	struct action action;
	struct node *node;
	struct close_wait wait;
};

/* For those behind it the first deletion has been made. */
static int deletion_prepare(struct action *action, struct error **err)
{
	const struct node *node = container_of(action, struct deletion,
					       action)->node;
	struct action *a = action->before;

	for (; a; a = a->before)
		if (a->ops == action->ops &&
		    container_of(a, struct deletion, action)->node == node)
			return node_not_found(node->name, err);
	return 0;
}

/* As the others leave the graph. */
static void deletion_check(struct action *action, struct transaction *t)
{
	struct node *node = container_of(action, struct deletion,
					 action)->node;
	struct edge *above = transaction_first_parent(t, node);
	struct error *err = NULL;

	if (!above && node->held && node_is_live(node) && !node->shown_soon &&
	    !edge_first_frozen(node))
		return;
	if (above && above->parent && !node->parents)
		error_set(&err, EBUSY, "Node '%s' is busy: node is used as"
			  " child of '%s'", node->name, above->parent->name);
	else
		node_del_refuse(node, &err);
	transaction_fail(t, err);
}

/* blockdev-del does not wait for our drain: the node may be on its way out. */
static void deletion_on_commit(void *arg)
{
	struct deletion *d = arg;

	if (!node_is_live(d->node))
		return;
	node_set_life(d->node, NODE_LEAVING);
	close_wait_add(&d->wait, d->node);
	node_let_go(d->node);
}

static void deletion_step(struct action *action, struct transaction *t)
{
	struct deletion *d = container_of(action, struct deletion, action);

	transaction_let_go(t, d->node);
	transaction_on_commit(t, deletion_on_commit, d);
}

static void deletion_end(struct action *action, bool committed)
{
	struct deletion *d = container_of(action, struct deletion, action);
	struct error *ignored CLEANUP_ERROR = NULL;

	node_put(d->node, "deletion");
	if (committed)
		(void)!co_close_wait_all(&d->wait, &ignored);
	free(d);
}

static const struct action_ops deletion_ops = {
	.prepare = deletion_prepare,
	.step = deletion_step,
	.check = deletion_check,
	.end = deletion_end,
};

struct action *action_delete(struct node *node)
{
	struct deletion *d = xcalloc(sizeof(*d));

	d->action.ops = &deletion_ops;
	d->node = node_get(node, "deletion");
	return &d->action;
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
	if (node->upkeep)
		walk_root(walk, upkeep_root(node->upkeep));
	for (edge = node->parents; edge; edge = edge->next_parent) {
		if (edge->root)
			walk_root(walk, edge->root);
		else
			walk_up(walk, edge->parent);
	}
}
