/* SPDX-License-Identifier: MIT */
/*
 * wait.c - see wait.h. Main thread only.
 */
#include "runtime/wait.h"

static void event_wake(struct wait_event *ev)
{
	struct co *co = ev->waiter;

	/* the timer and the event may both come: one wake for one wait */
	ev->waiter = NULL;
	if (co)
		co_wake(co);
}

void wait_event_set(struct wait_event *ev)
{
	ev->set = true;
	event_wake(ev);
}

static void event_expired(struct timer *timer)
{
	event_wake(container_of(timer, struct wait_event, timer));
}

bool co_wait_event(struct wait_event *ev, uint64_t timeout_ns)
{
	assert(!ev->waiter);
	if (ev->set || !timeout_ns)
		return ev->set;
	ev->waiter = co_self();
	timer_start(&ev->timer, timeout_ns, event_expired);
	co_wait();
	timer_stop(&ev->timer);
	return ev->set;
}

void wait_event_shorten(struct wait_event *ev, uint64_t timeout_ns)
{
	if (!ev->waiter)
		return;
	timer_stop(&ev->timer);
	if (timeout_ns)
		timer_start(&ev->timer, timeout_ns, event_expired);
	else
		event_wake(ev);
}
