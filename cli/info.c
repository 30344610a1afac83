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
	else if (json_is_integer(value) && is_size(name))
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

static json_t *info_of_device(json_t *exp)
{
	json_t *nodes = client_call("query-named-block-nodes",
				    json_pack("{s:b}", "flat", 1), NULL);

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
	client_connect(CONNECT_OR_OWN);
	return client_call("blkgraph-info", call, NULL);
}

int verb_info(const struct args *args)
{
	json_t *exp = operand_export(args);
	json_t *info = exp ? info_of_device(exp) : info_of_file(args);

	if (args_given(args, "json"))
		print_json(info);
	else
		print_members(info, 0);
	return EXIT_DONE;
}
