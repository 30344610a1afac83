/* SPDX-License-Identifier: MIT */
/*
 * fault-qcow2.c - EIO and ENOSPC at every step (A24).
 *
 *	fault-qcow2 [quick|check|soak] [-s SEED] [-n PROGRAMS] [-k N -e ERRNO]
 *		[-f PAGES]
 *
 * Each program (a seed) runs once and its writes, syncs, punches and
 * allocations are counted; then once for each of them with that one failing,
 * and for each cluster that the file may still grow by, and for each amount of
 * space that its host may have left (Q17). After each run the image is opened
 * again: no errors, only leaks, and every sector holds what it may.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/sim.h"
#include "tests/lib/disk-case.h"
#include "tests/lib/mode.h"

struct fault {
	uint64_t count, at;
	int error;
};

static unsigned passed, failed;
static char now[240];

static void on_abort(int sig)
{
	(void)sig;
	(void)!write(2, now, strlen(now));
	(void)!write(2, " died\n", 6);
	signal(SIGABRT, SIG_DFL);
	raise(SIGABRT);
}

static int inject(void *arg, const struct io *io)
{
	struct fault *f = arg;

	if (io->op == IO_READ)
		return 0;
	return ++f->count == f->at ? f->error : 0;
}

static void report(const struct disk_case *c, bool ok)
{
	if (ok) {
		passed++;
		return;
	}
	failed++;
	printf("%s\n\t%s\n", now, c->text);
	fflush(stdout);
}

/* Returns how many operations could have failed. */
static uint64_t run(uint64_t seed, uint64_t at, int error, uint64_t limit)
{
	struct fault fault = { .at = at, .error = error };
	struct disk_case c;
	size_t n;
	bool ok;

	disk_case_init(&c, seed);
	c.workers = 2;
	c.ops = 12;
	c.faults = at;
	c.limit = limit;
	disk_case_describe(&c, now, sizeof(now));
	n = strlen(now);
	snprintf(now + n, sizeof(now) - n, ", operation %" PRIu64 " gets %d,"
		 " %" PRIu64 " bytes left", at, error, limit);
	disk_case_make(&c);
	sim_set_fault(inject, &fault);
	/* a write that failed may have been written in part */
	sim_fault_tears(at % 3 == 0);
	ok = disk_case_work(&c);
	sim_fault_tears(false);
	sim_set_fault(NULL, NULL);
	report(&c, ok && disk_case_verify(&c, !at && !limit));
	disk_case_free(&c);
	return fault.count;
}

/* On a host that has so many pages left: writes may find no space, but what
 * was acknowledged is flushed. True: some found none. */
static bool run_full(uint64_t seed, uint64_t pages)
{
	struct disk_case c;
	size_t n;
	bool ok;

	disk_case_init(&c, seed);
	c.space = pages;
	disk_case_describe(&c, now, sizeof(now));
	n = strlen(now);
	snprintf(now + n, sizeof(now) - n, ", %" PRIu64 " pages left", pages);
	disk_case_make(&c);
	ok = disk_case_work(&c);
	report(&c, ok && disk_case_verify(&c, true));
	disk_case_free(&c);
	return c.errors;
}

static void run_program(uint64_t seed)
{
	uint64_t total = run(seed, 0, 0, 0);
	struct disk_case c;

	for (uint64_t n = 1; n <= total; n++)
		run(seed, n, (seed + n) % 2 ? -EIO : -ENOSPC, 0);
	disk_case_init(&c, seed);
	for (uint64_t left = 1; left <= 12; left++)
		run(seed, 0, 0, left << c.spec.cluster_bits);
	for (uint64_t pages = 0; run_full(seed, pages);)
		pages += 1 + pages / 16;
}

int main(int argc, char **argv)
{
	static const uint64_t programs_of[] = { 2, 5, 500 };
	enum test_mode mode = test_mode(&argc, argv);
	uint64_t seed = 1, programs = programs_of[mode], at = 0;
	int64_t full = -1;
	int error = EIO, opt;

	while ((opt = getopt(argc, argv, "s:n:k:e:f:")) != -1) {
		switch (opt) {
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': programs = strtoull(optarg, NULL, 0); break;
		case 'k': at = strtoull(optarg, NULL, 0); break;
		case 'e': error = atoi(optarg); break;
		case 'f': full = atoll(optarg); break;
		default: return 2;
		}
	}
	signal(SIGABRT, on_abort);
	if (at)
		run(seed, at, -abs(error), 0);
	if (full >= 0)
		run_full(seed, (uint64_t)full);
	for (uint64_t i = 0; !at && full < 0 && i < programs; i++)
		run_program(seed + i);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
