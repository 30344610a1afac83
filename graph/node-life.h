/* SPDX-License-Identifier: MIT */
/*
 * node-life.h - making and closing nodes; private to graph/. Main thread,
 * coroutines.
 */
#ifndef GRAPH_NODE_LIFE_H
#define GRAPH_NODE_LIFE_H

#include "graph/node.h"

/* Nodes that lost their last parent, to be closed by node_reap. */
struct orphans {
	struct node *first;
};

void node_orphan(struct orphans *orphans, struct node *node);
void node_reap(struct orphans *orphans);

/* A node with options parsed that nobody can find yet by name. */
struct node *node_new(const struct driver *driver, const char *name);
/* name NULL: generates one. Refuses one that is taken or malformed. */
int node_check_name(const char *name, struct error **err) MUST_CHECK;
void node_generate_name(char name[NODE_NAME_MAX + 1]);
/* graph_forget: what was open is neither closed nor freed. */
void node_forget_all(void);

/* Closes a node that node_new made, with whatever it has by now. */
void node_discard(struct node *node);

#endif
