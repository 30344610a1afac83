/* SPDX-License-Identifier: MIT */
/*
 * resume.c - blkgraph resume: what a disk holds of failed writes goes on.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

int verb_resume(const struct args *args)
{
	const char *name = args->operands[0];
	bool fail = args_given(args, "fail");
	json_t *call = json_pack("{s:o,s:b}", "id",
				 json_text(device_name(name)), "fail", fail);
	json_t *result, *why = NULL;
	uint64_t count;

	client_connect(CONNECT_ONLY);
	result = device_call("blkgraph-resume", call, name, &why);
	if (!result)
		die(error_status(why), "%s", error_text(why));
	count = get_uint(result, "held");
	if (args_given(args, "json"))
		print_json(result);
	else if (!count)
		printf("nothing of %s is held\n", name);
	else
		printf("%" PRIu64 " request%s of %s %s\n", count,
		       count == 1 ? "" : "s", name, fail ?
		       count == 1 ? "has failed" : "have failed" :
		       count == 1 ? "is tried again" : "are tried again");
	return EXIT_DONE;
}
