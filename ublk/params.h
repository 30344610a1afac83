/* SPDX-License-Identifier: MIT */
/*
 * params.h - what is told to the kernel about a device, and what it tells us
 * about a request. Plain functions of their arguments, any thread.
 */
#ifndef UBLK_PARAMS_H
#define UBLK_PARAMS_H

#include <linux/ublk_cmd.h>

#include "graph/driver.h"

#define UBLK_MAX_IO (512u * 1024)	/* bytes of one READ or WRITE */
/* A result is a signed 32-bit number: nothing may reach 2 GiB. */
#define UBLK_MAX_DISCARD (1u << 30)	/* bytes */

#define UBLK_QUEUES_MAX 64u

struct ublk_options {
	uint32_t id;			/* or UBLK_DEV_ID_ANY */
	uint32_t queues, depth;
	uint32_t logical_block_size;
	bool zero_copy, partition_scan;
};

/* Flags to ask ADD_DEV for, of those the kernel offers. */
uint64_t ublk_flags(uint64_t features, const struct ublk_options *opts,
		    bool zero_copy);
/* size: the node's, bytes; what does not fill a block is not shown. */
void ublk_fill_params(struct ublk_params *p, const struct limits *lim,
		      uint64_t size, bool writable,
		      const struct ublk_options *opts, bool zero_copy);
/*
 * Fills op, flags, offset and len. 0; or the negative errno that the request
 * is to be answered with.
 */
int ublk_decode(const struct ublksrv_io_desc *desc, struct request *req);
/* Our mark in dev_info.ublksrv_flags, with the daemon's pid (U9). */
uint64_t ublk_mark(int pid);
/* The pid in the mark, 0 if it is not ours. */
int ublk_mark_pid(uint64_t mark);

#endif
