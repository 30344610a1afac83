/* SPDX-License-Identifier: MIT */
/*
 * corruption-l2-refcount.c - an L2 table is not named by L1 before its
 * refcount is on disk.
 *
 * Seen elsewhere: the table was published first, writing its refcount then
 * failed for want of space, and after the next open the table was handed out
 * again. Here an empty image of small clusters needs L2 tables and refcount
 * blocks all the time, with the file bounded at every cluster and each of its
 * writes failing in turn.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "runtime/sim.h"
#include "tests/lib/disk-case.h"

struct fault {
	uint64_t count, at;
};

static int inject(void *arg, const struct io *io)
{
	struct fault *f = arg;

	if (io->op == IO_READ || io->op == IO_SYNC)
		return 0;
	return ++f->count == f->at ? -ENOSPC : 0;
}

static uint64_t run(uint64_t seed, uint64_t left, uint64_t at, bool *ok)
{
	struct fault fault = { .at = at };
	struct disk_case c;
	char text[240];

	disk_case_init(&c, seed);
	c.spec.version = 3;
	c.spec.cluster_bits = 9;
	c.spec.refcount_order = 6;
	c.spec.lazy_refcounts = false;
	c.spec.size = 600 << 9;
	c.spec.backing = NULL;
	c.base_size = 0;
	c.odds[0] = 100;
	for (unsigned i = 1; i < 5; i++)
		c.odds[i] = 0;
	c.workers = 2;
	c.limit = left << 9;
	c.faults = at;
	disk_case_describe(&c, text, sizeof(text));
	disk_case_make(&c);
	sim_set_fault(inject, &fault);
	*ok = disk_case_work(&c) && disk_case_verify(&c, false);
	if (!*ok)
		printf("%s, %" PRIu64 " clusters left, write %" PRIu64
		       " fails\n\t%s\n", text, left, at, c.text);
	disk_case_free(&c);
	return fault.count;
}

int main(void)
{
	unsigned passed = 0, failed = 0;
	bool ok;

	for (uint64_t seed = 1; seed <= 3; seed++) {
		uint64_t total;

		for (uint64_t left = 1; left < 80; left++) {
			run(seed, left, 0, &ok);
			ok ? passed++ : failed++;
		}
		total = run(seed, 0, 0, &ok);
		for (uint64_t at = 1; at <= total; at++) {
			run(seed, 0, at, &ok);
			ok ? passed++ : failed++;
		}
	}
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
