/* SPDX-License-Identifier: MIT */
/*
 * ublk-params.c - what the kernel is told about a device, and what it tells us
 * about a request: flags, parameters, descriptors, marks.
 */
#include "tests/lib/suite.h"

#include <errno.h>
#include <string.h>

#include "graph/request.h"
#include "ublk/params.h"

#define ALL_FEATURES ((1ull << 21) - 1)
#define DEBIAN_6_12 0x1feull

static const struct ublk_options plain = {
	.id = UBLK_DEV_ID_ANY, .queues = 1, .depth = 128,
	.logical_block_size = 512, .zero_copy = true, .partition_scan = true,
};

static const struct limits limits = {
	.align = 4096, .mem_align = 512, .max_transfer = 1 << 30,
	.optimal_io = 65536, .discard_align = 65536,
	.zeroes = SUPPORT_NATIVE, .discard = SUPPORT_NATIVE,
};

static void never_asks_for_recovery(void)
{
	uint64_t bad = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
		       UBLK_F_USER_RECOVERY_FAIL_IO | UBLK_F_QUIESCE |
		       UBLK_F_UNPRIVILEGED_DEV | UBLK_F_NEED_GET_DATA;

	CU_ASSERT_EQUAL(ublk_flags(ALL_FEATURES, &plain, true) & bad, 0);
}

static void zero_copy_keeps_user_copy(void)
{
	uint64_t flags = ublk_flags(ALL_FEATURES, &plain, true);

	CU_ASSERT(flags & UBLK_F_AUTO_BUF_REG);
	CU_ASSERT(flags & UBLK_F_USER_COPY);
	CU_ASSERT(!(ublk_flags(ALL_FEATURES, &plain, false) &
		    UBLK_F_AUTO_BUF_REG));
}

static void asks_only_for_what_is_offered(void)
{
	struct ublk_options quiet = plain;

	quiet.partition_scan = false;
	CU_ASSERT_EQUAL(ublk_flags(DEBIAN_6_12, &quiet, true),
			UBLK_F_USER_COPY | UBLK_F_CMD_IOCTL_ENCODE);
	CU_ASSERT(ublk_flags(ALL_FEATURES, &quiet, true) &
		  UBLK_F_NO_AUTO_PART_SCAN);
	CU_ASSERT(!(ublk_flags(ALL_FEATURES, &plain, true) &
		    UBLK_F_NO_AUTO_PART_SCAN));
}

static void params_follow_the_node(void)
{
	struct ublk_params p;

	ublk_fill_params(&p, &limits, 10 * 4096 + 700, true, &plain, true);
	CU_ASSERT_EQUAL(p.basic.logical_bs_shift, 9);
	CU_ASSERT_EQUAL(p.basic.physical_bs_shift, 12);
	CU_ASSERT_EQUAL(p.basic.io_opt_shift, 16);
	CU_ASSERT_EQUAL(p.basic.max_sectors, UBLK_MAX_IO / 512);
	CU_ASSERT_EQUAL(p.basic.dev_sectors, 10 * 8 + 1);
	CU_ASSERT_EQUAL(p.basic.attrs,
			UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA);
	CU_ASSERT_EQUAL(p.discard.discard_granularity, 65536);
	CU_ASSERT_EQUAL(p.discard.max_discard_segments, 1);
	CU_ASSERT_EQUAL(p.dma.alignment, 511);
	CU_ASSERT(p.types & UBLK_PARAM_TYPE_DMA_ALIGN);
}

static void discard_results_stay_below_2_gib(void)
{
	struct ublk_params p;

	ublk_fill_params(&p, &limits, 1ull << 50, true, &plain, false);
	CU_ASSERT(p.discard.max_discard_sectors > 0);
	CU_ASSERT((uint64_t)p.discard.max_discard_sectors * 512 < 1ull << 31);
	CU_ASSERT((uint64_t)p.discard.max_write_zeroes_sectors * 512 <
		  1ull << 31);
	CU_ASSERT_EQUAL(p.discard.max_discard_sectors * 512 % 65536, 0);
}

static void read_only_offers_no_discard(void)
{
	struct ublk_params p;

	ublk_fill_params(&p, &limits, 1 << 20, false, &plain, false);
	CU_ASSERT(p.basic.attrs & UBLK_ATTR_READ_ONLY);
	CU_ASSERT(!(p.types & UBLK_PARAM_TYPE_DISCARD));
	CU_ASSERT(!(p.types & UBLK_PARAM_TYPE_DMA_ALIGN));
}

static void zeroes_without_discard(void)
{
	struct limits none = limits;
	struct ublk_params p;

	none.discard = SUPPORT_NONE;
	none.discard_align = 0;
	ublk_fill_params(&p, &none, 1 << 20, true, &plain, false);
	CU_ASSERT_EQUAL(p.discard.max_discard_sectors, 0);
	CU_ASSERT(p.discard.max_write_zeroes_sectors > 0);
	CU_ASSERT_EQUAL(p.discard.discard_granularity, 512);
}

static int decode(uint32_t op_flags, uint32_t sectors, uint64_t start,
		  struct request *req)
{
	struct ublksrv_io_desc d = {
		.op_flags = op_flags, .nr_sectors = sectors,
		.start_sector = start,
	};

	memset(req, 0xff, sizeof(*req));
	return ublk_decode(&d, req);
}

static void decodes_reads_and_writes(void)
{
	struct request req;

	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_READ, 8, 1ull << 33, &req), 0);
	CU_ASSERT_EQUAL(req.op, REQ_READ);
	CU_ASSERT_EQUAL(req.len, 4096);
	CU_ASSERT_EQUAL(req.offset, 1ull << 42);
	CU_ASSERT_EQUAL(req.flags, 0);
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 1, 7, &req),
			0);
	CU_ASSERT_EQUAL(req.op, REQ_WRITE);
	CU_ASSERT_EQUAL(req.flags, REQ_FUA);
	CU_ASSERT_EQUAL(req.offset, 7 * 512);
	/* other flags of the kernel mean nothing to us */
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_WRITE | UBLK_IO_F_META |
			       UBLK_IO_F_SWAP | UBLK_IO_F_FAILFAST_DEV, 1, 7,
			       &req), 0);
	CU_ASSERT_EQUAL(req.flags, 0);
}

static void decodes_the_others(void)
{
	struct request req;

	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_FLUSH, 0, 0, &req), 0);
	CU_ASSERT(req.op == REQ_FLUSH && req.len == 0 && req.offset == 0);
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_DISCARD, 1 << 21, 8, &req), 0);
	CU_ASSERT(req.op == REQ_DISCARD && req.len == 1u << 30);
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_WRITE_ZEROES, 8, 8, &req), 0);
	CU_ASSERT(req.op == REQ_ZEROES && req.flags == 0);
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP |
			       UBLK_IO_F_FUA, 8, 8, &req), 0);
	CU_ASSERT_EQUAL(req.flags, REQ_NO_UNMAP | REQ_FUA);
}

static void refuses_what_it_cannot_hold(void)
{
	struct request req;

	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_READ, UBLK_MAX_IO / 512 + 1, 0,
			       &req), -EIO);
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_WRITE, 0, 0, &req), -EIO);
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_DISCARD, (1u << 21) + 1, 0, &req),
			-EIO);
	CU_ASSERT_EQUAL(decode(UBLK_IO_OP_WRITE_SAME, 1, 0, &req),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(decode(15, 1, 0, &req), -EOPNOTSUPP);
}

static void marks_are_ours_alone(void)
{
	CU_ASSERT_EQUAL(ublk_mark_pid(ublk_mark(4711)), 4711);
	CU_ASSERT_EQUAL(ublk_mark_pid(0), 0);
	CU_ASSERT_EQUAL(ublk_mark_pid(4711), 0);
	CU_ASSERT_EQUAL(ublk_mark_pid(1ull << 32 | 4711), 0);
}

TEST_MAIN("ublk-params",
	  TEST(never_asks_for_recovery),
	  TEST(zero_copy_keeps_user_copy),
	  TEST(asks_only_for_what_is_offered),
	  TEST(params_follow_the_node),
	  TEST(discard_results_stay_below_2_gib),
	  TEST(read_only_offers_no_discard),
	  TEST(zeroes_without_discard),
	  TEST(decodes_reads_and_writes),
	  TEST(decodes_the_others),
	  TEST(refuses_what_it_cannot_hold),
	  TEST(marks_are_ours_alone))
