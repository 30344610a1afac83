/* SPDX-License-Identifier: MIT */
/*
 * window.c - see window.h. Main thread, coroutines.
 */
#include "server/window.h"

#include <errno.h>
#include <inttypes.h>

#include "graph/graph.h"
#include "runtime/json.h"
#include "server/command.h"
#include "server/partition.h"

#define SECTOR 512u

static const struct root_ops window_root_ops = { .kind = "control" };

bool window_wanted(json_t *args)
{
	return json_object_get(args, "offset") ||
	       json_object_get(args, "size-limit") ||
	       json_object_get(args, "partition");
}

static int window_number(json_t *args, const char *name, json_int_t lowest,
			 json_int_t def, uint64_t *out, struct error **err)
{
	json_t *value = json_object_get(args, name);
	json_int_t n = value ? json_integer_value(value) : def;

	*out = (uint64_t)n;
	if (n >= lowest)
		return 0;
	return error_set(err, EINVAL, "Parameter '%s' is at least %lld, not "
			 "%lld", name, (long long)lowest, (long long)n);
}

static int co_window_partition(struct node *image, json_t *args,
			       const char *filename, struct partition *out,
			       struct error **err)
{
	json_t *block = json_object_get(args, "logical-block-size");
	uint64_t number = 0;
	struct root *root;
	int ret;

	if (json_object_get(args, "offset") ||
	    json_object_get(args, "size-limit"))
		return error_set(err, EINVAL, "Parameter 'partition' says all "
				 "that 'offset' and 'size-limit' would");
	ret = window_number(args, "partition", 1, 1, &number, err);
	if (ret < 0)
		return ret;
	root = root_new(&window_root_ops, NULL, "command 'blkgraph-attach'",
			image, PERM_CONSISTENT_READ, PERM_ALL, 1,
			UINT64_C(1) << MAIN_THREAD, err);
	if (!root)
		return -EINVAL;
	co_root_busy(root);
	ret = co_partition_find(root, (unsigned)min(number, (uint64_t)1 << 31),
				json_integer_value(block) > SECTOR ? 4096 :
				SECTOR, filename, out, err);
	root_idle(root);
	root_free(root);
	return ret;
}

/* Whole sectors from the offset on; at most the limit. */
static int window_cut(const struct node *image, json_t *args,
		      const char *filename, struct partition *out,
		      struct error **err)
{
	uint64_t offset = 0, limit = 0;
	int ret = window_number(args, "offset", 0, 0, &offset, err);

	if (ret == 0)
		ret = window_number(args, "size-limit", SECTOR, INT64_MAX,
				    &limit, err);
	if (ret < 0)
		return ret;
	if (offset >= image->size)
		return error_set(err, EINVAL, "Offset %" PRIu64 " is past the "
				 "end of '%s', which has %" PRIu64 " bytes",
				 offset, filename, image->size);
	out->offset = offset;
	out->size = align_down(min(limit, image->size - offset), SECTOR);
	if (out->size)
		return 0;
	return error_set(err, EINVAL, "From offset %" PRIu64 " on '%s' has "
			 "less than a sector of %u bytes: it ends at %" PRIu64,
			 offset, filename, SECTOR, image->size);
}

static struct node *co_window_above(struct node *image, const char *name,
				    const struct partition *part,
				    struct error **err)
{
	json_auto_t *options = json_pack(
		"{s:s, s:s, s:I, s:I, s:b, s:s, s:{s:b}}", "driver", "raw",
		"file", image->name, "offset", (json_int_t)part->offset,
		"size", (json_int_t)part->size,
		"read-only", image->read_only, "discard", "unmap",
		"cache", "direct", image->cache_direct);

	if (name)
		json_object_set_new(options, "node-name", json_text(name));
	return node_open(options, 0, err);
}

struct node *co_window_open(struct node *image, json_t *args, const char *name,
			    const char *filename, struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct partition part;
	struct node *window = NULL;
	int ret;

	ret = json_object_get(args, "partition") ?
		co_window_partition(image, args, filename, &part, err) :
		window_cut(image, args, filename, &part, err);
	if (ret == 0)
		window = co_window_above(image, name, &part, err);
	if (window)
		node_put(image, "opener");
	else
		(void)!co_node_put(image, "opener", &ignored);
	return window;
}
