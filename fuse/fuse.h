/* SPDX-License-Identifier: MIT */
/*
 * fuse.h - the map of this folder, and what the daemon calls.
 *
 *	export.c	the export type "fuse": options, query
 *	file.h		a file's life from mount to unmount; file.c
 *	queue.h		one queue on its I/O thread; queue.c
 *	protocol.h	what requests mean, and replies: no side effects
 *	mount.h		mounting where users see it (A7); mount.c
 *	loop.h		a loop device on the file; loop.c
 *	watch.h		whether others have unmounted it; watch.c
 *	leftovers.c	files of a daemon that died
 *
 * The invariants F1... are in Documentation/fuse.md.
 */
#ifndef FUSE_FUSE_H
#define FUSE_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"

/*
 * Makes the export type "fuse" known. Before the first export_add. dir: where
 * mount points are made that nobody named; stays the caller's.
 */
void fuse_register(const char *dir);
/*
 * Unmounts the files that a dead blkgraphd left behind, and their loop devices
 * (F10). Coroutine of the main thread, before the first export. Gives how many
 * went; those that did not go are named in *err, which may stay unset.
 */
unsigned co_fuse_remove_leftovers(struct error **err);
/*
 * After it: whether a loop device of a dead blkgraphd was still there, and goes
 * (F10). Its file's mount is gone, so only whoever has noted its path and the
 * kernel's number of it (diskseq) knows whose it was.
 */
bool co_fuse_remove_loop(const char *device, uint64_t seq, struct error **err);

#endif
