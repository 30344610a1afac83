/* SPDX-License-Identifier: MIT */
/*
 * qcow2-open.c - an image file of any bytes: opened, checked, read; then
 * opened for writing, written to, and checked again (A26, D5).
 *
 * Nothing may crash, hang or take memory without bound. A read-only opening
 * leaves every byte as it was. An image without errors has none after writes
 * either.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/format/qcow2/check.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"

#define PATH "/sim/fuzz.qcow2"
#define READ_MAX 65536u
#define PROBES 24u

#define OPTIONS(more) \
	"{\"driver\": \"qcow2\", \"node-name\": \"disk\", \"backing\": null," \
	" \"discard\": \"unmap\"" more ", \"file\": {\"driver\": \"file\"," \
	" \"discard\": \"unmap\", \"filename\": \"" PATH "\"}}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
	uint8_t *buf;
	bool clean;	/* the check found no error */
};

/* Offsets near the start, near the end, and by the input's own bytes. */
static uint64_t probe_offset(const struct input *in, const struct disk *d,
			     unsigned i)
{
	uint64_t size = align_down(d->node->size, 512), v = 0;

	if (!size)
		return 0;
	if (i % 3 == 0)
		return (uint64_t)i * 4096 % size;
	if (i % 3 == 1)
		return size - 512 * (1 + i % min(size / 512, 8ul));
	memcpy(&v, in->data + i * 8 % (in->size - 8), 8);
	return align_down(v % size, 512);
}

static uint32_t probe_len(const struct disk *d, uint64_t offset)
{
	return (uint32_t)min(align_down(d->node->size, 512) - offset,
			     (uint64_t)READ_MAX);
}

static bool is_clean(struct node *node)
{
	struct qcow2_check check = { .errors = 0 };

	return qcow2_check(node->file, &check) == 0 && !check.errors;
}

static void read_body(void *arg)
{
	struct input *in = arg;
	struct error *err = NULL;
	struct disk d;

	if (disk_open(&d, OPTIONS(", \"read-only\": true"),
		      PERM_CONSISTENT_READ, 0, &err) < 0) {
		error_clear(&err);
		return;
	}
	in->clean = is_clean(d.node);
	for (unsigned i = 0; i < PROBES && d.node->size >= 512; i++) {
		uint64_t offset = probe_offset(in, &d, i);

		(void)disk_request(&d, REQ_READ, 0, offset,
				   probe_len(&d, offset), in->buf);
	}
	disk_close(&d);
}

static void write_body(void *arg)
{
	struct input *in = arg;
	struct error *err = NULL;
	struct disk d;

	if (disk_open(&d, OPTIONS(""), DISK_WRITABLE, 0, &err) < 0) {
		error_clear(&err);
		return;
	}
	memset(in->buf, 0x55, READ_MAX);
	for (unsigned i = 0; i < PROBES && d.node->size >= 512; i++) {
		static const enum req_op ops[] = {
			REQ_WRITE, REQ_WRITE, REQ_ZEROES, REQ_DISCARD,
			REQ_FLUSH,
		};
		enum req_op op = ops[in->data[i % in->size] %
				     ARRAY_SIZE(ops)];
		uint64_t offset = probe_offset(in, &d, i);

		if (op == REQ_FLUSH)
			(void)disk_request(&d, op, 0, 0, 0, NULL);
		else
			(void)disk_request(&d, op, 0, offset,
					   probe_len(&d, offset),
					   op == REQ_WRITE ? in->buf : NULL);
	}
	disk_close(&d);
}

static void check_body(void *arg)
{
	struct error *err = NULL;
	struct disk d;

	(void)arg;
	if (disk_open(&d, OPTIONS(", \"read-only\": true"),
		      PERM_CONSISTENT_READ, 0, &err) < 0)
		abort();
	assert(is_clean(d.node));
	disk_close(&d);
}

static void assert_untouched(const struct input *in)
{
	void *data;

	assert(sim_file_get(PATH, &data) == in->size);
	assert(!memcmp(data, in->data, in->size));
	free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .data = data, .size = size };

	if (size < 512)
		return 0;
	in.buf = aligned_alloc(4096, READ_MAX);
	assert(in.buf);
	sim_file_create(PATH, 0);
	sim_file_set(PATH, data, size);
	sim_file_limit(PATH, 64u << 20);
	test_run(1, 1, read_body, &in);
	assert_untouched(&in);
	test_run(1, 1, write_body, &in);
	if (in.clean)
		test_run(1, 1, check_body, &in);
	sim_file_remove(PATH);
	free(in.buf);
	return 0;
}
