/* SPDX-License-Identifier: MIT */
/*
 * map.c - blkgraph map: what a disk consists of, and which image has it.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/column.h"

const struct column map_columns[] = {
	{ "START", COLUMN_NUMBER, true, "start", "first byte of the disk" },
	{ "LENGTH", COLUMN_NUMBER, true, "length", "bytes" },
	{ "DEPTH", COLUMN_NUMBER, true, "depth",
	  "0: the image itself has it, 1: its backing image, ..." },
	{ "WHAT", COLUMN_TEXT, true, "what",
	  "data, packed (compressed), zero, or hole (none has it)" },
	{ "OFFSET", COLUMN_NUMBER, true, "offset", "byte of the file" },
	{ "FILE", COLUMN_TEXT, true, "filename", "the file that has it" },
	{ NULL, COLUMN_TEXT, false, NULL, NULL }
};

static const char *what(const json_t *extent)
{
	if (!get_bool(extent, "present"))
		return "hole";
	if (get_bool(extent, "zero"))
		return "zero";
	return get_bool(extent, "compressed") ? "packed" : "data";
}

/* exp: NULL for a file. */
static json_t *map_call(const struct args *args, json_t *exp)
{
	const char *fmt = args_value(args, "format");
	json_t *call = json_object();

	if (exp) {
		json_object_set(call, "id", json_object_get(exp, "id"));
		return call;
	}
	json_object_set_new(call, "filename",
			    json_file_name(args->operands[0]));
	if (fmt)
		json_object_set_new(call, "format", json_text(fmt));
	return call;
}

/* All pages, one array. */
static json_t *map_extents(json_t *call)
{
	json_t *all = checked(json_array()), *next;

	do {
		json_t *page = client_call("blkgraph-map",
					   json_copy(call), NULL);

		json_array_extend(all, json_object_get(page, "extents"));
		next = json_object_get(page, "next");
		json_object_set(call, "offset", next);
	} while (next);
	return all;
}

/* Of a device: that a file which has an extent is deleted. */
static void mark_deleted(json_t *extents)
{
	json_t *nodes = client_call("query-named-block-nodes",
				    json_pack("{s:b}", "flat", 1), NULL);
	json_t *extent, *node;
	size_t i;

	json_array_foreach(extents, i, extent) {
		const char *file = get_string(extent, "filename");

		node = *file ? find_by(nodes, "file", file) : NULL;
		if (node)
			json_object_set_new(extent, "filename", json_text(
				format("%s%s", file,
				       deleted_mark(nodes, node))));
	}
}

int verb_map(const struct args *args)
{
	struct table table = { .columns = map_columns, .headings = true };
	json_t *exp = operand_export(args);
	json_t *extents, *extent;
	size_t i;

	table_choose(&table, NULL);
	client_connect(CONNECT_OR_OWN);
	extents = map_extents(map_call(args, exp));
	if (args_given(args, "json")) {
		print_json(extents);
		return EXIT_DONE;
	}
	json_array_foreach(extents, i, extent)
		json_object_set_new(extent, "what", json_string(what(extent)));
	if (exp)
		mark_deleted(extents);
	table_print(&table, extents);
	return EXIT_DONE;
}
