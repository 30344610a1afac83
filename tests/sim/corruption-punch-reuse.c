/* SPDX-License-Identifier: MIT */
/*
 * corruption-punch-reuse.c - a punch that comes late does not erase what its
 * cluster is used for by then (A28).
 *
 * Seen elsewhere: one queue's discard was to be punched later; another queue's
 * flush let the cluster be reused, as an L2 table; then came the punch. Here
 * punches are held until nothing else can go on, while two threads discard,
 * flush and allocate.
 */
#include <inttypes.h>
#include <stdio.h>

#include "runtime/sim.h"
#include "tests/lib/disk-case.h"
#include "tests/lib/random.h"

struct hold {
	struct timer timer;
	uint64_t random, held;
};

static int hold_punches(void *arg, const struct io *io)
{
	struct hold *h = arg;

	if (io->op != IO_PUNCH && io->op != IO_ZERO &&
	    io->op != SIM_IO_DISCARD)
		return 0;
	if (random_next(&h->random, 4) == 0)
		return 0;
	h->held++;
	return SIM_KEEP;
}

/* Simulated time passes only when nothing else can run. */
static void let_go(struct timer *timer)
{
	struct hold *h = container_of(timer, struct hold, timer);

	sim_release(NULL);
	timer_start(&h->timer, 1000000, let_go);
}

static void start_timer(struct disk_case *c, struct node *node)
{
	struct hold *h = c->arg;

	(void)node;
	timer_start(&h->timer, 1000000, let_go);
}

static void stop_timer(struct disk_case *c)
{
	struct hold *h = c->arg;

	timer_stop(&h->timer);
	sim_set_fault(NULL, NULL);
	sim_release(NULL);
}

static bool run(uint64_t seed, uint64_t *held)
{
	struct hold hold = { .random = seed };
	struct disk_case c;
	char text[240];
	bool ok;

	disk_case_init(&c, seed);
	c.workers = 4;
	c.ops = 40;
	c.before = start_timer;
	c.after = stop_timer;
	c.arg = &hold;
	disk_case_describe(&c, text, sizeof(text));
	disk_case_make(&c);
	sim_set_fault(hold_punches, &hold);
	ok = disk_case_work(&c) && disk_case_verify(&c, true);
	if (!ok)
		printf("%s\n\t%s\n", text, c.text);
	disk_case_free(&c);
	*held += hold.held;
	return ok;
}

int main(void)
{
	unsigned passed = 0, failed = 0;
	uint64_t held = 0;

	for (uint64_t seed = 1; seed <= 60; seed++)
		run(seed, &held) ? passed++ : failed++;
	printf("%" PRIu64 " punches held back\n", held);
	if (!held)
		failed++;
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
