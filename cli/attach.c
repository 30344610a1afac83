/* SPDX-License-Identifier: MIT */
/*
 * attach.c - blkgraph attach: a disk image as a block device. Standard output
 * is the device's path and nothing else.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define NAME_LONGEST 31
/* via ublk; what another way does not take the daemon says */
#define QUEUES_MOST 64
#define DEPTH_MOST 4096
#define DEVICE_MOST 1048575
#define HOLD_MOST (10 * 365 * 24 * 3600)

static void set_text(json_t *call, const char *name, const char *value)
{
	if (value)
		json_object_set_new(call, name, json_text(value));
}

static void set_number(json_t *call, const char *name,
		       const struct args *args, const char *option,
		       uint64_t highest)
{
	if (args_given(args, option))
		json_object_set_new(call, name, json_integer((json_int_t)
				    args_number(args, option, highest)));
}

static void set_hold_time(json_t *call, const struct args *args)
{
	const char *text = args_value(args, "hold-time");

	if (text && !strcmp(text, "forever"))
		json_object_set_new(call, "hold-time", json_integer(0));
	else if (text && (text[0] < '0' || text[0] > '9'))
		die(EXIT_USAGE, "attach: --hold-time takes seconds or forever,"
		    " not '%s'", text);
	else
		set_number(call, "hold-time", args, "hold-time", HOLD_MOST);
}

static void set_size_option(json_t *call, const char *name,
			    const struct args *args, const char *option,
			    uint64_t lowest)
{
	if (args_given(args, option))
		json_object_set_new(call, name, json_integer((json_int_t)
				    args_size(args, option, lowest)));
}

/* What can be seen to be wrong without asking the daemon. */
static void attach_check(const struct args *args)
{
	const char *name = args_value(args, "name");

	/* it becomes a path */
	if (name && (!isalpha((unsigned char)*name) ||
		     strspn(name, "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
		     strlen(name)))
		die(EXIT_USAGE, "attach: a name begins with a letter and has "
		    "letters, digits, '.', '_' and '-', not '%s'", name);
	if (name && strlen(name) > NAME_LONGEST)
		die(EXIT_USAGE, "attach: a name has at most %d bytes, and '%s'"
		    " has %zu", NAME_LONGEST, name, strlen(name));
	if (args_given(args, "partition") &&
	    (args_given(args, "offset") || args_given(args, "sizelimit")))
		die(EXIT_USAGE, "attach: --partition says where the device "
		    "begins and ends: --%s is too much",
		    args_given(args, "offset") ? "offset" : "sizelimit");
	if (args_given(args, "temporary") && args_given(args, "read-only"))
		die(EXIT_USAGE, "attach: --temporary is for what is written, "
		    "and nothing is with --read-only");
}

/* The devices that each way makes. */
static const struct {
	const char *via, *disk;
} made_disks[] = {
	{ "ublk", "ublkb" }, { "nbd", "nbd" }, { "fuse", "loop" },
};

/* "/dev/nbd3" is its way and its number; of a number alone the way is said
 * otherwise, or ublk. */
static void set_device(json_t *call, const struct args *args)
{
	const char *device = args_value(args, "device"), *n = NULL;
	const char *via = args_value(args, "via"), *way = NULL;

	if (!device)
		return;
	if (via && !strcmp(via, "auto"))
		via = NULL;
	if (isdigit((unsigned char)*device)) {
		way = via ? via : "ublk";
		n = device;
	}
	for (size_t i = 0; i < sizeof(made_disks) / sizeof(made_disks[0]);
	     i++) {
		char *path = format("/dev/%s", made_disks[i].disk);

		if (strncmp(device, path, strlen(path)))
			continue;
		way = made_disks[i].via;
		n = device + strlen(path);
	}
	if (!n || !*n || n[strspn(n, "0123456789")])
		die(EXIT_USAGE, "attach: --device is /dev/ublkbN, /dev/nbdN, "
		    "/dev/loopN or a number, not '%s'", device);
	if (strlen(n) > 7 || atoi(n) > DEVICE_MOST)
		die(EXIT_USAGE, "attach: --device '%s' has a number above %d, "
		    "the kernel's last", device, DEVICE_MOST);
	if (via && strcmp(via, way))
		die(EXIT_USAGE, "attach: --device '%s' is made via %s, not via "
		    "%s", device, way, via);
	json_object_set_new(call, "via", json_string(way));
	json_object_set_new(call, "device-id", json_integer(atoi(n)));
}

static json_t *attach_call(const struct args *args)
{
	const char *zero_copy = args_value(args, "zero-copy");
	json_t *call = json_object();

	json_object_set_new(call, "filename",
			    json_file_name(args->operands[0]));
	set_text(call, "id", args_value(args, "name"));
	set_text(call, "format", args_value(args, "format"));
	set_text(call, "cache", args_value(args, "cache"));
	set_text(call, "via", args_value(args, "via"));
	set_device(call, args);
	if (args_given(args, "read-only"))
		json_object_set_new(call, "read-only", json_true());
	set_size_option(call, "offset", args, "offset", 0);
	set_size_option(call, "size-limit", args, "sizelimit", 512);
	set_number(call, "partition", args, "partition", 65535);
	if (args_given(args, "temporary"))
		json_object_set_new(call, "temporary", json_true());
	if (args_given(args, "force"))
		json_object_set_new(call, "force", json_true());
	set_number(call, "queues", args, "queues", QUEUES_MOST);
	set_number(call, "depth", args, "depth", DEPTH_MOST);
	set_number(call, "logical-block-size", args, "block-size", 65536);
	set_text(call, "on-no-space", args_value(args, "on-no-space"));
	set_text(call, "on-error", args_value(args, "on-error"));
	set_hold_time(call, args);
	if (zero_copy && strcmp(zero_copy, "auto"))
		json_object_set_new(call, "zero-copy",
				    json_boolean(!strcmp(zero_copy, "on")));
	return call;
}

/* What the user asked for and did not get. */
static void attach_warn(const struct args *args, const json_t *made)
{
	const char *zero_copy = args_value(args, "zero-copy");
	uint64_t size = get_uint(made, "disk-size");
	uint64_t rest = size - get_uint(made, "size");

	if (rest)
		complain("'%s' has %" PRIu64 " bytes, and %s has whole blocks:"
			 " the last %" PRIu64 " bytes are out of reach",
			 args->operands[0], size, get_string(made, "device"),
			 rest);

	if (zero_copy && !strcmp(zero_copy, "on") &&
	    !get_bool(made, "zero-copy"))
		complain("%s is without zero copy: %s",
			 get_string(made, "device"),
			 get_string(made, "zero-copy-reason"));
	if (get_bool(made, "guessed") && !args_given(args, "format"))
		complain("the format of '%s' was guessed: %s (-f says it)",
			 args->operands[0], get_string(made, "format"));
	if (json_object_get(made, "read-only-reason"))
		complain("%s is read-only: %s", get_string(made, "device"),
			 get_string(made, "read-only-reason"));
	if (json_object_get(made, "warning"))
		complain("%s: %s", get_string(made, "device"),
			 get_string(made, "warning"));
	if (json_object_get(made, "note"))
		complain("%s: %s", get_string(made, "device"),
			 get_string(made, "note"));
}

/* What the way of showing it, which the daemon chose, does not take is told as
 * it was typed. */
static void __attribute__((noreturn)) attach_refused(const struct args *args,
						     const json_t *why)
{
	static const char *const numbers[] = { "queues", "depth",
					       "hold-time" };
	const char *text = error_text(why);

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char *theirs = format("Parameter '%s' is ", numbers[i]);

		if (!strncmp(text, theirs, strlen(theirs)))
			die(EXIT_USAGE, "attach: %s%s%s", renamed(text, theirs,
			    format("--%s is ", numbers[i])),
			    args_given(args, "via") ? ", via " : "",
			    args_given(args, "via") ?
			    args_value(args, "via") : "");
	}
	die(error_status(why), "%s", text);
}

int verb_attach(const struct args *args)
{
	json_t *call, *made, *why;

	attach_check(args);
	call = attach_call(args);
	file_must_exist(args->operands[0]);
	client_connect(CONNECT_OR_START);
	made = client_call("blkgraph-attach", call, &why);
	if (!made) {
		end_started_daemon();
		attach_refused(args, why);
	}
	attach_warn(args, made);
	if (args_given(args, "json"))
		print_json(made);
	else
		puts(get_string(made, "device"));
	return EXIT_DONE;
}
