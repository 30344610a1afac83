/* SPDX-License-Identifier: MIT */
/*
 * settle.h - until a new device is usable: its node is there, and udev, where
 * it runs, has made its links (U6). Blocking, for helper threads; bounded.
 */
#ifndef UBLK_SETTLE_H
#define UBLK_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"

struct ublk_settle {
	uint32_t id;
	bool udevd;			/* it runs */
	struct udev *udev;
	struct udev_monitor *monitor;
	char name[64];			/* as in /dev/blkgraph/NAME; or empty */
	const char *note;		/* what is missing; static, or NULL */
};

/*
 * Before the disk is there: begins to listen, and leaves the name for the udev
 * rule. The name's characters outside [A-Za-z0-9._-] become '_'.
 */
void ublk_settle_begin(struct ublk_settle *s, uint32_t id, const char *name);
/*
 * After START. Fails when there is no node; what else is missing stands in
 * note. ublk_settle_end comes after it in any case.
 */
int ublk_settle_wait(struct ublk_settle *s, struct error **err) MUST_CHECK;
void ublk_settle_end(struct ublk_settle *s);
/* Forgets the name that the udev rule reads. */
void ublk_settle_forget(uint32_t id);

#endif
