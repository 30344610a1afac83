/* SPDX-License-Identifier: MIT */
/*
 * corruption-l2-reuse.c - an L2 table that is replaced is not free before its
 * replacement is secured.
 *
 * Seen elsewhere: the old table went to the free list first; then the new one
 * could not be had (no space), the old one stayed in use and was handed out for
 * data. Here every L2 table looks shared, so the first write to each would have
 * to replace it, and the file may grow by 0, 1, 2, ... clusters only.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tests/lib/disk-case.h"

static bool run(uint64_t seed, uint64_t left)
{
	struct disk_case c;
	char text[240];
	bool ok;

	disk_case_init(&c, seed);
	c.spec.l2_not_copied = true;
	c.spec.version = 3;
	c.spec.refcount_order = 1 + (unsigned)(seed % 6);
	c.spec.lazy_refcounts = false;
	c.limit = (left << c.spec.cluster_bits) + 1;
	disk_case_describe(&c, text, sizeof(text));
	disk_case_make(&c);
	ok = disk_case_work(&c) && disk_case_verify(&c, false);
	if (!ok)
		printf("%s, %" PRIu64 " clusters left\n\t%s\n", text, left,
		       c.text);
	disk_case_free(&c);
	return ok;
}

int main(void)
{
	unsigned passed = 0, failed = 0;

	for (uint64_t seed = 1; seed <= 12; seed++)
		for (uint64_t left = 0; left < 10; left++)
			run(seed, left) ? passed++ : failed++;
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
