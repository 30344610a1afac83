/* SPDX-License-Identifier: MIT */
/*
 * slow.h - one step of an operation in a coroutine; private to graph/.
 */
#ifndef GRAPH_SLOW_H
#define GRAPH_SLOW_H

#include "graph/node.h"

/*
 * Does a prefix of ask's operation from `node` on: asks, submits, calls
 * drivers, emulates. Returns its length, STEER_AGAIN (a mapping was
 * brought in), one of enum steer, or another negative errno.
 */
int64_t co_step(struct node *node, const struct map *ask, void *buf)
	MUST_CHECK;

#endif
