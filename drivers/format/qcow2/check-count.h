/* SPDX-License-Identifier: MIT */
/*
 * check-count.h - counting what the tables name, for check.c and rebuild.c.
 *
 * The counts are of one window of host clusters; the tables are walked again
 * for each window, and what is wrong with them told in the first.
 */
#ifndef QCOW2_CHECK_COUNT_H
#define QCOW2_CHECK_COUNT_H

#include "drivers/format/qcow2/check.h"

/* Memory for the counts; `file`, `header` and `strict` are set. */
int qcow2_check_map(struct qcow2_check *c) MUST_CHECK;
void qcow2_check_unmap(struct qcow2_check *c);

/* Header, tables and data, everything but the refcounts themselves. */
int qcow2_check_count(struct qcow2_check *c) MUST_CHECK;

/* An error; the first one is kept as the sentence. */
void qcow2_check_found(struct qcow2_check *c, const char *fmt, ...)
	PRINTF(2, 3);
/* An error that the tables show, not the counts: told in the first window. */
void qcow2_check_found_once(struct qcow2_check *c, const char *fmt, ...)
	PRINTF(2, 3);
/* One more reference to each cluster that the bytes touch; false, and an error
 * that names `what`: they are outside the file. */
bool qcow2_check_refer(struct qcow2_check *c, uint64_t offset, uint64_t bytes,
		       const char *what);
/* Calls fn for each entry of a table in the file, until it is not 0. -EFBIG:
 * more tables were walked than a sound image has. */
int qcow2_check_each(struct qcow2_check *c, uint64_t offset, uint64_t entries,
		     int (*fn)(struct qcow2_check *c, uint64_t entry))
	MUST_CHECK;

/* Of the file. */
int co_qcow2_check_read(struct qcow2_check *c, uint64_t offset, uint32_t len,
			void *buf) MUST_CHECK;

static inline const struct qcow2_geometry *
check_geo(const struct qcow2_check *c)
{
	return &c->header->geo;
}

#endif
