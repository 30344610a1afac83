/* SPDX-License-Identifier: MIT */
/*
 * file.c - a file from its queues to its mount, and back (F1-F8).
 *
 * Main thread, coroutines. Mounting, unmounting and looking for users run on
 * helper threads; I/O threads serve the file meanwhile.
 */
#include "fuse/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include "export/place.h"
#include "export/users.h"
#include "runtime/late.h"

#define POLL_NS 5000000ull
/* From the end of the connection to the last answer of the graph, and to the
 * end of what makes a loop device late. */
#define END_TIMEOUT_NS SECONDS(10)

uint64_t fuse_file_threads(const struct fuse_file *f)
{
	uint64_t threads = 0;
	unsigned i;

	for (i = 0; i < f->queues; i++)
		threads |= 1ull << thread_index(f->queue[i].thread);
	return threads;
}

static void file_queues_free(struct fuse_file *f)
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
	file_queues_free(f);
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
	struct late work;
	struct fuse_mount mount;
	char *id, *path;
	struct error *err;
	int rc;
};

static void mount_run(struct late *work)
{
	struct mount_job *job = container_of(work, struct mount_job, work);

	job->rc = fuse_mount(&job->mount, &job->err);
}

static void mount_free(struct mount_job *job)
{
	error_clear(&job->err);
	free(job->id);
	free(job->path);
	free(job);
}

static void mount_take_back(void *arg)
{
	struct mount_job *job = arg;

	int ignored = fuse_unmount(job->path, MNT_DETACH);

	(void)ignored;
	for (unsigned i = 0; i < job->mount.queues; i++)
		close(job->mount.fd[i]);
}

static void mount_undo(struct late *work)
{
	struct mount_job *job = container_of(work, struct mount_job, work);

	if (!job->rc)
		co_blocking(mount_take_back, job);
	mount_free(job);
}

static int co_mount(struct fuse_file *f, struct error **err)
{
	struct mount_job *job = calloc(1, sizeof(*job));
	int rc;

	if (!job)
		abort();
	job->id = strdup(f->export_id);
	job->path = strdup(f->path);
	if (!job->id || !job->path)
		abort();
	job->mount = (struct fuse_mount){
		.id = job->id,
		.path = job->path,
		.writable = f->common.shape.writable,
		.allow_other = f->common.shape.allow_other,
		.queues = f->queues,
	};
	job->rc = -EINTR;	/* not done yet */
	job->work.call = mount_run;
	job->work.path = job->path;
	job->work.undo = mount_undo;
	if (!co_late(&job->work, LATE_NS, err, "Mounting on '%s'", f->path))
		return -ETIMEDOUT;
	rc = job->rc;
	f->mounted = !rc;
	for (unsigned i = 0; i < f->queues && !rc; i++)
		f->queue[i].fd = job->mount.fd[i];
	if (job->err)
		error_propagate(err, &job->err);
	mount_free(job);
	return rc;
}

struct unmount_job {
	struct late work;
	char *path;
	int flags, error;
};

static void unmount_run(struct late *work)
{
	struct unmount_job *job = container_of(work, struct unmount_job, work);

	job->error = fuse_unmount(job->path, job->flags);
}

static void unmount_free(struct late *work)
{
	struct unmount_job *job = container_of(work, struct unmount_job, work);

	free(job->path);
	free(job);
}

/* Positive errno. Somebody else may have unmounted it: that is no error. */
static int co_unmount(struct fuse_file *f, int flags)
{
	struct error *late CLEANUP_ERROR = NULL;
	struct unmount_job *job;
	int error = ETIMEDOUT;

	if (!f->mounted)
		return 0;
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	job->path = strdup(f->path);
	if (!job->path)
		abort();
	job->flags = flags;
	job->work.call = unmount_run;
	job->work.undo = unmount_free;
	if (co_late(&job->work, LATE_NS, &late, "Unmounting '%s'", f->path)) {
		error = job->error;
		unmount_free(&job->work);
	}
	if (error == EINVAL || error == ENOENT)
		error = 0;
	f->mounted = error;
	return error;
}

/* On a helper thread: whoever waits for the file gets an error. */
static void loop_abort(struct loop *loop)
{
	int ignored = fuse_unmount(container_of(loop, struct fuse_file,
						loop)->path, MNT_FORCE);

	(void)ignored;
}

static void file_vanished(struct watch *w)
{
	struct fuse_file *f = container_of(w, struct fuse_file, watch);

	f->vanished = true;
	export_lost(f->common.root);
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
	if (!f->opts.block_device)
		return 0;
	rc = co_loop_attach(&f->loop, f->export_id, loop_abort, err);
	f->watch.dev = f->loop.dev;
	f->watch.vanished = file_vanished;
	if (!rc)
		watch_begin(&f->watch);
	return rc;
}

struct grow_job {
	int fd;
	uint64_t size;
	int error;
};

static int notify(int fd, int32_t code, void *what, uint32_t what_len,
		  void *data, uint32_t data_len)
{
	struct fuse_out_header head = {
		.len = (uint32_t)sizeof(head) + what_len + data_len,
		.error = code,
	};
	struct iovec parts[] = {
		{ &head, sizeof(head) },
		{ what, what_len },
		{ data, data_len },
	};

	return writev(fd, parts, data_len ? 3 : 2) < 0 ? errno : 0;
}

/*
 * The kernel reads nothing behind the end that it knows, and forgets what it is
 * answered about that when a write ends meanwhile (attr_version in its
 * fs/fuse/inode.c): a busy file would keep its old end. A byte that is given to
 * its cache moves the end at once; then the cache drops it.
 */
static void grow_run(void *arg)
{
	struct grow_job *job = arg;
	struct fuse_notify_store_out store = {
		.nodeid = FUSE_ROOT_ID,
		.offset = job->size - 1,
		.size = 1,
	};
	struct fuse_notify_inval_inode_out drop = {
		.ino = FUSE_ROOT_ID,
		.off = (int64_t)job->size - 1,
		.len = 1,
	};
	char zero = 0;

	job->error = notify(job->fd, FUSE_NOTIFY_STORE, &store, sizeof(store),
			    &zero, 1);
	if (!job->error)
		job->error = notify(job->fd, FUSE_NOTIFY_INVAL_INODE, &drop,
				    sizeof(drop), NULL, 0);
}

static int co_tell_end(const struct fuse_file *f, struct error **err)
{
	struct grow_job job = {
		.fd = fcntl(f->queue[0].fd, F_DUPFD_CLOEXEC, 0),
		.size = f->common.shape.size,
	};

	if (job.fd < 0)
		job.error = errno;
	else
		co_blocking(grow_run, &job);
	if (job.fd >= 0)
		close(job.fd);
	return !job.error ? 0 :
		error_set(err, job.error, "cannot give the file its size: %s",
			  strerror(job.error));
}

int co_fuse_file_resize(struct fuse_file *f, uint64_t size,
			struct error **err)
{
	uint64_t *shown = &f->common.shape.size, before = *shown;
	int rc = 0;

	size = align_down(size, f->opts.logical_block_size);
	__atomic_store_n(shown, size, __ATOMIC_RELAXED);
	if (size > before)
		rc = co_tell_end(f, err);
	if (!rc && f->loop.disk.name[0])
		rc = co_loop_resize(&f->loop, err);
	if (rc)
		__atomic_store_n(shown, before, __ATOMIC_RELAXED);
	return rc;
}

/* --- stop --- */

/* The kernel ends the connection with the last mount and open file. */
static bool file_is_cut_off(const struct fuse_file *f)
{
	for (unsigned i = 0; i < f->queues; i++)
		if (!f->queue[i].serving)
			return true;
	return false;
}

bool co_fuse_file_is_gone(struct fuse_file *f)
{
	if (f->state != FUSE_SHOWN)
		return false;
	if (file_is_cut_off(f))
		return true;
	if (!f->loop.disk.name[0])
		return false;
	if (f->vanished && co_loop_there(&f->loop)) {
		f->loop.note = "another program took away what it is on: it "
			       "goes when it is closed";
		co_loop_let_go(&f->loop);
	}
	return f->loop.disk.name[0] && !co_loop_there(&f->loop);
}

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
	struct late work;
	char *path;
	struct users users;
};

static void file_users_run(struct late *work)
{
	struct users_job *job = container_of(work, struct users_job, work);

	users_find_file(job->path, &job->users);
}

static void file_users_free(struct late *work)
{
	struct users_job *job = container_of(work, struct users_job, work);

	free(job->path);
	free(job);
}

static int co_busy(struct fuse_file *f, struct error **err)
{
	struct users_job *job = calloc(1, sizeof(*job));
	struct error *late CLEANUP_ERROR = NULL;
	int rc;

	if (!job)
		abort();
	job->path = strdup(f->path);
	if (!job->path)
		abort();
	job->work.call = file_users_run;
	job->work.undo = file_users_free;
	if (!co_late(&job->work, LATE_NS, &late, "Looking for users of '%s'",
		     f->path))
		return error_set(err, EBUSY, "'%s' is in use", f->path);
	rc = error_set(err, EBUSY, "'%s' is in use: %s", f->path,
		       job->users.count ? job->users.text :
		       "somebody has it open");
	file_users_free(&job->work);
	return rc;
}

/* The kernel says a moment after the last close that there was one. */
static int co_file_idle(struct fuse_file *f, struct error **err)
{
	uint64_t end = clock_ns() + DISK_OPENS_NS;

	/* of one that is cut off nothing is released any more */
	while (!file_is_cut_off(f) && co_opens(f) > 0) {
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
	if (f->loop.disk.name[0] && co_loop_there(&f->loop))
		return co_disk_idle(&f->loop.disk, patient, err);
	if (file_is_cut_off(f) || co_opens(f) <= 0)
		return 0;
	return patient ? -EAGAIN : co_busy(f, err);
}

static int co_unmount_unused(struct fuse_file *f, struct error **err)
{
	int rc;

	if (f->loop.disk.name[0]) {
		rc = co_loop_detach(&f->loop, err);
		if (rc)
			return rc;
		watch_end(&f->watch);
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
	bool ended = co_queues_end(f);
	uint64_t end = clock_ns() + END_TIMEOUT_NS;

	while (ended && f->loop.attaching && clock_ns() < end)
		co_sleep(POLL_NS);
	if (ended && !f->loop.attaching) {
		f->state = FUSE_STOPPED;
		return 0;
	}
	if (f->state != FUSE_STUCK)
		f->stuck_since_ns = clock_ns();
	f->state = FUSE_STUCK;
	return error_set(err, ETIMEDOUT, "'%s' is unmounted, but %s, for "
			 "%llu s", f->path, ended ?
			 "the kernel is still making a loop device on it" :
			 "its storage has requests that do not end",
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
	watch_end(&f->watch);
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
	file_queues_free(f);
	return true;
}
