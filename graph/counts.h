/* SPDX-License-Identifier: MIT */
/*
 * counts.h - in tests every node counts its requests too (A8).
 *
 * Built with a sanitizer (or -DNODE_COUNTS) each step through the graph counts
 * itself at every node it passes, and a completed drain asserts that the nodes
 * it named have none. In other builds all of this is empty: the product counts
 * at root edges only.
 */
#ifndef GRAPH_COUNTS_H
#define GRAPH_COUNTS_H

#include <stdbool.h>

#include "runtime/compiler.h"

struct node;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NODE_COUNTS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NODE_COUNTS 1
#endif
#endif

#ifdef NODE_COUNTS

/* nodes beyond the first few of a long chain are not counted */
#define NODE_PATH_MAX 12

struct node_path {
	unsigned count;
	struct node *nodes[NODE_PATH_MAX];
};

void node_path_enter(struct node_path *path, struct node *node);
void node_path_leave(struct node_path *path);
/* Main thread, the node drained. */
void node_assert_idle(struct node *node);

#else

struct node_path {
};

static inline void node_path_enter(struct node_path *path, struct node *node)
{
	(void)path;
	(void)node;
}

static inline void node_path_leave(struct node_path *path)
{
	(void)path;
}

static inline void node_assert_idle(struct node *node)
{
	(void)node;
}

#endif
#endif
