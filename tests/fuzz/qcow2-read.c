/* SPDX-License-Identifier: MIT */
/*
 * qcow2-read.c - an image file of any bytes: opened for reading, checked, read
 * and asked what it consists of (A26).
 *
 * Nothing may crash, hang or take memory without bound, and every byte of the
 * file stays as it was.
 */
#include "graph/status.h"
#include "tests/fuzz/qcow2-image.h"

#define PROBES 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed)
{
	return qcow2_mutate(data, size, max, seed, LLVMFuzzerMutate);
}

static void ask(struct disk *d, uint64_t offset, uint32_t len)
{
	struct status st = { .len = 0 };

	if (request(d, REQ_STATUS, REQ_OFFSETS, offset, len, &st) == 0)
		assert(st.len && st.len <= len);
}

static void probe(struct input *in, struct disk *d)
{
	static uint8_t buf[REQUEST_MAX];

	for (unsigned i = 0; i < PROBES; i++) {
		uint64_t offset;
		uint32_t len = next_range(in, d, &offset);

		if (!len)
			return;
		(void)request(d, REQ_READ, 0, offset, len, buf);
		ask(d, offset, len);
	}
}

static void body(void *arg)
{
	bool clean;

	(void)open_and_run(arg, OPTIONS(READ_ONLY), PERM_CONSISTENT_READ,
			   &clean, probe);
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

	if (size < QCOW2_SECTOR)
		return 0;
	sim_file_create(PATH, 0);
	sim_file_set(PATH, data, size);
	test_run(1, 1, body, &in);
	assert_untouched(&in);
	sim_file_remove(PATH);
	return 0;
}
