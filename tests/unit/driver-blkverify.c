/* SPDX-License-Identifier: MIT */
/*
 * driver-blkverify.c - two images do the same, and where they do not the
 * request fails and it is told which way they differ; what is in flight
 * together reaches both in one order, and bytes that a client changes
 * meanwhile reach both as they were (A31).
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/report.h"
#include "graph/resize.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define MS UINT64_C(1000000)
#define SIZE 65536u
#define SEEDS 60u

static struct node *test, *raw;
static struct report heard;
static unsigned heards;

static void on_report(const struct report *report)
{
	heard = *report;
	heards++;
}

static struct root *open_pair(void)
{
	struct node *node;
	struct root *root;

	toy_start();
	heards = 0;
	report_set_listener(on_report);
	node = toy_open("{'driver':'blkverify','node-name':'v','discard':"
			"'unmap','test':{'driver':'toy','node-name':'test',"
			"'size':65536},'raw':{'driver':'toy','node-name':"
			"'raw','size':65536}}");
	test = node_find("test");
	raw = node_find("raw");
	root = toy_root("export 'v'", node, true, 1);
	return root;
}

static void end_pair(struct root *root)
{
	root_free(root);
	report_set_listener(NULL);
}

static bool are_same(void)
{
	return !memcmp(toy_of(test)->data, toy_of(raw)->data, SIZE);
}

SIM_TEST(both_do_the_same)
{
	struct root *root = open_pair();
	static char data[SIZE], back[SIZE];

	for (unsigned i = 0; i < SIZE; i++)
		data[i] = (char)(i * 7 + i / 256);
	/* more than one piece of memory has */
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, SIZE, data, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, SIZE, back, 0), 0);
	CU_ASSERT(!memcmp(data, back, SIZE));
	CU_ASSERT(!memcmp(data, toy_of(raw)->data, SIZE));
	CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 100, 1000, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(test)->data[100] | toy_of(raw)->data[1099], 0);
	CU_ASSERT(are_same());
	/* it may leave anything in either, so it is not done */
	CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 0, 4096, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(test)->discards + toy_of(raw)->discards, 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT(toy_of(test)->flushes == 1 && toy_of(raw)->flushes == 1);
	/* G4: its filtered child is raw */
	CU_ASSERT_PTR_EQUAL(node_skip_filters(root->edge.child), raw);
	co_sleep(MS);
	CU_ASSERT_EQUAL(heards, 0);
	end_pair(root);
}

SIM_TEST(other_bytes_fail_the_read)
{
	struct root *root = open_pair();
	static char buf[4096];

	toy_of(test)->data[5000] = 1;
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 4096, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 4096, 4096, buf, 0), -EIO);
	co_sleep(MS);
	CU_ASSERT_EQUAL(heards, 1);
	CU_ASSERT_EQUAL(heard.kind, REPORT_BYTES);
	CU_ASSERT_EQUAL(heard.op, REQ_READ);
	CU_ASSERT_EQUAL(heard.offset, 4096);
	CU_ASSERT_EQUAL(heard.at, 5000);
	CU_ASSERT_STRING_EQUAL(heard.node, "v");
	end_pair(root);
}

static void one_fails(struct root *root, const char *name, int test_error,
		      int raw_error)
{
	static char buf[512];

	heards = 0;
	toy_wishes.fails = name;
	toy_wishes.fail_write = -ENOSPC;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), -EIO);
	CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 0, 512, NULL, 0), -EIO);
	toy_wishes.fail_write = 0;
	co_sleep(MS);
	CU_ASSERT_EQUAL(heards, 2);
	CU_ASSERT_EQUAL(heard.kind, REPORT_RESULTS);
	CU_ASSERT_EQUAL(heard.op, REQ_ZEROES);
	CU_ASSERT_EQUAL(heard.error, test_error);
	CU_ASSERT_EQUAL(heard.other_error, raw_error);
}

SIM_TEST(a_child_that_fails)
{
	struct root *root = open_pair();
	static char buf[512];

	one_fails(root, "test", ENOSPC, 0);
	one_fails(root, "raw", 0, ENOSPC);
	/* both: that is no difference */
	heards = 0;
	toy_wishes.fails = NULL;
	toy_wishes.fail_write = -ENOSPC;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), -ENOSPC);
	toy_wishes.fail_write = 0;
	co_sleep(MS);
	CU_ASSERT_EQUAL(heards, 0);
	/* a flush that fails in one */
	toy_wishes.fails = "test";
	toy_wishes.fail_flush = -ENODEV;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), -ENODEV);
	end_pair(root);
}

/* More reports than are kept are dropped, and the next ones are heard. */
SIM_TEST(many_reports)
{
	struct root *root = open_pair();
	static char buf[512];

	toy_of(test)->data[0] = 1;
	for (unsigned i = 0; i < 3 * REPORTS_MAX; i++)
		CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 512, buf, 0),
				-EIO);
	co_sleep(MS);
	CU_ASSERT(heards >= REPORTS_MAX);
	heards = 0;
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 512, buf, 0), -EIO);
	co_sleep(MS);
	CU_ASSERT_EQUAL(heards, 1);
	end_pair(root);
}

/* ---- in flight together ---- */

#define WRITERS 24u

struct writer {
	struct crew_member member;
	struct root *root;
	char buf[2048];
	enum req_op op;
	uint64_t offset;
	int res;
};

static void write_one(void *arg)
{
	struct writer *w = arg;

	w->res = toy_request(w->root, w->op, w->offset, sizeof(w->buf),
			     w->op == REQ_ZEROES ? NULL : w->buf, 0);
}

/* Writes that overlap, and reads of what is being written, on two threads: the
 * images are the same at the end, and no read found them different. */
static void body_overlapping(void *arg)
{
	static struct writer writers[WRITERS];
	struct crew crew = { 0 };
	struct root *root = open_pair();

	(void)arg;
	for (unsigned i = 0; i < WRITERS; i++) {
		struct writer *w = &writers[i];

		*w = (struct writer){ .root = root };
		memset(w->buf, (int)i + 1, sizeof(w->buf));
		w->op = i % 4 == 3 ? REQ_READ : i % 8 == 4 ? REQ_ZEROES :
			REQ_WRITE;
		w->offset = 512 * sim_random_below(6);
		crew_start(&crew, &w->member, 1 + i % 2, write_one, w);
	}
	crew_wait(&crew);
	for (unsigned i = 0; i < WRITERS; i++)
		CU_ASSERT_EQUAL(writers[i].res, 0);
	CU_ASSERT(are_same());
	co_sleep(MS);
	CU_ASSERT_EQUAL(heards, 0);
	end_pair(root);
}

static void overlapping(void)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		test_run(2, seed, body_overlapping, NULL);
}

/* A31, and more requests than there is memory for: they wait for it. */
SIM_TEST(bytes_change_meanwhile)
{
	static struct writer writers[WRITERS];
	struct root *root = open_pair();
	struct crew crew = { 0 };

	toy_wishes.hold = true;
	for (unsigned i = 0; i < WRITERS; i++) {
		struct writer *w = &writers[i];

		*w = (struct writer){ .root = root, .op = REQ_WRITE,
				      .offset = i * sizeof(w->buf) };
		memset(w->buf, 1, sizeof(w->buf));
		crew_start(&crew, &w->member, MAIN_THREAD, write_one, w);
	}
	co_sleep(MS);
	CU_ASSERT(toy_of(test)->held > 0 && toy_of(test)->held < WRITERS);
	for (unsigned i = 0; i < WRITERS; i++)
		memset(writers[i].buf, 2, sizeof(writers[i].buf));
	toy_wishes.hold = false;
	toy_release();
	crew_wait(&crew);
	CU_ASSERT(are_same());
	CU_ASSERT_EQUAL(toy_of(raw)->data[0], 1);
	end_pair(root);
}

/* A34: an operation that wishes to wait gives all back and is done again, in
 * both images. */
SIM_TEST(a_wish_of_one_is_both_ones)
{
	struct node *node;
	struct root *root;
	char buf[512];

	toy_start();
	heards = 0;
	report_set_listener(on_report);
	node = toy_open("{'driver':'blkverify','node-name':'v','test':"
			"{'driver':'toy-full','file':{'driver':'toy',"
			"'node-name':'test','size':65536}},'raw':{'driver':"
			"'toy-full','file':{'driver':'toy','node-name':'raw',"
			"'size':65536}}}");
	test = node_find("test");
	raw = node_find("raw");
	root = toy_root("export 'v'", node, true, 512);
	memset(buf, 9, sizeof(buf));
	toy_wishes.full = 3;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 512, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_wishes.full, 0);
	CU_ASSERT(are_same());
	co_sleep(MS);
	CU_ASSERT_EQUAL(heards, 0);
	end_pair(root);
}

/* ---- the graph ---- */

SIM_TEST(sizes)
{
	struct root *root;
	struct change_stats stats;
	struct error *err = NULL;
	char *said;

	toy_start();
	said = toy_open_error("{'driver':'blkverify','node-name':'v',"
			      "'test':{'driver':'toy','node-name':'t'},"
			      "'raw':{'driver':'toy','node-name':'r',"
			      "'size':4096}}");
	CU_ASSERT_STRING_EQUAL(said, "Nodes 't' and 'r', which node 'v'"
			       " compares, have different sizes: 1048576 and"
			       " 4096 bytes");
	free(said);
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
	/* C8 */
	root = open_pair();
	CU_ASSERT_EQUAL(graph_resize(node_find("v"), 4096, &stats, &err),
			-ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, "Node 'v' compares two images, and"
			       " keeps their size");
	error_clear(&err);
	CU_ASSERT_EQUAL(raw->size, SIZE);
	CU_ASSERT_EQUAL(node_find("v")->size, SIZE);
	end_pair(root);
}

/* C4: live, and test is let go of with it. */
SIM_TEST(in_and_out)
{
	json_t *options = toy_json("{'driver':'blkverify','node-name':'v',"
				   "'test':'t'}");
	struct error *err = NULL;
	struct node *leaf, *v;
	struct root *root;
	char buf[512];

	toy_start();
	leaf = toy_open("{'driver':'toy','node-name':'leaf'}");
	root = toy_root("export 'leaf'", leaf, true, 512);
	toy_hold(toy_open("{'driver':'toy','node-name':'t'}"));
	v = graph_insert(leaf, NULL, options, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(v);
	CU_ASSERT_PTR_EQUAL(root->edge.child, v);
	memset(buf, 3, sizeof(buf));
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node_find("t"))->data[511], 3);
	CU_ASSERT_EQUAL(graph_remove(v, NULL, NULL, &err), 0);
	CU_ASSERT_PTR_EQUAL(root->edge.child, leaf);
	toy_let_go(v);
	CU_ASSERT_PTR_NULL(node_find("t")->parents);
	toy_let_go(node_find("t"));
	json_decref(options);
	root_free(root);
}

TEST_MAIN("blkverify",
	  TEST(both_do_the_same),
	  TEST(other_bytes_fail_the_read),
	  TEST(a_child_that_fails),
	  TEST(many_reports),
	  TEST(overlapping),
	  TEST(bytes_change_meanwhile),
	  TEST(a_wish_of_one_is_both_ones),
	  TEST(sizes),
	  TEST(in_and_out))
