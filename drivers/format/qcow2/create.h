/* SPDX-License-Identifier: MIT */
/*
 * create.h - making an image, by a job (graph/create.h).
 */
#ifndef QCOW2_CREATE_H
#define QCOW2_CREATE_H

#include "graph/options.h"

struct edge;

struct qcow2_create {
	uint64_t size, cluster_size;	/* bytes */
	char *backing, *backing_format;	/* NULL: none */
	int version, preallocation, compression;
	uint64_t refcount_bits;
	bool lazy_refcounts;
};

extern const struct option qcow2_create_options[];
int qcow2_create(const void *opts, struct edge *file, struct error **err);

#endif
