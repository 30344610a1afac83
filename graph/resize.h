/* SPDX-License-Identifier: MIT */
/*
 * resize.h - another size for a disk, its image and its exports, live (C8, B6).
 *
 * The image is made larger before anybody may reach behind its old end, and
 * smaller when nobody can any more; the graph's sizes change under a drain, in
 * which nothing is written; exports follow the graph up, and go before it down.
 * A step that fails takes back those before it. What was cut off and comes back
 * reads as zeroes.
 *
 * Main thread, coroutines.
 */
#ifndef GRAPH_RESIZE_H
#define GRAPH_RESIZE_H

#include "graph/graph.h"

/*
 * The disk that `node` shows gets `size` bytes: filters forward it to the image
 * below them, and all that show the same image follow. The caller refers to the
 * node. Nothing here looks at what a smaller disk loses.
 */
int graph_resize(struct node *node, uint64_t size, struct change_stats *stats,
		 struct error **err) MUST_CHECK;
/*
 * The file or device that the node shows has grown by itself: the graph takes
 * its size over. Where it has not, nothing happens.
 */
int graph_take_size(struct node *node, struct change_stats *stats,
		    struct error **err) MUST_CHECK;

#endif
