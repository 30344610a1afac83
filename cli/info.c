/* SPDX-License-Identifier: MIT */
/*
 * info.c - blkgraph info: an image file without attaching it, or a device.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

bool is_device(const char *name)
{
	struct stat st;

	if (!strncmp(name, "/dev/ublkb", strlen("/dev/ublkb")) ||
	    !strncmp(name, "/dev/blkgraph/", strlen("/dev/blkgraph/")))
		return true;
	return stat(name, &st) < 0 && !strchr(name, '/');
}

static bool is_size(const char *name)
{
	size_t len = strlen(name);

	return len >= 4 && !strcmp(name + len - 4, "size");
}

/* "virtual-size: 1.5G (1610612736 bytes)"; deeper objects indented. */
static void print_members(json_t *object, int indent)
{
	const char *name;
	json_t *value;
	char text[16];

	json_object_foreach(object, name, value) {
		printf("%*s%s:", indent, "", name);
		if (json_is_string(value))
			printf(" %s\n", printable(json_string_value(value)));
		else if (json_is_integer(value) && is_size(name))
			printf(" %s (%llu bytes)\n", human_size(text,
			       (uint64_t)json_integer_value(value)),
			       (unsigned long long)json_integer_value(value));
		else if (json_is_integer(value))
			printf(" %lld\n",
			       (long long)json_integer_value(value));
		else if (json_is_boolean(value))
			printf(" %s\n", json_is_true(value) ? "yes" : "no");
		else
			putchar('\n');
		if (json_is_object(value))
			print_members(value, indent + 2);
	}
}

static json_t *info_of_device(const char *name)
{
	json_t *exports, *nodes, *exp;

	client_connect(CONNECT_ONLY);
	exports = client_call("query-block-exports", NULL, NULL);
	nodes = client_call("query-named-block-nodes",
			    json_pack("{s:b}", "flat", 1), NULL);
	exp = find_export(exports, name);
	if (!exp)
		die(EXIT_NOT_FOUND, "there is no device '%s'", name);
	json_object_set(exp, "node", find_by(nodes, "node-name",
					     get_string(exp, "node-name")));
	return exp;
}

static json_t *info_of_file(const struct args *args)
{
	const char *fmt = args_value(args, "format");
	json_t *call = json_pack("{s:o}", "filename",
				 json_file_name(args->operands[0]));

	if (fmt)
		json_object_set_new(call, "format", json_name(fmt));
	client_connect(CONNECT_OR_START);
	return client_call("blkgraph-info", call, NULL);
}

int verb_info(const struct args *args)
{
	char *name = device_name(args->operands[0]);
	json_t *info = is_device(name) ? info_of_device(name) :
		info_of_file(args);

	if (args_given(args, "json"))
		print_json(info);
	else
		print_members(info, 0);
	return EXIT_DONE;
}
