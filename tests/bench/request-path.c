/* SPDX-License-Identifier: MIT */
/*
 * request-path.c - so many requests, one after the other, through a node on the
 * simulated runtime: what tests/bench/path counts instructions of, in graph/
 * and drivers/ alone, the same in every run.
 *
 *	request-path OPTIONS read|write COUNT [IMAGE]
 *
 * OPTIONS are blockdev-add's; a file node finds 1 MiB at /sim/raw, and IMAGE,
 * if there is one, at /sim/image; a throttle node finds the group "far", whose
 * limits nobody reaches, and "off", without any.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/filter/throttle/group.h"
#include "graph/root.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"

#define BLOCK 4096u
#define BLOCKS 256u

struct load {
	const char *options;
	const char *image;
	enum req_op op;
	unsigned long count;
	struct disk disk;
};

static void load_run(void *arg)
{
	struct load *l = arg;
	void *buf = aligned_alloc(BLOCK, BLOCK);

	if (!buf)
		abort();
	memset(buf, 1, BLOCK);
	for (unsigned long i = 0; i < l->count; i++) {
		struct request req = {
			.op = (uint8_t)l->op,
			.offset = i * 7919 % BLOCKS * BLOCK,
			.len = BLOCK,
			.buf = buf,
			.fixed = IO_NOT_FIXED,
		};

		if (co_root_submit(l->disk.root, &req) < 0)
			abort();
	}
	free(buf);
}

static void bring_image(const char *path)
{
	FILE *file = fopen(path, "rb");
	void *data = malloc(BLOCK * BLOCKS * 4);
	size_t size;

	if (!file || !data)
		abort();
	size = fread(data, 1, BLOCK * BLOCKS * 4, file);
	fclose(file);
	sim_file_create("/sim/image", 0);
	sim_file_set("/sim/image", data, size);
	free(data);
}

static struct throttle_group *group_with(const char *name, int64_t iops,
					 int64_t bps)
{
	struct throttle_limits l = { .iops_size = 0 };

	for (unsigned i = 0; i < THROTTLE_LIMITS; i++)
		l.rate[i].length = 1;
	l.rate[THROTTLE_IOPS_READ].avg = iops;
	l.rate[THROTTLE_IOPS_WRITE].avg = iops;
	l.rate[THROTTLE_BPS_TOTAL].avg = bps;
	return throttle_group_new(name, &l);
}

static void load_body(void *arg)
{
	struct throttle_group *far = group_with("far", 100000000,
						INT64_C(400000000000));
	struct throttle_group *off = group_with("off", 0, 0);
	struct crew crew = { .working = 0 };
	struct crew_member member;
	struct error *err = NULL;
	struct load *l = arg;

	sim_step_rate(0);
	sim_file_create("/sim/raw", BLOCK * BLOCKS);
	if (l->image)
		bring_image(l->image);
	if (disk_open(&l->disk, l->options, DISK_WRITABLE, 0, &err) < 0) {
		fprintf(stderr, "%s\n", err->text);
		exit(1);
	}
	crew_start(&crew, &member, 1, load_run, l);
	crew_wait(&crew);
	disk_close(&l->disk);
	throttle_group_put_last(far);
	throttle_group_put_last(off);
}

int main(int argc, char **argv)
{
	struct load l;

	if (argc < 4)
		return 2;
	l = (struct load){
		.options = argv[1],
		.op = strcmp(argv[2], "write") ? REQ_READ : REQ_WRITE,
		.count = strtoul(argv[3], NULL, 0),
		.image = argv[4],
	};
	test_run(1, 1, load_body, &l);
	return 0;
}
