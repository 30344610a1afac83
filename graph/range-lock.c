/* SPDX-License-Identifier: MIT */
/*
 * range-lock.c - see range-lock.h.
 *
 * Any thread. What always holds: range->before is how many that stand earlier
 * in the list overlap it, unless both are shared; who has none holds his range.
 */
#include "graph/range-lock.h"

void range_lock_init(struct range_lock *lock)
{
	co_mutex_init(&lock->mutex);
	lock->first = lock->last = NULL;
}

void range_lock_destroy(struct range_lock *lock)
{
	assert(!lock->first);
	co_mutex_destroy(&lock->mutex);
}

static bool range_conflicts(const struct range *a, const struct range *b)
{
	return a->start < b->end && b->start < a->end &&
	       !(a->shared && b->shared);
}

void co_range_lock(struct range_lock *lock, struct range *range,
		   uint64_t start, uint64_t end, bool shared)
{
	bool waits;

	assert(start < end);
	*range = (struct range){
		.start = start, .end = end, .shared = shared,
		.co = co_self(),
	};
	co_lock(&lock->mutex);
	for (const struct range *r = lock->first; r; r = r->next)
		range->before += range_conflicts(r, range);
	range->prev = lock->last;
	if (lock->last)
		lock->last->next = range;
	else
		lock->first = range;
	lock->last = range;
	waits = range->before;
	co_unlock(&lock->mutex);
	if (waits)
		co_wait();
}

void co_range_unlock(struct range_lock *lock, struct range *range)
{
	co_lock(&lock->mutex);
	assert(!range->before);
	if (range->prev)
		range->prev->next = range->next;
	else
		lock->first = range->next;
	if (range->next)
		range->next->prev = range->prev;
	else
		lock->last = range->prev;
	for (struct range *r = range->next; r; r = r->next)
		if (range_conflicts(range, r) && --r->before == 0)
			co_wake(r->co);
	co_unlock(&lock->mutex);
}
