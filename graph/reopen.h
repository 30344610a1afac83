/* SPDX-License-Identifier: MIT */
/*
 * reopen.h - changing what a node was opened with: writable or not, cache,
 * discard, options of its own, children (A37, C5).
 *
 * A reopening is made for a node, filled in, prepared, and becomes a step of a
 * transaction; several in one change all or none. Preparing is slow (files are
 * opened, tables loaded, what was written is flushed), holds nobody up, and
 * changes nothing; the commit, under the drain, cannot fail. What it leaves
 * behind is paid after the undrain: what went through a descriptor that was
 * replaced is synced through that, and a node that went read-only writes what
 * it still has in memory, for which it keeps permissions and locks until then
 * (node->owes).
 *
 * Main thread, coroutines.
 */
#ifndef GRAPH_REOPEN_H
#define GRAPH_REOPEN_H

#include "graph/node.h"

struct change_stats;
struct transaction;

struct reopen_child {
	const char *name;
	unsigned role;
	struct node *to;	/* NULL: none */
	struct reopen_child *next;
};

struct reopen {
	struct node *node;
	/* what shall be; as it is at first */
	bool read_only, auto_read_only, cache_direct, no_flush, discard_unmap;
	unsigned generic_given;	/* which were said, of generic.h's */
	void *opts;		/* the driver's, owned; NULL: as they are */
	struct json_t *given;	/* which of them were given */
	struct reopen_child *children;
	/* the driver's, from its prepare to its end */
	void *state;
	bool prepared;
	struct reopen *next;	/* the caller's list */
	struct reopen *next_step;	/* the transaction's */
};

/* Refused while the node is being reopened already. The node is kept. */
struct reopen *reopen_new(struct node *node, struct error **err) MUST_CHECK;
/* The driver's own options, complete: what is not given is as by default. Uses
 * up what it knows of the object; refused where one differs that cannot
 * change. */
int reopen_set_options(struct reopen *r, struct json_t *options,
		       struct error **err) MUST_CHECK;
/* The refusal: of what was said for it, or of its default. -EINVAL. */
int reopen_cannot_be(const struct node *node, const char *option, bool said,
		     struct error **err) MUST_CHECK;
/* The child of that name becomes `to`, which must show as many bytes; NULL: no
 * child, where it is optional. */
void reopen_set_child(struct reopen *r, const char *name, struct node *to);

/*
 * Reopenings as blockdev-reopen means them (C5): each member of the array is
 * what blockdev-add takes, of a node that is there. What is not said goes back
 * to what it is by default; a child that was opened with its parent has what it
 * was given itself, and takes the rest from what the parent has now. A child is
 * named, to keep it or put another in its place (`file`, `backing`), is null to
 * have none (`backing`), or is an object that says what the one there becomes.
 * The list, for who prepares it, in which nothing is that does not change; NULL
 * also where nothing does, without *err. Does not wait.
 */
struct reopen *reopen_by_options(struct json_t *list, struct error **err)
	MUST_CHECK;

/* Without the change lock. */
int co_reopen_prepare(struct reopen *r, struct error **err) MUST_CHECK;
/* All of a list, what is below before what is above it: a node that cannot be
 * written, and may be read-only then, has its parents follow it. */
int co_reopen_prepare_all(struct reopen *list, struct error **err) MUST_CHECK;
/* A step: after co_reopen_prepare. */
void transaction_reopen(struct transaction *t, struct reopen *r);
/* After the transaction's end, without its lock: pays what the change owes, or
 * takes back what was prepared. Frees the list and its members. */
void co_reopen_end(struct reopen *list, bool committed);

/* All of that in a transaction of its own; uses up the list, also when it
 * fails. */
int graph_reopen(struct reopen *list, struct change_stats *stats,
		 struct error **err) MUST_CHECK;

/* For drivers' ends: all requests that have entered by now have left. */
void co_reopen_grace(struct node *node);

/* Whether the node may write below it, and whether it will. */
static inline bool node_writes(const struct node *node)
{
	return !node->read_only || node->owes;
}

static inline bool node_will_be_read_only(const struct node *node)
{
	return node->reopen ? node->reopen->read_only : node->read_only;
}

static inline bool node_will_write(const struct node *node)
{
	return node_writes(node) || !node_will_be_read_only(node);
}

/* Under the drain: transaction.c. */
void reopen_commit(struct reopen *r);

#endif
