/* SPDX-License-Identifier: MIT */
/*
 * disk.h - integers and constants of the format as they lie on disk.
 *
 * Everything in a qcow2 file is big endian. The struct keeps anybody from
 * using such a number without turning it round. Table entries that other
 * threads read without a lock go through the acquire and release forms (A5).
 */
#ifndef QCOW2_DISK_H
#define QCOW2_DISK_H

#include <endian.h>
#include <string.h>

#include "runtime/compiler.h"

struct be64 {
	uint64_t raw;
};
static_assert(sizeof(struct be64) == 8, "an entry of L1, L2 and reftable");

static inline uint64_t be64_get(struct be64 v)
{
	return be64toh(v.raw);
}

static inline struct be64 be64_make(uint64_t v)
{
	return (struct be64){ htobe64(v) };
}

/* Pairs with be64_publish: what was stored before it is visible after this. */
static inline uint64_t be64_acquire(const struct be64 *p)
{
	return be64toh(__atomic_load_n(&p->raw, __ATOMIC_ACQUIRE));
}

static inline void be64_publish(struct be64 *p, uint64_t v)
{
	__atomic_store_n(&p->raw, htobe64(v), __ATOMIC_RELEASE);
}

/* Numbers at any address of a header. */
static inline uint16_t be16_at(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

static inline uint32_t be32_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline uint64_t be64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static inline void be32_put(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void be64_put(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

enum {
	QCOW2_SECTOR = 512,
	QCOW2_CLUSTER_BITS_MIN = 9,
	QCOW2_CLUSTER_BITS_MAX = 21,
	QCOW2_L1_BYTES_MAX = 32 << 20,
	QCOW2_REFTABLE_BYTES_MAX = 8 << 20,
	QCOW2_SNAPSHOTS_MAX = 65536,
	QCOW2_BITMAPS_MAX = 65535,
	QCOW2_BITMAPS_BYTES_MAX = 64 << 20,	/* of their directory */
	QCOW2_BITMAP_ENTRIES_MAX = 0x8000000,	/* of a bitmap's table */
	QCOW2_BACKING_NAME_MAX = 1023,	/* bytes */
	QCOW2_REFCOUNT_ORDER_MAX = 6,	/* 64 bits */
	/* the sector that is rewritten whole when the header changes (A24) */
	QCOW2_HEADER_BYTES = 512,
};

/* No host offset reaches this: L1 and L2 entries have 56 bits. */
#define QCOW2_OFFSET_LIMIT (UINT64_C(1) << 56)

/* Byte offsets of the header's fields. */
enum {
	QCOW2_H_MAGIC = 0,
	QCOW2_H_VERSION = 4,
	QCOW2_H_BACKING_OFFSET = 8,
	QCOW2_H_BACKING_LEN = 16,
	QCOW2_H_CLUSTER_BITS = 20,
	QCOW2_H_SIZE = 24,
	QCOW2_H_CRYPT = 32,
	QCOW2_H_L1_ENTRIES = 36,
	QCOW2_H_L1_OFFSET = 40,
	QCOW2_H_REFTABLE_OFFSET = 48,
	QCOW2_H_REFTABLE_CLUSTERS = 56,
	QCOW2_H_SNAPSHOTS = 60,
	QCOW2_H_SNAPSHOTS_OFFSET = 64,
	QCOW2_H_V2_LEN = 72,
	QCOW2_H_INCOMPATIBLE = 72,
	QCOW2_H_COMPATIBLE = 80,
	QCOW2_H_AUTOCLEAR = 88,
	QCOW2_H_REFCOUNT_ORDER = 96,
	QCOW2_H_LEN = 100,
	QCOW2_H_V3_LEN = 104,
	QCOW2_H_COMPRESSION = 104,
};

/* Of a snapshot table's entry; behind it more of the same, the id, the name. */
enum {
	QCOW2_SNAPSHOT_L1_OFFSET = 0,
	QCOW2_SNAPSHOT_L1_ENTRIES = 8,
	QCOW2_SNAPSHOT_ID_LEN = 12,
	QCOW2_SNAPSHOT_NAME_LEN = 14,
	QCOW2_SNAPSHOT_DATE_S = 16,
	QCOW2_SNAPSHOT_DATE_NS = 20,
	QCOW2_SNAPSHOT_CLOCK_NS = 24,
	QCOW2_SNAPSHOT_VM_BYTES_32 = 32,
	QCOW2_SNAPSHOT_EXTRA_LEN = 36,
	QCOW2_SNAPSHOT_BYTES = 40,
	QCOW2_SNAPSHOT_VM_BYTES = 40,	/* of the extra data, 64 bits */
	QCOW2_SNAPSHOT_DISK_BYTES = 48,
	QCOW2_SNAPSHOT_EXTRA_MAX = 1024,
};

/* Of a bitmap directory's entry; behind it extra data, the name. */
enum {
	QCOW2_BITMAP_TABLE_OFFSET = 0,
	QCOW2_BITMAP_TABLE_ENTRIES = 8,
	QCOW2_BITMAP_FLAGS = 12,
	QCOW2_BITMAP_TYPE = 16,
	QCOW2_BITMAP_GRANULARITY = 17,
	QCOW2_BITMAP_NAME_LEN = 18,
	QCOW2_BITMAP_EXTRA_LEN = 20,
	QCOW2_BITMAP_BYTES = 24,
	/* flags */
	QCOW2_BITMAP_IN_USE = 1,
	QCOW2_BITMAP_AUTO = 2,
	QCOW2_BITMAP_FLAGS_KNOWN = 7,
	/* what others may be */
	QCOW2_BITMAP_TYPE_DIRTY = 1,
	QCOW2_BITMAP_GRANULARITY_MIN = 9,
	QCOW2_BITMAP_GRANULARITY_MAX = 31,
	QCOW2_BITMAP_NAME_MAX = 1023,
};

#define QCOW2_MAGIC 0x514649fbu

/* Feature bits. */
#define QCOW2_INCOMPAT_DIRTY (UINT64_C(1) << 0)
#define QCOW2_INCOMPAT_CORRUPT (UINT64_C(1) << 1)
#define QCOW2_INCOMPAT_DATA_FILE (UINT64_C(1) << 2)
#define QCOW2_INCOMPAT_COMPRESSION (UINT64_C(1) << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2 (UINT64_C(1) << 4)
#define QCOW2_COMPAT_LAZY_REFCOUNTS (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_BITMAPS (UINT64_C(1) << 0)

enum qcow2_compression { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };

/* Header extensions. */
enum {		/* of that for bitmaps */
	QCOW2_B_COUNT = 0,
	QCOW2_B_DIRECTORY_BYTES = 8,
	QCOW2_B_DIRECTORY_OFFSET = 16,
	QCOW2_B_LEN = 24,
};
#define QCOW2_EXT_END 0u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURE_NAMES 0x6803f857u
#define QCOW2_EXT_BITMAPS 0x23852875u

#endif
