/* SPDX-License-Identifier: MIT */
/*
 * limits.h - limits flow from children to parents, granularity from roots to
 * children; where they meet a node may have to serialise (A12). Main thread.
 */
#ifndef GRAPH_LIMITS_H
#define GRAPH_LIMITS_H

#include "graph/transaction.h"

/*
 * Computes new_limits, new_own_mask and new_serialise for the nodes of order
 * (parents before children) and of everything above them, which it puts into
 * `above` (parents before children). The first time, for a node just opened:
 * limits_open.
 */
void limits_prepare(const struct transaction *t, const struct node_list *order,
		    struct node_list *above);
/* Whether what may be written stays a multiple of what can be. */
int limits_check(const struct node_list *list, struct error **err) MUST_CHECK;
/* Whether I/O threads would see a difference. */
bool limits_change(const struct node *node);
void limits_commit(const struct node_list *list);
/* Children are attached and open; nobody uses the node yet. */
void limits_open(struct node *node);

#endif
