/* SPDX-License-Identifier: MIT */
/*
 * restore.c - a second process for tests of the state log: makes the graph of a
 * log again, without devices, and prints what the queries of the daemon that
 * wrote it would show.
 *
 *	restore LOG
 *
 * Exports over NBD are shown, for they need no device; of the others stands
 * what they were given. {"lost": [...], "exports": {ID: options},
 * "nbd-server": args, "state": as a log of this process would have it, and by
 * name of each query what it gives}
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/fuse.h"
#include "graph/driver.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "kernel-nbd/kernel-nbd.h"
#include "nbd/nbd.h"
#include "runtime/json.h"
#include "runtime/thread.h"
#include "runtime/wait.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/deadline.h"
#include "server/object.h"
#include "server/schema.h"
#include "server/snapshot.h"
#include "server/statelog.h"
#include "ublk/ublk.h"

#define OPEN_DEADLINE_S 60

static const char *log_path;
static int status = EXIT_FAILURE;

static void late(const struct error *news)
{
	fprintf(stderr, "restore: %s\n", news->text);
}

/* Takes over args. */
static json_t *call(const char *name, json_t *args)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_t *result = command_find(command_table, name)->run(args, &err);

	json_decref(args);
	if (!result)
		fprintf(stderr, "restore: %s: %s\n", name, err->text);
	return result ? result : json_null();
}

static json_t *objects(void)
{
	json_t *shown = json_object();

	for (struct object *o = object_first(); o; o = o->next) {
		json_t *properties = json_object();

		for (const struct option *p = o->type->options; p && p->name;
		     p++)
			if (!p->secret)
				json_object_set_new(properties, p->name, call(
					"qom-get", json_pack("{s:s,s:s}",
						"path", o->id, "property",
						p->name)));
		json_object_set_new(properties, "type",
				    json_string(o->type->name));
		json_object_set_new(shown, o->id, properties);
	}
	return shown;
}

static void show(struct snapshot *got)
{
	const char *id;
	json_t *out, *options;
	char *text;

	if (got->nbd_server)
		json_decref(call("nbd-server-start",
				 json_incref(got->nbd_server)));
	json_object_foreach(got->exports, id, options)
		if (!strcmp(arg_string(options, "type", ""), "nbd"))
			json_decref(call("block-export-add",
					 json_incref(options)));
	out = json_pack("{s:O,s:O,s:O*,s:o,s:o,s:o,s:o,s:o}",
			"lost", got->lost, "exports", got->exports,
			"nbd-server", got->nbd_server,
			"query-named-block-nodes",
			call("query-named-block-nodes", json_pack("{s:b}",
			     "flat", 1)),
			"x-debug-query-block-graph",
			call("x-debug-query-block-graph", json_object()),
			"query-block-exports",
			call("query-block-exports", json_object()),
			"objects", objects(),
			"state", snapshot_take());
	text = json_write(out, JSON_INDENT(1) | JSON_SORT_KEYS);
	fputs(text, stdout);
	free(text);
	json_decref(out);
}

static void run(void *arg)
{
	struct statelog *log = statelog_new(log_path);
	struct error *err CLEANUP_ERROR = NULL;
	struct statelog_past past;
	struct snapshot got;

	(void)arg;
	graph_start(0);
	deadline_start(OPEN_DEADLINE_S, late);
	if (co_statelog_load(log, &past, &err) < 0) {
		fprintf(stderr, "restore: %s\n", err->text);
	} else {
		co_snapshot_restore(past.state, &got);
		show(&got);
		co_snapshot_release(&got);
		if (co_nbd_leave(SECONDS(10), &err) < 0)
			fprintf(stderr, "restore: %s\n", err->text);
		for (struct node *n = node_next(NULL); n;) {
			struct error *ignored CLEANUP_ERROR = NULL;

			/* from the top; then the list is another */
			if (n->held && !n->parents) {
				(void)!node_del(n->name, &ignored);
				n = node_next(NULL);
			} else {
				n = node_next(n);
			}
		}
		while (node_each(NULL))
			co_sleep(SECONDS(1) / 1000);
		json_decref(past.state);
		status = EXIT_SUCCESS;
		/* what nobody holds ends with the last node that used it */
		for (const struct object *o = object_first(); o; o = o->next)
			if (!o->held) {
				fprintf(stderr, "restore: object '%s' is "
					"left\n", o->id);
				status = EXIT_FAILURE;
			}
	}
	co_statelog_close(log, false);
	statelog_free(log);
	object_del_all();
	graph_stop();
	runtime_quit();
}

int main(int argc, char **argv)
{
	struct runtime_options options = { .io_threads = 1 };
	struct error *err = NULL;

	if (argc != 2)
		return 2;
	log_path = argv[1];
	driver_register_all();
	ublk_register();
	nbd_register();
	fuse_register("/nonexistent");
	kernel_nbd_register();
	schema_start();
	if (runtime_start(&options, NULL, &err) < 0) {
		fprintf(stderr, "restore: %s\n", err->text);
		return EXIT_FAILURE;
	}
	runtime_run(run, NULL);
	runtime_stop();
	return status;
}
