/* SPDX-License-Identifier: MIT */
/*
 * statelog-file.c - see statelog-file.h.
 */
#include "server/statelog-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/compiler.h"

/* Files begin with this much and grow in steps of it. */
#define ROOM_STEP (128u * 1024)
/* A file that grows gets room for so many generations. */
#define GENERATIONS 4u

int (*statelog_file_fault)(const char *call);

static int fault(const char *call)
{
	return statelog_file_fault ? -statelog_file_fault(call) : 0;
}

void statelog_file_init(struct statelog_file *f, const char *path)
{
	*f = (struct statelog_file) { .now.fd = -1, .spare.fd = -1 };
	f->path = strdup(path);
	if (!f->path || asprintf(&f->path_spare, "%s.new", path) < 0)
		abort();
}

static void half_close(struct statelog_half *half)
{
	if (half->fd >= 0)
		close(half->fd);
	*half = (struct statelog_half) { .fd = -1 };
}

void statelog_file_close(struct statelog_file *f, bool remove)
{
	half_close(&f->now);
	half_close(&f->spare);
	if (remove) {
		unlink(f->path_spare);
		unlink(f->path);
	}
}

void statelog_file_free(struct statelog_file *f)
{
	free(f->path);
	free(f->path_spare);
}

/* ---- one file ---- */

static int half_write(struct statelog_half *half, const char *data, size_t len,
		      uint64_t at)
{
	int rc = fault("write");

	half->used = max(half->used, at + len);
	while (rc == 0 && len) {
		ssize_t n = pwrite(half->fd, data, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return rc;
}

static int half_zero(struct statelog_half *half, uint64_t from, uint64_t to)
{
	static const char zeroes[16384];
	uint64_t used = half->used;
	int rc = 0;

	for (; rc == 0 && from < to; from += sizeof(zeroes))
		rc = half_write(half, zeroes, min(to - from,
				(uint64_t)sizeof(zeroes)), from);
	half->used = used;
	return rc;
}

static int half_sync(const struct statelog_half *half)
{
	int rc = fault("sync");

	return rc ? rc : fdatasync(half->fd) < 0 ? -errno : 0;
}

/* A file that did not exist before: what is there is not ours, or old. */
static int half_make(struct statelog_half *half, const char *path)
{
	int rc = fault("open");

	if (rc)
		return rc;
	unlink(path);
	half->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
			O_CLOEXEC, 0600);
	return half->fd < 0 ? -errno : 0;
}

static int half_grow(struct statelog_half *half, uint64_t room)
{
	int rc;

	if (room <= half->room)
		return 0;
	rc = fault("grow");
	if (rc == 0)
		rc = half_zero(half, half->room, room);
	if (rc == 0)
		rc = half_sync(half);
	if (rc == 0)
		half->room = room;
	else if (ftruncate(half->fd, (off_t)half->room) < 0)
		/* what stays is zero, and lets others have less */
		return rc;
	return rc;
}

/* ---- both ---- */

static int sync_directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash + 1 - path)) :
		strdup(".");
	int rc = fault("sync-directory"), fd;

	fd = dir && !rc ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (!rc && (fd < 0 || fsync(fd) < 0))
		rc = -errno;
	if (fd >= 0)
		close(fd);
	free(dir);
	return rc;
}

/* With that much in both; more, where the disk has it. */
static int grow_both(struct statelog_file *f, uint64_t len, uint64_t keep)
{
	uint64_t need = len + keep, room;
	int rc = 0;

	if (f->now.fd < 0 && !f->made) {
		rc = half_make(&f->now, f->path);
		f->made = rc == 0;
	}
	if (rc == 0 && f->spare.fd < 0)
		rc = half_make(&f->spare, f->path_spare);
	if (rc)
		return rc;
	/* one whose last write failed is not written to: it counts still */
	if (f->spare.room >= need && (f->now.fd < 0 || f->now.room >= need))
		return 0;
	room = align_up(GENERATIONS * len + keep, ROOM_STEP);
	for (unsigned i = 0; i < 2; i++, room = need) {
		rc = half_grow(&f->spare, room);
		if (rc == 0 && f->now.fd >= 0)
			rc = half_grow(&f->now, room);
		if (rc != -ENOSPC && rc != -EDQUOT)
			break;
	}
	return rc;
}

/* The spare's name for the log's, and back where the file system can. */
static int change_names(struct statelog_file *f)
{
	struct statelog_half old = f->now;
	int rc = fault("rename");

	if (rc)
		return rc;
	if (renameat2(AT_FDCWD, f->path_spare, AT_FDCWD, f->path,
		      RENAME_EXCHANGE) < 0) {
		if (errno != EINVAL && errno != ENOSYS && errno != ENOENT)
			return -errno;
		if (rename(f->path_spare, f->path) < 0)
			return -errno;
		half_close(&old);
	} else if (old.fd < 0) {
		/* nobody knows what it holds, or whether it can be written */
		unlink(f->path_spare);
	}
	f->now = f->spare;
	f->spare = old;
	f->unsure = true;
	return 0;
}

int statelog_file_append(struct statelog_file *f, const char *text, size_t len,
			 uint64_t whole, uint64_t keep)
{
	int rc;

	if (f->now.fd < 0 || f->now.used + len + keep > f->now.room ||
	    (keep && (f->spare.fd < 0 || whole + keep > f->spare.room)))
		return -ENOSPC;
	rc = half_write(&f->now, text, len, f->now.used);
	if (rc == 0)
		rc = half_sync(&f->now);
	/* after a failed sync another one may lie */
	if (rc)
		half_close(&f->now);
	return rc == -ENOSPC ? -EIO : rc;
}

int statelog_file_anew(struct statelog_file *f, const char *text, size_t len,
		       uint64_t keep)
{
	uint64_t old;
	int rc = 0;

	/* until then a power cut may give the spare its old name back */
	if (f->unsure)
		rc = sync_directory_of(f->path);
	if (rc)
		return rc;
	f->unsure = false;
	rc = grow_both(f, len, keep);
	if (rc)
		return rc;
	old = f->spare.used;
	f->spare.used = 0;
	rc = half_write(&f->spare, text, len, 0);
	if (rc == 0)
		rc = half_zero(&f->spare, len, old);
	if (rc == 0)
		rc = half_sync(&f->spare);
	if (rc == 0)
		rc = change_names(f);
	if (rc) {
		half_close(&f->spare);
		unlink(f->path_spare);
		return rc;
	}
	rc = sync_directory_of(f->path);
	f->unsure = rc != 0;
	return rc;
}
