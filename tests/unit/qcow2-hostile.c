/* SPDX-License-Identifier: MIT */
/*
 * qcow2-hostile.c - images whose tables contradict themselves (A26): reading
 * gives data or -EIO, a write that would hit metadata is refused, the image is
 * marked corrupt and takes no write after; nothing else changes, nothing stops.
 */
#include <errno.h>
#include <stdlib.h>

#include "drivers/format/qcow2/disk.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define IMAGE "/sim/hostile.qcow2"
#define BITS 16u
#define CLUSTER (1u << BITS)
#define COPIED (UINT64_C(1) << 63)
#define PACKED (UINT64_C(1) << 62)
#define OPTIONS "{\"driver\":\"qcow2\",\"node-name\":\"d\"," \
	"\"discard\":\"unmap\",\"file\":{\"driver\":\"file\"," \
	"\"discard\":\"unmap\",\"filename\":\"" IMAGE "\"}}"
#define READ_ONLY "{\"driver\":\"qcow2\",\"node-name\":\"d\"," \
	"\"read-only\":true,\"file\":{\"driver\":\"file\"," \
	"\"filename\":\"" IMAGE "\"}}"

/* What a test works on: an image of 16 guest clusters, the even ones data. */
struct img {
	uint8_t *bytes;
	uint64_t size;
	uint64_t l1, l2, reftable, refblock;	/* bytes of the file */
	struct disk disk;
	uint8_t buf[CLUSTER];
};

static enum image_cluster kind(void *arg, uint64_t n)
{
	(void)arg;
	return n & 1 ? IMAGE_HOLE : IMAGE_DATA;
}

static void fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)arg;
	memset(buf, (int)(1 + (offset >> BITS)), len);
}

static struct img *make(unsigned version)
{
	struct image_spec spec = {
		.version = version,
		.cluster_bits = BITS,
		.refcount_order = 4,
		.size = 16 * CLUSTER,
		.kind = kind,
		.fill = fill,
	};
	struct img *m = calloc(1, sizeof(*m));
	void *data;

	assert(m);
	m->size = image_build(&spec, &data);
	m->bytes = data;
	m->l1 = be64_at(m->bytes + QCOW2_H_L1_OFFSET);
	m->l2 = be64_at(m->bytes + m->l1) & ~COPIED;
	m->reftable = be64_at(m->bytes + QCOW2_H_REFTABLE_OFFSET);
	m->refblock = be64_at(m->bytes + m->reftable);
	return m;
}

static void l2_set(struct img *m, unsigned n, uint64_t entry)
{
	be64_put(m->bytes + m->l2 + n * 8, entry);
}

static void store(const struct img *m)
{
	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, m->bytes, m->size);
}

static void free_img(struct img *m)
{
	free(m->bytes);
	free(m);
}

static int request(struct img *m, enum req_op op, unsigned cluster,
		   uint32_t len)
{
	memset(m->buf, 0xbb, len);
	return disk_request(&m->disk, op, 0, (uint64_t)cluster << BITS, len,
			    op <= REQ_WRITE ? m->buf : NULL);
}

static bool open_image(struct img *m, const char *options, unsigned perm)
{
	struct error *err = NULL;
	int ret;

	store(m);
	ret = disk_open(&m->disk, options, perm, 0, &err);
	if (err)
		printf("\n%s\n", err->text);
	error_clear(&err);
	CU_ASSERT_EQUAL(ret, 0);
	return ret == 0;
}

/* After the run: the header says corrupt, and these bytes are untouched. */
static void check_file(const struct img *m, uint64_t guarded, bool corrupt)
{
	void *data;
	uint64_t size = sim_file_get(IMAGE, &data);
	uint8_t *now = data;

	CU_ASSERT(size >= guarded + CLUSTER);
	CU_ASSERT_EQUAL(be64_at(now + QCOW2_H_INCOMPATIBLE) >> 1 & 1,
			corrupt);
	/* the header's own bits are what may change in it */
	CU_ASSERT_EQUAL(memcmp(now + guarded, m->bytes + guarded,
			       guarded ? 512 : QCOW2_H_INCOMPATIBLE), 0);
	free(data);
}

/* --- a data cluster that is metadata --- */

static uint64_t guarded;	/* the file's byte that the test is about */

static void write_into_metadata(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	/* not before somebody writes */
	CU_ASSERT_EQUAL(request(m, REQ_READ, 4, 4096), 0);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 0, 4096), 0);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 4, 4096), -EIO);
	/* from now on read-only */
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 0, 4096), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_ZEROES, 0, CLUSTER), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_DISCARD, 0, CLUSTER), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 0, 4096), 0);
	CU_ASSERT_EQUAL(m->buf[0], 0xbb);
	CU_ASSERT_EQUAL(request(m, REQ_FLUSH, 0, 0), 0);
	disk_close(&m->disk);
}

static void data_over_metadata(void)
{
	for (unsigned which = 0; which < 4; which++) {
		struct img *m = make(3);
		const uint64_t at[] = { m->l1, m->l2, m->reftable,
					m->refblock };

		guarded = at[which];
		l2_set(m, 4, COPIED | guarded);
		test_run(1, 1 + which, write_into_metadata, m);
		check_file(m, guarded, true);
		free_img(m);
	}
}

/* --- refcounts that say free --- */

static void write_new_cluster(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 1, 4096), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 0, 4096), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 2, 4096), 0);
	CU_ASSERT_EQUAL(m->buf[0], 3);
	disk_close(&m->disk);
}

static void header_is_free(void)
{
	struct img *m = make(3);

	memset(m->bytes + m->refblock, 0, CLUSTER);
	test_run(1, 11, write_new_cluster, m);
	check_file(m, 0, true);
	free_img(m);
}

static void tables_are_free(void)
{
	for (unsigned which = 0; which < 3; which++) {
		struct img *m = make(3);
		uint64_t at[] = { m->l1, m->reftable, m->refblock };

		guarded = at[which];
		m->bytes[m->refblock + (guarded >> BITS) * 2] = 0;
		m->bytes[m->refblock + (guarded >> BITS) * 2 + 1] = 0;
		test_run(1, 12 + which, write_new_cluster, m);
		check_file(m, guarded, true);
		free_img(m);
	}
}

static void reftable_is_empty(void)
{
	struct img *m = make(3);

	/* the first block would be made in cluster 0 */
	memset(m->bytes + m->reftable, 0, 8);
	test_run(1, 16, write_new_cluster, m);
	check_file(m, 0, true);
	free_img(m);
}

static void reftable_entries(void)
{
	const uint64_t bad[] = { 0x1f0200, UINT64_C(1) << 50 };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct img *m = make(3);

		be64_put(m->bytes + m->reftable, bad[i]);
		test_run(1, 17 + i, write_new_cluster, m);
		check_file(m, m->l2, true);
		free_img(m);
	}
}

/* --- entries that are none --- */

static void read_and_write_bad(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_READ, 4, 4096), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 0, 4096), 0);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 4, 4096), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 4, CLUSTER), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 0, 4096), 0);
	disk_close(&m->disk);
}

static void bad_entries(void)
{
	const uint64_t bad[] = {
		COPIED | (5 * CLUSTER + 512), COPIED | 512 | 1, COPIED,
		COPIED | PACKED | CLUSTER,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct img *m = make(3);

		l2_set(m, 4, bad[i]);
		test_run(1, 20 + i, read_and_write_bad, m);
		check_file(m, m->l2, true);
		free_img(m);
	}
}

static void zero_bit_in_version_2(void)
{
	struct img *m = make(2);

	l2_set(m, 4, 1);
	test_run(1, 25, read_and_write_bad, m);
	free_img(m);
}

static void read_bad_only(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, READ_ONLY, PERM_CONSISTENT_READ))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_READ, 4, 4096), -EIO);
	disk_close(&m->disk);
}

static void bad_tables_and_streams(void)
{
	const uint64_t size = 64 * CLUSTER;
	/* L1 entries, then compressed ones */
	const uint64_t l1[] = { COPIED | 0x10200, COPIED | size,
				COPIED | UINT64_C(0xffffffffff0000), COPIED };
	const uint64_t packed[] = {
		PACKED,					/* the header */
		PACKED | size,				/* past the end */
		PACKED | ((UINT64_C(1) << 54) - 1),
		PACKED | (PACKED - 1),
	};

	for (unsigned i = 0; i < ARRAY_SIZE(l1); i++) {
		struct img *m = make(3);

		be64_put(m->bytes + m->l1, l1[i]);
		test_run(1, 30 + i, read_bad_only, m);
		free_img(m);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(packed); i++) {
		struct img *m = make(3);

		l2_set(m, 4, packed[i]);
		test_run(1, 40 + i, read_bad_only, m);
		free_img(m);
	}
}

/* --- a file that was cut off (Q16) --- */

/* The data of guest clusters 8, 10 ... 14 lies at the end of the file, which
 * is cut off 512 bytes after the start of the first; the rest is lost. */
static uint64_t cut_off(struct img *m)
{
	uint64_t at = align_up(m->size, CLUSTER);

	m->bytes = realloc(m->bytes, at + 512);
	assert(m->bytes);
	memset(m->bytes + m->size, 0, at - m->size);
	memset(m->bytes + at, 9, 512);
	m->size = at + 512;
	for (unsigned i = 0; i < 4; i++) {
		l2_set(m, 8 + 2 * i, COPIED | (at + i * CLUSTER));
		m->bytes[m->refblock + ((at >> BITS) + i) * 2 + 1] = 1;
	}
	return at;
}

static void read_cut_off(void *arg)
{
	struct img *m = arg;
	uint8_t *all = calloc(16, CLUSTER);

	if (!open_image(m, READ_ONLY, PERM_CONSISTENT_READ))
		return;
	CU_ASSERT_PTR_NOT_NULL_FATAL(m->disk.node->warning);
	CU_ASSERT_PTR_NOT_NULL(strstr(m->disk.node->warning, "byte 655360"));
	/* what is there, also of the cluster in which the file ends */
	CU_ASSERT_EQUAL(request(m, REQ_READ, 6, CLUSTER), 0);
	CU_ASSERT_EQUAL(m->buf[CLUSTER - 1], 7);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 8, CLUSTER), 0);
	CU_ASSERT_EQUAL(m->buf[511], 9);
	CU_ASSERT_EQUAL(m->buf[512], 0);
	CU_ASSERT_EQUAL(m->buf[CLUSTER - 1], 0);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 9, CLUSTER), 0);
	for (unsigned n = 10; n < 16; n += 2)
		CU_ASSERT_EQUAL(request(m, REQ_READ, n, 512), -EIO);
	/* as part of more, whatever lies beside it in the file */
	CU_ASSERT_EQUAL(disk_request(&m->disk, REQ_READ, 0, 0, 10 * CLUSTER,
				     all), 0);
	CU_ASSERT_EQUAL(disk_request(&m->disk, REQ_READ, 0, 0, 16 * CLUSTER,
				     all), -EIO);
	free(all);
	disk_close(&m->disk);
}

static void cut_off_refused(void *arg)
{
	struct img *m = arg;
	char *text;

	store(m);
	text = disk_open_error(OPTIONS, DISK_WRITABLE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "data behind the end"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "byte 655360"));
	free(text);
	check_file(m, m->l1, false);
}

/* Neighbours in the file are one run: the end is inside of it. */
static void data_cut_off(void)
{
	for (unsigned dirty = 0; dirty < 2; dirty++) {
		struct img *m = make(3);

		cut_off(m);
		be64_put(m->bytes + QCOW2_H_INCOMPATIBLE, dirty);
		test_run(1, 90, read_cut_off, m);
		test_run(1, 91, cut_off_refused, m);
		free_img(m);
	}
}

/* Guest clusters that follow each other in the file are one run. */
static void read_run(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, READ_ONLY, PERM_CONSISTENT_READ))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_READ, 8, CLUSTER), 0);
	CU_ASSERT_EQUAL(m->buf[0], 9);
	for (unsigned n = 9; n < 12; n++)
		CU_ASSERT_EQUAL(request(m, REQ_READ, n, CLUSTER), -EIO);
	disk_close(&m->disk);
}

static void a_run_cut_off(void)
{
	struct img *m = make(3);
	uint64_t at = cut_off(m);

	for (unsigned i = 0; i < 4; i++)
		l2_set(m, 8 + i, COPIED | (at + i * CLUSTER));
	test_run(1, 92, read_run, m);
	free_img(m);
}

static void compressed_cut_off(void)
{
	struct img *m = make(3);
	uint64_t at = cut_off(m);

	for (unsigned i = 1; i < 4; i++)
		l2_set(m, 8 + 2 * i, PACKED | (at + i * CLUSTER));
	test_run(1, 93, read_cut_off, m);
	test_run(1, 94, cut_off_refused, m);
	free_img(m);
}

static void table_cut_off_body(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, READ_ONLY, PERM_CONSISTENT_READ))
		return;
	CU_ASSERT_PTR_NOT_NULL(m->disk.node->warning);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 1, 512), -EIO);
	disk_close(&m->disk);
}

static void table_cut_off(void)
{
	struct img *m = make(3);

	be64_put(m->bytes + m->l1, COPIED | align_up(m->size, CLUSTER));
	test_run(1, 95, table_cut_off_body, m);
	free_img(m);
}

/* What ends inside its last cluster, and refcounts that a crash left, are no
 * loss: it opens, and writes. */
static void no_loss_body(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	CU_ASSERT_PTR_NULL(m->disk.node->warning);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 8, CLUSTER), 0);
	CU_ASSERT_EQUAL(m->buf[511], 9);
	CU_ASSERT_EQUAL(m->buf[CLUSTER - 1], 0);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 1, CLUSTER), 0);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 1, CLUSTER), 0);
	disk_close(&m->disk);
}

static void ends_inside_its_last_cluster(void)
{
	struct img *m = make(3);

	cut_off(m);
	for (unsigned n = 10; n < 16; n += 2)
		l2_set(m, n, 0);
	test_run(1, 96, no_loss_body, m);
	free_img(m);
}

/* The refcounts know nothing of it: opened, and found when it is touched. */
static void write_uncounted(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_READ, 4, 4096), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 1, CLUSTER), 0);
	CU_ASSERT_EQUAL(request(m, REQ_READ, 4, 4096), -EIO);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 4, 4096), -EIO);
	disk_close(&m->disk);
}

static void uncounted_and_cut_off(void)
{
	struct img *m = make(3);

	l2_set(m, 4, COPIED | (align_up(m->size, CLUSTER) + 8 * CLUSTER));
	test_run(1, 97, write_uncounted, m);
	check_file(m, m->l1, true);
	free_img(m);
}

/* --- tables over tables: not opened for writing --- */

static void open_refused(void *arg)
{
	struct img *m = arg;
	char *text;

	store(m);
	text = disk_open_error(OPTIONS, DISK_WRITABLE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "overlaps other metadata"));
	free(text);
	check_file(m, m->l2, false);
	if (!open_image(m, READ_ONLY, PERM_CONSISTENT_READ))
		return;
	disk_close(&m->disk);
}

static void tables_over_tables(void)
{
	struct img *m = make(3);

	be64_put(m->bytes + m->l1, COPIED | m->reftable);
	test_run(1, 50, open_refused, m);
	be64_put(m->bytes + m->l1, COPIED | m->l1);
	test_run(1, 51, open_refused, m);
	be64_put(m->bytes + m->l1, COPIED | m->l2);
	be64_put(m->bytes + m->reftable + 8, m->refblock);
	test_run(1, 52, open_refused, m);
	be64_put(m->bytes + m->reftable + 8, m->l2);
	test_run(1, 53, open_refused, m);
	be64_put(m->bytes + m->reftable + 8, 512);
	test_run(1, 54, open_refused, m);
	free_img(m);
}

/* --- freeing what is not in use --- */

static void discard_twice_counted(void *arg)
{
	struct img *m = arg;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_DISCARD, 4, CLUSTER), 0);
	/* the contradiction shows when the cluster leaves limbo, by close */
	disk_close(&m->disk);
}

static void discard_of_a_free_cluster(void)
{
	struct img *m = make(3);
	uint64_t host = be64_at(m->bytes + m->l2 + 4 * 8) & ~COPIED;

	m->bytes[m->refblock + (host >> BITS) * 2 + 1] = 0;
	test_run(1, 60, discard_twice_counted, m);
	check_file(m, m->l1, true);
	free_img(m);
}

static void discard_out_of_bounds(void)
{
	struct img *m = make(3);

	l2_set(m, 4, COPIED | UINT64_C(0xfffffffff0000));
	test_run(1, 61, discard_twice_counted, m);
	check_file(m, m->l1, true);
	free_img(m);
}

/* --- feature bits --- */

static void corrupt_is_read_only(void *arg)
{
	struct img *m = arg;
	char *text;

	store(m);
	text = disk_open_error(OPTIONS, DISK_WRITABLE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "corrupt"));
	free(text);
	if (!open_image(m, READ_ONLY, PERM_CONSISTENT_READ))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_READ, 2, 4096), 0);
	CU_ASSERT_EQUAL(m->buf[0], 3);
	disk_close(&m->disk);
}

static void corrupt_bit(void)
{
	for (unsigned dirty = 0; dirty < 2; dirty++) {
		struct img *m = make(3);

		be64_put(m->bytes + QCOW2_H_INCOMPATIBLE, 2 | dirty);
		test_run(1, 70, corrupt_is_read_only, m);
		free_img(m);
	}
}

static const char *says;

static void dirty_and_wrong(void *arg)
{
	struct img *m = arg;
	char *text;

	store(m);
	text = disk_open_error(OPTIONS, DISK_WRITABLE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, says));
	free(text);
	check_file(m, 0, false);
}

static void dirty_with_bad_tables(void)
{
	struct img *m = make(3);

	be64_put(m->bytes + QCOW2_H_INCOMPATIBLE, 1);
	l2_set(m, 4, COPIED | UINT64_C(0xfffffffff0000));
	says = "data behind the end";
	test_run(1, 71, dirty_and_wrong, m);
	l2_set(m, 4, COPIED | (5 * CLUSTER + 512));
	says = "could not be rebuilt";
	test_run(1, 73, dirty_and_wrong, m);
	free_img(m);
}

static void write_once(void *arg)
{
	struct img *m = arg;
	void *data;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(request(m, REQ_READ, 0, 4096), 0);
	sim_file_get(IMAGE, &data);
	CU_ASSERT_EQUAL(be64_at((uint8_t *)data + QCOW2_H_AUTOCLEAR), 6);
	free(data);
	CU_ASSERT_EQUAL(request(m, REQ_WRITE, 0, 4096), 0);
	sim_file_get(IMAGE, &data);
	CU_ASSERT_EQUAL(be64_at((uint8_t *)data + QCOW2_H_AUTOCLEAR), 0);
	free(data);
	disk_close(&m->disk);
}

static void autoclear_with_the_first_write(void)
{
	struct img *m = make(3);

	be64_put(m->bytes + QCOW2_H_AUTOCLEAR, 6);
	test_run(1, 72, write_once, m);
	free_img(m);
}

/* --- sizes that cost nothing until used --- */

static void read_everywhere(void *arg)
{
	struct img *m = arg;
	uint64_t size;

	if (!open_image(m, OPTIONS, DISK_WRITABLE))
		return;
	size = m->disk.node->size;
	CU_ASSERT_EQUAL(size, UINT64_C(1) << 61);
	for (uint64_t i = 0; i < 64; i++) {
		uint64_t at = size / 64 * i;

		m->buf[0] = 1;
		CU_ASSERT_EQUAL(disk_request(&m->disk, REQ_READ, 0, at, 4096,
					     m->buf), 0);
		CU_ASSERT_EQUAL(m->buf[0], 0);
		if (i % 8)
			continue;
		CU_ASSERT_EQUAL(disk_request(&m->disk, REQ_WRITE, 0, at, 4096,
					     m->buf), 0);
	}
	disk_close(&m->disk);
}

static void two_exabytes(void)
{
	struct img *m = make(3);
	uint64_t table = UINT64_C(32) << 20, cluster = 1 << 21;
	uint8_t *b = calloc(1, table + 4 * cluster);

	assert(b);
	memcpy(b, m->bytes, 112);
	be32_put(b + QCOW2_H_CLUSTER_BITS, 21);
	be64_put(b + QCOW2_H_SIZE, UINT64_C(1) << 61);
	be32_put(b + QCOW2_H_L1_ENTRIES, (uint32_t)(table / 8));
	be64_put(b + QCOW2_H_L1_OFFSET, 3 * cluster);
	be64_put(b + QCOW2_H_REFTABLE_OFFSET, cluster);
	be32_put(b + QCOW2_H_REFTABLE_CLUSTERS, 1);
	be64_put(b + cluster, 2 * cluster);
	for (uint64_t c = 0; c < 3 + table / cluster; c++)
		b[2 * cluster + c * 2 + 1] = 1;
	free(m->bytes);
	m->bytes = b;
	m->size = table + 3 * cluster;
	test_run(1, 80, read_everywhere, m);
	free_img(m);
}

TEST_MAIN("qcow2-hostile",
	  TEST(data_over_metadata),
	  TEST(header_is_free),
	  TEST(tables_are_free),
	  TEST(reftable_is_empty),
	  TEST(reftable_entries),
	  TEST(bad_entries),
	  TEST(zero_bit_in_version_2),
	  TEST(bad_tables_and_streams),
	  TEST(data_cut_off),
	  TEST(a_run_cut_off),
	  TEST(compressed_cut_off),
	  TEST(table_cut_off),
	  TEST(ends_inside_its_last_cluster),
	  TEST(uncounted_and_cut_off),
	  TEST(tables_over_tables),
	  TEST(discard_of_a_free_cluster),
	  TEST(discard_out_of_bounds),
	  TEST(corrupt_bit),
	  TEST(dirty_with_bad_tables),
	  TEST(autoclear_with_the_first_write),
	  TEST(two_exabytes))
