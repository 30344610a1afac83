/* SPDX-License-Identifier: MIT */
/*
 * window.h - a part of a disk as a disk: a raw node with an offset and a size
 * above it.
 */
#ifndef SERVER_WINDOW_H
#define SERVER_WINDOW_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/error.h"

struct node;

/* Whether blkgraph-attach's arguments ask for one: "offset", "size-limit",
 * "partition". */
bool window_wanted(json_t *args);
/*
 * Opens it on the image, and takes over the caller's ("opener") reference to
 * that, also when it fails. name: of its node, or NULL; filename names the
 * image in errors. Main thread, coroutine.
 */
struct node *co_window_open(struct node *image, json_t *args, const char *name,
			    const char *filename, struct error **err)
	MUST_CHECK;

#endif
