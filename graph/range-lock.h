/* SPDX-License-Identifier: MIT */
/*
 * range-lock.h - locks of ranges, shared and exclusive, across threads: who
 * modifies a block (A12), and what a job copies while guests write.
 *
 * Fair: nobody overtakes, of those whose ranges overlap, who asked before, and
 * waits only for those; shared ones do not wait for each other. So a shared one
 * waits behind an exclusive one that waits.
 *
 * Who waits for a range holds up a drain no longer than I/O lasts, though he is
 * counted: ranges are held inside an operation only, which a drain waits for
 * (R20), and who must wait for what time or a user ends drops them first (R39).
 * So he waits where he stands.
 *
 * Any thread, coroutines.
 */
#ifndef GRAPH_RANGE_LOCK_H
#define GRAPH_RANGE_LOCK_H

#include "runtime/co.h"

/* The holder's, or his who waits, from co_range_lock to co_range_unlock. */
struct range {
	uint64_t start, end;
	bool shared;
	unsigned before;	/* that asked earlier and keep it waiting */
	struct co *co;		/* that waits */
	struct range *next, *prev;
};

struct range_lock {
	struct co_mutex mutex;	/* protects the list; held for its walks only */
	struct range *first, *last;	/* held and waiting, as they asked */
};

void range_lock_init(struct range_lock *lock);
void range_lock_destroy(struct range_lock *lock);	/* asserts: is free */
/* Waits until [start, end) is the caller's, to end > start. */
void co_range_lock(struct range_lock *lock, struct range *range,
		   uint64_t start, uint64_t end, bool shared);
void co_range_unlock(struct range_lock *lock, struct range *range);

#endif
