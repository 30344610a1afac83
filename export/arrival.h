/* SPDX-License-Identifier: MIT */
/*
 * arrival.h - until a new device is usable: its node is there, and udev, where
 * it runs, has made its links. Blocking, for helper threads; bounded.
 */
#ifndef EXPORT_ARRIVAL_H
#define EXPORT_ARRIVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"

/* Those that are waited for. */
#define PARTITIONS_MAX 257

/* The note where there is no udevd. */
#define ARRIVAL_NO_UDEVD \
	"udevd does not run: no links under /dev/blkgraph and /dev/disk"

struct arrival {
	char disk[16];			/* "ublkb0" */
	bool udevd;			/* it runs */
	/* udev is done with it: of the disk, and of partition N */
	bool seen[PARTITIONS_MAX];
	struct udev *udev;
	struct udev_monitor *monitor;
	char name[64];			/* as in /dev/blkgraph/NAME; or empty */
	const char *note;		/* what is missing; static, or NULL */
};

/*
 * Before the disk is there: begins to listen, and leaves the name for the udev
 * rule. The name's characters outside [A-Za-z0-9._-] become '_'.
 */
void arrival_begin(struct arrival *s, const char *disk, const char *name);
/*
 * After the disk is there, with its partitions. Fails when there is no node;
 * what else is missing stands in note. arrival_end comes after it in any case.
 */
int arrival_wait(struct arrival *s, struct error **err) MUST_CHECK;
void arrival_end(struct arrival *s);
/* Forgets the name that the udev rule reads. */
void arrival_forget(const char *disk);
/* The same for a disk that was taken away, and may be another's by now: only if
 * the name is this; udev is made to look again. */
void arrival_lost(const char *disk, const char *name);

#endif
