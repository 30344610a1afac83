/* SPDX-License-Identifier: MIT */
/*
 * read-only.h - the kernel's mark that a disk of ours is not to be written to,
 * while it is there.
 */
#ifndef EXPORT_READ_ONLY_H
#define EXPORT_READ_ONLY_H

#include <stdbool.h>

#include "runtime/error.h"

/*
 * What the kernel has in its cache of the device goes out first. One that the
 * kernel was shown as read-only from the first stays so, whatever the mark.
 * Main thread, coroutine; bounded.
 */
int co_disk_mark_read_only(const char *device, bool read_only,
			   struct error **err) MUST_CHECK;

/*
 * Before a number of disks that others use too, as "nbd0" or "loop0", is let
 * go of, and before it is taken: a mark stays with the number, ours for who
 * comes next, and that of a daemon which died, or of anybody, for us.
 * Blocking, for helpers; touches only what bears one.
 */
void disk_unmark(const char *disk);

#endif
