/* SPDX-License-Identifier: MIT */
/*
 * driver-null-co.c - null-co keeps nothing, shows nothing, takes its time.
 */
#include <string.h>

#include "graph/status.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/suite.h"

static void run(const char *options, void (*fn)(struct disk *d))
{
	struct error *err = NULL;
	struct disk d;
	int ret = disk_open(&d, options, DISK_WRITABLE, 0, &err);

	CU_ASSERT_EQUAL(ret, 0);
	if (ret < 0) {
		error_clear(&err);
		return;
	}
	fn(&d);
	disk_close(&d);
}

static void check_zeroes(struct disk *d)
{
	unsigned char buf[512], zero[512] = { 0 };

	CU_ASSERT_EQUAL(d->node->size, 1 << 20);
	memset(buf, 1, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(d, REQ_WRITE, 0, 0, sizeof(buf), buf), 0);
	CU_ASSERT_EQUAL(disk_request(d, REQ_READ, 0, 0, sizeof(buf), buf), 0);
	CU_ASSERT(!memcmp(buf, zero, sizeof(buf)));
}

static void check_kept(struct disk *d)
{
	unsigned char buf[512], ones[512];

	memset(buf, 1, sizeof(buf));
	memset(ones, 1, sizeof(ones));
	CU_ASSERT_EQUAL(disk_request(d, REQ_READ, 0, 0, sizeof(buf), buf), 0);
	CU_ASSERT(!memcmp(buf, ones, sizeof(buf)));
}

static void check_latency(struct disk *d)
{
	unsigned char buf[512];
	static const enum req_op ops[] = {
		REQ_READ, REQ_WRITE, REQ_ZEROES, REQ_DISCARD,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		uint64_t start = clock_ns();

		CU_ASSERT_EQUAL(disk_request(d, ops[i], 0, 0, sizeof(buf),
					     i < 2 ? buf : NULL), 0);
		CU_ASSERT(clock_ns() - start >= 5000000);
	}
}

static unsigned status_flags(struct disk *d)
{
	struct status st = {};

	CU_ASSERT_EQUAL(disk_request(d, REQ_STATUS, 0, 0, 1 << 20, &st), 0);
	CU_ASSERT_EQUAL(st.len, 1 << 20);
	return st.flags;
}

static void check_status_zero(struct disk *d)
{
	CU_ASSERT_EQUAL(status_flags(d), STATUS_ZERO);
}

static void check_status_data(struct disk *d)
{
	CU_ASSERT_EQUAL(status_flags(d), STATUS_DATA);
}

static void check_bounds(struct disk *d)
{
	unsigned char buf[512];

	CU_ASSERT_EQUAL(disk_request(d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	CU_ASSERT(disk_request(d, REQ_READ, 0, 1 << 20, 512, buf) < 0);
}

SIM_TEST(reads_give_zeroes)
{
	run("{\"driver\": \"null-co\", \"size\": 1048576}", check_zeroes);
	run("{\"driver\": \"null-co\", \"size\": 1048576}", check_bounds);
}

SIM_TEST(reads_leave_the_buffer)
{
	run("{\"driver\": \"null-co\", \"size\": 1048576,"
	    " \"read-zeroes\": false}", check_kept);
}

SIM_TEST(requests_take_their_time)
{
	run("{\"driver\": \"null-co\", \"size\": 1048576, \"discard\":"
	    " \"unmap\", \"latency-ns\": 5000000}", check_latency);
}

SIM_TEST(status_is_zero_where_reads_are)
{
	run("{\"driver\": \"null-co\", \"size\": 1048576}",
	    check_status_zero);
	run("{\"driver\": \"null-co\", \"size\": 1048576,"
	    " \"read-zeroes\": false}", check_status_data);
}

TEST_MAIN("null-co", TEST(reads_give_zeroes), TEST(reads_leave_the_buffer),
	  TEST(requests_take_their_time), TEST(status_is_zero_where_reads_are))
