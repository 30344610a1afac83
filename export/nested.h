/* SPDX-License-Identifier: MIT */
/*
 * nested.h - disks of ours are not put on one another.
 *
 * A request of the upper disk holds memory, stacks and helpers of the threads
 * that the lower disk's request needs to end, so that under load each would
 * wait for the other; and a process that is killed waits in the kernel for what
 * only it could answer. Two daemons do not have this in common.
 */
#ifndef EXPORT_NESTED_H
#define EXPORT_NESTED_H

#include "runtime/error.h"

struct export;
struct node;

/*
 * For an export type's open: refuses a node whose data lies on a disk or mount
 * that this process serves, however deep below. Main thread, coroutine; `node`
 * is the caller's for so long. 0 or a negative errno and one sentence that
 * names the export, the file and the disk.
 */
int co_refuse_nested(const struct export *exp, struct node *node,
		     struct error **err) MUST_CHECK;

#endif
