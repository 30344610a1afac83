/* SPDX-License-Identifier: MIT */
/*
 * detach.c - blkgraph detach: takes block devices away. What one of several
 * names fails with does not keep the others; the first failure is the exit
 * status.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static json_t *detach_one(const char *name, const char *mode)
{
	json_t *error = NULL;

	device_call("block-export-del",
		    json_pack("{s:o,s:s}", "id", json_name(device_name(name)),
			      "mode", mode), name, &error);
	return error;
}

int verb_detach(const struct args *args)
{
	bool force = args_given(args, "force");
	int status = EXIT_DONE;

	client_connect(CONNECT_ONLY);
	for (int i = 0; i < args->count; i++) {
		const char *name = args->operands[i];
		json_t *error = detach_one(name, "safe");

		if (error && force && error_status(error) != EXIT_NOT_FOUND) {
			complain("%s; by force: whoever uses it gets I/O "
				 "errors, and what was not flushed to it is "
				 "lost", error_text(error));
			error = detach_one(name, "hard");
		}
		if (!error)
			continue;
		complain("%s", error_text(error));
		if (status == EXIT_DONE)
			status = error_status(error);
	}
	return status;
}
