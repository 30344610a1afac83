/* SPDX-License-Identifier: MIT */
/*
 * drain.h - closing the gates of every root that reaches some nodes, and
 * waiting until nothing is in flight (A14-A17).
 *
 * Main thread, coroutine, holding the change lock: at most one drain at a time.
 */
#ifndef GRAPH_DRAIN_H
#define GRAPH_DRAIN_H

#include "graph/graph.h"
#include "graph/walk.h"

struct drain {
	struct walk walk;
	struct root **roots;	/* closed by this drain; exactly these open */
	unsigned root_count, root_room;
	struct node **nodes;	/* named */
	unsigned node_count, node_room;
	struct busy_wait *busy;	/* nodes being opened or closed */
	struct node *covered;	/* named, and what is above; by next_drained */
	char *stuck;		/* drain_set_stuck */
	unsigned pending;	/* answers and idle nodes waited for */
	unsigned opening;
	struct co *waiter;
	struct timer timer;
	bool expired;
	enum drain_kind kind;	/* that it counts as; set before its end */
};

void drain_init(struct drain *drain);
/* Before drain_begin. */
void drain_add_node(struct drain *drain, struct node *node);
void drain_add_root(struct drain *drain, struct root *root);
/*
 * Returns 0 with all named roots closed and their counts zero. Past the
 * deadline everything is open again and -ETIMEDOUT is returned, *err naming
 * the root, the node and the age of the oldest request.
 */
int drain_begin(struct drain *drain, struct error **err) MUST_CHECK;
/* A root that was attached or moved onto a drained node meanwhile: closed. */
void drain_join(struct drain *drain, struct root *root);
/* Whether the drain's roots are closed and reach this node. */
bool drain_covers(const struct drain *drain, const struct node *node);
/* How error sentences name what the drain is about. */
const char *drain_subject(const struct drain *drain);
/*
 * Shows users why all that the drain has closed stays closed past its deadline
 * (root->stuck); copied. NULL, and the end of the drain: it does not any more.
 */
void drain_set_stuck(struct drain *drain, const char *why);
/* Opens exactly the roots that were closed; returns when all are open. */
void drain_end(struct drain *drain, struct change_stats *stats);

/* Messages from gates: root.c. */
void drain_on_drained(struct message *msg);
void drain_on_opened(struct message *msg);

/* ns; set by graph_start (A3) */
void drain_set_deadline(uint64_t ns);
uint64_t drain_get_deadline(void);

#endif
