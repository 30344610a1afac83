/* SPDX-License-Identifier: MIT */
/*
 * space.c - the space that metadata has in the file (A40).
 *
 * A table may lie in a hole: it is new and all zeroes, or the image was copied
 * with a hole wherever there were zeroes. Writing it then needs space of the
 * host, and a flush that finds none would lose what was acknowledged. So:
 *
 *  Q17	What becomes dirty has its space in the file before. A flush writes
 *	in place only, and needs none.
 *
 * Under s->lock, kept across the write; coroutines of any thread.
 */
#include "drivers/format/qcow2/qcow2.h"

/* No file system has smaller blocks: where not all of them is zero there is
 * one. */
#define BLOCK_BYTES 1024u

int qcow2_blank_cluster(struct qcow2 *s, uint64_t cluster)
{
	uint64_t at = qcow2_host_offset(&s->geo, cluster);
	uint64_t end = at + s->geo.cluster_size;
	int ret = 0;

	for (; at < end && ret == 0; at += BLANK_BYTES)
		ret = co_edge_write(qcow2_file(s), at,
				    (uint32_t)min(end - at,
						  (uint64_t)BLANK_BYTES),
				    s->blank, 0);
	return ret;
}

bool qcow2_may_be_hole(const struct qcow2 *s, const void *bytes)
{
	uint32_t step = min(s->geo.slice_size, BLOCK_BYTES);

	for (uint32_t at = 0; at < s->geo.slice_size; at += step)
		if (!memcmp((const uint8_t *)bytes + at, s->blank, step))
			return true;
	return false;
}

int qcow2_claim_slice(struct qcow2 *s, struct slice *slice)
{
	int ret;

	if (likely(!slice->hole))
		return 0;
	ret = co_edge_write(qcow2_file(s), slice->host, s->geo.slice_size,
			    slice->entries, 0);
	if (ret == 0)
		slice->hole = false;
	return ret;
}

int qcow2_claim_chunk(struct qcow2 *s, uint64_t table, const struct be64 *bytes,
		      uint8_t *claimed, uint64_t index)
{
	uint64_t chunk = index >> s->geo.slice_l2_bits;
	uint64_t at = chunk << s->geo.slice_bits;
	const uint8_t *from = (const uint8_t *)bytes + at;
	int ret = 0;

	if (claimed[chunk])
		return 0;
	if (qcow2_may_be_hole(s, from))
		ret = co_edge_write(qcow2_file(s), table + at,
				    s->geo.slice_size, from, 0);
	claimed[chunk] = ret == 0;
	return ret;
}
