/* SPDX-License-Identifier: MIT */
/*
 * status.h - what a range of a disk consists of, without reading it.
 *
 * Which image of the chain decides it, whether it reads as zeroes, and where
 * its bytes lie. A request asks by REQ_STATUS, whose buf is a struct status; a
 * job by co_node_status. Advice of a moment: a write may change it at once.
 */
#ifndef GRAPH_STATUS_H
#define GRAPH_STATUS_H

#include "graph/driver.h"

struct status {
	uint64_t len;		/* bytes this holds for; > 0 */
	unsigned flags;		/* STATUS_* */
	/* 1: the topmost image of the chain decides, 2: its backing image ...;
	 * 0: none does, and it reads as zeroes */
	unsigned depth;
	uint64_t host_offset;	/* STATUS_OFFSET: byte of the node's file */
	/* which decides; valid inside the counted request, done included */
	const struct node *node;
};

/*
 * Coroutine, any thread, inside a counted request; may wait for metadata. The
 * range is inside the node; align: a power of two, divides offset, and the
 * answer's length unless that reaches the range's end. What is data in part of
 * a block is data in all of it. Equal neighbours are one answer up to a bound
 * of work. flags: REQ_OFFSETS, without it no STATUS_OFFSET is given and places
 * in the file keep none apart. 0 or a negative errno.
 */
int co_node_status(struct node *node, uint64_t offset, uint64_t len,
		   uint32_t align, unsigned flags, struct status *out)
	MUST_CHECK;

#endif
