/* SPDX-License-Identifier: MIT */
/*
 * file.c - a file from its queues to its mount, and back (F1-F8).
 *
 * Main thread, coroutines. Mounting, unmounting and looking for users run on
 * helper threads; I/O threads serve the file meanwhile.
 */
#include "fuse/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "export/place.h"
#include "export/users.h"

/* The kernel says a moment after the last close that there was one. */
#define RELEASE_NS SECONDS(2)
#define POLL_NS 5000000ull
/* From the end of the connection to the last answer of the graph. */
#define END_TIMEOUT_NS SECONDS(10)

uint64_t fuse_file_threads(const struct fuse_file *f)
{
	uint64_t threads = 0;
	unsigned i;

	for (i = 0; i < f->queues; i++)
		threads |= 1ull << thread_index(f->queue[i].thread);
	return threads;
}

static void queues_free(struct fuse_file *f)
{
	unsigned i;

	for (i = 0; i < f->queues; i++) {
		struct fuse_queue *q = &f->queue[i];

		co_fuse_queue_close(q);
		if (q->fd >= 0)
			close(q->fd);
		place_give_back(thread_index(q->thread), q->depth);
	}
	free(f->queue);
	f->queue = NULL;
	f->queues = 0;
}

int co_fuse_file_open(struct fuse_file *f, struct error **err)
{
	unsigned where[FUSE_QUEUES_MAX];
	unsigned i;
	int rc = 0;

	/* one queue to a thread: a second would read no more than the first */
	f->queues = min(f->opts.queues, thread_count() - 1);
	f->queue = calloc(f->queues, sizeof(*f->queue));
	if (!f->queue)
		return error_set(err, ENOMEM, "no memory for %u queues",
				 f->queues);
	place_take(f->queues, f->opts.depth, where);
	for (i = 0; i < f->queues; i++) {
		f->queue[i].common = &f->common;
		f->queue[i].depth = f->opts.depth;
		f->queue[i].thread = thread_by_index(where[i]);
		f->queue[i].fd = -1;
	}
	for (i = 0; i < f->queues && !rc; i++)
		rc = co_fuse_queue_open(&f->queue[i]);
	f->common.depth = f->queues * f->opts.depth;
	f->state = FUSE_OPENED;
	if (!rc)
		return 0;
	queues_free(f);
	if (rc == -ENOMEM)
		return error_set(err, ENOMEM, "no memory for %u requests",
				 f->common.depth);
	return error_set(err, ENOSPC, "export '%s' may have %u requests at a "
			 "time, for which the I/O threads have no room: fewer "
			 "queues, less depth or more I/O threads are needed",
			 f->export_id, f->common.depth);
}

/* --- start --- */

struct mount_job {
	struct fuse_mount mount;
	struct error **err;
	int rc;
};

static void mount_run(void *arg)
{
	struct mount_job *job = arg;

	job->rc = fuse_mount(&job->mount, job->err);
}

static int co_mount(struct fuse_file *f, struct error **err)
{
	struct mount_job job = {
		.mount = {
			.id = f->export_id,
			.path = f->path,
			.writable = f->common.shape.writable,
			.allow_other = f->common.shape.allow_other,
			.queues = f->queues,
		},
		.err = err,
	};
	unsigned i;

	co_blocking(mount_run, &job);
	if (job.rc)
		return job.rc;
	f->mounted = true;
	for (i = 0; i < f->queues; i++)
		f->queue[i].fd = job.mount.fd[i];
	return 0;
}

struct unmount_job {
	struct fuse_file *f;
	int flags, error;
};

static void unmount_run(void *arg)
{
	struct unmount_job *job = arg;

	job->error = fuse_unmount(job->f->path, job->flags);
}

/* Positive errno. Somebody else may have unmounted it: that is no error. */
static int co_unmount(struct fuse_file *f, int flags)
{
	struct unmount_job job = { .f = f, .flags = flags };

	if (!f->mounted)
		return 0;
	co_blocking(unmount_run, &job);
	if (job.error == EINVAL || job.error == ENOENT)
		job.error = 0;
	f->mounted = job.error;
	return job.error;
}

/* On a helper thread: whoever waits for the file gets an error. */
static void loop_abort(struct loop *loop)
{
	struct unmount_job job = {
		.f = container_of(loop, struct fuse_file, loop),
		.flags = MNT_FORCE,
	};

	unmount_run(&job);
}

int co_fuse_file_start(struct fuse_file *f, struct error **err)
{
	unsigned i;
	int rc = co_mount(f, err);

	if (rc)
		return rc;
	for (i = 0; i < f->queues; i++)
		co_fuse_queue_serve(&f->queue[i]);
	f->state = FUSE_SHOWN;
	if (f->opts.block_device)
		rc = co_loop_attach(&f->loop, f->export_id, loop_abort, err);
	return rc;
}

/* --- stop --- */

static int64_t co_opens(struct fuse_file *f)
{
	int64_t opens = 0;
	unsigned i;

	f->readers++;
	for (i = 0; i < f->queues; i++) {
		struct fuse_queue_stats stats;

		co_fuse_queue_stats(&f->queue[i], &stats);
		opens += stats.opens;
	}
	f->readers--;
	return opens;
}

struct users_job {
	const char *path;
	struct users users;
};

static void users_run(void *arg)
{
	struct users_job *job = arg;

	users_find_file(job->path, &job->users);
}

static int co_busy(struct fuse_file *f, struct error **err)
{
	struct users_job job = { .path = f->path };

	co_blocking(users_run, &job);
	return error_set(err, EBUSY, "'%s' is in use: %s%s%s", f->path,
			 job.users.count ? job.users.text :
			 "somebody has it open",
			 job.users.unseen[0] ? "; not all could be seen: " : "",
			 job.users.unseen);
}

static int co_file_idle(struct fuse_file *f, struct error **err)
{
	uint64_t end = clock_ns() + RELEASE_NS;

	while (co_opens(f) > 0) {
		if (clock_ns() >= end)
			return co_busy(f, err);
		co_sleep(POLL_NS);
	}
	return 0;
}

int co_fuse_file_idle(struct fuse_file *f, bool patient, struct error **err)
{
	if (f->state != FUSE_SHOWN)
		return 0;
	return f->loop.disk.name[0] ?
	       co_disk_idle(&f->loop.disk, patient, err) :
	       co_file_idle(f, err);
}

static int co_unmount_unused(struct fuse_file *f, struct error **err)
{
	int rc;

	if (f->loop.disk.name[0]) {
		rc = co_loop_detach(&f->loop, err);
		if (rc)
			return rc;
	}
	rc = co_file_idle(f, err);
	if (rc)
		return rc;
	/* who comes now is seen by the kernel */
	rc = co_unmount(f, 0);
	if (rc == EBUSY)
		return co_busy(f, err);
	if (rc)
		return error_set(err, rc, "cannot unmount '%s': %s", f->path,
				 strerror(rc));
	return 0;
}

/* Ends the queues. False when the graph keeps requests. */
static bool co_queues_end(struct fuse_file *f)
{
	uint64_t end = clock_ns() + END_TIMEOUT_NS;
	unsigned i;

	for (i = 0; i < f->queues; i++)
		co_fuse_queue_end(&f->queue[i]);
	for (i = 0; i < f->queues; i++) {
		uint64_t now = clock_ns();

		if (f->queue[i].serving &&
		    !co_wait_event(&f->queue[i].died, end > now ?
				   end - now : 0))
			return false;
	}
	return true;
}

static int co_file_end(struct fuse_file *f, struct error **err)
{
	if (co_queues_end(f)) {
		f->state = FUSE_STOPPED;
		return 0;
	}
	if (f->state != FUSE_STUCK)
		f->stuck_since_ns = clock_ns();
	f->state = FUSE_STUCK;
	return error_set(err, ETIMEDOUT, "'%s' is unmounted, but its storage "
			 "has requests that do not end, for %llu s", f->path,
			 (unsigned long long)(clock_ns() - f->stuck_since_ns) /
			 SECONDS(1));
}

int co_fuse_file_stop(struct fuse_file *f, enum export_stop mode,
		      struct error **err)
{
	int rc = 0;

	if (f->state == FUSE_SHOWN && mode == EXPORT_STOP_SAFE)
		rc = co_unmount_unused(f, err);
	if (rc)
		return rc;
	/* first errors for whoever waits, so that nothing below does */
	co_unmount(f, MNT_FORCE);
	if (f->loop.disk.name[0])
		co_loop_abandon(&f->loop);
	co_unmount(f, MNT_DETACH);
	return co_file_end(f, err);
}

bool co_fuse_file_close(struct fuse_file *f)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	int rc = 0;

	if (f->state == FUSE_SHOWN || f->state == FUSE_STUCK)
		rc = co_fuse_file_stop(f, EXPORT_STOP_HARD, &ignored);
	if (rc)
		return false;
	while (f->readers)
		co_yield();
	queues_free(f);
	return true;
}
