/* SPDX-License-Identifier: MIT */
/*
 * l2.h - what an L1 or L2 entry says. Pure.
 *
 *	bit 63	COPIED: the refcount is exactly one
 *	bit 62	compressed (L2)
 *	9..55	host offset
 *	bit 0	reads as zeroes (L2, version 3)
 *
 * The other bits are reserved; they are ignored when read and written as zero.
 */
#ifndef QCOW2_L2_H
#define QCOW2_L2_H

#include <stdbool.h>

#include "drivers/format/qcow2/addr.h"

#define QCOW2_COPIED (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ZERO UINT64_C(1)
#define QCOW2_HOST_MASK UINT64_C(0x00fffffffffffe00)

enum qcow2_kind {
	QCOW2_UNALLOCATED,	/* what the backing file has */
	QCOW2_ZERO_PLAIN,	/* zeroes, no host cluster */
	QCOW2_ZERO_ALLOCATED,	/* zeroes, a host cluster is kept */
	QCOW2_NORMAL,
	QCOW2_PACKED,		/* compressed */
	QCOW2_BAD,		/* what no writer may write */
};

static inline uint64_t qcow2_entry_host(uint64_t entry)
{
	return entry & QCOW2_HOST_MASK;
}

/* v3: whether zero clusters exist in this version. */
static inline enum qcow2_kind qcow2_entry_kind(const struct qcow2_geometry *g,
					       bool v3, uint64_t entry)
{
	uint64_t host = qcow2_entry_host(entry);

	if (entry & QCOW2_COMPRESSED)
		return entry & QCOW2_COPIED ? QCOW2_BAD : QCOW2_PACKED;
	if (host & (g->cluster_size - 1))
		return QCOW2_BAD;
	if (entry & QCOW2_ZERO) {
		if (!v3)
			return QCOW2_BAD;
		return host ? QCOW2_ZERO_ALLOCATED : QCOW2_ZERO_PLAIN;
	}
	if (!host)
		return entry & QCOW2_COPIED ? QCOW2_BAD : QCOW2_UNALLOCATED;
	return QCOW2_NORMAL;
}

/* Where the bytes of a compressed cluster lie in the file. */
struct qcow2_packed {
	uint64_t offset;	/* first byte, at any alignment */
	uint32_t len;		/* bytes, padding at the end included */
};

static inline struct qcow2_packed
qcow2_entry_packed(const struct qcow2_geometry *g, uint64_t entry)
{
	/* the fewer bits a cluster needs to count sectors, the more are left
	 * for the offset */
	unsigned offset_bits = 62 - (g->cluster_bits - 8u);
	uint64_t offset = entry & ((UINT64_C(1) << offset_bits) - 1);
	uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> offset_bits;

	return (struct qcow2_packed){
		.offset = offset,
		.len = (uint32_t)((sectors + 1) * QCOW2_SECTOR -
				  (offset & (QCOW2_SECTOR - 1))),
	};
}

#endif
