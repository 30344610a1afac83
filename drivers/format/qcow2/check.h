/* SPDX-License-Identifier: MIT */
/*
 * check.h - counts what the tables of an image name, and compares with its
 * refcounts.
 *
 * Works on the bytes of the file alone, as the next opener will see them, not
 * on an open image's memory: flush first. Coroutines; nobody writes to the
 * image meanwhile.
 */
#ifndef QCOW2_CHECK_H
#define QCOW2_CHECK_H

#include "drivers/format/qcow2/header.h"
#include "graph/io.h"

struct qcow2_check {
	/* result */
	uint64_t errors;	/* contradictions: data is or may get lost */
	uint64_t leaks;		/* clusters with too high a refcount */
	uint64_t total;		/* guest clusters */
	uint64_t allocated;	/* of these, with a host cluster */
	uint64_t packed;	/* of these, compressed */
	uint64_t end;		/* host clusters: the last one in use, + 1 */
	uint64_t used_end;	/* bytes: the same, or refcounted */
	char first_error[160];	/* a sentence, or empty */
	/* private */
	struct edge *file;
	const struct qcow2_header *header;
	bool strict;		/* a check; else the rebuild's count */
	uint64_t file_clusters;
	uint64_t end_max;	/* bytes; what is named must end there */
	uint64_t window;	/* host cluster that counts begin with */
	uint32_t *counts;
	uint64_t counts_max;	/* clusters; memory is touched as used */
	uint64_t tables;	/* clusters of tables walked */
	bool in_snapshot;
	struct qcow2_check_reader *reader;	/* of refcounts, comparing */
	uint64_t *progress;	/* the caller's; or NULL */
};

/*
 * Reads header and tables through `file`. 0 when the check could be made,
 * whatever it found; else a negative errno: -EFBIG when the file has more
 * clusters than we count. *progress, where there is one, changes with every
 * read.
 */
int qcow2_check(struct edge *file, uint64_t *progress,
		struct qcow2_check *check) MUST_CHECK;
/* The driver's check. */
int qcow2_check_image(struct edge *file, struct image_check *out,
		      struct error **err) MUST_CHECK;

/*
 * Makes refcounts anew from what the tables name, behind everything in use,
 * and switches the header (in `sector`, a copy of sector 0) to them; the dirty
 * bit goes by the same write (A24). For images that were not closed with lazy
 * refcounts. Fails when the tables themselves are wrong.
 */
int qcow2_rebuild_refcounts(struct edge *file, struct qcow2_header *h,
			    uint8_t *sector, bool fixed_size,
			    struct error **err) MUST_CHECK;

#endif
