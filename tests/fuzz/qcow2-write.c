/* SPDX-License-Identifier: MIT */
/*
 * qcow2-write.c - an image file of any bytes: opened for writing, written to
 * until the file may not grow any more, and closed (A26, D5).
 *
 * Nothing may crash, hang or take memory without bound. An image without
 * errors has none afterwards, whatever allocation failed on the way; one that
 * was left dirty says so, and has none when it was opened again.
 */
#include "tests/fuzz/qcow2-image.h"

#define REQUESTS 12u
#define FILE_MAX (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed)
{
	return qcow2_mutate(data, size, max, seed, LLVMFuzzerMutate);
}

static void change(struct input *in, struct disk *d)
{
	static const enum req_op ops[] = {
		REQ_WRITE, REQ_WRITE, REQ_ZEROES, REQ_DISCARD, REQ_FLUSH,
		REQ_READ,
	};
	static uint8_t buf[REQUEST_MAX];

	memset(buf, 0x55, sizeof(buf));
	for (unsigned i = 0; i < REQUESTS; i++) {
		uint8_t how = next_byte(in);
		enum req_op op = ops[how % ARRAY_SIZE(ops)];
		unsigned fua = how & 128 && (op == REQ_WRITE ||
					     op == REQ_ZEROES) ? REQ_FUA : 0;
		uint64_t offset = 0;
		uint32_t len = op == REQ_FLUSH ? 0 :
			       next_range(in, d, &offset);

		if (len || op == REQ_FLUSH)
			(void)request(d, op, fua, offset, len,
				      op <= REQ_WRITE ? buf : NULL);
	}
}

static bool is_dirty(void)
{
	void *data;
	uint64_t size = sim_file_get(PATH, &data);
	uint8_t *h = data;
	bool dirty = size >= QCOW2_SECTOR &&
		     be32_at(h + QCOW2_H_VERSION) == 3 &&
		     be64_at(h + QCOW2_H_INCOMPATIBLE) & QCOW2_INCOMPAT_DIRTY;

	free(data);
	return dirty;
}

static bool is_clean(struct input *in)
{
	bool clean = false;

	(void)open_and_run(in, OPTIONS(READ_ONLY), PERM_CONSISTENT_READ,
			   &clean, NULL);
	return clean;
}

static void body(void *arg)
{
	struct input *in = arg;
	bool clean = is_clean(in);

	sim_file_limit(PATH, in->size + next_byte(in) * UINT64_C(512));
	(void)open_and_run(in, OPTIONS(""), DISK_WRITABLE, NULL, change);
	if (!clean)
		return;
	sim_file_limit(PATH, FILE_MAX);
	if (is_dirty())
		(void)open_and_run(in, OPTIONS(""), DISK_WRITABLE, NULL, NULL);
	assert(is_clean(in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .data = data, .size = size };

	if (size < QCOW2_SECTOR)
		return 0;
	sim_file_create(PATH, 0);
	sim_file_set(PATH, data, size);
	test_run(1, 1, body, &in);
	sim_file_remove(PATH);
	return 0;
}
