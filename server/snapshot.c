/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - the graph and the exports as the state log keeps them.
 *
 * Main thread, never waits: what it sees is one moment. What a node or an
 * export was given is kept as it was given, so no table of options can be
 * forgotten here; what follows from it is not kept.
 */
#include "server/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

#include "graph/export.h"
#include "graph/graph.h"
#include "graph/transaction.h"
#include "server/commands.h"
#include "server/object.h"

static json_t *snapshot_node(const struct node *node)
{
	const struct transaction *t = transaction_announced();

	return json_pack("{s:o,s:b,s:b,s:b,s:b,s:b}",
			 "options", node_describe(node),
			 "guessed", node->guessed,
			 "held", transaction_holds(t, node),
			 "implicit", node->implicit,
			 "shareable", node->shareable,
			 "by-header", !transaction_backing_given(t, node));
}

static json_t *snapshot_export(const struct export *exp)
{
	json_t *options = json_deep_copy(exp->given), *entry;
	const struct edge *edge = &exp->root->edge;

	/* what is shown may be another node by now, or soon */
	json_object_set_new(options, "node-name", json_string(
			    transaction_announced() ? edge->target->name :
			    edge->child->name));
	if (exp->writable != exp->began_writable)
		json_object_set_new(options, "writable",
				    json_boolean(exp->writable));
	entry = json_pack("{s:o,s:s}", "options", options, "device",
			  exp->device);
	if (exp->diskseq)
		json_object_set_new(entry, "diskseq", json_integer(
			(json_int_t)exp->diskseq));
	return entry;
}

static void snapshot_set(json_t *state, const char *kind, const char *name,
			 json_t *value)
{
	char *key;

	if (asprintf(&key, "%s/%s", kind, name) < 0)
		abort();
	json_object_set_new(state, key, value);
	free(key);
}

json_t *snapshot_take(void)
{
	json_t *state = json_object();

	for (struct node *n = node_next(NULL); n; n = node_next(n))
		if (transaction_keeps(transaction_announced(), n))
			snapshot_set(state, "nodes", n->name,
				     snapshot_node(n));
	for (struct export *e = NULL; (e = export_next(e)) != NULL;)
		snapshot_set(state, "exports", e->id, snapshot_export(e));
	for (const struct object *o = object_first(); o; o = o->next)
		if (object_is_found(o))
			snapshot_set(state, "objects", o->id,
				     json_pack("{s:o,s:b}", "options",
					       json_deep_copy(o->given),
					       "held", o->held));
	if (nbd_server_args())
		snapshot_set(state, "nbd", "server",
			     json_deep_copy(nbd_server_args()));
	return state;
}
