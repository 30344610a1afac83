/* SPDX-License-Identifier: MIT */
/*
 * list.c - blkgraph list: the devices, one a line.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/column.h"

const struct column list_columns[] = {
	{ "DEVICE", COLUMN_TEXT, true, "device", "the block device" },
	{ "NAME", COLUMN_TEXT, true, "id", "name, as in /dev/blkgraph/NAME" },
	{ "SIZE", COLUMN_SIZE, true, "size", "size of the device" },
	{ "RO", COLUMN_BOOL, true, "read-only", "nobody can write to it" },
	{ "VIA", COLUMN_TEXT, true, "type",
	  "how it is shown: ublk, kernel-nbd, fuse, nbd" },
	{ "FORMAT", COLUMN_TEXT, true, "format", "format of the image" },
	{ "ERRORS", COLUMN_NUMBER, true, "errors", "requests that failed" },
	{ "FILE", COLUMN_TEXT, true, "file", "the image file" },
	{ "NODE", COLUMN_TEXT, false, "node-name", "the node that it shows" },
	{ "BACK-DEV", COLUMN_TEXT, false, "back-dev",
	  "device that the image's file is on, as 8:1" },
	{ "BACK-INO", COLUMN_NUMBER, false, "back-ino",
	  "inode of the image's file" },
	{ "MOUNTPOINT", COLUMN_TEXT, false, "mountpoint",
	  "the file that shows it, via fuse" },
	{ "QUEUES", COLUMN_NUMBER, false, "queues", "hardware queues" },
	{ "DEPTH", COLUMN_NUMBER, false, "depth", "requests per queue" },
	{ "BLOCK", COLUMN_SIZE, false, "logical-block-size",
	  "logical block size" },
	{ "ZC", COLUMN_BOOL, false, "zero-copy", "zero copy is in use" },
	{ "ZC-WHY", COLUMN_TEXT, false, "zero-copy-reason",
	  "why zero copy is not in use" },
	{ "FEATURES", COLUMN_TEXT, false, "features",
	  "ublk flags of the device" },
	{ "DRAINS", COLUMN_NUMBER, false, "drains.count",
	  "how often I/O was held for a change" },
	{ "DRAIN-MAX", COLUMN_TIME, false, "drains.max-ns", "longest hold" },
	{ "DRAIN-P99", COLUMN_TIME, false, "drains.p99-ns",
	  "99 of 100 holds were shorter" },
	{ "ON-NO-SPACE", COLUMN_TEXT, false, "on-no-space",
	  "what becomes of writes that find none: hold, report" },
	{ "ON-ERROR", COLUMN_TEXT, false, "on-error",
	  "what becomes of writes that fail otherwise" },
	{ "HOLD-TIME", COLUMN_NUMBER, false, "hold-time",
	  "seconds that they are held at most, 0: for ever" },
	{ "FAILING", COLUMN_NUMBER, false, "held.count",
	  "requests that failed and are held" },
	{ "STATE", COLUMN_TEXT, false, "state",
	  "running, held, stuck in the kernel, or gone: taken away" },
	{ NULL, COLUMN_TEXT, false, NULL, NULL }
};

/* What the table shows and the export does not know itself. */
static void add_node_members(json_t *row, json_t *nodes)
{
	bool gone = get_bool(row, "gone");

	json_object_set_new(row, "state", json_string(gone ? "gone" :
		get_bool(row, "stuck") ? "stuck" :
		json_object_get(row, "held") ? "held" : "running"));
	json_object_set_new(row, "read-only",
			    json_boolean(!get_bool(row, "writable")));
	/* of what is gone the daemon has noted what it was */
	if (!gone)
		add_image(row, nodes);
}

/* What an operand names. */
static void add_rows(json_t *rows, json_t *all, const char *name)
{
	json_t *named = operand_exports(all, name), *exp;
	size_t i;

	if (!named)
		die(EXIT_NOT_FOUND, "there is no file or device '%s'", name);
	json_array_foreach(named, i, exp)
		if (!find_by(rows, "id", get_string(exp, "id")))
			json_array_append(rows, exp);
}

/* For people; programs ask for the state. */
static void mark_states(json_t *rows)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		const char *state = get_string(row, "state");

		if ((!strcmp(state, "gone") || !strcmp(state, "held")) &&
		    *get_string(row, "device"))
			json_object_set_new(row, "device", json_sprintf(
				"%s (%s)", get_string(row, "device"), state));
	}
}

int verb_list(const struct args *args)
{
	struct table table;
	json_t *rows, *all, *nodes, *row;
	size_t i;

	table_begin(&table, list_columns, args);
	if (!client_connect(args->count ? CONNECT_ONLY : CONNECT_IF_THERE)) {
		table_show(&table, args, "exports", NULL);
		return EXIT_DONE;
	}
	all = client_call("query-block-exports", NULL, NULL);
	rows = args->count ? json_array() : all;
	for (int n = 0; n < args->count; n++)
		add_rows(rows, all, args->operands[n]);
	nodes = client_call("query-named-block-nodes",
			    json_pack("{s:b}", "flat", 1), NULL);
	json_array_foreach(rows, i, row)
		add_node_members(row, nodes);
	if (!args_given(args, "json") && !args_given(args, "noheadings"))
		mark_states(rows);
	table_show(&table, args, "exports", rows);
	return EXIT_DONE;
}
