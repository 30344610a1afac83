/* SPDX-License-Identifier: MIT */
/*
 * filter.c - blkgraph insert and remove: filters under a device in use.
 */
#include <stdio.h>

#include "cli/cli.h"

void insert_help(void)
{
	printf("\nFilters:\n  nop            does nothing\n"
	       "  copy-on-read   makes what is read the image's own\n"
	       "  delay          makes requests take longer, read-ns=... each"
	       "\n"
	       "  throttle       lets pass what the limits of throttle-group "
	       "allow\n"
	       "  blkverify      compares what the disk and node test give\n"
	       "  blklogwrites   writes every change to the node log, to replay"
	       "\n"
	       "  blkdebug       fails what inject-error says, asks for limits"
	       "\n"
	       "KEY=VALUE, of each: node-name, read-only, discard, ...\n");
}

/* Whose link it is that changes; of all parents where none is named. */
static void put_parent(json_t *call, const struct args *args)
{
	const char *parent = args_value(args, "parent");
	const char *child = args_value(args, "child");

	if (child && !parent)
		die(EXIT_USAGE, "%s: whose child '%s' is meant must be said"
		    " with --parent", args->verb->name, child);
	if (parent)
		json_object_set_new(call, "parent",
				    json_text(device_name(parent)));
	if (child)
		json_object_set_new(call, "child", json_text(child));
}

static json_t *insert_options(const struct args *args)
{
	json_t *options = json_pack("{s:o}", "driver",
				    json_text(args->operands[1]));

	word_check("insert: the filter", FILTERS, args->operands[1]);
	for (int i = 2; i < args->count; i++)
		put_option(options, args->verb, args->operands[i]);
	return options;
}

int verb_insert(const struct args *args)
{
	json_t *call = json_pack("{s:o,s:o}", "id",
				 json_text(device_name(args->operands[0])),
				 "options", insert_options(args));
	json_t *result, *why = NULL;

	if (args_given(args, "node"))
		json_object_set_new(call, "node-name",
				    json_text(args_value(args, "node")));
	put_parent(call, args);
	client_connect(CONNECT_ONLY);
	result = device_call("blkgraph-insert", call, args->operands[0], &why);
	/* what was typed has no such part */
	if (!result)
		die(error_status(why), "%s", renamed(error_text(why),
						     "'options.", "'"));
	if (args_given(args, "json"))
		print_json(result);
	else
		printf("%s inserted; %s\n", get_string(result, "node-name"),
		       pause_words(result));
	return EXIT_DONE;
}

int verb_remove(const struct args *args)
{
	json_t *call = json_pack("{s:o,s:o}", "id",
				 json_text(device_name(args->operands[0])),
				 "node-name", json_text(args->operands[1]));
	json_t *result;

	put_parent(call, args);
	client_connect(CONNECT_ONLY);
	result = device_call("blkgraph-remove", call, args->operands[0], NULL);
	if (args_given(args, "json"))
		print_json(result);
	else
		printf("%s removed; %s\n", args->operands[1],
		       pause_words(result));
	return EXIT_DONE;
}
