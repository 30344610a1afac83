/* SPDX-License-Identifier: MIT */
/*
 * resolve.h - asking drivers where a request goes (A9), and a request's end.
 *
 * Any thread, inside a counted request.
 */
#ifndef GRAPH_RESOLVE_H
#define GRAPH_RESOLVE_H

#include <errno.h>

#include "graph/root.h"

/*
 * Asks from `node` downwards. Returns the node that gave the last answer; map
 * has the answer, with len shortened to the prefix it holds for. MAP_REALIGN
 * comes from no driver; map->realigned: it has been done at `node`.
 */
struct node *resolve(struct node *node, struct map *map,
		     struct node_path *path);

/* The storage has no such operation: another one does instead. */
static inline bool is_unsupported(int64_t res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENOTTY;
}

/* Starts a counted request. */
void request_begin(struct request *req);
/* Calls done, then drops the count. */
void request_finish(struct request *req, int res);
/* The same where it is to be submitted again (REQ_HAND_BACK). */
void request_hand_back(struct request *req);

/* slow.c: what one submission does not do. Goes on as a coroutine, or waits for
 * a stack at the gate. */
void request_slow(struct request *req);
/* What one submission carried has failed: it ends so, or is held (hold.h). */
void request_failed(struct request *req, int res);
/* One that left the fast path, behind what is finished of it; counted again. */
void request_go_on(struct request *req);
/* Runs a counted request in the calling coroutine: to its end, or until it
 * waits; then request_go_on is called. */
void request_run(struct request *req);

#endif
