/* SPDX-License-Identifier: MIT */
/*
 * Turns of a real thread's loop (A42): what feeds itself from inside leaves the
 * others their turn, and nothing that is left over is slept on. Counted in
 * steps of what feeds itself, not in time.
 */
#include <liburing.h>

#include "runtime/buffer.h"
#include "runtime/co.h"
#include "runtime/ring.h"
#include "tests/lib/suite.h"

/* Steps after which a test gives up on the message. */
#define STEPS_MAX 3000000u
/* More than the submission queue takes, so that it is submitted meanwhile. */
#define OPS 3000u

static void in_run(void (*fn)(void *))
{
	struct runtime_options opts = {
		.io_threads = 1, .buffer_bytes = BUFFER_MAX,
	};
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(fn, NULL);
	runtime_stop();
}

/* own thread of whatever feeds itself */
static unsigned steps, steps_at_message;
static bool over;

static void message_came(struct message *msg)
{
	(void)msg;
	steps_at_message = steps;
	over = true;
}

static void begin(struct message *msg)
{
	steps = 0;
	steps_at_message = STEPS_MAX;
	over = false;
	msg->fn = message_came;
}

/* ---- completions ---- */

static struct ring_op ops[OPS];
static unsigned in_flight;

static void op_send(struct ring_op *op)
{
	struct io_uring_sqe *sqe = ring_sqe();

	io_uring_prep_nop(sqe);
	ring_set_op(sqe, op);
	in_flight++;
}

static void op_done(struct ring_op *op, int res, unsigned flags)
{
	(void)res;
	(void)flags;
	in_flight--;
	if (++steps < STEPS_MAX && !over)
		op_send(op);
}

static void ops_body(void *arg)
{
	struct message msg;

	(void)arg;
	CU_ASSERT_TRUE_FATAL(ring_reserve(OPS));
	begin(&msg);
	for (unsigned i = 0; i < OPS; i++) {
		ops[i].done = op_done;
		op_send(&ops[i]);
	}
	/* delivered in the turn in which these begin to complete, or soon */
	co_yield();
	thread_post(thread_self(), &msg);
	while (in_flight)
		co_yield();
	CU_ASSERT(steps_at_message < 10 * OPS);
	ring_release(OPS);
	runtime_quit();
}

static void completions_that_submit_again(void)
{
	in_run(ops_body);
}

/* ---- memory ---- */

#define USERS 8
#define SIZE (BUFFER_MAX / 2)	/* for two at a time */

static struct co_group users;

/* Waits for memory and gives it back, without any other wait. */
static void memory_user(void *arg)
{
	(void)arg;
	while (steps < STEPS_MAX && !over) {
		buffer_put(co_buffer_get(SIZE), SIZE);
		steps++;
		/* or it would always find some at once */
		if (steps % 3 == 0)
			co_yield();
	}
	co_group_done(&users);
}

static void memory_body(void *arg)
{
	struct message msg;
	void *a = buffer_get(SIZE), *b = buffer_get(SIZE);

	(void)arg;
	CU_ASSERT_TRUE_FATAL(a && b);
	begin(&msg);
	co_group_init(&users);
	for (unsigned i = 0; i < USERS; i++) {
		co_group_add(&users);
		CU_ASSERT_TRUE_FATAL(co_spawn(memory_user, NULL));
	}
	buffer_put(a, SIZE);
	buffer_put(b, SIZE);
	thread_post(thread_self(), &msg);
	co_group_wait(&users);
	CU_ASSERT(steps_at_message < 1000);
	runtime_quit();
}

static void memory_that_goes_round(void)
{
	in_run(memory_body);
}

/* ---- nothing left is slept on ---- */

static void *held;

static void giver(void *arg)
{
	(void)arg;
	co_yield();
	/* the last thing that its turn does; nothing else is under way */
	buffer_put(held, BUFFER_MAX);
}

static void taker_body(void *arg)
{
	void *mem;

	(void)arg;
	held = buffer_get(BUFFER_MAX);
	CU_ASSERT_TRUE_FATAL(held && co_spawn(giver, NULL));
	mem = co_buffer_get(BUFFER_MAX);
	CU_ASSERT_PTR_EQUAL(mem, held);
	buffer_put(mem, BUFFER_MAX);
	runtime_quit();
}

static void memory_that_a_coroutine_gives_back(void)
{
	in_run(taker_body);
}

TEST_MAIN("runtime-turn",
	  TEST(completions_that_submit_again),
	  TEST(memory_that_goes_round),
	  TEST(memory_that_a_coroutine_gives_back))
