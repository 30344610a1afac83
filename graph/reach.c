/* SPDX-License-Identifier: MIT */
/*
 * reach.c - see reach.h.
 */
#include "graph/reach.h"

void node_cut(struct node *node, uint64_t end)
{
	uint64_t cut = node_uncut(node);

	while (end < cut &&
	       !__atomic_compare_exchange_n(&node->io->cut, &cut, end, true,
					    __ATOMIC_RELEASE,
					    __ATOMIC_ACQUIRE))
		;
}

uint64_t node_reach(const struct node *node)
{
	uint64_t most = node->size;

	for (unsigned i = 0; i < thread_count(); i++) {
		uint64_t reach = __atomic_load_n(&node->io->threads[i].reach,
						 __ATOMIC_ACQUIRE);

		most = max(most, reach);
		rt_step();
	}
	return most;
}
