/* SPDX-License-Identifier: MIT */
/*
 * node-life.h - making and closing nodes; private to graph/. Main thread,
 * coroutines.
 */
#ifndef GRAPH_NODE_LIFE_H
#define GRAPH_NODE_LIFE_H

#include "graph/node.h"

/* Nodes with a reference to each, whose owner is named so. */
struct node_list {
	struct node **list;
	unsigned count, room;
	const char *owner;
};

void node_list_add(struct node_list *list, struct node *node);
/* Drops the references; the list is empty then. */
void node_list_free(struct node_list *list);

/* A node whose name is taken, to which nobody refers yet. */
struct node *node_new(const struct driver *driver, const char *name);
/* Whether a transaction may give it a parent. */
bool node_may_be_child(const struct node *node);
/* By the table of node.c alone. */
void node_set_life(struct node *node, enum node_life life);
/* A node has a new parent, or a hold: who waits for its close need not. */
void node_is_kept(struct node *node);
/* Refuses one that is taken or malformed; rebuild: or like a generated one. */
int node_check_name(const char *name, bool rebuild, struct error **err)
	MUST_CHECK;
void node_generate_name(char name[NODE_NAME_MAX + 1]);
/* Of graph_stop: names who refers to a node that is left. */
void node_blame(void);

#endif
