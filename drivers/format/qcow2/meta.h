/* SPDX-License-Identifier: MIT */
/*
 * meta.h - the set of host clusters that hold metadata.
 *
 * Before data or new metadata goes to a cluster it is looked up here: a hit
 * means that the image contradicts itself (a table that is also a data
 * cluster, a refcount of zero for something in use), and the write would
 * destroy what the image consists of (A26). Looked up by any thread without a
 * lock, changed under the image's lock.
 */
#ifndef QCOW2_META_H
#define QCOW2_META_H

#include <stdbool.h>

#include "runtime/compiler.h"

struct meta_table;

struct meta_set {
	struct meta_table *table;	/* atomic */
	uint64_t used;			/* slots that are not empty */
};

/* -ENOMEM. */
int meta_set_init(struct meta_set *m) MUST_CHECK;
void meta_set_destroy(struct meta_set *m);
/* Makes sure that so many can be added: before what cannot be undone. -ENOMEM.
 */
int meta_set_reserve(struct meta_set *m, uint64_t clusters) MUST_CHECK;
void meta_set_add(struct meta_set *m, uint64_t cluster);
void meta_set_add_run(struct meta_set *m, uint64_t first, uint64_t count);
void meta_set_remove(struct meta_set *m, uint64_t cluster);
bool meta_set_has(const struct meta_set *m, uint64_t cluster);

#endif
