/* SPDX-License-Identifier: MIT */
/*
 * qcow2-image.h - makes qcow2 images in memory, of any geometry, for tests.
 *
 * Written from the format's specification and sharing nothing with the driver,
 * so that the two check each other.
 */
#ifndef TESTS_LIB_QCOW2_IMAGE_H
#define TESTS_LIB_QCOW2_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

enum image_cluster {
	IMAGE_HOLE,		/* what the backing file has */
	IMAGE_DATA,
	IMAGE_ZERO,		/* version 3 */
	IMAGE_ZERO_ALLOCATED,	/* version 3; the host cluster holds junk */
	IMAGE_PACKED,		/* compressed, deflate */
};

struct image_spec {
	unsigned version;		/* 2 or 3 */
	unsigned cluster_bits;		/* 9..21 */
	unsigned refcount_order;	/* 0..6; 4 in version 2 */
	uint64_t size;			/* bytes, a multiple of 512 */
	bool lazy_refcounts;
	bool l2_not_copied;	/* L2 tables look shared: refcount 2 (leaked) */
	const char *backing;		/* name in the header, or NULL */
	const char *backing_format;
	/* What guest cluster n is; NULL: all are holes. */
	enum image_cluster (*kind)(void *arg, uint64_t n);
	/* The bytes of guest range [offset, offset + len). */
	void (*fill)(void *arg, uint64_t offset, void *buf, uint32_t len);
	void *arg;
};

/* Returns the file's size; the caller frees *data. */
uint64_t image_build(const struct image_spec *spec, void **data);

/*
 * Checks an image in memory: counts clusters referenced more often than their
 * refcount says, or wrongly marked, or outside the file (errors), and such
 * whose refcount is too high (leaks). Returns the number of errors; text: the
 * first of them.
 */
struct image_report {
	uint64_t errors, leaks;
	uint64_t dirty;		/* the header's dirty bit is set */
	char text[160];
};
uint64_t image_check(const void *data, uint64_t size,
		     struct image_report *report);

#endif
