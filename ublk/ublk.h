/* SPDX-License-Identifier: MIT */
/*
 * ublk.h - the map of this folder, and what the daemon calls.
 *
 *	export.c	the export type "ublk": options, query
 *	device.h	a device's life from ADD to DEL; device.c, stop.c
 *	queue.h		one queue on its I/O thread; queue.c
 *	params.h	features, parameters, descriptors: no side effects
 *	control.h	control commands with deadlines (A6); control-device.c
 *	leftovers.c	devices of a daemon that died
 *
 * The invariants U1... are in Documentation/ublk.md.
 */
#ifndef UBLK_UBLK_H
#define UBLK_UBLK_H

#include "runtime/error.h"

/* Makes the export type "ublk" known. Before the first export_add. */
void ublk_register(void);
/*
 * Removes devices that a dead blkgraphd left behind (U10), without loading the
 * module. Coroutine of the main thread, before the first export. Gives how
 * many went; those that did not go are named in *err, which may stay unset.
 */
unsigned co_ublk_remove_leftovers(struct error **err);
/* After the last export is gone, before runtime_stop. Main thread. */
void ublk_stop(void);

#endif
