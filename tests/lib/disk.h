/* SPDX-License-Identifier: MIT */
/*
 * disk.h - a node with a root on it, one request at a time, for small tests.
 * Main thread, coroutine; the requests run on I/O thread 1.
 */
#ifndef TESTS_LIB_DISK_H
#define TESTS_LIB_DISK_H

#include "graph/root.h"
#include "runtime/error.h"

struct disk {
	struct node *node;
	struct root *root;
};

/* options: JSON text as blockdev-add takes it. perm: of the root. flags: of
 * node_open. Nothing stays open when it fails. */
int disk_open(struct disk *d, const char *options, unsigned perm,
	      unsigned flags, struct error **err);
int disk_request(struct disk *d, enum req_op op, unsigned flags,
		 uint64_t offset, uint32_t len, void *buf);
void disk_close(struct disk *d);

/* Opens, expects to fail, and gives the sentence; the caller frees it. NULL:
 * it did not fail. */
char *disk_open_error(const char *options, unsigned perm);

#define DISK_WRITABLE (PERM_CONSISTENT_READ | PERM_WRITE)

#endif
