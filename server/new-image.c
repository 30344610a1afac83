/* SPDX-License-Identifier: MIT */
/*
 * new-image.c - files that the daemon makes for images (new-image.h). The calls
 * are made on helper threads.
 */
#include "server/new-image.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/late.h"
#include "runtime/storage.h"

#define NEW_IMAGE_MODE 0644

struct new_image {
	struct late work;
	char *path, *like;
	int code;		/* errno; 0: it is made */
};

static void new_image_free(struct new_image *n)
{
	free(n->path);
	free(n->like);
	free(n);
}

static int sync_folder_of(const char *path)
{
	char *copy = strdup(path);
	int fd, code = 0;

	if (!copy)
		abort();
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		code = errno;
	if (fd >= 0)
		close(fd);
	free(copy);
	return code;
}

static void new_image_call(struct late *work)
{
	struct new_image *n = container_of(work, struct new_image, work);
	struct stat st;
	int fd;

	fd = open(n->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		  NEW_IMAGE_MODE);
	if (fd < 0) {
		n->code = errno;
		return;
	}
	/* who is not root may not give files away: then it is his own */
	if (n->like && stat(n->like, &st) == 0 && S_ISREG(st.st_mode) &&
	    fchown(fd, st.st_uid, st.st_gid) == 0 &&
	    fchmod(fd, st.st_mode & 0666) < 0)
		n->code = errno;
	close(fd);
	if (!n->code)
		n->code = sync_folder_of(n->path);
	if (n->code)
		unlink(n->path);
}

static void new_image_undo(struct late *work)
{
	struct new_image *n = container_of(work, struct new_image, work);

	if (!n->code && !work->refused_by)
		co_new_image_remove(n->path);
	new_image_free(n);
}

int co_new_image(const char *path, const char *like, struct error **err)
{
	struct new_image *n = calloc(1, sizeof(*n));
	int code;

	if (!n)
		abort();
	n->path = strdup(path);
	n->like = like ? strdup(like) : NULL;
	if (!n->path || (like && !n->like))
		abort();
	n->work.call = new_image_call;
	n->work.undo = new_image_undo;
	n->work.path = n->path;
	if (!co_late(&n->work, late_bound_ns(), err, "Creating '%s'", path))
		return -ETIMEDOUT;
	code = n->code;
	new_image_free(n);
	if (!code)
		return 0;
	return error_set(err, code, "Could not create '%s': %s", path,
			 strerror(code));
}

/* Whoever has taken it for an image since holds a byte of those that are locks
 * (drivers/protocol/file-lock.c). None can be got while we hold them all. */
static bool remove_claim(int fd)
{
	struct flock all = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = 100, .l_len = 200,
	};

	return fcntl(fd, F_OFD_SETLK, &all) == 0 ||
	       (errno != EAGAIN && errno != EACCES);
}

static void remove_call(void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 || remove_claim(fd))
		unlink(arg);
	if (fd >= 0)
		close(fd);
}

void co_new_image_remove(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		abort();
	/* silent storage keeps it: nobody can be made to wait for that */
	(void)!co_storage_call_at(copy, remove_call, copy);
	free(copy);
}
