/* SPDX-License-Identifier: MIT */
/*
 * wait.c - see wait.h. Main thread only.
 */
#include "ublk/wait.h"

static void event_wake(struct ublk_event *ev)
{
	struct co *co = ev->waiter;

	/* the timer and the event may both come: one wake for one wait */
	ev->waiter = NULL;
	if (co)
		co_wake(co);
}

void ublk_event_set(struct ublk_event *ev)
{
	ev->set = true;
	event_wake(ev);
}

static void event_expired(struct timer *timer)
{
	event_wake(container_of(timer, struct ublk_event, timer));
}

bool co_ublk_event_wait(struct ublk_event *ev, uint64_t timeout_ns)
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
	struct ublk_job *job = arg;

	job->fn(job);
}

static void job_coroutine(void *arg)
{
	struct ublk_job *job = arg;

	co_blocking(job_run, job);
	if (job->abandoned)
		job->late(job);
	else
		ublk_event_set(&job->over);
}

bool co_ublk_blocking(struct ublk_job *job, uint64_t timeout_ns)
{
	uint64_t before, now = 0;

	job->over = (struct ublk_event) { 0 };
	job->abandoned = false;
	if (!co_spawn(job_coroutine, job)) {
		/* no stack left: without one, no way to give up either */
		co_blocking(job_run, job);
		return true;
	}
	do {
		before = now;
		if (co_ublk_event_wait(&job->over, timeout_ns))
			return true;
		if (job->progress)
			now = job->progress(job);
	} while (now != before && !job->over.set);
	job->abandoned = !job->over.set;
	return job->over.set;
}
