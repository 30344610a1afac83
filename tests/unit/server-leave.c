/* SPDX-License-Identifier: MIT */
/*
 * Leaving, one ordered list (A39): the order, and that each step which does not
 * end is left behind by its deadline, while the others happen all the same.
 */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/export.h"
#include "graph/job.h"
#include "runtime/late.h"
#include "runtime/sim.h"
#include "server/commands.h"
#include "server/leave.h"
#include "server/log.h"
#include "server/monitor.h"
#include "server/object.h"
#include "server/process.h"
#include "server/running.h"
#include "server/signals.h"
#include "server/statelog.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define MS 1000000ull


/* What happened, by name, and what was left. */
static char trace[400], left[400];
/* How long what takes, and what is refused. */
static struct {
	uint64_t start, stop, job, command, clients, log;
	bool nbd;
	bool busy, holds;
	int refuse;
} wish;

static void put(char *at, const char *what)
{
	strcat(strcat(at, what), " ");
}

/* ---- the daemon beside the graph ---- */

bool co_monitor_stop(uint64_t timeout_ns)
{
	put(trace, "clients");
	co_sleep(min(timeout_ns, wish.clients));
	return wish.clients <= timeout_ns;
}

void co_signals_stop(void)
{
	put(trace, "signals");
}

int co_nbd_leave(uint64_t timeout_ns, struct error **err)
{
	(void)timeout_ns;
	put(trace, "nbd");
	return wish.nbd ? error_set(err, ETIMEDOUT, "clients of NBD") : 0;
}

void object_del_all(void)
{
	put(trace, "objects");
}

void co_statelog_close(struct statelog *log, bool remove)
{
	(void)log;
	put(trace, remove ? "log-removed" : "log-kept");
	co_sleep(wish.log);
}

void monitor_event(const char *name, json_t *data)
{
	(void)name;
	json_decref(data);
}

void process_unlock(void)
{
}

void co_log_stop_async(void)
{
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char text[300];
	va_list args;

	(void)level;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	put(left, text);
}

void log_error(enum log_level level, struct error **err)
{
	log_write(level, "%s", (*err)->text);
	error_clear(err);
}

/* ---- an export, a job, a command ---- */

static const struct root_ops door_root_ops = { .kind = "export",
					       .gated = true };

static int door_open(struct export *exp, struct node *node, struct error **err)
{
	return export_root_new(exp, &door_root_ops, NULL, node, PERM_ALL, 512,
			       2, err) ? 0 : -EPERM;
}

static int door_start(struct export *exp, struct error **err)
{
	(void)exp;
	(void)err;
	co_sleep(wish.start);
	return 0;
}

static int door_stop(struct export *exp, enum export_stop mode,
		     struct error **err)
{
	(void)exp;
	(void)mode;
	put(trace, "stop");
	/* as if whoever stops it opened it */
	wish.busy = wish.holds;
	co_sleep(wish.stop);
	wish.busy = false;
	if (wish.refuse)
		return error_set(err, -wish.refuse, "somebody came in");
	return 0;
}

static int door_idle(struct export *exp, bool patient, struct error **err)
{
	(void)exp;
	(void)patient;
	return wish.busy ? error_set(err, EBUSY, "somebody is in it") : 0;
}

static int door_close(struct export *exp, struct error **err)
{
	put(trace, "closed");
	return co_export_root_end(exp, exp->root, err);
}

static const struct export_type door = {
	.name = "door",
	.open = door_open,
	.start = door_start,
	.stop = door_stop,
	.check_idle = door_idle,
	.close = door_close,
};

static int job_run(struct job *job, struct error **err)
{
	while (!job->cancelled)
		co_sleep(MS);
	put(trace, "asked");
	co_sleep(wish.job);
	put(trace, "job");
	return error_set(err, ECANCELED, "cancelled");
}

static const struct job_ops job_ops = { .type = "toy", .run = job_run };

static void command(void *arg)
{
	struct error *err = NULL;
	struct running self;

	(void)arg;
	CU_ASSERT_EQUAL(running_begin(&self, "toy-command", true, &err), 0);
	co_sleep(wish.command);
	put(trace, "command");
	running_end(&self);
}

/* A root of a query on the exported node, for a while. */
static void query(void *arg)
{
	static const struct root_ops ops = { .kind = "control" };
	struct error *err = NULL;
	struct root *root = root_new(&ops, NULL, "a query", node_find("top"),
				     0, PERM_ALL, 1, 1, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	co_sleep(*(uint64_t *)arg);
	put(trace, "query");
	root_free(root);
}

static void add_node(const char *name, bool read_only)
{
	json_auto_t *options = json_pack("{s:s,s:s,s:b}", "driver", "toy",
					 "node-name", name, "read-only",
					 read_only);
	struct error *err = NULL;
	struct node *node = node_add(options, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	node_put(node, "opener");
}

static struct export *co_door_add(const char *id, const char *node)
{
	json_auto_t *options = json_pack("{s:s,s:s,s:s,s:b}", "type", "door",
					 "id", id, "node-name", node,
					 "writable", false);
	struct error *err = NULL;
	struct export *exp = export_add(options, &err);

	CU_ASSERT_PTR_NOT_NULL(exp);
	return exp;
}

/* A command that makes another export, which takes long to start. */
static void half_open(void *arg)
{
	struct error *err = NULL;
	struct running self;

	(void)arg;
	CU_ASSERT_EQUAL(running_begin(&self, "half-open", true, &err), 0);
	(void)co_door_add("half", "top");
	put(trace, "opened");
	running_end(&self);
}

/* Somebody ends the export before we do. */
static void half_closed(void *arg)
{
	struct error *err = NULL;

	(void)arg;
	(void)!export_del("e", EXPORT_STOP_SAFE, NULL, &err);
	error_clear(&err);
	put(trace, "over");
}

static void start(void)
{
	json_auto_t *node = json_pack("{s:s,s:s,s:{s:s,s:s}}", "driver",
				      "toy-filter", "node-name", "top", "file",
				      "driver", "toy", "node-name", "below");
	json_auto_t *options = json_pack("{s:s,s:s,s:s,s:b}", "type", "door",
					 "id", "e", "node-name", "top",
					 "writable", true);
	struct error *err = NULL;
	struct node *top;
	struct job *job;

	toy_start();
	leave_start();
	export_type_register(&door);
	memset(&wish, 0, sizeof(wish));
	trace[0] = left[0] = 0;
	top = node_add(node, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(top);
	node_put(top, "opener");
	CU_ASSERT_PTR_NOT_NULL_FATAL(export_add(options, &err));
	job = job_new(&job_ops, "j", 0, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(job);
	CU_ASSERT_EQUAL(job_start(job, &err), 0);
}

/* Leaves; whether nothing was left, and within the time. */
static bool leaves(uint64_t within_ns)
{
	/* it is only handed on */
	struct statelog *log = (struct statelog *)(uintptr_t)&trace;
	uint64_t begin = clock_ns();
	struct error *err = NULL;
	bool whole;

	CU_ASSERT_EQUAL(co_leave(&err), 0);
	CU_ASSERT_PTR_NULL(err);
	CU_ASSERT(leave_asked());
	whole = co_leave_rest(log);
	CU_ASSERT(clock_ns() - begin <= within_ns);
	CU_ASSERT_EQUAL(whole, !left[0]);
	return whole;
}

/* What was left, so that the next test begins anew. */
static void clean_up(void)
{
	struct error *err = NULL;

	memset(&wish, 0, sizeof(wish));
	if (export_find("e"))
		CU_ASSERT_EQUAL(export_del("e", EXPORT_STOP_HARD, NULL, &err),
				0);
	if (node_find("top"))
		CU_ASSERT_EQUAL(node_del("top", &err), 0);
	CU_ASSERT_PTR_NULL(err);
}

#define REST "clients signals nbd objects log-removed "
#define REST_LEFT "clients signals nbd log-kept "

SIM_TEST(test_order)
{
	start();
	wish.job = wish.command = 5 * MS;
	CU_ASSERT_TRUE_FATAL(co_spawn(command, NULL));
	CU_ASSERT(leaves(100 * MS));
	CU_ASSERT_STRING_EQUAL(trace, "asked command stop closed job " REST);
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
	CU_ASSERT_PTR_NULL(node_unclosed(NULL));
}

/* One that looks at a node keeps it from being closed, not for ever. */
SIM_TEST(test_a_query_is_waited_for)
{
	static uint64_t long_ns = 3000 * MS;

	start();
	CU_ASSERT_TRUE_FATAL(co_spawn(query, &long_ns));
	CU_ASSERT(leaves(3100 * MS));
	CU_ASSERT_STRING_EQUAL(trace, "stop closed asked job query " REST);
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
}

SIM_TEST(test_a_query_that_stays)
{
	static uint64_t for_ever = 60000 * MS;

	start();
	CU_ASSERT_TRUE_FATAL(co_spawn(query, &for_ever));
	CU_ASSERT(!leaves(21000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: node 'top'"));
	CU_ASSERT_STRING_EQUAL(trace, "stop closed asked job " REST_LEFT);
	co_sleep(for_ever);
	clean_up();
}

SIM_TEST(test_a_command_that_stays)
{
	start();
	wish.command = 60000 * MS;
	CU_ASSERT_TRUE_FATAL(co_spawn(command, NULL));
	CU_ASSERT(!leaves(11000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: command "
				      "toy-command"));
	CU_ASSERT_STRING_EQUAL(trace, "asked job stop closed " REST_LEFT);
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
	co_sleep(wish.command);
}

SIM_TEST(test_a_job_that_stays)
{
	start();
	wish.job = 60000 * MS;
	CU_ASSERT(!leaves(11000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: job 'j'"));
	CU_ASSERT_STRING_EQUAL(trace, "stop closed asked " REST_LEFT);
	co_sleep(wish.job);
}

SIM_TEST(test_an_export_that_stays)
{
	start();
	wish.stop = 100000 * MS;
	CU_ASSERT(!leaves(60000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: export 'e': Ending "
				      "export 'e' takes longer"));
	CU_ASSERT_STRING_EQUAL(trace, "stop asked job " REST_LEFT);
	CU_ASSERT_EQUAL(toy_calls.closes, 0);
	co_sleep(wish.stop);
	clean_up();
}

/* As many as there are: under one deadline. */
SIM_TEST(test_exports_end_beside_each_other)
{
	char name[20];

	start();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		add_node(name, true);
		(void)co_door_add(name, name);
	}
	wish.stop = 8000 * MS;
	CU_ASSERT(leaves(8200 * MS));
	CU_ASSERT_EQUAL(toy_calls.closes, 21);
}

SIM_TEST(test_one_export_that_stays_among_many)
{
	start();
	add_node("n", true);
	(void)co_door_add("f", "n");
	wish.stop = 100000 * MS;
	CU_ASSERT(!leaves(60000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: export 'e'"));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: export 'f'"));
	co_sleep(wish.stop);
	clean_up();
	CU_ASSERT_PTR_NULL(export_find("f"));
	(void)!node_del("n", &(struct error *){ NULL });
}

/* A command does not give way: it is waited for, then left. What it makes in
 * the meantime, and what that holds, is left with it. */
SIM_TEST(test_half_open)
{
	start();
	wish.start = 30000 * MS;
	CU_ASSERT_TRUE_FATAL(co_spawn(half_open, NULL));
	CU_ASSERT(!leaves(LEAVE_NS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: command half-open"));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: node 'top'"));
	CU_ASSERT_PTR_NULL(export_find("e"));
	co_sleep(wish.start);
	CU_ASSERT_EQUAL(export_del("half", EXPORT_STOP_HARD, NULL,
				   &(struct error *){ NULL }), 0);
	clean_up();
}

SIM_TEST(test_half_open_in_time)
{
	start();
	wish.start = 3000 * MS;
	CU_ASSERT_TRUE_FATAL(co_spawn(half_open, NULL));
	CU_ASSERT(leaves(3100 * MS));
	CU_ASSERT_STRING_EQUAL(trace, "asked job opened stop stop closed "
			       "closed " REST);
}

SIM_TEST(test_half_closed)
{
	start();
	wish.stop = 20000 * MS;
	wish.holds = true;
	CU_ASSERT_TRUE_FATAL(co_spawn(half_closed, NULL));
	CU_ASSERT(leaves(20100 * MS));
	CU_ASSERT_STRING_EQUAL(trace, "stop asked job closed over " REST);
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
}

/* It did not end after all, and is ours to end. */
SIM_TEST(test_half_closed_and_refused)
{
	start();
	wish.stop = 20 * MS;
	wish.refuse = -EIO;
	CU_ASSERT_TRUE_FATAL(co_spawn(half_closed, NULL));
	wish.stop = 0;
	CU_ASSERT(!leaves(200 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "'e': somebody came in"));
	CU_ASSERT_PTR_NOT_NULL(strstr(trace, "over"));
	clean_up();
}

SIM_TEST(test_an_export_that_fails)
{
	start();
	wish.refuse = -EIO;
	CU_ASSERT(!leaves(11000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: export 'e': somebody"
				      " came in"));
	CU_ASSERT_PTR_NOT_NULL(strstr(trace, "log-kept"));
	clean_up();
}

SIM_TEST(test_clients_that_stay)
{
	start();
	wish.clients = 60000 * MS;
	CU_ASSERT(!leaves(3000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: a client"));
	/* nothing is lost by that */
	CU_ASSERT_STRING_EQUAL(trace, "stop closed asked job clients signals "
			       "nbd log-removed ");
}

SIM_TEST(test_nodes_close_beside_each_other)
{
	char name[20];

	start();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		add_node(name, false);
	}
	toy_wishes.close_ns = 4000 * MS;
	CU_ASSERT(leaves(4200 * MS));
	CU_ASSERT_EQUAL(toy_calls.closes, 21);
}

SIM_TEST(test_a_node_that_stays)
{
	start();
	add_node("slow", false);
	toy_wishes.name = "slow";
	toy_wishes.close_ns = 100000 * MS;
	CU_ASSERT(!leaves(21000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: Closing node 'slow' "
				      "takes longer"));
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
	co_sleep(toy_wishes.close_ns);
	CU_ASSERT_PTR_NULL(node_each(NULL));
}

/* One that has nothing to write, and is somebody's: a late command's, say. It
 * is named, and nothing is freed below it. */
SIM_TEST(test_a_node_that_is_somebodys)
{
	struct node *node;

	start();
	add_node("kept", true);
	node = node_get(node_find("kept"), "somebody");
	node_let_go(node);
	CU_ASSERT(!leaves(21000 * MS));
	CU_ASSERT_STRING_EQUAL(left, "Left behind: node 'kept' ");
	/* and nothing is lost */
	CU_ASSERT_PTR_NOT_NULL(strstr(trace, "log-removed"));
	node_put(node, "somebody");
	while (node_each(NULL))
		co_sleep(MS);
}

/* Nothing ends, and we do all the same, within what the service file allows
 * for. */
SIM_TEST(test_all_that_stays)
{
	start();
	add_node("slow", false);
	toy_wishes.name = "slow";
	toy_wishes.close_ns = 200000 * MS;
	wish.job = wish.command = wish.stop = wish.clients = 200000 * MS;
	CU_ASSERT_TRUE_FATAL(co_spawn(command, NULL));
	CU_ASSERT(!leaves(LEAVE_NS));
	co_sleep(200000 * MS);
	toy_wishes.close_ns = 0;
	clean_up();
}

static void write_some(void)
{
	static const struct root_ops ops = { .kind = "control" };
	static char buf[512];
	struct request req = { .op = REQ_WRITE, .len = sizeof(buf),
			       .buf = buf, .fixed = IO_NOT_FIXED };
	struct error *err = NULL;
	struct root *root = root_new(&ops, NULL, "a writer", node_find("top"),
				     PERM_WRITE, PERM_ALL, 512, 1, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT_EQUAL(co_root_submit(root, &req), 0);
	root_free(root);
}

/* A flush that fails as its export ends: what was acknowledged is lost. */
SIM_TEST(test_a_flush_that_fails)
{
	start();
	write_some();
	toy_wishes.fail_flush = -EIO;
	CU_ASSERT(!leaves(1000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "could not be flushed"));
	CU_ASSERT_PTR_NOT_NULL(strstr(trace, "log-kept"));
	CU_ASSERT_PTR_NULL(node_unclosed(NULL));
}

static void close_failed(const struct node *node, const struct error *err)
{
	CU_ASSERT_STRING_EQUAL(node->name, "below");
	put(left, err->text);
	leave_note_loss();
}

/* One node that cannot write what it has, at its close. */
SIM_TEST(test_a_close_that_fails)
{
	start();
	node_set_close_listener(close_failed);
	toy_wishes.name = "below";
	toy_wishes.fail_close = -EIO;
	CU_ASSERT(!leaves(1000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(trace, "closed"));
	CU_ASSERT_PTR_NOT_NULL(strstr(trace, "log-kept"));
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
	CU_ASSERT_PTR_NULL(node_unclosed(NULL));
	node_set_close_listener(NULL);
}

SIM_TEST(test_a_server_that_stays)
{
	start();
	wish.nbd = true;
	CU_ASSERT(!leaves(1000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: clients of NBD"));
	/* nothing is lost by that */
	CU_ASSERT_STRING_EQUAL(trace, "stop closed asked job clients signals "
			       "nbd log-removed ");
}

SIM_TEST(test_a_log_that_stays)
{
	start();
	wish.log = 60000 * MS;
	CU_ASSERT(!leaves(11000 * MS));
	CU_ASSERT_PTR_NOT_NULL(strstr(left, "Left behind: Closing the state "
				      "log takes longer"));
	CU_ASSERT_STRING_EQUAL(trace, "stop closed asked job " REST);
	co_sleep(wish.log);
}

/* While a disk is in use nothing has happened, and all goes on. */
SIM_TEST(test_refused)
{
	struct error *err = NULL;
	struct running self;

	start();
	wish.busy = true;
	CU_ASSERT_EQUAL(co_leave(&err), -EBUSY);
	error_clear(&err);
	CU_ASSERT_STRING_EQUAL(trace, "");
	CU_ASSERT(!leave_asked());
	CU_ASSERT_EQUAL(running_begin(&self, "later", true, &err), 0);
	running_end(&self);
	wish.busy = false;
	CU_ASSERT(leaves(100 * MS));
	CU_ASSERT_EQUAL(running_begin(&self, "too late", false, &err),
			-ESHUTDOWN);
	error_clear(&err);
	CU_ASSERT_EQUAL(co_leave(&err), -EALREADY);
	error_clear(&err);
}

/* Somebody came after we looked: it stays, and all the rest goes on too. */
SIM_TEST(test_refused_in_the_middle)
{
	struct error *err = NULL;
	struct running self;

	start();
	wish.refuse = -EBUSY;
	CU_ASSERT_EQUAL(co_leave(&err), -EBUSY);
	error_clear(&err);
	CU_ASSERT(!leave_asked());
	CU_ASSERT_PTR_NOT_NULL(export_find("e"));
	CU_ASSERT_PTR_NOT_NULL(node_find("top"));
	CU_ASSERT_EQUAL(running_begin(&self, "later", true, &err), 0);
	running_end(&self);
	wish.refuse = 0;
	CU_ASSERT(leaves(100 * MS));
}

/* Ends of all of these together, at any moment. */
static void body_seeds(void *arg)
{
	static uint64_t some_ns;

	(void)arg;
	start();
	wish.job = sim_random_below(20) * MS;
	wish.command = sim_random_below(20) * MS;
	wish.stop = sim_random_below(20) * MS;
	some_ns = sim_random_below(20) * MS;
	CU_ASSERT_TRUE_FATAL(co_spawn(command, NULL));
	CU_ASSERT_TRUE_FATAL(co_spawn(query, &some_ns));
	CU_ASSERT(leaves(200 * MS));
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
	CU_ASSERT_PTR_NULL(node_unclosed(NULL));
	CU_ASSERT_PTR_NULL(export_each(NULL));
	CU_ASSERT_PTR_NULL(job_first());
}

static void test_seeds(void)
{
	for (unsigned seed = 1; seed <= 50; seed++)
		test_run(2, seed, body_seeds, NULL);
}

TEST_MAIN("server-leave", TEST(test_order), TEST(test_a_query_is_waited_for),
	  TEST(test_a_query_that_stays), TEST(test_a_command_that_stays),
	  TEST(test_a_job_that_stays), TEST(test_an_export_that_stays),
	  TEST(test_exports_end_beside_each_other),
	  TEST(test_one_export_that_stays_among_many), TEST(test_half_open),
	  TEST(test_half_open_in_time), TEST(test_half_closed),
	  TEST(test_half_closed_and_refused),
	  TEST(test_nodes_close_beside_each_other),
	  TEST(test_a_node_that_stays), TEST(test_a_node_that_is_somebodys),
	  TEST(test_all_that_stays), TEST(test_an_export_that_fails),
	  TEST(test_clients_that_stay), TEST(test_a_flush_that_fails),
	  TEST(test_a_close_that_fails), TEST(test_a_server_that_stays),
	  TEST(test_a_log_that_stays), TEST(test_refused),
	  TEST(test_refused_in_the_middle), TEST(test_seeds))
