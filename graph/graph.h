/* SPDX-License-Identifier: MIT */
/*
 * graph.h - the map of this folder, and changes of the graph's shape.
 *
 *	request.h	one request on its way
 *	root.h		where requests enter; root.c, gate.h gates and counts
 *	census.h	how many are there just now
 *	failure.h	which of them failed, and why
 *	report.h	what a driver finds wrong with images below it
 *	resolve.h	the fast path (A9)
 *	slow.h		operations in coroutines; serialise.h realigning (A12)
 *	range-lock.h	locks of ranges, of blocks and of jobs
 *	io.h		data operations for drivers and jobs
 *	status.h	what is data, zero, or in which image of a chain
 *	node.h		nodes and edges; node.c, edge.c their life and shape
 *	ending.h	what the last reference's end begins (A32)
 *	open.c		from options to nodes; backing.h from names to files
 *	magic.h		what a file's bytes say that it is
 *	driver.h	the driver's operations; options.h their parameters
 *	generic.h	options of every node, and what children take over
 *	thread-state.h	what a node keeps for each thread
 *	flush.h		write counters and flush generations (A29)
 *	upkeep.h	flushes that nodes want for themselves (A40)
 *	epoch.h		grace periods (A28)
 *	hook.h		seeing an operation without being in its way (A35)
 *	wait.h		waiting while holding nothing (A34)
 *	hold.h		what has failed and is kept (M9)
 *	transaction.h	all changes: prepare, recompute, drain, commit (A18)
 *	reopen.h	what a node was opened with changes (A37);
 *			reopen-options.c as options say
 *	resize.h	another size for a disk that is in use (C8)
 *	permission.h	permissions of every touched node (P1-P3)
 *	limits.h	limits, and who serialises
 *	drain.h		closing the gates (A14); walk.h which ones
 *	action.h	what transactions are made of, several as one (B8):
 *			insert.c filters in and out, overlay.c live snapshots
 *	replace.h	another node in the place of one, for one parent
 *	job.h		jobs; create.h one that makes images
 *	export.h	export types
 *	query.c		the graph as JSON
 *	state.h		what each thread keeps; node-io.h what each node does
 *
 * Main thread, coroutines, unless said otherwise.
 */
#ifndef GRAPH_GRAPH_H
#define GRAPH_GRAPH_H

#include "graph/node.h"
#include "graph/root.h"

struct json_t;

/* What a live change did to I/O (A17, B11). */
struct change_stats {
	uint64_t pause_ns;	/* gate closed to gate open, the longest root */
	uint64_t switch_ns;	/* of it, after the last request had ended */
	uint64_t in_flight;	/* requests when the gates closed */
};

/* Before the first node; registers drivers. drain_deadline_ns 0: 10 s (A3). */
void graph_start(uint64_t drain_deadline_ns);
/* Everything closed; asserts that no node is left. */
void graph_stop(void);

/* One link to a node: that of this parent, a root or a node. */
struct link_of {
	const char *parent;
	const char *child;	/* as the parent calls it; NULL: its only one */
};

/*
 * Puts a filter above `below` (C4): all parents of `below` move to it, or,
 * where `of` is not NULL, that link alone. options: a filter's, without the
 * child. Where others put filters above `below` meanwhile, this one is above
 * theirs. The caller refers to `below`. Returns the new node, a reference whose
 * owner is the "opener".
 */
struct node *graph_insert(struct node *below, const struct link_of *of,
			  struct json_t *options, struct change_stats *stats,
			  struct error **err) MUST_CHECK;
/* Takes a filter away, for all of its parents or one link: they move to its
 * filtered child. The caller refers to the filter. */
int graph_remove(struct node *filter, const struct link_of *of,
		 struct change_stats *stats, struct error **err) MUST_CHECK;

/* Queries, new references: the protocol's query-named-block-nodes and
 * x-debug-query-block-graph. */
struct json_t *graph_query_nodes(bool flat);
struct json_t *graph_query_graph(void);

#endif
