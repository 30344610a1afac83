/* SPDX-License-Identifier: MIT */
/*
 * device.c - a device from ADD_DEV to START_DEV, and DEL_DEV (U1-U6, U8).
 *
 * Main thread, coroutines. What the kernel may block in runs on the control
 * thread (control.h) or a helper thread, each with a deadline; I/O threads
 * serve the device meanwhile, as START_DEV itself may read it (partitions).
 */
#include "ublk/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ublk/control.h"
#include "export/place.h"
#include "export/arrival.h"

/* From STOP_DEV's return to the last tag's end: only our threads are asked. */
#define TAGS_TIMEOUT_NS SECONDS(10)

int ublk_device_stuck(struct ublk_device *dev, const char *in)
{
	dev->stuck_from = dev->state;
	dev->state = UBLK_STUCK;
	dev->stuck_in = in;
	dev->stuck_since_ns = clock_ns();
	return -ETIMEDOUT;
}

uint64_t ublk_device_threads(const struct ublk_device *dev)
{
	uint64_t threads = 0;
	unsigned i;

	for (i = 0; i < dev->queues; i++)
		threads |= 1ull << thread_index(dev->queue[i].thread);
	return threads;
}

/* --- room on the I/O threads --- */

static void queues_release(struct ublk_device *dev)
{
	unsigned i;

	for (i = 0; i < dev->queues; i++)
		co_ublk_queue_release(&dev->queue[i]);
}

/* All or nothing; -ENOBUFS: room for the tags, but not for the buffers. */
static int queues_reserve(struct ublk_device *dev, bool buffers)
{
	unsigned i;
	int rc = 0;

	for (i = 0; i < dev->queues && !rc; i++)
		rc = co_ublk_queue_reserve(&dev->queue[i], buffers);
	if (rc)
		queues_release(dev);
	return rc;
}

static int device_reserve(struct ublk_device *dev, uint64_t features,
			  struct error **err)
{
	int rc = -ENOBUFS;

	if (!dev->opts.zero_copy)
		dev->copy_reason = "switched off";
	else if (!(features & UBLK_F_AUTO_BUF_REG))
		dev->copy_reason = "this kernel does not offer it";
	else
		rc = queues_reserve(dev, true);
	dev->zero_copy = !rc;
	if (rc == -ENOBUFS) {
		if (!dev->copy_reason)
			dev->copy_reason = "the I/O threads' tables of "
					   "registered buffers are full";
		rc = queues_reserve(dev, false);
	}
	if (rc)
		return error_set(err, ENOSPC,
				 "export '%s' needs %u tags, for which the "
				 "I/O threads have no room: fewer queues, "
				 "less depth or more I/O threads are needed",
				 dev->export_id, dev->queues * dev->opts.depth);
	return 0;
}

static int queues_new(struct ublk_device *dev, struct error **err)
{
	unsigned where[UBLK_QUEUES_MAX];
	unsigned i;

	dev->queue = calloc(dev->queues, sizeof(*dev->queue));
	if (!dev->queue)
		return error_set(err, ENOMEM, "no memory for %u queues",
				 dev->queues);
	place_take(dev->queues, dev->opts.depth, where);
	for (i = 0; i < dev->queues; i++) {
		struct ublk_queue *q = &dev->queue[i];

		q->id = (uint16_t)i;
		q->depth = (uint16_t)dev->opts.depth;
		q->first_buffer = -1;
		q->char_fd = -1;
		q->thread = thread_by_index(where[i]);
	}
	return 0;
}

static void queues_free(struct ublk_device *dev)
{
	unsigned i;

	for (i = 0; i < dev->queues; i++) {
		struct ublk_queue *q = &dev->queue[i];

		ublk_queue_unmap(q);
		place_give_back(thread_index(q->thread), q->depth);
	}
	queues_release(dev);
	free(dev->queue);
	dev->queue = NULL;
}

/* --- the kernel's side --- */

struct open_job {
	uint32_t id;
	int fd, error;
};

static void char_open_run(void *arg)
{
	struct open_job *job = arg;
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%u", job->id);
	job->fd = open(path, O_RDWR | O_CLOEXEC);
	job->error = errno;
}

static int device_map(struct ublk_device *dev, struct error **err)
{
	struct open_job job = { .id = dev->id };
	unsigned i;
	int rc = 0;

	co_blocking(char_open_run, &job);
	if (job.fd < 0)
		return error_set(err, job.error, "cannot open /dev/ublkc%u: %s",
				 dev->id, strerror(job.error));
	dev->char_fd = job.fd;
	for (i = 0; i < dev->queues && !rc; i++) {
		dev->queue[i].char_fd = job.fd;
		rc = ublk_queue_map(&dev->queue[i]);
	}
	if (rc)
		return error_set(err, rc, "cannot map /dev/ublkc%u: %s",
				 dev->id, strerror(rc));
	return 0;
}

static int device_add(struct ublk_device *dev, struct error **err)
{
	struct ublksrv_ctrl_dev_info info = {
		.dev_id = dev->opts.id,
		.nr_hw_queues = (uint16_t)dev->queues,
		.queue_depth = (uint16_t)dev->opts.depth,
		.max_io_buf_bytes = UBLK_MAX_IO,
		.flags = ublk_flags(ublk_features(), &dev->opts,
				    dev->zero_copy),
		.ublksrv_flags = ublk_mark(getpid()),
		.ublksrv_pid = getpid(),
	};
	uint64_t need = UBLK_F_USER_COPY |
			(dev->zero_copy ? UBLK_F_AUTO_BUF_REG : 0);
	/* past the deadline: should it come after all, it is deleted */
	int rc = co_ublk_add(&info, err);

	if (rc)
		return rc;
	dev->state = UBLK_ADDED;
	dev->id = info.dev_id;
	dev->disk.completed = ublk_device_completed;
	snprintf(dev->disk.name, sizeof(dev->disk.name), "ublkb%u", dev->id);
	dev->flags = info.flags;
	if ((info.flags & need) != need || info.nr_hw_queues != dev->queues ||
	    info.queue_depth != dev->opts.depth)
		return error_set(err, ENOTSUP,
				 "the kernel made ublk device %u with %u "
				 "queues of depth %u and features %#llx, "
				 "not as it was asked to", dev->id,
				 info.nr_hw_queues, info.queue_depth,
				 (unsigned long long)info.flags);
	return 0;
}

int co_ublk_device_open(struct ublk_device *dev, const struct limits *lim,
			uint64_t size, bool writable, struct error **err)
{
	struct ublk_params params;
	int rc = queues_new(dev, err);

	dev->char_fd = -1;
	dev->id = UBLK_DEV_ID_ANY;
	if (rc)
		return rc;
	rc = device_reserve(dev, ublk_features(), err);
	if (!rc)
		rc = device_add(dev, err);
	if (rc) {
		if (dev->state == UBLK_ADDED)
			co_ublk_device_close(dev);
		else
			queues_free(dev);
		return rc;
	}
	ublk_fill_params(&params, lim, size, writable, &dev->opts,
			 dev->zero_copy);
	dev->size = params.basic.dev_sectors << 9;
	rc = co_ublk_set_params(dev->id, &params, err);
	if (!rc)
		rc = device_map(dev, err);
	if (rc)
		co_ublk_device_close(dev);
	return rc;
}

struct arrival_job {
	struct arrival arrival;
	struct error *err;
	int rc;
	const char *name;
	const char *disk;
};

static void arrival_begin_run(void *arg)
{
	struct arrival_job *s = arg;

	arrival_begin(&s->arrival, s->disk, s->name);
}

static void arrival_wait_run(void *arg)
{
	struct arrival_job *s = arg;

	s->rc = arrival_wait(&s->arrival, &s->err);
}

static void arrival_end_run(void *arg)
{
	struct arrival_job *s = arg;

	arrival_end(&s->arrival);
}

static void device_forget_run(void *arg)
{
	arrival_forget(((struct ublk_device *)arg)->disk.name);
}

int co_ublk_device_start(struct ublk_device *dev, struct error **err)
{
	struct arrival_job s = {
		.name = dev->export_id, .disk = dev->disk.name,
	};
	unsigned i;
	int rc = 0;

	assert(dev->state == UBLK_ADDED);
	co_blocking(arrival_begin_run, &s);
	dev->state = UBLK_STARTING;
	for (i = 0; i < dev->queues && !rc; i++) {
		dev->queue[i].root = dev->root;
		rc = co_ublk_queue_fetch(&dev->queue[i]);
	}
	/* START_DEV would wait for the tag that is missing */
	if (rc)
		rc = error_set(err, -rc, "the kernel refuses to fetch for "
			       "queue %u of ublk device %u: %s", i - 1, dev->id,
			       strerror(-rc));
	else
		rc = co_ublk_start(dev->id, err);
	if (!rc) {
		dev->state = UBLK_LIVE;
		co_blocking(arrival_wait_run, &s);
		dev->note = s.arrival.note;
		rc = s.rc;
		if (rc)
			error_propagate(err, &s.err);
	} else if (rc == -ETIMEDOUT) {
		ublk_device_stuck(dev, "START_DEV");
	}
	co_blocking(arrival_end_run, &s);
	return rc;
}

int co_ublk_device_end(struct ublk_device *dev, bool wait, struct error **err)
{
	uint64_t end = clock_ns() + TAGS_TIMEOUT_NS;
	unsigned i;
	int rc;

	/* else this was done before DEL_DEV got stuck */
	for (i = 0; i < dev->queues && dev->state != UBLK_STOPPED; i++) {
		struct ublk_queue *q = &dev->queue[i];
		uint64_t now = clock_ns();

		if (!q->fetching)
			continue;
		if (now >= end || !co_wait_event(&q->dead, end - now)) {
			error_set(err, ETIMEDOUT,
				  "ublk device %u is stopped, but the kernel "
				  "keeps tags of its queue %u", dev->id, i);
			return ublk_device_stuck(dev, "STOP_DEV");
		}
	}
	dev->state = UBLK_STOPPED;
	while (dev->readers)
		co_yield();
	/* U6: nothing of ours may hold ublkcN when DEL waits for the id */
	if (dev->queue)
		queues_free(dev);
	if (dev->char_fd >= 0)
		close(dev->char_fd);
	dev->char_fd = -1;
	co_blocking(device_forget_run, dev);
	rc = co_ublk_del(dev->id, wait, err);
	if (rc == -ETIMEDOUT)
		return ublk_device_stuck(dev, "DEL_DEV");
	dev->state = UBLK_GONE;
	/* somebody else was quicker: it is gone all the same */
	if (rc == -ENODEV) {
		error_clear(err);
		rc = 0;
	}
	return rc;
}

bool co_ublk_device_close(struct ublk_device *dev)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	int rc = 0;

	if (dev->state == UBLK_GONE || dev->state == UBLK_NEW)
		return true;
	if (dev->state == UBLK_STUCK)
		return false;
	/* a START that failed leaves armed tags; STOP ends them */
	if (dev->state == UBLK_STARTING || dev->state == UBLK_LIVE) {
		rc = co_ublk_stop(dev->id, &ignored);
		if (rc == -ETIMEDOUT) {
			ublk_device_stuck(dev, "STOP_DEV");
			return false;
		}
		error_clear(&ignored);
	}
	return co_ublk_device_end(dev, false, &ignored) != -ETIMEDOUT;
}
