/* SPDX-License-Identifier: MIT */
/*
 * qcow2-inflate.c - compressed clusters: bounded on both sides, whatever the
 * stream says.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "drivers/format/qcow2/qcow2.h"
#include "tests/lib/random.h"
#include "tests/lib/suite.h"

#define CLUSTER 65536u
#define GUARD 64u
#define WORK (192u * 1024)

struct fixture {
	uint8_t plain[2 * CLUSTER];
	uint8_t packed[3 * CLUSTER];
	uint8_t out[CLUSTER + GUARD];
	uint8_t work[WORK + GUARD];
};

static struct fixture *setup(uint64_t seed)
{
	struct fixture *f = aligned_alloc(64, align_up(sizeof(*f), 64));

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (size_t i = 0; i < sizeof(f->plain); i++)
		f->plain[i] = (uint8_t)(random_next(&seed, 8) ? i / 97 :
					random_next(&seed, 256));
	memset(f->packed, 0xee, sizeof(f->packed));
	memset(f->out, 0xdd, sizeof(f->out));
	memset(f->work, 0xcc, sizeof(f->work));
	return f;
}

static uint32_t pack_zlib(struct fixture *f, uint32_t len, int window)
{
	z_stream z = { .next_in = f->plain, .avail_in = len,
		       .next_out = f->packed, .avail_out = sizeof(f->packed) };

	CU_ASSERT_EQUAL_FATAL(deflateInit2(&z, 6, Z_DEFLATED, -window, 8,
					   Z_DEFAULT_STRATEGY), Z_OK);
	CU_ASSERT_EQUAL(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return (uint32_t)z.total_out;
}

static uint32_t pack_zstd(struct fixture *f, uint32_t len)
{
	size_t n = ZSTD_compress(f->packed, sizeof(f->packed), f->plain, len,
				 3);

	CU_ASSERT_FALSE_FATAL(ZSTD_isError(n));
	return (uint32_t)n;
}

/* Unpacks to one cluster; nothing outside out and work may change. */
static int unpack(struct fixture *f, enum qcow2_compression type,
		  uint32_t in_len)
{
	int ret = qcow2_inflate(type, f->packed, in_len, f->out, CLUSTER,
				f->work, WORK);

	for (unsigned i = 0; i < GUARD; i++) {
		CU_ASSERT_EQUAL(f->out[CLUSTER + i], 0xdd);
		CU_ASSERT_EQUAL(f->work[WORK + i], 0xcc);
	}
	return ret;
}

static void good_streams(void)
{
	struct fixture *f = setup(1);
	uint32_t n = pack_zlib(f, CLUSTER, 12);

	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZLIB, n), 0);
	CU_ASSERT_EQUAL(memcmp(f->out, f->plain, CLUSTER), 0);
	/* padding after the end; windows of other writers */
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZLIB, n + 300), 0);
	n = pack_zlib(f, CLUSTER, 15);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZLIB, n), 0);
	n = pack_zstd(f, CLUSTER);
	memset(f->out, 0xdd, sizeof(f->out));
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, n), 0);
	CU_ASSERT_EQUAL(memcmp(f->out, f->plain, CLUSTER), 0);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, n + 300), 0);
	free(f);
}

static void streams_that_end_early(void)
{
	struct fixture *f = setup(2);
	uint32_t n = pack_zlib(f, CLUSTER - 1, 12);

	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZLIB, n), -EIO);
	n = pack_zlib(f, CLUSTER, 12);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZLIB, n / 2), -EIO);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZLIB, 1), -EIO);
	n = pack_zstd(f, CLUSTER - 1);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, n), -EIO);
	n = pack_zstd(f, CLUSTER);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, n / 2), -EIO);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, 1), -EIO);
	free(f);
}

static void streams_that_are_longer(void)
{
	struct fixture *f = setup(3);
	uint32_t n = pack_zlib(f, 2 * CLUSTER, 12);

	/* its first cluster is all there: that is what a reader gets */
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZLIB, n), 0);
	CU_ASSERT_EQUAL(memcmp(f->out, f->plain, CLUSTER), 0);
	n = pack_zstd(f, 2 * CLUSTER);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, n), -EIO);
	free(f);
}

/* A frame that asks for a window of 2^31 bytes costs no memory. */
static void zstd_window(void)
{
	struct fixture *f = setup(4);
	ZSTD_CCtx *ctx = ZSTD_createCCtx();
	ZSTD_inBuffer in = { f->plain, CLUSTER, 0 };
	ZSTD_outBuffer out = { f->packed, sizeof(f->packed), 0 };

	CU_ASSERT_PTR_NOT_NULL_FATAL(ctx);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_windowLog, 27);
	ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 0);
	CU_ASSERT_EQUAL(ZSTD_compressStream2(ctx, &out, &in, ZSTD_e_end), 0);
	ZSTD_freeCCtx(ctx);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, (uint32_t)out.pos), 0);
	CU_ASSERT_EQUAL(memcmp(f->out, f->plain, CLUSTER), 0);
	/* the descriptor's largest exponent */
	f->packed[5] = 0xff;
	unpack(f, QCOW2_ZSTD, (uint32_t)out.pos);
	free(f);
}

/* Frames that hold nothing end with the input, not never. */
static void zstd_empty_frames(void)
{
	struct fixture *f = setup(5);

	for (unsigned i = 0; i + 8 <= CLUSTER; i += 8)
		memcpy(f->packed + i, "\x50\x2a\x4d\x18\0\0\0\0", 8);
	CU_ASSERT_EQUAL(unpack(f, QCOW2_ZSTD, CLUSTER), -EIO);
	free(f);
}

static void broken_streams(void)
{
	uint64_t r = 6;

	for (unsigned i = 0; i < 300; i++) {
		struct fixture *f = setup(i);
		bool zstd = i & 1;
		uint32_t n = zstd ? pack_zstd(f, CLUSTER)
				  : pack_zlib(f, CLUSTER, 12);

		for (unsigned k = 0; k < 1 + i % 5; k++)
			f->packed[random_next(&r, n)] =
				(uint8_t)random_next(&r, 256);
		unpack(f, zstd ? QCOW2_ZSTD : QCOW2_ZLIB,
		       (uint32_t)random_next(&r, n + 512));
		free(f);
	}
}

TEST_MAIN("qcow2-inflate",
	  TEST(good_streams),
	  TEST(streams_that_end_early),
	  TEST(streams_that_are_longer),
	  TEST(zstd_window),
	  TEST(zstd_empty_frames),
	  TEST(broken_streams))
