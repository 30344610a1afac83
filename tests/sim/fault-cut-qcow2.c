/* SPDX-License-Identifier: MIT */
/*
 * fault-cut-qcow2.c - a flush of the file fails, work goes on, then the power
 * is cut (A24; tests/model/flush.pml with FAILURES).
 *
 *	fault-cut-qcow2 [quick|check|soak] [-s SEED] [-n PROGRAMS]
 *			[-k SYNC -d DISTANCE]
 *
 * What a failed flush wrote may be on disk or not, and stays so: the flushes
 * after it must order their writes for both. Direct files only: after a failed
 * flush of a cached one no later flush succeeds.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/sim.h"
#include "tests/lib/disk-case.h"
#include "tests/lib/mode.h"

/* Writes and syncs from the failed sync to the cut, at most. */
#define DISTANCE_MAX 12u

struct fault {
	uint64_t count, at;	/* syncs */
	unsigned distance;	/* to the cut */
};

static unsigned passed, failed;

static int inject(void *arg, const struct io *io)
{
	struct fault *f = arg;

	if (io->op != IO_SYNC || ++f->count != f->at)
		return 0;
	sim_power_cut_at(sim_write_count() + f->distance);
	return -EIO;
}

/* All holes, and four L2 tables to come. */
static void case_grow_tables(struct disk_case *c)
{
	c->spec.cluster_bits = 9;
	c->spec.size = 4 * 64 * 512;
	c->spec.backing = NULL;
	c->base_size = 0;
	c->spec.lazy_refcounts = false;
	c->holes_from = 0;
	c->hot = 0;
	c->hot_count = 4 * 64;
	c->workers = 1;
}

/* Returns how many syncs there were. */
static uint64_t run(uint64_t seed, uint64_t at, unsigned distance)
{
	struct fault fault = { .at = at, .distance = distance };
	struct disk_case c;
	char what[240];
	bool ok;

	disk_case_init(&c, seed);
	c.direct = true;
	c.align = 512;
	if (seed % 2)
		case_grow_tables(&c);
	c.faults = at;
	c.cut_at = at ? UINT64_MAX : 0;
	disk_case_describe(&c, what, sizeof(what));
	disk_case_make(&c);
	sim_set_fault(inject, &fault);
	ok = disk_case_work(&c);
	sim_set_fault(NULL, NULL);
	ok = ok && disk_case_verify(&c, !at);
	if (ok) {
		passed++;
	} else {
		failed++;
		printf("%s, sync %" PRIu64 " fails, cut %u later\n\t%s\n", what,
		       at, distance, c.text);
		fflush(stdout);
	}
	disk_case_free(&c);
	return fault.count;
}

static void run_program(uint64_t seed)
{
	uint64_t syncs = run(seed, 0, 0);

	for (uint64_t at = 1; at <= syncs; at++)
		run(seed, at, 1 + (unsigned)((seed + at * 7) % DISTANCE_MAX));
}

int main(int argc, char **argv)
{
	static const uint64_t amounts[] = { 10, 25, 10000 };
	uint64_t programs = amounts[test_mode(&argc, argv)];
	uint64_t seed = 1, at = 0;
	unsigned distance = 1;
	int opt;

	while ((opt = getopt(argc, argv, "s:n:k:d:")) != -1) {
		switch (opt) {
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': programs = strtoull(optarg, NULL, 0); break;
		case 'k': at = strtoull(optarg, NULL, 0); break;
		case 'd': distance = (unsigned)atoi(optarg); break;
		default: return 2;
		}
	}
	if (at)
		run(seed, at, distance);
	for (uint64_t i = 0; !at && i < programs; i++)
		run_program(seed + i);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
