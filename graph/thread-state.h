/* SPDX-License-Identifier: MIT */
/*
 * thread-state.h - what a node keeps for each thread that uses it: sockets,
 * readers, reconnects of a node that talks to a server.
 *
 * A driver with thread_state_size has one zeroed piece per thread, made by
 * thread_open when an operation on that thread first asks for it. It belongs to
 * that thread. Each is closed there, by thread_close, when nobody uses the node
 * any more, before driver->close.
 */
#ifndef GRAPH_THREAD_STATE_H
#define GRAPH_THREAD_STATE_H

#include "graph/node.h"

/* Of the calling thread; NULL: there is none yet. For map. */
void *node_thread_state(const struct node *node);
/* The same, made where there is none. Coroutine; whoever comes meanwhile waits.
 * 0, or what thread_open failed with: then the next one tries again. */
int co_node_thread_state(struct node *node, void **state) MUST_CHECK;

/* Private to graph/: with the node, and before its driver closes (main). */
void node_thread_states_init(struct node *node);
void co_node_thread_states_close(struct node *node);
void node_thread_states_free(struct node *node);

#endif
