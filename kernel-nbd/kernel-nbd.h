/* SPDX-License-Identifier: MIT */
/*
 * kernel-nbd.h - the map of this folder, and what the daemon calls.
 *
 *	export.c	the export type "kernel-nbd": /dev/nbdN by the kernel's
 *			own NBD client, whose server we are over socket pairs
 *	netlink.h	what is said to the client; netlink.c
 *	leftovers.c	devices of a daemon that died
 *
 * The invariants K1... are in Documentation/kernel-nbd.md.
 */
#ifndef KERNEL_NBD_KERNEL_NBD_H
#define KERNEL_NBD_KERNEL_NBD_H

#include "runtime/error.h"

/* Makes the export type "kernel-nbd" known. Before the first export_add. */
void kernel_nbd_register(void);
/*
 * Disconnects devices that a dead blkgraphd left behind (K5). Coroutine of the
 * main thread, before the first export. Gives how many went; those that did
 * not go are named in *err, which may stay unset.
 */
unsigned co_kernel_nbd_remove_leftovers(struct error **err);

#endif
