/* SPDX-License-Identifier: MIT */
/*
 * Coroutines: spawning, waiting, nesting, their pool; registers survive.
 */
#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/suite.h"

static void in_run(void (*fn)(void *), uint64_t seed)
{
	struct runtime_options opts = { .io_threads = 2, .seed = seed };
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(fn, NULL);
	runtime_stop();
}

static char order[64];
static unsigned order_len;

static void note(char c)
{
	order[order_len++] = c;
	order[order_len] = 0;
}

static struct co *waiter;

static void wait_once(void *arg)
{
	note(*(const char *)arg);
	waiter = co_self();
	co_wait();
	note('w');
}

static void spawn_runs_at_once_body(void *arg)
{
	struct co *self = co_self();
	char name[] = "a";

	(void)arg;
	order_len = 0;
	CU_ASSERT_TRUE_FATAL(co_spawn(wait_once, name));
	note('b');
	CU_ASSERT_PTR_EQUAL(co_self(), self);
	co_wake(waiter);
	note('c');
	co_yield();
	note('d');
	CU_ASSERT_STRING_EQUAL(order, "abcwd");
	runtime_quit();
}

static void spawn_runs_at_once(void)
{
	CU_ASSERT_PTR_NULL(co_self());
	in_run(spawn_runs_at_once_body, 1);
}

static void early_wake_body(void *arg)
{
	(void)arg;
	co_wake(co_self());
	co_wait();	/* must not wait */
	runtime_quit();
}

static void wake_may_come_before_wait(void)
{
	in_run(early_wake_body, 2);
}

#define DEPTH 50

static void nest(void *arg)
{
	unsigned depth = *(unsigned *)arg;
	unsigned below = depth + 1;
	char pad[512];

	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] = (char)(depth + i);
	if (below < DEPTH)
		CU_ASSERT_TRUE(co_spawn(nest, &below));
	co_yield();
	for (size_t i = 0; i < sizeof(pad); i++)
		if (pad[i] != (char)(depth + i))
			CU_FAIL("stack contents changed");
	order_len++;
}

static void nested_body(void *arg)
{
	unsigned depth = 0;

	(void)arg;
	order_len = 0;
	CU_ASSERT_TRUE(co_spawn(nest, &depth));
	while (order_len < DEPTH)
		co_yield();
	CU_ASSERT_EQUAL(order_len, DEPTH);
	runtime_quit();
}

static void nested_spawns_keep_their_stacks(void)
{
	in_run(nested_body, 3);
}

static void wait_quietly(void *arg)
{
	(void)arg;
	co_wait();
}

static struct co *parked[CO_MAX_PER_THREAD];
static unsigned parked_count;

static void wait_noted(void *arg)
{
	parked[parked_count++] = co_self();
	wait_quietly(arg);
}

static void pool_body(void *arg)
{
	unsigned room = co_available(), i;

	(void)arg;
	parked_count = 0;
	CU_ASSERT_EQUAL(room, CO_MAX_PER_THREAD - 1);
	for (i = 0; i < room; i++)
		if (!co_spawn(wait_noted, NULL))
			break;
	CU_ASSERT_EQUAL(i, room);
	CU_ASSERT_EQUAL(co_available(), 0);
	CU_ASSERT_FALSE(co_spawn(wait_noted, NULL));
	for (i = 0; i < parked_count; i++)
		co_wake(parked[i]);
	while (co_available() < room)
		co_yield();
	CU_ASSERT_TRUE(co_spawn(wait_noted, NULL));
	co_wake(parked[parked_count - 1]);
	co_yield();
	runtime_quit();
}

static void spawn_says_no_when_stacks_are_used_up(void)
{
	in_run(pool_body, 4);
}

/* Enough live values that callee-saved registers must carry some of them. */
static uint64_t mix(uint64_t x)
{
	uint64_t a = x + 1, b = x * 3, c = x ^ 5, d = x - 7, e = ~x, f = x << 3;
	double g = (double)x * 1.5, h = (double)x / 3;

	for (unsigned i = 0; i < 100; i++) {
		co_yield();
		a += b ^ i;
		b += c;
		c ^= d + i;
		d += e;
		e ^= f;
		f += a;
		g += h;
		h = h / 2 + (double)i;
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ (uint64_t)g ^ (uint64_t)h;
}

static uint64_t results[8];

static void mix_run(void *arg)
{
	uint64_t *result = arg;

	*result = mix((uint64_t)(result - results) % 4);
	order_len++;
}

static void registers_body(void *arg)
{
	(void)arg;
	order_len = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(results); i++)
		CU_ASSERT_TRUE(co_spawn(mix_run, &results[i]));
	while (order_len < ARRAY_SIZE(results))
		co_yield();
	for (unsigned i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(results[i], results[i + 4]);
		CU_ASSERT_NOT_EQUAL(results[i], results[(i + 1) % 4]);
	}
	runtime_quit();
}

static void registers_survive_switches(void)
{
	in_run(registers_body, 5);
}

static struct co_group group;

static void group_member(void *arg)
{
	uint64_t *ns = arg;

	co_sleep(*ns);
	note((char)('0' + *ns));
	co_group_done(&group);
}

static void group_body(void *arg)
{
	uint64_t ns[] = { 3, 1, 2 };
	uint64_t before = clock_ns();

	(void)arg;
	order_len = 0;
	co_group_init(&group);
	co_group_wait(&group);	/* nothing pending: does not wait */
	for (unsigned i = 0; i < ARRAY_SIZE(ns); i++) {
		co_group_add(&group);
		CU_ASSERT_TRUE(co_spawn(group_member, &ns[i]));
	}
	co_group_wait(&group);
	CU_ASSERT_STRING_EQUAL(order, "123");
	CU_ASSERT_EQUAL(clock_ns(), before + 3);
	runtime_quit();
}

static void group_waits_for_all(void)
{
	in_run(group_body, 6);
}

TEST_MAIN("co-switch", TEST(spawn_runs_at_once),
	  TEST(wake_may_come_before_wait),
	  TEST(nested_spawns_keep_their_stacks),
	  TEST(spawn_says_no_when_stacks_are_used_up),
	  TEST(registers_survive_switches), TEST(group_waits_for_all))
