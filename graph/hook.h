/* SPDX-License-Identifier: MIT */
/*
 * hook.h - seeing an operation without being in its way (A11, A35): dirty
 * bitmaps, counters, what a mirror marks.
 *
 * A driver's `map` leaves a hook in the operation; it runs when the operation
 * has ended, before it is answered, on the same thread, on the fast path as on
 * the slow one, with and without a request. Hooks are of one turn: a request
 * that waits keeps none, and when it goes on maps are asked again.
 *
 * Any thread.
 */
#ifndef GRAPH_HOOK_H
#define GRAPH_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/compiler.h"

struct map;
struct node;
struct op_hook;

/*
 * len bytes from hook->offset on of hook->node. res: 0, or a negative errno:
 * any part of it may have been done. Neither waits nor submits.
 */
typedef void op_hook_fn(const struct op_hook *hook, uint32_t len, int res);

struct op_hook {
	op_hook_fn *ended;
	struct node *node;
	uint64_t offset;	/* as that node sees it */
	uint8_t op;		/* enum req_op */
};

#define HOOKS_MAX 4
struct op_hooks {
	uint16_t count;
	uint16_t charged;	/* of a request: map_charge (wait.h) */
	struct op_hook hook[HOOKS_MAX];
};

/*
 * In node's map, before it changes map->offset. False: there is no room for
 * another; then map answers slow, and the driver's operation does both, what it
 * is for and what the hook would.
 */
bool map_hook(struct map *map, struct node *node, op_hook_fn *ended) MUST_CHECK;

/* Private to graph/: runs them, and there are none any more. */
void op_hooks_run(struct op_hooks *hooks, uint32_t len, int res);

#endif
