/* SPDX-License-Identifier: MIT */
/*
 * transaction.h - the one way to change the graph's shape (A18).
 *
 * begin takes the change lock; steps say what shall be; commit checks the
 * shape, computes permissions and limits of all touched nodes for it, drains
 * what the change moves, and then switches all pointers at once, or undoes all
 * and says why. Nothing of a step is visible before, to I/O least of all.
 * Steps do not fail: what is wrong is reported by commit.
 *
 * begin waits: what the steps name is referred to by the caller and looked at
 * again behind it. From the first wait of commit on the transaction has
 * references of its own to every node that it touches.
 *
 * Main thread, coroutine. What is slow (opening) is done before begin.
 */
#ifndef GRAPH_TRANSACTION_H
#define GRAPH_TRANSACTION_H

#include "graph/node-life.h"
#include "graph/root.h"

struct transaction;
struct change_stats;

struct transaction *transaction_begin(void);
/* A new edge. Owned by the graph after commit, gone after a failure. */
struct edge *transaction_attach(struct transaction *t, struct node *parent,
				const char *name, unsigned role,
				struct node *child);
/* The edge's child becomes `to`; NULL detaches. Edges of nodes are then
 * freed; a root's edge is the root's own. */
void transaction_move(struct transaction *t, struct edge *edge,
		      struct node *to);
/* The same where what the link leads to becomes something else: unless it is
 * the same image behind filters, that is decided by the record (A36). */
void transaction_exchange(struct transaction *t, struct edge *edge,
			  struct node *to);
/*
 * All parents of `from` move to `to`, except those that lie below `to`, roots
 * that stay where they are (C1) and those that are the node's own. How many
 * did.
 */
unsigned transaction_move_parents(struct transaction *t, struct node *from,
				  struct node *to);
/*
 * From here on, and after the commit until edge_thaw, no change moves the edge
 * (C6), a node's, and its parent stays; with the links that somebody else has
 * frozen the commit fails. by: who needs it, as sentences name it, the caller's
 * until the thaw. Behind what this transaction itself does to the edge.
 */
void transaction_freeze(struct transaction *t, struct edge *edge,
			const char *by);
/* Limits or options of the node change: it is drained at commit. */
void transaction_touch(struct transaction *t, struct node *node);
/* The node shows so many bytes: it is drained. Who shows what it shows, a
 * filter above it, is a step of its own. */
void transaction_resize(struct transaction *t, struct node *node,
			uint64_t size);
/* What the root may do becomes this, and what it shares stays: it is drained.
 * Once in a transaction. */
void transaction_allow(struct transaction *t, struct root *root,
		       unsigned perm);
/* Permissions of the node and below are computed anew; nothing else of it
 * changes, so nobody is drained. */
void transaction_refresh(struct transaction *t, struct node *node);
/* What the node has as its backing image is, from the commit on, not what its
 * header leads to; or it is. */
void transaction_set_given(struct transaction *t, struct node *node,
			   bool given);
/* The commit takes the monitor's hold away: by a hook of who says so. */
void transaction_let_go(struct transaction *t, struct node *node);
/* Called under the drain, when nothing can fail any more; must not wait. */
void transaction_on_commit(struct transaction *t, void (*fn)(void *arg),
			   void *arg);
/*
 * The one step that waits and may fail while the gates are closed (A36): the
 * durable record that decides where guest writes go. Before it everything can
 * be undone, after it nothing fails.
 *
 * take makes the record durable. 0: it is; -errno, *err set: it is not and
 * never will be; DECISION_UNKNOWN, *err set: it was begun, and may be durable
 * or become so. Then settle, again and again until it returns 0, makes sure
 * that it never will (-errno and *err: not yet sure); the change is undone
 * with take's error. Meanwhile, and when take lasts longer than a drain may,
 * the gates stay closed and root->stuck says why. Both: main, coroutine,
 * under the change lock; no I/O through nodes, which the drain has closed.
 */
struct decision {
	int (*take)(void *arg, struct error **err);
	int (*settle)(void *arg, struct error **err);
};
#define DECISION_UNKNOWN 1
void transaction_set_decision(struct transaction *t,
			      const struct decision *decision, void *arg);
/*
 * Who keeps a record of the graph (A23): fn makes the graph durable as it is
 * described, see transaction_announced. decides: it is the decision, or takes
 * that back. 0, or -errno and *err. NULL: nobody does. Coroutine, under the
 * change lock.
 */
void transaction_set_recorder(int (*fn)(bool decides, struct error **err));
/*
 * What is written from the commit on goes elsewhere, so that is recorded first.
 * decides: whether the change happened makes a difference to what the graph
 * shows, so the record is made under the drain, as the decision (A36); else
 * before it, and a crash leaves the graph as it was or as it will be (M5).
 */
void transaction_announce(struct transaction *t, bool decides);
/* The one under way whose record is being made or is: the graph is described as
 * that will leave it. NULL: as it is. */
const struct transaction *transaction_announced(void);

/* node->backing_given and node->held as the transaction will leave them; t:
 * NULL, as they are. */
bool transaction_backing_given(const struct transaction *t,
			       const struct node *node);
bool transaction_holds(const struct transaction *t, const struct node *node);
/* Whether not all that keeps the node now, its hold and parents, is gone then.
 */
bool transaction_keeps(const struct transaction *t, const struct node *node);

/* Makes the commit fail with this error (taken over). */
void transaction_fail(struct transaction *t, struct error *err);
/* What the pause counts as; those of several steps make several. */
void transaction_set_kind(struct transaction *t, enum drain_kind kind);
/* Only lets go of permissions: drivers' refusals do not count. */
void transaction_set_loosening(struct transaction *t);
/*
 * Ends the transaction, also when it fails. stats may be NULL. err may be NULL
 * where a failure is the caller's bug.
 */
int transaction_commit(struct transaction *t, struct change_stats *stats,
		       struct error **err);
void transaction_abort(struct transaction *t);
/* Whether the one under way, which may wait, gives the node a new parent. */
bool transaction_gives_parent(const struct node *node);

/* What an edge from outside of the touched nodes will be allowed. */
unsigned transaction_perm(const struct transaction *t, const struct edge *e);
/* The shape as the transaction will leave it; transaction.c and permission.c.
 * t may be NULL: the shape as it is. */
struct edge *transaction_first_child(const struct transaction *t,
				     const struct node *node);
struct edge *transaction_next_child(const struct transaction *t,
				    const struct node *node,
				    const struct edge *edge);
struct edge *transaction_first_parent(const struct transaction *t,
				      const struct node *node);
struct edge *transaction_next_parent(const struct transaction *t,
				     const struct node *node,
				     const struct edge *edge);

#endif
