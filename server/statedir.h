/* SPDX-License-Identifier: MIT */
/*
 * statedir.h - the state log never lies on a device we serve (A23): it is
 * written while that device is held, and read before it is back.
 */
#ifndef SERVER_STATEDIR_H
#define SERVER_STATEDIR_H

#include "runtime/error.h"

/*
 * Makes the directory if it is missing; refuses one whose file system lies on
 * a ublk device or on one of ours over NBD or FUSE, also through partitions,
 * device mapper and loop devices; and one in which others could replace our
 * files (guarded.h). May block: before the runtime starts.
 */
int statedir_prepare(const char *path, struct error **err) MUST_CHECK;

#endif
