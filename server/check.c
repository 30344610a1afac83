/* SPDX-License-Identifier: MIT */
/*
 * check.c - looks through an image's metadata, and changes nothing.
 *
 * Main thread. Only the image's own file is opened, by a root that lets nobody
 * write to it meanwhile, here or in other processes: what is checked must hold
 * still. The driver reads it without opening it as an image, so that one too
 * broken to be opened can still be told what is wrong with it.
 */
#include <errno.h>

#include "graph/graph.h"
#include "runtime/json.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/deadline.h"

#define CHECK_GRANULARITY 512u

static const struct root_ops check_root_ops = { .kind = "control" };

static json_t *check_describe(const struct image_check *c)
{
	json_t *result = json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I}",
		"check-errors", 0,
		"corruptions", (json_int_t)c->errors,
		"leaks", (json_int_t)c->leaks,
		"total-clusters", (json_int_t)c->total,
		"allocated-clusters", (json_int_t)c->allocated,
		"compressed-clusters", (json_int_t)c->compressed,
		"image-end-offset", (json_int_t)c->end);

	if (c->errors)
		json_object_set_new(result, "first-corruption",
				    json_text(c->first_error));
	return result;
}

static json_t *co_check(const struct driver *driver, struct node *node,
			uint64_t *progress, struct error **err)
{
	struct root *root = root_new(&check_root_ops, NULL,
		"command 'blkgraph-check'", node, PERM_CONSISTENT_READ,
		PERM_CONSISTENT_READ, CHECK_GRANULARITY,
		UINT64_C(1) << MAIN_THREAD, err);
	struct image_check check = { .progress = progress };
	int ret;

	if (!root)
		return NULL;
	co_root_busy(root);
	ret = driver->check(&root->edge, &check, err);
	root_idle(root);
	root_free(root);
	return ret < 0 ? NULL : check_describe(&check);
}

/* The driver of the image's format, and options for its file alone. */
static const struct driver *check_driver(json_t *args, json_t **file,
					 struct error **err)
{
	const char *filename = arg_string(args, "filename", "");
	bool guessed = false;
	json_auto_t *options = node_options_for_file(
		filename, arg_string(args, "format", NULL), true, false,
		&guessed, err);
	const struct driver *driver;

	if (!options)
		return NULL;
	driver = driver_find(arg_string(options, "driver", ""));
	if (!driver->check) {
		error_set(err, ENOTSUP, "Format '%s' of '%s' has no check",
			  driver->name, filename);
		return NULL;
	}
	*file = json_incref(json_object_get(options, "file"));
	json_object_set_new(*file, "read-only", json_true());
	return driver;
}

static json_t *co_check_file(json_t *args, uint64_t *progress,
			     struct error **err)
{
	const char *filename = arg_string(args, "filename", "");
	json_auto_t *file = NULL;
	const struct driver *driver = check_driver(args, &file, err);
	struct node *node = driver ? node_open(file, 0, err) : NULL;
	struct error *ignored CLEANUP_ERROR = NULL;
	json_t *result;

	if (!node)
		return NULL;
	result = co_check(driver, node, progress, err);
	/* nothing was written to it */
	(void)!co_node_put(node, "opener", &ignored);
	if (!result) {
		error_prefix(err, "Could not check '%s'", filename);
		return NULL;
	}
	json_object_set(result, "filename", json_object_get(args, "filename"));
	json_object_set_new(result, "format", json_string(driver->name));
	return result;
}

json_t *cmd_check(json_t *args, struct error **err)
{
	const char *filename = arg_string(args, "filename", "");
	json_t *result = co_ask_by_deadline(co_check_file, args, filename,
					    err);

	if (!result)
		command_name_user(filename, err);
	return result;
}
