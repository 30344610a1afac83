/* SPDX-License-Identifier: MIT */
/*
 * verbs.c - one table: the verbs, their options and operands, their help. The
 * parser, --help and the check of the manual page go by it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/column.h"

static const struct cli_option attach_options[] = {
	{ "name", 'n', "NAME", "name, as in /dev/blkgraph/NAME" },
	{ "format", 'f', FORMATS, "default: by its name, else guessed" },
	{ "read-only", 'r', NULL, "nobody can write to the device" },
	{ "temporary", 0, NULL, "what is written is thrown away at detach" },
	{ "force", 0, NULL, "though others hold what is only read" },
	{ "offset", 'o', "SIZE", "the device begins there in the disk" },
	{ "sizelimit", 0, "SIZE", "the device is no larger" },
	{ "partition", 'P', "N", "this partition alone, of GPT or MBR" },
	{ "queues", 0, "N", "hardware queues, to 64; not via ublk to 16" },
	{ "depth", 0, "N", "requests in flight per queue, to 4096" },
	{ "via", 0, "auto|ublk|nbd|fuse", "how; default: the first there is" },
	{ "device", 0, "DEVICE", "this: /dev/ublkbN, /dev/nbdN or /dev/loopN" },
	{ "zero-copy", 0, "auto|on|off", "default: auto" },
	{ "cache", 0, "none|writeback",
	  "default: none; writeback: the page cache" },
	{ "block-size", 0, "512|4096", "bytes of a logical block" },
	{ "on-no-space", 0, "hold|report",
	  "writes that find none wait, or fail" },
	{ "on-error", 0, "report|hold", "writes that fail otherwise" },
	{ "hold-time", 0, "SECONDS", "at most, or forever; default: 60" },
	{ "json", 0, NULL, "print what was made as JSON" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option check_options[] = {
	{ "format", 'f', FORMATS, "default: by its name, else guessed" },
	{ "json", 0, NULL, "print JSON, as qemu-img check does" },
	{ "bytes", 'b', NULL, "sizes in bytes" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option create_options[] = {
	{ "format", 'f', FORMATS, "default: by the file's name" },
	{ "backing", 'b', "FILE", "image below, as seen from the new file" },
	{ "backing-format", 'F', FORMATS, "its format; default: by its name" },
	{ "options", 'o', "KEY=VALUE,...", "the format's own, see below" },
	{ "force", 0, NULL, "replace the file if there is one" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option detach_options[] = {
	{ "all", 0, NULL, "whatever 'blkgraph list' shows" },
	{ "force", 0, NULL, "also while it is in use: says what is lost" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option list_options[] = {
	{ "json", 0, NULL, "print JSON, numbers exact" },
	{ "output", 'o', "COLS", "columns: A,B,C; +A,B: besides the usual" },
	{ "output-all", 'O', NULL, "all columns" },
	{ "bytes", 'b', NULL, "sizes in bytes, times in nanoseconds" },
	{ "noheadings", 'n', NULL, "no line of column names" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option graph_options[] = {
	{ "json", 0, NULL, "print nodes and edges as JSON" },
	{ "watch", 'w', NULL, "draw it anew whenever it changes" },
	{ "limits", 'l', NULL, "show what throttles let pass" },
	{ "permissions", 'p', NULL, "show what each may do to what is below" },
	{ "dot", 0, NULL, "print a picture for dot(1)" },
	{ "svg", 0, NULL, "print a picture, drawn by dot(1)" },
	{ "bytes", 'b', NULL, "sizes in bytes" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option info_options[] = {
	{ "format", 'f', FORMATS, "default: by its name, else guessed" },
	{ "json", 0, NULL, "print JSON" },
	{ "bytes", 'b', NULL, "sizes in bytes" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option map_options[] = {
	{ "format", 'f', FORMATS, "default: by its name, else guessed" },
	{ "json", 0, NULL, "print JSON, as qemu-img map does" },
	{ "bytes", 'b', NULL, "sizes in bytes, as they always are here" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option change_options[] = {
	{ "json", 0, NULL, "print the result as JSON" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option put_in_options[] = {
	{ "node", 0, "NODE", "above this node; default: what DEV shows" },
	{ "parent", 0, "PARENT", "for this node or device alone, below it" },
	{ "child", 0, "NAME", "which child of PARENT: file, backing, ..." },
	{ "json", 0, NULL, "print the result as JSON" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option take_out_options[] = {
	{ "parent", 0, "PARENT", "for this node or device alone" },
	{ "child", 0, "NAME", "which child of PARENT: file, backing, ..." },
	{ "json", 0, NULL, "print the result as JSON" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option resize_options[] = {
	{ "force", 0, NULL, "also where data, or a file system, is cut off" },
	{ "json", 0, NULL, "print the result as JSON" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option reopen_options[] = {
	{ "read-only", 'r', NULL, "nobody can write to the device any more" },
	{ "read-write", 'w', NULL, "it can be written to again" },
	{ "cache", 0, "none|writeback", "writeback: the page cache" },
	{ "force", 0, NULL, "read-only also while it is mounted to write" },
	{ "json", 0, NULL, "print the result as JSON" },
	{ NULL, 0, NULL, NULL }
};

#define LIMIT "N[,BURST[,SECONDS]]"
#define LIMIT_SIZE "SIZE[,BURST[,SECONDS]]"

static const struct cli_option limit_options[] = {
	{ "iops-total", 0, LIMIT, "requests a second" },
	{ "iops-read", 0, LIMIT, "reads" },
	{ "iops-write", 0, LIMIT, "writes" },
	{ "bps-total", 0, LIMIT_SIZE, "bytes a second" },
	{ "bps-read", 0, LIMIT_SIZE, "bytes read" },
	{ "bps-write", 0, LIMIT_SIZE, "bytes written" },
	{ "iops-size", 0, "SIZE", "larger requests count as several" },
	{ "group", 0, "GROUP", "limits that disks share by this name" },
	{ "off", 0, NULL, "take the limits away" },
	{ "json", 0, NULL, "print JSON" },
	{ "bytes", 'b', NULL, "sizes in bytes" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option resume_options[] = {
	{ "fail", 0, NULL, "what is held fails now, with its error" },
	{ "json", 0, NULL, "print the result as JSON" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option stats_options[] = {
	{ "pauses", 'p', NULL, "how long changes of each kind held I/O" },
	{ "json", 0, NULL, "print JSON, numbers exact" },
	{ "output", 'o', "COLS", "columns: A,B,C; +A,B: besides the usual" },
	{ "output-all", 'O', NULL, "all columns" },
	{ "bytes", 'b', NULL, "sizes in bytes, times in nanoseconds" },
	{ "noheadings", 'n', NULL, "no line of column names" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option log_options[] = {
	{ "follow", 'f', NULL, "then print what is added, until interrupted" },
	{ "lines", 'n', "N", "only the last N" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option qmp_options[] = {
	{ "events", 0, NULL, "then print events, until interrupted" },
	{ "compact", 0, NULL, "print the result on one line" },
	{ NULL, 0, NULL, NULL }
};

static const struct cli_option no_options[] = { { NULL, 0, NULL, NULL } };

const struct verb verbs[] = {
	{ "attach", "FILE", "make a disk image a block device, print its path",
	  "blkgraph attach -n web disk.qcow2",
	  1, 1, attach_options, verb_attach, NULL, NULL },
	{ "check", "FILE", "look for errors in an image, change nothing",
	  "blkgraph check disk.qcow2",
	  1, 1, check_options, verb_check, NULL, NULL },
	{ "create", "FILE [SIZE]", "make a new image file",
	  "blkgraph create disk.qcow2 20G",
	  1, 2, create_options, verb_create, NULL, create_help },
	{ "detach", "DEV|FILE...", "take block devices away",
	  "blkgraph detach /dev/ublkb0",
	  0, -1, detach_options, verb_detach, NULL, NULL },
	{ "list", "[DEV|FILE]...", "show the devices",
	  "blkgraph list -o +MOUNTPOINT,ZC",
	  0, -1, list_options, verb_list, list_columns, NULL },
	{ "graph", "[DEV]", "draw the nodes below devices",
	  "blkgraph graph /dev/ublkb0",
	  0, 1, graph_options, verb_graph, NULL, NULL },
	{ "info", "FILE|DEV", "describe an image file or a device",
	  "blkgraph info disk.qcow2",
	  1, 1, info_options, verb_info, NULL, NULL },
	{ "map", "FILE|DEV", "show which image has what of a disk",
	  "blkgraph map overlay.qcow2",
	  1, 1, map_options, verb_map, map_columns, NULL },
	{ "snapshot", "DEV [FILE|DEV]...",
	  "keep disks as they are now, go on in new images",
	  "blkgraph snapshot /dev/ublkb0 upgrade.qcow2",
	  1, -1, change_options, verb_snapshot, NULL, NULL },
	{ "insert", "DEV FILTER [KEY=VALUE]...",
	  "put a filter under a device while it is used",
	  "blkgraph insert /dev/ublkb0 nop node-name=f",
	  2, -1, put_in_options, verb_insert, NULL, insert_help },
	{ "remove", "DEV FILTER-NODE",
	  "take a filter away while the device is used",
	  "blkgraph remove /dev/ublkb0 f",
	  2, 2, take_out_options, verb_remove, NULL, NULL },
	{ "resize", "DEV [SIZE|+SIZE]",
	  "give a disk another size while it is used",
	  "blkgraph resize /dev/ublkb0 +10G",
	  1, 2, resize_options, verb_resize, NULL, NULL },
	{ "reopen", "DEV", "make a device read-only and back, or cache it",
	  "blkgraph reopen /dev/ublkb0 --read-only",
	  1, 1, reopen_options, verb_reopen, NULL, NULL },
	{ "throttle", "DEV", "limit what a device does, or show its limits",
	  "blkgraph throttle /dev/ublkb0 --iops-read 500 --bps-total 10M,50M",
	  1, 1, limit_options, verb_throttle, NULL, throttle_help },
	{ "resume", "DEV",
	  "try again what is held of writes that failed",
	  "blkgraph resume /dev/ublkb0",
	  1, 1, resume_options, verb_resume, NULL, NULL },
	{ "stats", "[DEV]", "show what devices have done",
	  "blkgraph stats -o NAME,READS,WRITES",
	  0, 1, stats_options, verb_stats, stats_columns, NULL },
	{ "start", "", "start the daemon, if there is none",
	  "blkgraph start",
	  0, 0, no_options, verb_start, NULL, NULL },
	{ "stop", "", "end the daemon, unless a device is in use",
	  "blkgraph stop",
	  0, 0, no_options, verb_stop, NULL, NULL },
	{ "log", "", "show what the daemon has said",
	  "blkgraph log -n 20",
	  0, 0, log_options, verb_log, NULL, NULL },
	{ "qmp", "COMMAND [KEY=VALUE|JSON]...",
	  "run any command of the control protocol",
	  "blkgraph qmp query-named-block-nodes flat=on",
	  0, -1, qmp_options, verb_qmp, NULL, NULL },
	{ "help", "[VERB]", "show the verbs, or one's options",
	  "blkgraph help attach",
	  0, 1, no_options, verb_show_help, NULL, NULL },
	{ "version", "", "show the version",
	  "blkgraph version",
	  0, 0, no_options, verb_version, NULL, NULL },
	{ NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};

const struct verb *verb_find(const char *name)
{
	for (const struct verb *v = verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

void verb_unknown(const char *name)
{
	struct guess guess = { NULL, 0 };

	for (const struct verb *v = verbs; v->name; v++)
		guess_try(&guess, name, v->name);
	if (guess.name)
		die(EXIT_USAGE, "there is no verb '%s'; did you mean '%s'?",
		    name, guess.name);
	die(EXIT_USAGE, "there is no verb '%s' (try 'blkgraph help')", name);
}

void verb_help(const struct verb *verb)
{
	printf("Usage: blkgraph %s%s%s%s\nExample: %s\n\n%c%s.\n",
	       verb->name, verb->options->name ? " [OPTION]..." : "",
	       *verb->operands ? " " : "", verb->operands, verb->example,
	       verb->summary[0] - 'a' + 'A', verb->summary + 1);
	if (verb->options->name)
		printf("\n");
	for (const struct cli_option *o = verb->options; o->name; o++) {
		char left[48];

		snprintf(left, sizeof(left), "%c%c%c --%s%s%s",
			 o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
			 o->letter ? ',' : ' ', o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		printf("  %-31s %s\n", left, o->help);
	}
	if (verb->columns)
		table_help(verb->columns);
	if (verb->more_help)
		verb->more_help();
}
