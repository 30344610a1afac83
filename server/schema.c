/* SPDX-License-Identifier: MIT */
/*
 * schema.c - which types there are, and query-qmp-schema.
 *
 * What options take comes from the option tables of nodes, drivers and
 * exports; what commands take and give from the command table; the rest is
 * spelled out here. Main thread.
 */
#include "server/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/driver.h"
#include "graph/export.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/object.h"
#include "server/types.h"

#define NAME_MAX_LEN 128

/* Of an export of any type. */
#define EXPORT_INFO \
	"id:str type:BlockExportType node-name?:str shutting-down:bool " \
	"writable:bool stuck:bool stuck-in?:str size?:int warning?:str " \
	"drains?:BlkgraphDrains stats?:BlockDeviceStats errors?:int " \
	"back-dev?:str back-ino?:int gone?:bool format?:str file?:str " \
	"temporary?:bool requests?:BlkgraphRequests " \
	"on-no-space?:BlkgraphOnNoSpace on-error?:BlkgraphOnError " \
	"hold-time?:int held?:BlkgraphHeld"

static const struct definition {
	const char *name, *members;
} enums[] = {
	{ "QMPCapability", "oob errno" },
	{ "BlockExportRemoveMode", "safe hard" },
	{ "BlockPermission",
	  "consistent-read write write-unchanged resize" },
	{ "XDbgBlockGraphNodeType", "block-backend block-job block-driver" },
	{ "BlockdevDetectZeroesOptions", "off on unmap" },
	{ "BlkgraphCacheMode", "none writeback" },
	{ "BlkgraphChangeKind",
	  "other snapshot insert remove reopen replace resize several" },
	{ "BlkgraphOnNoSpace", "auto hold report" },
	{ "BlkgraphOnError", "report hold" },
	{ "MonitorMode", "readline control" },
	{ "SocketAddressType", "inet unix fd" },
	{ "ChardevBackendKind", "socket file pipe stdio null" },
	{ "IoOperationType", "read write" },
	{ "BlockErrorAction", "ignore report stop" },
	{ "BlockDeviceIoStatus", "ok failed nospace" },
	{ "ImageInfoSpecificKind", "qcow2" },
	{ "Qcow2CompressionType", "zlib zstd" },
	{ "Qcow2BitmapInfoFlags", "in-use auto" },
	{ "SchemaMetaType",
	  "builtin enum array object alternate command event" },
	{ "JSONType",
	  "string number int boolean null object array value" },
	{ "JobType", "create" },
	{ "NewImageMode", "existing absolute-paths" },
	{ "QuorumOpType", "read write flush" },
	{ "ActionCompletionMode", "individual grouped" },
	{ "TransactionActionKind",
	  "abort blockdev-snapshot blockdev-snapshot-sync blockdev-add "
	  "blockdev-del blockdev-reopen blockdev-replace blkgraph-insert "
	  "blkgraph-remove" },
	{ "JobStatus",
	  "created running paused ready standby waiting pending aborting "
	  "concluded null" },
	{ NULL, NULL }
}, objects[] = {
	{ "VersionTriple", "major:int minor:int micro:int" },
	{ "VersionInfo", "qemu:VersionTriple package:str" },
	{ "CommandInfo", "name:str" },
	{ "ChardevInfo", "label:str filename:str frontend-open:bool" },
	/* of the command line only */
	{ "MonitorOptions",
	  "chardev:str mode?:MonitorMode pretty?:bool id?:str" },
	{ "ChardevOptions", "backend:ChardevBackendKind id:str" },
	{ "ChardevOptions-socket",
	  "path?:str abstract?:bool tight?:bool fd?:str host?:str port?:str "
	  "to?:uint16 ipv4?:bool ipv6?:bool server?:bool wait?:bool "
	  "nodelay?:bool delay?:bool reconnect?:int tls-creds?:str" },
	{ "ChardevOptions-file", "path:str input-path?:str append?:bool" },
	{ "ChardevOptions-pipe", "path:str" },
	{ "ChardevOptions-stdio", "signal?:bool" },
	{ "ChardevOptions-null", "" },
	{ "ChardevSocket",
	  "addr:SocketAddressLegacy tls-creds?:str server?:bool wait?:bool "
	  "nodelay?:bool reconnect?:int" },
	{ "ChardevFile", "in?:str out:str append?:bool" },
	{ "ChardevHostdev", "device:str" },
	{ "ChardevStdio", "signal?:bool" },
	{ "ChardevCommon", "" },
	{ "ChardevSocketWrapper", "data:ChardevSocket" },
	{ "ChardevFileWrapper", "data:ChardevFile" },
	{ "ChardevHostdevWrapper", "data:ChardevHostdev" },
	{ "ChardevStdioWrapper", "data:ChardevStdio" },
	{ "ChardevCommonWrapper", "data:ChardevCommon" },
	{ "ChardevBackend", "type:ChardevBackendKind" },
	{ "ChardevReturn", "pty?:str" },
	{ "ChardevBackendInfo", "name:str" },
	{ "InetSocketAddress",
	  "host:str port:str numeric?:bool to?:uint16 ipv4?:bool ipv6?:bool" },
	{ "UnixSocketAddress", "path:str abstract?:bool tight?:bool" },
	{ "String", "str:str" },
	{ "InetSocketAddressWrapper", "data:InetSocketAddress" },
	{ "UnixSocketAddressWrapper", "data:UnixSocketAddress" },
	{ "StringWrapper", "data:String" },
	{ "SocketAddressLegacy", "type:SocketAddressType" },
	{ "BlockdevCacheInfo", "writeback:bool direct:bool no-flush:bool" },
	{ "BlockdevChild", "child:str node-name:str" },
	{ "ImageInfo",
	  "filename:str format:str dirty-flag?:bool virtual-size:int "
	  "actual-size?:int cluster-size?:int backing-filename?:str "
	  "full-backing-filename?:str backing-filename-format?:str "
	  "backing-image?:ImageInfo format-specific?:ImageInfoSpecific "
	  "deleted?:bool" },
	{ "ImageInfoSpecific", "type:ImageInfoSpecificKind" },
	{ "ImageInfoSpecificQCow2Wrapper", "data:ImageInfoSpecificQCow2" },
	{ "ImageInfoSpecificQCow2",
	  "compat:str extended-l2?:bool lazy-refcounts?:bool corrupt?:bool "
	  "refcount-bits:int compression-type:Qcow2CompressionType "
	  "leaked-clusters?:int "
	  "bitmaps-count?:int bitmaps?:[Qcow2BitmapInfo]" },
	{ "Qcow2BitmapInfo",
	  "name:str granularity:int flags:[Qcow2BitmapInfoFlags]" },
	{ "BlockInfo",
	  "device:str qdev?:str type:str removable:bool locked:bool "
	  "inserted?:BlockDeviceInfo tray_open?:bool "
	  "io-status?:BlockDeviceIoStatus" },
	{ "BlockDeviceInfo",
	  "file:str node-name?:str ro:bool drv:str backing_file?:str "
	  "backing_file_depth:int encrypted:bool children:[BlockdevChild] "
	  "active:bool detect_zeroes:BlockdevDetectZeroesOptions bps:int "
	  "bps_rd:int bps_wr:int iops:int iops_rd:int iops_wr:int "
	  "bps_max?:int bps_rd_max?:int bps_wr_max?:int iops_max?:int "
	  "iops_rd_max?:int iops_wr_max?:int bps_max_length?:int "
	  "bps_rd_max_length?:int bps_wr_max_length?:int "
	  "iops_max_length?:int iops_rd_max_length?:int "
	  "iops_wr_max_length?:int iops_size?:int group?:str "
	  "image:ImageInfo cache:BlockdevCacheInfo write_threshold:int "
	  "implicit?:bool temporary?:str" },
	{ "XDbgBlockGraphNode", "id:int type:XDbgBlockGraphNodeType name:str" },
	{ "XDbgBlockGraphEdge",
	  "parent:int child:int name:str perm:[BlockPermission] "
	  "shared-perm:[BlockPermission]" },
	{ "XDbgBlockGraph",
	  "nodes:[XDbgBlockGraphNode] edges:[XDbgBlockGraphEdge]" },
	{ "JobInfo",
	  "id:str type:JobType status:JobStatus current-progress:int "
	  "total-progress:int error?:str errno?:str more?:str" },
	{ "BlockDeviceStats",
	  "rd_bytes:int wr_bytes:int unmap_bytes:int rd_operations:int "
	  "wr_operations:int flush_operations:int unmap_operations:int "
	  "rd_total_time_ns:int wr_total_time_ns:int "
	  "flush_total_time_ns:int unmap_total_time_ns:int "
	  "wr_highest_offset:int rd_merged:int wr_merged:int "
	  "unmap_merged:int failed_rd_operations:int "
	  "failed_wr_operations:int failed_flush_operations:int "
	  "failed_unmap_operations:int invalid_rd_operations:int "
	  "invalid_wr_operations:int invalid_flush_operations:int "
	  "invalid_unmap_operations:int account_invalid:bool "
	  "account_failed:bool timed_stats:[BlockDeviceTimedStats]" },
	{ "BlockDeviceTimedStats",
	  "interval_length:int min_rd_latency_ns:int max_rd_latency_ns:int "
	  "avg_rd_latency_ns:int min_wr_latency_ns:int max_wr_latency_ns:int "
	  "avg_wr_latency_ns:int min_flush_latency_ns:int "
	  "max_flush_latency_ns:int avg_flush_latency_ns:int "
	  "avg_rd_queue_depth:number avg_wr_queue_depth:number" },
	{ "BlockStats",
	  "node-name?:str stats:BlockDeviceStats parent?:BlockStats "
	  "backing?:BlockStats" },
	{ "ObjectPropertyInfo", "name:str type:str" },
	{ "ObjectTypeInfo", "name:str parent?:str" },
	{ "BlkgraphPauses", "below-ns:int count:int" },
	{ "BlkgraphDrains",
	  "count:int last-ns:int max-ns:int p99-ns:int in-flight:int "
	  "histogram:[BlkgraphPauses] changes:[BlkgraphChangePauses]" },
	{ "BlkgraphChangePauses",
	  "change:BlkgraphChangeKind count:int p50-ns:int p99-ns:int "
	  "max-ns:int histogram:[BlkgraphPauses]" },
	{ "BlkgraphRequests",
	  "in-flight:int waiting:int queued:int oldest-ns?:int "
	  "oldest-node?:str waiting-ns?:int waiting-node?:str "
	  "closed-ns?:int" },
	{ "BlkgraphHeld",
	  "count:int since-ns:int reason:str nospace:bool" },
	{ "BlkgraphResumed", "held:int" },
	{ "BlkgraphQueueInfo", "thread:int requests:int copied:int" },
	{ "BlockExportInfo", EXPORT_INFO },
	{ "BlkgraphAttached", EXPORT_INFO " format:str guessed:bool "
	  "disk-size:int read-only-reason?:str" },
	/* what an export that is being opened or closed does not show */
	{ "BlockExportInfo-ublk",
	  "device?:str device-id?:int queues?:int depth?:int "
	  "logical-block-size?:int features?:str zero-copy?:bool "
	  "zero-copy-reason?:str note?:str queue?:[BlkgraphQueueInfo]" },
	{ "BlockExportInfo-fuse",
	  "device?:str mountpoint?:str queues?:int depth?:int "
	  "logical-block-size?:int zero-copy?:bool zero-copy-reason?:str "
	  "direct?:bool note?:str" },
	{ "BlockExportInfo-kernel-nbd",
	  "device:str queues:int logical-block-size:int zero-copy:bool "
	  "zero-copy-reason:str note?:str" },
	{ "BlockExportInfo-nbd", "name:str clients:int" },
	{ "BlockDirtyBitmap", "node:str name:str" },
	{ "BlkgraphAttachOptions",
	  "filename:str id?:str format?:str read-only?:bool "
	  "cache?:BlkgraphCacheMode node-name?:str via?:BlkgraphVia "
	  "exclusive?:bool zero-copy?:bool offset?:int size-limit?:int "
	  "partition?:int force?:bool temporary?:bool "
	  "on-no-space?:BlkgraphOnNoSpace on-error?:BlkgraphOnError "
	  "hold-time?:int" },
	{ "BlkgraphUsers", "in-use:bool users?:str" },
	{ "BlockdevSnapshot", "node:str overlay:str" },
	{ "BlockdevSnapshotSync",
	  "device?:str node-name?:str snapshot-file:str "
	  "snapshot-node-name?:str format?:str mode?:NewImageMode" },
	{ "Abort", "" },
	{ "BlockdevDel", "node-name:str" },
	{ "AbortWrapper", "data:Abort" },
	{ "BlockdevSnapshotWrapper", "data:BlockdevSnapshot" },
	{ "BlockdevSnapshotSyncWrapper", "data:BlockdevSnapshotSync" },
	{ "BlockdevAddWrapper", "data:BlockdevOptions" },
	{ "BlockdevDelWrapper", "data:BlockdevDel" },
	{ "BlockdevReopenWrapper", "data:BlockdevReopen" },
	{ "BlockdevReplaceWrapper", "data:BlockdevReplace" },
	{ "BlkgraphInsertWrapper", "data:BlkgraphInsert" },
	{ "BlkgraphRemoveWrapper", "data:BlkgraphRemove" },
	{ "TransactionAction", "type:TransactionActionKind" },
	{ "TransactionProperties", "completion-mode?:ActionCompletionMode" },
	{ "BlockdevReopen", "options:[BlockdevOptions]" },
	{ "BlockdevReplace", "parent:str child:str new-child:str" },
	{ "BlkgraphInsert",
	  "id?:str node-name?:str parent?:str child?:str "
	  "options:BlkgraphFilterOptions" },
	{ "BlkgraphRemove",
	  "node-name:str id?:str parent?:str child?:str" },
	{ "BlkgraphSnapshotDisk", "id:str file?:str" },
	{ "BlkgraphSnapshotDone", "id:str node-name:str file:str" },
	{ "BlkgraphSnapshot",
	  "pause-ns:int switch-ns:int in-flight:int "
	  "disks:[BlkgraphSnapshotDone]" },
	{ "BlkgraphChange",
	  "node-name?:str pause-ns:int switch-ns:int in-flight:int" },
	{ "BlkgraphReopened",
	  "writable:bool pause-ns:int switch-ns:int in-flight:int" },
	{ "BlkgraphThrottled",
	  "node-name:str group:str inserted:bool "
	  "pause-ns:int switch-ns:int in-flight:int limits:ThrottleLimits" },
	{ "BlkgraphResized",
	  "size:int size-before:int pause-ns:int switch-ns:int in-flight:int" },
	{ "BlkgraphExtent",
	  "start:int length:int depth:int present:bool zero:bool data:bool "
	  "compressed:bool offset?:int filename?:str" },
	{ "BlkgraphMap", "extents:[BlkgraphExtent] next?:int" },
	{ "BlkgraphCheck",
	  "filename:str format:str check-errors:int corruptions:int leaks:int "
	  "total-clusters:int allocated-clusters:int compressed-clusters:int "
	  "image-end-offset:int first-corruption?:str" },
	{ "BlkgraphInfo",
	  "filename:str format:str guessed:bool dirty-flag?:bool "
	  "virtual-size:int actual-size?:int cluster-size?:int "
	  "backing-filename?:str backing-filename-format?:str "
	  "snapshots-count?:int snapshots?:[SnapshotInfo] "
	  "format-specific?:ImageInfoSpecific problem?:str" },
	{ "SnapshotInfo",
	  "id:str name:str vm-state-size:int date-sec:int date-nsec:int "
	  "vm-clock-sec:int vm-clock-nsec:int disk-size?:int" },
	{ "SchemaInfo", "name:str meta-type:SchemaMetaType" },
	{ "SchemaInfoBuiltin", "json-type:JSONType" },
	{ "SchemaInfoEnum", "members:[SchemaInfoEnumMember] values:[str]" },
	{ "SchemaInfoEnumMember", "name:str" },
	{ "SchemaInfoArray", "element-type:str" },
	{ "SchemaInfoObject",
	  "members:[SchemaInfoObjectMember] tag?:str "
	  "variants?:[SchemaInfoObjectVariant]" },
	{ "SchemaInfoObjectMember", "name:str type:str default?:any" },
	{ "SchemaInfoObjectVariant", "case:str type:str" },
	{ "SchemaInfoAlternate", "members:[SchemaInfoAlternateMember]" },
	{ "SchemaInfoAlternateMember", "type:str" },
	{ "SchemaInfoCommand", "arg-type:str ret-type:str" },
	{ "SchemaInfoEvent", "arg-type:str" },
	{ NULL, NULL }
}, alternates[] = {
	{ "BlockdevRef", "options:BlockdevOptions name:str" },
	{ "BlockdevRefOrNull",
	  "options:BlockdevOptions name:str none:null" },
	{ "BlockExportIothreads", "single:str multi:[str]" },
	{ "BlockDirtyBitmapOrStr", "local:str external:BlockDirtyBitmap" },
	{ NULL, NULL }
}, events[] = {
	{ "BLKGRAPH_EXPORT_GONE", "id:str device:str" },
	{ "BLKGRAPH_HOLD_ENDED", "id:str" },
	{ "BLKGRAPH_NODE_CLOSE_FAILED", "node-name:str error:str" },
	{ "BLOCK_EXPORT_DELETED", "id:str" },
	{ "BLOCK_IO_ERROR",
	  "qom-path:str device:str node-name?:str "
	  "operation:IoOperationType action:BlockErrorAction nospace?:bool "
	  "reason:str count:int" },
	{ "JOB_STATUS_CHANGE", "id:str status:JobStatus" },
	{ "QUORUM_FAILURE",
	  "reference:str sector-num:int sectors-count:int" },
	{ "QUORUM_REPORT_BAD",
	  "type:QuorumOpType error?:str node-name:str sector-num:int "
	  "sectors-count:int" },
	{ NULL, NULL }
};

/* Objects whose further members depend on one that they have. */
static const struct union_definition {
	const char *name, *tag, *variants;	/* "VALUE:TYPE ..." */
} unions[] = {
	{ "SocketAddressLegacy", "type",
	  "inet:InetSocketAddressWrapper unix:UnixSocketAddressWrapper "
	  "fd:StringWrapper" },
	{ "ChardevOptions", "backend",
	  "socket:ChardevOptions-socket file:ChardevOptions-file "
	  "pipe:ChardevOptions-pipe stdio:ChardevOptions-stdio "
	  "null:ChardevOptions-null" },
	{ "ChardevBackend", "type",
	  "socket:ChardevSocketWrapper file:ChardevFileWrapper "
	  "pipe:ChardevHostdevWrapper stdio:ChardevStdioWrapper "
	  "null:ChardevCommonWrapper" },
	{ "TransactionAction", "type",
	  "abort:AbortWrapper blockdev-snapshot:BlockdevSnapshotWrapper "
	  "blockdev-snapshot-sync:BlockdevSnapshotSyncWrapper "
	  "blockdev-add:BlockdevAddWrapper blockdev-del:BlockdevDelWrapper "
	  "blockdev-reopen:BlockdevReopenWrapper "
	  "blockdev-replace:BlockdevReplaceWrapper "
	  "blkgraph-insert:BlkgraphInsertWrapper "
	  "blkgraph-remove:BlkgraphRemoveWrapper" },
	{ "ImageInfoSpecific", "type", "qcow2:ImageInfoSpecificQCow2Wrapper" },
	{ "SchemaInfo", "meta-type",
	  "builtin:SchemaInfoBuiltin enum:SchemaInfoEnum "
	  "array:SchemaInfoArray object:SchemaInfoObject "
	  "alternate:SchemaInfoAlternate command:SchemaInfoCommand "
	  "event:SchemaInfoEvent" },
	{ NULL, NULL, NULL }
};

/* --- types from option tables -------------------------------------------- */

static void add_options(struct type *type, const struct option *o,
			const struct type *base);

static const struct type *array_of(const char *name)
{
	char text[NAME_MAX_LEN + 2];

	snprintf(text, sizeof(text), "[%s]", name);
	return type_parse(text);
}

static const struct type *option_type(const struct type *owner,
				      const struct option *o)
{
	char name[NAME_MAX_LEN];
	struct type *type;

	switch (o->type) {
	case OPT_STRING:
		return type_named("str");
	case OPT_BOOL:
		return type_named("bool");
	case OPT_SIZE:
		return type_named("size");
	case OPT_UINT:
	case OPT_INT64:
		return type_named("int");
	case OPT_UINT64:
		return type_named("uint64");
	case OPT_ENUM:
	case OPT_FLAGS:
	case OPT_LIST:
		break;
	}
	snprintf(name, sizeof(name), "%s.%s", owner->name, o->name);
	type = type_named(name);
	if (o->type == OPT_LIST)
		add_options(type, o->members, NULL);
	for (unsigned i = 0; o->values && o->values[i]; i++)
		type_add_value(type, o->values[i]);
	return o->type == OPT_ENUM ? type : array_of(name);
}

static bool type_has(const struct type *type, const char *name)
{
	for (unsigned i = 0; i < type->member_count; i++)
		if (!strcmp(type->members[i].name, name))
			return true;
	return false;
}

/* base: what it names is not the table's to take; or NULL. */
static void add_options(struct type *type, const struct option *o,
			const struct type *base)
{
	for (; o && o->name; o++)
		if (!base || !type_has(base, o->name))
			type_add_member(type, o->name, option_type(type, o),
					!o->required)->help = o->help;
}

/* but: those that are not the options' to name. */
static void add_children(struct type *type, const struct driver *driver,
			 unsigned but)
{
	const struct child_decl *child = driver->children;

	for (; child && child->name; child++)
		if (!(child->role & but))
			type_add_member(type, child->name, type_parse(
				child->list ? "[BlockdevRef]" :
				child->optional ? "BlockdevRefOrNull" :
				"BlockdevRef"), child->optional);
}

static void add_driver(struct type *base, const struct driver *driver)
{
	char name[NAME_MAX_LEN];
	struct type *type;

	snprintf(name, sizeof(name), "BlockdevOptions-%s", driver->name);
	type = type_named(name);
	add_children(type, driver, 0);
	add_options(type, driver->options, base);
	type_add_variant(base, driver->name, type);
	type_add_value(type_named("BlockdevDriver"), driver->name);
}

static void add_drivers(void)
{
	struct type *cache = type_named("BlockdevCacheOptions");
	struct type *base = type_named("BlockdevOptions");
	const struct driver *driver;

	add_options(cache, node_cache_options, NULL);
	base->tag = "driver";
	type_add_member(base, "driver", type_named("BlockdevDriver"), false);
	add_options(base, node_options, NULL);
	type_add_member(base, "cache", cache, true);
	for (unsigned i = 0; (driver = driver_at(i)) != NULL; i++)
		add_driver(base, driver);
}

/* A driver that cannot create takes nothing: it says so when it is asked. */
static void add_creating(void)
{
	struct type *base = type_named("BlockdevCreateOptions"), *type;
	const struct driver *driver;
	char name[NAME_MAX_LEN];

	base->tag = "driver";
	type_add_member(base, "driver", type_named("BlockdevDriver"), false);
	for (unsigned i = 0; (driver = driver_at(i)) != NULL; i++) {
		snprintf(name, sizeof(name), "BlockdevCreateOptions-%s",
			 driver->name);
		type = type_named(name);
		if (driver->create && driver->kind != DRIVER_PROTOCOL)
			type_add_members(type, "file:BlockdevRef");
		add_options(type, driver->create_options, NULL);
		type_add_variant(base, driver->name, type);
	}
}

/* What queries show of one, and what attaching one gives, is the base and a
 * variant of its own. */
static void add_export_info(const char *export)
{
	char name[NAME_MAX_LEN];
	struct type *type;

	snprintf(name, sizeof(name), "BlockExportInfo-%s", export);
	type = type_named(name);
	type_named("BlockExportInfo")->tag = "type";
	type_named("BlkgraphAttached")->tag = "type";
	type_add_variant(type_named("BlockExportInfo"), export, type);
	type_add_variant(type_named("BlkgraphAttached"), export, type);
}

static void add_exports(void)
{
	struct type *base = type_named("BlockExportOptions");
	const struct export_type *export;
	char name[NAME_MAX_LEN];
	struct type *type;

	base->tag = "type";
	type_add_member(base, "type", type_named("BlockExportType"), false);
	add_options(base, export_options, NULL);
	type_add_members(base, "iothread?:BlockExportIothreads "
			 "fixed-iothread?:bool");
	for (unsigned i = 0; (export = export_type_at(i)) != NULL; i++) {
		snprintf(name, sizeof(name), "BlockExportOptions-%s",
			 export->name);
		type = type_named(name);
		add_options(type, export->options, base);
		if (!strcmp(export->name, "nbd"))
			type_add_members(type,
					 "bitmaps?:[BlockDirtyBitmapOrStr]");
		type_add_variant(base, export->name, type);
		type_add_value(type_named("BlockExportType"), export->name);
		add_export_info(export->name);
	}
}

/* What "via" may be, and the type of export that it makes. */
static void add_attach_way(struct type *base, const char *via,
			   const struct type *export)
{
	struct type *type;
	char name[NAME_MAX_LEN];

	snprintf(name, sizeof(name), "%s-%s", base->name, via);
	type = type_named(name);
	if (!type->member_count) {
		type_add_value(type_named("BlkgraphVia"), via);
		type_add_variant(base, via, type);
	}
	for (unsigned i = 0; i < export->member_count; i++) {
		const struct member *m = &export->members[i];

		if (!type_has(base, m->name) && !type_has(type, m->name))
			type_add_member(type, m->name, m->type, m->optional)
				->help = m->help;
	}
}

static void add_attach(void)
{
	struct type *base = type_named("BlkgraphAttachOptions");

	base->tag = "via";
	base->tag_default = attach_ways[0].via;
	for (const struct attach_way *way = attach_ways; way->via; way++)
		for (const struct attach_way *of = attach_ways; of->via; of++) {
			char name[NAME_MAX_LEN];

			/* one that chooses takes what any takes */
			if (!of->type || (way->type && way != of))
				continue;
			snprintf(name, sizeof(name), "BlockExportOptions-%s",
				 of->type);
			add_attach_way(base, way->via, type_named(name));
		}
}

/* As blockdev-add's, but for the child that it filters: insertion gives it. */
static void add_filters(void)
{
	struct type *base = type_named("BlkgraphFilterOptions"), *type;
	const struct driver *driver;
	char name[NAME_MAX_LEN];

	base->tag = "driver";
	type_add_members(base, "driver:BlockdevDriver");
	add_options(base, node_options, NULL);
	type_add_members(base, "cache?:BlockdevCacheOptions");
	for (unsigned i = 0; (driver = driver_at(i)) != NULL; i++) {
		if (driver->kind != DRIVER_FILTER)
			continue;
		snprintf(name, sizeof(name), "BlkgraphFilterOptions-%s",
			 driver->name);
		type = type_named(name);
		add_children(type, driver, ROLE_FILTERED);
		add_options(type, driver->options, base);
		type_add_variant(base, driver->name, type);
	}
}

/* The same options without their prefix, as one member. */
static void add_bundle(struct type *owner, const struct object_type *object)
{
	struct type *type;

	if (!object->bundle)
		return;
	type = type_named(object->bundle_type);
	for (const struct option *o = object->options; o->name; o++)
		type_add_member(type, o->name + strlen(BUNDLE_PREFIX),
				option_type(type, o), true)->help = o->help;
	type_add_member(owner, object->bundle, type, true);
}

static void add_objects(void)
{
	struct type *base = type_named("ObjectOptions"), *type;
	char name[NAME_MAX_LEN];

	base->tag = "qom-type";
	type_add_members(base, "qom-type:ObjectType id:str");
	for (unsigned i = 0; object_types[i]; i++) {
		snprintf(name, sizeof(name), "ObjectOptions-%s",
			 object_types[i]->name);
		type = type_named(name);
		add_options(type, object_types[i]->options, base);
		add_bundle(type, object_types[i]);
		type_add_variant(base, object_types[i]->name, type);
		type_add_value(type_named("ObjectType"),
			       object_types[i]->name);
	}
}

static void add_union(const struct union_definition *d)
{
	struct type *type = type_named(d->name);
	char *copy = strdup(d->variants), *rest, *word, *colon;

	if (!copy)
		abort();
	type->tag = d->tag;
	for (word = strtok_r(copy, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		colon = strchr(word, ':');
		*colon = 0;
		type_add_variant(type, word, type_named(colon + 1));
	}
	free(copy);
}

static void add_enum(const struct definition *d)
{
	char *copy = strdup(d->members), *rest, *value;

	if (!copy)
		abort();
	for (value = strtok_r(copy, " ", &rest); value;
	     value = strtok_r(NULL, " ", &rest))
		type_add_value(type_named(d->name), value);
	free(copy);
}

/* Of an event's data. */
static struct type *event_type(const struct definition *event)
{
	char name[NAME_MAX_LEN];

	snprintf(name, sizeof(name), "%s-data", event->name);
	return type_named(name);
}

void schema_start(void)
{
	const struct definition *d;

	for (d = enums; d->name; d++)
		add_enum(d);
	for (d = objects; d->name; d++)
		type_add_members(type_named(d->name), d->members);
	for (d = alternates; d->name; d++) {
		type_named(d->name)->kind = TYPE_ALTERNATE;
		type_add_members(type_named(d->name), d->members);
	}
	for (d = events; d->name; d++)
		type_add_members(event_type(d), d->members);
	for (const struct union_definition *u = unions; u->name; u++)
		add_union(u);
	add_drivers();
	add_creating();
	add_filters();
	add_exports();
	add_attach();
	add_objects();
}

/* --- query-qmp-schema ---------------------------------------------------- */

struct listing {
	json_t *list;		/* the schema */
	json_t *seen;		/* names in it, or about to be */
};

static const char *list_type(struct listing *l, const struct type *type);

static json_t *list_members(struct listing *l, const struct type *type)
{
	json_t *members = json_array();

	for (unsigned i = 0; i < type->member_count; i++) {
		const struct member *m = &type->members[i];
		json_t *shown = type->kind == TYPE_OBJECT ?
			json_pack("{s:s}", "name", m->name) : json_object();

		json_object_set_new(shown, "type",
				    json_string(list_type(l, m->type)));
		if (m->optional)
			json_object_set_new(shown, "default", json_null());
		json_array_append_new(members, shown);
	}
	return members;
}

static json_t *list_variants(struct listing *l, const struct type *type)
{
	json_t *variants = json_array();

	for (unsigned i = 0; i < type->variant_count; i++)
		json_array_append_new(variants, json_pack("{s:s,s:s}", "case",
			type->variants[i].value, "type",
			list_type(l, type->variants[i].type)));
	return variants;
}

static json_t *list_values(const struct type *type, bool as_members)
{
	json_t *values = json_array();

	for (unsigned i = 0; i < type->value_count; i++)
		json_array_append_new(values, as_members ?
			json_pack("{s:s}", "name", type->values[i]) :
			json_string(type->values[i]));
	return values;
}

static json_t *type_entry(struct listing *l, const struct type *type)
{
	static const char *const json_types[] = {
		[TYPE_STRING] = "string", [TYPE_BOOL] = "boolean",
		[TYPE_INT] = "int", [TYPE_NUMBER] = "number",
		[TYPE_NULL] = "null", [TYPE_ANY] = "value",
	};
	json_t *entry;

	switch (type->kind) {
	case TYPE_OBJECT:
		entry = json_pack("{s:s,s:o}", "meta-type", "object",
				  "members", list_members(l, type));
		if (type->tag)
			json_object_update_new(entry, json_pack("{s:s,s:o}",
				"tag", type->tag, "variants",
				list_variants(l, type)));
		return entry;
	case TYPE_ENUM:
		return json_pack("{s:s,s:o,s:o}", "meta-type", "enum",
				 "members", list_values(type, true),
				 "values", list_values(type, false));
	case TYPE_ARRAY:
		return json_pack("{s:s,s:s}", "meta-type", "array",
				 "element-type", list_type(l, type->element));
	case TYPE_ALTERNATE:
		return json_pack("{s:s,s:o}", "meta-type", "alternate",
				 "members", list_members(l, type));
	default:
		return json_pack("{s:s,s:s}", "meta-type", "builtin",
				 "json-type", json_types[type->kind]);
	}
}

static void list_entry(struct listing *l, const char *name, json_t *entry)
{
	json_object_set_new(entry, "name", json_string(name));
	json_array_append_new(l->list, entry);
}

/* The name that others call it by; lists it when it is not yet. */
static const char *list_type(struct listing *l, const struct type *type)
{
	if (type->kind == TYPE_SIZE || type->kind == TYPE_UINT)
		type = type_named("int");
	if (!json_object_get(l->seen, type->name)) {
		json_object_set_new(l->seen, type->name, json_true());
		list_entry(l, type->name, type_entry(l, type));
	}
	return type->name;
}

json_t *schema_query(const struct command *table)
{
	struct listing l = { json_array(), json_object() };

	for (; table->name; table++)
		list_entry(&l, table->name, json_pack("{s:s,s:s,s:s}",
			"meta-type", "command",
			"arg-type", list_type(&l, command_takes(table)),
			"ret-type", list_type(&l, command_gives(table))));
	for (const struct definition *d = events; d->name; d++)
		list_entry(&l, d->name, json_pack("{s:s,s:s}", "meta-type",
			"event", "arg-type", list_type(&l, event_type(d))));
	json_decref(l.seen);
	return l.list;
}
