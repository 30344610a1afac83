/* SPDX-License-Identifier: MIT */
/*
 * stats.c - blkgraph stats: what devices have done, one a line.
 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/column.h"

const struct column stats_columns[] = {
	{ "NAME", COLUMN_TEXT, true, "id", "name of the device" },
	{ "DEVICE", COLUMN_TEXT, false, "device", "the block device" },
	{ "READS", COLUMN_NUMBER, true, "stats.rd_operations",
	  "reads that were done" },
	{ "READ", COLUMN_SIZE, true, "stats.rd_bytes", "bytes read" },
	{ "READ-LAT", COLUMN_TIME, true, "stats.rd_mean_ns",
	  "a read's mean time" },
	{ "WRITES", COLUMN_NUMBER, true, "stats.wr_operations",
	  "writes that were done, zeroing too" },
	{ "WRITTEN", COLUMN_SIZE, true, "stats.wr_bytes", "bytes written" },
	{ "WRITE-LAT", COLUMN_TIME, true, "stats.wr_mean_ns",
	  "a write's mean time" },
	{ "FLUSHES", COLUMN_NUMBER, true, "stats.flush_operations",
	  "flushes that were done" },
	{ "FLUSH-LAT", COLUMN_TIME, false, "stats.flush_mean_ns",
	  "a flush's mean time" },
	{ "DISCARDS", COLUMN_NUMBER, false, "stats.unmap_operations",
	  "discards that were done" },
	{ "DISCARDED", COLUMN_SIZE, false, "stats.unmap_bytes",
	  "bytes discarded" },
	{ "FAILED", COLUMN_NUMBER, true, "stats.failed",
	  "requests that were not done" },
	{ "FAILING", COLUMN_NUMBER, false, "held.count",
	  "requests that failed and are held" },
	{ "PAUSES", COLUMN_NUMBER, false, "drains.count",
	  "how often a change held its I/O" },
	{ "PAUSE", COLUMN_TIME, false, "drains.last-ns", "the last time" },
	{ "PAUSE-P99", COLUMN_TIME, false, "drains.p99-ns",
	  "99 of 100 were no longer" },
	{ "PAUSE-MAX", COLUMN_TIME, false, "drains.max-ns", "the longest" },
	{ "HELD", COLUMN_NUMBER, false, "drains.in-flight",
	  "requests in flight when they began" },
	{ "FORMAT", COLUMN_TEXT, false, "format", "format of the image" },
	{ "FILE", COLUMN_TEXT, false, "file", "the image file" },
	{ NULL, COLUMN_TEXT, false, NULL, NULL }
};

/* Of --pauses: a line for each kind of change that a device has seen. */
static const struct column pause_columns[] = {
	{ "NAME", COLUMN_TEXT, true, "id", "" },
	{ "CHANGE", COLUMN_TEXT, true, "change", "" },
	{ "COUNT", COLUMN_NUMBER, true, "count", "" },
	{ "P50", COLUMN_TIME, true, "p50-ns", "" },
	{ "P99", COLUMN_TIME, true, "p99-ns", "" },
	{ "MAX", COLUMN_TIME, true, "max-ns", "" },
	{ NULL, COLUMN_TEXT, false, NULL, NULL }
};

static json_t *pauses_of(json_t *exports)
{
	json_t *rows = checked(json_array()), *exp, *change;
	size_t i, k;

	json_array_foreach(exports, i, exp)
		json_array_foreach(json_object_get(json_object_get(
				   exp, "drains"), "changes"), k, change) {
			json_object_set(change, "id",
					json_object_get(exp, "id"));
			json_array_append(rows, change);
		}
	return rows;
}

static void add_mean(json_t *stats, const char *op)
{
	uint64_t count = get_uint(stats, format("%s_operations", op));
	uint64_t ns = get_uint(stats, format("%s_total_time_ns", op));

	json_object_set_new(stats, format("%s_mean_ns", op), count ?
			    json_integer((json_int_t)(ns / count)) :
			    json_null());
}

static void add_members(json_t *stats)
{
	static const char *const ops[] = { "rd", "wr", "flush", "unmap" };
	uint64_t failed = 0;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		add_mean(stats, ops[i]);
		failed += get_uint(stats, format("failed_%s_operations",
						 ops[i]));
	}
	json_object_set_new(stats, "failed",
			    json_integer((json_int_t)failed));
}

static json_t *one_of(json_t *exports, const char *name)
{
	json_t *exp = find_export(exports, device_name(name));

	if (!exp)
		die(EXIT_NOT_FOUND, "there is no device '%s'", name);
	return json_pack("[O]", exp);
}

int verb_stats(const struct args *args)
{
	bool pauses = args_given(args, "pauses");
	json_t *rows, *nodes, *row;
	struct table table;
	size_t i;

	table_begin(&table, pauses ? pause_columns : stats_columns, args);
	if (!client_connect(args->count ? CONNECT_ONLY : CONNECT_IF_THERE)) {
		table_show(&table, args, pauses ? "pauses" : "exports", NULL);
		return EXIT_DONE;
	}
	rows = client_call("query-block-exports", NULL, NULL);
	if (args->count)
		rows = one_of(rows, args->operands[0]);
	if (pauses) {
		table_show(&table, args, "pauses", pauses_of(rows));
		return EXIT_DONE;
	}
	nodes = client_call("query-named-block-nodes",
			    json_pack("{s:b}", "flat", 1), NULL);
	json_array_foreach(rows, i, row) {
		add_members(json_object_get(row, "stats"));
		add_image(row, nodes);
	}
	table_show(&table, args, "exports", rows);
	return EXIT_DONE;
}
