/* SPDX-License-Identifier: MIT */
/*
 * sole.h - what taking a disk away has in common, whatever shows it: nobody
 * else may have it open, and what the kernel caches for it must be written
 * (C9).
 *
 * Main thread, coroutines. Opening the disk, syncing it and looking for its
 * users block, so they run on helper threads with a deadline: while the disk's
 * storage makes no progress, they do not return at all.
 */
#ifndef EXPORT_SOLE_H
#define EXPORT_SOLE_H

#include "runtime/error.h"
#include "runtime/wait.h"

struct root;

/* A disk of ours. Outlives every call below. */
struct disk {
	char name[16];		/* "ublkb0" */
	const struct root *root;	/* where what is written to it goes */
	/* Coroutine: requests completed so far. */
	uint64_t (*completed)(struct disk *disk);
};

/* Without any request completing for so long, syncing has failed. */
#define DISK_STALL_NS SECONDS(10)
/* How long those are waited for who have it open, and how often they are
 * looked for: many open a disk for a moment, udev after each writer's close. */
#define DISK_OPENS_NS SECONDS(5)
#define DISK_RETRY_NS 20000000ull

/* An exclusive open of the disk; all that was cached for it is written. */
struct sole_open;

/* Gives -EBUSY where somebody else holds it, -ENODEV where there is no disk
 * any more; only then without a sentence. */
int co_sole_open(struct disk *disk, struct sole_open **out,
		 struct error **err) MUST_CHECK;
int sole_open_fd(const struct sole_open *sole);
/* Closes it; past a deadline somebody else waits for that. */
void co_sole_close(struct sole_open *sole);

/* Where a text goes that no caller waits for; one line, no newline. */
void disk_set_report(void (*report)(const char *text));

/*
 * What to do about others who have it open: 0 nobody has, or none was seen and
 * that not all could be is reported: then sole has to do; -EAGAIN they are only
 * processes, or already gone, and the caller is patient; -EBUSY with their
 * names. sole: ours, which does not count, or NULL. known: somebody surely has.
 */
int co_disk_judge_users(struct disk *disk, const struct sole_open *sole,
			bool known, bool patient, struct error **err)
	MUST_CHECK;
/*
 * Tries until it gives something else than -EAGAIN. Who has it open is waited
 * for, then patient is false.
 */
int co_disk_retry(int (*try)(void *arg, bool patient, struct error **err),
		  void *arg, struct error **err) MUST_CHECK;
/* Changes nothing: 0 nobody was seen to have it open, or as
 * co_disk_judge_users. */
int co_disk_idle(struct disk *disk, bool patient, struct error **err)
	MUST_CHECK;

#endif
