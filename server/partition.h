/* SPDX-License-Identifier: MIT */
/*
 * partition.h - where a partition of a disk lies: GPT, or MBR with what is in
 * its extended partition.
 *
 * The libraries that read partition tables read them from a descriptor; an
 * image has none until it is a device. Tables are hostile as images are (A26):
 * every number is bounded before it is used.
 */
#ifndef SERVER_PARTITION_H
#define SERVER_PARTITION_H

#include <stdint.h>

#include "runtime/error.h"

struct root;

struct partition {
	uint64_t offset, size;	/* bytes; inside the disk */
};

/*
 * Partition `number`, counted as the kernel does, of the disk that the root is
 * on. block: bytes of its logical blocks, in which the table counts; one whose
 * GPT is that of another size is read as such. what: names the disk in errors.
 * Main thread, coroutine; the root is busy (co_root_busy).
 */
int co_partition_find(struct root *root, unsigned number, uint32_t block,
		      const char *what, struct partition *out,
		      struct error **err) MUST_CHECK;

/*
 * The partition that ends last, and the byte where it ends; *end 0: there is
 * none. The rest as above; tables of either size of block are looked for.
 */
int co_partition_last(struct root *root, const char *what, unsigned *number,
		      uint64_t *end, struct error **err) MUST_CHECK;

#endif
