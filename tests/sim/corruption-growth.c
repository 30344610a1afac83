/* SPDX-License-Identifier: MIT */
/*
 * corruption-growth.c - the file does not outgrow what the disk can hold.
 *
 * Seen elsewhere: refcount blocks that had moved were never reused, and the
 * file doubled while its check stayed clean. Here small images are written,
 * discarded and flushed over and over; the file stays below the disk's size,
 * its tables, and what can be on its way through limbo meanwhile.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/sim.h"
#include "tests/lib/disk-case.h"

/* Clusters that a full image of this geometry has. */
static uint64_t full_clusters(const struct image_spec *spec)
{
	uint64_t size = UINT64_C(1) << spec->cluster_bits;
	uint64_t guests = (spec->size + size - 1) / size;
	uint64_t l2 = (guests * 8 + size - 1) / size;
	uint64_t l1 = (l2 * 8 + size - 1) / size;
	uint64_t all = 1 + guests + l2 + l1;
	uint64_t per_block = size * 8 >> spec->refcount_order;

	/* twice: blocks and tables count themselves */
	return all + 2 * (all / per_block + 2);
}

static bool run(uint64_t seed)
{
	struct disk_case c;
	char text[240];
	uint64_t size, bound;
	void *data;
	bool ok;

	disk_case_init(&c, seed);
	c.spec.cluster_bits = 9;
	c.spec.size = (100 + seed) << 9;
	c.workers = 4;
	c.ops = 1000;
	disk_case_describe(&c, text, sizeof(text));
	disk_case_make(&c);
	ok = disk_case_work(&c) && disk_case_verify(&c, true);
	size = sim_file_get(CASE_IMAGE, &data);
	free(data);
	/* all in use, and again while flushed, and while its grace ends */
	bound = 3 * full_clusters(&c.spec) << c.spec.cluster_bits;
	if (!ok)
		printf("%s\n\t%s\n", text, c.text);
	else if (size > bound)
		printf("%s\n\tfile has %" PRIu64 " bytes, more than %" PRIu64
		       "\n", text, size, bound);
	disk_case_free(&c);
	return ok && size <= bound;
}

int main(void)
{
	unsigned passed = 0, failed = 0;

	for (uint64_t seed = 1; seed <= 24; seed++)
		run(seed) ? passed++ : failed++;
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
