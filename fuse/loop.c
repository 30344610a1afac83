/* SPDX-License-Identifier: MIT */
/*
 * loop.c - see loop.h.
 */
#include "fuse/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/host-mounts.h"
#include "export/module.h"
#include "export/arrival.h"
#include "export/read-only.h"
#include "export/users.h"
#include "runtime/late.h"

#define CONTROL "/dev/loop-control"
/* Others may be quicker to take the device that was free. */
#define TRIES 64
/* From the last close to the file's: the kernel's own work. */
#define GONE_NS SECONDS(5)
#define POLL_NS 5000000ull

/* --- attach --- */

struct attach_job {
	struct late work;
	struct loop *loop;
	void (*abort)(struct loop *loop);
	char name[64];		/* the export's id */
	char disk[16];		/* "loop3" */
	uint64_t seq;
	dev_t dev;
	bool direct;
	struct arrival arrival;
	bool arriving;
	struct error *err;
	int rc;
	uint64_t seen;
	bool aborted;
};

static int control_open(struct error **err)
{
	int fd = open(CONTROL, O_RDWR | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO)) {
		int rc = module_load("loop", "loop devices", err);

		if (rc)
			return rc;
		fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	}
	if (fd < 0)
		return error_set(err, errno, "cannot open " CONTROL ": %s",
				 strerror(errno));
	return fd;
}

int loop_available(struct error **err)
{
	int fd = control_open(err);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int loop_file_open(const struct loop *loop, dev_t *dev,
			  struct error **err)
{
	int fd = open(loop->file, (loop->writable ? O_RDWR : O_RDONLY) |
		      O_CLOEXEC);
	struct stat st;

	/* the kernel asks us for the size only when somebody asks it */
	if (fd < 0 || fstat(fd, &st))
		error_set(err, errno, "cannot open '%s': %s", loop->file,
			  strerror(errno));
	else
		*dev = st.st_dev;
	return fd;
}

/* 0, or a positive errno. */
static int loop_read_seq(const char *disk, uint64_t *seq)
{
	unsigned long long value;
	char path[64];
	int error = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/%s/diskseq", disk);
	f = fopen(path, "re");
	if (!f)
		return errno;
	if (fscanf(f, "%llu", &value) == 1)
		*seq = value;
	else
		error = EIO;
	fclose(f);
	return error;
}

/* -EBUSY, without a sentence: somebody else has taken this one. */
static int configure(struct attach_job *job, int device, int file)
{
	const struct loop *loop = job->loop;
	struct loop_info64 info;
	struct loop_config config = {
		.fd = (uint32_t)file,
		.block_size = loop->block_size,
		.info.lo_flags = LO_FLAGS_DIRECT_IO |
			(loop->writable ? 0 : LO_FLAGS_READ_ONLY) |
			(loop->partition_scan ? LO_FLAGS_PARTSCAN : 0),
	};

	snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s",
		 loop->file);
	if (!ioctl(device, LOOP_CONFIGURE, &config)) {
		if (loop_read_seq(job->disk, &job->seq))
			job->seq = 0;
		job->direct = !ioctl(device, LOOP_GET_STATUS64, &info) &&
			      info.lo_flags & LO_FLAGS_DIRECT_IO;
		return 0;
	}
	if (errno == EBUSY)
		return -EBUSY;
	return error_set(&job->err, errno, "cannot put /dev/%s on '%s': %s",
			 job->disk, loop->file, strerror(errno));
}

static void arrival_undo(void *arg)
{
	struct attach_job *job = arg;

	arrival_end(&job->arrival);
	arrival_forget(job->disk);
	job->arriving = false;
}

/* The number of one that is free; of the one that is wanted, whatever it is. */
static int loop_number(struct attach_job *job, int control)
{
	uint32_t wanted = job->loop->wanted;
	int n;

	if (wanted == DEVICE_ID_ANY) {
		n = ioctl(control, LOOP_CTL_GET_FREE);
		if (n < 0)
			error_set(&job->err, errno, "no loop device is to be "
				  "had: %s", strerror(errno));
		return n;
	}
	/* as with any free one, it stays in the machine */
	errno = EINVAL;
	if (wanted > INT_MAX ||
	    (ioctl(control, LOOP_CTL_ADD, (unsigned long)wanted) < 0 &&
	     errno != EEXIST))
		return error_set(&job->err, errno, "the kernel makes no "
				 "/dev/loop%u: %s", wanted, strerror(errno));
	return (int)wanted;
}

static int attach_one(struct attach_job *job, int control, int file)
{
	const struct loop *loop = job->loop;
	int rc, device, n = loop_number(job, control);
	char path[32];

	if (n < 0)
		return job->err ? -job->err->code : -EIO;
	snprintf(job->disk, sizeof(job->disk), "loop%d", n);
	snprintf(path, sizeof(path), "/dev/loop%d", n);
	disk_unmark(job->disk);
	device = open(path, (loop->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (device < 0)
		return error_set(&job->err, errno, "cannot open %s: %s", path,
				 strerror(errno));
	arrival_begin(&job->arrival, job->disk, job->name);
	job->arriving = true;
	rc = configure(job, device, file);
	close(device);
	if (rc)
		arrival_undo(job);
	return rc;
}

static void loop_say_taken(struct attach_job *job)
{
	char path[64], shown[USERS_PATH_MAX];
	FILE *f;

	if (job->loop->wanted == DEVICE_ID_ANY) {
		error_set(&job->err, EBUSY, "others take each loop device that "
			  "is free");
		return;
	}
	snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file",
		 job->disk);
	f = fopen(path, "re");
	if (f && fgets(shown, sizeof(shown), f))
		error_set(&job->err, EBUSY, "/dev/%s is taken: it shows '%.*s'",
			  job->disk, (int)strcspn(shown, "\n"), shown);
	else
		error_set(&job->err, EBUSY, "/dev/%s is taken: a program holds "
			  "it exclusively", job->disk);
	if (f)
		fclose(f);
}

static void attach_in_namespace(void *arg)
{
	struct attach_job *job = arg;
	int file, control = control_open(&job->err);
	int tries = job->loop->wanted == DEVICE_ID_ANY ? TRIES : 1;

	job->rc = control;
	if (control < 0)
		return;
	file = loop_file_open(job->loop, &job->dev, &job->err);
	job->rc = job->err ? -job->err->code : -EBUSY;
	while (!job->err && job->rc == -EBUSY && tries--)
		job->rc = attach_one(job, control, file);
	if (job->rc == -EBUSY && !job->err)
		loop_say_taken(job);
	if (file >= 0)
		close(file);
	close(control);
}

static void attach_run(struct late *late)
{
	struct attach_job *job = container_of(late, struct attach_job, work);
	int rc = host_mounts_run(attach_in_namespace, job);

	if (rc)
		job->rc = error_set(&job->err, rc, "cannot enter the mount "
				    "namespace of '%s': %s", job->loop->file,
				    strerror(rc));
}

static void attach_abort_run(void *arg)
{
	struct attach_job *job = arg;

	job->abort(job->loop);
}

/* A file that does not answer is made to: then the job comes to its end. */
static uint64_t attach_progress(struct late *late)
{
	struct attach_job *job = container_of(late, struct attach_job, work);
	uint64_t now = job->loop->disk.completed(&job->loop->disk);

	if (now == job->seen && !job->aborted) {
		co_blocking(attach_abort_run, job);
		job->aborted = true;
		return now + 1;
	}
	job->seen = now;
	return now;
}

static void loop_take(struct loop *loop, const struct attach_job *job)
{
	memcpy(loop->disk.name, job->disk, sizeof(job->disk));
	memcpy(loop->name, job->name, sizeof(job->name));
	loop->seq = job->seq;
	loop->dev = job->dev;
	loop->direct = job->direct;
}

static void attach_late(struct late *late)
{
	struct attach_job *job = container_of(late, struct attach_job, work);
	struct loop *loop = job->loop;

	if (job->arriving)
		co_blocking(arrival_undo, job);
	if (!job->rc) {
		loop_take(loop, job);
		co_loop_abandon(loop);
	}
	loop->attaching = false;
	error_clear(&job->err);
	free(job);
}

static void attach_arrival_run(void *arg)
{
	struct attach_job *job = arg;

	job->rc = arrival_wait(&job->arrival, &job->err);
	job->loop->note = job->arrival.note;
	arrival_end(&job->arrival);
}

int co_loop_attach(struct loop *loop, const char *name,
		   void (*abort_file)(struct loop *loop), struct error **err)
{
	struct attach_job *job = calloc(1, sizeof(*job));
	int rc;

	if (!job)
		return error_set(err, ENOMEM, "no memory for a loop device");
	job->work.call = attach_run;
	job->work.undo = attach_late;
	job->work.progress = attach_progress;
	job->loop = loop;
	job->abort = abort_file;
	snprintf(job->name, sizeof(job->name), "%s", name);
	loop->attaching = true;
	if (!co_late(&job->work, DISK_STALL_NS, err, "A loop device on '%s'",
		     loop->file))
		return -ETIMEDOUT;
	loop->attaching = false;
	if (!job->rc) {
		loop_take(loop, job);
		co_blocking(attach_arrival_run, job);
	}
	rc = job->rc;
	if (rc)
		error_propagate(err, &job->err);
	if (rc && loop->disk.name[0])
		co_loop_abandon(loop);
	free(job);
	return rc;
}

/* --- detach --- */

struct clear_job {
	struct late work;
	struct sole_open *sole;
	char disk[16];
	int error;
};

static void clear_run(struct late *late)
{
	struct clear_job *c = container_of(late, struct clear_job, work);
	int fd = sole_open_fd(c->sole);

	arrival_forget(c->disk);
	disk_unmark(c->disk);
	c->error = ioctl(fd, LOOP_CLR_FD) && errno != ENXIO ? errno : 0;
}

static void clear_late(struct late *late)
{
	struct clear_job *c = container_of(late, struct clear_job, work);

	co_sole_close(c->sole);
	free(c);
}

/* Takes the open over. Once it is released the kernel lets go of the file. */
static int co_clear(struct loop *loop, struct sole_open *sole,
		    struct error **err)
{
	struct clear_job *c = calloc(1, sizeof(*c));
	int error;

	if (!c) {
		co_sole_close(sole);
		return error_set(err, ENOMEM, "no memory to detach /dev/%s",
				 loop->disk.name);
	}
	c->work.call = clear_run;
	c->work.undo = clear_late;
	c->sole = sole;
	memcpy(c->disk, loop->disk.name, sizeof(c->disk));
	loop->stuck = !co_late(&c->work, LATE_NS, err, "LOOP_CLR_FD of "
			       "/dev/%s, which is stuck,", loop->disk.name);
	if (loop->stuck)
		return -ETIMEDOUT;
	error = c->error;
	co_sole_close(sole);
	free(c);
	return !error ? 0 : error_set(err, error, "cannot detach /dev/%s: %s",
				      loop->disk.name, strerror(error));
}

struct there_job {
	const struct loop *loop;
	bool there;
};

static void there_run(void *arg)
{
	struct there_job *t = arg;
	const struct loop *loop = t->loop;
	uint64_t seq;
	int error = loop_read_seq(loop->disk.name, &seq);

	/* who cannot look does not say that it has gone */
	t->there = error ? error != ENOENT : !loop->seq || seq == loop->seq;
}

bool co_loop_there(const struct loop *loop)
{
	struct there_job t = { .loop = loop };

	co_blocking(there_run, &t);
	return t.there;
}

/* Somebody came after we looked: it stays, as if we had not tried. */
static void keep_run(void *arg)
{
	const struct loop *loop = arg;
	struct loop_info64 info;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", loop->disk.name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!ioctl(fd, LOOP_GET_STATUS64, &info)) {
		info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
		ioctl(fd, LOOP_SET_STATUS64, &info);
	}
	close(fd);
}

static int co_loop_cleared(struct loop *loop, bool patient, struct error **err)
{
	uint64_t end = clock_ns() + GONE_NS;

	while (co_loop_there(loop)) {
		if (clock_ns() >= end) {
			co_blocking(keep_run, loop);
			return co_disk_judge_users(&loop->disk, NULL, true,
						   patient, err);
		}
		co_sleep(POLL_NS);
	}
	return 0;
}

/* Somebody has taken it away, and the number may be another's now. */
static void lost_run(void *arg)
{
	const struct loop *loop = arg;

	arrival_lost(loop->disk.name, loop->name);
}

/* Once: 0 it is gone, -EAGAIN somebody was there who will go. */
static int co_detach_unused(void *arg, bool patient, struct error **err)
{
	struct loop *loop = arg;
	struct sole_open *sole = NULL;
	int rc;

	if (!co_loop_there(loop)) {
		co_blocking(lost_run, loop);
		return 0;
	}
	rc = co_sole_open(&loop->disk, &sole, err);
	if (rc == -EBUSY)
		return co_disk_judge_users(&loop->disk, NULL, true, patient,
					   err);
	if (rc)
		return rc == -ENODEV ? 0 : rc;
	/* shared openers are not kept out by ours: look, then be quick */
	rc = co_disk_judge_users(&loop->disk, sole, false, patient, err);
	if (rc) {
		co_sole_close(sole);
		return rc;
	}
	rc = co_clear(loop, sole, err);
	return rc ? rc : co_loop_cleared(loop, patient, err);
}

int co_loop_detach(struct loop *loop, struct error **err)
{
	int rc;

	if (loop->stuck && co_loop_there(loop))
		return error_set(err, ETIMEDOUT, "/dev/%s is stuck in "
				 "LOOP_CLR_FD", loop->disk.name);
	loop->stuck = false;
	rc = co_disk_retry(co_detach_unused, loop, err);
	if (!rc)
		loop->disk.name[0] = '\0';
	return rc;
}

bool loop_is(const char *disk, uint64_t seq)
{
	uint64_t now = 0;
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", disk);
	return !access(path, F_OK) && !loop_read_seq(disk, &now) && now == seq;
}

struct size_job {
	struct late work;
	char disk[16];
	int error;
};

static void loop_size_run(struct late *late)
{
	struct size_job *job = container_of(late, struct size_job, work);
	struct loop_info64 info;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", job->disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	/* asked for the status, the kernel asks us for the file's size first;
	 * the device gets the one that it knows */
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) ||
	    ioctl(fd, LOOP_SET_CAPACITY, 0))
		job->error = errno;
	if (fd >= 0)
		close(fd);
}

static void loop_size_late(struct late *late)
{
	free(container_of(late, struct size_job, work));
}

int co_loop_resize(struct loop *loop, struct error **err)
{
	struct size_job *job;
	int error;

	if (!co_loop_there(loop))
		return error_set(err, ENODEV, "/dev/%s is gone: somebody has"
				 " taken it away", loop->disk.name);
	job = calloc(1, sizeof(*job));
	if (!job)
		return error_set(err, ENOMEM, "no memory to resize /dev/%s",
				 loop->disk.name);
	job->work.call = loop_size_run;
	job->work.undo = loop_size_late;
	memcpy(job->disk, loop->disk.name, sizeof(job->disk));
	if (!co_late(&job->work, LATE_NS, err, "LOOP_SET_CAPACITY of /dev/%s",
		     loop->disk.name))
		return -ETIMEDOUT;
	error = job->error;
	free(job);
	return error ? error_set(err, error, "cannot change the size of"
				 " /dev/%s: %s", loop->disk.name,
				 strerror(error)) : 0;
}

int loop_clear(const char *disk)
{
	char path[32];
	int fd, rc;

	snprintf(path, sizeof(path), "/dev/%s", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	disk_unmark(disk);
	rc = ioctl(fd, LOOP_CLR_FD) && errno != ENXIO ? errno : 0;
	close(fd);
	arrival_forget(disk);
	return rc;
}

struct abandon_job {
	struct late work;
	char disk[16], name[64];
	bool there;
};

static void abandon_run(struct late *late)
{
	struct abandon_job *job = container_of(late, struct abandon_job, work);

	if (job->there)
		(void)!loop_clear(job->disk);
	else
		arrival_lost(job->disk, job->name);
}

static void abandon_late(struct late *late)
{
	free(container_of(late, struct abandon_job, work));
}

void co_loop_let_go(const struct loop *loop)
{
	struct abandon_job *job = calloc(1, sizeof(*job));
	struct error *late CLEANUP_ERROR = NULL;

	if (!job)
		return;
	job->there = co_loop_there(loop);
	job->work.call = abandon_run;
	job->work.undo = abandon_late;
	memcpy(job->disk, loop->disk.name, sizeof(job->disk));
	memcpy(job->name, loop->name, sizeof(job->name));
	if (co_late(&job->work, DISK_STALL_NS, &late, "LOOP_CLR_FD of /dev/%s",
		    job->disk))
		free(job);
}

void co_loop_abandon(struct loop *loop)
{
	co_loop_let_go(loop);
	loop->disk.name[0] = '\0';
}
