/* SPDX-License-Identifier: MIT */
/*
 * driver-quorum.c - one disk in several images: who is outvoted, fails, or is
 * written anew, what is told of it, and children that come and go under load.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/report.h"
#include "graph/status.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define MS UINT64_C(1000000)
#define SIZE 65536u
#define SEEDS 40u

static struct node *q;
static unsigned heards[REPORT_VOTE + 1];
static struct report heard;

static void note_report(const struct report *report)
{
	heard = *report;
	heards[report->kind]++;
}

static unsigned told(enum report_kind kind)
{
	unsigned n;

	co_sleep(MS);
	n = heards[kind];
	heards[kind] = 0;
	return n;
}

/* Children c0, c1, ... below node q. */
static struct root *open_quorum(unsigned count, const char *more)
{
	char text[2000] = "{'driver':'quorum','node-name':'q','discard':"
			  "'unmap',", child[100];

	toy_start();
	memset(heards, 0, sizeof(heards));
	report_set_listener(note_report);
	strcat(text, more);
	strcat(text, ",'children':[");
	for (unsigned i = 0; i < count; i++) {
		snprintf(child, sizeof(child), "%s{'driver':'toy','node-name':"
			 "'c%u','size':65536}", i ? "," : "", i);
		strcat(text, child);
	}
	strcat(text, "]}");
	q = toy_open(text);
	return toy_root("export 'q'", q, true, 1);
}

static void end_quorum(struct root *root)
{
	root_free(root);
	report_set_listener(NULL);
}

static struct toy *child(unsigned i)
{
	char name[8];

	snprintf(name, sizeof(name), "c%u", i);
	return toy_of(node_find(name));
}

static int read_at(struct root *root, uint64_t offset, char *byte)
{
	char buf[512];
	int ret = toy_request(root, REQ_READ, offset, sizeof(buf), buf, 0);

	*byte = buf[0];
	return ret;
}

SIM_TEST(all_get_what_is_written)
{
	struct root *root = open_quorum(3, "'vote-threshold':2");
	static char data[SIZE], back[SIZE];

	for (unsigned i = 0; i < SIZE; i++)
		data[i] = (char)(i * 5 + i / 256);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, SIZE, data, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 512, 512, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 0, 512, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, SIZE, back, 0), 0);
	memset(data + 512, 0, 512);
	CU_ASSERT(!memcmp(data, back, SIZE));
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(!memcmp(child(i)->data, data, SIZE));
		CU_ASSERT_EQUAL(child(i)->discards, 0);
	}
	/* once each, and the graph flushes none of them again */
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(child(i)->flushes, 1);
	CU_ASSERT_EQUAL(told(REPORT_CHILD) + told(REPORT_VOTE), 0);
	/* G2: none of them is what it shows */
	CU_ASSERT_PTR_NULL(node_primary_child(q));
	end_quorum(root);
}

SIM_TEST(one_is_outvoted)
{
	struct root *root = open_quorum(3, "'vote-threshold':2");
	char byte;

	child(0)->data[1024] = 7;
	CU_ASSERT_EQUAL(read_at(root, 1024, &byte), 0);
	CU_ASSERT_EQUAL(byte, 0);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 1);
	CU_ASSERT_STRING_EQUAL(heard.child, "c0");
	CU_ASSERT_STRING_EQUAL(heard.node, "q");
	CU_ASSERT_EQUAL(heard.error, 0);
	CU_ASSERT_EQUAL(heard.offset, 1024);
	/* it stays as it is */
	CU_ASSERT_EQUAL(child(0)->data[1024], 7);
	/* all different: nobody has two votes */
	child(1)->data[1024] = 8;
	CU_ASSERT_EQUAL(read_at(root, 1024, &byte), -EIO);
	CU_ASSERT_EQUAL(told(REPORT_VOTE), 1);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 0);
	end_quorum(root);
}

SIM_TEST(equal_votes)
{
	struct root *root = open_quorum(4, "'vote-threshold':2");
	char byte;

	child(0)->data[0] = child(1)->data[0] = 7;
	CU_ASSERT_EQUAL(read_at(root, 0, &byte), 0);
	CU_ASSERT_EQUAL(byte, 0);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 2);
	end_quorum(root);
}

SIM_TEST(the_outvoted_is_rewritten)
{
	struct root *root = open_quorum(3, "'vote-threshold':2,"
					"'rewrite-corrupted':true");
	char byte;

	child(1)->data[1024] = 7;
	child(1)->data[1535] = 9;
	CU_ASSERT_EQUAL(read_at(root, 1024, &byte), 0);
	CU_ASSERT_EQUAL(child(1)->data[1024] | child(1)->data[1535], 0);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 1);
	CU_ASSERT_EQUAL(child(0)->writes + child(2)->writes, 0);
	/* it cannot be: the read is right all the same */
	child(1)->data[1024] = 7;
	toy_wishes.fail_write = -EIO;
	CU_ASSERT_EQUAL(read_at(root, 1024, &byte), 0);
	CU_ASSERT_EQUAL(byte, 0);
	toy_wishes.fail_write = 0;
	CU_ASSERT_EQUAL(read_at(root, 1024, &byte), 0);
	CU_ASSERT_EQUAL(child(1)->data[1024], 0);
	end_quorum(root);
}

SIM_TEST(one_fails)
{
	struct root *root = open_quorum(3, "'vote-threshold':2");
	char buf[512], byte;

	memset(buf, 4, sizeof(buf));
	toy_wishes.fails = "c2";
	toy_wishes.fail_read = toy_wishes.fail_write = -ENODEV;
	toy_wishes.fail_flush = -ENODEV;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 1);
	CU_ASSERT(heard.op == REQ_WRITE && heard.error == ENODEV);
	CU_ASSERT_EQUAL(read_at(root, 0, &byte), 0);
	CU_ASSERT_EQUAL(byte, 4);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 1);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 1);
	CU_ASSERT_EQUAL(heard.op, REQ_FLUSH);
	CU_ASSERT_STRING_EQUAL(heard.child, "c2");
	/* all of them */
	toy_wishes.fails = NULL;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), -ENODEV);
	CU_ASSERT_EQUAL(told(REPORT_VOTE), 1);
	CU_ASSERT_EQUAL(read_at(root, 0, &byte), -ENODEV);
	CU_ASSERT_EQUAL(told(REPORT_VOTE), 1);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), -ENODEV);
	CU_ASSERT_EQUAL(told(REPORT_VOTE), 0);
	end_quorum(root);
}

SIM_TEST(threshold_is_not_reached)
{
	struct root *root = open_quorum(3, "'vote-threshold':3");
	char buf[512] = { 0 }, byte;

	toy_wishes.fails = "c0";
	toy_wishes.fail_write = -ENOSPC;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), -ENOSPC);
	CU_ASSERT_EQUAL(told(REPORT_VOTE), 1);
	child(1)->data[0] = 1;
	CU_ASSERT_EQUAL(read_at(root, 0, &byte), -EIO);
	CU_ASSERT_EQUAL(told(REPORT_VOTE), 1);
	end_quorum(root);
}

SIM_TEST(two_that_must_be_the_same)
{
	struct root *root = open_quorum(2, "'vote-threshold':2,"
					"'blkverify':true");
	char byte;

	child(1)->data[1030] = 1;
	CU_ASSERT_EQUAL(read_at(root, 1024, &byte), -EIO);
	CU_ASSERT_EQUAL(told(REPORT_BYTES), 1);
	CU_ASSERT_EQUAL(heard.at, 1030);
	end_quorum(root);
}

SIM_TEST(the_first_that_can)
{
	struct root *root = open_quorum(3, "'vote-threshold':2,"
					"'read-pattern':'fifo'");
	char byte;

	child(0)->data[0] = 1;
	child(1)->data[0] = 2;
	CU_ASSERT_EQUAL(read_at(root, 0, &byte), 0);
	CU_ASSERT_EQUAL(byte, 1);
	CU_ASSERT_EQUAL(child(1)->reads, 0);
	toy_wishes.fails = "c0";
	toy_wishes.fail_read = -EIO;
	CU_ASSERT_EQUAL(read_at(root, 0, &byte), 0);
	CU_ASSERT_EQUAL(byte, 2);
	CU_ASSERT_EQUAL(told(REPORT_CHILD), 1);
	CU_ASSERT_STRING_EQUAL(heard.child, "c0");
	end_quorum(root);
}

SIM_TEST(status)
{
	struct root *root = open_quorum(2, "'vote-threshold':1");
	struct status status;

	child(1)->data[1024] = 1;
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 0, SIZE, &status, 0), 0);
	CU_ASSERT_EQUAL(status.flags, STATUS_ZERO);
	CU_ASSERT_EQUAL(status.len, 1024);
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 1024, SIZE - 1024,
				    &status, 0), 0);
	CU_ASSERT_EQUAL(status.flags, STATUS_DATA);
	CU_ASSERT_EQUAL(status.len, 512);
	end_quorum(root);
}

/* ---- children that come and go ---- */

static int change_child(const char *comes, const char *goes, char *said)
{
	struct actions all = { NULL };
	struct error *err = NULL;
	int ret = co_action_add(&all, comes ?
		action_add_child(q, node_find(comes)) :
		action_del_child(q, goes), &err);

	if (ret < 0)
		co_actions_give_up(&all);
	else
		ret = co_actions_commit(&all, NULL, &err);
	snprintf(said, 200, "%s", err ? err->text : "");
	error_clear(&err);
	return ret;
}

static struct node *open_child(const char *name, unsigned size)
{
	char text[100];

	snprintf(text, sizeof(text), "{'driver':'toy','node-name':'%s','size':"
		 "%u}", name, size);
	return toy_open(text);
}

SIM_TEST(come_and_go)
{
	struct root *root = open_quorum(2, "'vote-threshold':2");
	struct node *third = open_child("c2", SIZE);
	struct node *small = open_child("small", 512);
	static char buf[512];
	char said[200], byte;

	CU_ASSERT(change_child(NULL, "children.0", said) < 0);
	CU_ASSERT_STRING_EQUAL(said, "The number of children cannot be lower"
			       " than the vote threshold 2 of quorum 'q'");
	CU_ASSERT(change_child("small", NULL, said) < 0);
	CU_ASSERT_STRING_EQUAL(said, "Child 'small' of quorum 'q' has 512"
			       " bytes, and the others have 65536");
	CU_ASSERT(change_child("c0", NULL, said) < 0);
	CU_ASSERT_STRING_EQUAL(said, "The node c0 already has a parent");
	CU_ASSERT(change_child("q", NULL, said) < 0);
	CU_ASSERT_EQUAL(change_child("c2", NULL, said), 0);
	CU_ASSERT_STRING_EQUAL(third->parents->name, "children.2");
	toy_give(third);
	memset(buf, 3, sizeof(buf));
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(child(2)->data[0], 3);
	/* what goes is closed, flushed first */
	CU_ASSERT_EQUAL(change_child(NULL, "children.0", said), 0);
	co_sleep(MS);
	CU_ASSERT_PTR_NULL(node_find("c0"));
	CU_ASSERT_EQUAL(read_at(root, 0, &byte), 0);
	CU_ASSERT_EQUAL(byte, 3);
	CU_ASSERT(change_child(NULL, "children.0", said) < 0);
	CU_ASSERT_STRING_EQUAL(said, "Node 'q' does not have child"
			       " 'children.0'");
	toy_let_go(small);
	end_quorum(root);
}

/* B8: two in one change, or none. */
SIM_TEST(two_at_once)
{
	struct root *root = open_quorum(2, "'vote-threshold':2");
	struct node *third = open_child("c2", SIZE);
	struct node *fourth = open_child("c3", SIZE);
	struct actions all = { NULL };
	struct error *err = NULL;

	CU_ASSERT_EQUAL(co_action_add(&all, action_add_child(q, third), &err),
			0);
	CU_ASSERT_EQUAL(co_action_add(&all, action_del_child(q, "children.0"),
				      &err), 0);
	CU_ASSERT_EQUAL(co_action_add(&all, action_add_child(q, fourth),
				      &err), 0);
	CU_ASSERT_EQUAL(co_action_add(&all, action_del_child(q, "children.1"),
				      &err), 0);
	CU_ASSERT_EQUAL(co_actions_commit(&all, NULL, &err), 0);
	CU_ASSERT_STRING_EQUAL(third->parents->name, "children.2");
	CU_ASSERT_STRING_EQUAL(fourth->parents->name, "children.3");
	/* the second may not go: the first stays too */
	CU_ASSERT_EQUAL(co_action_add(&all, action_del_child(q, "children.2"),
				      &err), 0);
	CU_ASSERT_EQUAL(co_action_add(&all, action_del_child(q, "children.3"),
				      &err), 0);
	CU_ASSERT(co_actions_commit(&all, NULL, &err) < 0);
	error_clear(&err);
	CU_ASSERT_PTR_NOT_NULL(third->parents);
	CU_ASSERT_PTR_NOT_NULL(fourth->parents);
	toy_give(third);
	toy_give(fourth);
	end_quorum(root);
}

struct user {
	struct crew_member member;
	struct root *root;
	unsigned thread;
	bool *over;
};

static void use(void *arg)
{
	struct user *u = arg;
	char buf[1024], back[1024];

	while (!*u->over) {
		uint64_t at = 1024 * u->thread +
			      256 * sim_random_below(4);

		memset(buf, (int)sim_random_below(256), sizeof(buf));
		CU_ASSERT_EQUAL(toy_request(u->root, REQ_WRITE, at, 1024, buf,
					    0), 0);
		CU_ASSERT_EQUAL(toy_request(u->root, REQ_READ, at, 1024, back,
					    0), 0);
		co_sleep(sim_random_below(2000));
	}
}

/* Under load on two threads, whose writes overlap: those that are children all
 * the time stay the same, and every read finds enough that agree, while others,
 * which are empty, come and go. */
static void body_under_load(void *arg)
{
	struct user users[4];
	struct crew crew = { 0 };
	struct root *root = open_quorum(3, "'vote-threshold':2");
	bool over = false;
	char said[200];

	(void)arg;
	for (unsigned i = 0; i < 4; i++) {
		users[i].root = root;
		users[i].thread = 1 + i % 2;
		users[i].over = &over;
		crew_start(&crew, &users[i].member, 1 + i % 2, use, &users[i]);
	}
	for (unsigned i = 0; i < 6; i++) {
		char name[16];
		struct node *more;

		snprintf(name, sizeof(name), "m%u", i);
		more = open_child(name, SIZE);
		co_sleep(MS);
		CU_ASSERT_EQUAL(change_child(name, NULL, said), 0);
		toy_give(more);
		co_sleep(MS);
		CU_ASSERT_EQUAL(change_child(NULL, "children.3", said), 0);
	}
	over = true;
	crew_wait(&crew);
	CU_ASSERT(!memcmp(child(0)->data, child(1)->data, SIZE));
	CU_ASSERT(!memcmp(child(0)->data, child(2)->data, SIZE));
	CU_ASSERT_EQUAL(told(REPORT_VOTE), 0);
	end_quorum(root);
}

static void under_load(void)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		test_run(2, seed, body_under_load, NULL);
}

/* Reads that rewrite, beside writes of the same place: what was written last is
 * what all of them have. */
#define RIVALS 24u

static void rival(void *arg)
{
	struct user *u = arg;
	char buf[512];
	bool reads = sim_random_below(2);

	memset(buf, (int)sim_random_below(256), sizeof(buf));
	CU_ASSERT_EQUAL(toy_request(u->root, reads ? REQ_READ : REQ_WRITE, 0,
				    512, buf, 0), 0);
}

static void body_rewrite(void *arg)
{
	struct user users[RIVALS];
	struct crew crew = { 0 };
	struct root *root = open_quorum(3, "'vote-threshold':2,"
					"'rewrite-corrupted':true");
	char byte;

	(void)arg;
	child(1)->data[3] = 1;
	for (unsigned i = 0; i < RIVALS; i++) {
		users[i].root = root;
		crew_start(&crew, &users[i].member, 1 + i % 2, rival,
			   &users[i]);
	}
	crew_wait(&crew);
	/* where nobody wrote nor read */
	if (child(1)->data[3] == 1)
		CU_ASSERT_EQUAL(read_at(root, 0, &byte), 0);
	CU_ASSERT(!memcmp(child(0)->data, child(1)->data, SIZE));
	CU_ASSERT(!memcmp(child(0)->data, child(2)->data, SIZE));
	end_quorum(root);
}

static void rewrite(void)
{
	for (uint64_t seed = 0; seed < 3 * SEEDS; seed++)
		test_run(2, seed, body_rewrite, NULL);
}

TEST_MAIN("quorum",
	  TEST(all_get_what_is_written),
	  TEST(one_is_outvoted),
	  TEST(equal_votes),
	  TEST(the_outvoted_is_rewritten),
	  TEST(one_fails),
	  TEST(threshold_is_not_reached),
	  TEST(two_that_must_be_the_same),
	  TEST(the_first_that_can),
	  TEST(status),
	  TEST(come_and_go),
	  TEST(two_at_once),
	  TEST(under_load),
	  TEST(rewrite))
