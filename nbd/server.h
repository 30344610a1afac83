/* SPDX-License-Identifier: MIT */
/*
 * server.h - what server.c, export.c and address.c share. Main thread.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include "nbd/nbd.h"
#include "nbd/target.h"

#define NBD_LISTENERS_MAX 8u

/* Listening sockets, nonblocking; their number, or a negative errno. Coroutine
 * (names are looked up on a helper thread). */
int co_nbd_listen(const struct nbd_address *address,
		  int fds[NBD_LISTENERS_MAX], struct error **err) MUST_CHECK;

/* export.c: what clients of the server may ask for. */
extern const struct nbd_catalogue nbd_exports;
struct nbd_target *nbd_export_target(const struct nbd_offer *offer);

#endif
