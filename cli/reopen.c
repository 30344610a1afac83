/* SPDX-License-Identifier: MIT */
/*
 * reopen.c - blkgraph reopen: whether a disk in use can be written to, and
 * whether its image goes through the page cache.
 */
#include <stdio.h>

#include "cli/cli.h"

int verb_reopen(const struct args *args)
{
	const char *name = args->operands[0];
	const char *cache = args_value(args, "cache");
	bool read_only = args_given(args, "read-only");
	bool read_write = args_given(args, "read-write");
	json_t *call = json_pack("{s:o,s:b}", "id",
				 json_text(device_name(name)), "force",
				 args_given(args, "force"));
	json_t *result, *why = NULL;

	if (read_only && read_write)
		die(EXIT_USAGE, "reopen: --read-only and --read-write exclude "
		    "each other");
	if (!read_only && !read_write && !cache)
		die(EXIT_USAGE, "reopen: what shall change of '%s'? "
		    "--read-only, --read-write or --cache say it", name);
	if (read_only || read_write)
		json_object_set_new(call, "writable",
				    json_boolean(read_write));
	if (cache)
		json_object_set_new(call, "cache", json_text(cache));
	client_connect(CONNECT_ONLY);
	result = device_call("blkgraph-reopen", call, name, &why);
	if (!result)
		die(error_status(why), "%s", renamed(error_text(why), "Export",
						     "Device"));
	if (args_given(args, "json"))
		print_json(result);
	else if (!get_uint(result, "pause-ns"))
		printf("%s is so already\n", name);
	else
		printf("%s: %s%s%s; %s\n", name,
		       get_bool(result, "writable") ? "read-write" :
		       "read-only", cache ? ", cache " : "",
		       cache ? cache : "", pause_words(result));
	return EXIT_DONE;
}
