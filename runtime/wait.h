/* SPDX-License-Identifier: MIT */
/*
 * wait.h - waiting for what happens once, at most so long. Main thread.
 */
#ifndef RUNTIME_WAIT_H
#define RUNTIME_WAIT_H

#include "runtime/co.h"

#define SECONDS(n) ((n) * 1000000000ull)
#define WAIT_FOREVER UINT64_MAX

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
/* Who waits goes on waiting for so long from now, at most. */
void wait_event_shorten(struct wait_event *ev, uint64_t timeout_ns);

#endif
