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

static struct payload pieces[MOST];
static unsigned order[MOST], came;
static bool put_at_once;

static void got(struct payload *p)
{
	order[came++] = (unsigned)(p - pieces);
	if (put_at_once)
		payload_put(p);
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
	put_at_once = false;
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
	CU_ASSERT_EQUAL(came, n + 2);
	CU_ASSERT(order[n] == n && order[n + 1] == n + 1);
	/* those that wait get it as these go, in order */
	for (i = 2; i < n + 6; i++)
		payload_put(&pieces[i]);
	CU_ASSERT_EQUAL(came, n + 6);
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
	CU_ASSERT_EQUAL(came, MOST);
	for (i = 1; i < n; i++)
		payload_put(&pieces[i]);
	CU_ASSERT_EQUAL(payload_used(PAYLOAD_DELIVERED), 0);
}

static void served_without_recursion(void)
{
	run(at_once_body);
}

TEST_MAIN("export-payload",
	  TEST(waiters_are_served_in_order),
	  TEST(a_full_gate_leaves_room),
	  TEST(served_without_recursion))
