/* SPDX-License-Identifier: MIT */
/*
 * job.c - the states of jobs (job.h). Main thread.
 *
 * Two tables say everything: which state may follow which, and which verb is
 * taken in which. Nothing else sets job->status.
 */
#include "graph/job.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/root.h"
#include "runtime/co.h"

/* How often it is looked whether jobs have ended. */
#define END_LOOK_NS 5000000ull

static struct job *jobs;
static void (*job_listener)(const struct job *job);

#define BIT(status) (1u << JOB_##status)

static const unsigned follows[JOB_STATUS_COUNT] = {
	[JOB_CREATED] = BIT(RUNNING) | BIT(ABORTING),
	[JOB_RUNNING] = BIT(PAUSED) | BIT(READY) | BIT(WAITING) |
			BIT(ABORTING),
	[JOB_PAUSED] = BIT(RUNNING),
	[JOB_READY] = BIT(STANDBY) | BIT(WAITING) | BIT(ABORTING),
	[JOB_STANDBY] = BIT(READY),
	[JOB_WAITING] = BIT(PENDING) | BIT(ABORTING),
	[JOB_PENDING] = BIT(ABORTING) | BIT(CONCLUDED),
	[JOB_ABORTING] = BIT(CONCLUDED),
	[JOB_CONCLUDED] = BIT(NULL),
};

#define ALIVE (BIT(CREATED) | BIT(RUNNING) | BIT(PAUSED) | BIT(READY) | \
	       BIT(STANDBY))

static const unsigned taken_in[JOB_VERB_COUNT] = {
	[JOB_CANCEL] = ALIVE | BIT(WAITING) | BIT(PENDING),
	[JOB_PAUSE] = ALIVE,
	[JOB_RESUME] = ALIVE,
	[JOB_COMPLETE] = BIT(READY) | BIT(STANDBY),
	[JOB_FINALIZE] = BIT(PENDING),
	[JOB_DISMISS] = BIT(CONCLUDED),
};

static const char *const verb_names[JOB_VERB_COUNT] = {
	[JOB_CANCEL] = "cancel", [JOB_PAUSE] = "pause",
	[JOB_RESUME] = "resume", [JOB_COMPLETE] = "complete",
	[JOB_FINALIZE] = "finalize", [JOB_DISMISS] = "dismiss",
};

const char *job_status_name(enum job_status status)
{
	static const char *const names[JOB_STATUS_COUNT] = {
		[JOB_CREATED] = "created", [JOB_RUNNING] = "running",
		[JOB_PAUSED] = "paused", [JOB_READY] = "ready",
		[JOB_STANDBY] = "standby", [JOB_WAITING] = "waiting",
		[JOB_PENDING] = "pending", [JOB_ABORTING] = "aborting",
		[JOB_CONCLUDED] = "concluded", [JOB_NULL] = "null",
	};

	return names[status];
}

void job_set_listener(void (*changed)(const struct job *job))
{
	job_listener = changed;
}

static void job_tell(const struct job *job)
{
	if (job_listener)
		job_listener(job);
}

static void job_set_status(struct job *job, enum job_status status)
{
	assert(follows[job->status] >> status & 1);
	job->status = status;
	job_tell(job);
}

/* ---- life ---- */

static int check_id(const char *id, struct error **err)
{
	const char *c = id;

	if (!isalpha((unsigned char)*c))
		return error_set(err, EINVAL, "Invalid job ID '%s'", id);
	for (; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-._", *c))
			return error_set(err, EINVAL, "Invalid job ID '%s'",
					 id);
	for (const struct job *job = jobs; job; job = job->next)
		if (!strcmp(job->id, id))
			return error_set(err, EEXIST,
					 "Job ID '%s' already in use", id);
	return 0;
}

struct job *job_new(const struct job_ops *ops, const char *id, unsigned flags,
		    void *owner, struct error **err)
{
	struct job *job, **last;

	if (check_id(id, err) < 0)
		return NULL;
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	*job = (struct job){ .ops = ops, .owner = owner, .flags = flags };
	job->id = strdup(id);
	if (!job->id || asprintf(&job->name, "job '%s'", id) < 0)
		abort();
	for (last = &jobs; *last; last = &(*last)->next)
		;
	*last = job;
	job_get(job, "list");
	job_tell(job);
	return job;
}

void job_put(struct job *job, const char *owner)
{
	if (!ref_put(&job->ref, owner))
		return;
	error_clear(&job->err);
	free(job->name);
	free(job->id);
	free(job);
}

static void job_forget(struct job *job)
{
	struct job **at;

	job_set_status(job, JOB_NULL);
	for (at = &jobs; *at != job; at = &(*at)->next)
		;
	*at = job->next;
	job_put(job, "list");
}

static void job_dismiss(struct job *job)
{
	if (job->ops->free)
		job->ops->free(job);
	job_forget(job);
}

static void job_conclude(struct job *job)
{
	job_set_status(job, JOB_CONCLUDED);
	if (!(job->flags & JOB_MANUAL_DISMISS))
		job_dismiss(job);
}

static void co_job_abort(struct job *job)
{
	if (!job->err)
		error_set(&job->err, ECANCELED, "%s", strerror(ECANCELED));
	job_set_status(job, JOB_ABORTING);
	if (job->ops->abort)
		job->ops->abort(job);
	job_conclude(job);
}

/* From pending to the end. */
static void co_job_finalize(struct job *job)
{
	int ret = 0;

	job->ending = true;
	if (job->ops->prepare)
		ret = job->ops->prepare(job, &job->err);
	if (ret < 0 || job->cancelled) {
		co_job_abort(job);
		return;
	}
	if (job->ops->commit)
		job->ops->commit(job);
	job_conclude(job);
}

static void job_run(void *arg)
{
	struct job *job = arg;
	int ret;

	job_set_status(job, JOB_RUNNING);
	ret = job->ops->run(job, &job->err);
	assert((ret < 0) == (job->err != NULL));
	if (ret < 0 || job->cancelled) {
		job->ending = true;
		co_job_abort(job);
	} else {
		job_set_status(job, JOB_WAITING);
		job_set_status(job, JOB_PENDING);
		if (!(job->flags & JOB_MANUAL_FINALIZE))
			co_job_finalize(job);
	}
	job_put(job, "run");
}

int job_start(struct job *job, struct error **err)
{
	assert(job->status == JOB_CREATED);
	job_get(job, "run");
	if (co_spawn(job_run, job))
		return 0;
	job_put(job, "run");
	error_set(err, ENOMEM, "No stack for job '%s'", job->id);
	job_set_status(job, JOB_ABORTING);
	job_set_status(job, JOB_CONCLUDED);
	job_forget(job);
	return -ENOMEM;
}

struct job *job_first(void)
{
	return jobs;
}

struct job *job_find(const char *id, struct error **err)
{
	struct job *job;

	for (job = jobs; job; job = job->next)
		if (!strcmp(job->id, id))
			return job;
	error_set(err, ENOENT, "Job not found");
	return NULL;
}

/* ---- what pauses it ---- */

static bool job_must_pause(const struct job *job)
{
	for (unsigned i = 0; i < JOB_PAUSES; i++)
		if (job->pauses[i])
			return true;
	return false;
}

/* What waits at its pause point goes on, unless it still must not. */
static void job_look_at_pauses(struct job *job)
{
	bool stop = job->cancelled || job_must_pause(job);
	struct co *co = job->waiting;

	__atomic_store_n(&job->stop, stop, __ATOMIC_RELAXED);
	if (!co || (stop && !job->cancelled))
		return;
	job->waiting = NULL;
	co_wake(co);
}

void job_pause_by(struct job *job, enum job_pause_reason why)
{
	job->pauses[why]++;
	job_look_at_pauses(job);
}

static void job_unpause_by(struct job *job, enum job_pause_reason why)
{
	assert(job->pauses[why] > 0);
	job->pauses[why]--;
	job_look_at_pauses(job);
}

static void job_on_quiesce(struct root *root)
{
	job_pause_by(root->owner, JOB_PAUSE_DRAIN);
}

static void job_on_resume(struct root *root)
{
	job_unpause_by(root->owner, JOB_PAUSE_DRAIN);
}

static const struct root_ops job_root_ops = {
	.kind = "job",
	.quiesce = job_on_quiesce,
	.resume = job_on_resume,
};

struct root *job_root_new(struct job *job, struct node *node, unsigned perm,
			  unsigned shared, uint64_t threads,
			  struct error **err)
{
	return root_new(&job_root_ops, job, job->name, node, perm, shared,
			JOB_GRANULARITY, threads, err);
}

/*
 * Jobs are told before their gates are asked to close, and go on after these
 * are open; both by messages, so who is not told finds them open. Taken one by
 * one with a wait between, a drain would wait for the roots that are busy, and
 * they for the drain's end.
 */
bool job_begin(struct job *job, struct root *const *roots, unsigned count)
{
	if (__atomic_load_n(&job->stop, __ATOMIC_RELAXED))
		return false;
	for (unsigned i = 0; i < count; i++)
		root_busy(roots[i]);
	return true;
}

void job_end(struct root *const *roots, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		root_idle(roots[i]);
}

/* ---- verbs ---- */

/* An error's stop is a pause that a user has not asked for. */
static bool job_is_paused(const struct job *job)
{
	return job->pauses[JOB_PAUSE_USER] || job->pauses[JOB_PAUSE_ERROR];
}

static int job_pause(struct job *job, struct error **err)
{
	if (job_is_paused(job))
		return error_set(err, EINVAL, "Job is already paused");
	job_pause_by(job, JOB_PAUSE_USER);
	return 0;
}

static void job_resume(struct job *job)
{
	job->pauses[JOB_PAUSE_USER] = job->pauses[JOB_PAUSE_ERROR] = 0;
	job_look_at_pauses(job);
}

static void co_job_cancel(struct job *job)
{
	if (!job->cancelled && !job->ending && job->ops->cancel)
		job->ops->cancel(job);
	job->cancelled = true;
	/* it ends, whatever pauses it */
	job_resume(job);
	/* else whoever is at it finds out */
	if (job->status == JOB_PENDING && !job->ending)
		co_job_abort(job);
}

static int job_complete(struct job *job, struct error **err)
{
	if (job->cancelled || !job->ops->complete)
		return error_set(err, EINVAL, "The active block job '%s'"
				 " cannot be completed", job->id);
	job->ops->complete(job);
	return 0;
}

static int co_job_do(struct job *job, enum job_verb verb, struct error **err)
{
	if (verb == JOB_RESUME && !job_is_paused(job))
		return error_set(err, EINVAL,
				 "Can't resume a job that was not paused");
	if (!(taken_in[verb] >> job->status & 1) ||
	    (verb == JOB_FINALIZE && job->ending))
		return error_set(err, EINVAL, "Job '%s' in state '%s' cannot"
				 " accept command verb '%s'", job->id,
				 job_status_name(job->status),
				 verb_names[verb]);
	switch (verb) {
	case JOB_CANCEL:
		co_job_cancel(job);
		break;
	case JOB_PAUSE:
		return job_pause(job, err);
	case JOB_RESUME:
		job_resume(job);
		break;
	case JOB_COMPLETE:
		return job_complete(job, err);
	case JOB_FINALIZE:
		co_job_finalize(job);
		break;
	case JOB_DISMISS:
		job_dismiss(job);
		break;
	case JOB_VERB_COUNT:
		assert(false);
	}
	return 0;
}

int co_job_verb(struct job *job, enum job_verb verb, struct error **err)
{
	int ret;

	job_get(job, "verb");
	ret = co_job_do(job, verb, err);
	job_put(job, "verb");
	return ret;
}

/* ---- for run ---- */

bool co_job_pause_point(struct job *job)
{
	enum job_status status = job->status;

	if (job->cancelled || !job_must_pause(job))
		return job->cancelled;
	job_set_status(job, status == JOB_READY ? JOB_STANDBY : JOB_PAUSED);
	while (job_must_pause(job) && !job->cancelled) {
		job->waiting = co_self();
		co_wait();
	}
	job_set_status(job, status);
	return job->cancelled;
}

void job_set_ready(struct job *job)
{
	job_set_status(job, JOB_READY);
}

void co_job_cancel_all(void)
{
	struct job *job = jobs;

	while (job) {
		if (job->cancelled || !(taken_in[JOB_CANCEL] >> job->status &
					1)) {
			job = job->next;
			continue;
		}
		job_get(job, "end");
		co_job_cancel(job);
		job_put(job, "end");
		/* it may be gone, and others with it */
		job = jobs;
	}
}

static struct job *job_concluded(void)
{
	struct job *job = jobs;

	while (job && job->status != JOB_CONCLUDED)
		job = job->next;
	return job;
}

bool co_job_end_all(uint64_t timeout_ns)
{
	uint64_t end = clock_ns() + timeout_ns;
	struct job *job;

	co_job_cancel_all();
	for (;;) {
		while ((job = job_concluded()))
			job_dismiss(job);
		if (!jobs || clock_ns() >= end)
			return !jobs;
		co_sleep(END_LOOK_NS);
	}
}
