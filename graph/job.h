/* SPDX-License-Identifier: MIT */
/*
 * job.h - work that goes on behind a command: its states, and what may be
 * asked of it (J1).
 *
 *	created -> running <-> paused
 *	           running -> ready <-> standby
 *	           running, ready -> waiting -> pending -> concluded -> null
 *	           any before pending's end -> aborting -> concluded
 *
 * A job is a coroutine of the main thread (run), which may send others to I/O
 * threads (co_spawn_on). It ends in concluded and stays there, to be looked at,
 * until it is dismissed, by itself where it was made so.
 *
 * It stands still while anything pauses it: a user, an error, a drain of what
 * it works on. Operations that are under way end then, none begins (job_begin),
 * and what the job has on I/O threads comes back to run, which stands at its
 * pause point. A drain waits for operations, never for run, which may itself be
 * waiting for the change lock.
 *
 * Main thread, unless said otherwise.
 */
#ifndef GRAPH_JOB_H
#define GRAPH_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"
#include "runtime/ref.h"

struct co;
struct job;
struct node;
struct root;

enum job_status {
	JOB_CREATED,
	JOB_RUNNING,
	JOB_PAUSED,
	JOB_READY,	/* could be completed */
	JOB_STANDBY,	/* ready, and paused */
	JOB_WAITING,	/* run has ended well */
	JOB_PENDING,	/* waits for finalize */
	JOB_ABORTING,
	JOB_CONCLUDED,
	JOB_NULL,	/* is gone */
	JOB_STATUS_COUNT
};

enum job_verb {
	JOB_CANCEL,
	JOB_PAUSE,
	JOB_RESUME,
	JOB_COMPLETE,
	JOB_FINALIZE,
	JOB_DISMISS,
	JOB_VERB_COUNT
};

/* Why a job stands still; they add up, and each ends by itself. */
enum job_pause_reason {
	JOB_PAUSE_USER,
	JOB_PAUSE_ERROR,	/* of its I/O; ends with a user's resume */
	JOB_PAUSE_DRAIN,	/* once for each of its roots */
	JOB_PAUSES
};

struct job_ops {
	const char *type;	/* as query-jobs names it: "create" */
	/*
	 * The work, in a coroutine; may wait. It looks at
	 * co_job_pause_point where it can stop, and ends soon after that says
	 * so.
	 */
	int (*run)(struct job *job, struct error **err);
	/* Hears that it is cancelled, before run can have looked; or NULL.
	 * Does not wait. */
	void (*cancel)(struct job *job);
	/* Asks a ready job to end; NULL: it never is. Does not wait. */
	void (*complete)(struct job *job);
	/*
	 * The end: prepare may fail, then abort follows, else commit; in
	 * coroutines, may wait. NULL: nothing to do. free: of owner, last of
	 * all.
	 */
	int (*prepare)(struct job *job, struct error **err);
	void (*commit)(struct job *job);
	void (*abort)(struct job *job);
	void (*free)(struct job *job);
};

enum {
	JOB_MANUAL_FINALIZE = 1,
	JOB_MANUAL_DISMISS = 2,
};

struct job {
	struct ref ref;
	const struct job_ops *ops;
	void *owner;
	char *id;
	char *name;		/* as sentences name it: "job 'j'" */
	enum job_status status;
	unsigned flags;
	uint64_t current, total;	/* progress, in units of its own */
	struct error *err;	/* why it failed; unset: it did not */
	/* job.c's */
	unsigned pauses[JOB_PAUSES];	/* how often each does */
	bool cancelled, ending;
	bool stop;		/* atomic: paused or cancelled */
	struct co *waiting;	/* its coroutine at a pause point */
	struct job *next;
};

/*
 * A job in state created; refused for a bad id or one that is taken. On
 * failure owner stays the caller's, also of job_start, which runs it.
 */
struct job *job_new(const struct job_ops *ops, const char *id, unsigned flags,
		    void *owner, struct error **err) MUST_CHECK;
int job_start(struct job *job, struct error **err) MUST_CHECK;

/* A pointer kept across a wait is a reference; the owner is a word (ref.h). The
 * job's work has one, and so has being in the list, until it is dismissed. */
#define job_get(job, owner) ref_get(&(job)->ref, owner)
void job_put(struct job *job, const char *owner);

struct job *job_find(const char *id, struct error **err);
struct job *job_first(void);	/* with job->next: all, oldest first */

/* What a user asks; refused by state. Coroutine: finalize may wait. */
int co_job_verb(struct job *job, enum job_verb verb, struct error **err)
	MUST_CHECK;

/* For run. Waits while anything pauses the job; true: it is cancelled. */
bool co_job_pause_point(struct job *job) MUST_CHECK;
/* Only run stops for errors (JOB_PAUSE_ERROR); the rest is job.c's. */
void job_pause_by(struct job *job, enum job_pause_reason why);
/*
 * A root of the job's own (J2), for requests of 512 bytes, which it frees: as
 * root_new. A drain of what it reaches pauses the job.
 */
#define JOB_GRANULARITY 512u
struct root *job_root_new(struct job *job, struct node *node, unsigned perm,
			  unsigned shared, uint64_t threads,
			  struct error **err) MUST_CHECK;
/*
 * One operation of the job on some of its roots (A16), begun and ended on one
 * thread, any; in between they count as busy for drains, so it keeps ranges
 * in between only. False, and nothing has begun: the job is paused or
 * cancelled, and run is to get to its pause point.
 */
bool job_begin(struct job *job, struct root *const *roots, unsigned count)
	MUST_CHECK;
void job_end(struct root *const *roots, unsigned count);
void job_set_ready(struct job *job);

const char *job_status_name(enum job_status status);
/* Hears of every change of a job's state. */
void job_set_listener(void (*changed)(const struct job *job));

/* Asks all jobs to stop. Coroutine. */
void co_job_cancel_all(void);
/* The same, waits for their ends at most so long, and dismisses those that have
 * ended. Whether all have. Coroutine. */
bool co_job_end_all(uint64_t timeout_ns) MUST_CHECK;

#endif
