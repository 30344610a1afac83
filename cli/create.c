/* SPDX-License-Identifier: MIT */
/*
 * create.c - blkgraph create: a new image file.
 *
 * The file is made here, so that it is the user's and nothing is overwritten
 * by chance; what goes into it is a job of the daemon. A file that was not
 * there is gone again when anything fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define SECTOR 512u

static char *new_file;	/* to be removed again; NULL: none */

static void remove_new_file(void)
{
	if (new_file)
		unlink(new_file);
}

static void on_signal(int number)
{
	remove_new_file();
	_exit(128 + number);
}

/* --- options ------------------------------------------------------------- */

/* "10G"; false when it is no size. */
static bool parse_size(const char *text, uint64_t *size)
{
	static const char units[] = "bkmgtpe";
	const char *unit;
	unsigned shift = 0;
	char *end;

	errno = 0;
	*size = strtoull(text, &end, 10);
	if (errno || text[0] < '0' || text[0] > '9')
		return false;
	if (*end) {
		unit = strchr(units, *end | 0x20);
		if (!unit || end[1])
			return false;
		shift = 10 * (unsigned)(unit - units);
	}
	if (*size > (uint64_t)(INT64_MAX - SECTOR) >> shift)
		return false;
	*size <<= shift;
	return true;
}

static uint64_t checked_size(const char *what, const char *text)
{
	uint64_t size;

	if (!parse_size(text, &size))
		die(EXIT_USAGE, "create: '%s' is no %s: a number, with K, M, G"
		    " or T", text, what);
	return size;
}

static bool is_one_of(const char *value, const char *const *values)
{
	for (; *values; values++)
		if (!strcmp(value, *values))
			return true;
	return false;
}

/* An option's text as the type that it has in the protocol. */
static json_t *option_value(const char *name, const char *text)
{
	static const char *const numbers[] = {
		"cluster-size", "refcount-bits", "size", NULL,
	};
	static const char *const bools[] = { "lazy-refcounts", "nocow", NULL };

	if (is_one_of(name, numbers))
		return json_integer((json_int_t)checked_size("size", text));
	if (!is_one_of(name, bools))
		return json_name(text);
	if (strcmp(text, "on") && strcmp(text, "off"))
		die(EXIT_USAGE, "create: '%s' is on or off, not '%s'", name,
		    text);
	return json_boolean(!strcmp(text, "on"));
}

/* What other tools call the version. */
static const char *version_of(const char *text)
{
	if (!strcmp(text, "0.10"))
		return "v2";
	return strcmp(text, "1.1") ? text : "v3";
}

static void set_option(json_t *options, char *word)
{
	char *value = strchr(word, '=');

	if (!value || value == word)
		die(EXIT_USAGE, "create: '%s' is not OPTION=VALUE", word);
	*value++ = 0;
	for (char *c = word; *c; c++)
		if (*c == '_')
			*c = '-';
	if (!strcmp(word, "compat")) {
		json_object_set_new(options, "version",
				    json_name(version_of(value)));
		return;
	}
	json_object_set_new(options, word, option_value(word, value));
}

static json_t *parse_options(const struct args *args)
{
	json_t *options = checked(json_object());
	const char *given = args_value(args, "options");
	char *copy = checked(strdup(given ? given : "")), *rest, *word;

	for (word = strtok_r(copy, ",", &rest); word;
	     word = strtok_r(NULL, ",", &rest))
		set_option(options, word);
	if (args_given(args, "backing"))
		json_object_set_new(options, "backing-file",
				    json_name(args_value(args, "backing")));
	if (args_given(args, "backing-format"))
		json_object_set_new(options, "backing-fmt", json_name(
				    args_value(args, "backing-format")));
	return options;
}

static const char *format_of(const struct args *args)
{
	const char *fmt = args_value(args, "format");
	const char *name = args->operands[0];
	size_t len = strlen(name), suffix = strlen(".qcow2");

	if (!fmt)
		fmt = len > suffix && !strcmp(name + len - suffix, ".qcow2") ?
			"qcow2" : "raw";
	if (strcmp(fmt, "qcow2") && strcmp(fmt, "raw"))
		die(EXIT_USAGE, "create: images of format '%s' cannot be made,"
		    " only qcow2 and raw", fmt);
	return fmt;
}

/* --- the image below ----------------------------------------------------- */

/* As the header will be understood: from the new file's directory. */
static char *backing_path(const char *file, const char *backing)
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
	char *path = backing_path(file, name);
	json_t *call = json_pack("{s:o}", "filename", json_file_name(path));
	json_t *info;

	refuse_itself(file, path);
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
				    checked_size("size", args->operands[1])));
	if (json_object_get(options, "backing-file"))
		use_backing(options, args->operands[0]);
	if (!json_object_get(options, "size"))
		die(EXIT_USAGE, "create: a size is missing: blkgraph create %s"
		    " SIZE", args->operands[0]);
	size = get_uint(options, "size");
	size = (size + SECTOR - 1) / SECTOR * SECTOR;
	json_object_set_new(options, "size", json_integer((json_int_t)size));
}

/* --- making it ----------------------------------------------------------- */

static void make_file(const char *file, bool force)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 && errno == EEXIST && force)
		return;
	if (fd < 0 && errno == EEXIST)
		die(EXIT_ERROR, "'%s' is there already; --force overwrites it",
		    file);
	if (fd < 0)
		die(errno == EACCES || errno == EPERM ? EXIT_DENIED :
		    EXIT_ERROR, "cannot create '%s': %s", file,
		    strerror(errno));
	close(fd);
	new_file = checked(strdup(file));
	atexit(remove_new_file);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
}

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

static void run_job(const char *what, json_t *options)
{
	char *id = format("create-%s-%d", what, (int)getpid());
	json_t *job;

	client_call("blockdev-create", json_pack("{s:s,s:o}", "job-id", id,
						 "options", options), NULL);
	job = wait_for_job(id);
	client_call("job-dismiss", json_pack("{s:s}", "id", id), NULL);
	if (json_object_get(job, "error"))
		die(EXIT_ERROR, "%s", get_string(job, "error"));
	free(id);
}

static void create_raw(json_t *options, json_t *path)
{
	json_object_set_new(options, "driver", json_string("file"));
	json_object_set(options, "filename", path);
	run_job("file", options);
}

/* What is wrong with the options comes out on a disk that forgets, before the
 * old contents are gone. */
static void rehearse(json_t *options)
{
	json_t *copy = json_copy(options);

	json_object_del(copy, "preallocation");
	json_object_set_new(copy, "file", json_pack("{s:s,s:I}", "driver",
						    "null-co", "size",
						    (json_int_t)1 << 60));
	run_job("rehearsal", copy);
}

static void create_qcow2(json_t *options, json_t *path)
{
	json_t *file = json_pack("{s:s,s:O}", "driver", "file", "filename",
				 path);

	json_object_set_new(options, "driver", json_string("qcow2"));
	/* nothing of what is overwritten keeps its space */
	if (!new_file) {
		rehearse(options);
		run_job("file", json_pack("{s:s,s:O,s:i}", "driver", "file",
					  "filename", path, "size", 0));
	}
	json_object_set_new(options, "file", file);
	run_job("qcow2", options);
}

int verb_create(const struct args *args)
{
	const char *file = args->operands[0], *fmt = format_of(args);
	json_t *options = parse_options(args), *path = json_file_name(file);

	client_connect(CONNECT_OR_START);
	set_size(options, args);
	make_file(file, args_given(args, "force"));
	if (!strcmp(fmt, "raw"))
		create_raw(options, path);
	else
		create_qcow2(options, path);
	free(new_file);
	new_file = NULL;
	return EXIT_DONE;
}
