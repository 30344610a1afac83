/* SPDX-License-Identifier: MIT */
/*
 * qcow2-options.c - what the driver's options and the image's feature bits do,
 * as seen from outside: errors by their sentences, the file's header, queries.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "drivers/format/qcow2/disk.h"
#include "graph/graph.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define IMAGE "/sim/image.qcow2"
#define OPEN(more) "{\"driver\":\"qcow2\",\"node-name\":\"d\"," more \
	"\"discard\":\"unmap\",\"file\":{\"driver\":\"file\"," \
	"\"discard\":\"unmap\",\"filename\":\"" IMAGE "\"}}"

static void make(unsigned version, uint64_t size, bool lazy,
		 const char *backing)
{
	struct image_spec spec = {
		.version = version,
		.cluster_bits = 16,
		.refcount_order = 4,
		.size = size,
		.lazy_refcounts = lazy,
		.backing = backing,
		.backing_format = backing ? "raw" : NULL,
	};
	void *data;
	uint64_t bytes = image_build(&spec, &data);

	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, data, bytes);
	free(data);
}

static uint64_t header_bits(unsigned at)
{
	void *data;
	uint64_t v;

	sim_file_get(IMAGE, &data);
	v = be64_at((uint8_t *)data + at);
	free(data);
	return v;
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

static void fails(const char *options, const char *says)
{
	char *text = disk_open_error(options, DISK_WRITABLE);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	if (!strstr(text, says))
		printf("\n%s\n", text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, says));
	free(text);
}

static uint8_t buf[65536];

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

SIM_TEST(refused)
{
	uint8_t junk[100] = "QFI\xfb";

	make(2, 1 << 20, false, NULL);
	fails(OPEN("\"lazy-refcounts\":true,"), "version 3");
	/* nothing changed, and without the option it opens */
	fails(OPEN("\"no-such-option\":true,"), "no-such-option");
	sim_file_set(IMAGE, junk, sizeof(junk));
	fails(OPEN(""), "version 0");
	sim_file_set(IMAGE, junk, 3);
	fails(OPEN(""), "not in qcow2 format");
	sim_file_set(IMAGE, junk, 0);
	fails(OPEN(""), "not in qcow2 format");
}

/* Sentences as users of QEMU know them. */
static void caches_body(void *arg)
{
	struct disk d;

	(void)arg;
	fails(OPEN("\"cache-size\":\"1M\",\"l2-cache-size\":\"1M\","
		   "\"refcount-cache-size\":\"1M\","),
	      "cache-size, l2-cache-size and refcount-cache-size may not be"
	      " set at the same time");
	fails(OPEN("\"cache-size\":\"1M\",\"l2-cache-size\":1048577,"),
	      "l2-cache-size may not exceed cache-size");
	fails(OPEN("\"cache-size\":\"1M\",\"refcount-cache-size\":\"2M\","),
	      "refcount-cache-size may not exceed cache-size");
	fails(OPEN("\"l2-cache-entry-size\":1000,"), "L2 cache entry size must"
	      " be a power of two between 512 and the cluster size (65536)");
	fails(OPEN("\"l2-cache-entry-size\":256,"), "must be a power of two");
	fails(OPEN("\"l2-cache-entry-size\":131072,"), "cluster size (65536)");
	if (!begin(&d, OPEN("\"cache-size\":\"1M\",\"l2-cache-size\":\"1M\","
			    "\"l2-cache-entry-size\":65536,")))
		return;
	CU_ASSERT_EQUAL(put(&d, 0, 65536, 1), 0);
	CU_ASSERT_EQUAL(get(&d, 0, 65536), 1);
	disk_close(&d);
}

static void cache_sizes_that_contradict(void)
{
	make(3, 1 << 20, false, NULL);
	test_run(1, 9, caches_body, NULL);
}

/* With lazy refcounts the dirty bit is there from the first flush of new
 * clusters to the close, and refcounts are right in the end. */
static void lazy_body(void *arg)
{
	const char *options = arg;
	struct disk d;

	if (!begin(&d, options))
		return;
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	CU_ASSERT_EQUAL(header_bits(QCOW2_H_INCOMPATIBLE), 0);
	CU_ASSERT_EQUAL(put(&d, 0, 65536, 1), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	CU_ASSERT_EQUAL(header_bits(QCOW2_H_INCOMPATIBLE), 1);
	disk_close(&d);
	CU_ASSERT_EQUAL(header_bits(QCOW2_H_INCOMPATIBLE), 0);
}

static void check_clean(void)
{
	struct image_report report;
	void *data;
	uint64_t size = sim_file_get(IMAGE, &data);

	image_check(data, size, &report);
	free(data);
	CU_ASSERT_EQUAL(report.errors, 0);
	CU_ASSERT_EQUAL(report.leaks, 0);
}

static void lazy_refcounts(void)
{
	static char by_image[] = OPEN("");
	static char by_option[] = OPEN("\"lazy-refcounts\":true,");

	make(3, 1 << 20, true, NULL);
	test_run(1, 2, lazy_body, by_image);
	check_clean();
	make(3, 1 << 20, false, NULL);
	test_run(1, 3, lazy_body, by_option);
	check_clean();
}

/* An image left dirty gets its refcounts anew; its own say nothing. */
static void dirty_body(void *arg)
{
	struct disk d;

	(void)arg;
	if (!begin(&d, OPEN("")))
		return;
	CU_ASSERT_EQUAL(header_bits(QCOW2_H_INCOMPATIBLE), 0);
	CU_ASSERT_EQUAL(put(&d, 0, 65536, 1), 0);
	disk_close(&d);
}

static void dirty_image(void)
{
	uint64_t size, reftable, block;
	uint8_t *bytes;
	void *data;

	make(3, 1 << 20, true, NULL);
	size = sim_file_get(IMAGE, &data);
	bytes = data;
	be64_put(bytes + QCOW2_H_INCOMPATIBLE, 1);
	reftable = be64_at(bytes + QCOW2_H_REFTABLE_OFFSET);
	block = be64_at(bytes + reftable);
	memset(bytes + block, 0, 65536);
	sim_file_set(IMAGE, data, size);
	free(data);
	test_run(1, 4, dirty_body, NULL);
	check_clean();
}

static enum image_cluster all_data(void *arg, uint64_t n)
{
	(void)arg;
	(void)n;
	return IMAGE_DATA;
}

static void open_and_close(void *arg)
{
	struct disk d;

	(void)arg;
	if (begin(&d, OPEN("")))
		disk_close(&d);
}

/* What entries say about refcounts is set right with them: a table and a
 * cluster looked shared and are not. */
static void dirty_image_with_wrong_marks(void)
{
	const uint64_t copied = UINT64_C(1) << 63;
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = 9,
		.refcount_order = 4,
		.size = 100 * 512,
		.kind = all_data,
	};
	uint64_t size, l1, l2;
	uint8_t *bytes;
	void *data;

	size = image_build(&spec, &data);
	bytes = data;
	be64_put(bytes + QCOW2_H_INCOMPATIBLE, 1);
	l1 = be64_at(bytes + QCOW2_H_L1_OFFSET);
	l2 = be64_at(bytes + l1 + 8) & ~copied;
	be64_put(bytes + l1 + 8, l2);
	be64_put(bytes + l2 + 8, be64_at(bytes + l2 + 8) & ~copied);
	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, data, size);
	free(data);
	test_run(1, 5, open_and_close, NULL);
	CU_ASSERT_EQUAL(header_bits(QCOW2_H_INCOMPATIBLE), 0);
	check_clean();
}

/* A cluster that two entries name does not look as if it had one only. */
static void dirty_image_with_a_shared_cluster(void)
{
	const uint64_t copied = UINT64_C(1) << 63;
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = 9,
		.refcount_order = 4,
		.size = 10 * 512,
		.kind = all_data,
	};
	uint64_t size, l2;
	uint8_t *bytes;
	void *data;

	size = image_build(&spec, &data);
	bytes = data;
	be64_put(bytes + QCOW2_H_INCOMPATIBLE, 1);
	l2 = be64_at(bytes + be64_at(bytes + QCOW2_H_L1_OFFSET)) & ~copied;
	be64_put(bytes + l2 + 8, be64_at(bytes + l2));
	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, data, size);
	free(data);
	test_run(1, 5, open_and_close, NULL);
	CU_ASSERT_EQUAL(header_bits(QCOW2_H_INCOMPATIBLE), 0);
	CU_ASSERT_EQUAL(header_bits((unsigned)l2) & copied, 0);
	CU_ASSERT_EQUAL(header_bits((unsigned)l2 + 8) & copied, 0);
	CU_ASSERT_EQUAL(header_bits((unsigned)l2 + 16) & copied, copied);
}

static enum image_cluster data_at_first(void *arg, uint64_t n)
{
	(void)arg;
	return n < 128 ? IMAGE_DATA : IMAGE_HOLE;
}

static void dirty_tables_body(void *arg)
{
	struct disk d;

	(void)arg;
	if (!begin(&d, OPEN("")))
		return;
	CU_ASSERT_EQUAL(put(&d, 150 * 512, 512, 1), 0);
	disk_close(&d);
}

/* What the rebuild sets right in L1 is not undone when a new table is entered
 * there: the driver works with what is on disk then. */
static void dirty_image_with_a_wrong_table(void)
{
	const uint64_t copied = UINT64_C(1) << 63;
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = 9,
		.refcount_order = 4,
		.size = 200 * 512,
		.kind = data_at_first,
	};
	uint64_t size, l1;
	uint8_t *bytes;
	void *data;

	size = image_build(&spec, &data);
	bytes = data;
	be64_put(bytes + QCOW2_H_INCOMPATIBLE, 1);
	l1 = be64_at(bytes + QCOW2_H_L1_OFFSET);
	be64_put(bytes + l1 + 8, be64_at(bytes + l1 + 8) & ~copied);
	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, data, size);
	free(data);
	test_run(1, 5, dirty_tables_body, NULL);
	check_clean();
}

/* The last cluster is whole where the disk ends in it. */
static void odd_end_body(void *arg)
{
	const uint64_t end = (1 << 20) + 512 * 7;
	struct disk d;

	(void)arg;
	if (!begin(&d, OPEN("")))
		return;
	CU_ASSERT_EQUAL(d.node->size, end);
	CU_ASSERT_EQUAL(put(&d, end - 1024, 1024, 7), 0);
	CU_ASSERT_EQUAL(get(&d, end - 1024, 1024), 7);
	CU_ASSERT_EQUAL(get(&d, 1 << 20, 512 * 5), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 1 << 20, 512 * 7,
				     NULL), 0);
	CU_ASSERT_EQUAL(get(&d, 1 << 20, 512 * 7), 0);
	CU_ASSERT_EQUAL(put(&d, end - 512, 512, 8), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, 1 << 20, 512 * 7,
				     NULL), 0);
	CU_ASSERT_EQUAL(get(&d, end - 512, 512), 0);
	CU_ASSERT(disk_request(&d, REQ_READ, 0, end - 512, 1024, buf) < 0);
	disk_close(&d);
}

static void a_disk_that_ends_inside_a_cluster(void)
{
	make(3, (1 << 20) + 512 * 7, false, NULL);
	test_run(1, 5, odd_end_body, NULL);
	check_clean();
}

/* The header names an image; "backing": null says there is none. */
static void backing_body(void *arg)
{
	struct disk d;

	(void)arg;
	if (!begin(&d, OPEN("")))
		return;
	CU_ASSERT_EQUAL(get(&d, 0, 512), 9);
	/* the base is shorter: zeroes behind it, also after a copy */
	CU_ASSERT_EQUAL(get(&d, 1536, 512), 0);
	CU_ASSERT_EQUAL(put(&d, 512, 512, 3), 0);
	CU_ASSERT_EQUAL(get(&d, 0, 512), 9);
	CU_ASSERT_EQUAL(get(&d, 1024, 512), 9);
	CU_ASSERT_EQUAL(get(&d, 1536, 512), 0);
	disk_close(&d);
	if (!begin(&d, OPEN("\"backing\":null,")))
		return;
	CU_ASSERT_EQUAL(get(&d, 512, 512), 3);
	CU_ASSERT_EQUAL(get(&d, 65536, 512), 0);
	disk_close(&d);
}

static void backing_named_by_the_header(void)
{
	uint8_t base[1536];

	make(3, 1 << 20, false, "base.raw");
	memset(base, 9, sizeof(base));
	sim_file_create("/sim/base.raw", 0);
	sim_file_set("/sim/base.raw", base, sizeof(base));
	test_run(1, 6, backing_body, NULL);
	check_clean();
}

static int range(struct disk *d, enum req_op op, unsigned flags,
		 uint64_t offset, uint32_t len)
{
	return disk_request(d, op, flags, offset, len, NULL);
}

/* What was made zeroes while the base that the header names was not there
 * stays zeroes when it is (D7): whole clusters, parts, what had data before
 * and what had none. Clusters 0 and 1 are data, the rest holes. */
static void without_base_body(void *arg)
{
	const unsigned *version = arg;
	struct disk d;

	if (!begin(&d, OPEN("\"backing\":null,")))
		return;
	CU_ASSERT_EQUAL(put(&d, 0, 65536, 1), 0);
	CU_ASSERT_EQUAL(put(&d, 65536, 65536, 2), 0);
	CU_ASSERT_EQUAL(range(&d, REQ_DISCARD, 0, 0, 65536), 0);
	CU_ASSERT_EQUAL(range(&d, REQ_ZEROES, 0, 65536, 65536), 0);
	CU_ASSERT_EQUAL(range(&d, REQ_ZEROES, 0, 2 << 16, 65536), 0);
	CU_ASSERT_EQUAL(range(&d, REQ_ZEROES, REQ_NO_UNMAP, 3 << 16, 65536),
			0);
	CU_ASSERT_EQUAL(range(&d, REQ_ZEROES, 0, (4 << 16) + 512, 512), 0);
	CU_ASSERT_EQUAL(get(&d, 65536, 65536), 0);
	CU_ASSERT_EQUAL(get(&d, 2 << 16, 65536), 0);
	disk_close(&d);
	if (!begin(&d, OPEN("")))
		return;
	/* a discard may leave what was there, not what never was */
	CU_ASSERT_EQUAL(get(&d, 0, 65536), *version == 3 ? 0 : 1);
	for (uint64_t at = 65536; at < 4 << 16; at += 65536)
		CU_ASSERT_EQUAL(get(&d, at, 65536), 0);
	CU_ASSERT_EQUAL(get(&d, (4 << 16) + 512, 512), 0);
	CU_ASSERT_EQUAL(get(&d, 5 << 16, 65536), 9);
	disk_close(&d);
}

static void zeroes_hide_a_base_that_was_not_there(void)
{
	static uint8_t base[8 << 16];

	memset(base, 9, sizeof(base));
	sim_file_create("/sim/base.raw", 0);
	sim_file_set("/sim/base.raw", base, sizeof(base));
	for (unsigned version = 2; version <= 3; version++) {
		make(version, 1 << 20, false, "base.raw");
		test_run(1, 8, without_base_body, &version);
		check_clean();
	}
}

static struct {
	uint64_t from, to;	/* bytes of the file that cannot be read */
	int error;
} broken;

static int break_reads(void *arg, const struct io *io)
{
	(void)arg;
	return broken.error && io->op == IO_READ && io->offset < broken.to &&
	       io->offset + io->len > broken.from ? -broken.error : 0;
}

/* First where the L2 table is loaded, then the refcounts. */
static void broken_body(void *arg)
{
	const uint64_t *tables = arg;
	struct disk d;

	for (unsigned i = 0; i < 2; i++) {
		if (!begin(&d, OPEN("")))
			return;
		sim_set_fault(break_reads, NULL);
		broken.from = tables[i];
		broken.to = tables[i] + 65536;
		if (i == 0)
			CU_ASSERT(disk_request(&d, REQ_READ, 0, 0, 512, buf) <
				  0);
		CU_ASSERT(put(&d, (8 + i) << 16, 512, 1) < 0);
		sim_set_fault(NULL, NULL);
		CU_ASSERT_EQUAL(put(&d, (8 + i) << 16, 512, 1), 0);
		CU_ASSERT_EQUAL(get(&d, 0, 65536), 0);
		disk_close(&d);
	}
}

static enum image_cluster first_is_data(void *arg, uint64_t n)
{
	(void)arg;
	return n ? IMAGE_HOLE : IMAGE_DATA;
}

/* Whatever the file says is an error, not what to do next (Q18): it comes out,
 * once, and changes nothing. */
static void errors_of_the_file_are_errors(void)
{
	const int errors[] = { EIO, EAGAIN, EBUSY, EINPROGRESS, ENOBUFS,
			       ENOENT, ERANGE };
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = 16,
		.refcount_order = 4,
		.size = 1 << 20,
		.kind = first_is_data,
	};

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		uint64_t tables[2], size;
		uint8_t *bytes;
		void *data;

		size = image_build(&spec, &data);
		bytes = data;
		tables[0] = be64_at(bytes + be64_at(bytes +
				    QCOW2_H_L1_OFFSET)) << 1 >> 1;
		tables[1] = be64_at(bytes + be64_at(bytes +
				    QCOW2_H_REFTABLE_OFFSET));
		sim_file_create(IMAGE, 0);
		sim_file_set(IMAGE, data, size);
		free(data);
		broken.error = errors[i];
		test_run(1, 10, broken_body, tables);
		CU_ASSERT_EQUAL(header_bits(QCOW2_H_INCOMPATIBLE), 0);
		check_clean();
	}
}

static void query_body(void *arg)
{
	json_t *nodes, *node, *data = NULL;
	struct disk d;
	size_t i;

	(void)arg;
	if (!begin(&d, OPEN("\"cache-size\":\"1M\",")))
		return;
	nodes = graph_query_nodes(true);
	json_array_foreach(nodes, i, node) {
		json_t *image = json_object_get(node, "image");
		json_t *format = json_object_get(image, "format-specific");

		if (format)
			data = json_object_get(format, "data");
	}
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(data,
								 "compat")),
			       "1.1");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(data,
							   "refcount-bits")),
			16);
	CU_ASSERT_TRUE(json_is_false(json_object_get(data, "corrupt")));
	json_decref(nodes);
	disk_close(&d);
}

static void shown_in_queries(void)
{
	make(3, 1 << 20, false, NULL);
	test_run(1, 7, query_body, NULL);
}

TEST_MAIN("qcow2-options",
	  TEST(refused),
	  TEST(cache_sizes_that_contradict),
	  TEST(lazy_refcounts),
	  TEST(dirty_image),
	  TEST(dirty_image_with_wrong_marks),
	  TEST(dirty_image_with_a_shared_cluster),
	  TEST(dirty_image_with_a_wrong_table),
	  TEST(a_disk_that_ends_inside_a_cluster),
	  TEST(backing_named_by_the_header),
	  TEST(zeroes_hide_a_base_that_was_not_there),
	  TEST(errors_of_the_file_are_errors),
	  TEST(shown_in_queries))
