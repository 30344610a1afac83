/* SPDX-License-Identifier: MIT */
/*
 * commands-export.c - commands about exports. Main thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "graph/census.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "graph/hold.h"
#include "runtime/json.h"
#include "runtime/wait.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/gone.h"
#include "server/io-errors.h"
#include "server/leave.h"
#include "server/log.h"
#include "server/monitor.h"
#include "server/object.h"
#include "server/reports.h"
#include "server/lacks.h"

/* Without the folder of links. */
static const char *export_plain_name(const char *name)
{
	static const char links[] = "/dev/blkgraph/";

	return !strncmp(name, links, strlen(links)) ? name + strlen(links) :
						      name;
}

struct export *export_by_name(const char *name, struct error **err)
{
	struct export *exp = export_find(export_plain_name(name));

	if (exp)
		return exp;
	/* one without a block device has an empty path */
	while (*name && (exp = export_next(exp)) != NULL)
		if (!strcmp(exp->device, name))
			return exp;
	error_set(err, ENOENT, "Export '%s' is not found%s", name,
		  gone_is_known(export_plain_name(name)) ?
		  ": another program has taken it away" : "");
	return NULL;
}

/* The upper bound of the power of two that so many of 100 drains stay below. */
static uint64_t drain_percentile(const struct drain_stats *drains,
				 unsigned percent)
{
	uint64_t below = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(drains->histogram) - 1; i++) {
		below += drains->histogram[i];
		if (drains->count && below * 100 >= drains->count * percent)
			return min(2ull << i, drains->max_ns);
	}
	return drains->max_ns;
}

/* By power of two; those that none was in are left out. */
static json_t *drain_histogram(const struct drain_stats *drains)
{
	json_t *list = json_array();

	/* the last would not fit into the protocol's numbers */
	for (unsigned i = 0; i < ARRAY_SIZE(drains->histogram) - 2; i++) {
		if (!drains->histogram[i])
			continue;
		json_array_append_new(list, json_pack("{s:I,s:I}",
			"below-ns", (json_int_t)(UINT64_C(2) << i),
			"count", (json_int_t)drains->histogram[i]));
	}
	return list;
}

/* One for each kind of change that there was. */
static json_t *drains_by_kind(const struct root *root)
{
	static const char *const names[DRAIN_KINDS] = {
		"other", "snapshot", "insert", "remove", "reopen", "replace",
		"resize", "several",
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < DRAIN_KINDS; i++) {
		const struct drain_stats *d = &root->drains_by[i];

		if (d->count)
			json_array_append_new(list, json_pack(
				"{s:s,s:I,s:I,s:I,s:I,s:o}", "change", names[i],
				"count", (json_int_t)d->count,
				"p50-ns", (json_int_t)drain_percentile(d, 50),
				"p99-ns", (json_int_t)drain_percentile(d, 99),
				"max-ns", (json_int_t)d->max_ns,
				"histogram", drain_histogram(d)));
	}
	return list;
}

static json_t *export_drains(const struct root *root)
{
	const struct drain_stats *drains = &root->drains;

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:o}",
			 "count", (json_int_t)drains->count,
			 "last-ns", (json_int_t)drains->last_ns,
			 "max-ns", (json_int_t)drains->max_ns,
			 "p99-ns", (json_int_t)drain_percentile(drains, 99),
			 "in-flight", (json_int_t)drains->total_in_flight,
			 "histogram", drain_histogram(drains),
			 "changes", drains_by_kind(root));
}

/* Of the image's file, however its name reads today. What is written to a
 * temporary disk is in no file that anybody could mean. */
static void add_identity(json_t *shown, struct node *node)
{
	char dev[32];

	if (node->temporary) {
		node = node_skip_filters(node);
		node = node_cow_child(node) ? node_cow_child(node) : node;
		json_object_set_new(shown, "temporary", json_true());
	}
	if (!node->dev)
		return;
	snprintf(dev, sizeof(dev), "%u:%u", major(node->dev),
		 minor(node->dev));
	json_object_set_new(shown, "back-dev", json_string(dev));
	json_object_set_new(shown, "back-ino",
			    json_integer((json_int_t)node->ino));
}

static void add_age(json_t *shown, const char *name, uint64_t since_ns)
{
	uint64_t now = clock_ns();

	if (since_ns)
		json_object_set_new(shown, name, json_integer((json_int_t)
					(now > since_ns ? now - since_ns : 0)));
}

/* Who is in the gates just now; nothing where a thread does not say. */
static void co_add_census(json_t *shown, struct root *root)
{
	struct census c;
	json_t *requests;

	if (!co_root_census(root, &c))
		return;
	requests = json_pack("{s:I,s:I,s:I}",
			     "in-flight", (json_int_t)c.in_flight,
			     "waiting", (json_int_t)c.waiting,
			     "queued", (json_int_t)c.queued);
	add_age(requests, "oldest-ns", c.oldest_ns);
	if (*c.oldest_at)
		json_object_set_new(requests, "oldest-node",
				    json_string(c.oldest_at));
	add_age(requests, "waiting-ns", c.longest_ns);
	if (*c.longest_at)
		json_object_set_new(requests, "waiting-node",
				    json_string(c.longest_at));
	add_age(requests, "closed-ns", c.closed_ns);
	json_object_set_new(shown, "requests", requests);
}

/* What becomes of its writes that fail, and what is held of them just now. */
static void add_holds(json_t *shown, const struct export *exp)
{
	struct holds held;

	json_object_set_new(shown, "on-no-space",
			    json_string(exp->holds.no_space ? "hold" :
							      "report"));
	json_object_set_new(shown, "on-error",
			    json_string(exp->holds.errors ? "hold" :
							    "report"));
	json_object_set_new(shown, "hold-time",
			    json_integer((json_int_t)(exp->holds.longest_ns /
						      SECONDS(1))));
	root_holds(exp->root, &held);
	if (!held.count)
		return;
	json_object_set_new(shown, "held", json_pack("{s:I,s:I,s:s,s:b}",
		"count", (json_int_t)held.count,
		"since-ns", (json_int_t)(clock_ns() - held.since_ns),
		"reason", strerror(held.error),
		"nospace", held.error == ENOSPC || held.error == EDQUOT));
}

json_t *export_describe(struct export *exp)
{
	struct root_counts counts = { 0 };
	json_t *shown = json_pack("{s:s,s:s,s:b,s:b,s:b}", "id", exp->id,
				  "type", exp->type->name,
				  "shutting-down",
				  exp->life == EXPORT_STOPPING,
				  "writable", exp->writable,
				  "stuck", exp->life == EXPORT_STUCK ||
				  exp->root->stuck);
	struct node *node = exp->root->edge.child;
	const char *warning = node_chain_warning(node);

	json_object_set_new(shown, "node-name", json_string(node->name));
	json_object_set_new(shown, "size",
			    json_integer((json_int_t)node->size));
	if (warning)
		json_object_set_new(shown, "warning", json_text(warning));
	json_object_set_new(shown, "drains",
			    export_drains(exp->root));
	root_count(exp->root, &counts);
	json_object_set_new(shown, "stats", counts_describe(&counts));
	json_object_set_new(shown, "errors", json_integer((json_int_t)
					root_failures_count(exp->root)));
	add_identity(shown, node);
	if (exp->root->stuck)
		json_object_set_new(shown, "stuck-in",
				    json_string(exp->root->stuck));
	add_holds(shown, exp);
	co_add_census(shown, exp->root);
	if (exp->type->query)
		exp->type->query(exp, shown);
	return shown;
}

json_t *cmd_query_block_exports(json_t *args, struct error **err)
{
	struct export **all = export_get_all("query");
	json_t *list = json_array();

	(void)args;
	(void)err;
	for (unsigned i = 0; all[i]; i++)
		if (export_is_found(all[i]))
			json_array_append_new(list, export_describe(all[i]));
	export_put_all(all, "query");
	gone_list(list);
	return list;
}

json_t *cmd_users(json_t *args, struct error **err)
{
	struct export *exp = export_by_name(arg_string(args, "id", ""), err);
	struct error *users CLEANUP_ERROR = NULL;
	json_t *shown;
	int rc = 0;

	if (!exp)
		return NULL;
	export_get(exp, "users");
	/* who stops it has it open */
	if (exp->life == EXPORT_RUNNING && exp->type->check_idle)
		rc = exp->type->check_idle(exp, false, &users);
	export_put(exp, "users");
	shown = json_pack("{s:b}", "in-use", rc == -EBUSY);
	if (users)
		json_object_set_new(shown, "users", json_text(users->text));
	return shown;
}

json_t *cmd_resume(json_t *args, struct error **err)
{
	struct export *exp = export_by_name(arg_string(args, "id", ""), err);
	struct holds held;

	if (!exp)
		return NULL;
	export_get(exp, "command");
	root_holds(exp->root, &held);
	if (arg_bool(args, "fail", false)) {
		co_root_hurry(exp->root);
		co_root_linger(exp->root);
	} else {
		co_root_resume(exp->root);
	}
	export_put(exp, "command");
	return json_pack("{s:I}", "held", (json_int_t)held.count);
}

static int check_iothread(json_t *name, struct error **err)
{
	const char *id = json_string_value(name);
	const struct object *obj = object_find(id);

	if (!obj || obj->type != &object_iothread)
		return error_set(err, ENOENT, "iothread \"%s\" not found", id);
	return 0;
}

/* One thread's id, or several: they must be there, and have no effect. */
static int take_iothreads(json_t *args, struct error **err)
{
	json_t *value = json_object_get(args, "iothread");
	size_t i;
	int rc = 0;

	if (json_is_array(value))
		for (i = 0; rc == 0 && i < json_array_size(value); i++)
			rc = check_iothread(json_array_get(value, i), err);
	else if (value)
		rc = check_iothread(value, err);
	json_object_del(args, "iothread");
	json_object_del(args, "fixed-iothread");
	return rc;
}

/* No image has any that could be shown. */
static int take_bitmaps(json_t *args, struct error **err)
{
	json_t *first = json_array_get(json_object_get(args, "bitmaps"), 0);
	const char *name = json_string_value(json_is_object(first) ?
					     json_object_get(first, "name") :
					     first);

	if (first)
		return error_set(err, ENOENT, "Bitmap '%s' is not found",
				 name ? name : "");
	json_object_del(args, "bitmaps");
	return 0;
}

json_t *cmd_block_export_add(json_t *args, struct error **err)
{
	json_auto_t *own = json_copy(args);
	const char *id = arg_string(args, "id", "");
	uint64_t settled = co_gone_settle(id);
	struct export *exp = NULL;

	if (take_iothreads(own, err) == 0 && take_bitmaps(own, err) == 0)
		exp = export_add(own, err);
	if (exp)
		gone_replaced(id, settled);
	/* what has no effect here was given too */
	if (exp)
		json_object_update_missing(exp->given, args);
	if (exp && exp->type->check_idle)
		lacks_tell();
	return exp ? json_object() : NULL;
}

json_t *cmd_block_export_del(json_t *args, struct error **err)
{
	const char *name = arg_string(args, "id", "");
	struct error *unknown CLEANUP_ERROR = NULL;
	struct export *exp = export_by_name(name, &unknown);
	bool hard = !strcmp(arg_string(args, "mode", "safe"), "hard");
	struct error *loss CLEANUP_ERROR = NULL;

	if (!exp || gone_is_ending(exp->id)) {
		if (co_gone_forget(export_plain_name(name)))
			return json_object();
		/* it could not be let go, and that took time */
		error_clear(&unknown);
		exp = export_by_name(name, &unknown);
	}
	if (unknown)
		error_propagate(err, &unknown);
	if (!exp || co_export_end(exp, hard, &loss, err) < 0)
		return NULL;
	if (!loss)
		return json_object();
	error_propagate(err, &loss);
	return NULL;
}

static void export_gone(const char *id)
{
	/* which goes on being shown */
	if (gone_is_ending(id))
		return;
	monitor_event("BLOCK_EXPORT_DELETED", json_pack("{s:s}", "id", id));
}

static void node_close_failed(const struct node *node,
			      const struct error *err)
{
	log_write(LOG_ERROR, "%s", err->text);
	leave_note_loss();
	monitor_event("BLKGRAPH_NODE_CLOSE_FAILED",
		      json_pack("{s:s,s:o}", "node-name", node->name,
				"error", json_text(err->text)));
}

void graph_events_start(void)
{
	static const struct export_listener listener = {
		.gone = export_gone,
		.failed = io_errors_note,
		.lost = gone_suspect,
	};

	export_set_listener(&listener);
	node_set_close_listener(node_close_failed);
	reports_start();
}
