/* SPDX-License-Identifier: MIT */
/*
 * walk.h - which roots reach a node. Main thread; no walk waits.
 *
 * Walks see the shape as I/O threads see it (edge->child), not what a
 * transaction prepares.
 */
#ifndef GRAPH_WALK_H
#define GRAPH_WALK_H

#include "graph/root.h"

struct walk {
	void (*root)(struct walk *walk, struct root *root);
	/* NULL: not asked; every node above, the first included */
	void (*node)(struct walk *walk, struct node *node);
	uint32_t stamp;		/* walk.c's */
};

void walk_begin(struct walk *walk);
/* Each root and node is visited once between two walk_begin. */
void walk_up(struct walk *walk, struct node *node);
bool walk_root(struct walk *walk, struct root *root);

/* Called once when no open or close of the node does I/O any more. */
struct idle_waiter {
	void (*idle)(struct idle_waiter *waiter);
	struct idle_waiter *next;
};

/*
 * Around I/O of the node's own, below it and of no root: drains and grace
 * periods wait for its end. Coroutine: waits while a drain covers the node.
 * In drain.c.
 */
void co_node_busy(struct node *node);
void node_idle(struct node *node);

#endif
