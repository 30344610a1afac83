/* SPDX-License-Identifier: MIT */
/*
 * storage.c - which storage a call waits for (storage.h).
 *
 * A file system is told by its device number, which the kernel has without
 * asking a server (AT_STATX_DONT_SYNC); a block device by its own number. Where
 * a path leads is found step by step: each step is a call of the storage that
 * must answer it, up to where the next one begins, so that a path that leads
 * through dead storage waits there and is counted there, symbolic links or not.
 * The path itself is then used whole: the kernel's rules for links hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "runtime/real/real.h"
#include "runtime/storage.h"

#define LINKS_MAX 40
#define SILENCE_NS 10000000000ull

uint64_t storage_silence_ns = SILENCE_NS;

static struct {
	pthread_mutex_t lock;
	struct storage *first;
	unsigned count;
} storages = { .lock = PTHREAD_MUTEX_INITIALIZER };

void storage_set_patience(uint64_t ns)
{
	storage_silence_ns = min(ns, SILENCE_NS);
}

static struct storage *storage_get(dev_t dev, uint64_t mount)
{
	struct storage *s;

	pthread_mutex_lock(&storages.lock);
	for (s = storages.first; s; s = s->next)
		if (s->dev == dev && !s->mount == !mount)
			break;
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			abort();
		s->dev = dev;
		s->mount = mount;
		s->last = &s->first;
		s->index = storages.count++ % LANES;
		s->next = storages.first;
		storages.first = s;
	}
	pthread_mutex_unlock(&storages.lock);
	return s;
}

void storages_forget(void)
{
	struct storage *s;

	pthread_mutex_lock(&storages.lock);
	for (s = storages.first; s; s = s->next) {
		s->first = NULL;
		s->last = &s->first;
	}
	pthread_mutex_unlock(&storages.lock);
}

static bool look_at(int fd, struct statx *stx)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		     STATX_TYPE | STATX_MNT_ID, stx) == 0;
}

static struct storage *storage_seen(const struct statx *stx)
{
	if (S_ISBLK(stx->stx_mode))
		return storage_get(makedev(stx->stx_rdev_major,
					   stx->stx_rdev_minor), 0);
	return storage_get(makedev(stx->stx_dev_major, stx->stx_dev_minor),
			   max(stx->stx_mnt_id, UINT64_C(1)));
}

struct storage *storage_of_fd(int fd)
{
	struct statx stx;

	return look_at(fd, &stx) ? storage_seen(&stx) : NULL;
}

/* ---- where a path leads ---- */

struct walk {
	char *left;		/* of the path; the caller frees it */
	int dir;		/* so far; O_PATH */
	struct storage *at;	/* who answers the next step */
	unsigned links;
	dev_t proc;		/* whose links lead where no path does */
	bool over;
	void (*fn)(void *arg);
	void *arg;
};

static bool walk_from(struct walk *w, const char *start)
{
	if (w->dir >= 0)
		close(w->dir);
	w->dir = open(start, O_PATH | O_CLOEXEC);
	if (w->dir < 0)
		return false;
	w->at = storage_of_fd(w->dir);
	return true;
}

/* The link's text takes the place of its name. */
static bool walk_follow(struct walk *w, int link, const char *rest)
{
	size_t room = strlen(rest) + 2;
	char *left = malloc(PATH_MAX + room);
	ssize_t n;

	if (!left)
		abort();
	n = readlinkat(link, "", left, PATH_MAX);
	if (n <= 0 || n == PATH_MAX || ++w->links > LINKS_MAX) {
		free(left);
		return false;
	}
	snprintf(left + n, room, "/%s", rest);
	free(w->left);
	w->left = left;
	return left[0] != '/' || walk_from(w, "/");
}

/* One name. False: it leads no further, or the kernel alone knows where. */
static bool walk_name(struct walk *w)
{
	char *name = w->left + strspn(w->left, "/");
	size_t len = strcspn(name, "/");
	char *rest = name + len + strspn(name + len, "/");
	struct statx stx;
	bool more = *rest, ok = true;
	int fd = -1;

	name = strndup(name, len);
	if (!name)
		abort();
	/* O_DIRECTORY makes what mounts itself be there */
	if (more)
		fd = openat(w->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC |
			    O_DIRECTORY);
	if (!more || (fd < 0 && errno == ENOTDIR))
		fd = openat(w->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	free(name);
	if (fd < 0 || !look_at(fd, &stx)) {
		ok = false;
	} else if (S_ISLNK(stx.stx_mode)) {
		ok = makedev(stx.stx_dev_major, stx.stx_dev_minor) != w->proc &&
		     walk_follow(w, fd, rest);
	} else {
		memmove(w->left, rest, strlen(rest) + 1);
		close(w->dir);
		w->dir = fd;
		w->at = storage_seen(&stx);
		return true;
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

/* On a helper, as a call of w->at: until somebody else must answer. */
static void walk_run(void *arg)
{
	struct walk *w = arg;
	struct storage *mine = w->at;

	while (w->left[strspn(w->left, "/")]) {
		if (!walk_name(w))
			break;
		if (w->at != mine)
			return;
	}
	w->over = true;
	w->fn(w->arg);
}

struct storage *co_storage_call_at(const char *path, void (*fn)(void *arg),
				   void *arg)
{
	struct walk w = {
		.left = strdup(path),
		.dir = -1,
		.fn = fn,
		.arg = arg,
	};
	struct storage *silent = NULL;
	struct statx proc;

	if (!w.left)
		abort();
	if (!statx(AT_FDCWD, "/proc", AT_STATX_DONT_SYNC, STATX_TYPE, &proc))
		w.proc = makedev(proc.stx_dev_major, proc.stx_dev_minor);
	if (!walk_from(&w, path[0] == '/' ? "/" : "."))
		w.left[0] = '\0';
	while (!w.over && !silent)
		silent = co_storage_call(w.at, walk_run, &w);
	if (w.dir >= 0)
		close(w.dir);
	free(w.left);
	return silent;
}

/* ---- its name ---- */

/* Of mountinfo: "id parent major:minor root point ..." */
static bool mount_point(const struct storage *s, char *point, size_t size)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	bool found = false;

	while (f && !found && getline(&line, &room, f) > 0) {
		unsigned major_nr, minor_nr, id;
		int at = 0;

		/* a subvolume has a number of its own, which no line has */
		if (sscanf(line, "%u %*u %u:%u %*s %n", &id, &major_nr,
			   &minor_nr, &at) < 3 || !at ||
		    (makedev(major_nr, minor_nr) != s->dev && id != s->mount))
			continue;
		line[at + (int)strcspn(line + at, " ")] = '\0';
		snprintf(point, size, "%s", line + at);
		found = true;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

const char *storage_tell(struct storage *storage, char text[STORAGE_TEXT_MAX])
{
	long long silent = max(storage_silent_s(storage), INT64_C(0));
	char point[200];

	if (!storage->mount)
		snprintf(text, STORAGE_TEXT_MAX, "block device %u:%u has not "
			 "answered for %lld s", major(storage->dev),
			 minor(storage->dev), silent);
	else
		snprintf(text, STORAGE_TEXT_MAX, "the file system at '%s' has "
			 "not answered for %lld s",
			 mount_point(storage, point, sizeof(point)) ? point :
			 "?", silent);
	return text;
}
