/* SPDX-License-Identifier: MIT */
/*
 * edge.h - linking edges into the lists of both their ends. Main thread; the
 * transaction is the only caller once a node can be reached (A18).
 */
#ifndef GRAPH_EDGE_H
#define GRAPH_EDGE_H

#include "graph/node.h"

/* A new edge from a node, linked nowhere. */
struct edge *edge_new(struct node *parent, const char *name, unsigned role);
void edge_free(struct edge *edge);
/*
 * Makes edge->child what edge->target says, and derives parent->file and
 * parent->backing (G3, A19). Cannot fail. The roots that reach the parent
 * are drained.
 */
void edge_commit(struct edge *edge);

/* Of transaction_freeze. */
void edge_freeze(struct edge *edge, const char *by);
/* Its owner needs the link no more, and refers to its parent no more. */
void edge_thaw(struct edge *edge);
/* One of the node's links that somebody needs; NULL: none. */
const struct edge *edge_first_frozen(const struct node *node);

struct json_t;

/* Says in options what the child is: as a member of the edge's name, or, of a
 * list, at the end of the array. Takes over value. */
void edge_describe(const struct edge *edge, struct json_t *options,
		   struct json_t *value);

#endif
