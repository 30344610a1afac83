/* SPDX-License-Identifier: MIT */
/*
 * stop.c - taking a device away that somebody may be using (C9, U11, U12).
 *
 * Main thread, coroutines. Opening the disk, syncing it and looking for its
 * users block, so they run on helper threads with a deadline: while the
 * device's storage makes no progress, they do not return at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ublk/control.h"
#include "ublk/device.h"
#include "ublk/users.h"

/* Without any request completing for so long, syncing has failed. */
#define STALL_NS SECONDS(10)
/* udev looks at a disk after each close by a writer; it is waited for. */
#define UDEV_NS SECONDS(5)
#define RETRY_NS 20000000ull

/* An exclusive open of the disk, and the sync of what it still caches. */
struct hold {
	struct ublk_job job;
	struct ublk_device *dev;	/* not when abandoned */
	char path[UBLK_PATH_MAX];
	int fd;
	int error;	/* positive; of open, or of sync when fd is there */
};

static void hold_run(struct ublk_job *job)
{
	struct hold *h = container_of(job, struct hold, job);

	h->fd = open(h->path, O_RDONLY | O_EXCL | O_CLOEXEC);
	h->error = h->fd < 0 ? errno : 0;
	if (h->fd >= 0 && fsync(h->fd))
		h->error = errno;
}

static void hold_close_run(void *arg)
{
	close(((struct hold *)arg)->fd);
}

static void hold_release(struct hold *h)
{
	if (h->fd >= 0)
		co_blocking(hold_close_run, h);
	free(h);
}

static void hold_late(struct ublk_job *job)
{
	hold_release(container_of(job, struct hold, job));
}

/* How many requests the device has completed. */
static uint64_t hold_progress(struct ublk_job *job)
{
	struct ublk_device *dev = container_of(job, struct hold, job)->dev;
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < dev->queues; i++) {
		struct ublk_queue_stats stats;

		co_ublk_queue_stats(&dev->queue[i], &stats);
		sum += stats.completed;
	}
	return sum;
}

static bool no_disk(int error)
{
	return error == ENOENT || error == ENXIO || error == ENODEV;
}

/* Gives -EBUSY where somebody else holds it, -ENODEV where there is no disk
 * any more; only then without a sentence. */
static int co_hold(struct ublk_device *dev, struct hold **out,
		   struct error **err)
{
	struct hold *h = calloc(1, sizeof(*h));
	int rc = 0;

	if (!h)
		return error_set(err, ENOMEM, "no memory to stop a device");
	h->job.fn = hold_run;
	h->job.late = hold_late;
	h->job.progress = hold_progress;
	h->dev = dev;
	h->fd = -1;
	ublk_device_path(dev, h->path);
	if (!co_ublk_blocking(&h->job, STALL_NS))
		return error_set(err, ETIMEDOUT,
				 "cannot detach /dev/ublkb%u: its storage has "
				 "completed no request for %llu s", dev->id,
				 STALL_NS / SECONDS(1));
	if (h->fd < 0 && h->error == EBUSY)
		rc = -EBUSY;
	else if (h->fd < 0 && no_disk(h->error))
		rc = -ENODEV;
	else if (h->error)
		rc = error_set(err, h->error, "cannot %s %s: %s",
			       h->fd < 0 ? "open" : "sync", h->path,
			       strerror(h->error));
	if (rc)
		hold_release(h);
	else
		*out = h;
	return rc;
}

struct users_job {
	struct ublk_job job;
	struct ublk_users users;
	uint32_t id;
	int skip_fd;
};

static void users_run(struct ublk_job *job)
{
	struct users_job *u = container_of(job, struct users_job, job);

	ublk_users_find(u->id, u->skip_fd, &u->users);
}

static void users_late(struct ublk_job *job)
{
	free(container_of(job, struct users_job, job));
}

/* NULL only when there is no memory or no answer. */
static struct users_job *co_users(struct ublk_device *dev, int skip_fd)
{
	struct users_job *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->job.fn = users_run;
	u->job.late = users_late;
	u->id = dev->id;
	u->skip_fd = skip_fd;
	return co_ublk_blocking(&u->job, STALL_NS) ? u : NULL;
}

static int busy_error(const struct ublk_device *dev, const char *who,
		      struct error **err)
{
	return error_set(err, EBUSY, "/dev/ublkb%u is in use: %s", dev->id,
			 who && *who ? who : "somebody has it open");
}

/*
 * What to do about others who have it open: 0 nobody has, -EAGAIN they are
 * only udev's or already gone, -EBUSY with their names.
 */
static int co_judge_users(struct ublk_device *dev, int skip_fd, bool known,
			  bool patient, struct error **err)
{
	struct users_job *u = co_users(dev, skip_fd);
	int rc;

	if (!u)
		return known ? busy_error(dev, NULL, err) : 0;
	if (!u->users.count)
		rc = known ? -EAGAIN : 0;
	else
		rc = u->users.count == u->users.udev ? -EAGAIN : -EBUSY;
	if (rc == -EBUSY || (rc == -EAGAIN && !patient))
		rc = busy_error(dev, u->users.text, err);
	free(u);
	return rc;
}

static int co_stop(struct ublk_device *dev, struct error **err)
{
	int rc = co_ublk_stop(dev->id, err);

	if (rc == -ETIMEDOUT)
		ublk_device_stuck(dev, "STOP_DEV");
	return rc;
}

/* -EBUSY: somebody has it open; only then without a sentence. */
static int co_try_stop(struct ublk_device *dev, struct error **err)
{
	struct error *refused = NULL;
	int rc = co_ublk_try_stop(dev->id, &refused);

	if (rc == -EBUSY || rc == -ENODEV)
		error_clear(&refused);
	else if (rc)
		error_propagate(err, &refused);
	if (rc == -ETIMEDOUT)
		ublk_device_stuck(dev, "TRY_STOP_DEV");
	/* somebody else stopped it: the tags are still to be ended */
	return rc == -ENODEV ? co_stop(dev, err) : rc;
}

/* Once: 0 it is stopped, -EAGAIN somebody was there who will go. */
static int co_stop_unused(struct ublk_device *dev, bool patient,
			  struct error **err)
{
	struct hold *h = NULL;
	int rc = co_hold(dev, &h, err);

	if (rc == -EBUSY)
		return co_judge_users(dev, -1, true, patient, err);
	if (rc == -ENODEV)
		return co_stop(dev, err);
	if (rc)
		return rc;
	if (dev->flags & UBLK_F_SAFE_STOP_DEV) {
		hold_release(h);
		rc = co_try_stop(dev, err);
		return rc != -EBUSY ? rc :
		       co_judge_users(dev, -1, true, patient, err);
	}
	/* shared openers are not kept out by ours: look, then be quick */
	rc = co_judge_users(dev, h->fd, false, patient, err);
	if (!rc)
		rc = co_stop(dev, err);
	hold_release(h);
	return rc;
}

static int co_stop_safe(struct ublk_device *dev, struct error **err)
{
	uint64_t end = clock_ns() + UDEV_NS;
	int rc;

	for (;;) {
		rc = co_stop_unused(dev, clock_ns() < end, err);
		if (rc != -EAGAIN)
			return rc;
		co_sleep(RETRY_NS);
	}
}

struct disk_is_gone {
	uint32_t id;
	bool gone;
};

static void disk_is_gone_run(void *arg)
{
	struct disk_is_gone *d = arg;
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/ublkb%u", d->id);
	d->gone = access(path, F_OK) < 0 && errno == ENOENT;
}

/*
 * Whether a STOP that passed its deadline has been carried out since: the
 * kernel takes the disk away only once its last request is over (U8).
 */
static bool co_stopped_late(const struct ublk_device *dev)
{
	struct disk_is_gone d = { .id = dev->id };

	if (strcmp(dev->stuck_in, "STOP_DEV") &&
	    strcmp(dev->stuck_in, "TRY_STOP_DEV"))
		return false;
	co_blocking(disk_is_gone_run, &d);
	return d.gone;
}

int co_ublk_device_stop(struct ublk_device *dev, enum export_stop mode,
			struct error **err)
{
	int rc;

	if (dev->state == UBLK_STUCK && co_stopped_late(dev))
		dev->state = UBLK_LIVE;
	if (dev->state == UBLK_STUCK)
		return error_set(err, ETIMEDOUT,
				 "/dev/ublkb%u is stuck in %s for %llu s",
				 dev->id, dev->stuck_in,
				 (unsigned long long)
				 (clock_ns() - dev->stuck_since_ns) /
				 SECONDS(1));
	rc = mode == EXPORT_STOP_SAFE ? co_stop_safe(dev, err) :
					co_stop(dev, err);
	if (rc)
		return rc;
	/* after a forced stop the last opener may stay as long as he likes */
	return co_ublk_device_end(dev, mode == EXPORT_STOP_SAFE, err);
}

int co_ublk_device_idle(struct ublk_device *dev, struct error **err)
{
	uint64_t end = clock_ns() + UDEV_NS;
	int rc;

	if (dev->state != UBLK_LIVE)
		return 0;
	for (;;) {
		rc = co_judge_users(dev, -1, false, clock_ns() < end, err);
		if (rc != -EAGAIN)
			return rc;
		co_sleep(RETRY_NS);
	}
}
