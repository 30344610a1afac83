/* SPDX-License-Identifier: MIT */
/*
 * read-only.c - see read-only.h. The ioctls wait for requests that we serve
 * meanwhile, so they run on a helper.
 */
#include "export/read-only.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runtime/late.h"

#define MARK_NS (UINT64_C(10) * 1000000000)

struct mark_job {
	struct late work;
	char device[32];
	int read_only;
	int error;	/* positive */
};

static void mark_run(struct late *work)
{
	struct mark_job *job = container_of(work, struct mark_job, work);
	int fd = open(job->device, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (job->read_only && fsync(fd)) ||
	    ioctl(fd, BLKROSET, &job->read_only))
		job->error = errno;
	/* what was written up to the mark; most of it is out already */
	if (!job->error && job->read_only && fsync(fd)) {
		int undo = 0;

		job->error = errno;
		(void)!ioctl(fd, BLKROSET, &undo);
	}
	if (fd >= 0)
		close(fd);
}

static void mark_late(struct late *work)
{
	free(container_of(work, struct mark_job, work));
}

int co_disk_mark_read_only(const char *device, bool read_only,
			   struct error **err)
{
	struct mark_job *job = calloc(1, sizeof(*job));
	int error;

	if (!job)
		abort();
	job->work.call = mark_run;
	job->work.undo = mark_late;
	job->read_only = read_only;
	snprintf(job->device, sizeof(job->device), "%s", device);
	if (!co_late(&job->work, MARK_NS, err, "BLKROSET of %s", device))
		return -ETIMEDOUT;
	error = job->error;
	free(job);
	return error ? error_set(err, error, "cannot mark %s as %s: %s",
				 device, read_only ? "read-only" : "writable",
				 strerror(error)) : 0;
}

void disk_unmark(const char *disk)
{
	static const int off;
	char path[64], mark = '0';
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/ro", disk);
	f = fopen(path, "re");
	if (f && fread(&mark, 1, 1, f) != 1)
		mark = '0';
	if (f)
		fclose(f);
	if (mark != '1')
		return;
	snprintf(path, sizeof(path), "/dev/%s", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!ioctl(fd, BLKROSET, &off);
	close(fd);
}
