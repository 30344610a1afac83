/* SPDX-License-Identifier: MIT */
/*
 * export-payload.c - shares of a thread's memory: bounded, in order, and never
 * all held by requests that wait at a gate.
 */
#include "tests/lib/suite.h"

#include "runtime/co.h"
#include "export/payload.h"

#define PIECE (512u * 1024)
#define MOST 256
#define AGAIN_MAX 100000

static struct payload pieces[MOST];
static unsigned order[MOST], came;
static bool put_at_once, ask_again;
static unsigned came_at_message;

static void got(struct payload *p)
{
	if (came < MOST)
		order[came] = (unsigned)(p - pieces);
	came++;
	if (put_at_once)
		payload_put(p);
	if (ask_again && came < AGAIN_MAX)
		payload_get(p, PAYLOAD_DELIVERED, PIECE, got);
}

/* Who waits is served in turns to come. */
static void co_until_came(unsigned n)
{
	for (unsigned turns = 0; came < n && turns < 100 * MOST; turns++)
		co_yield();
	CU_ASSERT_EQUAL(came, n);
}

static void on_main(void *arg)
{
	void (*fn)(void) = *(void (**)(void))arg;

	fn();
	runtime_quit();
}

static void run(void (*fn)(void))
{
	struct runtime_options opts = { .io_threads = 1, .seed = 1 };
	struct error *err = NULL;

	came = 0;
	put_at_once = ask_again = false;
	CU_ASSERT_EQUAL_FATAL(runtime_start(&opts, NULL, &err), 0);
	runtime_run(on_main, &fn);
	runtime_stop();
}

static unsigned most_of(enum payload_share share)
{
	return (unsigned)(payload_limit(share) / PIECE);
}

static void give_back_body(void)
{
	unsigned n = most_of(PAYLOAD_DELIVERED), i;

	CU_ASSERT_FATAL(n > 2 && n + 5 < MOST);
	for (i = 0; i < n + 5; i++)
		payload_get(&pieces[i], PAYLOAD_DELIVERED, PIECE, got);
	CU_ASSERT_EQUAL(came, n);
	CU_ASSERT_EQUAL(payload_used(PAYLOAD_DELIVERED), n * PIECE);
	/* a small one does not overtake those that wait */
	payload_get(&pieces[n + 5], PAYLOAD_DELIVERED, 4096, got);
	payload_put(&pieces[0]);
	payload_put(&pieces[1]);
	co_until_came(n + 2);
	CU_ASSERT(order[n] == n && order[n + 1] == n + 1);
	/* those that wait get it as these go, in order */
	for (i = 2; i < n; i++)
		payload_put(&pieces[i]);
	co_until_came(n + 6);
	for (; i < n + 6; i++)
		payload_put(&pieces[i]);
	for (i = 0; i < n + 6; i++)
		CU_ASSERT_EQUAL(order[i], i);
	CU_ASSERT_EQUAL(payload_used(PAYLOAD_DELIVERED), 0);
}

static void waiters_are_served_in_order(void)
{
	run(give_back_body);
}

static void other_share_body(void)
{
	unsigned n = most_of(PAYLOAD_DELIVERED), i;
	void *own;

	for (i = 0; i < n; i++)
		payload_get(&pieces[i], PAYLOAD_DELIVERED, PIECE, got);
	CU_ASSERT_EQUAL(came, n);
	/* what the gate holds is not what requests in flight need */
	payload_get(&pieces[n], PAYLOAD_IN_FLIGHT, PIECE, got);
	CU_ASSERT_EQUAL(came, n + 1);
	own = buffer_get(PIECE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(own);
	buffer_put(own, PIECE);
	for (i = 0; i <= n; i++)
		payload_put(&pieces[i]);
}

static void a_full_gate_leaves_room(void)
{
	run(other_share_body);
}

static void at_once_body(void)
{
	unsigned n = most_of(PAYLOAD_DELIVERED), i;

	for (i = 0; i < n; i++)
		payload_get(&pieces[i], PAYLOAD_DELIVERED, PIECE, got);
	/* each of these gives its memory back inside the call that gave it */
	put_at_once = true;
	for (; i < MOST; i++)
		payload_get(&pieces[i], PAYLOAD_DELIVERED, PIECE, got);
	payload_put(&pieces[0]);
	/* whoever ends a request does not run those that waited */
	CU_ASSERT_EQUAL(came, n);
	co_until_came(MOST);
	for (i = 1; i < n; i++)
		payload_put(&pieces[i]);
	CU_ASSERT_EQUAL(payload_used(PAYLOAD_DELIVERED), 0);
}

static void served_without_recursion(void)
{
	run(at_once_body);
}

static void others_turn(struct message *msg)
{
	(void)msg;
	came_at_message = came;
	ask_again = false;
}

/* A42: requests that come again as soon as they are answered, as those of a
 * null node's clients do, leave others their turn. */
static void busy_body(void)
{
	unsigned n = most_of(PAYLOAD_DELIVERED), i;
	struct message others = { .fn = others_turn };

	for (i = 0; i < n; i++)
		payload_get(&pieces[i], PAYLOAD_DELIVERED, PIECE, got);
	put_at_once = true;
	ask_again = true;
	for (; i < n + 100; i++)
		payload_get(&pieces[i], PAYLOAD_DELIVERED, PIECE, got);
	came_at_message = 0;
	thread_post(thread_self(), &others);
	payload_put(&pieces[0]);
	while (!came_at_message && came < AGAIN_MAX)
		co_yield();
	CU_ASSERT(came_at_message - n <= 10 * 32);
	for (i = 0; i < 100 * MOST; i++)
		co_yield();
	CU_ASSERT_EQUAL(payload_used(PAYLOAD_DELIVERED), (n - 1) * PIECE);
	for (i = 1; i < n; i++)
		payload_put(&pieces[i]);
	CU_ASSERT_EQUAL(payload_used(PAYLOAD_DELIVERED), 0);
}

static void those_who_come_again_leave_others_their_turn(void)
{
	run(busy_body);
}

TEST_MAIN("export-payload",
	  TEST(waiters_are_served_in_order),
	  TEST(a_full_gate_leaves_room),
	  TEST(served_without_recursion),
	  TEST(those_who_come_again_leave_others_their_turn))
