/* SPDX-License-Identifier: MIT */
/*
 * new-file.c - the file that create makes: under its own name where there was
 * none, else beside the old one, whose place it takes when it is whole. So at
 * any failure, signal or power cut the old file is as it was.
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

#define NEW_MODE 0644

static struct {
	char *path;	/* to be removed again; NULL: none */
	int fd;
	char *place;	/* of the old file; NULL: there is none */
} new_file;

static void remove_new_file(void)
{
	if (new_file.path)
		unlink(new_file.path);
}

static void on_signal(int number)
{
	remove_new_file();
	_exit(128 + number);
}

static const int ends[] = { SIGINT, SIGTERM, SIGHUP, 0 };
static sigset_t before_ends;	/* the mask that we were started with */

/* From before the file is made until it is known what to remove. */
static void hold_ends(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (const int *end = ends; *end; end++)
		sigaddset(&set, *end);
	sigprocmask(SIG_BLOCK, &set, &before_ends);
}

static void let_ends_come(void)
{
	sigprocmask(SIG_SETMASK, &before_ends, NULL);
}

static void remove_unless_kept(int fd, char *path)
{
	new_file.fd = fd;
	new_file.path = path;
	atexit(remove_new_file);
	/* what nohup or a shell has us ignore stays ignored */
	for (const int *end = ends; *end; end++)
		if (signal(*end, on_signal) == SIG_IGN)
			signal(*end, SIG_IGN);
	let_ends_come();
}

static char *folder_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	if (!slash)
		return format(".");
	return format("%.*s", (int)(slash == file ? 1 : slash - file), file);
}

/* --- the old file -------------------------------------------------------- */

/*
 * Where QEMU's tools and blkgraphd lock a byte for each right on an image that
 * they have, and for each that they share with nobody
 * (Documentation/drivers/file.md).
 */
#define RIGHTS 4
static const off_t lock_bases[] = { 100, 200 };

/* By a device of ours, as the daemon would say it, or by whom is not known. */
static void refuse_used(const char *file)
{
	json_t *exp = NULL;
	const char *device;

	if (client_connect(CONNECT_IF_THERE))
		exp = json_array_get(operand_exports(client_call(
			"query-block-exports", NULL, NULL), file), 0);
	if (!exp)
		die(EXIT_BUSY, "'%s' is in use: it is open as an image, here "
		    "or in another program", file);
	device = get_string(exp, "device");
	die(EXIT_BUSY, "'%s' is in use: device '%s'%s%s shows it", file,
	    get_string(exp, "id"), *device ? ", " : "", device);
}

/* All rights for us, none for others, until the program ends. */
static void lock_old(int fd, const char *file)
{
	for (int i = 0; i < 2; i++) {
		struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET,
				   .l_start = lock_bases[i],
				   .l_len = RIGHTS };

		if (fcntl(fd, F_OFD_SETLK, &l) == 0)
			continue;
		if (errno == EAGAIN || errno == EACCES)
			refuse_used(file);
		return;		/* a file system without locks */
	}
	for (int i = 0; i < 2; i++) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
				   .l_start = lock_bases[i],
				   .l_len = RIGHTS };

		if (fcntl(fd, F_OFD_GETLK, &l) < 0 || l.l_type != F_UNLCK)
			refuse_used(file);
	}
}

/* Says of what can never be replaced what it is. */
static void must_be_replaceable(const char *file, struct stat *st)
{
	if (stat(file, st) < 0 && errno == ENOENT)
		die(EXIT_NOT_FOUND, "'%s' is a link to a file that is not "
		    "there", file);
	file_must_exist(file);
	if (!S_ISREG(st->st_mode))
		die(EXIT_ERROR, "'%s' is a block device, and only regular "
		    "files are replaced", file);
}

/* Opens it to write, which who may not is told so, and locks it. */
static void take_old(const char *file, struct stat *st)
{
	int fd;

	must_be_replaceable(file, st);
	fd = open(file, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		die(errno_status(errno), "cannot replace '%s': %s", file,
		    strerror(errno));
	lock_old(fd, file);
}

/* Beside it, with its owner and mode. A link stays, what it leads to goes. */
static const char *make_beside(const char *file)
{
	struct stat st;
	char *place, *path, *folder;
	int fd;

	take_old(file, &st);
	place = checked(realpath(file, NULL));
	folder = folder_of(place);
	path = format("%s/.blkgraph-XXXXXX", folder);
	hold_ends();
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		die(errno_status(errno), "cannot make a file in '%s': %s",
		    folder, strerror(errno));
	new_file.place = place;
	remove_unless_kept(fd, path);
	if (fchown(fd, st.st_uid, st.st_gid) < 0 ||
	    fchmod(fd, st.st_mode & 07777) < 0)
		die(errno_status(errno), "cannot give a new file the owner and"
		    " mode of '%s': %s", file, strerror(errno));
	free(folder);
	return path;
}

/* --- both ---------------------------------------------------------------- */

const char *new_file_make(const char *file, bool force)
{
	struct stat st;
	int fd;

	hold_ends();
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, NEW_MODE);
	if (fd < 0)
		let_ends_come();
	if (fd < 0 && errno == EEXIST && force)
		return make_beside(file);
	if (fd < 0 && errno == EEXIST) {
		must_be_replaceable(file, &st);
		die(EXIT_ERROR, "there is a file '%s' already; --force "
		    "replaces it", file);
	}
	if (fd < 0)
		die(errno_status(errno), "cannot create '%s': %s", file,
		    strerror(errno));
	remove_unless_kept(fd, checked(strdup(file)));
	return new_file.path;
}

static void sync_folder(const char *file)
{
	char *folder = folder_of(file);
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		die(EXIT_IO, "cannot write the directory '%s': %s", folder,
		    strerror(errno));
	close(fd);
	free(folder);
}

void new_file_keep(void)
{
	const char *name = new_file.place ? new_file.place : new_file.path;

	if (fsync(new_file.fd) < 0)
		die(EXIT_IO, "cannot write '%s': %s", name, strerror(errno));
	if (new_file.place && rename(new_file.path, new_file.place) < 0)
		die(errno_status(errno), "cannot replace '%s': %s", name,
		    strerror(errno));
	/* from here on the name is the image's */
	new_file.path = NULL;
	sync_folder(name);
}
