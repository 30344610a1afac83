/* SPDX-License-Identifier: MIT */
/*
 * qcow2-nested.c - caches smaller than what one operation touches: an image in
 * an image of 512 byte clusters, whose metadata is written by flushes and by a
 * close, work without a request; and one request over more slices of tables
 * than there is room for. All of it ends, and nothing is lost.
 */
#include <stdlib.h>

#include "drivers/format/qcow2/disk.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define IMAGE "/sim/image.qcow2"
#define FILE_NODE "{\"driver\":\"file\",\"discard\":\"unmap\"," \
	"\"filename\":\"" IMAGE "\"}"
#define INSIDE "{\"driver\":\"qcow2\",\"discard\":\"unmap\"," \
	"\"l2-cache-size\":512,\"refcount-cache-size\":512," \
	"\"node-name\":\"inside\",\"file\":" FILE_NODE "}"
#define OUTSIDE "{\"driver\":\"qcow2\",\"discard\":\"unmap\"," \
	"\"file\":" INSIDE "}"
#define SIZE (UINT64_C(8) << 20)	/* of the disk that users see */

static uint8_t buf[1 << 20];

static void *build(unsigned cluster_bits, uint64_t size, uint64_t *bytes,
		   enum image_cluster (*kind)(void *, uint64_t))
{
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = cluster_bits,
		.refcount_order = 4,
		.size = size,
		.kind = kind,
	};
	void *data;

	*bytes = image_build(&spec, &data);
	return data;
}

static void make(unsigned cluster_bits, uint64_t size,
		 enum image_cluster (*kind)(void *, uint64_t))
{
	uint64_t bytes;
	void *data = build(cluster_bits, size, &bytes, kind);

	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, data, bytes);
	free(data);
}

static bool begin(struct disk *d, const char *options)
{
	struct error *err = NULL;
	int ret = disk_open(d, options, DISK_WRITABLE, 0, &err);

	if (err)
		printf("\n%s\n", err->text);
	error_clear(&err);
	CU_ASSERT_EQUAL(ret, 0);
	return ret == 0;
}

static int put(struct disk *d, uint64_t offset, uint32_t len, int byte)
{
	memset(buf, byte, len);
	return disk_request(d, REQ_WRITE, 0, offset, len, buf);
}

/* The byte that a range holds throughout; -1: not one. */
static int get(struct disk *d, uint64_t offset, uint32_t len)
{
	if (disk_request(d, REQ_READ, 0, offset, len, buf) < 0)
		return -1;
	for (uint32_t i = 1; i < len; i++)
		if (buf[i] != buf[0])
			return -1;
	return buf[0];
}

static void make_nested(unsigned cluster_bits)
{
	uint64_t bytes;
	uint8_t *data = build(cluster_bits, SIZE, &bytes, NULL);
	struct disk d;

	make(9, 4 * SIZE, NULL);
	if (!begin(&d, INSIDE))
		return;
	for (uint64_t at = 0; at < bytes; at += sizeof(buf)) {
		uint32_t n = (uint32_t)min(bytes - at, sizeof(buf));

		memcpy(buf, data + at, n);
		CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, at,
					     (uint32_t)align_up(n, 512), buf),
				0);
	}
	disk_close(&d);
	free(data);
}

#define WRITES 100u
#define DISTANCE (SIZE / WRITES & ~UINT64_C(4095))

static void nested(unsigned cluster_bits, bool flush)
{
	struct disk d;

	make_nested(cluster_bits);
	if (!begin(&d, OUTSIDE))
		return;
	for (unsigned i = 0; i < WRITES; i++)
		CU_ASSERT_EQUAL(put(&d, i * DISTANCE, 4096, 1 + (int)i), 0);
	if (flush)
		CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL),
				0);
	disk_close(&d);
	if (!begin(&d, OUTSIDE))
		return;
	for (unsigned i = 0; i < WRITES; i++)
		CU_ASSERT_EQUAL(get(&d, i * DISTANCE, 4096), 1 + (int)i);
	disk_close(&d);
}

SIM_TEST(a_close_inside_a_small_cache)
{
	for (unsigned bits = 9; bits <= 16; bits++)
		nested(bits, false);
}

SIM_TEST(a_flush_inside_a_small_cache)
{
	for (unsigned bits = 9; bits <= 16; bits++)
		nested(bits, true);
}

/* One cluster in each table of 2 MiB. */
static enum image_cluster one_a_table(void *arg, uint64_t n)
{
	(void)arg;
	return n % 512 ? IMAGE_HOLE : IMAGE_DATA;
}

SIM_TEST(a_trim_over_more_than_the_cache)
{
	static const uint64_t gib = UINT64_C(1) << 30;
	struct disk d;

	make(12, gib, one_a_table);
	if (!begin(&d, "{\"driver\":\"qcow2\",\"discard\":\"unmap\","
		   "\"l2-cache-size\":65536,\"file\":" FILE_NODE "}"))
		return;
	CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 0, (uint32_t)gib,
				     NULL), 0);
	for (uint64_t at = 0; at < gib; at += UINT64_C(64) << 20)
		CU_ASSERT_EQUAL(get(&d, at, 4096), 0);
	CU_ASSERT_EQUAL(put(&d, 0, 4096, 7), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, 0, (uint32_t)gib,
				     NULL), 0);
	CU_ASSERT_EQUAL(get(&d, 0, 4096), 0);
	disk_close(&d);
}

TEST_MAIN("qcow2-nested",
	  TEST(a_close_inside_a_small_cache),
	  TEST(a_flush_inside_a_small_cache),
	  TEST(a_trim_over_more_than_the_cache))
