/* SPDX-License-Identifier: MIT */
/*
 * guarded.c - see guarded.h. Any thread.
 */
#include "server/guarded.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether others may make names in it. Our own group is who we work with. */
static bool others_write(const struct stat *dir)
{
	return (dir->st_uid != geteuid() && dir->st_uid != 0) ||
	       dir->st_mode & S_IWOTH ||
	       (dir->st_mode & S_IWGRP && dir->st_gid != getegid() &&
		dir->st_gid != 0);
}

int guarded_dir_check(const char *path, const char *what, struct error **err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set(err, errno, "Cannot use %s '%s': %s", what,
				 path, strerror(errno));
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return error_set(err, EPERM, "Cannot use %s '%s': it belongs "
				 "to user %u, who could put other files in "
				 "the place of ours", what, path, st.st_uid);
	if (others_write(&st) && !(st.st_mode & S_ISVTX))
		return error_set(err, EPERM, "Cannot use %s '%s': others may "
				 "write to it (mode %04o), and could put other "
				 "files in the place of ours", what, path,
				 st.st_mode & 07777);
	return 0;
}

/* Whether others may write to the directory that the file is in. */
static bool is_exposed(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash + 1 - path)) :
		strdup(".");
	bool exposed;
	struct stat st;

	if (!dir)
		abort();
	/* the open will say what is wrong with it */
	exposed = stat(dir, &st) == 0 && others_write(&st);
	free(dir);
	return exposed;
}

int guarded_open(const char *path, int flags, mode_t mode)
{
	struct stat st;
	int fd, code = 0;

	if (!is_exposed(path)) {
		fd = open(path, flags | O_CLOEXEC, mode);
		return fd < 0 ? -errno : fd;
	}
	/* O_NONBLOCK: it may be a FIFO that nobody reads */
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
		  O_NOCTTY, mode);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		code = errno;
	else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
		 st.st_nlink != 1)
		code = EPERM;
	if (!code)
		return fd;
	close(fd);
	errno = code;
	return -code;
}
