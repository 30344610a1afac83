/* SPDX-License-Identifier: MIT */
/*
 * nbd-wire.c - requests and replies of the transmission phase as bytes.
 */
#include "tests/lib/suite.h"

#include <errno.h>
#include <string.h>

#include "nbd/wire.h"

#define SIZE (1ull << 30)

static const struct nbd_terms simple, structured = { .structured = true },
	extended = { .structured = true, .extended = true, .base = true };

static struct nbd_request request(unsigned type, unsigned flags,
				  uint64_t offset, uint64_t length)
{
	return (struct nbd_request){
		.type = (uint16_t)type, .flags = (uint16_t)flags,
		.offset = offset, .length = length,
		.cookie = 0x1122334455667788,
	};
}

static enum nbd_error check(unsigned type, unsigned flags, uint64_t offset,
			    uint64_t length, const struct nbd_terms *terms)
{
	struct nbd_request r = request(type, flags, offset, length);

	return nbd_request_check(&r, terms, SIZE, true);
}

static void requests_are_decoded(void)
{
	struct nbd_request_head head = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.flags = htobe16(NBD_CMD_FLAG_FUA),
		.type = htobe16(NBD_CMD_WRITE),
		.cookie = 7, .offset = htobe64(4096), .length = htobe32(512),
	};
	struct nbd_extended_head wide = {
		.magic = htobe32(NBD_EXTENDED_REQUEST_MAGIC),
		.type = htobe16(NBD_CMD_TRIM),
		.length = htobe64(1ull << 40),
	};
	struct nbd_request r;

	CU_ASSERT_TRUE(nbd_request_decode(&head, &simple, &r));
	CU_ASSERT(r.type == NBD_CMD_WRITE && r.flags == NBD_CMD_FLAG_FUA);
	CU_ASSERT(r.offset == 4096 && r.length == 512 && r.cookie == 7);
	CU_ASSERT_EQUAL(nbd_request_payload(&r, &simple), 512);
	CU_ASSERT_TRUE(nbd_request_decode(&wide, &extended, &r));
	CU_ASSERT_EQUAL(r.length, 1ull << 40);
	CU_ASSERT_EQUAL(nbd_request_payload(&r, &extended), 0);
	/* each in the other's place is none */
	CU_ASSERT_FALSE(nbd_request_decode(&wide, &simple, &r));
	wide.magic = htobe32(NBD_REQUEST_MAGIC);
	CU_ASSERT_FALSE(nbd_request_decode(&wide, &extended, &r));
}

static void ranges_are_inside(void)
{
	CU_ASSERT_EQUAL(check(NBD_CMD_READ, 0, 0, 512, &simple), NBD_OK);
	CU_ASSERT_EQUAL(check(NBD_CMD_READ, 0, SIZE - 512, 512, &simple),
			NBD_OK);
	CU_ASSERT_EQUAL(check(NBD_CMD_READ, 0, SIZE - 512, 513, &simple),
			NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_WRITE, 0, SIZE, 1, &simple),
			NBD_ENOSPC);
	CU_ASSERT_EQUAL(check(NBD_CMD_WRITE_ZEROES, 0, UINT64_MAX - 511, 512,
			      &simple), NBD_ENOSPC);
	CU_ASSERT_EQUAL(check(NBD_CMD_TRIM, 0, 512, UINT64_MAX, &extended),
			NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_READ, 0, 0, NBD_PAYLOAD_MAX + 1,
			      &simple), NBD_EINVAL);
	/* CVE-2025-47711 and -47712 are lengths of a block status */
	CU_ASSERT_EQUAL(check(NBD_CMD_BLOCK_STATUS, 0, 512, UINT64_MAX - 511,
			      &extended), NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_BLOCK_STATUS, 0, 0, 0, &extended),
			NBD_EINVAL);
}

static void flags_belong_to_commands(void)
{
	CU_ASSERT_EQUAL(check(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 512,
			      &simple), NBD_OK);
	CU_ASSERT_EQUAL(check(NBD_CMD_WRITE, NBD_CMD_FLAG_NO_HOLE, 0, 512,
			      &simple), NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512,
			      &simple), NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512,
			      &structured), NBD_OK);
	CU_ASSERT_EQUAL(check(NBD_CMD_READ, 1 << 9, 0, 512, &structured),
			NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512,
			      &structured), NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512,
			      &extended), NBD_OK);
	CU_ASSERT_EQUAL(check(42, 0, 0, 0, &simple), NBD_EINVAL);
	CU_ASSERT_EQUAL(check(NBD_CMD_BLOCK_STATUS, 0, 0, 512, &structured),
			NBD_EINVAL);
}

static void a_read_only_export_stays(void)
{
	static const unsigned types[] = {
		NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES,
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct nbd_request r = request(types[i], 0, 0, 512);

		CU_ASSERT_EQUAL(nbd_request_check(&r, &simple, SIZE, false),
				NBD_EPERM);
	}
}

static void errors_have_numbers(void)
{
	static const struct {
		int res;
		enum nbd_error error;
	} all[] = {
		{ 0, NBD_OK }, { -EPERM, NBD_EPERM }, { -EROFS, NBD_EPERM },
		{ -EIO, NBD_EIO }, { -ENOMEM, NBD_ENOMEM },
		{ -EINVAL, NBD_EINVAL }, { -ENOSPC, NBD_ENOSPC },
		{ -EDQUOT, NBD_ENOSPC }, { -EFBIG, NBD_ENOSPC },
		{ -EOVERFLOW, NBD_EOVERFLOW }, { -ENOTSUP, NBD_ENOTSUP },
		{ -ESHUTDOWN, NBD_ESHUTDOWN }, { -ESTALE, NBD_EIO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		CU_ASSERT_EQUAL(nbd_error_from(all[i].res), all[i].error);
}

static void replies_have_their_shape(void)
{
	struct nbd_request r = request(NBD_CMD_READ, 0, 512, 1024);
	unsigned char head[NBD_REPLY_HEAD_MAX];

	CU_ASSERT_EQUAL(nbd_reply_head(head, &r, &simple, NBD_OK, 1024), 16);
	CU_ASSERT_EQUAL(memcmp(head, "\x67\x44\x66\x98\0\0\0\0", 8), 0);
	CU_ASSERT_EQUAL(memcmp(head + 8, &r.cookie, 8), 0);
	CU_ASSERT_EQUAL(nbd_reply_head(head, &r, &structured, NBD_OK, 1024),
			28);
	CU_ASSERT_EQUAL(memcmp(head, "\x66\x8e\x33\xef\0\1\0\1", 8), 0);
	CU_ASSERT_EQUAL(memcmp(head + 16, "\0\0\4\x08\0\0\0\0\0\0\2\0", 12),
			0);
	CU_ASSERT_EQUAL(nbd_reply_head(head, &r, &extended, NBD_OK, 1024),
			40);
	/* an error has no data, nothing read has no chunk of it */
	CU_ASSERT_EQUAL(nbd_reply_head(head, &r, &structured, NBD_EIO, 0),
			26);
	CU_ASSERT_EQUAL(memcmp(head + 4, "\0\1\x80\1", 4), 0);
	CU_ASSERT_EQUAL(nbd_reply_head(head, &r, &structured, NBD_OK, 0), 20);
	r.type = NBD_CMD_WRITE;
	CU_ASSERT_EQUAL(nbd_reply_head(head, &r, &structured, NBD_EIO, 0),
			16);
	CU_ASSERT_EQUAL(nbd_reply_head(head, &r, &extended, NBD_EIO, 0), 38);
}

static void extents_have_their_shape(void)
{
	struct nbd_request r = request(NBD_CMD_BLOCK_STATUS, 0, 0, 1024);
	unsigned char head[NBD_REPLY_HEAD_MAX], extent[16];

	CU_ASSERT_EQUAL(nbd_status_head(head, &r, &structured, 1, 2, true),
			24);
	CU_ASSERT_EQUAL(memcmp(head + 16, "\0\0\0\x14\0\0\0\1", 8), 0);
	CU_ASSERT_EQUAL(nbd_status_head(head, &r, &extended, 1, 2, false),
			40);
	CU_ASSERT_EQUAL(memcmp(head + 4, "\0\0\0\6", 4), 0);
	CU_ASSERT_EQUAL(memcmp(head + 28, "\0\0\0\x28\0\0\0\1\0\0\0\2", 12),
			0);
	nbd_extent_put(extent, &structured, 512, 3);
	CU_ASSERT_EQUAL(memcmp(extent, "\0\0\2\0\0\0\0\3", 8), 0);
	nbd_extent_put(extent, &extended, 1ull << 40, 3);
	CU_ASSERT_EQUAL(memcmp(extent, "\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\3", 16),
			0);
}

TEST_MAIN("nbd-wire",
	  TEST(requests_are_decoded),
	  TEST(ranges_are_inside),
	  TEST(flags_belong_to_commands),
	  TEST(a_read_only_export_stays),
	  TEST(errors_have_numbers),
	  TEST(replies_have_their_shape),
	  TEST(extents_have_their_shape))
