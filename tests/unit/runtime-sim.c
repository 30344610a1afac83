/* SPDX-License-Identifier: MIT */
/*
 * The simulated runtime itself: same seed same run, other seed other run,
 * messages in order, time, deadlocks, faults and holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/buffer.h"
#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/suite.h"

static uint64_t in_run(void (*fn)(void *), void *arg, uint64_t seed)
{
	struct runtime_options opts = { .io_threads = 3, .seed = seed };
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);
	uint64_t hash;

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(fn, arg);
	hash = sim_schedule_hash();
	runtime_stop();
	return hash;
}

/* A bit of everything: messages, I/O, sleeping, buffers, on all threads. */
static struct file *file;
static unsigned running;
static struct co *main_co;
static uint64_t trace;

static void mixed(void *arg)
{
	unsigned self = thread_index(thread_self());

	(void)arg;
	for (unsigned i = 0; i < 20; i++) {
		char *buf = co_buffer_get(4096);

		memset(buf, (int)(self + i), 4096);
		CU_ASSERT_EQUAL(co_file_write(file, i * 512, buf, 4096), 0);
		co_sleep(sim_random_below(100));
		CU_ASSERT_EQUAL(co_file_read(file, i * 512, buf, 512), 0);
		trace = trace * 31 + (unsigned char)*buf + clock_ns();
		buffer_put(buf, 4096);
		rt_step();
	}
	if (--running == 0)
		co_wake(main_co);
}

static void mixed_start(struct message *msg)
{
	bool spawned = co_spawn(mixed, NULL);

	(void)msg;
	assert(spawned);
}

static void mixed_body(void *arg)
{
	struct message msgs[8];

	(void)arg;
	CU_ASSERT_EQUAL(co_file_open("f", O_RDWR, 0, &file), 0);
	main_co = co_self();
	running = ARRAY_SIZE(msgs);
	trace = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(msgs); i++) {
		msgs[i].fn = mixed_start;
		thread_post(thread_by_index(i % thread_count()), &msgs[i]);
	}
	co_wait();
	co_file_close(file);
	runtime_quit();
}

static uint64_t traced(uint64_t seed, uint64_t *hash)
{
	sim_file_create("f", 65536);
	*hash = in_run(mixed_body, NULL, seed);
	return trace;
}

static void same_seed_same_run(void)
{
	unsigned differ = 0;

	for (uint64_t seed = 0; seed < 50; seed++) {
		uint64_t hash, again, other;
		uint64_t t = traced(seed, &hash);

		CU_ASSERT_EQUAL(traced(seed, &again), t);
		CU_ASSERT_EQUAL(again, hash);
		differ += traced(seed + 1000, &other) != t;
		CU_ASSERT_NOT_EQUAL(other, hash);
	}
	CU_ASSERT(differ > 45);
}

struct numbered {
	struct message msg;
	unsigned from, number;
};

#define EACH 20

static unsigned expected[4];
static unsigned arrivals, mixed_orders, last_from;

static void numbered_arrived(struct message *msg)
{
	struct numbered *n = container_of(msg, struct numbered, msg);

	CU_ASSERT_EQUAL(expected[n->from]++, n->number);
	mixed_orders += arrivals && last_from != n->from;
	last_from = n->from;
	if (++arrivals == 3 * EACH)
		co_wake(main_co);
}

static struct numbered numbered[4][EACH];

static void send_numbered(void *arg)
{
	unsigned self = thread_index(thread_self());

	(void)arg;
	for (unsigned i = 0; i < EACH; i++) {
		struct numbered *n = &numbered[self][i];

		n->from = self;
		n->number = i;
		n->msg.fn = numbered_arrived;
		thread_post(thread_by_index(MAIN_THREAD), &n->msg);
	}
}

static void sender(void *arg)
{
	co_call(arg, send_numbered, NULL);
}

static void order_body(void *arg)
{
	(void)arg;
	memset(expected, 0, sizeof(expected));
	arrivals = 0;
	main_co = co_self();
	for (unsigned i = 1; i < 4; i++)
		CU_ASSERT_TRUE(co_spawn(sender, thread_by_index(i)));
	co_wait();
	runtime_quit();
}

static void messages_keep_their_order(void)
{
	for (uint64_t seed = 0; seed < 200; seed++)
		in_run(order_body, NULL, seed);
	/* senders' messages did get mixed */
	CU_ASSERT(mixed_orders > 1000);
}

static void time_body(void *arg)
{
	uint64_t start = clock_ns();

	(void)arg;
	for (unsigned i = 0; i < 10; i++)
		co_yield();
	CU_ASSERT_EQUAL(clock_ns(), start);
	co_sleep(5000000000);
	CU_ASSERT_EQUAL(clock_ns(), start + 5000000000);
	runtime_quit();
}

static void time_moves_only_when_nothing_runs(void)
{
	in_run(time_body, NULL, 1);
}

static unsigned deadlocks;

static void deadlock_seen(void)
{
	deadlocks++;
}

static void deadlock_body(void *arg)
{
	co_wait();
	(void)arg;
	CU_FAIL("nobody wakes this");
}

static void deadlock_is_noticed(void)
{
	sim_set_deadlock(deadlock_seen);
	in_run(deadlock_body, NULL, 1);
	CU_ASSERT_EQUAL(deadlocks, 1);
	sim_set_deadlock(NULL);
	/* and the next run is not disturbed by what the last one left */
	in_run(time_body, NULL, 2);
}

static int hold_writes(void *arg, const struct io *io)
{
	(void)arg;
	if (io->op == IO_SYNC)
		return -ENXIO;
	return io->op == IO_WRITE ? SIM_KEEP : 0;
}

static bool write_over;

static void held_write(void *arg)
{
	(void)arg;
	CU_ASSERT_EQUAL(co_file_write(file, 0, "held", 4), 0);
	write_over = true;
}

static void hold_body(void *arg)
{
	struct file *other;
	char buf[4];

	(void)arg;
	CU_ASSERT_EQUAL(co_file_open("f", O_RDWR, 0, &file), 0);
	CU_ASSERT_EQUAL(co_file_open("f", O_RDWR, 0, &other), 0);
	write_over = false;
	CU_ASSERT_TRUE(co_spawn(held_write, NULL));
	/* time passes although it is in flight, since it is held */
	co_sleep(1000);
	CU_ASSERT_EQUAL(sim_in_flight(), 1);
	CU_ASSERT_EQUAL(co_file_sync(file), -ENXIO);
	CU_ASSERT_EQUAL(co_file_read(file, 0, buf, 4), 0);
	CU_ASSERT(memcmp(buf, "\0\0\0\0", 4) == 0);
	sim_release(other);
	co_sleep(1000);
	CU_ASSERT_FALSE(write_over);
	sim_release(file);
	co_sleep(1000);
	CU_ASSERT_TRUE(write_over);
	CU_ASSERT_EQUAL(sim_in_flight(), 0);
	CU_ASSERT_EQUAL(co_file_read(file, 0, buf, 4), 0);
	CU_ASSERT(memcmp(buf, "held", 4) == 0);
	co_file_close(other);
	co_file_close(file);
	runtime_quit();
}

static void faults_and_holds(void)
{
	sim_set_fault(hold_writes, NULL);
	for (uint64_t seed = 0; seed < 50; seed++) {
		sim_file_create("f", 4096);
		in_run(hold_body, NULL, seed);
	}
	sim_set_fault(NULL, NULL);
}

/* Two writes of the same bytes at once: either may be the last. */
static struct co_group group;

static void write_byte(void *arg)
{
	CU_ASSERT_EQUAL(co_file_write(file, 0, arg, 1), 0);
	co_group_done(&group);
}

static void overlap_body(void *arg)
{
	char a[] = "a", b[] = "b";

	CU_ASSERT_EQUAL(co_file_open("f", O_RDWR, 0, &file), 0);
	co_group_init(&group);
	co_group_add(&group);
	CU_ASSERT_TRUE(co_spawn(write_byte, a));
	co_group_add(&group);
	CU_ASSERT_TRUE(co_spawn(write_byte, b));
	co_group_wait(&group);
	CU_ASSERT_EQUAL(co_file_read(file, 0, arg, 1), 0);
	co_file_close(file);
	runtime_quit();
}

static void io_completes_out_of_order(void)
{
	unsigned a_last = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		char last = 0;

		sim_file_create("f", 4096);
		in_run(overlap_body, &last, seed);
		a_last += last == 'a';
	}
	CU_ASSERT(a_last > 50 && a_last < 150);
}

/* A race that only a switch between two steps can show. */
static unsigned counter;

static void unlocked_add(void *arg)
{
	unsigned seen = counter;

	(void)arg;
	rt_step();
	counter = seen + 1;
}

static void add_co(void *arg)
{
	co_call(arg, unlocked_add, NULL);
	co_group_done(&group);
}

static void race_body(void *arg)
{
	(void)arg;
	counter = 0;
	co_group_init(&group);
	for (unsigned i = 1; i < 4; i++) {
		co_group_add(&group);
		CU_ASSERT_TRUE(co_spawn(add_co, thread_by_index(i)));
	}
	co_group_wait(&group);
	runtime_quit();
}

static void steps_interleave(void)
{
	unsigned lost = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		in_run(race_body, NULL, seed);
		lost += counter < 3;
	}
	CU_ASSERT(lost > 10);
	sim_step_rate(0);
	for (uint64_t seed = 0; seed < 200; seed++) {
		in_run(race_body, NULL, seed);
		CU_ASSERT_EQUAL(counter, 3);
	}
	sim_step_rate(4);
}

/* A thread between two steps may be overtaken by hundreds of others' steps. */
static unsigned others_steps, most_steps;
static bool reader_over;

static void slow_reader(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 50; i++) {
		unsigned before = others_steps;

		rt_step();
		most_steps = max(most_steps, others_steps - before);
	}
	reader_over = true;
}

static void fast_co(void *arg)
{
	(void)arg;
	while (!reader_over) {
		others_steps++;
		co_yield();
	}
}

static void fast_start(struct message *msg)
{
	bool spawned = co_spawn(fast_co, NULL);

	(void)msg;
	assert(spawned);
}

static void stall_body(void *arg)
{
	struct message msg = { .fn = fast_start };

	(void)arg;
	reader_over = false;
	thread_post(thread_by_index(2), &msg);
	co_call(thread_by_index(1), slow_reader, NULL);
	runtime_quit();
}

static void threads_stall_between_steps(void)
{
	most_steps = 0;
	for (uint64_t seed = 0; seed < 50; seed++)
		in_run(stall_body, NULL, seed);
	CU_ASSERT(most_steps > 100);
}

TEST_MAIN("runtime-sim", TEST(same_seed_same_run),
	  TEST(messages_keep_their_order),
	  TEST(time_moves_only_when_nothing_runs), TEST(deadlock_is_noticed),
	  TEST(faults_and_holds), TEST(io_completes_out_of_order),
	  TEST(steps_interleave), TEST(threads_stall_between_steps))
