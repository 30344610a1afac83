/* SPDX-License-Identifier: MIT */
/*
 * crash-qcow2.c - power cuts while two threads write, zero, discard and flush
 * (A24, A25, A29).
 *
 *	crash-qcow2 [quick|check|soak] [-s SEED] [-n CUTS] [-p CUTS] [-q N]
 *		[-k CUT] [-a]
 *
 *	-s	first seed; each seed is one program on one image
 *	-n	cuts in all; 0: no end
 *	-p	cuts of a program, at most
 *	-q	every so manieth one is shown to qemu-img check too; 0: none
 *	-k	one cut of one seed
 *	-a	every write and flush of each program is a cut; -n programs
 *
 * Each program runs once whole: everything reads right, and the closed image
 * has neither errors nor leaks. Then again with a cut at its k-th write or
 * flush, k in an order of the seed's: what is left has no errors, and each
 * sector is its last flushed value or a later one.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/disk-case.h"
#include "tests/lib/mode.h"
#include "tests/lib/random.h"

struct options {
	uint64_t seed, cuts, per_program, qemu_every, only;
	bool all;
};

static unsigned passed, failed, qemu_checked;
/* what an assertion's death is told with */
static char now[200];

static void on_abort(int sig)
{
	(void)sig;
	(void)!write(2, now, strlen(now));
	(void)!write(2, " died\n", 6);
	signal(SIGABRT, SIG_DFL);
	raise(SIGABRT);
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

/* One run with its checks; returns how many writes and syncs there were. */
static uint64_t run(uint64_t seed, uint64_t cut, bool qemu)
{
	struct disk_case c;
	bool ok;

	disk_case_init(&c, seed);
	/* little room: what was given back is used again at once, and a rebuild
	 * of lazy refcounts has to find a place */
	if (seed % 4 == 3 && !c.direct)
		c.device = (4 + seed % 8) << c.spec.cluster_bits;
	c.cut_at = cut;
	disk_case_describe(&c, now, sizeof(now));
	disk_case_make(&c);
	ok = disk_case_work(&c);
	/* with lazy refcounts only the rebuild at open makes them right */
	if (ok && qemu && !c.spec.lazy_refcounts)
		ok = disk_case_qemu_check(&c);
	ok = ok && disk_case_verify(&c, !cut);
	if (ok && qemu && c.spec.lazy_refcounts)
		ok = disk_case_qemu_check(&c);
	qemu_checked += qemu;
	report(&c, ok);
	disk_case_free(&c);
	return c.writes;
}

/* The k-th of n numbers 1..n in an order of the seed's: a stride that has no
 * divisor in common with n meets each once. */
static uint64_t nth_cut(uint64_t seed, uint64_t k, uint64_t n)
{
	uint64_t r = seed, stride, a, b;

	do {
		stride = 1 + random_next(&r, n);
		for (a = stride, b = n; b;) {
			uint64_t rest = a % b;

			a = b;
			b = rest;
		}
	} while (a != 1);
	return 1 + (k * stride + random_next(&r, n)) % n;
}

static void run_all(const struct options *o)
{
	uint64_t cuts = 0, programs = 0;

	for (uint64_t seed = o->seed;; seed++, programs++) {
		uint64_t total, limit;

		if (o->cuts && (o->all ? programs : cuts) >= o->cuts)
			return;
		if (failed >= 20)
			return;
		total = run(seed, 0, false);
		limit = o->all || total < o->per_program ? total
							 : o->per_program;
		for (uint64_t k = 0; k < limit; k++, cuts++) {
			if (o->cuts && !o->all && cuts == o->cuts)
				return;
			run(seed, nth_cut(seed, k, total),
			    o->qemu_every && cuts % o->qemu_every == 0);
		}
	}
}

int main(int argc, char **argv)
{
	/* quick, check, soak: in soak every write of 600 programs is a cut */
	static const uint64_t cuts[] = { 250, 500, 600 };
	static const uint64_t qemu[] = { 25, 8, 40 };
	enum test_mode mode = test_mode(&argc, argv);
	struct options o = {
		.seed = 1,
		.cuts = cuts[mode],
		.per_program = 20,
		.qemu_every = qemu[mode],
		.all = mode == MODE_SOAK,
	};
	int opt;

	while ((opt = getopt(argc, argv, "s:n:p:q:k:a")) != -1) {
		switch (opt) {
		case 's': o.seed = strtoull(optarg, NULL, 0); break;
		case 'n': o.cuts = strtoull(optarg, NULL, 0); break;
		case 'p': o.per_program = strtoull(optarg, NULL, 0); break;
		case 'q': o.qemu_every = strtoull(optarg, NULL, 0); break;
		case 'k': o.only = strtoull(optarg, NULL, 0); break;
		case 'a': o.all = true; break;
		default: return 2;
		}
	}
	signal(SIGABRT, on_abort);
	if (!qemu_img_exists()) {
		printf("no qemu-img: its check is left out\n");
		o.qemu_every = 0;
	}
	if (o.only)
		run(o.seed, o.only, o.qemu_every);
	else
		run_all(&o);
	printf("%u of them shown to qemu-img check\n", qemu_checked);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
