/* SPDX-License-Identifier: MIT */
/*
 * overlay.c - live snapshots: an overlay goes above a node, for all its
 * parents (C1), and the node becomes its backing image, read-only.
 *
 * Before the drain everything that can wait: the node is flushed, what it is
 * to be read by as read-only is opened, and where the overlay's header names no
 * image, it names this one from then on, durably (B4). That is so before the
 * first write can go to the overlay; and so is the graph as it will be in the
 * log, since while the overlay is empty it shows what the node shows, whichever
 * of the two a crash leaves as the disk (M5). Of one that is not empty that is
 * decided under the drain (A36). There edges move. After it the node pays what
 * its descriptors owe (M10); a flush of the overlay, which goes down the chain,
 * has that error where it fails.
 *
 * The two nodes keep what is their own: options, flags, marks (S2). Main
 * thread, coroutines.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/backing.h"
#include "graph/reopen.h"
#include "graph/status.h"
#include "graph/transaction.h"
#include "graph/walk.h"

struct overlay {
	struct action action;
	struct node *node, *top;	/* top: the overlay */
	struct reopen *reopens;
	bool linked;		/* we wrote the name into its header */
	bool by_header;		/* which names just the node */
	bool empty;		/* it has nothing of its own to show */
};

/* ---- what is refused, in the words that the protocol's users know ---- */

static int used_below(const struct node *node, const struct node *above,
		      struct error **err)
{
	return error_set(err, EBUSY, "Node '%s' is busy: node is used as"
			 " backing hd of '%s'", node->name, above->name);
}

/* t: NULL, or the shape as those before it will leave it. */
static int check_node(const struct transaction *t, const struct node *node,
		      struct error **err)
{
	struct edge *e;

	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e))
		if (e->parent && e->role & ROLE_COW)
			return used_below(node, e->parent, err);
	return 0;
}

static bool may_have_backing(const struct node *node)
{
	const struct child_decl *decl = node->driver->children;

	for (; decl && decl->name; decl++)
		if (decl->role & ROLE_COW)
			return true;
	return false;
}

static int check_top(const struct transaction *t, const struct node *node,
		     const struct node *top, struct error **err)
{
	struct edge *e;

	if (top->perm & PERM_CONSISTENT_READ)
		return error_set(err, EBUSY, "The overlay is already in use");
	if (top->driver->kind == DRIVER_FILTER)
		return error_set(err, EINVAL,
				 "Filters cannot be used as overlays");
	for (e = transaction_first_child(t, top); e;
	     e = transaction_next_child(t, top, e))
		if (e->role & ROLE_COW)
			return error_set(err, EINVAL, "The overlay already has"
					 " a backing image");
	if (!may_have_backing(top))
		return error_set(err, ENOTSUP, "The overlay does not support"
				 " backing images");
	if (top == node)
		return error_set(err, EINVAL, "Making '%s' a backing child of"
				 " '%s' would create a cycle", node->name,
				 top->name);
	if (top->size < node->size)
		return error_set(err, EINVAL, "The overlay '%s' has %" PRIu64
				 " bytes, less than the %" PRIu64 " of node"
				 " '%s'", top->name, top->size, node->size,
				 node->name);
	return 0;
}

/* An action before this one takes the node for its own. */
static int check_before(const struct overlay *o, struct error **err)
{
	struct action *a = o->action.before;

	for (; a; a = a->before) {
		const struct overlay *other;

		if (a->ops != o->action.ops)
			continue;
		other = container_of(a, struct overlay, action);
		if (other->node == o->node)
			return used_below(o->node, other->top, err);
	}
	return 0;
}

/* ---- before the change ---- */

/* What has no other use than to be below `node`. */
static bool is_part_of(const struct node *child, const struct node *node)
{
	return !child->held && child->parents && !child->parents->next_parent &&
	       child->parents->parent == node;
}

/* The node, and below it what is its own, will be read-only. */
static int prepare_read_only(struct overlay *o, struct error **err)
{
	struct node *node = o->node, *child;
	int ret = 0;

	while (node && ret == 0) {
		struct reopen *r = node->read_only ? NULL :
				   reopen_new(node, err);

		if (!r && !node->read_only)
			return -EBUSY;
		child = node_primary_child(node);
		if (child && !is_part_of(child, node))
			child = NULL;
		if (r) {
			r->read_only = true;
			r->next = o->reopens;
			o->reopens = r;
			ret = co_reopen_prepare(r, err);
		}
		node = child;
	}
	return ret;
}

/* What it names already, rightly or not, is its user's choice. */
static int prepare_link(struct overlay *o, struct error **err)
{
	const char *format, *name = backing_name_of(o->node, &format);
	int ret;

	if (o->top->header_backing) {
		o->by_header = co_backing_is(o->top, o->node);
		return 0;
	}
	if (!name || o->top->read_only || !o->top->driver->set_backing)
		return 0;
	ret = co_backing_rename(o->top, name, format, err);
	o->linked = o->by_header = ret == 0;
	return ret;
}

static int look_for_data(struct overlay *o, struct error **err)
{
	struct node *top = o->top;
	struct status status;
	uint64_t at = 0;
	int ret = 0;

	co_node_busy(top);
	for (o->empty = true; at < top->size && o->empty; at += status.len) {
		ret = co_node_status(top, at, top->size - at, 1, 0, &status);
		if (ret < 0)
			break;
		o->empty = status.depth == 0;
	}
	node_idle(top);
	if (ret < 0)
		error_set(err, -ret, "Could not look at what is in the overlay"
			  " '%s': %s", top->name, strerror(-ret));
	return ret;
}

static int overlay_prepare(struct action *action, struct error **err)
{
	struct overlay *o = container_of(action, struct overlay, action);
	int ret = check_before(o, err);

	if (ret == 0)
		ret = check_node(NULL, o->node, err);
	if (ret == 0)
		ret = check_top(NULL, o->node, o->top, err);
	if (ret == 0)
		ret = look_for_data(o, err);
	if (ret == 0)
		ret = prepare_read_only(o, err);
	if (ret == 0)
		ret = prepare_link(o, err);
	return ret;
}

/* ---- the change ---- */

/* Others may have changed the graph since it was prepared. */
static void overlay_step(struct action *action, struct transaction *t)
{
	struct overlay *o = container_of(action, struct overlay, action);
	struct error *err = NULL;

	transaction_set_kind(t, DRAIN_FOR_SNAPSHOT);
	if (check_node(t, o->node, &err) < 0 ||
	    check_top(t, o->node, o->top, &err) < 0) {
		transaction_fail(t, err);
		return;
	}
	transaction_attach(t, o->top, "backing", ROLE_COW, o->node);
	transaction_move_parents(t, o->node, o->top);
	for (struct reopen *r = o->reopens; r; r = r->next)
		transaction_reopen(t, r);
	/* what was opened without an image below has one now (S2) */
	transaction_set_given(t, o->top, !o->by_header);
	transaction_announce(t, !o->empty);
}

/* ---- after it ---- */

static void overlay_end(struct action *action, bool committed)
{
	struct overlay *o = container_of(action, struct overlay, action);
	struct error *ignored CLEANUP_ERROR = NULL;

	/* left there it would harm nobody: it was never in use */
	if (!committed && o->linked)
		(void)!co_backing_rename(o->top, NULL, NULL, &ignored);
	co_reopen_end(o->reopens, committed);
	node_put(o->node, "snapshot");
	node_put(o->top, "snapshot");
	free(o);
}

static const struct action_ops overlay_ops = {
	.prepare = overlay_prepare,
	.step = overlay_step,
	.end = overlay_end,
};

int action_snapshot_check(const struct node *node, struct error **err)
{
	return check_node(NULL, node, err);
}

struct action *action_snapshot(struct node *node, struct node *overlay)
{
	struct overlay *o = calloc(1, sizeof(*o));

	if (!o)
		abort();
	o->action.ops = &overlay_ops;
	o->node = node_get(node, "snapshot");
	o->top = node_get(overlay, "snapshot");
	return &o->action;
}
