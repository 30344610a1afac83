/* SPDX-License-Identifier: MIT */
/*
 * throttle.c - a group's meters on real threads: three of them, two nodes,
 * reads and writes, while limits change, from none to ones that hold everybody
 * up, and filters come and go. Under TSan this is what finds who pays without
 * telling. What passed is at most what the limits allow, on the clock of the
 * threads.
 *
 *	throttle [quick|check|soak]	how many changes
 */
#include <jansson.h>
#include <stdlib.h>

#include "drivers/drivers.h"
#include "drivers/filter/throttle/group.h"
#include "tests/lib/crew.h"
#include "tests/lib/later.h"
#include "tests/lib/mode.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define THREADS 3
#define WORKERS 12u
#define RATE 20000

static unsigned rounds;

struct load {
	struct root *roots[2];
	unsigned passed, errors;	/* atomic */
	bool stop;		/* atomic */
};

struct worker {
	struct crew_member member;
	struct load *load;
	unsigned number;
	char *buf;
};

static void work(void *arg)
{
	struct worker *w = arg;
	struct load *load = w->load;

	while (!__atomic_load_n(&load->stop, __ATOMIC_RELAXED)) {
		if (toy_request(load->roots[w->number % 2], w->number % 3 ?
				REQ_READ : REQ_WRITE, 4096 * w->number, 4096,
				w->buf, 0))
			__atomic_add_fetch(&load->errors, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&load->passed, 1, __ATOMIC_RELAXED);
		co_yield();
	}
}

static void set_rate(struct throttle_group *group, int64_t iops)
{
	struct throttle_limits l = { .iops_size = 0 };

	for (unsigned i = 0; i < THROTTLE_LIMITS; i++)
		l.rate[i].length = 1;
	l.rate[THROTTLE_IOPS_TOTAL].avg = iops;
	l.rate[THROTTLE_BPS_WRITE].avg = iops * 4096;
	co_throttle_group_change(group, &l);
}

static unsigned passed(const struct load *load)
{
	return __atomic_load_n(&load->passed, __ATOMIC_RELAXED);
}

/* What passes while a limit holds: no more than the time that went by, what may
 * be ahead, and what was let in before. */
static void assert_within(const struct load *load, uint64_t ns)
{
	uint64_t start_ns = clock_ns();
	unsigned before = passed(load);
	double seconds;

	co_sleep(ns);
	before = passed(load) - before;
	seconds = (double)(clock_ns() - start_ns) / 1e9;
	CU_ASSERT((double)before <= RATE * (seconds + 0.051) + 4 * WORKERS);
}

static void body(void *arg)
{
	static const int64_t rates[] = { 0, 1, RATE, 5, 0, 100000000 };
	struct worker workers[WORKERS] = { 0 };
	struct throttle_limits none = { .iops_size = 0 };
	struct throttle_group *group;
	struct load load = { .passed = 0 };
	struct crew crew = { 0 };
	struct node *nodes[2];

	(void)arg;
	toy_start();
	driver_register(&throttle_driver);
	driver_register(&nop_driver);
	group = throttle_group_new("g", &none);
	set_rate(group, RATE);
	for (unsigned i = 0; i < 2; i++) {
		nodes[i] = toy_open("{'driver':'throttle','throttle-group':"
				    "'g','file':{'driver':'toy'}}");
		load.roots[i] = toy_root(i ? "export 'a'" : "export 'b'",
					 nodes[i], true, 512);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].load = &load;
		workers[i].number = i;
		workers[i].buf = aligned_alloc(4096, 4096);
		crew_start(&crew, &workers[i].member, 1 + i % THREADS, work,
			   &workers[i]);
	}
	assert_within(&load, 200000000);
	for (unsigned i = 0; i < rounds; i++) {
		set_rate(group, rates[i % ARRAY_SIZE(rates)]);
		if (i % 3 == 0)
			later_drain(nodes[i / 3 % 2]);
		co_sleep(1000000);
	}
	set_rate(group, RATE);
	assert_within(&load, 200000000);
	__atomic_store_n(&load.stop, true, __ATOMIC_RELAXED);
	set_rate(group, 0);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(load.errors, 0);
	CU_ASSERT(load.passed > WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		free(workers[i].buf);
	root_free(load.roots[0]);
	root_free(load.roots[1]);
	throttle_group_put_last(group);
}

static void test_meters(void)
{
	test_run(THREADS, 1, body, NULL);
}

int main(int argc, char **argv)
{
	static const struct suite_test tests[] = { TEST(test_meters) };
	static const unsigned many[] = {
		[MODE_QUICK] = 60, [MODE_CHECK] = 300, [MODE_SOAK] = 20000,
	};

	rounds = many[test_mode(&argc, argv)];
	return suite_run("throttle", tests, ARRAY_SIZE(tests));
}
