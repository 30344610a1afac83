/* SPDX-License-Identifier: MIT */
/*
 * driver-blkdebug.c - what rules fail, and when; the limits that are asked for
 * are kept for what is below (D5); what had to wait further down is asked about
 * once (A34).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/drivers.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define KB 1024u

static char buf[256 * KB];

static struct node *open_debug(const char *options, const char *below)
{
	char text[900];

	snprintf(text, sizeof(text), "{'driver':'blkdebug','node-name':'b',"
		 "'discard':'unmap',%s,'image':{'driver':'%s','discard':"
		 "'unmap'%s}}", options, below, strcmp(below, "toy") ?
		 ",'file':{'driver':'toy','node-name':'t'}" :
		 ",'node-name':'t'");
	return toy_open(text);
}

static struct root *debug_root(const char *options)
{
	toy_start();
	driver_register(&blkdebug_driver);
	return toy_root("e", open_debug(options, "toy"), true, 512);
}

static struct toy *below(void)
{
	return toy_of(node_find("t"));
}

static int do_op(struct root *root, enum req_op op, uint64_t offset,
		 uint32_t len)
{
	return toy_request(root, op, offset, len, buf, 0);
}

SIM_TEST(a_rule_without_event_fails_its_operations)
{
	struct root *root = debug_root("'inject-error':[{'event':'none',"
				       "'iotype':'write','errno':28}]");

	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 0, 512), -ENOSPC);
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 4096, 4096), -ENOSPC);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_ZEROES, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_DISCARD, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_FLUSH, 0, 0), 0);
	CU_ASSERT_EQUAL(below()->writes, 0);
	root_free(root);
}

SIM_TEST(each_kind_of_operation_has_a_name)
{
	static const struct {
		const char *name;
		enum req_op op;
	} kinds[] = {
		{ "read", REQ_READ }, { "write", REQ_WRITE },
		{ "write-zeroes", REQ_ZEROES }, { "discard", REQ_DISCARD },
		{ "flush", REQ_FLUSH },
	};

	toy_start();
	driver_register(&blkdebug_driver);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct root *root;
		char text[200];

		snprintf(text, sizeof(text), "'inject-error':[{'event':'none',"
			 "'iotype':'%s'}]", kinds[i].name);
		root = toy_root("e", open_debug(text, "toy"), true, 512);
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
			enum req_op op = kinds[k].op;

			CU_ASSERT_EQUAL(do_op(root, op, 0, op == REQ_FLUSH ?
					      0 : 512), i == k ? -EIO : 0);
		}
		root_free(root);
	}
}

SIM_TEST(a_sector_and_once)
{
	struct root *root = debug_root("'inject-error':[{'event':'none',"
				       "'sector':9,'once':true},{'event':"
				       "'none','sector':100}]");

	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 4096, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 5120, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_FLUSH, 0, 0), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 4608, 512), -EIO);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 4608, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 100 * 512, 512), -EIO);
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 96 * 512, 4096), -EIO);
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 101 * 512, 4096), 0);
	root_free(root);
}

/* Reads fail from the second write on, until a flush. */
SIM_TEST(states_follow_events)
{
	struct root *root = debug_root(
		"'inject-error':[{'event':'read_aio','state':3,'errno':7},"
		"{'event':'read_aio','state':4,'errno':0}],"
		"'set-state':[{'event':'write_aio','state':1,'new_state':2},"
		"{'event':'write_aio','state':2,'new_state':3},"
		"{'event':'flush_to_disk','new_state':4}]");

	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 0, 512), -E2BIG);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 0, 512), -E2BIG);
	/* in effect for all that is done, until others are */
	CU_ASSERT_EQUAL(do_op(root, REQ_DISCARD, 0, 512), -E2BIG);
	CU_ASSERT_EQUAL(do_op(root, REQ_FLUSH, 0, 0), -E2BIG);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_FLUSH, 0, 0), 0);
	root_free(root);
}

SIM_TEST(an_ended_write_is_an_event)
{
	struct root *root = debug_root(
		"'set-state':[{'event':'pwritev_done','new_state':2}],"
		"'inject-error':[{'event':'pwritev','state':2},"
		"{'event':'pwritev_zero','state':2,'errno':6}]");

	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 0, 512), 0);
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 0, 512), -EIO);
	CU_ASSERT_EQUAL(do_op(root, REQ_ZEROES, 0, 512), -ENXIO);
	root_free(root);
}

/* D5: the graph keeps them, so what is below never sees more. */
SIM_TEST(limits_hold_for_all_that_passes)
{
	struct root *root = debug_root("'align':4096,'max-transfer':16384");
	struct toy *toy = below();

	CU_ASSERT_EQUAL(node_find("b")->limits.align, 4096);
	memset(buf, 1, sizeof(buf));
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 0, 64 * KB), 0);
	CU_ASSERT_EQUAL(toy->writes, 4);
	CU_ASSERT_EQUAL(do_op(root, REQ_READ, 0, 64 * KB), 0);
	CU_ASSERT_EQUAL(toy->reads, 4);
	/* its block is read, and written whole */
	memset(buf, 2, sizeof(buf));
	CU_ASSERT_EQUAL(do_op(root, REQ_WRITE, 512, 512), 0);
	CU_ASSERT_EQUAL(toy->writes, 5);
	CU_ASSERT_EQUAL(toy->reads, 5);
	CU_ASSERT(toy->data[511] == 1 && toy->data[512] == 2);
	CU_ASSERT(toy->data[1023] == 2 && toy->data[1024] == 1);
	root_free(root);
}

/* Zeroes that do not fill a unit are written; such discards do nothing. */
SIM_TEST(zeroes_and_discards_come_in_units)
{
	struct root *root = debug_root(
		"'opt-write-zero':4096,'max-write-zero':8192,"
		"'opt-discard':8192,'max-discard':16384");
	struct toy *toy = below();

	memset(toy->data, 1, 64 * KB);
	CU_ASSERT_EQUAL(do_op(root, REQ_ZEROES, 512, 20 * KB), 0);
	/* 3584 bytes are written, then 8 KB, 8 KB, and 512 bytes */
	CU_ASSERT_EQUAL(toy->zeroes, 2);
	CU_ASSERT_EQUAL(toy->writes, 2);
	for (unsigned i = 0; i < 21 * KB; i++)
		if (toy->data[i] != (i < 512 || i >= 512 + 20 * KB)) {
			CU_FAIL("other bytes are zeroes");
			break;
		}
	CU_ASSERT_EQUAL(do_op(root, REQ_DISCARD, 4096, 44 * KB), 0);
	/* 4 KB are left alone; 16, 16 and 8 KB */
	CU_ASSERT_EQUAL(toy->discards, 3);
	root_free(root);
}

struct wait_test {
	struct root *root;
	uint32_t ret;
};

static void wait_write(void *arg)
{
	struct wait_test *t = arg;

	CU_ASSERT_EQUAL(do_op(t->root, REQ_WRITE, 0, 512), 0);
}

static void wait_give(void *arg)
{
	struct node *throttle = node_find("below");

	(void)arg;
	while (!wait_turn_first(throttle, 0))
		co_yield();
	toy_throttle_give(throttle, 4096);
}

/* A34: the write goes back to wait, and comes again; it is one event. */
SIM_TEST(what_waits_below_is_one_event)
{
	struct crew_member members[2];
	struct crew crew = { .working = 0 };
	struct wait_test t = { .ret = 0 };

	toy_start();
	driver_register(&blkdebug_driver);
	t.root = toy_root("e", toy_open(
		"{'driver':'blkdebug','node-name':'b','set-state':["
		"{'event':'write_aio','state':1,'new_state':2},"
		"{'event':'write_aio','state':2,'new_state':3}],"
		"'inject-error':[{'event':'read_aio','state':3}],"
		"'image':{'driver':'toy-throttle','node-name':'below',"
		"'file':{'driver':'toy'}}}"), true, 512);
	crew_start(&crew, &members[0], 1, wait_write, &t);
	crew_start(&crew, &members[1], 1, wait_give, &t);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(do_op(t.root, REQ_READ, 0, 512), 0);
	root_free(t.root);
}

/* P1: it takes more of its child than those above ask for. */
SIM_TEST(permissions_are_taken_and_not_shared)
{
	struct root *root = debug_root("'take-child-perms':['resize'],"
				       "'unshare-child-perms':['write',"
				       "'write-unchanged']");
	const struct edge *e = node_find("b")->file;

	CU_ASSERT_STRING_EQUAL(e->name, "image");
	CU_ASSERT(e->perm & PERM_RESIZE);
	CU_ASSERT_EQUAL(e->shared, PERM_CONSISTENT_READ | PERM_RESIZE);
	root_free(root);
}

static void assert_refused(const char *options, const char *why)
{
	char text[400];
	char *said;

	snprintf(text, sizeof(text), "{'driver':'blkdebug','node-name':'b',"
		 "%s,'image':{'driver':'toy'}}", options);
	said = toy_open_error(text);
	CU_ASSERT(said && strstr(said, why));
	if (said && !strstr(said, why))
		fprintf(stderr, "%s\n", said);
	free(said);
}

SIM_TEST(what_cannot_be_is_refused)
{
	toy_start();
	driver_register(&blkdebug_driver);
	assert_refused("'align':1000", "with align 1000 of node 'b'");
	assert_refused("'align':131072", "power of 2 up to 65536");
	assert_refused("'align':4096,'max-transfer':6144",
		       "with max-transfer 6144");
	assert_refused("'align':4096,'opt-write-zero':512",
		       "with opt-write-zero 512");
	assert_refused("'opt-write-zero':4096,'max-write-zero':6144",
		       "with max-write-zero 6144");
	assert_refused("'max-discard':2147483648", "max-discard 2147483648");
	assert_refused("'inject-error':[{}]", "'event' is missing");
	assert_refused("'inject-error':[{'event':'none','x':1}]",
		       "'x' is unexpected");
	assert_refused("'inject-error':[7]", "'inject-error', expected: obj");
	assert_refused("'inject-error':{}", "'inject-error', expected: array");
	assert_refused("'inject-error':[{'event':'none','errno':5000}]",
		       "'errno' is 5000");
	assert_refused("'set-state':[{'event':'none'}]",
		       "'new_state' is missing");
	assert_refused("'take-child-perms':['all']",
		       "'take-child-perms' does not accept value 'all'");
	assert_refused("'take-child-perms':[1]",
		       "'take-child-perms', expected: array");
}

TEST_MAIN("blkdebug", TEST(a_rule_without_event_fails_its_operations),
	  TEST(each_kind_of_operation_has_a_name), TEST(a_sector_and_once),
	  TEST(states_follow_events), TEST(an_ended_write_is_an_event),
	  TEST(limits_hold_for_all_that_passes),
	  TEST(zeroes_and_discards_come_in_units),
	  TEST(what_waits_below_is_one_event),
	  TEST(permissions_are_taken_and_not_shared),
	  TEST(what_cannot_be_is_refused))
