/* SPDX-License-Identifier: MIT */
/*
 * held.c - see held.h. Main thread; looking runs on a helper.
 *
 * The kernel decides: an exclusive open fails while anybody has the device
 * exclusively, as mounts, swap and devices on top have. Loop devices have not,
 * and are looked for. What is found in /proc and /sys is for naming them.
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
	bool exclusively;	/* somebody has it */
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
		users_find_above(name, &job->users);
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

/* 1: a block device, *dev; whether somebody has it exclusively. */
static int co_try_exclusive(const char *path, dev_t *dev, bool *exclusively)
{
	struct file_info info;
	struct file *f;
	int rc = co_file_open(path, O_RDONLY, 0, &f);

	if (rc < 0)
		return 0;
	rc = co_file_info(f, &info);
	co_file_close(f);
	if (rc < 0 || info.kind != FILE_BLOCK)
		return 0;
	*dev = (dev_t)info.dev;
	rc = co_file_open(path, O_RDONLY | O_EXCL, 0, &f);
	if (rc == 0)
		co_file_close(f);
	*exclusively = rc == -EBUSY;
	return 1;
}

int co_refuse_held(const char *path, const char *advice, struct error **err)
{
	struct held_job *job;
	bool exclusively;
	dev_t dev;
	int rc = 0;

	if (!co_try_exclusive(path, &dev, &exclusively))
		return 0;
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	job->dev = dev;
	job->exclusively = exclusively;
	job->work.call = held_run;
	job->work.undo = held_undo;
	if (!co_late(&job->work, HELD_LOOK_NS, err, "Looking who uses '%s'",
		     path))
		return -ETIMEDOUT;
	if (exclusively || job->users.count)
		rc = error_set(err, EBUSY, "'%s' is in use: %s%s", path,
			       job->users.count ? job->users.text :
			       !job->users.unseen[0] ?
			       "somebody has it exclusively" :
			       "somebody who cannot be seen has it exclusively",
			       advice);
	free(job);
	return rc;
}
