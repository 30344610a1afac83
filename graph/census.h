/* SPDX-License-Identifier: MIT */
/*
 * census.h - who is in a root's gates just now: under way, waiting at a node,
 * queued. Counted by each gate's thread when it is asked, so that requests pay
 * nothing for it (A42).
 */
#ifndef GRAPH_CENSUS_H
#define GRAPH_CENSUS_H

#include "graph/node.h"

struct root;

struct census {
	uint32_t in_flight;	/* let in, those that wait at a node included */
	uint32_t waiting;	/* at a node (wait.h) */
	uint32_t queued;	/* behind the gates */
	/* clock_ns; 0: there is none */
	uint64_t oldest_ns;	/* of those in flight: let in */
	uint64_t longest_ns;	/* of those that wait: let in */
	uint64_t closed_ns;	/* the first gate that is closed: since */
	/* where those two are, or "" */
	char oldest_at[NODE_NAME_MAX + 1], longest_at[NODE_NAME_MAX + 1];
};

/*
 * Main thread, coroutine; the caller sees to it that the root lives. Each
 * thread counts at a moment of its own. False: one of them has not answered
 * within a second, and nothing is known.
 */
bool co_root_census(struct root *root, struct census *census) MUST_CHECK;

#endif
