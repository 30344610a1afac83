/* SPDX-License-Identifier: MIT */
/*
 * compressed.c - reading compressed clusters.
 *
 * Coroutines of any thread; all memory is the caller's. A stream is bounded
 * on both sides: so many bytes in, one cluster out, nothing kept in between
 * (A26). What follows the stream's end is padding and ignored.
 */
#define ZSTD_STATIC_LINKING_ONLY
#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "drivers/format/qcow2/qcow2.h"

/* zlib takes 7 KiB and a window of 32; zstd's context says what it takes */
#define WORK_BYTES (192u * 1024)

/* Bytes of a stream. No writer keeps one that is not smaller than the cluster,
 * and none needs more than a sector of padding. */
static uint32_t stream_bytes_max(const struct qcow2_geometry *g)
{
	return g->cluster_size + QCOW2_SECTOR;
}

uint32_t qcow2_unpack_bytes(const struct qcow2_geometry *g)
{
	return stream_bytes_max(g) + WORK_BYTES;
}

/* An allocator on the caller's memory, for the one stream. */
struct arena {
	uint8_t *mem;
	size_t left;
};

static void *arena_alloc(void *opaque, uInt items, uInt size)
{
	struct arena *a = opaque;
	size_t bytes = (size_t)align_up((uint64_t)items * size, 16);
	void *p = a->mem;

	if (bytes > a->left)
		return Z_NULL;
	a->mem += bytes;
	a->left -= bytes;
	return p;
}

static void arena_free(void *opaque, void *p)
{
	(void)opaque;
	(void)p;
}

static int inflate_zlib(const uint8_t *in, uint32_t in_len, uint8_t *out,
			uint32_t out_len, uint8_t *work, uint32_t work_len)
{
	struct arena arena = { work, work_len };
	z_stream z = {
		.zalloc = arena_alloc,
		.zfree = arena_free,
		.opaque = &arena,
		.avail_in = in_len,
		.next_out = out,
		.avail_out = out_len,
	};
	int ret;

	/* zlib's API takes its input without const */
	memcpy(&z.next_in, &in, sizeof(in));
	/* raw; the format says a window of 12 bits, larger ones do no harm */
	if (inflateInit2(&z, -15) != Z_OK)
		return -EIO;
	ret = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* a full cluster counts, wherever the stream wanted to go on */
	if (z.avail_out || (ret != Z_STREAM_END && ret != Z_BUF_ERROR &&
			    ret != Z_OK))
		return -EIO;
	return 0;
}

static int inflate_zstd(const uint8_t *in, uint32_t in_len, uint8_t *out,
			uint32_t out_len, uint8_t *work, uint32_t work_len)
{
	ZSTD_DCtx *ctx = ZSTD_initStaticDCtx(work, work_len);

	if (!ctx)
		return -EIO;
	/* Frame by frame in one piece each: whatever window a frame asks for,
	 * it lies in the output, so nothing is allocated for it. */
	while (out_len) {
		size_t frame = ZSTD_findFrameCompressedSize(in, in_len);
		size_t got;

		if (ZSTD_isError(frame))
			return -EIO;
		got = ZSTD_decompressDCtx(ctx, out, out_len, in, frame);
		if (ZSTD_isError(got))
			return -EIO;
		in += frame;
		in_len -= (uint32_t)frame;
		out += got;
		out_len -= (uint32_t)got;
	}
	return 0;
}

int qcow2_inflate(enum qcow2_compression type, const uint8_t *in,
		  uint32_t in_len, uint8_t *out, uint32_t out_len,
		  uint8_t *work, uint32_t work_len)
{
	return type == QCOW2_ZSTD ?
	       inflate_zstd(in, in_len, out, out_len, work, work_len) :
	       inflate_zlib(in, in_len, out, out_len, work, work_len);
}

int qcow2_unpack(struct qcow2 *s, uint64_t entry, uint8_t *out, uint8_t *work)
{
	struct qcow2_packed p = qcow2_entry_packed(&s->geo, entry);
	uint32_t room = stream_bytes_max(&s->geo);
	uint8_t *in = work + WORK_BYTES;
	int ret;

	if (p.offset < s->geo.cluster_size || p.offset >= QCOW2_OFFSET_LIMIT ||
	    p.offset >= __atomic_load_n(&s->end, __ATOMIC_RELAXED))
		return -EIO;
	p.len = min(p.len, room);
	ret = co_edge_read(qcow2_file(s), p.offset, p.len, in);
	if (ret < 0)
		return ret;
	return qcow2_inflate((enum qcow2_compression)s->header.compression, in,
			     p.len, out, s->geo.cluster_size, work,
			     WORK_BYTES);
}
