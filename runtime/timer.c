/* SPDX-License-Identifier: MIT */
/*
 * timer.c - a thread's timers: a pairing heap by deadline. Own thread only.
 *
 * A timer's child is its first child in the heap, next the next sibling, prev
 * the previous sibling or, of a first child, the parent.
 */
#include "runtime/loop.h"

static struct timer *heap_merge(struct timer *a, struct timer *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->deadline_ns < a->deadline_ns) {
		struct timer *t = a;

		a = b;
		b = t;
	}
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	b->prev = a;
	a->child = b;
	a->next = NULL;
	a->prev = NULL;
	return a;
}

/* Merges siblings in pairs, then the pairs from the last to the first. */
static struct timer *heap_merge_siblings(struct timer *first)
{
	struct timer *pairs = NULL, *heap = NULL;

	while (first) {
		struct timer *a = first, *b = a->next, *pair;

		first = b ? b->next : NULL;
		pair = heap_merge(a, b);
		pair->next = pairs;
		pairs = pair;
	}
	while (pairs) {
		struct timer *pair = pairs;

		pairs = pair->next;
		pair->next = NULL;
		pair->prev = NULL;
		heap = heap_merge(heap, pair);
	}
	return heap;
}

static void heap_remove(struct io_thread *t, struct timer *timer)
{
	struct timer *below = heap_merge_siblings(timer->child);

	if (below)
		below->prev = NULL;
	timer->child = NULL;
	if (t->timers == timer) {
		t->timers = below;
		return;
	}
	if (timer->prev->child == timer)
		timer->prev->child = timer->next;
	else
		timer->prev->next = timer->next;
	if (timer->next)
		timer->next->prev = timer->prev;
	t->timers = heap_merge(t->timers, below);
}

void timer_start(struct timer *timer, uint64_t delay_ns,
		 void (*fn)(struct timer *))
{
	struct io_thread *t = thread_self();
	uint64_t now = clock_ns();

	assert(!timer->armed);
	timer->deadline_ns = delay_ns < UINT64_MAX - now ? now + delay_ns :
							   UINT64_MAX - 1;
	timer->fn = fn;
	timer->next = NULL;
	timer->prev = NULL;
	timer->child = NULL;
	timer->armed = true;
	t->timers = heap_merge(t->timers, timer);
}

void timer_stop(struct timer *timer)
{
	if (!timer->armed)
		return;
	heap_remove(thread_self(), timer);
	timer->armed = false;
}

uint64_t timer_next(const struct io_thread *t)
{
	return t->timers ? t->timers->deadline_ns : UINT64_MAX;
}

bool timer_run_one(struct io_thread *t, uint64_t now)
{
	struct timer *timer = t->timers;

	if (!timer || timer->deadline_ns > now)
		return false;
	heap_remove(t, timer);
	timer->armed = false;
	timer->fn(timer);
	return true;
}
