/* SPDX-License-Identifier: MIT */
/*
 * Payload buffers: alignment, budget, merging, the order of waiters. Timers.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/buffer.h"
#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/suite.h"

#define BUDGET (2 * BUFFER_MAX)

static void in_run(void (*fn)(void *), uint64_t seed)
{
	struct runtime_options opts = {
		.io_threads = 1, .buffer_bytes = BUDGET, .seed = seed,
	};
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(fn, NULL);
	runtime_stop();
}

static void budget_body(void *arg)
{
	static void *bufs[BUDGET / 4096 + 1];
	unsigned n = 0;

	(void)arg;
	while ((bufs[n] = buffer_get(1)) != NULL) {
		CU_ASSERT_FATAL(is_aligned((uintptr_t)bufs[n], 4096));
		memset(bufs[n], 1, 1);
		n++;
	}
	CU_ASSERT_EQUAL(n, BUDGET / 4096);
	/* every other one back: no two are neighbours */
	for (unsigned i = 0; i < n; i += 2)
		buffer_put(bufs[i], 1);
	CU_ASSERT_PTR_NULL(buffer_get(8192));
	for (unsigned i = 1; i < n; i += 2)
		buffer_put(bufs[i], 1);
	/* all pieces merge again, whatever order they came back in */
	bufs[0] = buffer_get(BUFFER_MAX);
	bufs[1] = buffer_get(BUFFER_MAX - 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(bufs[0]);
	CU_ASSERT_PTR_NOT_NULL_FATAL(bufs[1]);
	memset(bufs[0], 2, BUFFER_MAX);
	memset(bufs[1], 3, BUFFER_MAX - 1);
	CU_ASSERT_EQUAL(((char *)bufs[0])[BUFFER_MAX - 1], 2);
	CU_ASSERT_PTR_NULL(buffer_get(1));
	buffer_put(bufs[0], BUFFER_MAX);
	buffer_put(bufs[1], BUFFER_MAX - 1);
	runtime_quit();
}

static void budget_is_kept_and_pieces_merge(void)
{
	in_run(budget_body, 1);
}

#define PIECES 300

/* Random sizes come and go; nobody's bytes change. */
static void random_body(void *arg)
{
	static struct {
		unsigned char *buf;
		uint32_t size;
		unsigned char mark;
	} piece[PIECES];

	(void)arg;
	for (unsigned round = 0; round < 20000; round++) {
		unsigned i = (unsigned)sim_random_below(PIECES);

		if (piece[i].buf) {
			CU_ASSERT_FATAL(piece[i].buf[0] == piece[i].mark);
			CU_ASSERT_FATAL(piece[i].buf[piece[i].size - 1] ==
					piece[i].mark);
			buffer_put(piece[i].buf, piece[i].size);
			piece[i].buf = NULL;
			continue;
		}
		piece[i].size = 1 + (uint32_t)sim_random_below(
					1u << (8 + sim_random_below(12)));
		piece[i].buf = buffer_get(piece[i].size);
		piece[i].mark = (unsigned char)round;
		if (!piece[i].buf)
			continue;
		piece[i].buf[0] = piece[i].mark;
		piece[i].buf[piece[i].size - 1] = piece[i].mark;
	}
	for (unsigned i = 0; i < PIECES; i++)
		if (piece[i].buf)
			buffer_put(piece[i].buf, piece[i].size);
	memset(piece, 0, sizeof(piece));
	/* nothing leaked */
	for (unsigned i = 0; i < 2; i++)
		piece[i].buf = buffer_get(BUFFER_MAX);
	CU_ASSERT_PTR_NOT_NULL(piece[1].buf);
	for (unsigned i = 0; i < 2; i++)
		buffer_put(piece[i].buf, BUFFER_MAX);
	memset(piece, 0, sizeof(piece));
	runtime_quit();
}

static void random_sizes_do_not_overlap(void)
{
	for (uint64_t seed = 0; seed < 5; seed++)
		in_run(random_body, seed);
}

static char order[8];
static unsigned order_len;
static struct co_group group;

struct want {
	uint32_t size;
	char name;
};

static void wanting(void *arg)
{
	struct want *w = arg;
	void *buf = co_buffer_get(w->size);

	order[order_len++] = w->name;
	buffer_put(buf, w->size);
	co_group_done(&group);
}

static void callback(struct buffer_waiter *w, void *buf)
{
	order[order_len++] = 'f';
	buffer_put(buf, w->size);
	co_group_done(&group);
}

/* Coroutines and others wait in one line; a small request that would fit does
 * not overtake a large one. */
static void waiters_body(void *arg)
{
	struct want wants[] = { { BUFFER_MAX, 'a' }, { 4096, 'b' } };
	struct buffer_waiter w;
	void *half = buffer_get(BUFFER_MAX), *small = buffer_get(4096);

	(void)arg;
	order_len = 0;
	memset(order, 0, sizeof(order));
	co_group_init(&group);
	for (unsigned i = 0; i < 3; i++)
		co_group_add(&group);
	CU_ASSERT_TRUE(co_spawn(wanting, &wants[0]));
	buffer_wait(&w, BUFFER_MAX, callback);
	CU_ASSERT_TRUE(co_spawn(wanting, &wants[1]));
	co_sleep(1);
	CU_ASSERT_EQUAL(order_len, 0);
	CU_ASSERT_PTR_NULL(buffer_get(4096));
	buffer_put(half, BUFFER_MAX);
	CU_ASSERT_EQUAL(order_len, 0);	/* not inside buffer_put */
	co_group_wait(&group);
	CU_ASSERT_STRING_EQUAL(order, "afb");
	buffer_put(small, 4096);
	runtime_quit();
}

static void waiters_are_served_in_order(void)
{
	for (uint64_t seed = 0; seed < 50; seed++)
		in_run(waiters_body, seed);
}

#define TIMERS 200

static struct timer timers[TIMERS];
static uint64_t due[TIMERS];
static uint64_t last_due;
static unsigned fired;

static void timer_fired(struct timer *timer)
{
	unsigned i = (unsigned)(timer - timers);

	CU_ASSERT_EQUAL(clock_ns(), due[i]);
	CU_ASSERT(clock_ns() >= last_due);
	CU_ASSERT_FALSE(timer->armed);
	last_due = clock_ns();
	fired++;
}

static void timers_body(void *arg)
{
	unsigned stopped = 0;

	(void)arg;
	fired = 0;
	last_due = 0;
	for (unsigned i = 0; i < TIMERS; i++) {
		uint64_t delay = sim_random_below(1000);

		due[i] = clock_ns() + delay;
		timer_start(&timers[i], delay, timer_fired);
	}
	for (unsigned i = 0; i < TIMERS; i++) {
		if (sim_random_below(3))
			continue;
		timer_stop(&timers[i]);
		timer_stop(&timers[i]);	/* harmless */
		stopped++;
		if (sim_random_below(2))
			continue;
		due[i] = clock_ns() + 500;
		timer_start(&timers[i], 500, timer_fired);
		stopped--;
	}
	co_sleep(2000);
	CU_ASSERT_EQUAL(fired, TIMERS - stopped);
	runtime_quit();
}

static void timers_fire_in_order(void)
{
	for (uint64_t seed = 0; seed < 100; seed++)
		in_run(timers_body, seed);
}

TEST_MAIN("runtime-memory", TEST(budget_is_kept_and_pieces_merge),
	  TEST(random_sizes_do_not_overlap), TEST(waiters_are_served_in_order),
	  TEST(timers_fire_in_order))
