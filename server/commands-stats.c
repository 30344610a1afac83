/* SPDX-License-Identifier: MIT */
/*
 * commands-stats.c - what has been counted: query-blockstats. Main thread.
 *
 * Requests are counted where they enter the graph (A8): a node shows those of
 * the exports that are on it. What its parents send down to it is counted at
 * them.
 */
#include <stdio.h>

#include "graph/graph.h"
#include "server/command.h"
#include "server/commands.h"

static void count_node(const struct node *node, struct root_counts *sum)
{
	for (struct root *root = root_first(); root; root = root->next)
		if (root->edge.child == node)
			root_count(root, sum);
}

static void add_op(json_t *stats, const char *op, const struct op_counts *c)
{
	const struct {
		const char *before, *after;
		uint64_t value;
	} members[] = {
		{ "", "_operations", c->ok },
		{ "", "_total_time_ns", c->ns },
		{ "failed_", "_operations", c->failed },
		{ "invalid_", "_operations", 0 },
	};
	char name[64];

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		snprintf(name, sizeof(name), "%s%s%s", members[i].before, op,
			 members[i].after);
		json_object_set_new(stats, name, json_integer((json_int_t)
							members[i].value));
	}
}

static void add_bytes(json_t *stats, const char *op, uint64_t bytes)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_bytes", op);
	json_object_set_new(stats, name, json_integer((json_int_t)bytes));
	snprintf(name, sizeof(name), "%s_merged", op);
	json_object_set_new(stats, name, json_integer(0));
}

json_t *counts_describe(const struct root_counts *c)
{
	const struct op_counts *zeroes = &c->ops[REQ_ZEROES];
	struct op_counts writes = c->ops[REQ_WRITE];
	json_t *stats = json_pack("{s:I,s:b,s:b,s:[]}", "wr_highest_offset",
				  (json_int_t)c->highest, "account_invalid", 0,
				  "account_failed", 0, "timed_stats");

	/* zeroing is writing to those who read this */
	writes.ok += zeroes->ok;
	writes.failed += zeroes->failed;
	writes.bytes += zeroes->bytes;
	writes.ns += zeroes->ns;
	add_op(stats, "rd", &c->ops[REQ_READ]);
	add_op(stats, "wr", &writes);
	add_op(stats, "flush", &c->ops[REQ_FLUSH]);
	add_op(stats, "unmap", &c->ops[REQ_DISCARD]);
	add_bytes(stats, "rd", c->ops[REQ_READ].bytes);
	add_bytes(stats, "wr", writes.bytes);
	add_bytes(stats, "unmap", c->ops[REQ_DISCARD].bytes);
	return stats;
}

static json_t *node_stats(const struct node *node, unsigned depth)
{
	struct root_counts counts = { 0 };
	const struct node *below = node_primary_child(node);
	const struct node *backing = node_cow_child(node);
	json_t *shown;

	count_node(node, &counts);
	shown = json_pack("{s:s,s:o}", "node-name", node->name, "stats",
			  counts_describe(&counts));
	if (below && depth)
		json_object_set_new(shown, "parent",
				    node_stats(below, depth - 1));
	if (backing && depth)
		json_object_set_new(shown, "backing",
				    node_stats(backing, depth - 1));
	return shown;
}

/* How far down a chain one entry shows; each node has an entry. */
#define DEPTH_SHOWN 8u

json_t *cmd_query_blockstats(json_t *args, struct error **err)
{
	json_t *list = json_array();

	(void)err;
	if (!arg_bool(args, "query-nodes", false))
		return list;
	for (struct node *n = node_next(NULL); n; n = node_next(n))
		json_array_append_new(list, node_stats(n, DEPTH_SHOWN));
	return list;
}
