/* SPDX-License-Identifier: MIT */
/*
 * temporary.c - see temporary.h. Main thread, coroutines.
 *
 * Nothing of it is to outlive a crash, so its flushes do nothing.
 */
#include "server/temporary.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "graph/create.h"
#include "graph/graph.h"
#include "runtime/json.h"

const char *temporary_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir == '/' ? dir : "/var/tmp";
}

static json_t *temporary_options(const char *driver)
{
	return json_pack("{s:s, s:s, s:{s:b, s:b}}", "driver", driver,
			 "discard", "unmap", "cache", "direct", 0,
			 "no-flush", 1);
}

static struct node *co_temporary_file(struct error **err)
{
	json_auto_t *options = temporary_options("file");

	json_object_set_new(options, "filename", json_text(temporary_dir()));
	json_object_set_new(options, "temporary", json_true());
	return node_open(options, 0, err);
}

/* Sectors of qcow2 are whole: what the image lacks of its last is zeroes. */
static int co_make_overlay(struct node *file, const struct node *image,
			   struct error **err)
{
	json_auto_t *options = json_pack("{s:s, s:I}", "driver", "qcow2",
					 "size", (json_int_t)
					 align_up(image->size, 512));

	return co_create_in_node(options, file, "command 'blkgraph-attach'",
				 err);
}

struct node *co_temporary_above(struct node *image, const char *name,
				struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct node *file = co_temporary_file(err), *overlay = NULL;
	json_auto_t *options = temporary_options("qcow2");

	if (file && co_make_overlay(file, image, err) == 0) {
		json_object_set_new(options, "file", json_string(file->name));
		json_object_set_new(options, "backing",
				    json_string(image->name));
		if (name)
			json_object_set_new(options, "node-name",
					    json_text(name));
		overlay = node_open(options, 0, err);
	}
	if (file && overlay)
		node_put(file, "opener");
	else if (file)
		(void)!co_node_put(file, "opener", &ignored);
	error_clear(&ignored);
	if (overlay)
		node_put(image, "opener");
	else
		(void)!co_node_put(image, "opener", &ignored);
	return overlay;
}
