/* SPDX-License-Identifier: MIT */
/*
 * commands-block.c - commands about nodes. Main thread.
 */
#include <errno.h>
#include <string.h>

#include "graph/graph.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/opening.h"

struct node *node_by_name(const char *name, struct error **err)
{
	struct node *node = node_find(name);

	if (!node)
		error_set(err, ENOENT, "Failed to find node with "
			  "node-name='%s'", name);
	return node;
}

struct node *open_image(json_t *options, unsigned flags, const char *filename,
			struct error **err)
{
	struct node *node = node_open(options, flags, err);

	if (!node && !strstr((*err)->text, filename))
		error_prefix(err, "Could not open '%s'", filename);
	return node;
}

json_t *cmd_blockdev_add(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "node-name", "");

	if (!co_open_by_deadline(node_add, args, name, err))
		return NULL;
	return json_object();
}

json_t *cmd_blockdev_del(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "node-name", "");

	if (!node_by_name(name, err) || node_del(name, err) < 0)
		return NULL;
	return json_object();
}

json_t *cmd_query_named_block_nodes(json_t *args, struct error **err)
{
	(void)err;
	return graph_query_nodes(arg_bool(args, "flat", false));
}

/* It lists the disks of a virtual machine: we have none. */
json_t *cmd_query_block(json_t *args, struct error **err)
{
	(void)args;
	(void)err;
	return json_array();
}

json_t *cmd_query_block_graph(json_t *args, struct error **err)
{
	(void)args;
	(void)err;
	return graph_query_graph();
}
