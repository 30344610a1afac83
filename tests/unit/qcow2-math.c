/* SPDX-License-Identifier: MIT */
/*
 * qcow2-math.c - the pure parts of the qcow2 driver: positions in tables, L2
 * entries, refcounts of all widths, against plain arithmetic.
 */
#include <stdlib.h>

#include "drivers/format/qcow2/l2.h"
#include "drivers/format/qcow2/refcount.h"
#include "tests/lib/random.h"
#include "tests/lib/suite.h"

/* The bits of a block one by one, as the format counts them. */
static uint64_t bits_at(const uint8_t *block, unsigned width, uint64_t index)
{
	uint64_t v = 0;

	if (width < 8) {
		for (unsigned i = 0; i < width; i++) {
			uint64_t bit = index * width + i;

			v |= (uint64_t)(block[bit / 8] >> bit % 8 & 1) << i;
		}
		return v;
	}
	for (unsigned i = 0; i < width / 8; i++)
		v = v * 256 + block[index * width / 8 + i];
	return v;
}

static void refcounts_of_all_widths(void)
{
	uint8_t block[512], before[512];
	uint64_t r = 1;

	for (unsigned order = 0; order <= 6; order++) {
		unsigned width = 1u << order;
		uint64_t count = 512 * 8 / width;

		for (unsigned i = 0; i < 512; i++)
			block[i] = (uint8_t)random_next(&r, 256);
		for (unsigned i = 0; i < 200; i++) {
			uint64_t index = random_next(&r, count), k;
			uint64_t v = random_next(&r, UINT64_MAX) &
				     refcount_max(order);

			memcpy(before, block, sizeof(block));
			refcount_put(block, order, index, v);
			CU_ASSERT_EQUAL(refcount_get(block, order, index), v);
			CU_ASSERT_EQUAL(bits_at(block, width, index), v);
			/* neighbours are as they were */
			k = index ? index - 1 : 1;
			CU_ASSERT_EQUAL(bits_at(block, width, k),
					bits_at(before, width, k));
			k = index + 1 < count ? index + 1 : index - 1;
			CU_ASSERT_EQUAL(bits_at(block, width, k),
					bits_at(before, width, k));
		}
	}
	CU_ASSERT_EQUAL(refcount_max(0), 1);
	CU_ASSERT_EQUAL(refcount_max(4), 65535);
	CU_ASSERT_EQUAL(refcount_max(6), UINT64_MAX);
}

static void positions(void)
{
	uint64_t r = 2;

	for (unsigned bits = 9; bits <= 21; bits++) {
		struct qcow2_geometry g = qcow2_geometry_make(bits, 4);
		uint64_t cluster = UINT64_C(1) << bits;
		uint64_t per_table = cluster / 8;
		uint64_t per_slice = min(cluster, UINT64_C(4096)) / 8;

		CU_ASSERT_EQUAL(g.slices_per_table, per_table / per_slice);
		for (unsigned i = 0; i < 100; i++) {
			uint64_t off = random_next(&r, cluster * per_table *
						   1000);
			struct qcow2_pos p = qcow2_pos(&g, off);

			CU_ASSERT_EQUAL(p.l1, off / cluster / per_table);
			CU_ASSERT_EQUAL(p.in_cluster, off % cluster);
			CU_ASSERT_EQUAL(p.slice, off / cluster / per_slice);
			CU_ASSERT_EQUAL(p.index, off / cluster % per_slice);
			CU_ASSERT_EQUAL(qcow2_slice_l1(&g, p.slice), p.l1);
			CU_ASSERT_EQUAL(qcow2_slice_in_table(&g, p.slice),
					off / cluster % per_table / per_slice *
					per_slice * 8);
			CU_ASSERT_EQUAL(qcow2_slice_start(&g, p.slice),
					p.slice * per_slice * cluster);
		}
	}
}

static void refcount_positions(void)
{
	uint64_t r = 3;

	for (unsigned bits = 9; bits <= 21; bits += 3) {
		for (unsigned order = 0; order <= 6; order++) {
			struct qcow2_geometry g = qcow2_geometry_make(bits,
								      order);
			uint64_t slice = min(UINT64_C(1) << bits,
					     UINT64_C(4096));
			uint64_t per_slice = slice * 8 >> order;
			uint64_t per_block = (UINT64_C(8) << bits) >> order;
			uint64_t c = random_next(&r, per_block * 1000);
			struct qcow2_ref_pos p = qcow2_ref_pos(&g, c);

			CU_ASSERT_EQUAL(p.block, c / per_block);
			CU_ASSERT_EQUAL(p.slice, c / per_slice);
			CU_ASSERT_EQUAL(p.index, c % per_slice);
		}
	}
}

static void l1_sizes(void)
{
	struct qcow2_geometry g = qcow2_geometry_make(16, 4);

	CU_ASSERT_EQUAL(qcow2_l1_needed(&g, 0), 0);
	CU_ASSERT_EQUAL(qcow2_l1_needed(&g, 1), 1);
	CU_ASSERT_EQUAL(qcow2_l1_needed(&g, 512 << 20), 1);
	CU_ASSERT_EQUAL(qcow2_l1_needed(&g, (512 << 20) + 1), 2);
	g = qcow2_geometry_make(9, 4);
	CU_ASSERT_EQUAL(qcow2_l1_needed(&g, INT64_MAX),
			UINT64_C(1) << (63 - 15));
}

static void entry_kinds(void)
{
	struct qcow2_geometry g = qcow2_geometry_make(16, 4);
	const uint64_t copied = UINT64_C(1) << 63, packed = UINT64_C(1) << 62;

	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, 0), QCOW2_UNALLOCATED);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, 1), QCOW2_ZERO_PLAIN);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, copied | 0x50001),
			QCOW2_ZERO_ALLOCATED);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, copied | 0x50000),
			QCOW2_NORMAL);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, packed | 0x50321),
			QCOW2_PACKED);
	/* version 2 knows no zeroes; offsets are whole clusters */
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, false, 1), QCOW2_BAD);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, copied | 0x50200),
			QCOW2_BAD);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, copied | 0x50201),
			QCOW2_BAD);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, copied | packed | 0x50000),
			QCOW2_BAD);
	CU_ASSERT_EQUAL(qcow2_entry_kind(&g, true, copied), QCOW2_BAD);
}

static void packed_ranges(void)
{
	/* 64 KiB: 8 bits of sectors above 54 of offset */
	struct qcow2_geometry g = qcow2_geometry_make(16, 4);
	struct qcow2_packed p;

	p = qcow2_entry_packed(&g, UINT64_C(1) << 62 | 0x12345);
	CU_ASSERT_EQUAL(p.offset, 0x12345);
	CU_ASSERT_EQUAL(p.len, 512 - 0x145);
	p = qcow2_entry_packed(&g, UINT64_C(1) << 62 | UINT64_C(255) << 54 |
			       0x200);
	CU_ASSERT_EQUAL(p.offset, 0x200);
	CU_ASSERT_EQUAL(p.len, 256 * 512);
	/* 512 bytes: one bit of sectors */
	g = qcow2_geometry_make(9, 4);
	p = qcow2_entry_packed(&g, UINT64_C(1) << 62 | UINT64_C(1) << 61 | 7);
	CU_ASSERT_EQUAL(p.offset, 7);
	CU_ASSERT_EQUAL(p.len, 1024 - 7);
	/* the most a cluster can claim: twice its size */
	g = qcow2_geometry_make(21, 4);
	p = qcow2_entry_packed(&g, UINT64_MAX >> 1 & ~UINT64_C(511));
	CU_ASSERT_EQUAL(p.len, 2 << 21);
}

TEST_MAIN("qcow2-math",
	  TEST(refcounts_of_all_widths),
	  TEST(positions),
	  TEST(refcount_positions),
	  TEST(l1_sizes),
	  TEST(entry_kinds),
	  TEST(packed_ranges))
