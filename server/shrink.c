/* SPDX-License-Identifier: MIT */
/*
 * shrink.c - see shrink.h. Main thread, coroutines.
 *
 * A file system's tail may well be holes, so its size is asked first; the
 * superblocks of those that are most used are known by their few bytes. What
 * is data to the image counts, whatever it is to the file system: one that was
 * made smaller before leaves some.
 */
#include "server/shrink.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/root.h"
#include "graph/status.h"
#include "server/partition.h"

#define QUESTION_BYTES (1u << 30)
#define SHRINK_FORCE "; 'force' cuts it off"

static const struct root_ops shrink_root_ops = { .kind = "control" };

static uint64_t number_at(const uint8_t *p, unsigned bytes, bool big)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[big ? i : bytes - 1 - i];
	return v;
}

/* A product that may be anything. */
static uint64_t product(uint64_t blocks, uint64_t block)
{
	uint64_t bytes;

	return __builtin_mul_overflow(blocks, block, &bytes) ? UINT64_MAX
							     : bytes;
}

static uint64_t ext_bytes(const uint8_t *sb)
{
	uint64_t blocks = number_at(sb + 4, 4, false);
	uint64_t shift = number_at(sb + 24, 4, false);

	/* INCOMPAT_64BIT */
	if (sb[96] & 0x80)
		blocks |= number_at(sb + 0x150, 4, false) << 32;
	return product(blocks, UINT64_C(1024) << (shift & 15));
}

static uint64_t xfs_bytes(const uint8_t *sb)
{
	return product(number_at(sb + 8, 8, true), number_at(sb + 4, 4, true));
}

static uint64_t btrfs_bytes(const uint8_t *sb)
{
	/* of this device: in its dev_item */
	return number_at(sb + 0xc9 + 8, 8, false);
}

static uint64_t swap_bytes(const uint8_t *sb)
{
	return product(number_at(sb + 4, 4, false) + 1, 4096);
}

static const struct kind_of_system {
	const char *name;
	uint32_t superblock;	/* byte of the disk */
	uint32_t at;		/* of its magic there, or on the disk */
	bool on_disk;
	const char *magic;
	uint64_t (*bytes)(const uint8_t *superblock);
} systems[] = {
	{ "ext", 1024, 0x38, false, "\x53\xef", ext_bytes },
	{ "xfs", 0, 0, false, "XFSB", xfs_bytes },
	{ "btrfs", 65536, 0x40, false, "_BHRfS_M", btrfs_bytes },
	{ "swap", 1024, 4086, true, "SWAPSPACE2", swap_bytes },
};

static int co_shrink_read(struct root *root, uint64_t at, uint32_t len,
			  void *buf, const char *what, struct error **err)
{
	int ret = co_edge_read(&root->edge, at, len, buf);

	return ret == 0 ? 0 : error_set(err, -ret, "Could not read '%s' at"
					" byte %" PRIu64 ": %s", what, at,
					strerror(-ret));
}

static int co_check_system(struct root *root, const struct kind_of_system *k,
			   uint64_t size, const char *what, struct error **err)
{
	uint64_t disk = root->edge.child->size, bytes;
	uint8_t sb[512], magic[16];
	size_t len = strlen(k->magic);
	uint64_t magic_at = k->at + (k->on_disk ? 0 : k->superblock);
	int ret;

	if (k->superblock + sizeof(sb) > disk || magic_at + len > disk)
		return 0;
	ret = co_shrink_read(root, k->superblock, sizeof(sb), sb, what, err);
	if (ret == 0)
		ret = co_shrink_read(root, magic_at, (uint32_t)len, magic,
				     what, err);
	if (ret < 0 || memcmp(magic, k->magic, len))
		return ret;
	bytes = k->bytes(sb);
	if (bytes <= size)
		return 0;
	return error_set(err, EBUSY, "'%s' cannot have %" PRIu64 " bytes: its"
			 " %s file system has %" PRIu64 SHRINK_FORCE, what,
			 size, k->name, bytes);
}

static int co_check_partitions(struct root *root, uint64_t size,
			       const char *what, struct error **err)
{
	uint64_t end = 0;
	unsigned number = 0;
	int ret = co_partition_last(root, what, &number, &end, err);

	if (ret < 0 || end <= size)
		return ret;
	return error_set(err, EBUSY, "'%s' cannot have %" PRIu64 " bytes:"
			 " partition %u ends at %" PRIu64 SHRINK_FORCE, what,
			 size, number, end);
}

static int co_check_data(struct root *root, uint64_t size, const char *what,
			 struct error **err)
{
	uint64_t end = root->edge.child->size;

	for (uint64_t at = size; at < end;) {
		struct status st = { 0 };
		struct request req = {
			.op = REQ_STATUS,
			.offset = at,
			.len = (uint32_t)min(end - at,
					     (uint64_t)QUESTION_BYTES),
			.buf = &st,
			.fixed = IO_NOT_FIXED,
		};
		int ret = co_root_submit(root, &req);

		if (ret < 0)
			return error_set(err, -ret, "Could not find out what"
					 " '%s' has at byte %" PRIu64 ": %s",
					 what, at, strerror(-ret));
		if (!(st.flags & STATUS_ZERO))
			return error_set(err, EBUSY, "'%s' cannot have %"
					 PRIu64 " bytes: it has data at byte %"
					 PRIu64 SHRINK_FORCE, what, size, at);
		at += st.len;
	}
	return 0;
}

int co_shrink_check(struct node *node, uint64_t size, const char *what,
		    struct error **err)
{
	struct root *root = root_new(&shrink_root_ops, NULL,
		"command 'blkgraph-resize'", node, PERM_CONSISTENT_READ,
		PERM_ALL, 1, UINT64_C(1) << MAIN_THREAD, err);
	int ret;

	if (!root)
		return -EPERM;
	co_root_busy(root);
	ret = co_check_partitions(root, size, what, err);
	for (unsigned i = 0; i < ARRAY_SIZE(systems) && ret == 0; i++)
		ret = co_check_system(root, &systems[i], size, what, err);
	if (ret == 0)
		ret = co_check_data(root, size, what, err);
	root_idle(root);
	root_free(root);
	return ret;
}
