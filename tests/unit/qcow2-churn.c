/* SPDX-License-Identifier: MIT */
/*
 * qcow2-churn.c - what small images never do: caches that are much too small,
 * refcount blocks and reftables that are made while two threads write, a
 * full limbo of L2 slices; run to the end, and cut off at seeded points.
 *
 * qcow2-churn [quick|check|soak] [-s FIRST_SEED] [-n SEEDS] [-c CUTS_EACH]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/sim.h"
#include "tests/lib/disk-case.h"
#include "tests/lib/mode.h"
#include "tests/lib/random.h"

static const struct shape {
	const char *name;
	unsigned version, cluster_bits, refcount_order;
	uint64_t size;
	unsigned odds[5];	/* of enum image_cluster, a sum of 100 */
	uint64_t l2_cache, refcount_cache;
	bool lazy, backing, without_base, shared_l2, copies;
	unsigned ops;
	uint64_t device;	/* see disk-case.h */
} shapes[] = {
	/* 64 refcounts a block, 64 blocks a reftable cluster: 2 MiB */
	{ "reftable moves", 3, 9, 6, 6 << 20, { 70, 30 }, 0, 0,
	  .ops = 90 },
	{ "reftable moves, lazy", 3, 9, 6, 6 << 20, { 70, 30 }, 0, 0,
	  .lazy = true, .ops = 90 },
	{ "sixteen slices", 3, 9, 4, 2 << 20, { 60, 20, 10, 10 }, 1, 1,
	  .ops = 60 },
	{ "sixteen slices, backing", 3, 9, 5, 2 << 20,
	  { 60, 20, 5, 5, 10 }, 1, 1, .backing = true, .ops = 60 },
	{ "sixteen slices, lazy", 3, 9, 6, 2 << 20, { 50, 50 }, 1, 1,
	  .lazy = true, .ops = 60 },
	{ "one bit", 3, 9, 0, 2 << 20, { 100 }, 1, 1, .ops = 60 },
	{ "version 2", 2, 9, 4, 2 << 20, { 60, 30, 0, 0, 10 }, 1, 1,
	  .backing = true, .ops = 60 },
	{ "shared L2 tables", 3, 10, 4, 1 << 20, { 40, 40, 10, 10 }, 1, 1,
	  .shared_l2 = true, .ops = 40 },
	{ "shared L2 tables of many slices", 3, 14, 4, 1 << 20,
	  { 40, 40, 10, 10 }, 1, 1, .shared_l2 = true, .ops = 30 },
	{ "many slices a table", 3, 16, 4, 64 << 20, { 99, 1 }, 1, 1,
	  .ops = 20 },
	{ "copies", 3, 12, 4, 1 << 20, { 40, 20, 10, 10, 20 }, 1, 1,
	  .backing = true, .ops = 50 },
	{ "copies, version 2", 2, 16, 4, 4 << 20, { 50, 20, 0, 0, 30 }, 0, 0,
	  .backing = true, .ops = 30 },
	{ "without its base", 3, 12, 4, 1 << 20, { 50, 10, 10, 10, 20 }, 1, 1,
	  .backing = true, .without_base = true, .ops = 60 },
	{ "without its base, version 2", 2, 9, 4, 1 << 20,
	  { 70, 20, 0, 0, 10 }, 1, 1, .backing = true, .without_base = true,
	  .ops = 60 },
	{ "without its base, lazy", 3, 16, 4, 4 << 20, { 70, 20, 0, 0, 10 }, 1,
	  1, .lazy = true, .backing = true, .without_base = true, .ops = 40 },
	{ "copies in parts", 3, 19, 4, 8 << 20, { 40, 20, 10, 10, 20 }, 0, 0,
	  .backing = true, .ops = 12 },
	{ "small device", 3, 12, 4, 1 << 20, { 40, 60 }, 1, 1,
	  .ops = 80, .device = 40 << 12 },
	{ "small device, backing", 3, 14, 4, 2 << 20, { 60, 20, 10, 10 }, 1,
	  1, .backing = true, .ops = 60, .device = 20 << 14 },
	{ "small device, version 2", 2, 9, 4, 1 << 20, { 60, 40 }, 1, 1,
	  .ops = 80, .device = 300 << 9 },
	{ "small device, lazy", 3, 10, 6, 1 << 20, { 50, 50 }, 1, 1,
	  .lazy = true, .ops = 80, .device = 200 << 10 },
	{ "device", 3, 14, 4, 256 << 20, { 100 }, 1, 1, .ops = 30,
	  .device = 32 << 20 },
	{ "device, new refcount blocks", 3, 13, 6, 24 << 20, { 35, 65 }, 1, 1,
	  .ops = 50, .device = 16 << 20 },
	{ "copied on read", 3, 12, 4, 1 << 20, { 50, 15, 5, 5, 25 }, 1, 1,
	  .backing = true, .copies = true, .ops = 60 },
	{ "copied on read, version 2", 2, 9, 4, 1 << 20,
	  { 70, 20, 0, 0, 10 }, 1, 1, .backing = true, .copies = true,
	  .ops = 60 },
	{ "copied on read, small device", 3, 14, 4, 2 << 20,
	  { 80, 10, 5, 5 }, 1, 1, .backing = true, .copies = true, .ops = 60,
	  .device = 20 << 14 },
	{ "copied on read, lazy", 3, 16, 4, 16 << 20, { 80, 20 }, 1, 1,
	  .lazy = true, .backing = true, .copies = true, .ops = 40 },
	{ "largest clusters", 3, 21, 4, 16 << 20, { 40, 20, 10, 10, 20 }, 0,
	  0, .backing = true, .ops = 6 },
};

static unsigned passed, failed;

static void set_up(struct disk_case *c, const struct shape *shape,
		   uint64_t seed)
{
	disk_case_init(c, seed);
	c->spec.version = shape->version;
	c->spec.cluster_bits = shape->cluster_bits;
	c->spec.refcount_order = shape->refcount_order;
	c->spec.size = shape->size;
	c->spec.lazy_refcounts = shape->lazy;
	c->spec.l2_not_copied = shape->shared_l2;
	c->copies = shape->copies;
	c->spec.backing = shape->backing ? "base.raw" : NULL;
	c->spec.backing_format = shape->backing ? "raw" : NULL;
	c->without_base = shape->without_base;
	c->base_size = shape->backing ? shape->size / 2 + 512 : 0;
	for (unsigned i = 0; i < 5; i++)
		c->odds[i] = shape->odds[i];
	c->direct = false;
	c->align = 1;
	/* everywhere alike */
	c->holes_from = UINT64_MAX;
	c->hot = 0;
	c->hot_count = div_up(shape->size, 1u << shape->cluster_bits);
	c->l2_cache = shape->l2_cache;
	c->refcount_cache = shape->refcount_cache;
	c->workers = 4;
	c->ops = shape->ops;
	c->device = shape->device;
}

/* Returns how many writes and syncs the run made. */
static uint64_t run(const struct shape *shape, uint64_t seed, uint64_t cut)
{
	struct disk_case c;
	uint64_t writes;
	/* the builder's shared tables leak one reference each */
	bool clean = !cut && !shape->shared_l2;
	bool ok;

	set_up(&c, shape, seed);
	c.cut_at = cut;
	disk_case_make(&c);
	ok = disk_case_work(&c);
	writes = c.writes;
	ok = ok && disk_case_verify(&c, clean);
	if (ok)
		passed++;
	else
		printf("%s, seed %" PRIu64 ", cut %" PRIu64 "\n\t%s\n",
		       shape->name, seed, cut, c.text);
	failed += !ok;
	disk_case_free(&c);
	return writes;
}

/* The smallest caches there are, at every size of clusters. */
static void run_small(uint64_t seed, uint64_t cuts)
{
	for (unsigned bits = 9; bits <= 21; bits++) {
		bool large = bits > 16;
		struct shape shape = {
			.name = "smallest caches",
			.version = 3,
			.cluster_bits = bits,
			.refcount_order = (unsigned)(seed + bits) % 7,
			.size = large ? UINT64_C(6) << bits : 1 << 20,
			.odds = { 50, 20, 10, 10, 10 },
			.l2_cache = 1,
			.refcount_cache = 1,
			.backing = bits & 1,
			.without_base = bits & 1 && bits & 2,
			.ops = large ? 6 : 30,
		};
		uint64_t r = seed * 37 + bits, all = run(&shape, seed, 0);

		for (uint64_t k = 0; k < cuts; k++)
			run(&shape, seed, 1 + random_next(&r, all));
	}
}

int main(int argc, char **argv)
{
	/* quick, check, soak */
	static const uint64_t amounts[][2] = { { 1, 1 }, { 1, 3 }, { 50, 20 } };
	const uint64_t *amount = amounts[test_mode(&argc, argv)];
	uint64_t first = 1, seeds = amount[0], cuts = amount[1];
	int opt;

	while ((opt = getopt(argc, argv, "s:n:c:")) != -1) {
		switch (opt) {
		case 's': first = strtoull(optarg, NULL, 0); break;
		case 'n': seeds = strtoull(optarg, NULL, 0); break;
		case 'c': cuts = strtoull(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
			uint64_t r = seed * 31 + i;
			uint64_t all = run(&shapes[i], seed, 0);

			for (uint64_t k = 0; k < cuts; k++)
				run(&shapes[i], seed,
				    1 + random_next(&r, all));
		}
		run_small(seed, cuts / 2);
	}
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
