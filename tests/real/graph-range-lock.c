/* SPDX-License-Identifier: MIT */
/*
 * Range locks on real threads: what lies in a locked range is plain memory,
 * written under exclusive locks and read under shared ones, so that TSan sees
 * whoever is let in too early.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/range-lock.h"
#include "tests/lib/crew.h"
#include "tests/lib/random.h"
#include "tests/lib/suite.h"

#define THREADS 3u
#define WORKERS 24u
#define ROUNDS 3000u
#define UNITS 32u

struct worker {
	struct crew_member member;
	uint64_t seed;
	unsigned done;		/* units that it has written */
};

static struct range_lock lock;
static unsigned units[UNITS];
static unsigned torn;		/* atomic */

static void work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = random_next(&w->seed, UNITS);
		uint64_t len = 1 + random_next(&w->seed, UNITS - start);
		bool shared = random_next(&w->seed, 2);
		unsigned before = 0, after = 0;
		struct range range;

		co_range_lock(&lock, &range, start, start + len, shared);
		for (uint64_t u = start; u < start + len; u++)
			before += units[u];
		/* others of this thread get their turn, too */
		if (i % 4 == 0)
			co_yield();
		for (uint64_t u = start; u < start + len; u++)
			after += shared ? units[u] : units[u]++;
		w->done += shared ? 0 : (unsigned)len;
		if (before != after)
			__atomic_add_fetch(&torn, 1, __ATOMIC_RELAXED);
		co_range_unlock(&lock, &range);
	}
}

static void body(void *arg)
{
	struct worker *workers = calloc(WORKERS, sizeof(*workers));
	unsigned written = 0, there = 0;
	struct crew crew = { 0 };

	(void)arg;
	range_lock_init(&lock);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].seed = i;
		crew_start(&crew, &workers[i].member, 1 + i % THREADS, work,
			   &workers[i]);
	}
	crew_wait(&crew);
	for (unsigned i = 0; i < WORKERS; i++)
		written += workers[i].done;
	for (unsigned i = 0; i < UNITS; i++)
		there += units[i];
	CU_ASSERT(written > WORKERS * ROUNDS);
	CU_ASSERT_EQUAL(there, written);
	CU_ASSERT_EQUAL(torn, 0);
	range_lock_destroy(&lock);
	free(workers);
}

static void locked_memory(void)
{
	test_run(THREADS, 0, body, NULL);
}

TEST_MAIN("graph-range-lock", TEST(locked_memory))
