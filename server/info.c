/* SPDX-License-Identifier: MIT */
/*
 * info.c - what an image file is, without using it: opened read-only, shared
 * with whoever has it, its backing and data files left alone (A26).
 *
 * Main thread.
 */
#include <stdbool.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/io.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/opening.h"

static bool driver_has_backing(const char *name)
{
	const struct driver *driver = name ? driver_find(name) : NULL;
	const struct child_decl *child = driver ? driver->children : NULL;

	for (; child && child->name; child++)
		if (!strcmp(child->name, "backing"))
			return true;
	return false;
}

static struct node *info_open(json_t *args, struct error **err)
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
	if (driver_has_backing(arg_string(options, "driver", NULL)))
		json_object_set_new(options, "backing", json_null());
	return open_image(options, guessed ? NODE_GUESSED : 0, filename, err);
}

static json_t *info_describe(const struct node *node)
{
	json_t *info = json_pack("{s:s,s:I,s:b}",
				 "format", node->driver->name,
				 "virtual-size", (json_int_t)node->size,
				 "guessed", node->guessed);

	if (node->header_backing)
		json_object_set_new(info, "backing-filename",
				    json_text(node->header_backing));
	if (node->header_backing_format)
		json_object_set_new(info, "backing-filename-format",
				    json_text(node->header_backing_format));
	return info;
}

json_t *cmd_info(json_t *args, struct error **err)
{
	struct node *node = co_open_by_deadline(
		info_open, args, arg_string(args, "filename", ""), err);
	uint64_t disk;
	json_t *info;

	if (!node)
		return NULL;
	info = info_describe(node);
	if (co_node_disk_usage(node, &disk) == 0)
		json_object_set_new(info, "actual-size",
				    json_integer((json_int_t)disk));
	json_object_set(info, "filename", json_object_get(args, "filename"));
	if (node->driver->info)
		node->driver->info(node, info);
	node_unref(node);
	return info;
}
