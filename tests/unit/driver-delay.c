/* SPDX-License-Identifier: MIT */
/*
 * driver-delay.c - each kind of request takes as much longer as was asked for,
 * once, beside others; drains do not wait for it (A34).
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "drivers/drivers.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static char buf[256 * 1024];

static struct node *open_delay(const char *options)
{
	char text[400];

	toy_start();
	driver_register(&delay_driver);
	driver_register(&nop_driver);
	snprintf(text, sizeof(text), "{'driver':'delay','node-name':'d',"
		 "'discard':'unmap',%s,'file':{'driver':'toy','discard':"
		 "'unmap'}}", options);
	return toy_open(text);
}

static uint64_t time_of(struct root *root, enum req_op op, uint32_t len,
			unsigned flags)
{
	uint64_t start_ns = clock_ns();

	CU_ASSERT_EQUAL(toy_request(root, op, 0, len, buf, flags), 0);
	return clock_ns() - start_ns;
}

static void assert_takes(uint64_t is, uint64_t ns)
{
	bool near = is >= ns && is < ns + MS;

	if (!near)
		fprintf(stderr, "%.3f ms, not %.3f\n", (double)is / 1e6,
			(double)ns / 1e6);
	CU_ASSERT_TRUE(near);
}

SIM_TEST(each_kind_has_its_own)
{
	struct root *root = toy_root("e", open_delay(
		"'read-ns':5000000,'write-ns':20000000,'flush-ns':70000000"),
		true, 512);

	assert_takes(time_of(root, REQ_READ, 4096, 0), 5 * MS);
	assert_takes(time_of(root, REQ_WRITE, 4096, 0), 20 * MS);
	assert_takes(time_of(root, REQ_ZEROES, 4096, 0), 20 * MS);
	assert_takes(time_of(root, REQ_DISCARD, 4096, 0), 20 * MS);
	assert_takes(time_of(root, REQ_FLUSH, 0, 0), 70 * MS);
	/* however many parts it is done in */
	assert_takes(time_of(root, REQ_READ, sizeof(buf), 0), 5 * MS);
	assert_takes(time_of(root, REQ_WRITE, sizeof(buf), REQ_FUA), 90 * MS);
	root_free(root);
}

SIM_TEST(what_has_none_passes)
{
	struct root *root = toy_root("e", open_delay("'write-ns':20000000"),
				     true, 512);

	assert_takes(time_of(root, REQ_READ, 4096, 0), 0);
	assert_takes(time_of(root, REQ_FLUSH, 0, 0), 0);
	root_free(root);
}

static void read_later(void *arg)
{
	uint64_t *took = arg;

	*took = time_of(node_find("d")->parents->root, REQ_READ, 512, 0);
}

/* Who is to go first does, and nobody waits for another. */
SIM_TEST(many_wait_side_by_side)
{
	struct root *root = toy_root("e", open_delay(
		"'read-ns':10000000,'read-random-ns':40000000"), true, 512);
	struct crew_member members[40];
	struct crew crew = { .working = 0 };
	uint64_t took[40], least = UINT64_MAX, most = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(took); i++)
		crew_start(&crew, &members[i], 1, read_later, &took[i]);
	crew_wait(&crew);
	for (unsigned i = 0; i < ARRAY_SIZE(took); i++) {
		CU_ASSERT(took[i] >= 10 * MS && took[i] < 51 * MS);
		least = min(least, took[i]);
		most = max(most, took[i]);
	}
	CU_ASSERT(least < 20 * MS && most > 40 * MS);
	root_free(root);
}

/* A34: the drain goes by at once, and the rest of the time is waited then. */
SIM_TEST(drains_do_not_wait)
{
	struct node *node = open_delay("'read-ns':5000000000");
	struct root *root = toy_root("e", node, true, 512);
	struct crew_member member;
	struct crew crew = { .working = 0 };
	uint64_t took, start_ns;

	crew_start(&crew, &member, 1, read_later, &took);
	co_sleep(SECOND);
	for (unsigned i = 0; i < 3; i++) {
		json_t *options = json_pack("{s:s,s:s}", "driver", "nop",
					    "node-name", "n");
		struct error *err = NULL;
		struct node *nop;

		start_ns = clock_ns();
		nop = graph_insert(node, NULL, options, NULL, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(nop);
		CU_ASSERT_EQUAL(graph_remove(nop, NULL, NULL, &err), 0);
		toy_let_go(nop);
		json_decref(options);
		CU_ASSERT(clock_ns() - start_ns < 10 * MS);
		co_sleep(SECOND / 2);
	}
	crew_wait(&crew);
	assert_takes(took, 5 * SECOND);
	root_free(root);
}

SIM_TEST(a_minute_is_the_most)
{
	char *said;

	toy_start();
	driver_register(&delay_driver);
	said = toy_open_error("{'driver':'delay','read-ns':60000000001,"
			      "'file':{'driver':'toy'}}");
	CU_ASSERT(said && strstr(said, "'read-ns' is 60000000001"));
	free(said);
}

TEST_MAIN("delay", TEST(each_kind_has_its_own), TEST(what_has_none_passes),
	  TEST(many_wait_side_by_side), TEST(drains_do_not_wait),
	  TEST(a_minute_is_the_most))
