/* SPDX-License-Identifier: MIT */
/*
 * header.h - the header: parsed, every field bounded before anybody uses it
 * (A26), and changed in a copy of sector 0. Pure.
 */
#ifndef QCOW2_HEADER_H
#define QCOW2_HEADER_H

#include <stdbool.h>

#include "drivers/format/qcow2/addr.h"
#include "runtime/error.h"

struct qcow2_header {
	struct qcow2_geometry geo;
	uint32_t version;		/* 2 or 3 */
	uint32_t length;		/* bytes; extensions follow */
	uint64_t size;			/* bytes of the disk */
	uint64_t l1_offset;
	uint32_t l1_entries;		/* at least what size needs */
	uint32_t snapshots;
	uint64_t snapshots_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint64_t incompatible, compatible, autoclear;
	uint32_t bitmaps;		/* persistent bitmaps */
	uint64_t bitmaps_offset;	/* their directory, if there are any */
	uint64_t bitmaps_bytes;
	uint8_t compression;		/* enum qcow2_compression */
	uint16_t backing_len;		/* bytes; 0: no backing file */
	char backing[QCOW2_BACKING_NAME_MAX + 1];
	char backing_format[256];	/* empty: not named */
};

/*
 * How much of the file qcow2_header_parse wants to see: one cluster. buf has
 * the first sector. -EINVAL with *err when that is no qcow2 header.
 */
int qcow2_header_extent(const uint8_t *buf, uint32_t *len, struct error **err)
	MUST_CHECK;
/*
 * buf: the first cluster, padded by zeroes where the file is shorter;
 * file_size: bytes of the file. -ENOTSUP with the feature's name when the
 * image needs one that we do not have.
 */
int qcow2_header_parse(const uint8_t *buf, uint64_t file_size,
		       struct qcow2_header *out, struct error **err)
	MUST_CHECK;
/*
 * Whether the image may be written: -ENOTSUP for internal snapshots and
 * bitmaps, -EROFS for one that is marked corrupt.
 */
int qcow2_header_writable(const struct qcow2_header *h, struct error **err)
	MUST_CHECK;

/*
 * `to`: the first cluster as it is to be, where it is `from` and the image
 * below shall be another, or none (name NULL; format may be NULL). Behind
 * sector 0 it differs only where `from` has nothing that is read, so when that
 * is durable one write of sector 0 switches (Q10); a table of features' names
 * is left out where there is no other way. -ENOSPC: it does not fit.
 */
int qcow2_header_rename(const struct qcow2_header *h, const uint8_t *from,
			const char *name, const char *format, uint8_t *to)
	MUST_CHECK;

/* Puts what changes while an image is open into a copy of sector 0. */
void qcow2_header_store(const struct qcow2_header *h, uint8_t *sector);

#endif
