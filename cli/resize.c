/* SPDX-License-Identifier: MIT */
/*
 * resize.c - blkgraph resize: another size for a disk that is in use.
 */
#include <stdio.h>

#include "cli/cli.h"

#define SECTOR 512u

/* Whole sectors, as create makes them. */
static void put_size(json_t *call, const char *text)
{
	const char *plain = *text == '+' ? text + 1 : text;
	uint64_t size;

	if (!size_parse(plain, &size) || size > INT64_MAX - SECTOR)
		die(EXIT_USAGE, "resize: '%s' is no size: " SIZE_WORDS, text);
	if (!size)
		die(EXIT_USAGE, "resize: '%s' is no size: a disk has at least"
		    " one sector", text);
	size = (size + SECTOR - 1) / SECTOR * SECTOR;
	json_object_set_new(call, plain == text ? "size" : "grow-by",
			    json_integer((json_int_t)size));
}

static void print_resized(const char *name, const json_t *result)
{
	uint64_t size = get_uint(result, "size");
	char text[32];

	if (size == get_uint(result, "size-before"))
		printf("%s has %s, as before\n", name,
		       human_size(text, size));
	else
		printf("%s has %s; %s\n", name, human_size(text, size),
		       pause_words(result));
}

int verb_resize(const struct args *args)
{
	const char *name = args->operands[0];
	json_t *call = json_pack("{s:o,s:b}", "id",
				 json_text(device_name(name)), "force",
				 args_given(args, "force"));
	json_t *result, *why = NULL;

	if (args->count > 1)
		put_size(call, args->operands[1]);
	client_connect(CONNECT_ONLY);
	result = device_call("blkgraph-resize", call, name, &why);
	if (!result)
		die(error_status(why), "%s",
		    renamed(error_text(why), "'force'", "--force"));
	if (args_given(args, "json"))
		print_json(result);
	else
		print_resized(name, result);
	return EXIT_DONE;
}
