/* SPDX-License-Identifier: MIT */
/*
 * server-partition.c - partition tables: those that sfdisk writes the black box
 * tests compare; here are the damaged and the hostile ones (A26).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/sim.h"
#include "server/partition.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/suite.h"

#define PATH "/sim/disk"
#define BLOCKS 2048u
#define OPTIONS "{\"driver\": \"file\", \"filename\": \"" PATH "\"}"

static uint8_t disk[BLOCKS * 512];

static const struct root_ops ops = { .kind = "control" };

static void put32(size_t at, uint32_t v)
{
	v = htole32(v);
	memcpy(disk + at, &v, sizeof(v));
}

static void put64(size_t at, uint64_t v)
{
	v = htole64(v);
	memcpy(disk + at, &v, sizeof(v));
}

/* A GPT in blocks of that size whose table, of one partition, lies before it or
 * behind. */
static void put_gpt(uint32_t block, uint64_t at, uint64_t table,
		    uint64_t first, uint64_t last)
{
	size_t h = at * block, t = table * block;

	memset(disk + t, 0, 128 * 4);
	memset(disk + t, 7, 32);
	put64(t + 32, first);
	put64(t + 40, last);
	memset(disk + h, 0, 512);
	memcpy(disk + h, "EFI PART", 8);
	put32(h + 12, 92);
	put64(h + 24, at);
	put64(h + 72, table);
	put32(h + 80, 4);
	put32(h + 84, 128);
	put32(h + 88, (uint32_t)crc32_z(0, disk + t, 128 * 4));
	put32(h + 16, (uint32_t)crc32_z(0, disk + h, 92));
}

static void put_mbr(uint64_t block, unsigned i, uint8_t type, uint32_t first,
		    uint32_t count)
{
	size_t at = block * 512 + 446 + i * 16;

	disk[at + 4] = type;
	put32(at + 8, first);
	put32(at + 12, count);
	disk[block * 512 + 510] = 0x55;
	disk[block * 512 + 511] = 0xaa;
}

/* NULL: found. Else the sentence, until the next call. */
static const char *find(unsigned number, struct partition *out)
{
	static char text[300];
	struct error *err = NULL;
	struct disk d;
	struct root *root;
	int ret;

	sim_file_create(PATH, 0);
	sim_file_set(PATH, disk, sizeof(disk));
	ret = disk_open(&d, OPTIONS, PERM_CONSISTENT_READ, 0, &err);
	CU_ASSERT_EQUAL_FATAL(ret, 0);
	root = root_new(&ops, NULL, "test", d.node, PERM_CONSISTENT_READ,
			PERM_ALL, 1, UINT64_C(1) << MAIN_THREAD, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	co_root_busy(root);
	ret = co_partition_find(root, number, 512, "x", out, &err);
	root_idle(root);
	root_free(root);
	disk_close(&d);
	sim_file_remove(PATH);
	CU_ASSERT_EQUAL(ret < 0, err != NULL);
	if (!err)
		return NULL;
	CU_ASSERT(strlen(err->text) < sizeof(text));
	snprintf(text, sizeof(text), "%s", err->text);
	error_clear(&err);
	return text;
}

static bool is_at(const struct partition *p, uint64_t offset, uint64_t size)
{
	return p->offset == offset && p->size == size;
}

SIM_TEST(gpt)
{
	struct partition p;

	memset(disk, 0, sizeof(disk));
	put_gpt(512, 1, 2, 100, 107);
	CU_ASSERT_PTR_NULL(find(1, &p));
	CU_ASSERT(is_at(&p, 100 * 512, 8 * 512));
	CU_ASSERT_STRING_EQUAL(find(2, &p), "'x' has no partition 2, only 1");
	/* of a disk with other blocks */
	memset(disk, 0, sizeof(disk));
	put_gpt(4096, 1, 2, 10, 10);
	CU_ASSERT_PTR_NULL(find(1, &p));
	CU_ASSERT(is_at(&p, 10 * 4096, 4096));
}

SIM_TEST(damaged_gpt)
{
	struct partition p;

	memset(disk, 0, sizeof(disk));
	put_mbr(0, 0, 0xee, 1, BLOCKS - 1);
	put_gpt(512, 1, 2, 100, 107);
	put_gpt(512, BLOCKS - 1, BLOCKS - 33, 200, 207);
	/* the table, then the header */
	disk[2 * 512 + 32]++;
	CU_ASSERT_PTR_NULL(find(1, &p));
	CU_ASSERT(is_at(&p, 200 * 512, 8 * 512));
	put_gpt(512, 1, 2, 100, 107);
	disk[512 + 72]++;
	CU_ASSERT_PTR_NULL(find(1, &p));
	CU_ASSERT(is_at(&p, 200 * 512, 8 * 512));
	disk[(BLOCKS - 1) * 512]++;
	CU_ASSERT_STRING_EQUAL(find(1, &p), "The GPT of 'x' is damaged, and so"
			       " is its copy");
}

/* Sound sums, and numbers that lead anywhere. */
SIM_TEST(hostile_gpt)
{
	static const struct {
		size_t at;
		uint64_t value;
	} bad[] = {
		{ 72, UINT64_MAX }, { 72, BLOCKS }, { 72, UINT64_MAX / 512 },
		{ 80, 0 }, { 80, UINT32_MAX }, { 84, 0 }, { 84, UINT32_MAX },
		{ 84, 64 }, { 12, 0 }, { 12, UINT32_MAX }, { 12, 513 },
	};
	struct partition p;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(disk, 0, sizeof(disk));
		put_gpt(512, 1, 2, 100, 107);
		if (bad[i].at == 72)
			put64(512 + 72, bad[i].value);
		else
			put32(512 + bad[i].at, (uint32_t)bad[i].value);
		put32(512 + 16, 0);
		put32(512 + 16, (uint32_t)crc32_z(0, disk + 512, 92));
		CU_ASSERT_STRING_EQUAL(find(1, &p), "'x' has no partition "
				       "table, neither GPT nor MBR");
	}
	memset(disk, 0, sizeof(disk));
	put_gpt(512, 1, 2, BLOCKS - 4, BLOCKS);
	CU_ASSERT_STRING_EQUAL(find(1, &p), "Partition 1 of 'x' reaches past "
			       "the end of the disk, which has 1048576 bytes");
	put_gpt(512, 1, 2, 0, UINT64_MAX);
	CU_ASSERT_STRING_EQUAL(find(1, &p), "'x' has no partition 1: its "
			       "partition table is empty");
}

SIM_TEST(mbr)
{
	struct partition p;

	memset(disk, 0, sizeof(disk));
	put_mbr(0, 1, 0x83, 8, 8);
	put_mbr(0, 2, 0x05, 1000, 500);
	put_mbr(1000, 0, 0x83, 8, 16);
	put_mbr(1000, 1, 0x05, 200, 100);
	put_mbr(1200, 0, 0x83, 8, 24);
	CU_ASSERT_PTR_NULL(find(2, &p));
	CU_ASSERT(is_at(&p, 8 * 512, 8 * 512));
	CU_ASSERT_PTR_NULL(find(5, &p));
	CU_ASSERT(is_at(&p, 1008 * 512, 16 * 512));
	CU_ASSERT_PTR_NULL(find(6, &p));
	CU_ASSERT(is_at(&p, 1208 * 512, 24 * 512));
	/* a link of the list that holds nothing has no number */
	put_mbr(1200, 1, 0x05, 300, 100);
	put_mbr(1300, 1, 0x05, 400, 100);
	put_mbr(1400, 0, 0x83, 8, 8);
	CU_ASSERT_PTR_NULL(find(7, &p));
	CU_ASSERT(is_at(&p, 1408 * 512, 8 * 512));
	CU_ASSERT_STRING_EQUAL(find(3, &p), "'x' has no partition 3, only 2, "
			       "5, 6, 7");
	/* the boot sector of a file system */
	disk[446] = 0x20;
	CU_ASSERT_STRING_EQUAL(find(2, &p), "'x' has no partition table, "
			       "neither GPT nor MBR");
}

SIM_TEST(hostile_mbr)
{
	const char *text;
	struct partition p;

	/* a circle, of which there are only so many */
	memset(disk, 0, sizeof(disk));
	put_mbr(0, 0, 0x05, 1000, 500);
	put_mbr(1000, 0, 0x83, 8, 16);
	put_mbr(1000, 1, 0x05, 0, 100);
	text = find(1, &p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL(strncmp(text, "'x' has no partition 1, only 5, 6, ",
				35), 0);
	CU_ASSERT_STRING_EQUAL(text + strlen(text) - 5, ", ...");
	/* past the end, as far as 32 bits go */
	put_mbr(1000, 0, 0x83, UINT32_MAX, UINT32_MAX);
	put_mbr(1000, 1, 0x05, UINT32_MAX, 100);
	CU_ASSERT_STRING_EQUAL(find(5, &p), "Partition 5 of 'x' reaches past "
			       "the end of the disk, which has 1048576 bytes");
}

TEST_MAIN("partitions", TEST(gpt), TEST(damaged_gpt), TEST(hostile_gpt),
	  TEST(mbr), TEST(hostile_mbr))
