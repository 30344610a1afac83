/* SPDX-License-Identifier: MIT */
/*
 * shrink.h - what a disk would lose if it were smaller: partitions, a file
 * system, data. What it holds is hostile, as images are (A26): numbers are
 * compared, and nothing else.
 */
#ifndef SERVER_SHRINK_H
#define SERVER_SHRINK_H

#include <stdint.h>

#include "runtime/error.h"

struct node;

/*
 * Refuses, naming what lies behind `size`, where anything does. what: names the
 * disk in errors. Main thread, coroutine; the caller refers to the node.
 */
int co_shrink_check(struct node *node, uint64_t size, const char *what,
		    struct error **err) MUST_CHECK;

#endif
