/* SPDX-License-Identifier: MIT */
/*
 * serialise.h - alignment at the node that asks for it: bounce buffers, read-
 * modify-write, and the order of overlapping writes (A12).
 *
 * Any thread, coroutines.
 */
#ifndef GRAPH_SERIALISE_H
#define GRAPH_SERIALISE_H

#include "graph/node.h"

/*
 * One piece of an operation at a node whose alignment it does not keep, or
 * which serialises. Returns how many bytes of its start are done, or a
 * negative errno or one of enum steer.
 */
int64_t co_step_aligned(struct node *node, const struct map *map, void *buf)
	MUST_CHECK;

/*
 * A piece of BOUNCE_SIZE bytes of aligned memory. The levels keep a node's
 * bounces from waiting for those of the nodes below it. Holders wait for
 * nothing but I/O and lower levels.
 */
void *co_node_bounce_get(const struct node *node);
void node_bounce_put(const struct node *node, void *buf);

#endif
