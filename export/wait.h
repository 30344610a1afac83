/* SPDX-License-Identifier: MIT */
/*
 * wait.h - waiting with a deadline, on the main thread (A6). Every call into
 * the kernel that may block is waited for by one of these.
 */
#ifndef EXPORT_WAIT_H
#define EXPORT_WAIT_H

#include "runtime/co.h"

#define SECONDS(n) ((n) * 1000000000ull)

/* Something that happens once. One coroutine waits for it at a time. */
struct wait_event {
	struct co *waiter;
	struct timer timer;
	bool set;
};

/* Main thread, from anywhere. */
void wait_event_set(struct wait_event *ev);
/* Coroutine. Whether it was set within the time; 0: looks only. */
bool co_wait_event(struct wait_event *ev, uint64_t timeout_ns)
	MUST_CHECK;

/*
 * Runs job->fn on a helper thread. True when it returned within the time, or,
 * where there is job->progress (coroutine, may wait), while that number changed
 * within each such time. When not, the job belongs to this call, which frees it
 * by job->late once fn has returned after all (main thread, coroutine).
 */
struct wait_job {
	void (*fn)(struct wait_job *job);
	void (*late)(struct wait_job *job);
	uint64_t (*progress)(struct wait_job *job);	/* or NULL */
	/* the call's own */
	struct wait_event over;
	bool abandoned;
};

bool co_wait_job(struct wait_job *job, uint64_t timeout_ns) MUST_CHECK;

#endif
