/* SPDX-License-Identifier: MIT */
/*
 * qcow2-interop.c - images that qemu-img made read here as they do there;
 * after writes of ours qemu-img finds no error and the same bytes (D1).
 *
 * The images go between the host's files and the simulation's.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/status.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/random.h"

#define SIZE (6u << 20)
#define STEP (256u << 10)
#define TOP "/sim/top.qcow2"
#define BASE "/sim/base.qcow2"
#define OPTIONS "{\"driver\":\"qcow2\",\"node-name\":\"d\"," \
	"\"discard\":\"unmap\",\"file\":{\"driver\":\"file\"," \
	"\"discard\":\"unmap\",\"filename\":\"" TOP "\"}}"

/* Options of the image and, where not NULL, of one below it; size of that. */
static const struct kind {
	const char *top, *base;
	const char *base_size;
} kinds[] = {
	{ "compat=0.10", NULL, NULL },
	{ "compat=1.1", NULL, NULL },
	{ "cluster_size=512", NULL, NULL },
	{ "cluster_size=4k,refcount_bits=64", NULL, NULL },
	{ "cluster_size=2M", NULL, NULL },
	{ "refcount_bits=1,cluster_size=1k", NULL, NULL },
	{ "refcount_bits=2", NULL, NULL },
	{ "refcount_bits=32,lazy_refcounts=on", NULL, NULL },
	{ "preallocation=metadata", NULL, NULL },
	{ "preallocation=full", NULL, NULL },
	{ "preallocation=metadata,cluster_size=512,refcount_bits=8", NULL,
	  NULL },
	{ "compression_type=zstd", NULL, NULL },
	{ "compression_type=zstd,cluster_size=16k", NULL, NULL },
	{ "compat=1.1", "compat=1.1", "6M" },
	{ "compat=0.10", "compression_type=zstd", "6M" },
	{ "cluster_size=4k", "cluster_size=2M", "2M" },
	{ "cluster_size=2M", "cluster_size=512", "1000k" },
	{ "compat=0.10", "compat=0.10", "12M" },
};

static unsigned passed, failed;
static char dir[100];

/* Runs a shell command in the directory; 0 when it succeeded. */
__attribute__((format(printf, 1, 2)))
static int sh(const char *fmt, ...)
{
	char cmd[900];
	size_t n = (size_t)snprintf(cmd, sizeof(cmd), "cd %s && ", dir);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd + n, sizeof(cmd) - n, fmt, ap);
	va_end(ap);
	return system(cmd);
}

static uint8_t *slurp(const char *name, uint64_t *size)
{
	char path[200];
	uint8_t *data;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		abort();
	fseek(f, 0, SEEK_END);
	*size = (uint64_t)ftell(f);
	rewind(f);
	data = malloc(*size + 1);
	if (!data || fread(data, 1, *size, f) != *size)
		abort();
	fclose(f);
	return data;
}

static void spill(const char *name, const void *data, uint64_t size)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f))
		abort();
}

static void to_sim(const char *name, const char *sim)
{
	uint64_t size;
	uint8_t *data = slurp(name, &size);

	sim_file_create(sim, 0);
	sim_file_set(sim, data, size);
	free(data);
}

/* A mixture of everything that qemu-io can put into an image. */
static int qemu_fill(const char *name, uint64_t size, uint64_t seed)
{
	uint64_t r = seed;
	int ret = 0;

	/* refused where there is a cluster already: preallocated images */
	for (uint64_t c = 0; c < size >> 21; c += 2)
		sh("qemu-io -f qcow2 -c 'write -c -P %u %uM 2M' %s >/dev/null"
		   " 2>&1", (unsigned)c + 9, (unsigned)c * 2, name);
	for (unsigned i = 0; i < 4 && ret == 0; i++) {
		uint64_t at = align_down(random_next(&r, size / 2), 512);
		uint64_t len = 512 + align_down(random_next(&r, size / 4), 512);
		unsigned byte = (unsigned)random_next(&r, 255) + 1;

		ret = sh("qemu-io -f qcow2 -c 'write -P %u %" PRIu64 " %"
			 PRIu64 "' -c 'write -z %" PRIu64 " %" PRIu64
			 "' -c 'write -z -u %" PRIu64 " 128k' -c 'discard %"
			 PRIu64 " 64k' %s >/dev/null", byte, at, len,
			 align_down(at + len / 2, 512),
			 align_down(len / 3, 512), align_down(at, 65536),
			 align_down(at + len, 65536), name);
	}
	return ret;
}

static int qemu_make(const struct kind *k, uint64_t seed)
{
	uint64_t base_size = k->base ? strtoull(k->base_size, NULL, 10) : 0;

	if (k->base) {
		base_size *= strchr(k->base_size, 'M') ? 1 << 20 : 1 << 10;
		if (sh("qemu-img create -q -f qcow2 -o %s base.qcow2 %s",
		       k->base, k->base_size) ||
		    qemu_fill("base.qcow2", base_size, seed + 1))
			return -1;
	}
	if (sh("qemu-img create -q -f qcow2 %s -o %s top.qcow2 %u",
	       k->base ? "-b base.qcow2 -F qcow2" : "", k->top, SIZE))
		return -1;
	return qemu_fill("top.qcow2", SIZE, seed);
}

struct run {
	uint64_t random;
	uint8_t *truth;		/* what the disk holds */
	const char *wrong;
};

static void compare(struct run *run, struct disk *d, uint8_t *buf,
		    const char *what)
{
	for (uint64_t at = 0; at < SIZE; at += STEP) {
		if (disk_request(d, REQ_READ, 0, at, STEP, buf) ||
		    memcmp(buf, run->truth + at, STEP))
			run->wrong = what;
	}
}

/* The answers tile the disk, and what they call zero is zero. */
static void compare_status(struct run *run, struct disk *d)
{
	struct status st = {};

	for (uint64_t at = 0; at < SIZE; at += st.len) {
		if (disk_request(d, REQ_STATUS, 0, at, SIZE - (uint32_t)at,
				 &st) || !st.len || st.len % 512 ||
		    st.len > SIZE - at) {
			run->wrong = "has no status";
			return;
		}
		for (uint64_t i = 0; st.flags & STATUS_ZERO && i < st.len; i++)
			if (run->truth[at + i])
				run->wrong = "has data where zeroes should be";
	}
}

static void change(struct run *run, struct disk *d, uint8_t *buf)
{
	uint64_t *r = &run->random;
	uint64_t at = align_down(random_next(r, SIZE), 512);
	uint64_t most = random_next(r, 2) ? 8192 : STEP - 512;
	uint64_t len = 512 + align_down(random_next(r, most), 512);
	uint64_t what = random_next(r, 10);

	len = min(len, SIZE - at);
	if (what < 6) {
		memset(buf, (int)random_next(r, 256), len);
		if (disk_request(d, REQ_WRITE, what < 2 ? REQ_FUA : 0, at,
				 (uint32_t)len, buf))
			run->wrong = "write failed";
		memcpy(run->truth + at, buf, len);
	} else if (what < 8) {
		if (disk_request(d, REQ_ZEROES, what & 1 ? REQ_NO_UNMAP : 0,
				 at, (uint32_t)len, NULL))
			run->wrong = "zeroes failed";
		memset(run->truth + at, 0, len);
	} else {
		/* may or may not do anything: what it did is the truth */
		if (disk_request(d, REQ_DISCARD, 0, at, (uint32_t)len, NULL) ||
		    disk_request(d, REQ_READ, 0, at, (uint32_t)len,
				 run->truth + at))
			run->wrong = "discard failed";
	}
}

static void body(void *arg)
{
	struct run *run = arg;
	struct error *err = NULL;
	uint8_t *buf = aligned_alloc(4096, STEP);
	struct disk d;

	if (!buf)
		abort();
	if (disk_open(&d, OPTIONS, DISK_WRITABLE, 0, &err)) {
		run->wrong = "not opened";
		printf("%s\n", err->text);
		error_clear(&err);
		free(buf);
		return;
	}
	compare(run, &d, buf, "reads otherwise than in qemu-img");
	compare_status(run, &d);
	for (unsigned i = 0; i < 120 && !run->wrong; i++)
		change(run, &d, buf);
	compare(run, &d, buf, "reads otherwise than written");
	compare_status(run, &d);
	disk_close(&d);
	free(buf);
}

/* What is left of the run is an image that qemu-img likes, and the same. */
static const char *qemu_agrees(const struct run *run)
{
	uint8_t *raw;
	uint64_t size;
	void *data;
	int differs;

	size = sim_file_get(TOP, &data);
	spill("top.qcow2", data, size);
	free(data);
	if (sh("qemu-img check -q top.qcow2"))
		return "qemu-img check is not content";
	if (sh("qemu-img convert -O raw top.qcow2 after.raw"))
		return "qemu-img cannot read it";
	raw = slurp("after.raw", &size);
	differs = size != SIZE || memcmp(raw, run->truth, SIZE);
	free(raw);
	return differs ? "qemu-img reads otherwise" : NULL;
}

static void test(const struct kind *k, uint64_t seed)
{
	struct run run = { .random = seed };
	uint64_t size;

	sh("rm -f *.qcow2 *.raw");
	if (qemu_make(k, seed) ||
	    sh("qemu-img convert -O raw top.qcow2 before.raw"))
		run.wrong = "qemu-img could not make it";
	if (!run.wrong) {
		run.truth = slurp("before.raw", &size);
		to_sim("top.qcow2", TOP);
		if (k->base)
			to_sim("base.qcow2", BASE);
		test_run(1, seed, body, &run);
		if (!run.wrong)
			run.wrong = qemu_agrees(&run);
		sim_file_remove(TOP);
		if (k->base)
			sim_file_remove(BASE);
		free(run.truth);
	}
	if (run.wrong)
		printf("%s over %s, seed %" PRIu64 ": %s\n", k->top,
		       k->base ? k->base : "nothing", seed, run.wrong);
	run.wrong ? failed++ : passed++;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	const char *tmp = getenv("TMPDIR");

	if (system("qemu-img --version >/dev/null 2>&1")) {
		printf("no qemu-img\n0 passed, 0 failed, %zu skipped\n",
		       ARRAY_SIZE(kinds));
		return 77;
	}
	snprintf(dir, sizeof(dir), "%s/qcow2-interop-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		test(&kinds[i], seed + i);
	sh("rm -f *.qcow2 *.raw");
	rmdir(dir);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
