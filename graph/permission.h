/* SPDX-License-Identifier: MIT */
/*
 * permission.h - permissions of all nodes that a transaction touches (P1-P3).
 * Main thread; for transaction.c.
 */
#ifndef GRAPH_PERMISSION_H
#define GRAPH_PERMISSION_H

#include "graph/transaction.h"

/*
 * nodes: every node whose parents' permissions can change, parents before
 * children. Computes and checks; -errno with everything undone, or 0: then
 * exactly one of commit and abort follows. Coroutine (drivers take locks).
 */
int permission_prepare(const struct transaction *t, struct node **nodes,
		       unsigned count, bool loosening, struct error **err)
	MUST_CHECK;
void permission_commit(const struct transaction *t, struct node **nodes,
		       unsigned count);
void permission_abort(const struct transaction *t, struct node **nodes,
		      unsigned count);
/* Afterwards, without the change lock: drivers let go of what is not held any
 * more. Coroutine. */
void co_permission_let_go(struct node **nodes, unsigned count);

#endif
