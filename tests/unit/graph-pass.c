/* SPDX-License-Identifier: MIT */
/*
 * What every thread has come by is seen by nobody any more who looked at it
 * without a wait (co_threads_pass).
 */
#include <errno.h>

#include "graph/epoch.h"
#include "graph/graph.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define THREADS 3
#define ROUNDS 20

static struct {
	unsigned whole[2];	/* the one in use is 1, else 0 */
	unsigned *now;		/* atomic */
	bool over;
	unsigned looks, torn;
} table;

/* Others may run at each step, but for a wait. */
static void look(void *arg)
{
	(void)arg;
	while (!table.over) {
		const unsigned *seen = __atomic_load_n(&table.now,
						       __ATOMIC_RELAXED);

		for (unsigned i = 0; i < 5; i++) {
			rt_step();
			table.torn += !*seen;
		}
		table.looks++;
		co_yield();
	}
}

static void replace(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned *old = table.now;
		unsigned *next = &table.whole[old == table.whole];

		*next = 1;
		rt_step();
		__atomic_store_n(&table.now, next, __ATOMIC_RELAXED);
		co_threads_pass();
		*old = 0;
	}
	table.over = true;
}

/* Who replaces is on any thread. */
static void body_replace(void *arg)
{
	struct crew_member members[THREADS + 1];
	struct crew crew = { 0 };
	unsigned writer = *(unsigned *)arg;

	table.now = table.whole;
	table.whole[0] = 1;
	table.over = false;
	for (unsigned t = 0; t <= THREADS; t++)
		crew_start(&crew, &members[t], t, t == writer ? replace : look,
			   NULL);
	crew_wait(&crew);
}

static void test_replace(void)
{
	sim_step_rate(2);
	for (unsigned seed = 0; seed < 200; seed++) {
		unsigned writer = seed % (THREADS + 1);

		test_run(THREADS, seed, body_replace, &writer);
	}
	sim_step_rate(4);
	CU_ASSERT_EQUAL(table.torn, 0);
	CU_ASSERT(table.looks > 200 * ROUNDS);
}

static int hold(void *arg, const struct io *io)
{
	(void)arg;
	(void)io;
	return SIM_KEEP;
}

static void write_one(void *arg)
{
	static char buf[512];

	CU_ASSERT_EQUAL(toy_request(arg, REQ_WRITE, 0, 512, buf, 0), 0);
}

/* It depends on no request: not on one in flight, nor on a lock in hand. */
SIM_TEST(test_a_request_in_flight)
{
	struct crew_member member;
	struct crew crew = { 0 };
	struct co_mutex mutex;
	struct node *node;
	struct root *root;
	uint64_t begun;

	toy_start();
	sim_file_create("/sim/held", 65536);
	node = toy_open("{'driver':'file','filename':'/sim/held'}");
	root = toy_root("r", node, true, 512);
	sim_set_fault(hold, NULL);
	crew_start(&crew, &member, 1, write_one, root);
	co_sleep(1);
	CU_ASSERT_EQUAL(sim_in_flight(), 1);
	co_mutex_init(&mutex);
	co_lock(&mutex);
	begun = clock_ns();
	co_threads_pass();
	CU_ASSERT_EQUAL(clock_ns(), begun);
	CU_ASSERT_EQUAL(sim_in_flight(), 1);
	co_unlock(&mutex);
	co_mutex_destroy(&mutex);
	sim_set_fault(NULL, NULL);
	sim_release(NULL);
	crew_wait(&crew);
	root_free(root);
}

TEST_MAIN("graph-pass", TEST(test_replace), TEST(test_a_request_in_flight))
