/* SPDX-License-Identifier: MIT */
/*
 * check.c - blkgraph check: whether an image's metadata contradicts itself.
 */
#include <stdio.h>

#include "cli/cli.h"

static int check_status(const json_t *found)
{
	if (get_uint(found, "corruptions"))
		return EXIT_CORRUPT;
	return get_uint(found, "leaks") ? EXIT_LEAKED : EXIT_DONE;
}

static void print_found(const json_t *found)
{
	uint64_t errors = get_uint(found, "corruptions");
	uint64_t leaks = get_uint(found, "leaks");
	uint64_t total = get_uint(found, "total-clusters");
	uint64_t allocated = get_uint(found, "allocated-clusters");
	char text[32];

	if (errors)
		printf("%llu errors, the first: %s\n",
		       (unsigned long long)errors,
		       printable(get_string(found, "first-corruption")));
	if (leaks)
		printf("%llu leaked clusters: space lost, no data\n",
		       (unsigned long long)leaks);
	if (!errors && !leaks)
		printf("No errors\n");
	printf("%llu of %llu clusters allocated (%.1f%%), %llu compressed\n",
	       (unsigned long long)allocated, (unsigned long long)total,
	       total ? 100.0 * (double)allocated / (double)total : 0.0,
	       (unsigned long long)get_uint(found, "compressed-clusters"));
	printf("The image ends at %s\n", human_size(text,
	       get_uint(found, "image-end-offset")));
}

int verb_check(const struct args *args)
{
	const char *fmt = args_value(args, "format");
	json_t *call = json_pack("{s:o}", "filename",
				 json_file_name(args->operands[0]));
	json_t *found;
	int status;

	if (fmt)
		json_object_set_new(call, "format", json_text(fmt));
	exact_sizes = args_given(args, "bytes");
	file_must_exist(args->operands[0]);
	client_connect(CONNECT_OR_OWN);
	found = client_call("blkgraph-check", call, NULL);
	status = check_status(found);
	if (args_given(args, "json"))
		print_json(found);
	else
		print_found(found);
	return status;
}
