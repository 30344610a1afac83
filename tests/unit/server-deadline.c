/* SPDX-License-Identifier: MIT */
/*
 * Opening and asking by a deadline (A3): who asks hears in time, and what comes
 * late is closed again.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "runtime/co.h"
#include "runtime/late.h"
#include "server/deadline.h"
#include "tests/lib/suite.h"
#include "tests/lib/crew.h"
#include "tests/lib/toy.h"

#define MS 1000000ull
#define DEADLINE_S 1u

/* What an opening does: after so many ms a node, or an error. */
static unsigned takes_ms;
static bool fails, no_wait;
static char news[200];

static struct node *slow_open(json_t *args, struct error **err)
{
	if (!no_wait)
		co_sleep(takes_ms * MS);
	if (fails) {
		error_set(err, EIO, "the disk is on fire");
		return NULL;
	}
	return node_add(args, err);
}

static struct node *open_slowly(unsigned ms, struct error **err)
{
	json_t *args = json_pack("{s:s, s:s}", "driver", "toy", "node-name",
				 "slow");
	struct node *node;

	takes_ms = ms;
	node = co_open_by_deadline(slow_open, args, "/images/slow", err);
	/* the arguments are the caller's, who is gone before a late end */
	json_object_clear(args);
	json_decref(args);
	if (node)
		node_put(node, "opener");
	return node;
}

static void tell_late(const struct error *err)
{
	snprintf(news, sizeof(news), "%s", err->text);
}

static void start(void)
{
	toy_start();
	deadline_start(DEADLINE_S, tell_late);
	news[0] = 0;
	fails = no_wait = false;
}

static void check_opens(unsigned ms)
{
	struct error *err = NULL;
	struct node *node = open_slowly(ms, &err);

	CU_ASSERT_PTR_NULL(err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	CU_ASSERT_PTR_EQUAL(node_find("slow"), node);
	CU_ASSERT_EQUAL(node_del("slow", &err), 0);
	CU_ASSERT_EQUAL(late_count(), 0);
}

SIM_TEST(test_in_time)
{
	start();
	check_opens(0);
	check_opens(999);
	no_wait = true;
	check_opens(0);
}

SIM_TEST(test_fails)
{
	struct error *err = NULL;

	start();
	fails = true;
	CU_ASSERT_PTR_NULL(open_slowly(500, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "the disk is on fire");
	CU_ASSERT_EQUAL(late_count(), 0);
	error_clear(&err);
}

static void expect_late(void)
{
	struct error *err = NULL;
	uint64_t before = clock_ns();

	CU_ASSERT_PTR_NULL(open_slowly(5000, &err));
	CU_ASSERT_EQUAL(err->code, ETIMEDOUT);
	CU_ASSERT_STRING_EQUAL(err->text, "Opening '/images/slow' takes longer"
			       " than 1 s and is undone when it ends");
	/* simulated time: exact */
	CU_ASSERT(clock_ns() - before < 1100 * MS);
	CU_ASSERT_EQUAL(late_count(), 1);
	error_clear(&err);
}

SIM_TEST(test_late)
{
	start();
	expect_late();
	co_sleep(5000 * MS);
	CU_ASSERT_EQUAL(late_count(), 0);
	CU_ASSERT_PTR_NULL(node_find("slow"));
	CU_ASSERT_STRING_EQUAL(news, "Node 'slow', which opened past its "
			       "deadline, is closed again");
	check_opens(0);
}

SIM_TEST(test_late_failure)
{
	start();
	fails = true;
	expect_late();
	co_sleep(5000 * MS);
	CU_ASSERT_EQUAL(late_count(), 0);
	CU_ASSERT_STRING_EQUAL(news, "the disk is on fire");
	fails = false;
	check_opens(0);
}

/* The deadline and the end at one moment, in any order: both are right, and
 * nothing is left of either. */
static void body_race(void *arg)
{
	struct error *err = NULL;
	struct node *node;

	(void)arg;
	start();
	node = open_slowly(1000, &err);
	CU_ASSERT(!node == (err != NULL));
	if (node)
		CU_ASSERT_EQUAL(node_del("slow", &err), 0);
	error_clear(&err);
	co_sleep(10 * MS);
	CU_ASSERT_EQUAL(late_count(), 0);
	CU_ASSERT_PTR_NULL(node_find("slow"));
}

/* Answers after ten steps of half the deadline; progress is told or not. */
static bool tells;

static json_t *ask_slowly(json_t *args, uint64_t *progress, struct error **err)
{
	(void)err;
	for (unsigned i = 0; i < 10; i++) {
		co_sleep(500 * MS);
		*progress += tells;
	}
	return json_incref(args);
}

static json_t *ask(struct error **err)
{
	json_auto_t *args = json_pack("{s:i}", "a", 1);

	return co_ask_by_deadline(ask_slowly, args, "/images/big", err);
}

SIM_TEST(test_progress)
{
	struct error *err = NULL;
	json_t *answer;

	start();
	tells = true;
	answer = ask(&err);
	CU_ASSERT_PTR_NULL(err);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "a")), 1);
	json_decref(answer);
	tells = false;
	CU_ASSERT_PTR_NULL(ask(&err));
	CU_ASSERT_EQUAL(err->code, ETIMEDOUT);
	CU_ASSERT_STRING_EQUAL(err->text, "Looking at '/images/big' takes "
			       "longer than 1 s and is undone when it ends");
	error_clear(&err);
	CU_ASSERT_EQUAL(late_count(), 1);
	co_sleep(5000 * MS);
	CU_ASSERT_EQUAL(late_count(), 0);
	CU_ASSERT_STRING_EQUAL(news, "");
}

static void asker(void *arg)
{
	struct error *err = NULL;

	CU_ASSERT_PTR_NULL(ask(&err));
	CU_ASSERT_EQUAL(err->code, ESHUTDOWN);
	error_clear(&err);
	++*(unsigned *)arg;
}

/* Last of all: there is no way back. */
SIM_TEST(test_leave)
{
	unsigned heard = 0;

	start();
	tells = true;
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_TRUE(co_spawn(asker, &heard));
	late_leave();
	co_yield();
	CU_ASSERT_EQUAL(heard, 3);
	asker(&heard);
	CU_ASSERT_EQUAL(heard, 4);
	CU_ASSERT_EQUAL(late_count(), 4);
	co_sleep(6000 * MS);
	CU_ASSERT_EQUAL(late_count(), 0);
}

static void test_race(void)
{
	for (unsigned seed = 1; seed <= 50; seed++)
		test_run(1, seed, body_race, NULL);
}

TEST_MAIN("server-deadline", TEST(test_in_time), TEST(test_fails),
	  TEST(test_late), TEST(test_late_failure), TEST(test_race),
	  TEST(test_progress), TEST(test_leave))
