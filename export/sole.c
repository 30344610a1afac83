/* SPDX-License-Identifier: MIT */
/*
 * sole.c - see sole.h.
 */
#include "export/sole.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/loss.h"
#include "export/users.h"
#include "graph/node.h"
#include "runtime/late.h"

struct sole_open {
	struct late work;
	struct disk *disk;	/* not when abandoned */
	char path[32];
	int fd;
	int error;	/* positive; of open, or of sync when fd is there */
};

static void sole_run(struct late *work)
{
	struct sole_open *h = container_of(work, struct sole_open, work);

	h->fd = open(h->path, O_RDONLY | O_EXCL | O_CLOEXEC);
	h->error = h->fd < 0 ? errno : 0;
	if (h->fd >= 0 && fsync(h->fd))
		h->error = errno;
}

static void sole_close_run(struct late *work)
{
	close(container_of(work, struct sole_open, work)->fd);
}

static void sole_closed_late(struct late *work)
{
	free(container_of(work, struct sole_open, work));
}

int sole_open_fd(const struct sole_open *sole)
{
	return sole->fd;
}

void co_sole_close(struct sole_open *sole)
{
	struct error *late CLEANUP_ERROR = NULL;

	/* for some drivers the last close is what takes the disk away */
	if (sole->fd >= 0) {
		sole->work.call = sole_close_run;
		sole->work.path = NULL;	/* never refused */
		sole->work.undo = sole_closed_late;
		sole->work.progress = NULL;
		if (!co_late(&sole->work, DISK_STALL_NS, &late,
			     "Closing '%s'", sole->path))
			return;
	}
	free(sole);
}

static void sole_late(struct late *work)
{
	co_sole_close(container_of(work, struct sole_open, work));
}

static uint64_t sole_progress(struct late *work)
{
	struct disk *disk = container_of(work, struct sole_open, work)->disk;

	return disk->completed(disk);
}

static bool no_disk(int error)
{
	return error == ENOENT || error == ENXIO || error == ENODEV;
}

/* What the kernel had cached did not all reach the image. */
static int sole_sync_failed(const struct disk *disk, int error,
			    struct error **err)
{
	char loss[600];

	if (!loss_of_writes(disk->root, loss, sizeof(loss)))
		snprintf(loss, sizeof(loss), "%s", strerror(error));
	return error_set(err, error, "cannot sync /dev/%s: %s", disk->name,
			 loss);
}

static int sole_is_late(const struct disk *disk, struct error **err)
{
	char held[500];

	if (loss_of_holds(disk->root, held, sizeof(held)))
		return error_set(err, EBUSY, "cannot detach /dev/%s: %s",
				 disk->name, held);
	return error_set(err, ETIMEDOUT, "cannot detach /dev/%s: its storage "
			 "has completed no request for %llu s", disk->name,
			 DISK_STALL_NS / SECONDS(1));
}

int co_sole_open(struct disk *disk, struct sole_open **out, struct error **err)
{
	struct sole_open *h = calloc(1, sizeof(*h));
	struct error *late CLEANUP_ERROR = NULL;
	int rc = 0;

	if (!h)
		return error_set(err, ENOMEM, "no memory to stop a device");
	h->work.call = sole_run;
	h->work.path = h->path;
	h->work.undo = sole_late;
	h->work.progress = sole_progress;
	h->disk = disk;
	h->fd = -1;
	snprintf(h->path, sizeof(h->path), "/dev/%s", disk->name);
	if (!co_late(&h->work, DISK_STALL_NS, &late, "Syncing '%s'", h->path))
		return sole_is_late(disk, err);
	if (h->fd < 0 && h->error == EBUSY)
		rc = -EBUSY;
	else if (h->fd < 0 && no_disk(h->error))
		rc = -ENODEV;
	else if (h->fd < 0)
		rc = error_set(err, h->error, "cannot open %s: %s", h->path,
			       strerror(h->error));
	else if (h->error)
		rc = sole_sync_failed(disk, h->error, err);
	if (rc)
		co_sole_close(h);
	else
		*out = h;
	return rc;
}

struct users_job {
	struct late work;
	struct users users;
	char disk[16];
	int skip_fd;
};

static void users_run(struct late *work)
{
	struct users_job *u = container_of(work, struct users_job, work);

	users_find_disk(u->disk, u->skip_fd, &u->users);
}

static void users_late(struct late *work)
{
	free(container_of(work, struct users_job, work));
}

/* NULL only when there is no memory or no answer. */
static struct users_job *co_users(struct disk *disk, int skip_fd)
{
	struct users_job *u = calloc(1, sizeof(*u));
	struct error *late CLEANUP_ERROR = NULL;

	if (!u)
		return NULL;
	u->work.call = users_run;
	u->work.undo = users_late;
	snprintf(u->disk, sizeof(u->disk), "%s", disk->name);
	u->skip_fd = skip_fd;
	return co_late(&u->work, DISK_STALL_NS, &late, "Looking for users of "
		       "/dev/%s", disk->name) ? u : NULL;
}

static void (*disk_report)(const char *text);

void disk_set_report(void (*report)(const char *text))
{
	disk_report = report;
}

/* unseen: NULL where all was seen. */
static int busy_error(const struct disk *disk, const char *who,
		      const char *unseen, struct error **err)
{
	return error_set(err, EBUSY, "/dev/%s is in use: %s%s%s", disk->name,
			 *who ? who : "somebody has it open",
			 unseen ? "; not all could be seen: " : "",
			 unseen ? unseen : "");
}

/* Nobody was seen, but not all was: the exclusive open keeps out mounts, swap
 * and devices on top, and is what is left to go by. */
static void report_unseen(const struct disk *disk, const char *unseen)
{
	char text[240];

	snprintf(text, sizeof(text), "/dev/%s is taken away since nobody "
		 "holds it exclusively; who else has it open cannot be seen: "
		 "%s", disk->name, unseen);
	if (disk_report)
		disk_report(text);
}

/* What this process itself has open are nodes, or it is about to end one. */
static void name_own(struct users *users)
{
	const struct node *node = NULL;
	bool named = false;

	while ((node = node_each(node)) != NULL) {
		if (node->children || node->dev != users->own)
			continue;
		users_name(users, "open as node '%s' of this daemon",
			   node->name);
		named = true;
	}
	if (!named)
		users_name(users, "open in this daemon");
}

int co_disk_judge_users(struct disk *disk, const struct sole_open *sole,
			bool known, bool patient, struct error **err)
{
	struct users_job *u = co_users(disk, sole ? sole->fd : -1);
	const char *who = u ? u->users.text : "";
	const char *unseen = !u ? "/proc does not answer" :
		u->users.unseen[0] ? u->users.unseen : NULL;
	int rc;

	if (u && u->users.own)
		name_own(&u->users);
	if (!u)
		rc = known ? -EBUSY : 0;
	else if (!u->users.count)
		rc = known ? -EAGAIN : 0;
	else
		rc = u->users.count == u->users.opens ? -EAGAIN : -EBUSY;
	if (rc == -EBUSY || (rc == -EAGAIN && !patient))
		rc = busy_error(disk, who, unseen, err);
	else if (rc == 0 && sole && unseen)
		report_unseen(disk, unseen);
	free(u);
	return rc;
}

int co_disk_retry(int (*try)(void *arg, bool patient, struct error **err),
		  void *arg, struct error **err)
{
	uint64_t end = clock_ns() + DISK_OPENS_NS;
	int rc;

	for (;;) {
		rc = try(arg, clock_ns() < end, err);
		if (rc != -EAGAIN)
			return rc;
		co_sleep(DISK_RETRY_NS);
	}
}

int co_disk_idle(struct disk *disk, bool patient, struct error **err)
{
	return co_disk_judge_users(disk, NULL, false, patient, err);
}
