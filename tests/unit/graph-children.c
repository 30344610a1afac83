/* SPDX-License-Identifier: MIT */
/*
 * graph-children.c - children as lists, what a node keeps for each thread, and
 * coroutines on other threads.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

/* ---- lists ---- */

SIM_TEST(test_list)
{
	struct node *q, *named;
	const struct edge *e;
	struct root *root;
	static char data[4096];
	char name[16];
	unsigned count = 0;

	toy_start();
	named = toy_open("{'driver':'toy','node-name':'b','mem-align':512,"
			 "'max-transfer':65536}");
	q = toy_open("{'driver':'toy-quorum','node-name':'q','children':["
		     "{'driver':'toy','align':512},'b',{'driver':"
		     "'toy-filter','file':{'driver':'toy','node-name':'c',"
		     "'align':4096}}]}");
	toy_give(named);
	for (e = q->children; e; e = e->next_child) {
		snprintf(name, sizeof(name), "children.%u", count++);
		CU_ASSERT_STRING_EQUAL(e->name, name);
		CU_ASSERT_EQUAL(e->role, ROLE_DATA);
	}
	CU_ASSERT_EQUAL(count, 3);
	CU_ASSERT_PTR_NULL(q->file);
	CU_ASSERT_PTR_EQUAL(q->children->next_child->child, named);
	/* what all of them can do */
	CU_ASSERT_EQUAL(q->limits.align, 4096);
	CU_ASSERT_EQUAL(q->limits.mem_align, 512);
	CU_ASSERT_EQUAL(q->limits.max_transfer, 65536);
	root = toy_root("export 'q'", q, true, 512);
	memset(data, 0x5a, sizeof(data));
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 4096, data, 0), 0);
	for (e = q->children; e; e = e->next_child) {
		struct node *leaf = node_skip_filters(e->child);

		CU_ASSERT_EQUAL(toy_of(leaf)->data[4095], 0x5a);
	}
	root_free(root);
}

SIM_TEST(test_list_names)
{
	json_t *list, *node;
	const char *file;
	struct node *q;

	toy_start();
	q = toy_open("{'driver':'toy-quorum','node-name':'q','children':["
		     "{'driver':'toy'},{'driver':'toy','node-name':'b'}]}");
	list = graph_query_nodes(true);
	for (size_t i = 0; i < json_array_size(list); i++) {
		node = json_array_get(list, i);
		file = json_string_value(json_object_get(node, "file"));
		if (strcmp(json_string_value(json_object_get(node,
						"node-name")), "q"))
			continue;
		CU_ASSERT_STRING_EQUAL(file, "json:{\"children\": [{"
			"\"driver\": \"toy\"}, {\"driver\": \"toy\"}], "
			"\"driver\": \"toy-quorum\"}");
	}
	json_decref(list);
	toy_hold(q);
	/* what opens it again */
	node = node_describe(q);
	list = json_object_get(node, "children");
	CU_ASSERT_EQUAL(json_array_size(list), 2);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_array_get(list, 1)),
			       "b");
	json_decref(node);
	toy_let_go(q);
}

static void refused(const char *options, const char *text)
{
	char *said = toy_open_error(options);

	CU_ASSERT_STRING_EQUAL(said, text);
	free(said);
}

SIM_TEST(test_list_errors)
{
	toy_start();
	refused("{'driver':'toy-quorum','children':'x'}",
		"Invalid parameter type for 'children', expected: array");
	refused("{'driver':'toy-quorum','children':[]}",
		"Number of provided children must be 1 or more");
	refused("{'driver':'toy-quorum'}",
		"A block device must be specified for \"children\"");
	refused("{'driver':'toy-quorum','children':[{'driver':'toy'},'x']}",
		"Cannot find device='x' nor node-name='x'");
	refused("{'driver':'toy-quorum','node-name':'q','children':["
		"{'driver':'toy'},{'driver':'toy','size':4096}]}",
		"toy 'q' has children of different sizes");
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
}

static bool flushed;

static void flush_beside(void *arg)
{
	CU_ASSERT_EQUAL(toy_request(arg, REQ_FLUSH, 0, 0, NULL, 0), 0);
	flushed = true;
}

/* A flush goes to all children at once, more than there may be at once, too. */
SIM_TEST(test_flush)
{
	char json[1024] = "{'driver':'toy-quorum','children':[", data[512];
	struct root *root;
	struct node *q;
	bool spawned;

	toy_start();
	flushed = false;
	for (unsigned i = 0; i < 11; i++)
		strcat(json, i ? ",{'driver':'toy'}" : "{'driver':'toy'}");
	strcat(json, "]}");
	q = toy_open(json);
	root = toy_root("export 'q'", q, true, 512);
	memset(data, 1, sizeof(data));
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, data, 0), 0);
	toy_wishes.hold = toy_wishes.hold_flush = true;
	spawned = co_spawn(flush_beside, root);
	assert(spawned);
	co_sleep(1000000);
	CU_ASSERT_EQUAL(toy_calls.flushing, 8);
	toy_release();
	co_sleep(1000000);
	CU_ASSERT_EQUAL(toy_calls.flushing, 3);
	CU_ASSERT(!flushed);
	toy_wishes.hold = false;
	toy_release();
	while (!flushed)
		co_sleep(1000000);
	for (const struct edge *e = q->children; e; e = e->next_child)
		CU_ASSERT_EQUAL(toy_of(e->child)->flushes, 1);
	/* one that fails is told, and the others are flushed all the same */
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, data, 0), 0);
	toy_wishes.fail_flush = -EIO;
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), -EIO);
	for (const struct edge *e = q->children; e; e = e->next_child)
		CU_ASSERT_EQUAL(toy_of(e->child)->flushes, 2);
	root_free(root);
}

/* ---- a state for each thread ---- */

struct user {
	struct crew_member member;
	struct root *root;
};

static void use(void *arg)
{
	struct user *u = arg;
	char buf[512];

	for (unsigned i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(toy_request(u->root, REQ_READ, 512 * i, 512,
					    buf, 0), 0);
}

static void body_threads(void *arg)
{
	struct user users[6];
	struct crew crew = { 0 };
	struct root *root;
	struct node *node;
	char buf[512];

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy-threads','node-name':'t','file':"
			"{'driver':'toy'}}");
	root = toy_root("export 't'", node, true, 512);
	toy_wishes.name = "t";
	toy_wishes.fail_thread = -ENOBUFS;
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 512, buf, 0), -ENOBUFS);
	toy_wishes.fail_thread = 0;
	/* two on each of two threads; the third needs none */
	for (unsigned i = 0; i < 6; i++) {
		users[i].root = root;
		crew_start(&crew, &users[i].member, 1 + i % 2, use, &users[i]);
	}
	crew_wait(&crew);
	CU_ASSERT_EQUAL(toy_calls.thread_opens, 2);
	CU_ASSERT_EQUAL(toy_calls.thread_closes, 0);
	root_free(root);
	CU_ASSERT_EQUAL(toy_calls.thread_closes, 2);
	/* map is asked at least once for each */
	CU_ASSERT(toy_calls.thread_ops >= 60);
}

static void test_threads(void)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		test_run(3, seed, body_threads, NULL);
}

/* ---- coroutines elsewhere ---- */

static void elsewhere(void *arg)
{
	struct io_thread **ran_on = arg;

	co_sleep(1000000);
	*ran_on = thread_self();
}

static void wait_for(void *arg)
{
	const bool *over = arg;

	while (!*over)
		co_sleep(1000000);
}

static void fill(void *arg)
{
	while (co_spawn(wait_for, arg))
		;
}

static void body_remote(void *arg)
{
	struct io_thread *ran_on = NULL;
	bool over = false;

	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(co_run_on(thread_by_index(i), elsewhere, &ran_on));
		CU_ASSERT_PTR_EQUAL(ran_on, thread_by_index(i));
	}
	/* no stack left there */
	co_call(thread_by_index(1), fill, &over);
	CU_ASSERT(!co_run_on(thread_by_index(1), elsewhere, &ran_on));
	over = true;
	while (!co_run_on(thread_by_index(1), elsewhere, &ran_on))
		co_sleep(1000000);
}

static void test_remote(void)
{
	for (uint64_t seed = 0; seed < 3; seed++)
		test_run(2, seed, body_remote, NULL);
}

TEST_MAIN("graph-children",
	  TEST(test_list),
	  TEST(test_list_names),
	  TEST(test_list_errors),
	  TEST(test_flush),
	  TEST(test_threads),
	  TEST(test_remote))
