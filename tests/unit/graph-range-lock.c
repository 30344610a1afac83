/* SPDX-License-Identifier: MIT */
/*
 * graph-range-lock.c - range locks across simulated threads: exclusion, as a
 * model of intervals sees it, and fairness.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/range-lock.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"

#define SEEDS 300u
#define THREADS 3u
#define WORKERS 9u
#define ROUNDS 30u
#define UNITS 16u

/* ---- who comes before whom ---- */

struct asker {
	struct crew crew;
	struct crew_member member;
	struct range_lock *lock;
	struct range range;
	uint64_t start, end;
	bool shared;
	bool has;
};

static void ask(void *arg)
{
	struct asker *a = arg;

	co_range_lock(a->lock, &a->range, a->start, a->end, a->shared);
	a->has = true;
}

static void ask_on(struct asker *a, struct range_lock *lock, unsigned thread,
		   uint64_t start, uint64_t end, bool shared)
{
	*a = (struct asker){ .lock = lock, .start = start, .end = end,
			     .shared = shared };
	crew_start(&a->crew, &a->member, thread, ask, a);
	co_sleep(1000000);
}

static void give_back(struct asker *a)
{
	crew_wait(&a->crew);
	CU_ASSERT_TRUE(a->has);
	co_range_unlock(a->lock, &a->range);
	co_sleep(1000000);
}

static void body_order(void *arg)
{
	struct asker first, exclusive, behind, beside, far, last;
	struct range_lock lock;

	(void)arg;
	range_lock_init(&lock);
	ask_on(&first, &lock, 1, 0, 10, true);
	CU_ASSERT_TRUE(first.has);
	ask_on(&exclusive, &lock, 2, 5, 15, false);
	CU_ASSERT_FALSE(exclusive.has);
	/* what is held would let it in, but who waits comes first */
	ask_on(&behind, &lock, 3, 8, 12, true);
	CU_ASSERT_FALSE(behind.has);
	/* with them nobody waits for it */
	ask_on(&beside, &lock, 1, 0, 5, true);
	CU_ASSERT_TRUE(beside.has);
	ask_on(&far, &lock, 2, 15, 20, false);
	CU_ASSERT_TRUE(far.has);
	ask_on(&last, &lock, 3, 11, 16, false);
	give_back(&beside);
	CU_ASSERT_FALSE(exclusive.has);
	give_back(&first);
	CU_ASSERT_TRUE(exclusive.has);
	CU_ASSERT_FALSE(behind.has);
	give_back(&exclusive);
	CU_ASSERT_TRUE(behind.has);
	give_back(&behind);
	CU_ASSERT_FALSE(last.has);
	give_back(&far);
	CU_ASSERT_TRUE(last.has);
	give_back(&last);
	range_lock_destroy(&lock);
}

static void order(void)
{
	for (uint64_t seed = 1; seed <= SEEDS / 10; seed++)
		test_run(THREADS, seed, body_order, NULL);
}

/* ---- many at once ---- */

static struct {
	struct range_lock lock;
	unsigned shared[UNITS], exclusive[UNITS];	/* holders of each */
	unsigned waited, together;
} model;

/* Of those before it in the list none is in its way; all are as they asked. */
static void check_place(const struct range *mine)
{
	bool before = true;

	co_lock(&model.lock.mutex);
	for (const struct range *r = model.lock.first; r; r = r->next) {
		before &= r != mine;
		if (r != mine && before)
			CU_ASSERT(r->end <= mine->start ||
				  mine->end <= r->start ||
				  (r->shared && mine->shared));
	}
	CU_ASSERT_FALSE(before);
	co_unlock(&model.lock.mutex);
}

static void lock_some(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = sim_random_below(UNITS);
		uint64_t end = start + 1 + sim_random_below(UNITS - start);
		bool shared = sim_random_below(2);
		struct range range;

		co_range_lock(&model.lock, &range, start, end, shared);
		for (uint64_t u = start; u < end; u++) {
			CU_ASSERT_EQUAL(model.exclusive[u], 0);
			CU_ASSERT(shared || !model.shared[u]);
			model.together += model.shared[u] > 0;
			model.shared[u] += shared;
			model.exclusive[u] += !shared;
		}
		check_place(&range);
		if (sim_random_below(2))
			co_sleep(sim_random_below(1000));
		model.waited += model.lock.last != &range;
		for (uint64_t u = start; u < end; u++) {
			model.shared[u] -= shared;
			model.exclusive[u] -= !shared;
		}
		co_range_unlock(&model.lock, &range);
	}
}

static void body_many(void *arg)
{
	struct crew_member members[WORKERS];
	struct crew crew = { 0 };

	(void)arg;
	range_lock_init(&model.lock);
	for (unsigned i = 0; i < WORKERS; i++)
		crew_start(&crew, &members[i], 1 + i % THREADS, lock_some,
			   NULL);
	crew_wait(&crew);
	range_lock_destroy(&model.lock);
}

static void many(void)
{
	memset(&model, 0, sizeof(model));
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		test_run(THREADS, seed, body_many, NULL);
	CU_ASSERT(model.waited > SEEDS && model.together > SEEDS);
}

/* ---- nobody starves ---- */

#define READS 2000u

static struct {
	struct range_lock lock;
	unsigned gave_up;	/* readers that have come to their end */
	bool stop;
} flood;

/* With the others of its kind: the range is hardly ever free. */
static void read_on(void *arg)
{
	struct range range;
	unsigned i;

	(void)arg;
	for (i = 0; i < READS && !flood.stop; i++) {
		co_range_lock(&flood.lock, &range, 0, UNITS, true);
		co_sleep(1000 + sim_random_below(1000));
		co_range_unlock(&flood.lock, &range);
	}
	flood.gave_up += i == READS;
}

static void body_flood(void *arg)
{
	struct crew_member members[WORKERS];
	struct crew crew = { 0 };
	struct range range;

	(void)arg;
	memset(&flood, 0, sizeof(flood));
	range_lock_init(&flood.lock);
	for (unsigned i = 0; i < WORKERS; i++)
		crew_start(&crew, &members[i], 1 + i % THREADS, read_on, NULL);
	for (unsigned i = 0; i < 20; i++) {
		co_sleep(1 + sim_random_below(3000));
		co_range_lock(&flood.lock, &range, i % UNITS, UNITS, false);
		CU_ASSERT_PTR_EQUAL(flood.lock.first, &range);
		co_range_unlock(&flood.lock, &range);
	}
	flood.stop = true;
	crew_wait(&crew);
	CU_ASSERT_EQUAL(flood.gave_up, 0);
	range_lock_destroy(&flood.lock);
}

static void nobody_starves(void)
{
	for (uint64_t seed = 1; seed <= SEEDS / 10; seed++)
		test_run(THREADS, seed, body_flood, NULL);
}

TEST_MAIN("graph-range-lock", TEST(order), TEST(many), TEST(nobody_starves))
