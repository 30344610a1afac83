/* SPDX-License-Identifier: MIT */
/*
 * export-place.c - which I/O thread serves a queue.
 */
#include "tests/lib/suite.h"

#include "export/place.h"

static void goes_to_the_least_loaded(void)
{
	uint32_t load[5] = { 0, 300, 100, 200, 100 };
	unsigned out[1];

	place_queues(load, 4, 1, 128, out);
	CU_ASSERT_EQUAL(out[0], 2);
	CU_ASSERT_EQUAL(load[2], 228);
	place_queues(load, 4, 1, 128, out);
	CU_ASSERT_EQUAL(out[0], 4);
}

static void spreads_the_queues_of_a_device(void)
{
	uint32_t load[4] = { 0, 0, 10000, 20000 };
	unsigned out[4];

	place_queues(load, 3, 4, 128, out);
	CU_ASSERT(out[0] == 1 && out[1] == 2 && out[2] == 3 && out[3] == 1);
}

static void balances_many_devices(void)
{
	uint32_t load[9] = { 0 };
	unsigned out[2], d, t;

	for (d = 0; d < 256; d++)
		place_queues(load, 8, 2, 128, out);
	for (t = 1; t <= 8; t++)
		CU_ASSERT_EQUAL(load[t], 256 * 2 * 128 / 8);
	CU_ASSERT_EQUAL(load[0], 0);
}

static void takes_one_thread_for_all(void)
{
	uint32_t load[2] = { 0 };
	unsigned out[4];

	place_queues(load, 1, 4, 64, out);
	CU_ASSERT(out[0] == 1 && out[3] == 1 && load[1] == 256);
}

TEST_MAIN("export-place",
	  TEST(goes_to_the_least_loaded),
	  TEST(spreads_the_queues_of_a_device),
	  TEST(balances_many_devices),
	  TEST(takes_one_thread_for_all))
