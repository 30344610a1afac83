/* SPDX-License-Identifier: MIT */
/*
 * slow.h - one step of an operation in a coroutine; private to graph/.
 */
#ifndef GRAPH_SLOW_H
#define GRAPH_SLOW_H

#include "graph/node.h"

/* The operation with FUA cannot be done here: do it without, then flush. */
#define STEP_PLAIN (-4001)

/*
 * Does a prefix of map's operation from `node` on: asks, submits, calls
 * drivers, emulates. Returns its length, -EAGAIN (ask again: a mapping was
 * brought in), STEP_PLAIN, or another negative errno.
 */
int64_t co_step(struct node *node, const struct map *map, void *buf,
		bool checked) MUST_CHECK;

#endif
