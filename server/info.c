/* SPDX-License-Identifier: MIT */
/*
 * info.c - what an image file is, without using it: opened read-only, shared
 * with whoever has it, its backing and data files left alone (A26).
 *
 * Main thread.
 */
#include <stdbool.h>

#include "graph/graph.h"
#include "graph/io.h"
#include "runtime/json.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/deadline.h"

static json_t *info_describe(json_t *filename, const struct node *node)
{
	json_t *info = json_pack("{s:O,s:s,s:I,s:b}",
				 "filename", filename,
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

static json_t *co_info(json_t *args, uint64_t *progress, struct error **err)
{
	struct error *problem CLEANUP_ERROR = NULL;
	struct error *ignored CLEANUP_ERROR = NULL;
	struct node *node = open_to_look(args, false, err);
	uint64_t disk;
	json_t *info;

	(void)progress;
	if (!node)
		return NULL;
	info = info_describe(json_object_get(args, "filename"), node);
	if (co_node_disk_usage(node, &disk) == 0)
		json_object_set_new(info, "actual-size",
				    json_integer((json_int_t)disk));
	if (node->driver->info)
		node->driver->info(node, info);
	/* the rest of a damaged image is worth knowing all the same */
	if (co_node_contents(node, info, &problem) < 0)
		json_object_set_new(info, "problem",
				    json_text(problem->text));
	(void)!co_node_put(node, "opener", &ignored);
	return info;
}

json_t *cmd_info(json_t *args, struct error **err)
{
	return co_ask_by_deadline(co_info, args,
				  arg_string(args, "filename", ""), err);
}
