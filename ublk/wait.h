/* SPDX-License-Identifier: MIT */
/*
 * wait.h - waiting with a deadline, on the main thread (A6). Every call into
 * the kernel that may block is waited for by one of these.
 */
#ifndef UBLK_WAIT_H
#define UBLK_WAIT_H

#include "runtime/co.h"

#define SECONDS(n) ((n) * 1000000000ull)

/* Something that happens once. One coroutine waits for it at a time. */
struct ublk_event {
	struct co *waiter;
	struct timer timer;
	bool set;
};

/* Main thread, from anywhere. */
void ublk_event_set(struct ublk_event *ev);
/* Coroutine. Whether it was set within the time; 0: looks only. */
bool co_ublk_event_wait(struct ublk_event *ev, uint64_t timeout_ns)
	MUST_CHECK;

/*
 * Runs job->fn on a helper thread. True when it returned within the time, or,
 * where there is job->progress (coroutine, may wait), while that number changed
 * within each such time. When not, the job belongs to this call, which frees it
 * by job->late once fn has returned after all (main thread, coroutine).
 */
struct ublk_job {
	void (*fn)(struct ublk_job *job);
	void (*late)(struct ublk_job *job);
	uint64_t (*progress)(struct ublk_job *job);	/* or NULL */
	/* the call's own */
	struct ublk_event over;
	bool abandoned;
};

bool co_ublk_blocking(struct ublk_job *job, uint64_t timeout_ns) MUST_CHECK;

#endif
