/* SPDX-License-Identifier: MIT */
/*
 * netlink.h - the kernel's NBD client: connecting devices and taking them away
 * by generic netlink, and what sysfs says of them. Blocking, for helper
 * threads; none of it waits for the device's I/O but
 * disconnecting and resizing.
 *
 * A device of ours carries "blkgraph:PID:ID" as its backend identifier, with
 * the pid of the daemon that serves it and the export's id (K4).
 */
#ifndef KERNEL_NBD_NETLINK_H
#define KERNEL_NBD_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"

#define KNBD_SOCKETS_MAX 16u
#define KNBD_BACKEND_MAX 96	/* bytes */

struct knbd_connect {
	const char *backend;
	uint64_t size;			/* bytes */
	uint32_t block_size;		/* bytes */
	uint64_t flags;			/* NBD_FLAG_* of the server */
	unsigned sockets;
	int fd[KNBD_SOCKETS_MAX];	/* stay the caller's */
};

/* Whether this kernel has the client, and lets us; loads its module. */
int knbd_available(struct error **err) MUST_CHECK;
/* Makes the device where there is none of that number. -EBUSY, without a
 * sentence: it is in use. */
int knbd_connect(const struct knbd_connect *c, unsigned index,
		 struct error **err) MUST_CHECK;
/* The device has so many bytes from here on. Waits for what is in flight. */
int knbd_resize(unsigned index, const char *backend, uint64_t size,
		struct error **err) MUST_CHECK;
/* Ends the device's I/O. Fails only where the kernel cannot be asked. */
int knbd_disconnect(unsigned index, struct error **err) MUST_CHECK;

/* Whether the device is connected, or not quite gone yet. */
bool knbd_in_use(unsigned index);
/* Its backend identifier; false where it has none. */
bool knbd_backend(unsigned index, char backend[KNBD_BACKEND_MAX]);
/* Makes udev look at it again: not every kernel says that it is gone. */
void knbd_announce(unsigned index);
/* Requests that the kernel counts as completed. */
uint64_t knbd_completed(unsigned index);

#endif
