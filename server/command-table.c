/* SPDX-License-Identifier: MIT */
/*
 * command-table.c - every control command, and what it takes (A21).
 *
 * Documentation/protocol.md says what each means; tests/blackbox compares the
 * two lists.
 */
#include "server/command.h"
#include "server/commands.h"

static const struct argument args_capabilities[] = {
	{ "enable", ARG_ARRAY, false, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_node_name[] = {
	{ "node-name", ARG_STRING, true, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_flat[] = {
	{ "flat", ARG_BOOL, false, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_export_add[] = {
	{ "type", ARG_STRING, true, NULL },
	{ "id", ARG_STRING, true, NULL },
	{ "node-name", ARG_STRING, true, NULL },
	{ "writable", ARG_BOOL, false, NULL },
	{ NULL, 0, false, NULL }
};

static const char *const stop_modes[] = { "safe", "hard", NULL };

static const struct argument args_export_del[] = {
	{ "id", ARG_STRING, true, NULL },
	{ "mode", ARG_STRING, false, stop_modes },
	{ NULL, 0, false, NULL }
};

static const char *const cache_modes[] = { "none", "writeback", NULL };

static const struct argument args_attach[] = {
	{ "filename", ARG_STRING, true, NULL },
	{ "id", ARG_STRING, false, NULL },
	{ "format", ARG_STRING, false, NULL },
	{ "read-only", ARG_BOOL, false, NULL },
	{ "cache", ARG_STRING, false, cache_modes },
	{ "node-name", ARG_STRING, false, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_insert[] = {
	{ "id", ARG_STRING, false, NULL },
	{ "node-name", ARG_STRING, false, NULL },
	{ "parent", ARG_STRING, false, NULL },
	{ "options", ARG_OBJECT, true, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_remove[] = {
	{ "node-name", ARG_STRING, true, NULL },
	{ "id", ARG_STRING, false, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_info[] = {
	{ "filename", ARG_STRING, true, NULL },
	{ "format", ARG_STRING, false, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_object_add[] = {
	{ "qom-type", ARG_STRING, true, NULL },
	{ "id", ARG_STRING, true, NULL },
	{ NULL, 0, false, NULL }
};

static const struct argument args_id[] = {
	{ "id", ARG_STRING, true, NULL },
	{ NULL, 0, false, NULL }
};

const struct command command_table[] = {
	{ .name = "qmp_capabilities", .args = args_capabilities },
	{ .name = "query-version", .run = cmd_query_version },
	{ .name = "query-commands", .run = cmd_query_commands },
	{ .name = "quit", .run = cmd_quit },
	{
		.name = "blockdev-add", .kind = COMMAND_CHANGE,
		.open_args = true, .run = cmd_blockdev_add,
	},
	{
		.name = "blockdev-del", .kind = COMMAND_CHANGE,
		.args = args_node_name, .run = cmd_blockdev_del,
	},
	{
		.name = "query-named-block-nodes", .args = args_flat,
		.run = cmd_query_named_block_nodes,
	},
	{ .name = "x-debug-query-block-graph", .run = cmd_query_block_graph },
	{
		.name = "block-export-add", .kind = COMMAND_SHOW,
		.args = args_export_add, .open_args = true,
		.run = cmd_block_export_add,
	},
	{
		.name = "block-export-del", .kind = COMMAND_CHANGE,
		.args = args_export_del, .run = cmd_block_export_del,
	},
	{ .name = "query-block-exports", .run = cmd_query_block_exports },
	/* not in the state log, which would have the secrets in it */
	{
		.name = "object-add", .args = args_object_add,
		.open_args = true, .run = cmd_object_add,
	},
	{ .name = "object-del", .args = args_id, .run = cmd_object_del },
	{
		.name = "blkgraph-attach", .kind = COMMAND_SHOW,
		.args = args_attach, .open_args = true, .run = cmd_attach,
	},
	{
		.name = "blkgraph-insert", .kind = COMMAND_CHANGE,
		.args = args_insert, .run = cmd_insert,
	},
	{
		.name = "blkgraph-remove", .kind = COMMAND_CHANGE,
		.args = args_remove, .run = cmd_remove,
	},
	{ .name = "blkgraph-info", .args = args_info, .run = cmd_info },
	{ .name = NULL }
};
