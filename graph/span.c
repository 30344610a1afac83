/* SPDX-License-Identifier: MIT */
/*
 * span.c - see span.h.
 */
#include "graph/span.h"

void node_cut(struct node *node, uint64_t end)
{
	uint64_t cut = node_uncut(node);

	while (end < cut &&
	       !__atomic_compare_exchange_n(&node->io->cut, &cut, end, true,
					    __ATOMIC_RELEASE,
					    __ATOMIC_ACQUIRE))
		;
}

uint64_t node_span(const struct node *node)
{
	uint64_t most = node->size;

	for (unsigned i = 0; i < thread_count(); i++) {
		uint64_t span = __atomic_load_n(&node->io->threads[i].span,
						__ATOMIC_ACQUIRE);

		most = max(most, span);
		rt_step();
	}
	return most;
}

void node_span_end(struct node *node)
{
	for (unsigned i = 0; i < thread_count(); i++) {
		uint64_t *span = &node->io->threads[i].span;

		if (*span > node->size)
			__atomic_store_n(span, node->size, __ATOMIC_RELEASE);
	}
}
