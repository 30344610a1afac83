/* SPDX-License-Identifier: MIT */
/*
 * qcow2-header.c - the header's parser by itself, for its speed. What it lets
 * through is inside the limits that the rest of the driver relies on.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/format/qcow2/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_limits(const struct qcow2_header *h)
{
	uint64_t l1_bytes = h->l1_entries * UINT64_C(8);
	uint64_t cluster = h->geo.cluster_size;

	assert(h->version == 2 || h->version == 3);
	assert(h->geo.cluster_bits >= 9 && h->geo.cluster_bits <= 21);
	assert(h->geo.refcount_order <= 6);
	assert(l1_bytes <= QCOW2_L1_BYTES_MAX);
	assert(qcow2_l1_needed(&h->geo, h->size) <= h->l1_entries);
	/* a disk of no bytes has no table: its offset says nothing */
	assert(!h->l1_entries || is_aligned(h->l1_offset, cluster));
	assert(is_aligned(h->reftable_offset, cluster));
	assert(h->reftable_clusters * cluster <= QCOW2_REFTABLE_BYTES_MAX);
	assert(h->backing_len <= QCOW2_BACKING_NAME_MAX);
	assert(strlen(h->backing) <= h->backing_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2_header h;
	struct error *err = NULL;
	uint32_t extent;
	uint8_t *buf;

	if (size < QCOW2_SECTOR)
		return 0;
	if (qcow2_header_extent(data, &extent, &err) == 0) {
		assert(extent <= 1u << QCOW2_CLUSTER_BITS_MAX);
		/* exactly as large as asked for, so that ASan sees more */
		buf = calloc(1, extent);
		assert(buf);
		memcpy(buf, data, min((size_t)extent, size));
		if (qcow2_header_parse(buf, size, &h, &err) == 0)
			check_limits(&h);
		free(buf);
	}
	error_clear(&err);
	return 0;
}
