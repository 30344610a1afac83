/* SPDX-License-Identifier: MIT */
/*
 * What all export types share: ids, options, order of calls, and that nothing
 * is left when a step fails (A18).
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/export.h"
#include "runtime/co.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

struct door_opts {
	uint32_t queues;
};

struct door_state {
	bool opened;
};

static const struct root_ops door_root_ops = {
	.kind = "export",
	.gated = true,
};
static unsigned opens, starts, stops, closes;
static int fail_open, fail_start, fail_stop;
static bool gets_stuck;
static uint64_t open_ns;

static int door_open(struct export *exp, struct node *node, struct error **err)
{
	struct door_state *s = exp->state;
	const struct door_opts *opts = exp->opts;

	if (open_ns)
		co_sleep(open_ns);
	if (fail_open && gets_stuck)
		export_set_stuck(exp);
	if (fail_open)
		return error_set(err, -fail_open, "no door");
	CU_ASSERT_EQUAL(opts->queues, 2);
	if (!export_root_new(exp, &door_root_ops, NULL, node, PERM_ALL, 512, 2,
			     err))
		return -EPERM;
	s->opened = true;
	opens++;
	return 0;
}

static int door_start(struct export *exp, struct error **err)
{
	if (gets_stuck)
		export_set_stuck(exp);
	if (fail_start)
		return error_set(err, -fail_start, "the door is stuck");
	starts++;
	return 0;
}

static int door_stop(struct export *exp, enum export_stop mode,
		     struct error **err)
{
	(void)exp;
	if (fail_stop && mode == EXPORT_STOP_SAFE)
		return error_set(err, -fail_stop, "somebody is in the door");
	stops++;
	return 0;
}

static bool fails_in_close;

static void fail_requests(void *arg)
{
	struct root *root = arg;
	char buf[1024] = "";

	toy_wishes.fail_write = -ENOSPC;
	toy_wishes.no_zeroes = toy_wishes.no_discard = true;
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 512 * i, 1024,
					    buf, 0), -ENOSPC);
	/* advice and questions fail nobody's data */
	CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 0, 512, NULL, REQ_FAST),
			-ENOTSUP);
	CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 0, 512, NULL, 0), 0);
	toy_wishes.fail_write = 0;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	toy_wishes.fail_read = -EIO;
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 512, 512, buf, 0), -EIO);
	toy_wishes.fail_read = 0;
}

static void fail_unheard(void *arg)
{
	struct root *root = arg;
	struct request req = {
		.op = REQ_WRITE, .len = 512, .gate = &root->gates[1],
	};

	failure_note(&req, -ENOSPC, false);
	root_failures_listen(root);
	CU_ASSERT_EQUAL(root->gates[1].failures.telling, FAILURES_TOLD);
	failure_note(&req, -ENOSPC, false);
}

static void requests_fail(struct export *exp)
{
	struct crew_member member = { 0 };
	struct crew crew = { 0 };

	crew_start(&crew, &member, 1, fail_requests, exp->root);
	crew_wait(&crew);
}

static int door_close(struct export *exp, struct error **err)
{
	struct door_state *s = exp->state;

	if (exp->stand_in)
		return 0;
	CU_ASSERT(s->opened);
	closes++;
	if (fails_in_close)
		requests_fail(exp);
	return co_export_root_end(exp, exp->root, err);
}

/* "+" or "-" for each time that it was shown so. */
static char shown_writable[16];
static bool fails_to_show;

static int door_show_writable(struct export *exp, bool writable,
			      struct error **err)
{
	(void)exp;
	if (fails_to_show)
		return error_set(err, EIO, "nobody looks");
	strcat(shown_writable, writable ? "+" : "-");
	return 0;
}

static const struct option door_options[] = {
	{ .name = "queues", .type = OPT_UINT, .def = "2",
	  .offset = offsetof(struct door_opts, queues) },
	{ .name = NULL },
};

static const struct export_type door = {
	.name = "door",
	.state_size = sizeof(struct door_state),
	.options = door_options,
	.options_size = sizeof(struct door_opts),
	.open = door_open,
	.start = door_start,
	.stop = door_stop,
	.show_writable = door_show_writable,
	.close = door_close,
};

static struct export *add(const char *id, const char *extra,
			  const char *sentence)
{
	json_t *options = json_pack("{s:s, s:s, s:s, s:b}", "type", "door",
				    "id", id, "node-name", "n", "writable", 1);
	struct error *err = NULL;
	struct export *exp;

	if (extra)
		json_object_set_new(options, extra, json_string("r"));
	exp = export_add(options, &err);
	json_decref(options);
	CU_ASSERT_EQUAL(exp == NULL, sentence != NULL);
	if (!exp) {
		CU_ASSERT_STRING_EQUAL(err->text, sentence ? sentence : "");
		error_clear(&err);
	}
	return exp;
}

static void ask(void *arg)
{
	struct export *exp = arg;

	co_sleep(5000000);
	CU_ASSERT_EQUAL(closes, 1);
	CU_ASSERT_PTR_NULL(export_find("a"));
	CU_ASSERT_PTR_NOT_NULL(exp->root);
	export_put(exp, "query");
}

SIM_TEST(test_export)
{
	struct error *err = NULL;
	struct export *exp;
	struct node *node, *ro;
	bool spawned;

	toy_start();
	export_type_register(&door);
	export_type_register(&door);
	node = toy_open("{\"driver\":\"toy\",\"node-name\":\"n\"}");
	ro = toy_open("{\"driver\":\"toy\",\"node-name\":\"r\","
		      "\"read-only\":true}");
	add("1x", NULL, "Invalid block export id");
	add("a b", NULL, "Invalid block export id");
	add("a", "colour", "Parameter 'colour' is unexpected");
	add("a", "type", "Parameter 'type' does not accept value 'r'");
	add("a", "node-name", "Cannot export read-only node as writable: 'r'");
	fail_open = -ENODEV;
	add("a", NULL, "no door");
	fail_open = 0;
	fail_start = -EBUSY;
	add("a", NULL, "the door is stuck");
	fail_start = 0;
	/* opened and closed again, and nothing holds the node */
	CU_ASSERT_EQUAL(opens, 1);
	CU_ASSERT_EQUAL(closes, 1);
	CU_ASSERT_PTR_NULL(node->parents);
	CU_ASSERT_PTR_NULL(export_each(NULL));
	exp = add("a", NULL, NULL);
	CU_ASSERT(exp->life == EXPORT_RUNNING && exp->writable);
	CU_ASSERT_PTR_EQUAL(export_find("a"), exp);
	add("a", NULL, "Block export id 'a' is already in use");
	CU_ASSERT(export_del("b", EXPORT_STOP_SAFE, NULL, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err->text, "Export 'b' is not found");
	error_clear(&err);
	fail_stop = -EBUSY;
	CU_ASSERT_EQUAL(export_del("a", EXPORT_STOP_SAFE, NULL, &err),
			-EBUSY);
	error_clear(&err);
	CU_ASSERT(exp->life == EXPORT_RUNNING && node->parents);
	/* a query that is under way is waited for */
	export_get(exp, "query");
	spawned = co_spawn(ask, exp);
	CU_ASSERT(spawned);
	CU_ASSERT_EQUAL(export_del("a", EXPORT_STOP_HARD, NULL, &err), 0);
	CU_ASSERT_EQUAL(closes, 2);
	CU_ASSERT_PTR_NULL(export_find("a"));
	CU_ASSERT_PTR_NULL(node->parents);
	toy_let_go(node);
	toy_let_go(ro);
}

/* What an export's listener hears. */
static unsigned told, told_ending;

static void hear_gone(const char *id)
{
	CU_ASSERT_EQUAL(told_ending, 1);
	CU_ASSERT_STRING_EQUAL(id, "a");
}

static void hear_failed(struct export *exp, bool ending)
{
	struct failure sum[FAILURE_CAUSES];

	told += !ending;
	told_ending += ending;
	if (ending)
		CU_ASSERT_EQUAL(root_failures(exp->root, sum), 2);
}

/* Requests that failed are counted by cause, and main is told once for each
 * time it asks. */
SIM_TEST(test_failures)
{
	static const struct export_listener listener = {
		.gone = hear_gone,
		.failed = hear_failed,
	};
	struct failure sum[FAILURE_CAUSES];
	struct crew_member member = { 0 };
	struct crew crew = { 0 };
	struct node *node;
	struct export *exp;

	toy_start();
	export_type_register(&door);
	export_set_listener(&listener);
	told = told_ending = 0;
	node = toy_open("{\"driver\":\"toy\",\"node-name\":\"n\"}");
	exp = add("a", NULL, NULL);
	requests_fail(exp);
	co_sleep(1000000);
	CU_ASSERT_EQUAL(told, 1);
	CU_ASSERT_EQUAL(root_failures(exp->root, sum), 2);
	CU_ASSERT(sum[0].op == REQ_WRITE && sum[0].error == ENOSPC);
	CU_ASSERT(sum[0].count == 5 && sum[0].bytes == 5120);
	CU_ASSERT(sum[0].offset == 0 && sum[0].len == 1024);
	CU_ASSERT(sum[1].op == REQ_READ && sum[1].error == EIO);
	CU_ASSERT(sum[1].count == 1 && sum[1].offset == 512);
	requests_fail(exp);
	co_sleep(1000000);
	CU_ASSERT_EQUAL(told, 1);
	root_failures_listen(exp->root);
	requests_fail(exp);
	co_sleep(1000000);
	CU_ASSERT_EQUAL(told, 2);
	CU_ASSERT_EQUAL(root_failures_count(exp->root), 18);
	/* asked again before it has heard: there is one message */
	root_failures_listen(exp->root);
	crew_start(&crew, &member, 1, fail_unheard, exp->root);
	crew_wait(&crew);
	co_sleep(1000000);
	CU_ASSERT_EQUAL(told, 3);
	/* the end is the last that is heard */
	root_failures_listen(exp->root);
	fails_in_close = true;
	CU_ASSERT_EQUAL(export_del("a", EXPORT_STOP_HARD, NULL, NULL), 0);
	fails_in_close = false;
	CU_ASSERT_EQUAL(told, 3);
	CU_ASSERT_EQUAL(told_ending, 1);
	export_set_listener(NULL);
	toy_let_go(node);
}

static struct export *add_sharing(const char *id, bool writable,
				  bool exclusive, const char *refusal)
{
	json_t *options = json_pack("{s:s, s:s, s:s, s:b, s:b}", "type",
				    "door", "id", id, "node-name", "n",
				    "writable", writable, "exclusive",
				    exclusive);
	struct error *err = NULL;
	struct export *exp = export_add(options, &err);

	json_decref(options);
	CU_ASSERT_EQUAL(exp == NULL, refusal != NULL);
	if (!exp && refusal)
		CU_ASSERT_PTR_NOT_NULL(strstr(err->text, refusal));
	error_clear(&err);
	return exp;
}

static void del(const char *id)
{
	struct error *err = NULL;

	CU_ASSERT_EQUAL(export_del(id, EXPORT_STOP_HARD, NULL, &err), 0);
}

/* A6: what the kernel keeps of a start that failed is shown, its id is not used
 * again, and it goes when the kernel has let go of it. */
SIM_TEST(test_a_start_that_is_stuck)
{
	struct error *err = NULL;
	struct export *exp;
	struct node *node;
	unsigned closed;

	toy_start();
	export_type_register(&door);
	node = toy_open("{\"driver\":\"toy\",\"node-name\":\"n\"}");
	toy_hold(node);
	fail_start = -ETIMEDOUT;
	gets_stuck = true;
	closed = closes;
	add("s", NULL, "the door is stuck");
	exp = export_find("s");
	CU_ASSERT_PTR_NOT_NULL_FATAL(exp);
	CU_ASSERT(exp->life == EXPORT_STUCK && exp->root && node->parents);
	CU_ASSERT_EQUAL(closes, closed);
	add("s", NULL, "Block export id 's' is already in use");
	fail_stop = -ETIMEDOUT;
	CU_ASSERT_EQUAL(export_del("s", EXPORT_STOP_SAFE, NULL, &err),
			-ETIMEDOUT);
	error_clear(&err);
	CU_ASSERT_PTR_EQUAL(export_find("s"), exp);
	fail_stop = fail_start = 0;
	gets_stuck = false;
	CU_ASSERT_EQUAL(export_del("s", EXPORT_STOP_SAFE, NULL, &err), 0);
	CU_ASSERT_PTR_NULL(export_each(NULL));
	CU_ASSERT_PTR_NULL(node->parents);
	CU_ASSERT_EQUAL(closes, closed + 1);
	toy_let_go(node);
}

static void delete_later(void *arg)
{
	struct error **err = arg;

	co_sleep(500);
	CU_ASSERT_EQUAL(node_del("n", err), -EBUSY);
}

/* The node stays as long as an export is being opened on it: one that gets
 * stuck there is shown with it. */
SIM_TEST(test_an_open_that_is_stuck)
{
	struct error *err = NULL;
	struct node *node;

	toy_start();
	export_type_register(&door);
	node = toy_open("{'driver':'toy','node-name':'n'}");
	node_hold(node);
	toy_give(node);
	open_ns = 1000;
	fail_open = -ETIMEDOUT;
	gets_stuck = true;
	CU_ASSERT_TRUE_FATAL(co_spawn(delete_later, &err));
	add("s", NULL, "no door");
	open_ns = 0;
	fail_open = 0;
	gets_stuck = false;
	CU_ASSERT_PTR_NOT_NULL_FATAL(export_find("s"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, "Node n is in use");
	error_clear(&err);
	del("s");
	CU_ASSERT_PTR_NULL(export_each(NULL));
	CU_ASSERT_EQUAL(node_del("n", &err), 0);
}

/* P1: who asks for it is the only one that writes, whoever comes first. */
SIM_TEST(test_exclusive)
{
	struct node *node;

	toy_start();
	export_type_register(&door);
	node = toy_open("{\"driver\":\"toy\",\"node-name\":\"n\"}");
	toy_hold(node);
	fail_stop = 0;
	add_sharing("one", true, false, NULL);
	add_sharing("two", true, false, NULL);
	add_sharing("alone", true, true, "required by export 'two'");
	del("two");
	del("one");
	add_sharing("alone", true, true, NULL);
	add_sharing("one", true, false, "unshared by export 'alone'");
	add_sharing("reader", false, false, NULL);
	/* nor does what is read change under an exclusive reader */
	add_sharing("strict", false, true, "required by export 'alone'");
	del("alone");
	add_sharing("strict", false, true, NULL);
	add_sharing("one", true, false, "unshared by export 'strict'");
	del("strict");
	del("reader");
	toy_let_go(node);
}

static int write_result;

static void write_one(void *arg)
{
	char buf[512] = "";

	write_result = toy_request(arg, REQ_WRITE, 0, 512, buf, 0);
}

/* What a client's write gets, and whether that is what the graph says. */
static int written(const struct export *exp)
{
	struct crew_member member = { 0 };
	struct crew crew = { 0 };
	unsigned perm = exp->root->edge.perm;

	crew_start(&crew, &member, 1, write_one, exp->root);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(exp->root->edge.new_perm, perm);
	CU_ASSERT_EQUAL(exp->writable, (perm & PERM_WRITE) != 0);
	return write_result;
}

static void reopens(const char *id, bool writable, const char *shown,
		    const char *sentence)
{
	struct export *exp = export_find(id);
	struct error *err = NULL;
	int rc;

	shown_writable[0] = 0;
	export_get(exp, "test");
	rc = co_export_reopen(exp, writable, NULL, NULL, &err);
	CU_ASSERT_EQUAL(rc == 0, sentence == NULL);
	if (sentence)
		CU_ASSERT_PTR_NOT_NULL(strstr(err->text, sentence));
	error_clear(&err);
	CU_ASSERT_STRING_EQUAL(shown_writable, shown);
	CU_ASSERT_EQUAL(written(exp), exp->writable ? 0 : -EROFS);
	CU_ASSERT_EQUAL(exp->writable, rc == 0 ? writable : !writable);
	export_put(exp, "test");
}

/* C5, P3: one that may not write any more, and may again, or nothing changes:
 * neither what the graph allows nor what the world is shown. */
SIM_TEST(test_writable_and_back)
{
	struct node *node;

	toy_start();
	export_type_register(&door);
	node = toy_open("{\"driver\":\"toy\",\"node-name\":\"n\"}");
	toy_hold(node);
	fail_stop = 0;
	add_sharing("one", true, false, NULL);
	reopens("one", true, "", NULL);
	reopens("one", false, "-", NULL);
	reopens("one", false, "", NULL);
	/* now another may be the only one that writes */
	add_sharing("alone", true, true, NULL);
	reopens("one", true, "+-", "unshared by export 'alone'");
	del("alone");
	fails_to_show = true;
	reopens("one", true, "", "nobody looks");
	fails_to_show = false;
	reopens("one", true, "+", NULL);
	fails_to_show = true;
	reopens("one", false, "", "nobody looks");
	fails_to_show = false;
	/* the kernel was told once for all */
	add_sharing("reader", false, false, NULL);
	reopens("reader", true, "", "Export 'reader' began read-only");
	export_find("one")->reopening = true;
	reopens("one", false, "", "Export 'one' is being reopened");
	export_find("one")->reopening = false;
	del("reader");
	del("one");
	toy_let_go(node);
}

/* Whoever wanted it has the node, and hears at once. */
SIM_TEST(test_a_start_that_fails)
{
	struct node *node;
	uint64_t begun;

	toy_start();
	export_type_register(&door);
	node = toy_open("{'driver':'toy','node-name':'n'}");
	fail_start = -ENODEV;
	begun = clock_ns();
	add("a", NULL, "the door is stuck");
	fail_start = 0;
	/* simulated time: exact */
	CU_ASSERT_EQUAL(clock_ns(), begun);
	CU_ASSERT_PTR_NULL(export_each(NULL));
	toy_let_go(node);
}

TEST_MAIN("graph-export", TEST(test_export),
	  TEST(test_failures), TEST(test_a_start_that_fails),
	  TEST(test_a_start_that_is_stuck),
	  TEST(test_an_open_that_is_stuck), TEST(test_exclusive),
	  TEST(test_writable_and_back))
