/* SPDX-License-Identifier: MIT */
/*
 * late.c - see late.h. Main thread only.
 *
 * A work is waited for, or lost, never both: whoever waits gives it up in the
 * turn in which it stops to wait, and it tells the waiter in the turn in which
 * it ends. A lost one is listed until it is undone.
 */
#include "runtime/late.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/storage.h"

#define LOOK_NS 5000000ull

struct lost {
	char what[LATE_WHAT_MAX];
	uint64_t begun_ns;
	struct lost *next;
};

static struct late *under_way;
static struct lost *all_lost;
static bool leaving;
static uint64_t bound_ns = LATE_NS;

static void late_lose(struct late *work)
{
	struct lost *lost = calloc(1, sizeof(*lost));

	if (!lost)
		abort();
	memcpy(lost->what, work->what, sizeof(lost->what));
	lost->begun_ns = work->begun_ns;
	lost->next = all_lost;
	all_lost = lost;
	work->lost = lost;
}

/* What undoes it may wait for the same storage, and frees it. */
static void late_undo(struct late *work)
{
	struct lost *lost = work->lost, **at;

	work->undo(work);
	for (at = &all_lost; *at && *at != lost; at = &(*at)->next)
		;
	if (*at)
		*at = lost->next;
	free(lost);
}

static void late_call(void *arg)
{
	struct late *work = arg;

	work->call(work);
}

static void late_coroutine(void *arg)
{
	struct late *work = arg, **at;

	work->co = co_self();
	work->next = under_way;
	under_way = work;
	if (work->run)
		work->run(work);
	else
		work->refused_by = work->path ?
			co_storage_call_at(work->path, late_call, work) :
			co_storage_call(work->storage, late_call, work);
	for (at = &under_way; *at != work; at = &(*at)->next)
		;
	*at = work->next;
	if (work->lost)
		late_undo(work);
	else
		wait_event_set(&work->over);
}

/* False: nobody waits any longer. */
static bool late_wait(struct late *work, uint64_t timeout_ns)
{
	uint64_t before, now = 0;

	do {
		before = now;
		if (leaving && work->gives_way)
			return work->over.set;
		if (co_wait_event(&work->over, timeout_ns))
			return true;
		if (work->progress)
			now = work->progress(work);
	} while (now != before && !work->over.set);
	return work->over.set;
}

static void late_error(const struct late *work, struct error **err)
{
	uint64_t seconds = (clock_ns() - work->begun_ns) / SECONDS(1);
	char silence[STORAGE_TEXT_MAX];

	if (work->refused_by)
		error_set(err, ETIMEDOUT, "Refused is %s: %s", work->what,
			  storage_tell(work->refused_by, silence));
	else if (leaving && work->gives_way)
		error_set(err, ESHUTDOWN, "blkgraphd is leaving: %s takes too "
			  "long", work->what);
	else
		error_set(err, ETIMEDOUT, "%s takes longer than %llu s and is "
			  "undone when it ends", work->what,
			  (unsigned long long)seconds);
}

static PRINTF(2, 0) void late_begin(struct late *work, const char *what,
				    va_list args)
{
	vsnprintf(work->what, sizeof(work->what), what, args);
	work->begun_ns = clock_ns();
	work->over = (struct wait_event) { 0 };
	work->refused_by = NULL;
	work->lost = NULL;
	work->hurried = false;
	/* no stack left: without one, no way to give up either */
	if (!co_spawn(late_coroutine, work))
		late_coroutine(work);
}

bool co_late_over(struct late *work, uint64_t timeout_ns, struct error **err)
{
	bool over = late_wait(work, timeout_ns);

	if (over && !work->refused_by)
		return true;
	late_error(work, err);
	if (over)
		work->undo(work);
	else
		late_lose(work);
	return false;
}

void co_late_begin(struct late *work, const char *what, ...)
{
	va_list args;

	va_start(args, what);
	late_begin(work, what, args);
	va_end(args);
}

bool co_late(struct late *work, uint64_t timeout_ns, struct error **err,
	     const char *what, ...)
{
	va_list args;

	va_start(args, what);
	late_begin(work, what, args);
	va_end(args);
	return co_late_over(work, timeout_ns, err);
}

uint64_t late_bound_ns(void)
{
	return bound_ns;
}

void late_set_bound(uint64_t ns)
{
	bound_ns = min(ns, LATE_NS);
}

void late_hurry(struct late *work, uint64_t timeout_ns)
{
	work->hurried = true;
	wait_event_shorten(&work->over, timeout_ns);
}

bool late_unwanted(void)
{
	for (const struct late *work = under_way; work; work = work->next)
		if (work->co == co_self())
			return work->lost || work->hurried;
	return false;
}

void late_leave(void)
{
	leaving = true;
	for (struct late *work = under_way; work; work = work->next)
		if (work->gives_way)
			late_hurry(work, 0);
}

void late_stay(void)
{
	leaving = false;
}

bool co_late_end(uint64_t timeout_ns)
{
	uint64_t end = clock_ns() + timeout_ns;

	while (all_lost && clock_ns() < end)
		co_sleep(LOOK_NS);
	return !all_lost;
}

void late_tell(void (*fn)(const char *what, uint64_t seconds))
{
	for (const struct lost *lost = all_lost; lost; lost = lost->next)
		fn(lost->what, (clock_ns() - lost->begun_ns) / SECONDS(1));
}

unsigned late_count(void)
{
	unsigned count = 0;

	for (const struct lost *lost = all_lost; lost; lost = lost->next)
		count++;
	return count;
}

void late_forget(void)
{
	struct lost *next;

	for (; all_lost; all_lost = next) {
		next = all_lost->next;
		free(all_lost);
	}
	under_way = NULL;
	leaving = false;
	bound_ns = LATE_NS;
}
