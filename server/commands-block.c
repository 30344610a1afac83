/* SPDX-License-Identifier: MIT */
/*
 * commands-block.c - commands about nodes. Main thread.
 */
#include <errno.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/reopen.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/deadline.h"
#include "server/log.h"

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

void log_node_warning(const struct node *node)
{
	const char *warning = node_chain_warning(node);

	if (warning)
		log_write(LOG_WARNING, "%s", warning);
}

static bool driver_has_backing(const char *name)
{
	const struct driver *driver = name ? driver_find(name) : NULL;
	const struct child_decl *child = driver ? driver->children : NULL;

	for (; child && child->name; child++)
		if (!strcmp(child->name, "backing"))
			return true;
	return false;
}

struct node *open_to_look(json_t *args, bool chain, struct error **err)
{
	const char *filename = arg_string(args, "filename", "");
	bool guessed = false;
	json_auto_t *options = node_options_for_file(
		filename, arg_string(args, "format", NULL), true, false,
		&guessed, err);

	if (!options)
		return NULL;
	json_object_set_new(options, "force-share", json_true());
	/* null: none; drivers without one know no such option */
	if (!chain && driver_has_backing(arg_string(options, "driver", NULL)))
		json_object_set_new(options, "backing", json_null());
	return open_image(options, guessed ? NODE_GUESSED : 0, filename, err);
}

json_t *cmd_blockdev_add(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "node-name", "");
	struct node *node = co_open_by_deadline(node_add, args, name, err);

	if (!node)
		return NULL;
	log_node_warning(node);
	node_put(node, "opener");
	return json_object();
}

json_t *cmd_blockdev_del(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "node-name", "");

	return node_del(name, err) < 0 ? NULL : json_object();
}

json_t *cmd_blockdev_reopen(json_t *args, struct error **err)
{
	struct reopen *list = reopen_by_options(json_object_get(args,
								"options"),
						err);

	if (!*err && list && graph_reopen(list, NULL, err) < 0)
		assert(*err);
	return *err ? NULL : json_object();
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
