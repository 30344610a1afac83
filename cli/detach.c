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
		    json_pack("{s:o,s:s}", "id", json_text(device_name(name)),
			      "mode", mode), name, &error);
	return error;
}

static int detach(const char *name, bool force)
{
	json_t *error = detach_one(name, "safe");

	if (error && force && error_status(error) != EXIT_NOT_FOUND) {
		complain("%s; by force: whoever uses it gets I/O errors, and "
			 "what was not flushed to it is lost",
			 error_text(error));
		error = detach_one(name, "hard");
	}
	if (!error)
		return EXIT_DONE;
	complain("%s", error_text(error));
	return error_status(error);
}

static int detach_each(json_t *exports, bool force)
{
	int status = EXIT_DONE;
	json_t *exp;
	size_t i;

	json_array_foreach(exports, i, exp) {
		int one = detach(get_string(exp, "id"), force);

		status = status ? status : one;
	}
	return status;
}

/* A device, or all that are of a file. */
static int detach_operand(const char *name, bool force)
{
	json_t *all = client_call("query-block-exports", NULL, NULL);
	json_t *named;

	if (find_export(all, device_name(name)))
		return detach(name, force);
	named = operand_exports(all, name);
	if (json_array_size(named))
		return detach_each(named, force);
	complain(named ? "no device is of the image '%s'" :
		 "there is no device '%s'", name);
	return EXIT_NOT_FOUND;
}

int verb_detach(const struct args *args)
{
	bool force = args_given(args, "force"), all = args_given(args, "all");
	int status = EXIT_DONE;

	if (all && args->count)
		die(EXIT_USAGE, "detach: '%s' is too much: --all takes no "
		    "operand", args->operands[0]);
	if (!all && !args->count)
		die(EXIT_USAGE, "detach: an operand is missing: blkgraph "
		    "detach %s", args->verb->operands);
	if (!client_connect(all ? CONNECT_IF_THERE : CONNECT_ONLY))
		return EXIT_DONE;
	if (all)
		return detach_each(client_call("query-block-exports", NULL,
					       NULL), force);
	for (int i = 0; i < args->count; i++) {
		int one = detach_operand(args->operands[i], force);

		status = status ? status : one;
	}
	return status;
}
