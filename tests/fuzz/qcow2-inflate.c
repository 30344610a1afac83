/* SPDX-License-Identifier: MIT */
/*
 * qcow2-inflate.c - a compressed cluster of any bytes: it fills the cluster
 * and nothing else, or is refused (A26, Q14).
 *
 * The first byte says which compression and cluster size.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "drivers/format/qcow2/qcow2.h"

#define SIZES 8u	/* of clusters: 512 to 64 KiB */
#define CLUSTER_MAX (512u << (SIZES - 1))
#define GUARD 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[2][CLUSTER_MAX + GUARD];

/* junk: what is in the cluster's memory before, and stays behind its end. */
static int unpack(enum qcow2_compression type, const uint8_t *in,
		  uint32_t len, uint8_t *cluster, uint32_t cluster_len,
		  uint8_t junk)
{
	static uint8_t work[192 * 1024 + GUARD];
	const uint32_t room = sizeof(work) - GUARD;
	int ret;

	memset(cluster, junk, cluster_len + GUARD);
	memset(work + room, junk, GUARD);
	ret = qcow2_inflate(type, in, len, cluster, cluster_len, work, room);
	for (unsigned i = 0; i < GUARD; i++)
		assert(cluster[cluster_len + i] == junk &&
		       work[room + i] == junk);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum qcow2_compression type;
	uint32_t cluster, len;
	int ret;

	if (size < 2)
		return 0;
	type = data[0] & 1 ? QCOW2_ZSTD : QCOW2_ZLIB;
	cluster = (uint32_t)QCOW2_SECTOR << (data[0] >> 1) % SIZES;
	len = (uint32_t)min(size - 1, (size_t)cluster + QCOW2_SECTOR);
	ret = unpack(type, data + 1, len, out[0], cluster, 0);
	assert(ret == 0 || ret == -EIO);
	/* nothing of what was in memory before shows through */
	assert(unpack(type, data + 1, len, out[1], cluster, 0xff) == ret);
	assert(ret < 0 || !memcmp(out[0], out[1], cluster));
	return 0;
}
