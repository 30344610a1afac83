/* SPDX-License-Identifier: MIT */
/*
 * held.c - see held.h. Main thread; looking runs on a helper.
 *
 * Mounts, swap and devices on top are looked for in /proc and /sys first, which
 * disturbs nobody. Only where there are none the kernel is asked, for a program
 * that has the device exclusively, or for what we may not see: by an exclusive
 * open, which is closed at once, since a mount that somebody else begins in
 * that moment fails.
 */
#include "export/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "export/users.h"
#include "runtime/io.h"
#include "runtime/late.h"

#define HELD_LOOK_NS SECONDS(10)

struct held_job {
	struct late work;
	dev_t dev;
	bool writers;		/* only who may write to it */
	bool exclusively;	/* somebody has it: who it may be */
	struct users users;
};

/* "sda1", and the disk that it is a partition of, or "". */
static bool held_names(dev_t dev, char name[32], char disk[32])
{
	char link[64], to[512], *last, *above;
	ssize_t n;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(dev),
		 minor(dev));
	n = readlink(link, to, sizeof(to) - 1);
	if (n <= 0)
		return false;
	to[n] = '\0';
	last = strrchr(to, '/');
	if (!last)
		return false;
	*last++ = '\0';
	above = strrchr(to, '/');
	snprintf(name, 32, "%s", last);
	snprintf(link, sizeof(link), "/sys/class/block/%.31s/partition", name);
	snprintf(disk, 32, "%s", above && !access(link, F_OK) ? above + 1 : "");
	return true;
}

static void held_look(struct held_job *job)
{
	char name[32], disk[32];

	if (!held_names(job->dev, name, disk))
		return;
	if (!job->exclusively) {
		if (job->writers)
			users_find_writers(name, &job->users);
		else
			users_find_holders(name, &job->users);
		return;
	}
	users_find_disk(name, -1, &job->users);
	if (!job->users.count && *disk)
		users_find_disk(disk, -1, &job->users);
}

static void held_run(struct late *work)
{
	held_look(container_of(work, struct held_job, work));
}

static void held_undo(struct late *work)
{
	free(container_of(work, struct held_job, work));
}

/* Whether it is a block device, and which. */
static bool co_held_is_device(const char *path, dev_t *dev)
{
	struct file_info info;
	struct file *f;
	int rc = co_file_open(path, O_RDONLY, 0, &f);

	if (rc < 0)
		return false;
	rc = co_file_info(f, &info);
	co_file_close(f);
	if (rc < 0 || info.kind != FILE_BLOCK)
		return false;
	*dev = (dev_t)info.dev;
	return true;
}

static bool co_held_exclusively(const char *path)
{
	struct file *f;
	int rc = co_file_open(path, O_RDONLY | O_EXCL, 0, &f);

	if (rc == 0)
		co_file_close(f);
	return rc == -EBUSY;
}

static int co_find_holders(const char *path, const struct held_job *like,
			   struct users *users, struct error **err)
{
	struct held_job *job = calloc(1, sizeof(*job));

	if (!job)
		abort();
	*job = *like;
	job->work.call = held_run;
	job->work.undo = held_undo;
	if (!co_late(&job->work, HELD_LOOK_NS, err, "Looking who uses '%s'",
		     path))
		return -ETIMEDOUT;
	*users = job->users;
	free(job);
	return 0;
}

static int co_refuse(const char *path, bool writers, const char *advice,
		     struct error **err)
{
	struct held_job ask = { .writers = writers };
	struct users users;
	int rc;

	if (!co_held_is_device(path, &ask.dev))
		return 0;
	rc = co_find_holders(path, &ask, &users, err);
	/* a mount that only reads has it exclusively, too */
	if (rc == 0 && !users.count && !users.readers) {
		ask.exclusively = co_held_exclusively(path);
		if (ask.exclusively)
			rc = co_find_holders(path, &ask, &users, err);
	}
	if (rc < 0 || (!users.count && !ask.exclusively))
		return rc;
	return error_set(err, EBUSY, "'%s' is in use: %s%s", path,
			 users.count ? users.text : !users.unseen[0] ?
			 "somebody has it exclusively" :
			 "somebody who cannot be seen has it exclusively",
			 advice);
}

int co_refuse_held(const char *path, const char *advice, struct error **err)
{
	return co_refuse(path, false, advice, err);
}

int co_refuse_written(const char *path, const char *advice, struct error **err)
{
	return co_refuse(path, true, advice, err);
}
