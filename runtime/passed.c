/* SPDX-License-Identifier: MIT */
/*
 * passed.c - see passed.h.
 *
 * What always holds: a number is given out once. After that it may stand for
 * anything, since who took it may have closed it.
 */
#include "runtime/passed.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
	struct passed_fd {
		int fd;
		atomic_bool taken;
	} *list;
	unsigned count;	/* changes in passed_note only */
} passed;

void passed_note(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned size = 0;
	struct dirent *e;

	/* who cannot look gives nothing out, so nobody needs them */
	if (!dir)
		close_range(STDERR_FILENO + 1, ~0u, 0);
	while (dir && (e = readdir(dir)) != NULL) {
		int fd = isdigit((unsigned char)e->d_name[0]) ?
			atoi(e->d_name) : -1;

		if (fd <= STDERR_FILENO || fd == dirfd(dir))
			continue;
		if (passed.count == size) {
			size = size ? size * 2 : 16;
			passed.list = reallocarray(passed.list, size,
						   sizeof(*passed.list));
			if (!passed.list)
				abort();
		}
		passed.list[passed.count].fd = fd;
		atomic_init(&passed.list[passed.count++].taken, false);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	if (dir)
		closedir(dir);
}

int passed_take(int fd, struct error **err)
{
	for (unsigned i = 0; i < passed.count; i++)
		if (passed.list[i].fd == fd)
			return !atomic_exchange(&passed.list[i].taken, true) ?
				0 : error_set(err, EBUSY, "File descriptor "
				"'%d' was used already", fd);
	return error_set(err, EPERM, "File descriptor '%d' was not passed to "
			 "this process by who started it", fd);
}

void passed_close(void)
{
	for (unsigned i = 0; i < passed.count; i++)
		if (!atomic_exchange(&passed.list[i].taken, true))
			close(passed.list[i].fd);
}
