/* SPDX-License-Identifier: MIT */
/*
 * replace.h - another node in the place of one, for one parent (C2).
 */
#ifndef GRAPH_REPLACE_H
#define GRAPH_REPLACE_H

#include "graph/graph.h"

/* A link: of a node, or of a root, whose child is called "root". */
struct place {
	struct node *parent;	/* or NULL: */
	struct root *root;
	const char *child;
};

/*
 * Whether `to` may take the place of the edge's child: as many bytes, but for
 * backing images, and, where a format has its tables in it, the same file.
 */
int edge_check_new_child(const struct edge *e, const struct node *to,
			 struct error **err) MUST_CHECK;

/*
 * Puts `to` there. The caller refers to it, and to the parent or to what the
 * root belongs to. Nothing happens where it is there already. An error may say
 * that it was done, but what the close of the one that went lost. Main thread,
 * coroutine.
 */
int graph_replace(const struct place *place, struct node *to,
		  struct change_stats *stats, struct error **err) MUST_CHECK;

#endif
