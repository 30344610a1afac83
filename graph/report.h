/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a driver finds wrong with images below it while requests go
 * on, and no request can say: which of several is wrong, and where.
 *
 * Told on any thread, heard on main, in order with the answer of the request in
 * which it was found. Nobody waits and nothing is allocated: a thread keeps
 * REPORTS_MAX that main has not heard yet, and what is more is dropped.
 */
#ifndef GRAPH_REPORT_H
#define GRAPH_REPORT_H

#include "graph/node.h"

enum report_kind {
	REPORT_BYTES,	/* two images differ from `at` on */
	REPORT_RESULTS,	/* two did differently: error and other_error */
	REPORT_CHILD,	/* of several one failed, or, error 0, is outvoted */
	REPORT_VOTE,	/* not enough of them agree */
};

struct report {
	uint8_t kind;		/* enum report_kind */
	uint8_t op;		/* enum req_op */
	int32_t error, other_error;	/* positive; 0: there was none */
	uint32_t len;
	uint64_t offset, at;	/* bytes of the node's disk */
	char node[NODE_NAME_MAX + 1];	/* who found it */
	char child[NODE_NAME_MAX + 1];	/* in whom, or "" */
};

/* Any thread, inside an operation of the node. Takes a copy, with the names of
 * both; child: NULL where no one is meant. */
void report_tell(const struct node *node, const struct node *child,
		 const struct report *report);

/* Main, outside any coroutine; must not wait. NULL: nobody. */
void report_set_listener(void (*heard)(const struct report *report));

/* ---- private to graph/ ---- */

#define REPORTS_MAX 16u

/* Of one thread. */
struct reports {
	struct report kept[REPORTS_MAX];
	uint32_t count;		/* told; atomic, its thread's */
	uint32_t heard;		/* of these; atomic, main's */
	bool posted;		/* atomic */
	struct message tell;
};

#endif
