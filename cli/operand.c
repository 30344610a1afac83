/* SPDX-License-Identifier: MIT */
/*
 * operand.c - what an operand names: an image file or a device of ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cli/cli.h"

char *device_name(const char *name)
{
	char *real = name[0] == '/' ? realpath(name, NULL) : NULL;

	/* any link to the device will do: by-id, by-uuid, ... */
	if (real && !strncmp(real, "/dev/", strlen("/dev/")))
		return real;
	free(real);
	return checked(strdup(name));
}

json_t *find_export(json_t *exports, const char *name)
{
	static const char links[] = "/dev/blkgraph/";
	/* one without a block device has no path */
	json_t *exp = *name ? find_by(exports, "device", name) : NULL;

	if (!strncmp(name, links, strlen(links)))
		name += strlen(links);
	return exp ? exp : find_by(exports, "id", name);
}

static bool is_missing(int code)
{
	return code == ENOENT || code == ENOTDIR;
}

/* st: of a file, or what a link leads to. */
static void file_must_be_image(const char *file, const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		die(EXIT_ERROR, "'%s' is a directory, not an image", file);
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		die(EXIT_ERROR, "'%s' is neither a regular file nor a block "
		    "device", file);
}

json_t *operand_export(const struct args *args)
{
	const char *name = args->operands[0];
	struct stat st;
	int code = stat(name, &st) < 0 ? errno : 0;
	json_t *exp = NULL;

	if (code && !is_missing(code))
		die(errno_status(code), "cannot look at '%s': %s", name,
		    strerror(code));
	if (!code)
		file_must_be_image(name, &st);
	if (!code && !S_ISBLK(st.st_mode))
		return NULL;
	if (client_connect(CONNECT_IF_MAY))
		exp = find_export(client_call("query-block-exports", NULL,
					      NULL), device_name(name));
	if (!exp && code)
		die(EXIT_NOT_FOUND, "there is no file or device '%s'", name);
	if (exp && args_given(args, "format"))
		die(EXIT_USAGE, "%s: --format is for files, and '%s' is a "
		    "device", args->verb->name, name);
	return exp;
}

static json_t *exports_of_file(json_t *exports, const struct stat *st)
{
	bool block = S_ISBLK(st->st_mode);
	dev_t dev = block ? st->st_rdev : st->st_dev;
	char *back_dev = format("%u:%u", major(dev), minor(dev));
	uint64_t back_ino = block ? 0 : st->st_ino;
	json_t *found = checked(json_array()), *exp;
	size_t i;

	json_array_foreach(exports, i, exp)
		if (!strcmp(get_string(exp, "back-dev"), back_dev) &&
		    get_uint(exp, "back-ino") == back_ino)
			json_array_append(found, exp);
	free(back_dev);
	return found;
}

json_t *operand_exports(json_t *exports, const char *name)
{
	json_t *exp = find_export(exports, device_name(name));
	struct stat st;

	if (exp)
		return checked(json_pack("[O]", exp));
	if (stat(name, &st) == 0)
		return S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ?
			exports_of_file(exports, &st) : NULL;
	if (!is_missing(errno))
		die(errno_status(errno), "cannot look at '%s': %s", name,
		    strerror(errno));
	return NULL;
}

void file_must_exist(const char *file)
{
	struct stat st;

	if (stat(file, &st) == 0)
		file_must_be_image(file, &st);
	else if (is_missing(errno))
		die(EXIT_NOT_FOUND, "there is no file '%s'", file);
	else
		die(errno_status(errno), "cannot look at '%s': %s", file,
		    strerror(errno));
}

/* What a name that each process understands in its own way is to us: by a name
 * that holds for the daemon too. NULL: it is none of those. */
static char *name_of_our_own(const char *file)
{
	static const char *const own[][2] = {
		{ "/dev/stdin", "fd/0" }, { "/dev/stdout", "fd/1" },
		{ "/dev/stderr", "fd/2" }, { "/dev/fd/", "fd/" },
		{ "/proc/self/", "" }, { "/proc/thread-self/", "" },
	};
	char *path = NULL, *real;
	struct stat a, b;

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && !path; i++) {
		size_t len = strlen(own[i][0]);

		if (!strncmp(file, own[i][0], len) &&
		    (own[i][0][len - 1] == '/' || !file[len]))
			path = format("/proc/%ld/%s%s", (long)getpid(),
				      own[i][1], file + len);
	}
	/* the file's own name is better: it holds when we have gone */
	real = path ? realpath(path, NULL) : NULL;
	if (!real || stat(path, &a) < 0 || stat(real, &b) < 0 ||
	    a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return path;
	return real;
}

json_t *json_file_name(const char *file)
{
	char *here, *path = name_of_our_own(file);
	json_t *value;

	if (path)
		return json_text(path);
	if (file[0] == '/')
		return json_text(file);
	here = getcwd(NULL, 0);
	if (!here)
		die(EXIT_ERROR, "the current directory is gone");
	path = format("%s/%s", here, file);
	value = json_text(path);
	free(here);
	free(path);
	return value;
}
