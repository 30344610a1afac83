/* SPDX-License-Identifier: MIT */
/*
 * temporary.h - for blkgraph-attach: an overlay that is thrown away with the
 * disk. It is a qcow2 image in a file that has no name from the first moment
 * on, so that nothing is left of it however this process ends.
 */
#ifndef SERVER_TEMPORARY_H
#define SERVER_TEMPORARY_H

#include "runtime/error.h"

struct node;

/* The folder where such files are: TMPDIR, or /var/tmp. */
const char *temporary_dir(void);
/*
 * The overlay above the image, a reference of the "opener"; takes over the
 * caller's to the image. name: of the new node; NULL: one is made up. NULL,
 * and *err, where that fails. Main thread, coroutine.
 */
struct node *co_temporary_above(struct node *image, const char *name,
				struct error **err) MUST_CHECK;

#endif
