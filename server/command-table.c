/* SPDX-License-Identifier: MIT */
/*
 * command-table.c - every control command, and what it takes (A21).
 *
 * Documentation/protocol.md says what each means; tests/blackbox compares the
 * two lists.
 */
#include "server/command.h"
#include "server/commands.h"

const struct command command_table[] = {
	{
		.name = "qmp_capabilities",
		.takes = "enable?:[QMPCapability]",
	},
	{
		.name = "query-version", .gives = "VersionInfo",
		.run = cmd_query_version,
	},
	{
		.name = "query-commands", .gives = "[CommandInfo]",
		.run = cmd_query_commands,
	},
	{
		.name = "query-qmp-schema", .gives = "[SchemaInfo]",
		.run = cmd_query_qmp_schema,
	},
	{ .name = "quit", .run = cmd_quit },
	{ .name = "blkgraph-quit-if-unused", .run = cmd_quit_if_unused },
	{
		.name = "chardev-add",
		.takes = "id:str backend:ChardevBackend",
		.gives = "ChardevReturn", .run = cmd_chardev_add,
	},
	{
		.name = "chardev-remove", .takes = "id:str",
		.run = cmd_chardev_remove,
	},
	{
		.name = "query-chardev-backends",
		.gives = "[ChardevBackendInfo]",
		.run = cmd_query_chardev_backends,
	},
	{
		.name = "query-chardev", .gives = "[ChardevInfo]",
		.run = cmd_query_chardev,
	},
	{
		.name = "blockdev-add", .kind = COMMAND_CHANGE,
		.takes = "BlockdevOptions", .run = cmd_blockdev_add,
	},
	{
		.name = "blockdev-del", .kind = COMMAND_REMOVE,
		.takes = "node-name:str", .run = cmd_blockdev_del,
	},
	{
		.name = "blockdev-reopen", .kind = COMMAND_CHANGE,
		.takes = "BlockdevReopen",
		.run = cmd_blockdev_reopen,
	},
	{
		.name = "blockdev-snapshot", .kind = COMMAND_CHANGE,
		.takes = "BlockdevSnapshot", .run = cmd_blockdev_snapshot,
	},
	{
		.name = "blockdev-snapshot-sync", .kind = COMMAND_CHANGE,
		.takes = "BlockdevSnapshotSync",
		.run = cmd_blockdev_snapshot_sync,
	},
	{
		.name = "transaction", .kind = COMMAND_CHANGE,
		.takes = "actions:[TransactionAction] "
			"properties?:TransactionProperties",
		.run = cmd_transaction,
	},
	{
		.name = "block_resize", .kind = COMMAND_CHANGE,
		.takes = "device?:str node-name?:str size:int",
		.run = cmd_block_resize,
	},
	{
		.name = "blockdev-replace", .kind = COMMAND_CHANGE,
		.takes = "BlockdevReplace",
		.gives = "BlkgraphChange", .run = cmd_blockdev_replace,
	},
	{
		.name = "x-blockdev-change", .kind = COMMAND_CHANGE,
		.takes = "parent:str child?:str node?:str",
		.run = cmd_x_blockdev_change,
	},
	{
		.name = "change-backing-file", .kind = COMMAND_CHANGE,
		.takes = "device:str image-node-name:str backing-file:str",
		.run = cmd_change_backing_file,
	},
	{
		.name = "query-named-block-nodes", .takes = "flat?:bool",
		.gives = "[BlockDeviceInfo]",
		.run = cmd_query_named_block_nodes,
	},
	{
		.name = "query-block", .gives = "[BlockInfo]",
		.run = cmd_query_block,
	},
	{
		.name = "query-blockstats", .takes = "query-nodes?:bool",
		.gives = "[BlockStats]", .run = cmd_query_blockstats,
	},
	{
		.name = "x-debug-query-block-graph",
		.gives = "XDbgBlockGraph", .run = cmd_query_block_graph,
	},
	{
		.name = "block-export-add", .kind = COMMAND_SHOW,
		.takes = "BlockExportOptions", .run = cmd_block_export_add,
	},
	{
		.name = "block-export-del", .kind = COMMAND_REMOVE,
		.takes = "id:str mode?:BlockExportRemoveMode",
		.run = cmd_block_export_del,
	},
	{
		.name = "query-block-exports", .gives = "[BlockExportInfo]",
		.run = cmd_query_block_exports,
	},
	{
		.name = "blkgraph-users", .takes = "id:str",
		.gives = "BlkgraphUsers", .run = cmd_users,
	},
	/* changes files, but nothing that the state log keeps */
	{
		.name = "blockdev-create",
		.takes = "job-id:str options:BlockdevCreateOptions",
		.run = cmd_blockdev_create,
	},
	{
		.name = "query-jobs", .gives = "[JobInfo]",
		.run = cmd_query_jobs,
	},
	{ .name = "job-pause", .takes = "id:str", .run = cmd_job_pause },
	{ .name = "job-resume", .takes = "id:str", .run = cmd_job_resume },
	{ .name = "job-cancel", .takes = "id:str", .run = cmd_job_cancel },
	{ .name = "job-complete", .takes = "id:str", .run = cmd_job_complete },
	{ .name = "job-finalize", .takes = "id:str", .run = cmd_job_finalize },
	{ .name = "job-dismiss", .takes = "id:str", .run = cmd_job_dismiss },
	{
		.name = "nbd-server-start", .kind = COMMAND_CHANGE,
		.takes = "addr:SocketAddressLegacy tls-creds?:str "
			"tls-authz?:str max-connections?:uint32 "
			"handshake-max-seconds?:uint32",
		.run = cmd_nbd_server_start,
	},
	{
		.name = "nbd-server-stop", .kind = COMMAND_REMOVE,
		.run = cmd_nbd_server_stop,
	},
	{
		.name = "object-add", .kind = COMMAND_NOTE,
		.takes = "ObjectOptions", .run = cmd_object_add,
	},
	{
		.name = "object-del", .kind = COMMAND_NOTE, .takes = "id:str",
		.run = cmd_object_del,
	},
	{
		.name = "qom-list", .takes = "path:str",
		.gives = "[ObjectPropertyInfo]", .run = cmd_qom_list,
	},
	{
		.name = "qom-get", .takes = "path:str property:str",
		.gives = "any", .run = cmd_qom_get,
	},
	{
		.name = "qom-set", .kind = COMMAND_CHANGE,
		.takes = "path:str property:str value:any",
		.run = cmd_qom_set,
	},
	{
		.name = "qom-list-types",
		.takes = "implements?:str abstract?:bool",
		.gives = "[ObjectTypeInfo]", .run = cmd_qom_list_types,
	},
	{
		.name = "qom-list-properties", .takes = "typename:str",
		.gives = "[ObjectPropertyInfo]",
		.run = cmd_qom_list_properties,
	},
	{
		.name = "blkgraph-attach", .kind = COMMAND_SHOW,
		.takes = "BlkgraphAttachOptions",
		.gives = "BlkgraphAttached", .run = cmd_attach,
	},
	{
		.name = "blkgraph-snapshot", .kind = COMMAND_CHANGE,
		.takes = "disks:[BlkgraphSnapshotDisk]",
		.gives = "BlkgraphSnapshot", .run = cmd_snapshot,
	},
	{
		.name = "blkgraph-insert", .kind = COMMAND_CHANGE,
		.takes = "BlkgraphInsert",
		.gives = "BlkgraphChange", .run = cmd_insert,
	},
	{
		.name = "blkgraph-remove", .kind = COMMAND_REMOVE,
		.takes = "BlkgraphRemove", .gives = "BlkgraphChange",
		.run = cmd_remove,
	},
	{
		.name = "blkgraph-throttle", .kind = COMMAND_CHANGE,
		.takes = "id:str group?:str limits?:ThrottleLimits",
		.gives = "BlkgraphThrottled", .run = cmd_throttle,
	},
	{
		.name = "blkgraph-reopen", .kind = COMMAND_CHANGE,
		.takes = "id:str writable?:bool cache?:BlkgraphCacheMode "
			"force?:bool",
		.gives = "BlkgraphReopened", .run = cmd_reopen,
	},
	{
		.name = "blkgraph-resize", .kind = COMMAND_CHANGE,
		.takes = "id?:str node-name?:str size?:int grow-by?:int "
			"force?:bool",
		.gives = "BlkgraphResized", .run = cmd_resize,
	},
	{
		.name = "blkgraph-resume", .takes = "id:str fail?:bool",
		.gives = "BlkgraphResumed", .run = cmd_resume,
	},
	{
		.name = "blkgraph-info", .takes = "filename:str format?:str",
		.gives = "BlkgraphInfo", .run = cmd_info,
	},
	{
		.name = "blkgraph-map",
		.takes = "filename?:str format?:str id?:str offset?:int",
		.gives = "BlkgraphMap", .run = cmd_map,
	},
	{
		.name = "blkgraph-check", .takes = "filename:str format?:str",
		.gives = "BlkgraphCheck", .run = cmd_check,
	},
	{ .name = NULL }
};
