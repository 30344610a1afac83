/* SPDX-License-Identifier: MIT */
/*
 * corruption-multiqueue-backing.c - several queues over a backing file, in
 * small pieces: what is copied up is neither lost nor stale.
 *
 * Seen elsewhere: file system checksums failed with several queues and a
 * backing file only. Here many coroutines of two threads write, read, zero and
 * discard parts of the same clusters of an empty overlay.
 */
#include <stdio.h>

#include "tests/lib/disk-case.h"

static bool run(uint64_t seed)
{
	struct disk_case c;
	char text[240];
	bool ok;

	disk_case_init(&c, seed);
	c.spec.cluster_bits = 12 + (unsigned)(seed % 3) * 2;
	c.spec.size = (20 + seed) << c.spec.cluster_bits;
	c.spec.backing = "base.raw";
	c.spec.backing_format = "raw";
	c.base_size = c.spec.size;
	c.odds[0] = 100;
	for (unsigned i = 1; i < 5; i++)
		c.odds[i] = 0;
	c.workers = 8;
	c.ops = 40;
	disk_case_describe(&c, text, sizeof(text));
	disk_case_make(&c);
	ok = disk_case_work(&c) && disk_case_verify(&c, true);
	if (!ok)
		printf("%s\n\t%s\n", text, c.text);
	disk_case_free(&c);
	return ok;
}

int main(void)
{
	unsigned passed = 0, failed = 0;

	for (uint64_t seed = 1; seed <= 40; seed++)
		run(seed) ? passed++ : failed++;
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
