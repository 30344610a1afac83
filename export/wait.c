/* SPDX-License-Identifier: MIT */
/*
 * wait.c - see wait.h. Main thread only.
 */
#include "export/wait.h"

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

static void job_run(void *arg)
{
	struct wait_job *job = arg;

	job->fn(job);
}

static void job_coroutine(void *arg)
{
	struct wait_job *job = arg;

	co_blocking(job_run, job);
	if (job->abandoned)
		job->late(job);
	else
		wait_event_set(&job->over);
}

bool co_wait_job(struct wait_job *job, uint64_t timeout_ns)
{
	uint64_t before, now = 0;

	job->over = (struct wait_event) { 0 };
	job->abandoned = false;
	if (!co_spawn(job_coroutine, job)) {
		/* no stack left: without one, no way to give up either */
		co_blocking(job_run, job);
		return true;
	}
	do {
		before = now;
		if (co_wait_event(&job->over, timeout_ns))
			return true;
		if (job->progress)
			now = job->progress(job);
	} while (now != before && !job->over.set);
	job->abandoned = !job->over.set;
	return job->over.set;
}
