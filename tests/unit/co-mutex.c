/* SPDX-License-Identifier: MIT */
/*
 * co_mutex and co_queue across simulated threads: exclusion, order, wake-ups.
 */
#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/suite.h"

#define WORKERS 6
#define ROUNDS 50
#define SEEDS 200

static struct co_mutex mutex;
static struct co_queue queue;
static unsigned inside, total, finished;
static int stock;
static struct co *main_co;

static void begin(uint64_t seed)
{
	struct runtime_options opts = { .io_threads = 3, .seed = seed };
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	co_mutex_init(&mutex);
	co_queue_init(&queue);
	inside = 0;
	total = 0;
	finished = 0;
	stock = 0;
}

struct worker {
	struct message msg;
	unsigned number;
	void (*fn)(void *worker);
};

static struct worker workers[WORKERS];
static struct message finish_msg;

static void all_finished(struct message *msg)
{
	(void)msg;
	co_wake(main_co);
}

static void worker_co(void *arg)
{
	struct worker *w = arg;

	w->fn(w);
	if (__atomic_add_fetch(&finished, 1, __ATOMIC_ACQ_REL) == WORKERS) {
		finish_msg.fn = all_finished;
		thread_post(thread_by_index(MAIN_THREAD), &finish_msg);
	}
}

static void worker_start(struct message *msg)
{
	struct worker *w = container_of(msg, struct worker, msg);
	bool spawned = co_spawn(worker_co, w);

	assert(spawned);
}

static void run_workers(void *fn)
{
	main_co = co_self();
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].number = i;
		workers[i].fn = *(void (**)(void *))fn;
		workers[i].msg.fn = worker_start;
		thread_post(thread_by_index(i % thread_count()),
			    &workers[i].msg);
	}
	co_wait();
	runtime_quit();
}

static void go(void (*fn)(void *), uint64_t seed)
{
	begin(seed);
	runtime_run(run_workers, &fn);
	co_mutex_destroy(&mutex);
	runtime_stop();
}

static void exclude(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		co_lock(&mutex);
		assert(co_mutex_held(&mutex));
		assert(inside++ == 0);
		co_yield();
		rt_step();
		total++;
		assert(--inside == 0);
		co_unlock(&mutex);
	}
	assert(!co_mutex_held(&mutex));
}

static void one_holder_at_a_time(void)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		go(exclude, seed);
		CU_ASSERT_EQUAL(total, WORKERS * ROUNDS);
	}
}

/*
 * The number of others that get the mutex between one's asking and getting is
 * bounded by the number of others: nobody is overtaken twice by one worker.
 */
static unsigned grants;
static unsigned longest;

static void fair(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned asked;

		co_yield();
		asked = grants;
		co_lock(&mutex);
		longest = max(longest, grants - asked);
		grants++;
		co_sleep(10);
		co_unlock(&mutex);
	}
}

static void waiters_are_served_in_order(void)
{
	grants = 0;
	longest = 0;
	/* no switch between reading `grants` and queueing up */
	sim_step_rate(0);
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		go(fair, seed);
	sim_step_rate(4);
	CU_ASSERT_EQUAL(grants, SEEDS * WORKERS * ROUNDS);
	CU_ASSERT(longest < WORKERS);
	CU_ASSERT(longest > 1);
}

/* Even workers make, odd ones take; nobody may sleep through a wake-up. */
static void trade(void *arg)
{
	const struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		co_lock(&mutex);
		if (w->number % 2) {
			while (!stock)
				co_queue_wait(&queue, &mutex);
			stock--;
			total++;
		} else {
			stock++;
			if (i % 3)
				co_queue_wake_one(&queue);
			else
				co_queue_wake_all(&queue);
		}
		co_unlock(&mutex);
	}
}

static void queue_loses_no_wakeup(void)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		go(trade, seed);
		CU_ASSERT_EQUAL(total, WORKERS / 2 * ROUNDS);
		CU_ASSERT_EQUAL(stock, 0);
	}
}

TEST_MAIN("co-mutex", TEST(one_holder_at_a_time),
	  TEST(waiters_are_served_in_order), TEST(queue_loses_no_wakeup))
