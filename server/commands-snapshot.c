/* SPDX-License-Identifier: MIT */
/*
 * commands-snapshot.c - live snapshots (C1), and transactions of them and of
 * other changes (B8).
 *
 * Main thread. Whatever a command does is a plan: actions that are prepared one
 * after the other, and what was opened and made for them. It is committed as a
 * whole; or given up, and then the nodes are closed, the state log no longer
 * knows of them, and the files are removed, in this order.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph/action.h"
#include "graph/backing.h"
#include "graph/create.h"
#include "graph/export.h"
#include "graph/reopen.h"
#include "graph/replace.h"
#include "runtime/json.h"
#include "server/change.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/deadline.h"
#include "server/log.h"
#include "server/new-image.h"
#include "server/pause.h"

/* How many names are tried for a snapshot that was given none. */
#define SNAPSHOT_NAMES 100

struct plan_part {
	struct node *node;	/* the opener's reference; NULL: none */
	struct export *exp;	/* whose link changes, a reference; or NULL */
	char *file;		/* made for it; NULL: it was there */
	bool added;		/* by blockdev-add */
	bool overlay;
	struct plan_part *next;
};

struct plan {
	struct actions actions;
	struct plan_part *parts;
};

static struct plan_part *plan_part_new(struct plan *plan)
{
	struct plan_part *part = calloc(1, sizeof(*part));

	if (!part)
		abort();
	part->next = plan->parts;
	plan->parts = part;
	return part;
}

/* The disk would be another after the daemon's end, and nobody else says so. */
static void plan_warn(const struct node *overlay)
{
	struct node *below = node_cow_child(overlay);

	if (!below || !overlay->backing_given)
		return;
	if (node_skip_filters(below)->temporary)
		log_write(LOG_WARNING, "What is in the temporary image '%s' is"
			  " lost with the disk: overlay '%s' shows the disk"
			  " only as long as that is there", below->name,
			  overlay->name);
	else if (overlay->header_backing)
		log_write(LOG_WARNING, "The header of overlay '%s' names '%s',"
			  " and not the image below it", overlay->name,
			  overlay->header_backing);
	else
		log_write(LOG_WARNING, "The header of overlay '%s' does not"
			  " name the image below it", overlay->name);
}

static void plan_undo_part(struct plan_part *part)
{
	struct error *ignored CLEANUP_ERROR = NULL;

	if (part->node && part->added)
		node_let_go(part->node);
	if (part->node)
		(void)!co_node_put(part->node, "opener", &ignored);
	if (!part->file)
		return;
	/* no log names it when it goes */
	co_change_note();
	co_new_image_remove(part->file);
}

/* ok: all of it could be prepared. Ends the plan; 0, or -errno and *err. */
static int co_plan_end(struct plan *plan, bool ok, struct change_stats *stats,
		       struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct plan_part *part;
	int ret = -EINVAL;

	if (ok)
		ret = co_actions_commit(&plan->actions, stats, err);
	else
		co_actions_give_up(&plan->actions);
	while ((part = plan->parts)) {
		plan->parts = part->next;
		if (part->exp)
			export_put(part->exp, "command");
		if (ret < 0) {
			plan_undo_part(part);
		} else if (part->node) {
			if (part->overlay)
				plan_warn(part->node);
			/* above what nobody uses nobody uses it either */
			(void)!co_node_put(part->node, "opener", &ignored);
			error_clear(&ignored);
		}
		free(part->file);
		free(part);
	}
	return ret;
}

/* ---- what is named ---- */

static struct node *named_node(const char *name, struct error **err)
{
	struct node *node = node_find(name);

	if (!node)
		error_set(err, ENOENT, "Cannot find device='%s' nor"
			  " node-name='%s'", name, name);
	return node;
}

/* What an export shows, or a node. */
static struct node *snapshot_place(json_t *args, struct error **err)
{
	const char *device = arg_string(args, "device", "");
	const char *name = arg_string(args, "node-name", "");
	struct export *exp = export_find(device);
	struct node *node = exp ? exp->root->edge.child : node_find(name);

	if (!node)
		error_set(err, ENOENT, "Cannot find device='%s' nor"
			  " node-name='%s'", device, name);
	return node;
}

static bool takes_backing(const struct driver *driver)
{
	const struct child_decl *decl = driver->children;

	for (; decl && decl->name; decl++)
		if (decl->role & ROLE_COW)
			return true;
	return false;
}

/* ---- an overlay that does not exist yet ---- */

struct new_overlay {
	const char *file, *format;
	const char *node_name;	/* NULL: a generated one */
	const char *backing;	/* the name in its header; NULL: as opened */
	bool existing;		/* it is an image already */
	bool made;		/* the file is ours, and empty */
};

static int co_fill_overlay(const struct new_overlay *new, struct node *node,
			   struct error **err)
{
	const char *format, *backing = backing_name_of(node, &format);
	json_auto_t *options = json_pack("{s:o,s:{s:s,s:o},s:I}", "driver",
		json_text(new->format), "file", "driver", "file", "filename",
		json_text(new->file), "size",
		(json_int_t)align_up(node->size, 512));
	json_auto_t *blank = json_pack("{s:s,s:o,s:I}", "driver", "file",
				       "filename", json_text(new->file),
				       "size", (json_int_t)0);

	if (backing && new->backing)
		backing = new->backing;
	if (backing) {
		json_object_set_new(options, "backing-file",
				    json_text(backing));
		json_object_set_new(options, "backing-fmt",
				    json_string(format));
	}
	/* what an old file holds goes, unless somebody has it */
	if (!new->made && co_create_image("a snapshot", blank, err) < 0)
		return -EINVAL;
	return co_create_image("a snapshot", options, err);
}

static struct node *open_overlay(json_t *options, struct error **err)
{
	return node_open(options, 0, err);
}

/* As the disk was: what is to be read and written in its place. */
static json_t *overlay_options(const struct new_overlay *new,
			       struct node *node)
{
	const struct node *image = node_skip_filters(node);
	json_t *options = json_pack(
		"{s:o,s:{s:s,s:o},s:n,s:b,s:s,s:{s:b,s:b}}", "driver",
		json_text(new->format), "file", "driver", "file", "filename",
		json_text(new->file), "backing", "read-only", node->read_only,
		"discard", node->discard_unmap ? "unmap" : "ignore",
		"cache", "direct", image->cache_direct,
		"no-flush", image->no_flush);

	if (new->node_name)
		json_object_set_new(options, "node-name",
				    json_text(new->node_name));
	return options;
}

static int co_open_overlay(const struct new_overlay *new, struct node *node,
			   struct plan_part *part, struct error **err)
{
	json_auto_t *options = overlay_options(new, node);

	part->node = co_open_by_deadline(open_overlay, options, new->file, err);
	return part->node ? 0 : -EINVAL;
}

/* Takes over *new's file where that was made. */
static int co_plan_new(struct plan *plan, struct node *node,
		       struct new_overlay *new, struct error **err)
{
	struct plan_part *part = plan_part_new(plan);
	int ret = 0;

	part->overlay = true;
	if (new->made) {
		part->file = strdup(new->file);
		if (!part->file)
			abort();
	}
	if (!new->existing)
		ret = co_fill_overlay(new, node, err);
	if (ret == 0)
		ret = co_open_overlay(new, node, part, err);
	if (ret == 0)
		ret = co_action_add(&plan->actions,
				    action_snapshot(node, part->node), err);
	return ret;
}

/* ---- the actions ---- */

static int plan_snapshot(struct plan *plan, json_t *args, struct error **err)
{
	struct node *node = named_node(arg_string(args, "node", ""), err);
	struct node *overlay = NULL;
	struct plan_part *part;

	if (node && action_snapshot_check(node, err) == 0)
		overlay = named_node(arg_string(args, "overlay", ""), err);
	if (!overlay)
		return -EINVAL;
	part = plan_part_new(plan);
	part->node = node_get(overlay, "opener");
	part->overlay = true;
	return co_action_add(&plan->actions, action_snapshot(node, overlay),
			     err);
}

static int check_new_overlay(const struct new_overlay *new, json_t *args,
			     struct error **err)
{
	const struct driver *driver = driver_find(new->format);

	if (json_object_get(args, "node-name") && !new->node_name)
		return error_set(err, EINVAL,
				 "New overlay node-name missing");
	if (new->node_name && node_find(new->node_name))
		return error_set(err, EEXIST,
				 "New overlay node-name already in use");
	if (!driver || driver->kind != DRIVER_FORMAT)
		return error_set(err, EINVAL, "Unknown file format '%s'",
				 new->format);
	if (!new->existing && !takes_backing(driver))
		return error_set(err, ENOTSUP, "Backing file not supported for"
				 " file format '%s'", new->format);
	return 0;
}

static int plan_snapshot_sync(struct plan *plan, json_t *args,
			      struct error **err)
{
	struct new_overlay new = {
		.file = arg_string(args, "snapshot-file", ""),
		.format = arg_string(args, "format", "qcow2"),
		.node_name = arg_string(args, "snapshot-node-name", NULL),
		.existing = !strcmp(arg_string(args, "mode", ""), "existing"),
	};
	struct node *node = snapshot_place(args, err);
	struct error *why CLEANUP_ERROR = NULL;
	int ret = -EINVAL;

	if (!node || action_snapshot_check(node, err) < 0 ||
	    check_new_overlay(&new, args, err) < 0)
		return -EINVAL;
	node_get(node, "command");
	if (!new.existing)
		ret = co_new_image(new.file, NULL, &why);
	new.made = ret == 0;
	if (new.existing || new.made || ret == -EEXIST)
		ret = co_plan_new(plan, node, &new, err);
	else
		error_propagate(err, &why);
	node_put(node, "command");
	return ret;
}

static int plan_add(struct plan *plan, json_t *args, struct error **err)
{
	struct plan_part *part;
	struct node *node;

	node = co_open_by_deadline(node_add, args,
				   arg_string(args, "node-name", ""), err);
	if (!node)
		return -EINVAL;
	part = plan_part_new(plan);
	part->node = node;
	part->added = true;
	return 0;
}

static int plan_delete(struct plan *plan, json_t *args, struct error **err)
{
	struct node *node = node_by_name(arg_string(args, "node-name", ""),
					 err);

	return node ? co_action_add(&plan->actions, action_delete(node), err)
		    : -ENOENT;
}

/* The filter is the part's when it is in. */
static int plan_insert(struct plan *plan, json_t *args, struct error **err)
{
	struct filter_place place;
	struct plan_part *part;
	int ret;

	if (filter_place(args, &place, err) < 0)
		return -ENOENT;
	part = plan_part_new(plan);
	ret = co_action_add(&plan->actions, action_insert(place.node,
			    filter_link(&place), json_object_get(args,
			    "options"), &part->node), err);
	if (ret < 0)
		error_prefix(err, "Could not insert '%s'", arg_string(
			     json_object_get(args, "options"), "driver", ""));
	return ret;
}

static int plan_remove(struct plan *plan, json_t *args, struct error **err)
{
	struct filter_place place;

	if (filter_to_remove(args, &place, err) < 0)
		return -ENOENT;
	return co_action_add(&plan->actions, action_remove(place.node,
			     filter_link(&place)), err);
}

static int plan_reopen(struct plan *plan, json_t *args, struct error **err)
{
	struct reopen *list = reopen_by_options(json_object_get(args,
								"options"),
						err);

	if (!list)
		return *err ? -EINVAL : 0;
	return co_action_add(&plan->actions, action_reopen(list), err);
}

static int plan_replace(struct plan *plan, json_t *args, struct error **err)
{
	struct place place;
	struct export *exp;
	struct node *to = find_replacement(args, &place, &exp, err);

	if (!to)
		return -ENOENT;
	if (exp) {
		export_get(exp, "command");
		plan_part_new(plan)->exp = exp;
	}
	return co_action_add(&plan->actions, action_replace(&place, to, NULL),
			     err);
}

static int plan_abort(struct plan *plan, json_t *args, struct error **err)
{
	(void)plan;
	(void)args;
	return error_set(err, ECANCELED,
			 "Transaction aborted using Abort action");
}

/* ---- the commands ---- */

typedef int plan_fn(struct plan *plan, json_t *args, struct error **err);

static json_t *run_alone(plan_fn *fn, json_t *args, struct error **err)
{
	struct plan plan = { { NULL }, NULL };
	bool ok = fn(&plan, args, err) == 0;

	return co_plan_end(&plan, ok, NULL, err) < 0 ? NULL : json_object();
}

json_t *cmd_blockdev_snapshot(json_t *args, struct error **err)
{
	return run_alone(plan_snapshot, args, err);
}

json_t *cmd_blockdev_snapshot_sync(json_t *args, struct error **err)
{
	return run_alone(plan_snapshot_sync, args, err);
}

static const struct plan_kind {
	const char *type;
	plan_fn *fn;
	bool alone;		/* its jobs, if any, are not waited for */
} plan_kinds[] = {
	{ "abort", plan_abort, false },
	{ "blockdev-add", plan_add, true },
	{ "blockdev-del", plan_delete, true },
	{ "blockdev-reopen", plan_reopen, true },
	{ "blockdev-replace", plan_replace, true },
	{ "blockdev-snapshot", plan_snapshot, true },
	{ "blockdev-snapshot-sync", plan_snapshot_sync, true },
	{ "blkgraph-insert", plan_insert, true },
	{ "blkgraph-remove", plan_remove, true },
};

static int plan_action(struct plan *plan, json_t *action, bool grouped,
		       struct error **err)
{
	const char *type = arg_string(action, "type", "");
	const struct plan_kind *kind = plan_kinds;

	while (strcmp(kind->type, type))
		kind++;
	if (grouped && kind->alone)
		return error_set(err, ENOTSUP, "Action '%s' does not support"
				 " Transaction property completion-mode ="
				 " grouped", type);
	return kind->fn(plan, json_object_get(action, "data"), err);
}

json_t *cmd_transaction(json_t *args, struct error **err)
{
	json_t *actions = json_object_get(args, "actions");
	bool grouped = !strcmp(arg_string(json_object_get(args, "properties"),
					  "completion-mode", ""), "grouped");
	struct plan plan = { { NULL }, NULL };
	bool ok = true;

	for (size_t i = 0; i < json_array_size(actions) && ok; i++)
		ok = plan_action(&plan, json_array_get(actions, i), grouped,
				 err) == 0;
	return co_plan_end(&plan, ok, NULL, err) < 0 ? NULL : json_object();
}

/* ---- disks, as people name them ---- */

/* The image that a device shows: below filters and windows. */
static struct node *disk_image(struct node *node)
{
	for (;;) {
		struct node *child = node_primary_child(node);
		bool window = child && !node_filtered_child(node) &&
			      !strcmp(node->driver->name, "raw");

		if (!child || (node->driver->kind != DRIVER_FILTER && !window))
			return node;
		node = child;
	}
}

/* "disk.qcow2" and "disk-20260131-120000.qcow2" give "disk". */
static size_t stem_length(const char *name)
{
	static const char time_like[] = "-00000000-000000";
	const char *dot = strrchr(name, '.');
	size_t len = dot && dot > name ? (size_t)(dot - name) : strlen(name);
	size_t tail = sizeof(time_like) - 1;
	const char *end = name + len - tail;

	if (len <= tail)
		return len;
	for (size_t i = 0; i < tail; i++)
		if (time_like[i] == '-' ? end[i] != '-' :
		    end[i] < '0' || end[i] > '9')
			return len;
	return len - tail;
}

/* A file beside the image's, with a name of now. The caller frees it. */
static char *co_new_file_beside(const char *image, struct error **err)
{
	const char *slash = strrchr(image, '/');
	int folder = slash ? (int)(slash + 1 - image) : 0;
	char now[32], more[16] = "", *path;
	time_t seconds = time(NULL);
	struct tm tm;

	strftime(now, sizeof(now), "%Y%m%d-%H%M%S", localtime_r(&seconds, &tm));
	for (unsigned n = 2;; n++) {
		struct error *why = NULL;
		int ret;

		if (asprintf(&path, "%.*s%.*s-%s%s.qcow2", folder, image,
			     (int)stem_length(image + folder), image + folder,
			     now, more) < 0)
			abort();
		ret = co_new_image(path, image, &why);
		if (ret == 0)
			return path;
		free(path);
		if (ret != -EEXIST || n > SNAPSHOT_NAMES) {
			error_propagate(err, &why);
			return NULL;
		}
		error_clear(&why);
		snprintf(more, sizeof(more), "-%u", n);
	}
}

/* Made, empty; or NULL and *err. */
static char *co_snapshot_file(json_t *disk, struct node *image,
			      struct error **err)
{
	const char *format, *base = backing_name_of(image, &format);
	const char *file = arg_string(disk, "file", NULL);
	char *copy;

	if (!file && (!base || !strncmp(base, "/dev/", 5))) {
		error_set(err, EINVAL, "The image of device '%s' is in no file,"
			  " so say where its snapshot goes",
			  arg_string(disk, "id", ""));
		return NULL;
	}
	if (!file)
		return co_new_file_beside(base, err);
	if (co_new_image(file, base, err) < 0)
		return NULL;
	copy = strdup(file);
	if (!copy)
		abort();
	return copy;
}

/* In the same folder the name alone does, and both can move together (B1). */
static const char *short_name(const char *base, const char *file)
{
	const char *slash = base ? strrchr(base, '/') : NULL;
	const char *other = strrchr(file, '/');

	if (!slash || !other || slash - base != other - file ||
	    strncmp(base, file, (size_t)(slash - base)) ||
	    slash[1 + strcspn(slash + 1, ":")])
		return base;
	return slash + 1;
}

static int plan_disk(struct plan *plan, json_t *disk, json_t *done,
		     struct error **err)
{
	struct export *exp = export_by_name(arg_string(disk, "id", ""), err);
	struct new_overlay new = { .format = "qcow2", .made = true };
	const char *format;
	struct node *image;
	int ret = -EINVAL;
	char *file, *id;

	if (!exp)
		return -ENOENT;
	image = disk_image(exp->root->edge.child);
	if (action_snapshot_check(image, err) < 0)
		return -EBUSY;
	id = strdup(exp->id);
	if (!id)
		abort();
	node_get(image, "command");
	new.file = file = co_snapshot_file(disk, image, err);
	if (file) {
		new.backing = short_name(backing_name_of(image, &format), file);
		ret = co_plan_new(plan, image, &new, err);
	}
	if (ret == 0)
		json_array_append_new(done, json_pack("{s:s,s:s,s:o}", "id",
				      id, "node-name", plan->parts->node->name,
				      "file", json_text(file)));
	node_put(image, "command");
	free(file);
	free(id);
	return ret;
}

json_t *cmd_snapshot(json_t *args, struct error **err)
{
	json_t *disks = json_object_get(args, "disks"), *done = json_array();
	struct plan plan = { { NULL }, NULL };
	struct change_stats stats = { 0 };
	bool ok = true;

	for (size_t i = 0; i < json_array_size(disks) && ok; i++)
		ok = plan_disk(&plan, json_array_get(disks, i), done, err) == 0;
	if (ok && !json_array_size(disks)) {
		error_set(err, EINVAL, "Parameter 'disks' names no disk");
		ok = false;
	}
	if (co_plan_end(&plan, ok, &stats, err) < 0) {
		json_decref(done);
		return NULL;
	}
	return with_pause(json_pack("{s:o}", "disks", done), &stats);
}
