/* SPDX-License-Identifier: MIT */
/*
 * addr.h - the geometry of an image, and where in its tables an address lies.
 *
 * Tables are cached in slices of at most 4 KiB. A guest offset names an L1
 * entry, a slice of the L2 table and an entry in the slice; a host cluster
 * names a refcount block, a slice of it and an entry there. Pure.
 */
#ifndef QCOW2_ADDR_H
#define QCOW2_ADDR_H

#include "drivers/format/qcow2/disk.h"

#define QCOW2_SLICE_BITS_MAX 12u

struct qcow2_geometry {
	uint8_t cluster_bits;
	uint8_t refcount_order;		/* width is 1 << order bits */
	/* derived by qcow2_geometry_make */
	uint8_t l2_bits;		/* log2 of entries in an L2 table */
	uint8_t slice_bits;		/* log2 of bytes in a slice */
	uint8_t slice_l2_bits;		/* log2 of L2 entries in a slice */
	uint8_t slice_ref_bits;		/* log2 of refcounts in a slice */
	uint8_t block_bits;		/* log2 of refcounts in a block */
	uint32_t cluster_size;		/* bytes */
	uint32_t slice_size;		/* bytes */
	uint32_t slices_per_table;	/* of L2 tables and refcount blocks */
};

static inline struct qcow2_geometry qcow2_geometry_make(unsigned cluster_bits,
							unsigned order)
{
	unsigned slice_bits = cluster_bits < QCOW2_SLICE_BITS_MAX ?
			      cluster_bits : QCOW2_SLICE_BITS_MAX;

	return (struct qcow2_geometry){
		.cluster_bits = (uint8_t)cluster_bits,
		.refcount_order = (uint8_t)order,
		.l2_bits = (uint8_t)(cluster_bits - 3),
		.slice_bits = (uint8_t)slice_bits,
		.slice_l2_bits = (uint8_t)(slice_bits - 3),
		.slice_ref_bits = (uint8_t)(slice_bits + 3 - order),
		.block_bits = (uint8_t)(cluster_bits + 3 - order),
		.cluster_size = 1u << cluster_bits,
		.slice_size = 1u << slice_bits,
		.slices_per_table = 1u << (cluster_bits - slice_bits),
	};
}

/* Where a guest offset's entry is. */
struct qcow2_pos {
	uint64_t slice;		/* number of the slice in the whole disk */
	uint32_t l1;		/* L1 entry of the table */
	uint32_t index;		/* entry in the slice */
	uint32_t in_cluster;	/* byte in the cluster */
};

static inline struct qcow2_pos qcow2_pos(const struct qcow2_geometry *g,
					 uint64_t offset)
{
	uint64_t cluster = offset >> g->cluster_bits;

	return (struct qcow2_pos){
		.slice = cluster >> g->slice_l2_bits,
		.l1 = (uint32_t)(cluster >> g->l2_bits),
		.index = (uint32_t)(cluster & ((1u << g->slice_l2_bits) - 1)),
		.in_cluster = (uint32_t)(offset & (g->cluster_size - 1)),
	};
}

/* First guest offset of a slice; L1 entry of a slice. */
static inline uint64_t qcow2_slice_start(const struct qcow2_geometry *g,
					 uint64_t slice)
{
	return slice << (g->slice_l2_bits + g->cluster_bits);
}

static inline uint32_t qcow2_slice_l1(const struct qcow2_geometry *g,
				      uint64_t slice)
{
	return (uint32_t)(slice >> (g->l2_bits - g->slice_l2_bits));
}

/* Byte of a slice, by its number, within its L2 table or refcount block. */
static inline uint32_t qcow2_slice_in_table(const struct qcow2_geometry *g,
					    uint64_t slice)
{
	return (uint32_t)(slice & (g->slices_per_table - 1)) << g->slice_bits;
}

/* Entries an L1 table needs for a disk of `size` bytes; may exceed 32 bits. */
static inline uint64_t qcow2_l1_needed(const struct qcow2_geometry *g,
				       uint64_t size)
{
	unsigned shift = g->l2_bits + g->cluster_bits;

	return (size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);
}

/* Where a host cluster's refcount is. */
struct qcow2_ref_pos {
	uint64_t block;		/* reftable entry */
	uint64_t slice;		/* number of the slice in all blocks */
	uint32_t index;		/* refcount in the slice */
};

static inline struct qcow2_ref_pos qcow2_ref_pos(const struct qcow2_geometry *g,
						 uint64_t cluster)
{
	return (struct qcow2_ref_pos){
		.block = cluster >> g->block_bits,
		.slice = cluster >> g->slice_ref_bits,
		.index = (uint32_t)(cluster &
				    ((UINT64_C(1) << g->slice_ref_bits) - 1)),
	};
}

static inline uint64_t qcow2_host_cluster(const struct qcow2_geometry *g,
					  uint64_t host)
{
	return host >> g->cluster_bits;
}

static inline uint64_t qcow2_host_offset(const struct qcow2_geometry *g,
					 uint64_t cluster)
{
	return cluster << g->cluster_bits;
}

#endif
