/* SPDX-License-Identifier: MIT */
/*
 * check-count.h - counting what the tables name, for check.c and rebuild.c.
 */
#ifndef QCOW2_CHECK_COUNT_H
#define QCOW2_CHECK_COUNT_H

#include "drivers/format/qcow2/check.h"

/* Memory for the counts; `file`, `header` and `strict` are set. */
int qcow2_check_map(struct qcow2_check *c) MUST_CHECK;
void qcow2_check_unmap(struct qcow2_check *c);
/* Header, tables and data, everything but the refcounts themselves. */
int qcow2_check_count(struct qcow2_check *c) MUST_CHECK;

#endif
