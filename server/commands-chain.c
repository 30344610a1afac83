/* SPDX-License-Identifier: MIT */
/*
 * commands-chain.c - which node is where (C2), and which image the header of
 * another names (C7, B2).
 *
 * Main thread.
 */
#include <errno.h>
#include <string.h>

#include "graph/action.h"
#include "graph/backing.h"
#include "graph/export.h"
#include "graph/reopen.h"
#include "graph/replace.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/pause.h"

/* An export's node, or one by its name. */
static struct node *find_device(const char *name, struct error **err)
{
	struct export *exp = export_find(name);
	struct node *node = node_find(name);

	if (exp && exp->root)
		return exp->root->edge.child;
	if (!node)
		error_set(err, ENOENT, "Cannot find device='%s' nor"
			  " node-name='%s'", name, name);
	return node;
}

/* ---- blockdev-replace ---- */

int find_parent_place(const char *name, struct place *place,
		      struct export **exp, struct error **err)
{
	place->parent = node_find(name);
	*exp = export_find(name);
	if (place->parent && *exp)
		return error_set(err, EINVAL, "'%s' is a node and an export:"
				 " name another", name);
	if (!place->parent && !*exp)
		return error_set(err, ENOENT, "There is no node and no export"
				 " '%s'", name);
	if (*exp && !(*exp)->root)
		return error_set(err, EBUSY, "Export '%s' is being opened or"
				 " closed", name);
	place->root = *exp ? (*exp)->root : NULL;
	return 0;
}

struct node *find_replacement(json_t *args, struct place *place,
			      struct export **exp, struct error **err)
{
	place->child = arg_string(args, "child", "");
	if (find_parent_place(arg_string(args, "parent", ""), place, exp,
			      err) < 0)
		return NULL;
	return node_by_name(arg_string(args, "new-child", ""), err);
}

json_t *cmd_blockdev_replace(json_t *args, struct error **err)
{
	struct change_stats stats;
	struct place place;
	struct export *exp;
	struct node *to = find_replacement(args, &place, &exp, err);
	int ret;

	if (!to)
		return NULL;
	node_get(to, "command");
	if (exp)
		export_get(exp, "command");
	else
		node_get(place.parent, "command");
	ret = graph_replace(&place, to, &stats, err);
	if (exp)
		export_put(exp, "command");
	else
		node_put(place.parent, "command");
	node_put(to, "command");
	return ret < 0 ? NULL : with_pause(json_object(), &stats);
}

/* ---- x-blockdev-change ---- */

/* One comes, or one goes. */
static struct action *child_change(json_t *args, struct node *parent,
				   struct error **err)
{
	const char *child = arg_string(args, "child", NULL);
	const char *name = arg_string(args, "node", NULL);
	struct node *node;

	if (!child == !name) {
		error_set(err, EINVAL, child ?
			  "The parameters child and node are in conflict" :
			  "Either child or node must be specified");
		return NULL;
	}
	if (child)
		return action_del_child(parent, child);
	node = node_find(name);
	if (!node) {
		error_set(err, ENOENT, "Node '%s' not found", name);
		return NULL;
	}
	return action_add_child(parent, node);
}

json_t *cmd_x_blockdev_change(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "parent", "");
	struct node *parent = node_find(name);
	struct actions all = { NULL };
	struct change_stats stats;
	struct action *action;

	if (!parent)
		parent = find_device(name, err);
	if (!parent)
		return NULL;
	action = child_change(args, parent, err);
	if (!action)
		return NULL;
	if (co_action_add(&all, action, err) < 0) {
		co_actions_give_up(&all);
		return NULL;
	}
	return co_actions_commit(&all, &stats, err) == 0 ? json_object() : NULL;
}

/* ---- change-backing-file ---- */

/* An image of the chain, which another is below. */
static struct node *find_overlay(json_t *args, struct error **err)
{
	const char *device = arg_string(args, "device", "");
	const char *name = arg_string(args, "image-node-name", "");
	struct node *top = find_device(device, err), *image;

	if (!top)
		return NULL;
	image = node_find(name);
	if (!image) {
		error_set(err, ENOENT, "Cannot find device='' nor"
			  " node-name='%s'", name);
		return NULL;
	}
	if (!node_cow_child(image)) {
		error_set(err, EINVAL, "not allowing backing file change on an"
			  " image without a backing file");
		return NULL;
	}
	for (top = node_skip_filters(top); top; top = node_backing_next(top))
		if (top == image)
			return image;
	error_set(err, EINVAL, "'%s' and image file are not in the same chain",
		  device);
	return NULL;
}

/* What the file that is named would be opened as, were it this one (B2). */
static const char *format_below(struct node *image)
{
	const struct driver *driver = node_backing_next(image)->driver;

	return driver->kind == DRIVER_PROTOCOL ? "raw" : driver->name;
}

/* It and where it lies become writable, or what was lowered before. The nodes
 * that changed are put into `raised`, a reference to each. */
#define RAISED_MAX 16
struct raised {
	struct node *list[RAISED_MAX];
	unsigned count;
};

static int raise_image(struct node *image, struct raised *raised,
		       struct error **err)
{
	struct reopen *list = NULL, *r;

	for (; image; image = node_primary_child(image)) {
		if (!image->read_only)
			continue;
		if (raised->count == RAISED_MAX) {
			error_set(err, E2BIG, "Node '%s' lies too deep below"
				  " filters to be written for a moment",
				  image->name);
			break;
		}
		r = reopen_new(image, err);
		if (!r)
			break;
		r->read_only = false;
		r->next = list;
		list = r;
		raised->list[raised->count++] = node_get(image, "command");
	}
	if (*err)
		co_reopen_end(list, false);
	else if (list)
		return graph_reopen(list, NULL, err);
	return *err ? -EBUSY : 0;
}

/* What cannot be lowered now stays writable: nobody asks it to write. */
static void lower_image(struct raised *raised, bool done)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct reopen *list = NULL, *r;

	for (unsigned i = 0; done && i < raised->count; i++) {
		r = reopen_new(raised->list[i], &ignored);
		error_clear(&ignored);
		if (!r)
			continue;
		r->read_only = true;
		r->next = list;
		list = r;
	}
	if (list)
		(void)!graph_reopen(list, NULL, &ignored);
	while (raised->count)
		node_put(raised->list[--raised->count], "command");
}

json_t *cmd_change_backing_file(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "backing-file", "");
	struct node *image = find_overlay(args, err);
	struct raised raised = { .count = 0 };
	int ret;

	if (!image)
		return NULL;
	node_get(image, "command");
	ret = raise_image(image, &raised, err);
	if (ret == 0) {
		bool empty = !*name;

		ret = node_cow_child(image) ?
			co_backing_rename(image, empty ? NULL : name,
					  empty ? NULL : format_below(image),
					  err) :
			error_set(err, EBUSY, "Node '%s' has lost its backing"
				  " image meanwhile", image->name);
		lower_image(&raised, true);
	} else {
		lower_image(&raised, false);
	}
	if (ret < 0)
		error_prefix(err, "Could not change backing file to '%s'",
			     name);
	node_put(image, "command");
	return ret < 0 ? NULL : json_object();
}
