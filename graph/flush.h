/* SPDX-License-Identifier: MIT */
/*
 * flush.h - flushes (A29): co_node_flush of io.h is here, and the promise that
 * a flush covers every write acknowledged before it on any thread.
 *
 * Format nodes make their own metadata durable (driver->flush), then the flush
 * descends into all children, COW children too. A protocol node's driver is
 * asked only when something was written since the last flush that covered it.
 * Concurrent flushes share one. After a failed flush of a page-cached file
 * every later one fails until the node is opened anew: the kernel reports a
 * lost page once.
 */
#ifndef GRAPH_FLUSH_H
#define GRAPH_FLUSH_H

#include "graph/io.h"

struct error;

/*
 * Before a change, so that little is left to be written after it. Waits no
 * longer than a drain would: storage that does not answer keeps the change from
 * being made, but nobody waiting; the flush goes on alone. Main thread,
 * coroutine. 0, or a negative errno and *err.
 */
int co_flush_before(struct node *node, struct error **err) MUST_CHECK;

/*
 * Any thread: a write that was to be durable at once failed. The kernel tells
 * an open file of lost pages once, and it may have told this write of others',
 * so no later flush can be believed.
 */
void node_dsync_failed(struct node *node, int res);

/*
 * Before a node is closed: what a protocol node was given since its last flush
 * becomes durable. Others write what they keep when they are closed, before
 * their children. 0 or -errno. Main thread, coroutine.
 */
int co_close_flush(struct node *node) MUST_CHECK;

#endif
