/* SPDX-License-Identifier: MIT */
/*
 * picture.c - the graph with what queries do not show (picture.h).
 */
#include "tests/lib/picture.h"

#undef NDEBUG
#include <CUnit/CUnit.h>

#include "graph/edge.h"
#include "graph/graph.h"
#include "graph/node.h"

json_t *picture_take(void)
{
	json_t *graph = graph_query_graph();
	struct node *node;

	for (node = node_next(NULL); node; node = node_next(node)) {
		const struct edge *e;
		json_t *one = json_pack("[o,i,i,i,i,i,b,b,b,b]",
					node_describe(node), (int)node->perm,
					(int)node->shared,
					(int)node->serialise,
					(int)node->own_mask,
					(int)node->limits.align,
					node->read_only, node->cache_direct,
					node->no_flush, node->discard_unmap);

		for (e = node->children; e; e = e->next_child) {
			CU_ASSERT_PTR_EQUAL(e->child, e->target);
			CU_ASSERT(!e->changing);
			CU_ASSERT_EQUAL(e->perm, e->new_perm);
			CU_ASSERT_EQUAL(e->shared, e->new_shared);
		}
		json_object_set_new(graph, node->name, one);
		CU_ASSERT(!node->reopen && !node->owes && !node->drained);
	}
	return graph;
}
