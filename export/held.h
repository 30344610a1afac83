/* SPDX-License-Identifier: MIT */
/*
 * held.h - block devices that somebody else has for himself: mounted, swapped
 * on, below another device. Who writes to one destroys what is on it.
 */
#ifndef EXPORT_HELD_H
#define EXPORT_HELD_H

#include "runtime/error.h"

/*
 * Refuses such a device, a partition's whole disk and a disk's partitions
 * included: -EBUSY and a sentence that names by what it is held. 0: nobody
 * holds it, at this moment; or it is no block device, or cannot be opened,
 * which its user will find out. The sentence ends with the advice, which may be
 * "". Main thread, coroutine.
 */
int co_refuse_held(const char *path, const char *advice, struct error **err)
	MUST_CHECK;
/* The same where it is only to be read, and must stay as it is: who has it and
 * cannot write to it is in nobody's way, a read-only mount above all. */
int co_refuse_written(const char *path, const char *advice, struct error **err)
	MUST_CHECK;

#endif
