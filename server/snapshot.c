/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - the graph and the exports as the state log keeps them.
 *
 * Main thread, never waits: what it sees is one moment.
 */
#include "server/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

#include "graph/export.h"
#include "graph/graph.h"
#include "server/commands.h"

static json_t *option_value(const struct option *opt, const void *opts)
{
	const char *at = (const char *)opts + opt->offset;

	switch (opt->type) {
	case OPT_STRING:
		return json_string(*(char *const *)(const void *)at);
	case OPT_BOOL:
		return json_boolean(*(const bool *)at);
	case OPT_SIZE:
		return json_integer((json_int_t)*(const uint64_t *)
				    (const void *)at);
	case OPT_UINT:
		return json_integer(*(const uint32_t *)(const void *)at);
	case OPT_ENUM:
		return json_string(opt->values[*(const int *)
					       (const void *)at]);
	}
	return NULL;
}

static json_t *snapshot_options(const struct option *table, const void *opts)
{
	json_t *object = json_object();

	for (; table && opts && table->name; table++) {
		json_t *value = option_value(table, opts);

		/* a string that was not given */
		if (value)
			json_object_set_new(object, table->name, value);
	}
	return object;
}

static json_t *snapshot_node(const struct node *node)
{
	json_t *children = json_object();

	for (const struct edge *e = node->children; e; e = e->next_child)
		json_object_set_new(children, e->name,
				    json_string(e->child->name));
	return json_pack("{s:s,s:o,s:o,s:b,s:b,s:b,s:b}",
			 "driver", node->driver->name,
			 "options", snapshot_options(node->driver->options,
						     node->opts),
			 "children", children,
			 "read-only", node->read_only,
			 "direct", node->cache_direct,
			 "guessed", node->guessed,
			 "held", node->held);
}

static json_t *snapshot_export(const struct export *exp)
{
	return json_pack("{s:s,s:s,s:b,s:s,s:o}",
			 "type", exp->type->name,
			 "node-name", exp->root->edge.child->name,
			 "writable", exp->writable,
			 "device", exp->device,
			 "options", snapshot_options(exp->type->options,
						     exp->opts));
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
		snapshot_set(state, "nodes", n->name, snapshot_node(n));
	for (const struct export *e = export_first(); e; e = e->next)
		if (e->root)
			snapshot_set(state, "exports", e->id,
				     snapshot_export(e));
	if (nbd_server_args())
		snapshot_set(state, "nbd", "server",
			     json_deep_copy(nbd_server_args()));
	return state;
}
