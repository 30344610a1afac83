/* SPDX-License-Identifier: MIT */
/*
 * action.h - changes of the graph, several as one: all are made, under one
 * drain, or none (B8, A18).
 *
 *	insert.c	a filter put in or taken out
 *	overlay.c	a live snapshot
 *	replace.c	another node in the place of one
 *	reopen.c	other options of nodes
 *	list-child.c	a child of a list comes or goes
 *	node.c		the monitor's hold taken away
 *
 * An action is made, added, which prepares it, and committed or given up with
 * the others; each finds the graph as those before it will leave it.
 *
 * Main thread, coroutines.
 */
#ifndef GRAPH_ACTION_H
#define GRAPH_ACTION_H

#include "graph/graph.h"

struct action;
struct place;
struct reopen;
struct transaction;

struct action_ops {
	/* What is slow, without the change lock, while the graph is in use:
	 * changes nothing that others see. Undone by end, also where it
	 * failed half-way. NULL: nothing. */
	int (*prepare)(struct action *action, struct error **err);
	/* Under the change lock: what shall be; what is wrong with that goes
	 * to transaction_fail. NULL: nothing. */
	void (*step)(struct action *action, struct transaction *t);
	/* The same when all have made their steps. NULL: nothing. */
	void (*check)(struct action *action, struct transaction *t);
	/* Without the lock: pays what the change owes, or takes back what was
	 * prepared, and frees the action. Those that came last end first. */
	void (*end)(struct action *action, bool committed);
};

struct action {
	const struct action_ops *ops;
	struct action *before;	/* added before it; NULL: the first */
};

struct actions {
	struct action *last;
};

/* Takes over the action, also when it fails: then the others are given up. */
int co_action_add(struct actions *all, struct action *action,
		  struct error **err) MUST_CHECK;
/* Ends them all, also when it fails. */
int co_actions_commit(struct actions *all, struct change_stats *stats,
		      struct error **err) MUST_CHECK;
void co_actions_give_up(struct actions *all);

/* The caller keeps what it names; the action has references of its own. */

/* Puts an overlay above a node (overlay.c). */
struct action *action_snapshot(struct node *node, struct node *overlay);
/* Refuses a node that is an image's base already, before an overlay for it is
 * made. */
int action_snapshot_check(const struct node *node, struct error **err)
	MUST_CHECK;
/* As graph_insert; *filter: the new node, a reference of the action's until it
 * is committed, then the caller's. */
struct action *action_insert(struct node *below, const struct link_of *of,
			     struct json_t *options, struct node **filter);
/* As graph_remove. */
struct action *action_remove(struct node *filter, const struct link_of *of);
/* As graph_replace, but: the caller refers to what the root belongs to until
 * the end. lost: what a close could not write, of a change that was made; or
 * NULL, for who listens for closes to hear. */
struct action *action_replace(const struct place *place, struct node *to,
			      struct error **lost);
/* As graph_reopen; takes over the list. */
struct action *action_reopen(struct reopen *list);
/* One more child of a parent's list, which has no other parent; or one less, by
 * its name there (list-child.c). */
struct action *action_add_child(struct node *parent, struct node *child);
struct action *action_del_child(struct node *parent, const char *name);
/* As node_del; what its close could not write is heard by who listens. */
struct action *action_delete(struct node *node);

#endif
