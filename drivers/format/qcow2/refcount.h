/* SPDX-License-Identifier: MIT */
/*
 * refcount.h - refcounts of 1 to 64 bits in a block. Pure.
 *
 * Widths below a byte fill each byte from its low bits upwards; wider ones are
 * big endian.
 */
#ifndef QCOW2_REFCOUNT_H
#define QCOW2_REFCOUNT_H

#include "drivers/format/qcow2/disk.h"

/* The largest refcount of this width. */
static inline uint64_t refcount_max(unsigned order)
{
	return order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;
}

static inline uint64_t refcount_get(const void *block, unsigned order,
				    uint64_t index)
{
	const uint8_t *p = block;
	unsigned bits = 1u << order;
	uint64_t v = 0;

	if (order < 3) {
		unsigned shift = (unsigned)(index << order) & 7;

		return (uint8_t)(p[(index << order) >> 3] >> shift) &
		       ((1u << bits) - 1);
	}
	p += index << (order - 3);
	for (unsigned i = 0; i < bits / 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* v is at most refcount_max. */
static inline void refcount_put(void *block, unsigned order, uint64_t index,
				uint64_t v)
{
	uint8_t *p = block;
	unsigned bits = 1u << order;

	assert(v <= refcount_max(order));
	if (order < 3) {
		unsigned shift = (unsigned)(index << order) & 7;
		unsigned mask = ((1u << bits) - 1) << shift;
		uint8_t *byte = p + ((index << order) >> 3);

		*byte = (uint8_t)((*byte & ~mask) | (unsigned)v << shift);
		return;
	}
	p += index << (order - 3);
	for (unsigned i = bits / 8; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
}

#endif
