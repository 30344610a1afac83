/* SPDX-License-Identifier: MIT */
/*
 * qcow2-limbo.c - when a cluster may be used again (A28, Q11, Q12): a full
 * device, one cluster discarded, one write that needs it, and one operation
 * held in flight. Time of the simulation moves when nothing else can, so after
 * a sleep whoever has not ended is waiting.
 */
#include <errno.h>
#include <stdlib.h>

#include "drivers/format/qcow2/disk.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define IMAGE "/sim/full.qcow2"
#define BITS 12u
#define CLUSTER (1u << BITS)
#define OPTIONS(driver) "{\"driver\":\"qcow2\",\"node-name\":\"d\"," \
	"\"discard\":\"unmap\",\"file\":{\"driver\":\"" driver "\"," \
	"\"discard\":\"unmap\",\"filename\":\"" IMAGE "\"}}"
#define SECOND UINT64_C(1000000000)

/* Guest clusters: the even ones hold data, the odd ones are holes. FAR is in
 * another L2 table. */
enum { OLD = 2, NEW = 3, OTHER = 4, FAR = 512 };

static enum image_cluster kind(void *arg, uint64_t n)
{
	(void)arg;
	return n & 1 || (n > 16 && n < FAR) ? IMAGE_HOLE : IMAGE_DATA;
}

static void fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)arg;
	memset(buf, (int)(1 + (offset >> BITS)), len);
}

static struct disk disk;
static uint64_t old_host;	/* byte of the file where OLD lies */

/* An image with not one free cluster. */
static void make_file(void)
{
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = BITS,
		.refcount_order = 4,
		.size = (FAR + 2) << BITS,
		.kind = kind,
		.fill = fill,
	};
	uint64_t size, l1, l2;
	void *data;

	size = image_build(&spec, &data);
	l1 = be64_at((uint8_t *)data + QCOW2_H_L1_OFFSET);
	l2 = be64_at((uint8_t *)data + l1) << 1 >> 1;
	old_host = be64_at((uint8_t *)data + l2 + OLD * 8) << 1 >> 1;
	sim_file_create(IMAGE, 0);
	sim_file_set(IMAGE, data, size);
	free(data);
}

static void make(void)
{
	make_file();
	sim_file_block_device(IMAGE);
}

static bool begin_with(const char *options)
{
	struct error *err = NULL;
	int ret = disk_open(&disk, options, DISK_WRITABLE, 0, &err);

	CU_ASSERT_EQUAL(ret, 0);
	error_clear(&err);
	return ret == 0;
}

static bool begin(void)
{
	return begin_with(OPTIONS("host_device"));
}

/* --- requests that the test does not wait for --- */

struct later {
	struct crew_member member;
	struct crew crew;
	struct request req;
	int res;
	bool done;
	uint8_t buf[CLUSTER];
};

static void later_run(void *arg)
{
	struct later *l = arg;

	l->res = co_root_submit(disk.root, &l->req);
	l->done = true;
}

static struct later *start(enum req_op op, unsigned cluster, int byte)
{
	struct later *l = calloc(1, sizeof(*l));

	assert(l);
	memset(l->buf, byte, CLUSTER);
	l->req = (struct request){
		.op = (uint8_t)op,
		.offset = op == REQ_FLUSH ? 0 : (uint64_t)cluster << BITS,
		.len = op == REQ_FLUSH ? 0 : CLUSTER,
		.buf = l->buf,
		.fixed = IO_NOT_FIXED,
	};
	crew_start(&l->crew, &l->member, 1, later_run, l);
	co_sleep(SECOND);
	return l;
}

static int end(struct later *l)
{
	int res;

	crew_wait(&l->crew);
	res = l->res;
	free(l);
	return res;
}

static int now(enum req_op op, unsigned cluster)
{
	return disk_request(&disk, op, 0, op == REQ_FLUSH ? 0 :
			    (uint64_t)cluster << BITS,
			    op == REQ_FLUSH ? 0 : CLUSTER, NULL);
}

static int first_byte(unsigned cluster)
{
	static uint8_t buf[CLUSTER];

	CU_ASSERT_EQUAL(disk_request(&disk, REQ_READ, 0,
				     (uint64_t)cluster << BITS, CLUSTER, buf),
			0);
	for (unsigned i = 1; i < CLUSTER; i++)
		CU_ASSERT_EQUAL_FATAL(buf[i], buf[0]);
	return buf[0];
}

/* --- what is held --- */

static unsigned held_op;
static unsigned to_hold;

static int hold(void *arg, const struct io *io)
{
	(void)arg;
	if (!to_hold || io->op != held_op || io->offset != old_host)
		return 0;
	to_hold--;
	return SIM_KEEP;
}

static void hold_next(unsigned op)
{
	held_op = op;
	to_hold = 1;
	sim_set_fault(hold, NULL);
}

static void held_write_body(void *arg)
{
	struct later *first, *second;

	(void)arg;
	if (!begin())
		return;
	/* the first write of an image goes another way */
	CU_ASSERT_EQUAL(end(start(REQ_WRITE, OTHER, 0x44)), 0);
	hold_next(IO_WRITE);
	first = start(REQ_WRITE, OLD, 0x55);
	CU_ASSERT_EQUAL(to_hold, 0);
	CU_ASSERT_FALSE(first->done);
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	/* no flush waits for the held write */
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0), 0);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0), 0);
	second = start(REQ_WRITE, NEW, 0x66);
	CU_ASSERT_FALSE(second->done);
	/* and others go on meanwhile */
	CU_ASSERT_EQUAL(first_byte(OTHER), 0x44);
	sim_release(NULL);
	CU_ASSERT_EQUAL(end(first), 0);
	CU_ASSERT_EQUAL(end(second), 0);
	CU_ASSERT_EQUAL(first_byte(NEW), 0x66);
	CU_ASSERT_EQUAL(first_byte(OLD), 0);
	disk_close(&disk);
}

static void a_write_in_flight(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make();
		test_run(1, seed, held_write_body, NULL);
		sim_set_fault(NULL, NULL);
	}
}

static void held_read_body(void *arg)
{
	struct later *first, *second;

	(void)arg;
	if (!begin())
		return;
	CU_ASSERT_EQUAL(first_byte(OLD), 1 + OLD);
	hold_next(IO_READ);
	first = start(REQ_READ, OLD, 0);
	CU_ASSERT_EQUAL(to_hold, 0);
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	second = start(REQ_WRITE, NEW, 0x66);
	CU_ASSERT_FALSE(second->done);
	sim_release(NULL);
	crew_wait(&first->crew);
	CU_ASSERT(first->buf[0] == 1 + OLD || first->buf[0] == 0);
	free(first);
	CU_ASSERT_EQUAL(end(second), 0);
	CU_ASSERT_EQUAL(first_byte(NEW), 0x66);
	disk_close(&disk);
}

static void a_read_in_flight(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make();
		test_run(1, seed, held_read_body, NULL);
		sim_set_fault(NULL, NULL);
	}
}

static void held_punch_body(void *arg)
{
	struct later *first, *second;

	(void)arg;
	if (!begin())
		return;
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	/* the grace period ends meanwhile */
	co_sleep(SECOND);
	hold_next(SIM_IO_DISCARD);
	first = start(REQ_FLUSH, 0, 0);
	CU_ASSERT_EQUAL(to_hold, 0);
	second = start(REQ_WRITE, NEW, 0x66);
	CU_ASSERT_FALSE(second->done);
	sim_release(NULL);
	CU_ASSERT_EQUAL(end(first), 0);
	CU_ASSERT_EQUAL(end(second), 0);
	CU_ASSERT_EQUAL(first_byte(NEW), 0x66);
	disk_close(&disk);
}

static void a_punch_in_flight(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make();
		test_run(1, seed, held_punch_body, NULL);
		sim_set_fault(NULL, NULL);
	}
}

/* --- space comes back --- */

static int punch_without_space(void *arg, const struct io *io)
{
	(void)arg;
	return io->op == IO_PUNCH || io->op == SIM_IO_DISCARD ? -ENOSPC : 0;
}

static uint64_t discard_one(void)
{
	uint64_t before = sim_file_allocated(IMAGE);

	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	co_sleep(SECOND);
	return before;
}

static void returned_body(void *arg)
{
	uint64_t before;

	(void)arg;
	if (!begin_with(OPTIONS("file")))
		return;
	before = discard_one();
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0), 0);
	CU_ASSERT_EQUAL(sim_file_allocated(IMAGE), before - CLUSTER);
	disk_close(&disk);
}

static void it_comes_with_the_first_flush(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make_file();
		test_run(1, seed, returned_body, NULL);
	}
}

static void refused_body(void *arg)
{
	uint64_t before;

	(void)arg;
	if (!begin_with(OPTIONS("file")))
		return;
	before = discard_one();
	sim_set_fault(punch_without_space, NULL);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0), 0);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0), 0);
	CU_ASSERT_EQUAL(sim_file_allocated(IMAGE), before);
	sim_set_fault(NULL, NULL);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0), 0);
	CU_ASSERT_EQUAL(sim_file_allocated(IMAGE), before - CLUSTER);
	disk_close(&disk);
}

static void a_refused_punch_is_tried_again(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make_file();
		test_run(1, seed, refused_body, NULL);
	}
}

/* Nobody flushes (A40). */
static void idle_body(void *arg)
{
	uint64_t before;

	(void)arg;
	if (!begin_with(OPTIONS("file")))
		return;
	before = discard_one();
	sim_set_fault(punch_without_space, NULL);
	co_sleep(20 * SECOND);
	CU_ASSERT_EQUAL(sim_file_allocated(IMAGE), before);
	sim_set_fault(NULL, NULL);
	co_sleep(20 * SECOND);
	CU_ASSERT_EQUAL(sim_file_allocated(IMAGE), before - CLUSTER);
	before = sim_write_count();
	/* and then it is left alone */
	co_sleep(100 * SECOND);
	CU_ASSERT_EQUAL(sim_write_count(), before);
	disk_close(&disk);
}

static void an_idle_disk_gives_it_back(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make_file();
		test_run(1, seed, idle_body, NULL);
	}
}

static int hold_syncs(void *arg, const struct io *io)
{
	(void)arg;
	return io->op == IO_SYNC ? SIM_KEEP : 0;
}

static bool closed;

static void close_it(void *arg)
{
	(void)arg;
	disk_close(&disk);
	closed = true;
}

static void closed_meanwhile_body(void *arg)
{
	(void)arg;
	if (!begin_with(OPTIONS("file")))
		return;
	sim_set_fault(hold_syncs, NULL);
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	co_sleep(5 * SECOND);
	/* the disk's own flush */
	CU_ASSERT_EQUAL(sim_in_flight(), 1);
	closed = false;
	CU_ASSERT_TRUE_FATAL(co_spawn(close_it, NULL));
	co_sleep(5 * SECOND);
	CU_ASSERT_FALSE(closed);
	sim_set_fault(NULL, NULL);
	sim_release(NULL);
	co_sleep(5 * SECOND);
	CU_ASSERT_TRUE(closed);
}

static void closed_while_it_flushes(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make_file();
		test_run(1, seed, closed_meanwhile_body, NULL);
	}
}

static void wanted_body(void *arg)
{
	(void)arg;
	if (!begin())
		return;
	discard_one();
	sim_set_fault(punch_without_space, NULL);
	CU_ASSERT_EQUAL(now(REQ_FLUSH, 0), 0);
	CU_ASSERT_EQUAL(end(start(REQ_WRITE, NEW, 0x66)), 0);
	CU_ASSERT_EQUAL(first_byte(NEW), 0x66);
	CU_ASSERT_EQUAL(first_byte(OLD), 0);
	sim_set_fault(NULL, NULL);
	disk_close(&disk);
}

static void a_writer_takes_it_unpunched(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make();
		test_run(1, seed, wanted_body, NULL);
	}
}

/* --- the unlink must be durable --- */

static int cut_at_reuse(void *arg, const struct io *io)
{
	(void)arg;
	if (io->op == IO_WRITE && io->offset == old_host)
		sim_power_cut();
	return 0;
}

static void cut_body(void *arg)
{
	(void)arg;
	if (!begin())
		return;
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	sim_set_fault(cut_at_reuse, NULL);
	CU_ASSERT(end(start(REQ_WRITE, NEW, 0x66)) < 0);
	disk_close(&disk);
}

static void after_cut_body(void *arg)
{
	int byte;

	(void)arg;
	if (!begin())
		return;
	byte = first_byte(OLD);
	CU_ASSERT(byte == 1 + OLD || byte == 0);
	disk_close(&disk);
}

static void a_cut_at_reuse(void)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct image_report report;
		uint64_t size;
		void *data;

		make();
		test_run(1, seed, cut_body, NULL);
		sim_set_fault(NULL, NULL);
		size = sim_file_get(IMAGE, &data);
		image_check(data, size, &report);
		CU_ASSERT_EQUAL(report.errors, 0);
		/* reused means that the old name is gone for good */
		free(data);
		test_run(1, seed, after_cut_body, NULL);
	}
}

/*
 * Unlinked while a flush is on its way, which therefore does not cover it: the
 * next flush must not lower the refcount before the entry is gone on disk.
 */
static unsigned syncs;

static int hold_first_sync(void *arg, const struct io *io)
{
	(void)arg;
	if (io->op != IO_SYNC)
		return 0;
	return syncs++ ? 0 : SIM_KEEP;
}

static int cut_at_second_sync(void *arg, const struct io *io)
{
	(void)arg;
	if (io->op == IO_SYNC && ++syncs == 2)
		sim_power_cut();
	return 0;
}

static void unlinked_late_body(void *arg)
{
	struct later *flush;

	(void)arg;
	if (!begin())
		return;
	CU_ASSERT_EQUAL(now(REQ_ZEROES, OTHER), 0);
	syncs = 0;
	sim_set_fault(hold_first_sync, NULL);
	flush = start(REQ_FLUSH, 0, 0);
	CU_ASSERT_FALSE(flush->done);
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	sim_release(NULL);
	CU_ASSERT_EQUAL(end(flush), 0);
	/* a grace period began with the flush and ended after it; loading a
	 * slice starts the next, which covers the discard too */
	CU_ASSERT_EQUAL(first_byte(FAR), (1 + FAR) & 0xff);
	co_sleep(SECOND);
	syncs = 0;
	sim_set_fault(cut_at_second_sync, NULL);
	CU_ASSERT(now(REQ_FLUSH, 0) < 0);
	disk_close(&disk);
}

static void an_unlink_after_the_snapshot(void)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct image_report report;
		uint64_t size;
		void *data;

		make();
		test_run(1, seed, unlinked_late_body, NULL);
		sim_set_fault(NULL, NULL);
		size = sim_file_get(IMAGE, &data);
		image_check(data, size, &report);
		CU_ASSERT_EQUAL(report.errors, 0);
		free(data);
		test_run(1, seed, after_cut_body, NULL);
	}
}

/* --- the end of all space --- */

static void full_body(void *arg)
{
	(void)arg;
	if (!begin())
		return;
	CU_ASSERT_EQUAL(end(start(REQ_WRITE, NEW, 0x66)), -ENOSPC);
	CU_ASSERT_EQUAL(now(REQ_DISCARD, OLD), 0);
	CU_ASSERT_EQUAL(end(start(REQ_WRITE, NEW, 0x66)), 0);
	CU_ASSERT_EQUAL(end(start(REQ_WRITE, NEW + 2, 0x66)), -ENOSPC);
	CU_ASSERT_EQUAL(first_byte(NEW), 0x66);
	CU_ASSERT_EQUAL(first_byte(OLD), 0);
	CU_ASSERT_EQUAL(first_byte(OTHER), 1 + OTHER);
	disk_close(&disk);
}

static void no_space_is_final_without_limbo(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make();
		test_run(1, seed, full_body, NULL);
	}
}

TEST_MAIN("qcow2-limbo",
	  TEST(a_write_in_flight),
	  TEST(a_read_in_flight),
	  TEST(a_punch_in_flight),
	  TEST(it_comes_with_the_first_flush),
	  TEST(a_refused_punch_is_tried_again),
	  TEST(an_idle_disk_gives_it_back),
	  TEST(closed_while_it_flushes),
	  TEST(a_writer_takes_it_unpunched),
	  TEST(a_cut_at_reuse),
	  TEST(an_unlink_after_the_snapshot),
	  TEST(no_space_is_final_without_limbo))
