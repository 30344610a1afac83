/* SPDX-License-Identifier: MIT */
/*
 * create.c - blkgraph create: a new image file.
 *
 * The file is made here (new-file.c), so that it is the user's and nothing is
 * overwritten by chance; what goes into it is a job of the daemon.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define SECTOR 512u

/* --- options ------------------------------------------------------------- */

static uint64_t checked_size(const char *text)
{
	uint64_t size;

	if (!size_parse(text, &size) || size > INT64_MAX - SECTOR)
		die(EXIT_USAGE, "create: '%s' is no size: " SIZE_WORDS, text);
	return size;
}

const struct image_option image_options[] = {
	{ "qcow2", "cluster_size", NULL, "power of two from 512 to 2M" },
	{ "qcow2", "compat", "1.1|0.10", "version; default: 1.1" },
	{ "qcow2", "compression_type", "zlib|zstd", "default: zlib" },
	{ "qcow2", "lazy_refcounts", "on|off", "default: off" },
	{ "qcow2", "preallocation", "off|metadata|falloc|full",
	  "default: off" },
	{ "qcow2", "refcount_bits", "1|2|4|8|16|32|64", "default: 16" },
	{ "raw", "preallocation", "off|falloc|full", "default: off" },
	{ NULL, NULL, NULL, NULL }
};

void create_help(void)
{
	printf("\nKeys of -o:\n");
	for (const struct image_option *o = image_options; o->name; o++)
		printf("  %-5s  %-40s %s\n", o->fmt,
		       format("%s=%s", o->name, o->words ? o->words : "SIZE"),
		       o->help);
}

static const struct image_option *find_option(const char *fmt,
					      const char *name)
{
	struct guess guess = { NULL, 0 };
	const struct image_option *o;
	char known[256] = "";
	size_t at = 0;

	for (o = image_options; o->name; o++) {
		if (strcmp(o->fmt, fmt))
			continue;
		if (!strcmp(o->name, name))
			return o;
		guess_try(&guess, name, o->name);
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s",
				       at ? ", " : "", o->name);
	}
	if (guess.name)
		die(EXIT_USAGE, "create: %s has no option '%s'; did you mean "
		    "'%s'?", fmt, name, guess.name);
	die(EXIT_USAGE, "create: %s has no option '%s', only %s", fmt, name,
	    known);
}

static json_t *cluster_size(const char *text)
{
	uint64_t size;

	if (!size_parse(text, &size) || size < 512 || size > 2 << 20 ||
	    size & (size - 1))
		die(EXIT_USAGE, "create: cluster_size is a power of two from "
		    "512 to 2M, not '%s'", text);
	return json_integer((json_int_t)size);
}

/* An option's text as the type that it has in the protocol. */
static json_t *option_value(const struct image_option *o, const char *text)
{
	if (!o->words)
		return cluster_size(text);
	word_check(format("create: %s", o->name), o->words, text);
	if (!strcmp(o->words, "on|off"))
		return json_boolean(!strcmp(text, "on"));
	if (!strcmp(o->name, "refcount_bits"))
		return json_integer(atoi(text));
	/* what other tools call the version */
	if (!strcmp(o->name, "compat"))
		return json_string(strcmp(text, "1.1") ? "v2" : "v3");
	return json_text(text);
}

static void set_option(json_t *options, const char *fmt, char *word)
{
	char *value = strchr(word, '='), *name;
	const struct image_option *o;

	if (!value || value == word)
		die(EXIT_USAGE, "create: '%s' is not KEY=VALUE", word);
	*value++ = 0;
	o = find_option(fmt, word);
	name = format("%s", strcmp(word, "compat") ? word : "version");
	for (char *c = name; *c; c++)
		if (*c == '_')
			*c = '-';
	json_object_set_new(options, name, option_value(o, value));
	free(name);
}

/* The name as a header can hold it: one that begins with letters and a colon
 * would be a protocol's there. */
static json_t *backing_name(const char *file)
{
	return json_text(file[strcspn(file, ":/")] == ':' ?
			 format("./%s", file) : file);
}

static json_t *parse_options(const struct args *args, const char *fmt)
{
	json_t *options = checked(json_object());
	const char *given = args_value(args, "options");
	char *rest = given ? checked(strdup(given)) : NULL, *word;

	while ((word = strsep(&rest, ",")) != NULL) {
		if (!*word)
			die(EXIT_USAGE, "create: --options is KEY=VALUE,..., "
			    "not '%s'", given);
		set_option(options, fmt, word);
	}
	if (args_given(args, "backing"))
		json_object_set_new(options, "backing-file",
				    backing_name(args_value(args, "backing")));
	if (args_given(args, "backing-format"))
		json_object_set_new(options, "backing-fmt", json_text(
				    args_value(args, "backing-format")));
	return options;
}

/* What names promise that is not made here: it would be raw, and no other
 * program would find in it what the name says. */
static const struct {
	const char *suffix, *format;
} foreign_names[] = {
	{ ".cloop", "cloop" }, { ".dmg", "dmg" }, { ".hdd", "Parallels" },
	{ ".luks", "LUKS" }, { ".parallels", "Parallels" },
	{ ".qcow", "qcow v1" }, { ".qed", "QED" }, { ".vdi", "VDI" },
	{ ".vhd", "VHD" }, { ".vhdx", "VHDX" }, { ".vmdk", "VMDK" },
	{ ".vpc", "VHD" }, { NULL, NULL }
};

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);

	return len > end && !strcasecmp(name + len - end, suffix);
}

static const char *format_of(const struct args *args)
{
	const char *fmt = args_value(args, "format");
	const char *name = args->operands[0];

	if (fmt)
		return fmt;
	for (size_t i = 0; foreign_names[i].suffix; i++)
		if (has_suffix(name, foreign_names[i].suffix))
			die(EXIT_USAGE, "create: '%s' has the name of a %s "
			    "image, which blkgraph cannot make; -f raw makes "
			    "it a raw image", name, foreign_names[i].format);
	return has_suffix(name, ".qcow2") ? "qcow2" : "raw";
}

/* What is wrong without looking at any file. */
static void check_what_is_asked(const struct args *args, const char *fmt)
{
	bool backing = args_given(args, "backing");

	if (backing && !strcmp(fmt, "raw"))
		die(EXIT_USAGE, "create: a raw image has no backing file: make"
		    " '%s' with -f qcow2", args->operands[0]);
	if (args_given(args, "backing-format") && !backing)
		die(EXIT_USAGE, "create: --backing-format is for --backing, "
		    "which is not given");
	if (args->count < 2 && !backing)
		die(EXIT_USAGE, "create: a size is missing: blkgraph create "
		    "FILE SIZE");
}

/* --- the image below ----------------------------------------------------- */

/* As the header will be understood: from the new file's directory. */
static char *backing_from_file(const char *file, const char *backing)
{
	const char *slash = strrchr(file, '/');

	if (backing[0] == '/' || !slash)
		return checked(strdup(backing));
	return format("%.*s/%s", (int)(slash - file), file, backing);
}

static void refuse_itself(const char *file, const char *backing)
{
	struct stat a, b;

	if (stat(file, &a) == 0 && stat(backing, &b) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		die(EXIT_USAGE, "create: '%s' cannot be its own backing file",
		    file);
}

/* Looks at it: it is there, and gives the format and size not given. */
static void use_backing(json_t *options, const char *file)
{
	const char *name = get_string(options, "backing-file");
	json_t *fmt = json_object_get(options, "backing-fmt");
	char *path = backing_from_file(file, name);
	json_t *call = json_pack("{s:o}", "filename", json_file_name(path));
	json_t *info;

	refuse_itself(file, path);
	file_must_exist(path);
	client_connect(CONNECT_OR_OWN);
	if (fmt)
		json_object_set(call, "format", fmt);
	info = client_call("blkgraph-info", call, NULL);
	if (!fmt && get_bool(info, "guessed"))
		die(EXIT_USAGE, "create: the format of '%s' can only be"
		    " guessed: give it with -F", path);
	if (!fmt)
		json_object_set(options, "backing-fmt",
				json_object_get(info, "format"));
	if (!json_object_get(options, "size"))
		json_object_set(options, "size",
				json_object_get(info, "virtual-size"));
	free(path);
}

static void set_size(json_t *options, const struct args *args)
{
	uint64_t size;

	if (args->count > 1)
		json_object_set_new(options, "size", json_integer((json_int_t)
				    checked_size(args->operands[1])));
	if (json_object_get(options, "backing-file"))
		use_backing(options, args->operands[0]);
	size = get_uint(options, "size");
	size = (size + SECTOR - 1) / SECTOR * SECTOR;
	json_object_set_new(options, "size", json_integer((json_int_t)size));
}

/* --- making it ----------------------------------------------------------- */

/* The job of that name when it has ended. */
static json_t *wait_for_job(const char *id)
{
	for (;;) {
		json_t *jobs = client_call("query-jobs", NULL, NULL);
		json_t *job = find_by(jobs, "id", id);

		if (!job)
			die(EXIT_ERROR, "somebody else dismissed job '%s'",
			    id);
		if (!strcmp(get_string(job, "status"), "concluded"))
			return job;
		/* its end is news that comes after this answer */
		json_decref(client_event());
	}
}

/* path: of the file that is made, which will be `file`. */
static void run_job(json_t *options, json_t *path, const char *file)
{
	char *id = format("create-%d", (int)getpid());
	json_t *job;

	client_call("blockdev-create", json_pack("{s:s,s:o}", "job-id", id,
						 "options", options), NULL);
	job = wait_for_job(id);
	client_call("job-dismiss", json_pack("{s:s}", "id", id), NULL);
	if (json_object_get(job, "error"))
		die(error_status(job), "%s", renamed(renamed(
		    format("%s%s", get_string(job, "error"),
			   get_string(job, "more")),
		    json_string_value(path), file),
		    "version=v3 or greater", "-o compat=1.1"));
	free(id);
}

static void create_raw(json_t *options, json_t *path, const char *file)
{
	json_object_set_new(options, "driver", json_string("file"));
	json_object_set(options, "filename", path);
	run_job(options, path, file);
}

static void create_qcow2(json_t *options, json_t *path, const char *file)
{
	json_object_set_new(options, "driver", json_string("qcow2"));
	json_object_set_new(options, "file", json_pack("{s:s,s:O}", "driver",
						       "file", "filename",
						       path));
	run_job(options, path, file);
}

int verb_create(const struct args *args)
{
	const char *file = args->operands[0], *fmt = format_of(args);
	json_t *options = parse_options(args, fmt), *path;

	check_what_is_asked(args, fmt);
	set_size(options, args);
	path = json_file_name(new_file_make(file, args_given(args, "force")));
	client_connect(CONNECT_OR_OWN);
	if (!strcmp(fmt, "raw"))
		create_raw(options, path, file);
	else
		create_qcow2(options, path, file);
	new_file_keep();
	return EXIT_DONE;
}
