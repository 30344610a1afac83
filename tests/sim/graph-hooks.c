/* SPDX-License-Identifier: MIT */
/*
 * Hooks (A35) under seeds: exact through every map, above a node that realigns,
 * above qcow2 and a file, above who waits, and more of them than fit.
 */
#include <errno.h>
#include <stdlib.h>

#include "graph/io.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/hook-case.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define SEEDS 12u

static void run(const char *below, unsigned counters)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct hook_case c = {
			.threads = 3,
			.rounds = 40,
			.seed = seed,
			.below = below,
			.counters = counters,
		};

		hook_case_run(&c);
	}
}

static void maps_that_forward(void)
{
	run("{'driver':'raw','file':{'driver':'toy-filter','file':"
	    "{'driver':'toy'}}}", 1);
}

static void a_node_that_realigns(void)
{
	run("{'driver':'toy','align':4096,'mem-align':512}", 2);
}

static void a_format(void)
{
	run("{'driver':'toy-format','file':{'driver':'toy'},'backing':"
	    "{'driver':'toy'}}", 1);
}

static void more_than_fit(void)
{
	run("{'driver':'toy'}", 6);
}

static void an_image(void)
{
	void *data;
	uint64_t size = hook_case_image(&data);

	sim_file_create("/sim/image", 0);
	sim_file_set("/sim/image", data, size);
	free(data);
	run("{'driver':'qcow2','discard':'unmap','file':{'driver':'file',"
	    "'discard':'unmap','filename':'/sim/image'}}", 2);
}

/* ---- what is no success ---- */

static void body_failures(void *arg)
{
	struct toy_counter *c;
	static char buf[4096];
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy-counter','file':{'driver':'toy-full',"
			"'file':{'driver':'toy','node-name':'leaf'}}}");
	c = toy_counter_of(node);
	root = toy_root("export 'e'", node, true, 512);
	/* it may have been done in part */
	toy_wishes.fail_write = -ENOSPC;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 4096, buf, 0),
			-ENOSPC);
	toy_wishes.fail_write = 0;
	CU_ASSERT_EQUAL(c->failed, 1);
	CU_ASSERT_EQUAL(c->sectors[0], 0);
	/* what waits keeps none, and leaves it again when it goes on */
	toy_wishes.full = 2;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 4096, buf, 0), 0);
	CU_ASSERT_EQUAL(c->failed, 3);
	CU_ASSERT_EQUAL(c->sectors[0], 1);
	/* work without a request */
	CU_ASSERT_EQUAL(co_node_write(node, 512, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(c->sectors[1], 2);
	CU_ASSERT_EQUAL(c->hooked, 5);
	CU_ASSERT_EQUAL(c->slow, 0);
	root_free(root);
}

static void failures(void)
{
	test_run(1, 1, body_failures, NULL);
}

TEST_MAIN("graph-hooks",
	  TEST(maps_that_forward),
	  TEST(a_node_that_realigns),
	  TEST(a_format),
	  TEST(more_than_fit),
	  TEST(an_image),
	  TEST(failures))
