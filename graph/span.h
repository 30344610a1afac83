/* SPDX-License-Identifier: MIT */
/*
 * span.h - how far a protocol node's storage must go (D6): as far as it went
 * when it was opened, and as far as was written since. A read that comes short
 * of that is an error: somebody else cut the file off. Behind it are zeroes.
 *
 * Writes are noted by the thread on which they end, before they are answered
 * (like the counts of flush.h). A reader asks before it reads: else a write
 * that ends meanwhile would make an honest end look like a cut. A cut that
 * nobody saw before the storage got longer again cannot be known.
 */
#ifndef GRAPH_SPAN_H
#define GRAPH_SPAN_H

#include "graph/node-io.h"
#include "runtime/io.h"

/* Bytes. Any thread. */
uint64_t node_span(const struct node *node);
/*
 * It was seen to end at `end`, short of its span. From then on nothing behind
 * that is read or written through this node, also where the storage has got
 * longer again: what is there now is not what was. Any thread.
 */
void node_cut(struct node *node, uint64_t end);

/* Its size has been changed, under the drain: what was written behind its end
 * is gone with that. */
void node_span_end(struct node *node);

/* Bytes from its start that a read or write may still touch. */
static inline uint64_t node_uncut(const struct node *node)
{
	return __atomic_load_n(&node->io->cut, __ATOMIC_ACQUIRE);
}

/* Whether there is such an end: for who then looks more closely. */
static inline bool node_is_cut(const struct node *node)
{
	return node_uncut(node) != UINT64_MAX;
}

/* The operation has ended well. thread: the caller's index. */
static inline void node_spans_to(struct node *node, unsigned thread,
				 const struct io *io)
{
	uint64_t *span = &node->io->threads[thread].span;
	uint64_t end = io->offset + io->len;

	if ((io->op == IO_WRITE || io->op == IO_ZERO) && end > *span)
		__atomic_store_n(span, end, __ATOMIC_RELEASE);
}

#endif
