/* SPDX-License-Identifier: MIT */
/*
 * qcow2-mutate.c - see qcow2-mutate.h.
 */
#include "tests/lib/qcow2-mutate.h"

#include "drivers/format/qcow2/disk.h"
#include "tests/lib/random.h"

#define COPIED (UINT64_C(1) << 63)
#define PACKED (UINT64_C(1) << 62)
#define HOST_MASK UINT64_C(0x00fffffffffffe00)
/* Larger clusters and more snapshots cost time and show nothing that these do
 * not. */
#define BITS_MANY 5u
#define SNAPSHOTS_MANY 4u
/* Of these come most changes of a table. */
#define ENTRIES_FIRST 64u
#define LAST_BYTES 64u

struct image {
	uint8_t *data;
	size_t size;
	uint64_t random;
};

static uint64_t pick(struct image *im, uint64_t n)
{
	return random_next(&im->random, n);
}

static unsigned cluster_bits(const struct image *im)
{
	uint32_t bits = be32_at(im->data + QCOW2_H_CLUSTER_BITS);

	return bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX ?
	       QCOW2_CLUSTER_BITS_MIN : bits;
}

/* --- one change --- */

/* The place in the file that 8 bytes at `at` name; 0: none in this file. */
static uint64_t named_at(const struct image *im, uint64_t at)
{
	uint64_t host;

	if (at + 8 > im->size)
		return 0;
	host = be64_at(im->data + at) & HOST_MASK;
	return host < im->size ? host : 0;
}

/* A table: L1, refcount table or snapshots, or what their entries name. */
static uint64_t some_table(struct image *im)
{
	static const unsigned fields[] = {
		QCOW2_H_L1_OFFSET, QCOW2_H_REFTABLE_OFFSET,
		QCOW2_H_SNAPSHOTS_OFFSET,
	};
	uint64_t at = named_at(im, fields[pick(im, ARRAY_SIZE(fields))]);

	while (at && pick(im, 2))
		at = named_at(im, at + pick(im, 4) * 8);
	return at;
}

static uint64_t some_entry(struct image *im)
{
	unsigned bits = cluster_bits(im);
	uint64_t host = pick(im, (im->size >> bits) + 2) << bits;

	switch (pick(im, 7)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return host;
	case 3:
		return COPIED | host | 1;
	case 4:
		return PACKED | pick(im, 8) << (62 - (bits - 8)) |
			pick(im, im->size + 1);
	default:
		return COPIED | host;
	}
}

static void change_entry(struct image *im, mutate_fn *bytes)
{
	uint64_t at = some_table(im) + pick(im, ENTRIES_FIRST) * 8;

	if (at + 8 > im->size)
		return;
	if (pick(im, 3))
		be64_put(im->data + at, some_entry(im));
	else
		bytes(im->data + at, 8, 8);
}

static void change_field(struct image *im, mutate_fn *bytes)
{
	uint64_t at = pick(im, QCOW2_H_V3_LEN / 4 + 2) * 4;

	if (at + 4 > im->size)
		return;
	if (pick(im, 2))
		be32_put(im->data + at, (uint32_t)pick(im, 16));
	else
		bytes(im->data + at, 4, 4);
}

/* Streams, names and data, what the last bytes say, the file's length. */
static void change_bytes(struct image *im, size_t max, mutate_fn *bytes)
{
	uint64_t at = pick(im, im->size);
	size_t len = (size_t)pick(im, 256) + 1;

	switch (pick(im, 4)) {
	case 0:
		im->size = bytes(im->data, im->size, max);
		break;
	case 1:
		bytes(im->data + im->size - LAST_BYTES, LAST_BYTES,
		      LAST_BYTES);
		break;
	default:
		if (at + len <= im->size)
			bytes(im->data + at, len, len);
		break;
	}
}

/* --- back inside the limits --- */

/* So that the file has the table's first bytes; returns what it has room for,
 * bytes. */
static uint64_t mend_table(struct image *im, unsigned field)
{
	unsigned bits = cluster_bits(im);
	uint64_t clusters = im->size >> bits;
	uint64_t at = be64_at(im->data + field);

	if (clusters < 2)
		return 0;
	if (at & ((UINT64_C(1) << bits) - 1) || at >> bits == 0 ||
	    at >> bits >= clusters)
		at = (1 + (at >> bits) % (clusters - 1)) << bits;
	be64_put(im->data + field, at);
	return im->size - at;
}

static void mend_at_most(struct image *im, unsigned field, uint64_t most)
{
	uint32_t v = be32_at(im->data + field);

	if (v > most)
		be32_put(im->data + field, (uint32_t)(v % (most + 1)));
}

static void mend_version_3(struct image *im)
{
	uint8_t *h = im->data;
	const uint64_t known = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT |
			       QCOW2_INCOMPAT_COMPRESSION;
	uint64_t incompatible = be64_at(h + QCOW2_H_INCOMPATIBLE) & known;
	uint32_t len = be32_at(h + QCOW2_H_LEN);

	be64_put(h + QCOW2_H_INCOMPATIBLE, incompatible);
	mend_at_most(im, QCOW2_H_REFCOUNT_ORDER, QCOW2_REFCOUNT_ORDER_MAX);
	if (len != QCOW2_H_V3_LEN && len != QCOW2_H_V3_LEN + 8)
		be32_put(h + QCOW2_H_LEN, QCOW2_H_V3_LEN);
	h[QCOW2_H_COMPRESSION] &= 1;
	if (h[QCOW2_H_COMPRESSION] && len > QCOW2_H_V3_LEN)
		be64_put(h + QCOW2_H_INCOMPATIBLE,
			 incompatible | QCOW2_INCOMPAT_COMPRESSION);
}

static void mend(struct image *im)
{
	uint8_t *h = im->data;
	uint32_t bits = be32_at(h + QCOW2_H_CLUSTER_BITS);
	uint64_t room, size, most;

	be32_put(h + QCOW2_H_MAGIC, QCOW2_MAGIC);
	if (be32_at(h + QCOW2_H_VERSION) != 2)
		be32_put(h + QCOW2_H_VERSION, 3);
	if (bits < QCOW2_CLUSTER_BITS_MIN ||
	    bits >= QCOW2_CLUSTER_BITS_MIN + BITS_MANY)
		be32_put(h + QCOW2_H_CLUSTER_BITS,
			 QCOW2_CLUSTER_BITS_MIN + bits % BITS_MANY);
	bits = cluster_bits(im);
	be32_put(h + QCOW2_H_CRYPT, 0);
	room = mend_table(im, QCOW2_H_L1_OFFSET) / 8;
	mend_at_most(im, QCOW2_H_L1_ENTRIES, room);
	most = (uint64_t)be32_at(h + QCOW2_H_L1_ENTRIES) << (bits + bits - 3);
	size = be64_at(h + QCOW2_H_SIZE);
	if (size > most)
		be64_put(h + QCOW2_H_SIZE, size % (most + 1));
	room = mend_table(im, QCOW2_H_REFTABLE_OFFSET) >> bits;
	mend_at_most(im, QCOW2_H_REFTABLE_CLUSTERS, room);
	mend_at_most(im, QCOW2_H_SNAPSHOTS, SNAPSHOTS_MANY);
	if (be32_at(h + QCOW2_H_SNAPSHOTS))
		mend_table(im, QCOW2_H_SNAPSHOTS_OFFSET);
	if (be64_at(h + QCOW2_H_BACKING_OFFSET) >= UINT64_C(1) << bits)
		be64_put(h + QCOW2_H_BACKING_OFFSET, 0);
	if (be32_at(h + QCOW2_H_VERSION) == 3)
		mend_version_3(im);
}

size_t qcow2_mutate(uint8_t *data, size_t size, size_t max, uint64_t seed,
		    mutate_fn *bytes)
{
	struct image im = { data, size, seed };

	if (size < QCOW2_SECTOR)
		return bytes(data, size, max);
	switch (pick(&im, 8)) {
	case 0:
	case 1:
		change_field(&im, bytes);
		break;
	case 2:
	case 3:
		change_bytes(&im, max, bytes);
		break;
	default:
		change_entry(&im, bytes);
		break;
	}
	if (im.size >= QCOW2_SECTOR && pick(&im, 8))
		mend(&im);
	return im.size;
}
