/* SPDX-License-Identifier: MIT */
/*
 * fuse-protocol.c - what the kernel's requests mean for a file of fixed size.
 */
#include "tests/lib/suite.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse/mount.h"
#include "fuse/protocol.h"

#define MIB (1024u * 1024)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static const struct fuse_shape plain = { .size = 10 * MIB, .writable = true };
static const struct fuse_shape read_only = { .size = 10 * MIB };
static const struct fuse_shape shared = {
	.size = 10 * MIB, .writable = true, .allow_other = true,
};

static void transfers_end_with_the_file(void)
{
	CU_ASSERT_EQUAL(fuse_clip(&plain, false, 0, 4096), 4096);
	CU_ASSERT_EQUAL(fuse_clip(&plain, false, 10 * MIB - 1, 4096), 1);
	CU_ASSERT_EQUAL(fuse_clip(&plain, false, 10 * MIB, 4096), 0);
	CU_ASSERT_EQUAL(fuse_clip(&plain, false, UINT64_MAX, 4096), 0);
	CU_ASSERT_EQUAL(fuse_clip(&plain, true, 10 * MIB - 1, 4096), 1);
	CU_ASSERT_EQUAL(fuse_clip(&plain, true, 10 * MIB, 1), -ENOSPC);
	CU_ASSERT_EQUAL(fuse_clip(&plain, true, UINT64_MAX - 1, 4), -ENOSPC);
	CU_ASSERT_EQUAL(fuse_clip(&plain, true, UINT64_MAX, 0), 0);
}

static void transfers_are_bounded(void)
{
	CU_ASSERT_EQUAL(fuse_clip(&plain, false, 0, FUSE_IO_MAX), FUSE_IO_MAX);
	CU_ASSERT_EQUAL(fuse_clip(&plain, false, 0, FUSE_IO_MAX + 1), -EINVAL);
	CU_ASSERT_EQUAL(fuse_clip(&plain, true, 0, UINT32_MAX), -EINVAL);
	CU_ASSERT_EQUAL(fuse_clip(&read_only, true, 0, 1), -EROFS);
}

static int map(const struct fuse_shape *shape, uint32_t mode, uint64_t offset,
	       uint64_t len, struct fuse_range *out)
{
	struct fuse_fallocate_in in = {
		.mode = mode, .offset = offset, .length = len,
	};

	memset(out, 0xff, sizeof(*out));
	return fuse_map_fallocate(shape, &in, out);
}

static void fallocate_maps(void)
{
	struct fuse_range r;

	CU_ASSERT_EQUAL(map(&plain, PUNCH, 1, 5, &r), 0);
	CU_ASSERT(r.op == REQ_ZEROES && !r.flags && r.offset == 1 &&
		  r.len == 5);
	CU_ASSERT_EQUAL(map(&plain, FALLOC_FL_ZERO_RANGE, 0, MIB, &r), 0);
	CU_ASSERT(r.op == REQ_ZEROES && r.flags == REQ_NO_UNMAP &&
		  r.offset == 0 && r.len == MIB);
	CU_ASSERT_EQUAL(map(&plain, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			    0, MIB, &r), 0);
	CU_ASSERT_EQUAL(r.flags, REQ_NO_UNMAP);
}

static void fallocate_stays_inside(void)
{
	struct fuse_range r;

	CU_ASSERT_EQUAL(map(&plain, PUNCH, 9 * MIB, UINT32_MAX, &r), 0);
	CU_ASSERT(r.offset == 9 * MIB && r.len == MIB);
	CU_ASSERT_EQUAL(map(&plain, PUNCH, 1ull << 60, 1, &r), 0);
	CU_ASSERT_EQUAL(r.len, 0);
	CU_ASSERT_EQUAL(map(&plain, PUNCH, UINT64_MAX, 2, &r), -EINVAL);
	CU_ASSERT_EQUAL(map(&plain, FALLOC_FL_ZERO_RANGE, 9 * MIB, 2 * MIB,
			    &r), -ENOSPC);
}

static void fallocate_refuses_the_rest(void)
{
	struct fuse_range r;

	CU_ASSERT_EQUAL(map(&read_only, PUNCH, 0, 1, &r), -EROFS);
	CU_ASSERT_EQUAL(map(&plain, 0, 0, 1, &r), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(map(&plain, FALLOC_FL_KEEP_SIZE, 0, 1, &r),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(map(&plain, FALLOC_FL_PUNCH_HOLE, 0, 1, &r),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(map(&plain, FALLOC_FL_COLLAPSE_RANGE, 0, 1, &r),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(map(&plain, PUNCH | FALLOC_FL_ZERO_RANGE, 0, 1, &r),
			-EOPNOTSUPP);
}

static void seeking_steps_to_the_answer(void)
{
	uint64_t at = MIB;

	CU_ASSERT(fuse_seek_step(&plain, true, false, MIB, &at));
	CU_ASSERT_EQUAL(at, MIB);
	CU_ASSERT(fuse_seek_step(&plain, false, true, MIB, &at));
	CU_ASSERT_EQUAL(at, MIB);
	CU_ASSERT(!fuse_seek_step(&plain, true, true, MIB, &at));
	CU_ASSERT_EQUAL(at, 2 * MIB);
	CU_ASSERT(!fuse_seek_step(&plain, false, false, MIB, &at));
	CU_ASSERT_EQUAL(at, 3 * MIB);
	/* data up to the end: there the hole is; zeroes: there is no data */
	CU_ASSERT(fuse_seek_step(&plain, false, false, 99 * MIB, &at));
	CU_ASSERT_EQUAL(at, 10 * MIB);
	at = MIB;
	CU_ASSERT(!fuse_seek_step(&plain, true, true, 99 * MIB, &at));
	CU_ASSERT_EQUAL(at, 10 * MIB);
}

static uint64_t blocks(uint64_t size, uint64_t allocated, uint64_t written)
{
	const struct fuse_shape shape = { .size = size,
					  .allocated = allocated };
	const struct fuse_owner owner = { .mode = 0600 };
	struct fuse_attr_out out;

	fuse_fill_attr(&shape, &owner, written, &out);
	CU_ASSERT_EQUAL(out.attr.size, size);
	return out.attr.blocks;
}

static void blocks_are_what_is_used(void)
{
	CU_ASSERT_EQUAL(blocks(MIB, 65536, 0), 128);
	CU_ASSERT_EQUAL(blocks(MIB, 65536, 4096), 136);
	CU_ASSERT_EQUAL(blocks(MIB, 65536, UINT64_MAX), 2048);
	CU_ASSERT_EQUAL(blocks(MIB, UINT64_MAX, UINT64_MAX), 2048);
	/* no data is another thing */
	CU_ASSERT_EQUAL(blocks(MIB, 0, 0), 1);
	CU_ASSERT_EQUAL(blocks(100, UINT64_MAX, 0), 1);
	CU_ASSERT_EQUAL(blocks(0, 0, 0), 0);
}

static int set(const struct fuse_shape *shape, uint32_t valid, uint64_t size,
	       struct fuse_owner *owner)
{
	struct fuse_setattr_in in = {
		.valid = valid, .size = size, .mode = S_IFREG | 0644,
		.uid = 7, .gid = 8,
	};

	*owner = (struct fuse_owner) { .mode = 0600 };
	return fuse_set_owner(shape, &in, owner);
}

static void the_size_stays(void)
{
	struct fuse_owner o;

	CU_ASSERT_EQUAL(set(&plain, FATTR_SIZE, 10 * MIB, &o), 0);
	CU_ASSERT_EQUAL(set(&plain, FATTR_SIZE | FATTR_FH, 0, &o),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(set(&plain, FATTR_MTIME, 0, &o), -EOPNOTSUPP);
}

static void the_owner_changes_where_others_may_use_it(void)
{
	struct fuse_owner o;

	CU_ASSERT_EQUAL(set(&plain, FATTR_MODE, 0, &o), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(o.mode, 0600);
	CU_ASSERT_EQUAL(set(&shared, FATTR_MODE | FATTR_UID, 0, &o), 0);
	CU_ASSERT(o.mode == 0644 && o.uid == 7 && o.gid == 0);
	CU_ASSERT_EQUAL(set(&shared, FATTR_MODE | FATTR_SIZE, 1, &o),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(o.mode, 0600);
}

static void another_major_version_is_refused(void)
{
	struct fuse_init_in in = { .major = 7, .minor = 31, .flags = ~0u };
	struct fuse_init_out out;

	CU_ASSERT(fuse_fill_init(&in, 128, &out));
	CU_ASSERT(out.max_write == FUSE_IO_MAX && out.max_background == 128);
	/* what would let the kernel keep data that the graph does not know */
	CU_ASSERT(!(out.flags & FUSE_WRITEBACK_CACHE));
	in.major = 8;
	CU_ASSERT(!fuse_fill_init(&in, 128, &out));
	CU_ASSERT_EQUAL(out.major, 7);
}

TEST_MAIN("fuse-protocol",
	  TEST(transfers_end_with_the_file),
	  TEST(transfers_are_bounded),
	  TEST(fallocate_maps),
	  TEST(fallocate_stays_inside),
	  TEST(fallocate_refuses_the_rest),
	  TEST(seeking_steps_to_the_answer),
	  TEST(the_size_stays),
	  TEST(blocks_are_what_is_used),
	  TEST(the_owner_changes_where_others_may_use_it),
	  TEST(another_major_version_is_refused))
