/* SPDX-License-Identifier: MIT */
/*
 * commands-throttle.c - the limits of a disk that is in use, in one step: its
 * throttle filter, and the group that has the limits.
 *
 * A group that is made here is held by nobody: it ends with the last node that
 * uses it, as a node that blkgraph-attach opens ends with its export (G1).
 *
 * Main thread, coroutines.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "drivers/filter/throttle/group.h"
#include "graph/action.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "graph/options.h"
#include "graph/reopen.h"
#include "runtime/json.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/object.h"
#include "server/pause.h"

/* What one command knows; all of it is referred to until it ends. */
struct throttling {
	struct export *exp;
	struct node *filter;		/* what the disk has by now; or NULL */
	struct object *group;
	json_t *limits;			/* borrowed: given ones; may be NULL */
	json_t *before;			/* the group's, that were changed */
	struct change_stats stats;
	bool inserted;
	struct throttling *next;
};

/* Under way: of each disk there is one, so no two insert a filter. */
static struct throttling *throttlings;

static struct node *throttle_of_export(const struct export *exp)
{
	struct node *node = exp->root->edge.child;

	while (node && strcmp(node->driver->name, "throttle"))
		node = node->driver->kind == DRIVER_FILTER ?
			node_filtered_child(node) : NULL;
	return node;
}

static char *group_name(const struct node *filter)
{
	json_auto_t *options = node_describe(filter);
	char *name = strdup(arg_string(options, "throttle-group", ""));

	if (!name)
		abort();
	return name;
}

/* Which the disk has for itself, where none is named. */
static char *own_group_name(const struct export *exp)
{
	char *name;

	for (unsigned n = 1;; n++) {
		if ((n == 1 ? asprintf(&name, "throttle-%s", exp->id) :
		     asprintf(&name, "throttle-%s-%u", exp->id, n)) < 0)
			abort();
		if (!object_id_is_taken(name))
			return name;
		free(name);
	}
}

static struct object *group_find(const char *name, struct error **err)
{
	struct object *obj = object_find(name);

	if (obj && obj->type == &object_throttle_group)
		return obj;
	error_set(err, obj ? EINVAL : ENOENT, obj ?
		  "Object '%s' is no throttle group" :
		  "There is no throttle group '%s'", name);
	return NULL;
}

static struct object *group_make(const char *name, json_t *limits,
				 struct error **err)
{
	json_auto_t *options = json_pack("{s:s,s:o}", "qom-type",
					 "throttle-group", "id",
					 json_text(name));
	struct object *obj;

	if (!limits) {
		error_set(err, ENOENT, "There is no throttle group '%s', and "
			  "one is made with its first limit", name);
		return NULL;
	}
	json_object_set(options, "limits", limits);
	obj = object_add(options, err);
	if (obj)
		obj->held = false;
	return obj;
}

static int co_group_set(struct throttling *t, struct error **err)
{
	if (!t->limits)
		return 0;
	t->before = object_bundle(t->group);
	return object_set_bundle(t->group, t->limits, err);
}

/* Of a group that others have limits of, and that was not named, nothing is
 * changed. */
static int group_must_be_own(const struct throttling *t, struct error **err)
{
	const struct throttle_group *group = throttle_group_find(t->group->id);

	/* the object has a reference */
	if (group->refs <= 2)
		return 0;
	return error_set(err, EBUSY, "its limits are those of group '%s', "
			 "which others share: 'group' must name it to change "
			 "them for all", t->group->id);
}

static int co_other_group(struct throttling *t, struct error **err)
{
	json_auto_t *options = json_pack("{s:s}", "throttle-group",
					 t->group->id);
	struct reopen *r = reopen_new(t->filter, err);

	if (!r)
		return -EBUSY;
	if (reopen_set_options(r, options, err) < 0) {
		co_reopen_end(r, false);
		return -EINVAL;
	}
	return graph_reopen(r, &t->stats, err);
}

static int co_insert_throttle(struct throttling *t, struct error **err)
{
	json_auto_t *options = json_pack("{s:s,s:s}", "driver", "throttle",
					 "throttle-group", t->group->id);
	struct node *below = node_get(t->exp->root->edge.child, "command");
	struct error *ignored CLEANUP_ERROR = NULL;
	const struct link_of of = { t->exp->root->name, NULL };
	struct node *filter = graph_insert(below, &of, options,
					   &t->stats, err);

	(void)!co_node_put(below, "command", &ignored);
	if (!filter)
		return -EINVAL;
	t->inserted = true;
	t->filter = node_get(filter, "command");
	node_put(filter, "opener");
	return 0;
}

/* The group that shall be: *own is one that the disk has, or is to get, for
 * itself. */
static int throttle_choose_group(struct throttling *t, const char *name,
				 const char *now, struct error **err)
{
	char *own = name || now ? NULL : own_group_name(t->exp);
	const char *wanted = name ? name : now ? now : own;

	t->group = object_id_is_taken(wanted) ? group_find(wanted, err) :
		group_make(wanted, t->limits, err);
	free(own);
	if (!t->group)
		return -EINVAL;
	object_get(t->group, "command");
	return name || !t->limits ? 0 : group_must_be_own(t, err);
}

static int co_throttle(struct throttling *t, const char *name,
		       struct error **err)
{
	char *now = t->filter ? group_name(t->filter) : NULL;
	int rc = throttle_choose_group(t, name, now, err);
	bool other = rc == 0 && now && strcmp(now, t->group->id);

	free(now);
	if (rc == 0)
		rc = co_group_set(t, err);
	if (rc == 0 && !t->filter)
		rc = co_insert_throttle(t, err);
	else if (rc == 0 && other)
		rc = co_other_group(t, err);
	if (rc < 0 && t->before) {
		struct error *ignored CLEANUP_ERROR = NULL;

		(void)!object_set_bundle(t->group, t->before, &ignored);
	}
	return rc;
}

static bool throttling_begin(struct throttling *t, struct error **err)
{
	for (const struct throttling *o = throttlings; o; o = o->next)
		if (o->exp == t->exp) {
			error_set(err, EBUSY, "The limits of device '%s' are "
				  "being changed already", t->exp->id);
			return false;
		}
	t->next = throttlings;
	throttlings = t;
	export_get(t->exp, "command");
	t->filter = throttle_of_export(t->exp);
	if (t->filter)
		node_get(t->filter, "command");
	return true;
}

static void co_throttling_end(struct throttling *t)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct throttling **at = &throttlings;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	if (t->filter)
		(void)!co_node_put(t->filter, "command", &ignored);
	if (t->group)
		object_put(t->group, "command");
	export_put(t->exp, "command");
	json_decref(t->before);
}

json_t *cmd_throttle(json_t *args, struct error **err)
{
	struct throttling t = {
		.exp = export_by_name(arg_string(args, "id", ""), err),
		.limits = json_object_get(args, "limits"),
	};
	json_t *result = NULL;

	if (!json_object_size(t.limits))
		t.limits = NULL;
	if (!t.exp || !throttling_begin(&t, err))
		return NULL;
	if (co_throttle(&t, arg_string(args, "group", NULL), err) == 0)
		result = with_pause(json_pack("{s:s,s:s,s:b,s:o}",
				    "node-name", t.filter->name,
				    "group", t.group->id,
				    "inserted", t.inserted,
				    "limits", object_bundle(t.group)),
				    &t.stats);
	else
		error_prefix(err, "Could not limit device '%s'", t.exp->id);
	co_throttling_end(&t);
	return result;
}
