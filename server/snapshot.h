/* SPDX-License-Identifier: MIT */
/*
 * snapshot.h - the graph, the exports and the objects as the state log keeps
 * them; restore.c makes them again.
 */
#ifndef SERVER_SNAPSHOT_H
#define SERVER_SNAPSHOT_H

#include <jansson.h>

#include "runtime/error.h"

struct node;

/*
 * Main thread. An object with a key per node ("nodes/NAME"), per export
 * ("exports/ID") and per object ("objects/ID"), and "nbd/server"; new
 * reference. Holds what it takes to build them again, nothing that changes by
 * serving I/O.
 */
json_t *snapshot_take(void);

/*
 * What came back. Exports are not shown: each is what block-export-add takes,
 * checked, of a node that is there and stays until snapshot_release.
 */
struct snapshot {
	json_t *exports;	/* by id */
	json_t *nbd_server;	/* what nbd-server-start takes; or NULL */
	json_t *lost;		/* array of sentences: what did not */
	struct node **nodes;	/* a reference to each, as its opener */
	unsigned node_count;
};

/*
 * Makes objects and nodes of a state, in a graph where there are none. What
 * cannot be made is left out, with what lies on it, and named in lost: one
 * image that is gone keeps no other disk from coming back. A secret whose bytes
 * were given is always lost, since no log holds it. Each node is opened by its
 * deadline. Main thread, coroutine.
 */
void co_snapshot_restore(json_t *state, struct snapshot *out);
/* The exports are shown, or are not to be: nodes that nobody uses go. Before
 * one of them ends, for that waits for its node's close. Frees what out holds.
 * Coroutine. */
void co_snapshot_release(struct snapshot *out);

#endif
