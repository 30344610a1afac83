/* SPDX-License-Identifier: MIT */
/*
 * qcow2-space.c - which clusters a write gets, and what happens when there are
 * none: runs before holes, devices that grow, clusters that are given up, and
 * the set of metadata clusters when it is full.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "drivers/format/qcow2/l2.h"
#include "drivers/format/qcow2/meta.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define IMAGE "/sim/space.qcow2"
#define BITS 12u
#define CLUSTER (1u << BITS)
#define OPTIONS(driver) "{\"driver\":\"qcow2\",\"node-name\":\"d\"," \
	"\"discard\":\"unmap\",\"file\":{\"driver\":\"" driver "\"," \
	"\"discard\":\"unmap\",\"filename\":\"" IMAGE "\"}}"
#define SECOND UINT64_C(1000000000)

/* Guest clusters: holes from here on. */
enum { OLD = 2, FIRST_HOLE = 16 };

static enum image_cluster kind(void *arg, uint64_t n)
{
	(void)arg;
	return n < FIRST_HOLE ? IMAGE_DATA : IMAGE_HOLE;
}

static void fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)arg;
	memset(buf, (int)(1 + (offset >> BITS)), len);
}

static void make(void)
{
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = BITS,
		.refcount_order = 4,
		.size = 64 << BITS,
		.kind = kind,
		.fill = fill,
	};
	void *data;
	uint64_t size = image_build(&spec, &data);

	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, data, size);
	free(data);
}

/* Where in the file a guest cluster is, as it lies there. */
static uint64_t host_of(unsigned cluster)
{
	uint8_t *data;
	void *file;
	uint64_t l1, l2, entry;

	sim_file_get(IMAGE, &file);
	data = file;
	l1 = be64_at(data + QCOW2_H_L1_OFFSET);
	l2 = qcow2_entry_host(be64_at(data + l1));
	entry = be64_at(data + l2 + cluster * 8);
	free(file);
	return qcow2_entry_host(entry);
}

static struct disk disk;

static bool begin(const char *options)
{
	struct error *err = NULL;
	int ret = disk_open(&disk, options, DISK_WRITABLE, 0, &err);

	CU_ASSERT_EQUAL(ret, 0);
	error_clear(&err);
	return ret == 0;
}

static int now(enum req_op op, unsigned cluster, unsigned count)
{
	static uint8_t buf[16 * CLUSTER];

	return disk_request(&disk, op, 0, (uint64_t)cluster << BITS,
			    count << BITS, op == REQ_WRITE ? buf : NULL);
}

/* --- which clusters --- */

static void run_body(void *arg)
{
	uint64_t hole = host_of(OLD);

	(void)arg;
	if (!begin(OPTIONS("file")))
		return;
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD, 1), 0);
	co_sleep(SECOND);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0, 0), 0);
	CU_ASSERT_EQUAL(now(REQ_WRITE, FIRST_HOLE, 8), 0);
	CU_ASSERT_EQUAL(now(REQ_WRITE, FIRST_HOLE + 8, 1), 0);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0, 0), 0);
	for (unsigned i = 1; i < 8; i++)
		CU_ASSERT_EQUAL(host_of(FIRST_HOLE + i),
				host_of(FIRST_HOLE) + i * CLUSTER);
	CU_ASSERT_EQUAL(host_of(FIRST_HOLE + 8), hole);
	disk_close(&disk);
}

static void a_run_before_a_hole(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make();
		test_run(1, seed, run_body, NULL);
	}
}

/* --- a device that was extended --- */

static void extend(uint64_t bytes)
{
	void *data;
	uint64_t size = sim_file_get(IMAGE, &data);

	data = realloc(data, size + bytes);
	assert(data);
	memset((char *)data + size, 0xa5, bytes);
	sim_file_set(IMAGE, data, size + bytes);
	free(data);
}

static void grown_body(void *arg)
{
	static uint8_t buf[CLUSTER];
	unsigned cluster = FIRST_HOLE;

	(void)arg;
	if (!begin(OPTIONS("host_device")))
		return;
	CU_ASSERT_EQUAL(now(REQ_WRITE, cluster, 1), -ENOSPC);
	extend(3 * CLUSTER);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(now(REQ_WRITE, cluster + i, 1), 0);
	CU_ASSERT_EQUAL(now(REQ_WRITE, cluster + 3, 1), -ENOSPC);
	extend(CLUSTER);
	/* what lay there before is not shown */
	CU_ASSERT_EQUAL(disk_request(&disk, REQ_WRITE, 0,
				     (uint64_t)(cluster + 3) << BITS, 512,
				     buf), 0);
	CU_ASSERT_EQUAL(disk_request(&disk, REQ_READ, 0,
				     (uint64_t)(cluster + 3) << BITS, CLUSTER,
				     buf), 0);
	for (unsigned i = 0; i < CLUSTER; i++)
		CU_ASSERT_EQUAL_FATAL(buf[i], 0);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0, 0), 0);
	disk_close(&disk);
}

static void a_device_that_grew(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make();
		sim_file_block_device(IMAGE);
		test_run(1, seed, grown_body, NULL);
	}
}

/* --- given up --- */

static json_int_t leaked_of(struct node *node)
{
	json_t *info = json_object(), *data;
	json_int_t n;

	node->driver->info(node, info);
	data = json_object_get(json_object_get(info, "format-specific"),
			       "data");
	n = json_integer_value(json_object_get(data, "leaked-clusters"));
	json_decref(info);
	return n;
}

static int fail_reads(void *arg, const struct io *io)
{
	(void)arg;
	return io->op == IO_READ ? -EIO : 0;
}

static void leaked_body(void *arg)
{
	(void)arg;
	if (!begin(OPTIONS("file")))
		return;
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD, 2), 0);
	co_sleep(SECOND);
	CU_ASSERT_EQUAL(leaked_of(disk.node), 0);
	/* their refcounts were not needed before */
	sim_set_fault(fail_reads, NULL);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0, 0), 0);
	sim_set_fault(NULL, NULL);
	CU_ASSERT_EQUAL(leaked_of(disk.node), 2);
	disk_close(&disk);
}

static void what_is_given_up_is_shown(void)
{
	struct image_report report;
	uint64_t size;
	void *data;

	make();
	test_run(1, 1, leaked_body, NULL);
	size = sim_file_get(IMAGE, &data);
	image_check(data, size, &report);
	free(data);
	CU_ASSERT_EQUAL(report.errors, 0);
	CU_ASSERT_EQUAL(report.leaks, 2);
}

/* --- the set of metadata clusters --- */

static void metadata_is_never_forgotten(void)
{
	struct meta_set m;

	CU_ASSERT_EQUAL_FATAL(meta_set_init(&m), 0);
	for (uint64_t c = 0; c < 100000; c++) {
		CU_ASSERT_EQUAL_FATAL(meta_set_reserve(&m, 1), 0);
		meta_set_add(&m, c * 7);
		if (c % 3 == 0)
			meta_set_remove(&m, c * 7);
	}
	for (uint64_t c = 0; c < 100000 * 7; c++)
		CU_ASSERT_EQUAL_FATAL(meta_set_has(&m, c),
				      c % 7 == 0 && c % 3);
	/* one that comes and goes leaves nothing behind */
	for (uint64_t c = 0; c < 1000000; c++) {
		CU_ASSERT_EQUAL_FATAL(meta_set_reserve(&m, 1), 0);
		meta_set_add(&m, 1000000 + c);
		meta_set_remove(&m, 1000000 + c);
	}
	CU_ASSERT_TRUE(meta_set_has(&m, 7));
	CU_ASSERT_FALSE(meta_set_has(&m, 1000000));
	meta_set_destroy(&m);
}

TEST_MAIN("qcow2-space",
	  TEST(a_run_before_a_hole),
	  TEST(a_device_that_grew),
	  TEST(what_is_given_up_is_shown),
	  TEST(metadata_is_never_forgotten))
