/* SPDX-License-Identifier: MIT */
/*
 * server.h - what server.c and export.c share. Main thread.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include "nbd/nbd.h"
#include "nbd/target.h"

/* export.c: what clients of the server may ask for. */
extern const struct nbd_catalogue nbd_exports;
struct nbd_target *nbd_export_target(const struct nbd_offer *offer);

#endif
