/* SPDX-License-Identifier: MIT */
/*
 * commands-resize.c - another size for a disk that is in use (C8).
 *
 * Main thread, coroutines.
 */
#include <errno.h>
#include <inttypes.h>

#include "graph/export.h"
#include "graph/resize.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/pause.h"
#include "server/shrink.h"

/* What a disk may have: the protocol counts in signed numbers. */
#define SIZE_MAX_BYTES ((uint64_t)INT64_MAX & ~UINT64_C(511))

static struct node *resize_node_of(const char *id, const char *name,
				   struct error **err)
{
	struct node *node = name ? node_find(name) : NULL;
	struct export *exp;

	if (id && !name) {
		exp = export_by_name(id, err);
		return exp ? exp->root->edge.child : NULL;
	}
	if (!node)
		error_set(err, ENOENT, "Cannot find device='%s' nor"
			  " node-name='%s'", id ? id : "", name ? name : "");
	return node;
}

json_t *cmd_block_resize(json_t *args, struct error **err)
{
	json_int_t size = json_integer_value(json_object_get(args, "size"));
	struct node *node = resize_node_of(arg_string(args, "device", NULL),
					   arg_string(args, "node-name", NULL),
					   err);
	struct change_stats stats;
	int ret;

	if (!node)
		return NULL;
	if (size < 0) {
		error_set(err, EINVAL, "Parameter 'size' expects a >0 size");
		return NULL;
	}
	node_get(node, "command");
	ret = graph_resize(node, (uint64_t)size, &stats, err);
	node_put(node, "command");
	return ret < 0 ? NULL : json_object();
}

/* What it shall have; *size is what it has at first. */
static int wanted_size(json_t *args, uint64_t *size, struct error **err)
{
	json_t *whole = json_object_get(args, "size");
	json_t *more = json_object_get(args, "grow-by");
	json_int_t n = json_integer_value(whole ? whole : more);

	if (whole && more)
		return error_set(err, EINVAL, "Parameters 'size' and 'grow-by'"
				 " are mutually exclusive");
	if (n < 1)
		return error_set(err, EINVAL, "Parameter '%s' is at least 1,"
				 " not %lld", whole ? "size" : "grow-by",
				 (long long)n);
	if ((uint64_t)n > SIZE_MAX_BYTES - (whole ? 0 : *size))
		return error_set(err, EFBIG, "A disk has at most %" PRIu64
				 " bytes", SIZE_MAX_BYTES);
	*size = (uint64_t)n + (whole ? 0 : *size);
	return 0;
}

static int co_resize_command(struct node *node, json_t *args, const char *what,
			     struct change_stats *stats, struct error **err)
{
	uint64_t size = node->size;
	int ret;

	if (!json_object_get(args, "size") && !json_object_get(args, "grow-by"))
		return graph_take_size(node, stats, err);
	ret = wanted_size(args, &size, err);
	if (ret == 0 && size < node->size && !arg_bool(args, "force", false))
		ret = co_shrink_check(node, size, what, err);
	return ret < 0 ? ret : graph_resize(node, size, stats, err);
}

json_t *cmd_resize(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", NULL);
	const char *name = arg_string(args, "node-name", NULL);
	struct change_stats stats;
	struct node *node;
	json_t *result = NULL;
	uint64_t before;

	if (!id == !name) {
		error_set(err, EINVAL, "Either 'id' or 'node-name' must say"
			  " what is resized");
		return NULL;
	}
	node = resize_node_of(id, name, err);
	if (!node)
		return NULL;
	node_get(node, "command");
	before = node->size;
	if (co_resize_command(node, args, id ? id : name, &stats, err) == 0)
		result = with_pause(json_pack("{s:I,s:I}",
				    "size", (json_int_t)node->size,
				    "size-before", (json_int_t)before), &stats);
	node_put(node, "command");
	return result;
}
