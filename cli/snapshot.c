/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - blkgraph snapshot: from now on the disks are written to new
 * images, and those that they had stay as they are.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* A word that names no device and is no path may be a device's name with a
 * slip in it. */
static void must_be_path(const char *word)
{
	if (!strpbrk(word, "/."))
		die(EXIT_NOT_FOUND, "there is no device '%s', and no file has "
		    "such a name here: FILE has a '/' or '.' in it", word);
}

static json_t *disk_named(json_t *exports, const char *name)
{
	json_t *exp = find_export(exports, device_name(name));

	return exp ? json_pack("{s:O}", "id", json_object_get(exp, "id"))
		   : NULL;
}

static json_t *snapshot_disks(const struct args *args)
{
	json_t *exports = client_call("query-block-exports", NULL, NULL);
	json_t *disks = checked(json_array()), *disk;

	for (int i = 0; i < args->count; i++) {
		const char *word = args->operands[i];

		disk = disk_named(exports, word);
		if (disk && find_by(disks, "id", get_string(disk, "id")))
			die(EXIT_USAGE, "snapshot: device '%s' is named twice",
			    word);
		if (disk) {
			json_array_append_new(disks, disk);
		} else if (i == 1 && args->count == 2) {
			must_be_path(word);
			json_object_set_new(json_array_get(disks, 0), "file",
					    json_file_name(word));
		} else {
			die(EXIT_NOT_FOUND, "there is no device '%s'", word);
		}
	}
	return disks;
}

static void print_disks(json_t *result)
{
	json_t *disks = json_object_get(result, "disks"), *disk;
	size_t i;

	if (json_array_size(disks) == 1) {
		printf("%s; %s\n",
		       get_string(json_array_get(disks, 0), "file"),
		       pause_words(result));
		return;
	}
	json_array_foreach(disks, i, disk)
		printf("%s: %s\n", get_string(disk, "id"),
		       get_string(disk, "file"));
	printf("%zu disks; %s\n", json_array_size(disks),
	       pause_words(result));
}

int verb_snapshot(const struct args *args)
{
	json_t *result;

	client_connect(CONNECT_ONLY);
	result = client_call("blkgraph-snapshot", json_pack("{s:o}", "disks",
			     snapshot_disks(args)), NULL);
	if (args_given(args, "json"))
		print_json(result);
	else
		print_disks(result);
	return EXIT_DONE;
}
