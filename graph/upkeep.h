/* SPDX-License-Identifier: MIT */
/*
 * upkeep.h - what a node does when nobody asks it to: it flushes itself (A40).
 *
 * A format that has something which should not wait for whoever flushes next
 * says so. A moment later a timer of the main thread asks for a flush, which is
 * an ordinary request of a root of the node's own: it waits at the gate while
 * the node is drained, and drains wait for it. Such a root is no edge, has no
 * permission and keeps nothing alive; walks find it through its node. It has
 * stopped before the node's driver is closed.
 */
#ifndef GRAPH_UPKEEP_H
#define GRAPH_UPKEEP_H

struct node;
struct root;
struct upkeep;

/*
 * Any thread, inside a counted request or the driver's open: flush soon. What
 * is asked for again during that flush comes later and later, since that one
 * did not help. Cheap when it was said already.
 */
void node_wants_flush(struct node *node);

/* The rest is node.c's; main thread. */
struct upkeep *upkeep_new(struct node *node);
struct root *upkeep_root(struct upkeep *u);
/* Coroutine: no flush is under way any more, and none begins. */
void co_upkeep_stop(struct upkeep *u);
/* Stopped, and the node drained since. */
void upkeep_free(struct upkeep *u);

#endif
