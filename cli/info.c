/* SPDX-License-Identifier: MIT */
/*
 * info.c - blkgraph info: an image file without attaching it, or a device.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static bool is_size(const char *name)
{
	size_t len = strlen(name);

	return len >= 4 && !strcmp(name + len - 4, "size");
}

static void print_scalar(const char *name, const json_t *value)
{
	char text[32];

	if (json_is_string(value))
		printf("%s\n", printable(json_string_value(value)));
	else if (json_is_integer(value) && is_size(name) && !exact_sizes)
		printf("%s (%llu bytes)\n", human_size(text,
		       (uint64_t)json_integer_value(value)),
		       (unsigned long long)json_integer_value(value));
	else if (json_is_integer(value) && !strcmp(name, "date-sec"))
		printf("%lld (%s)\n", (long long)json_integer_value(value),
		       local_time(text, json_integer_value(value)));
	else if (json_is_integer(value))
		printf("%lld\n", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		printf("%s\n", json_is_true(value) ? "yes" : "no");
	else
		puts("-");
}

static void print_members(json_t *object, int indent);

static void print_object(json_t *object, int indent)
{
	printf("%*s", json_object_size(object) ? indent : 0, "");
	print_members(object, indent);
}

static void print_list(const char *name, json_t *list, int indent)
{
	json_t *value;
	size_t i;

	json_array_foreach(list, i, value) {
		printf("%*s- ", indent, "");
		if (json_is_object(value))
			print_members(value, indent + 2);
		else
			print_scalar(name, value);
	}
}

/* "virtual-size: 1.5G (1610612736 bytes)", what is deeper indented. The first
 * line may stand behind a dash, so its indentation is the caller's. */
static void print_members(json_t *object, int indent)
{
	const char *name;
	json_t *value;
	int left = 0;

	json_object_foreach(object, name, value) {
		printf("%*s%s:", left, "", name);
		left = indent;
		putchar(json_is_object(value) || json_is_array(value) ? '\n'
								      : ' ');
		if (json_is_object(value))
			print_object(value, indent + 2);
		else if (json_is_array(value))
			print_list(name, value, indent + 2);
		else
			print_scalar(name, value);
	}
}

/* --- a device ------------------------------------------------------------ */

static json_t *nodes_of_daemon(void)
{
	return client_call("query-named-block-nodes",
			   json_pack("{s:b}", "flat", 1), NULL);
}

/* "name: text", where there is one. */
static void print_text(const char *name, const char *text)
{
	if (*text)
		printf("%s: %s\n", name, printable(text));
}

/* From the node that the device shows, filters too, to the last image. */
static void print_chain(json_t *nodes, json_t *node)
{
	printf("chain:\n");
	while (node) {
		json_t *image = json_object_get(node, "image"), *next;
		const char *file = image_file(nodes, node);
		char text[32];

		printf("  - %s: %s, %s%s", printable(get_string(node,
		       "node-name")), get_string(node, "drv"), human_size(text,
		       get_uint(image, "virtual-size")),
		       get_bool(node, "ro") ? ", read-only" : "");
		next = filtered_node(nodes, node);
		if (!next && *temporary_place(node))
			printf(", temporary, in %s",
			       printable(temporary_place(node)));
		else if (!next)
			printf(", %s", printable(file));
		putchar('\n');
		node = next ? next : backing_node(nodes, node);
	}
}

static void print_users(const json_t *exp)
{
	static const char in_use[] = "is in use: ";
	json_t *asked = client_call("blkgraph-users", json_pack("{s:O}", "id",
				    json_object_get(exp, "id")), NULL);
	const char *users = get_string(asked, "users");
	const char *at = strstr(users, in_use);

	print_text("users", at ? at + strlen(in_use) : *users ? users :
		   "nobody");
}

static void print_requests(const json_t *stats)
{
	char read[32], written[32];

	if (!stats)
		return;
	printf("requests: %llu reads (%s), %llu writes (%s), %llu flushes, "
	       "%llu discards\n",
	       (unsigned long long)get_uint(stats, "rd_operations"),
	       human_size(read, get_uint(stats, "rd_bytes")),
	       (unsigned long long)get_uint(stats, "wr_operations"),
	       human_size(written, get_uint(stats, "wr_bytes")),
	       (unsigned long long)get_uint(stats, "flush_operations"),
	       (unsigned long long)get_uint(stats, "unmap_operations"));
}

static const char *requests_counted(uint64_t n)
{
	return format("%llu request%s", (unsigned long long)n,
		      n == 1 ? "" : "s");
}

/* ", NAME for 12.00 s" of what has been so for a time that people notice. */
static void print_age(const char *name, uint64_t ns)
{
	char age[32];

	if (ns >= UINT64_C(1000000000))
		printf("%s for %s", name, human_time(age, ns));
}

static void print_under_way(const json_t *requests)
{
	uint64_t count = get_uint(requests, "in-flight");
	uint64_t oldest = get_uint(requests, "oldest-ns");

	printf("under-way: %s", count ? requests_counted(count) : "nothing");
	if (count > 1)
		print_age(", the oldest", oldest);
	else
		print_age(",", oldest);
	if (oldest >= UINT64_C(1000000000))
		printf(" at node '%s'",
		       printable(get_string(requests, "oldest-node")));
	putchar('\n');
}

/* Of what is under way, and of what is not let in. */
static void print_held(const json_t *requests)
{
	uint64_t waiting = get_uint(requests, "waiting");
	uint64_t queued = get_uint(requests, "queued");
	bool closed = json_object_get(requests, "closed-ns");

	printf("held:");
	if (waiting) {
		printf(" %s at node '%s'", requests_counted(waiting),
		       printable(get_string(requests, "waiting-node")));
		print_age(waiting > 1 ? ", the oldest" : "",
			  get_uint(requests, "waiting-ns"));
	}
	if (queued || closed) {
		printf("%s %s %s", waiting ? ";" : "",
		       requests_counted(queued), closed ?
		       "by a change of the graph" : "for want of memory");
		print_age("", get_uint(requests, "closed-ns"));
	}
	puts(waiting || queued || closed ? "" : " nothing");
}

/* What becomes of writes that fail, and of those that have. */
static void print_holds(const json_t *exp)
{
	const json_t *held = json_object_get(exp, "held");
	uint64_t longest = get_uint(exp, "hold-time");

	if (!get_bool(exp, "writable") ||
	    !json_object_get(exp, "on-no-space"))
		return;
	printf("on-no-space: %s\n", get_string(exp, "on-no-space"));
	printf("on-error: %s\n", get_string(exp, "on-error"));
	if (longest)
		printf("hold-time: %llu s\n", (unsigned long long)longest);
	else
		printf("hold-time: for ever\n");
	if (!held)
		return;
	printf("failing: %s held", requests_counted(get_uint(held, "count")));
	print_age("", get_uint(held, "since-ns"));
	printf(": %s\n", printable(get_string(held, "reason")));
}

static void print_present(const json_t *exp)
{
	const json_t *requests = json_object_get(exp, "requests");

	if (requests) {
		print_under_way(requests);
		print_held(requests);
	} else if (!get_bool(exp, "gone")) {
		printf("under-way: not known, since a thread of the daemon "
		       "does not answer\n");
	}
}

/* How often I/O was held for a change of the graph. */
static void print_pauses(const json_t *drains)
{
	char longest[32], usual[32];

	if (!get_uint(drains, "count")) {
		printf("pauses: none\n");
		return;
	}
	printf("pauses: %llu, the longest %s, 99 of 100 below %s\n",
	       (unsigned long long)get_uint(drains, "count"),
	       human_time(longest, get_uint(drains, "max-ns")),
	       human_time(usual, get_uint(drains, "p99-ns")));
}

static void print_queues(const json_t *exp)
{
	uint64_t block = get_uint(exp, "logical-block-size");

	if (json_object_get(exp, "queues"))
		printf("queues: %llu", (unsigned long long)get_uint(exp,
								"queues"));
	if (json_object_get(exp, "depth"))
		printf(" of %llu requests", (unsigned long long)get_uint(exp,
								"depth"));
	if (json_object_get(exp, "queues"))
		putchar('\n');
	if (block)
		printf("block-size: %llu bytes\n", (unsigned long long)block);
	if (json_object_get(exp, "zero-copy"))
		printf("zero-copy: %s\n", get_bool(exp, "zero-copy") ? "yes" :
		       format("no: %s", printable(get_string(exp,
						  "zero-copy-reason"))));
}

static void print_device(json_t *exp)
{
	json_t *nodes = nodes_of_daemon();

	add_image(exp, nodes);
	print_text("device", get_string(exp, "device"));
	print_text("name", get_string(exp, "id"));
	printf("size: ");
	print_scalar("size", json_object_get(exp, "size"));
	printf("read-only: %s\n", get_bool(exp, "writable") ? "no" : "yes");
	print_text("via", get_string(exp, "type"));
	print_text("mountpoint", get_string(exp, "mountpoint"));
	print_text("file", get_string(exp, "file"));
	print_text("format", get_string(exp, "format"));
	print_chain(nodes, find_by(nodes, "node-name",
				   get_string(exp, "node-name")));
	if (throttle_node(nodes, exp))
		printf("limits: %s, of group '%s'\n",
		       limits_words(throttle_node(nodes, exp)),
		       get_string(throttle_node(nodes, exp), "group"));
	print_users(exp);
	print_requests(json_object_get(exp, "stats"));
	print_present(exp);
	printf("failed: %llu\n", (unsigned long long)get_uint(exp, "errors"));
	print_holds(exp);
	print_pauses(json_object_get(exp, "drains"));
	print_queues(exp);
	if (get_bool(exp, "stuck"))
		print_text("stuck", *get_string(exp, "stuck-in") ?
			   get_string(exp, "stuck-in") : "yes");
	print_text("warning", get_string(exp, "warning"));
	print_text("note", get_string(exp, "note"));
}

/* --- a file -------------------------------------------------------------- */

static json_t *info_of_file(const struct args *args)
{
	const char *fmt = args_value(args, "format");
	json_t *call = json_pack("{s:o}", "filename",
				 json_file_name(args->operands[0]));

	if (fmt)
		json_object_set_new(call, "format", json_text(fmt));
	client_connect(CONNECT_OR_OWN);
	return client_call("blkgraph-info", call, NULL);
}

int verb_info(const struct args *args)
{
	bool json = args_given(args, "json");
	json_t *exp = operand_export(args), *info;

	exact_sizes = args_given(args, "bytes");
	if (exp && !json) {
		print_device(exp);
		return EXIT_DONE;
	}
	info = exp ? exp : info_of_file(args);
	if (exp)
		json_object_set(exp, "node", find_by(nodes_of_daemon(),
				"node-name", get_string(exp, "node-name")));
	if (json)
		print_json(info);
	else
		print_members(info, 0);
	return EXIT_DONE;
}
