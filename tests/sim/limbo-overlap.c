/* SPDX-License-Identifier: MIT */
/*
 * limbo-overlap.c - requests that overlap, under every order of the scheduler
 * (A28): a write or read that found its cluster, and is held back, meets a
 * discard of that cluster and its reuse for something else.
 *
 *	limbo-overlap [-s SEED] [-n RUNS]
 *
 * What is read is always something that was written to this very sector. With
 * limbo switched off the same runs must see foreign data.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "drivers/format/qcow2/qcow2.h"
#include "runtime/sim.h"
#include "tests/lib/disk-case.h"
#include "tests/lib/mode.h"
#include "tests/lib/random.h"

struct hold {
	struct timer timer;
	uint64_t random;
};

/* Data is held back, now and then, until nothing else can go on. */
static int hold_data(void *arg, const struct io *io)
{
	struct hold *h = arg;

	if (io->op == IO_SYNC)
		return 0;
	return random_next(&h->random, 6) ? 0 : SIM_KEEP;
}

static void let_go(struct timer *timer)
{
	struct hold *h = container_of(timer, struct hold, timer);

	sim_release(NULL);
	timer_start(&h->timer, 1000000, let_go);
}

static void begin(struct disk_case *c, struct node *node)
{
	struct hold *h = c->arg;

	(void)node;
	sim_set_fault(hold_data, h);
	timer_start(&h->timer, 1000000, let_go);
}

static void end(struct disk_case *c)
{
	struct hold *h = c->arg;

	sim_set_fault(NULL, NULL);
	timer_stop(&h->timer);
	sim_release(NULL);
}

static bool run(uint64_t seed, bool loud)
{
	struct hold hold = { .random = seed };
	struct disk_case c;
	char text[240];
	bool ok;

	disk_case_init(&c, seed);
	c.overlap = true;
	c.workers = 5;
	c.ops = 60;
	c.before = begin;
	c.after = end;
	c.arg = &hold;
	disk_case_describe(&c, text, sizeof(text));
	disk_case_make(&c);
	ok = disk_case_work(&c) && disk_case_verify(&c, true);
	if (!ok && loud)
		printf("%s\n\t%s\n", text, c.text);
	disk_case_free(&c);
	return ok;
}

int main(int argc, char **argv)
{
	static const uint64_t runs_of[] = { 40, 300, 20000 };
	enum test_mode mode = test_mode(&argc, argv);
	uint64_t seed = 1, runs = runs_of[mode], off = 0;
	unsigned passed = 0, failed = 0;
	int opt;

	while ((opt = getopt(argc, argv, "s:n:")) != -1) {
		switch (opt) {
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': runs = strtoull(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	for (uint64_t i = 0; i < runs; i++)
		run(seed + i, true) ? passed++ : failed++;
	qcow2_test_no_limbo = true;
	while (off < 1000 && run(seed + off, false))
		off++;
	printf("limbo switched off: seen in run %" PRIu64 "\n", off + 1);
	off < 1000 ? passed++ : failed++;
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
