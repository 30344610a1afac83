/* SPDX-License-Identifier: MIT */
/*
 * graph-job.c - jobs: every verb in every state, the order of states, and what
 * becomes of failures (J1).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/job.h"
#include "graph/transaction.h"
#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

/* What the toy job does, and what was called. */
static struct {
	bool be_ready, finish, complete, stop_at_error;
	int fail_run, fail_prepare;
	unsigned prepares, commits, aborts, frees;
	char states[400];
} toy;

static void changed(const struct job *job)
{
	strcat(toy.states, job_status_name(job->status));
	strcat(toy.states, " ");
}

static int toy_run(struct job *job, struct error **err)
{
	job->total = 1;
	if (toy.be_ready)
		job_set_ready(job);
	while (!toy.finish && !toy.complete) {
		if (toy.stop_at_error)
			job_pause_by(job, JOB_PAUSE_ERROR);
		toy.stop_at_error = false;
		if (co_job_pause_point(job))
			return 0;
		co_sleep(1000);
	}
	job->current = 1;
	return toy.fail_run ? error_set(err, EIO, "the work failed") : 0;
}

static void toy_complete(struct job *job)
{
	(void)job;
	toy.complete = true;
}

static int toy_prepare(struct job *job, struct error **err)
{
	(void)job;
	toy.prepares++;
	co_sleep(1000);
	return toy.fail_prepare ? error_set(err, EIO, "no end") : 0;
}

static void toy_commit(struct job *job)
{
	(void)job;
	toy.commits++;
}

static void toy_abort(struct job *job)
{
	(void)job;
	toy.aborts++;
}

static void toy_free(struct job *job)
{
	(void)job;
	toy.frees++;
}

static const struct job_ops toy_ops = {
	.type = "toy", .run = toy_run, .complete = toy_complete,
	.prepare = toy_prepare, .commit = toy_commit, .abort = toy_abort,
	.free = toy_free,
};

static void toy_reset(void)
{
	memset(&toy, 0, sizeof(toy));
	job_set_listener(changed);
}

static struct job *start(unsigned flags)
{
	struct error *err = NULL;
	struct job *job = job_new(&toy_ops, "j", flags, NULL, &err);
	int ret = job ? job_start(job, &err) : -1;

	CU_ASSERT_EQUAL_FATAL(ret, 0);
	return job;
}

static void settle(void)
{
	co_sleep(100000);
}

/* The sentence, to be freed; NULL: it was taken. */
static char *verb(struct job *job, enum job_verb what)
{
	struct error *err = NULL;
	char *text = NULL;

	if (co_job_verb(job, what, &err) < 0)
		text = strdup(err->text);
	error_clear(&err);
	return text;
}

static void expect_taken(struct job *job, enum job_verb what)
{
	char *text = verb(job, what);

	CU_ASSERT_PTR_NULL(text);
	free(text);
}

static void expect_refused(struct job *job, enum job_verb what,
			   const char *part)
{
	char *text = verb(job, what);

	CU_ASSERT_PTR_NOT_NULL(text);
	CU_ASSERT(text && strstr(text, part));
	free(text);
}

/* Brings a job to a state in which it rests. */
static struct job *job_in(enum job_status status)
{
	struct error *err = NULL;
	struct job *job;

	toy_reset();
	if (status == JOB_CREATED) {
		job = job_new(&toy_ops, "j", JOB_MANUAL_DISMISS, NULL, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(job);
		return job;
	}
	toy.be_ready = status == JOB_READY || status == JOB_STANDBY;
	toy.finish = status >= JOB_WAITING;
	job = start(JOB_MANUAL_DISMISS |
		    (status == JOB_PENDING ? JOB_MANUAL_FINALIZE : 0));
	if (status == JOB_PAUSED || status == JOB_STANDBY)
		expect_taken(job, JOB_PAUSE);
	settle();
	CU_ASSERT_EQUAL(job->status, status);
	return job;
}

SIM_TEST(every_verb_in_every_state)
{
	/* by status: the verbs it takes; resume only of what is paused */
	static const struct {
		enum job_status status;
		const char *verbs;	/* in the order of enum job_verb */
	} rows[] = {
		{ JOB_CREATED, "cp----" }, { JOB_RUNNING, "cp----" },
		{ JOB_PAUSED, "c-r---" }, { JOB_READY, "cp-m--" },
		{ JOB_STANDBY, "c-rm--" }, { JOB_PENDING, "c---f-" },
		{ JOB_CONCLUDED, "-----d" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (int v = 0; v < JOB_VERB_COUNT; v++) {
			struct job *job = job_in(rows[i].status);
			char *text = verb(job, (enum job_verb)v);

			CU_ASSERT_EQUAL(!text, rows[i].verbs[v] != '-');
			free(text);
			/* one that was never started has nobody to end it */
			if (rows[i].status == JOB_CREATED) {
				struct error *err = NULL;

				CU_ASSERT_EQUAL(job_start(job, &err), 0);
			}
			CU_ASSERT_TRUE(co_job_end_all(1000000000));
			CU_ASSERT_EQUAL(toy.frees, 1);
			CU_ASSERT_EQUAL(toy.commits + toy.aborts, 1);
		}
	}
}

SIM_TEST(states_come_in_order)
{
	toy_reset();
	toy.finish = true;
	start(0);
	settle();
	CU_ASSERT_STRING_EQUAL(toy.states, "created running waiting pending"
			       " concluded null ");
	toy_reset();
	toy.finish = true;
	toy.fail_run = 1;
	start(0);
	settle();
	CU_ASSERT_STRING_EQUAL(toy.states, "created running aborting concluded"
			       " null ");
	CU_ASSERT(toy.aborts == 1 && !toy.commits && !toy.prepares);
	CU_ASSERT_PTR_NULL(job_first());
}

SIM_TEST(a_paused_job_rests)
{
	struct job *job;

	job = job_in(JOB_RUNNING);
	expect_taken(job, JOB_PAUSE);
	expect_refused(job, JOB_PAUSE, "Job is already paused");
	settle();
	expect_taken(job, JOB_RESUME);
	/* before it has noticed */
	expect_taken(job, JOB_PAUSE);
	settle();
	CU_ASSERT_EQUAL(job->status, JOB_PAUSED);
	expect_taken(job, JOB_RESUME);
	expect_refused(job, JOB_RESUME, "Can't resume a job that was not"
		       " paused");
	toy.finish = true;
	settle();
	CU_ASSERT_STRING_EQUAL(toy.states, "created running paused running"
			       " waiting pending concluded ");
	expect_refused(job, JOB_PAUSE, "Job 'j' in state 'concluded' cannot"
		       " accept command verb 'pause'");
	expect_taken(job, JOB_DISMISS);
}

/* ---- what pauses a job ---- */

/* A drain that stays until the test lets it go. */
static struct {
	struct node *node;
	bool drained, end;
} slow_drain;

static int wait_for_test(void *arg, struct error **err)
{
	(void)arg;
	(void)err;
	slow_drain.drained = true;
	while (!slow_drain.end)
		co_sleep(1000);
	return 0;
}

static const struct decision slow_decision = { .take = wait_for_test };

static void slow_drain_run(void *arg)
{
	struct transaction *t = transaction_begin();

	(void)arg;
	transaction_touch(t, slow_drain.node);
	transaction_set_decision(t, &slow_decision, NULL);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, NULL), 0);
	slow_drain.drained = false;
}

static void drain_begins(void)
{
	slow_drain.end = false;
	CU_ASSERT_TRUE(co_spawn(slow_drain_run, NULL));
	settle();
	CU_ASSERT_TRUE(slow_drain.drained);
}

static void drain_ends(void)
{
	slow_drain.end = true;
	settle();
	CU_ASSERT_FALSE(slow_drain.drained);
}

static void expect_status(const struct job *job, enum job_status status)
{
	settle();
	CU_ASSERT_STRING_EQUAL(job_status_name(job->status),
			       job_status_name(status));
}

static struct root *job_in_graph(struct job *job)
{
	struct error *err = NULL;
	struct root *root;

	toy_start();
	slow_drain.node = toy_open("{'driver':'toy','node-name':'n'}");
	root = job_root_new(job, slow_drain.node, PERM_CONSISTENT_READ,
			    PERM_ALL, 1, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT_STRING_EQUAL(root->name, "job 'j'");
	return root;
}

static void job_out_of_graph(struct job *job, struct root *root)
{
	expect_taken(job, JOB_DISMISS);
	root_free(root);
	toy_let_go(slow_drain.node);
}

/* R22: each ends by itself, and the job goes on after the last. */
SIM_TEST(a_drain_and_a_user_pause_together)
{
	struct job *job = job_in(JOB_RUNNING);
	struct root *root = job_in_graph(job);

	toy.states[0] = 0;
	drain_begins();
	expect_status(job, JOB_PAUSED);
	expect_refused(job, JOB_RESUME, "Can't resume a job that was not"
		       " paused");
	drain_ends();
	expect_status(job, JOB_RUNNING);
	CU_ASSERT_STRING_EQUAL(toy.states, "paused running ");

	/* the drain ends first */
	drain_begins();
	expect_taken(job, JOB_PAUSE);
	drain_ends();
	expect_status(job, JOB_PAUSED);
	expect_taken(job, JOB_RESUME);
	expect_status(job, JOB_RUNNING);

	/* the user ends first */
	expect_taken(job, JOB_PAUSE);
	drain_begins();
	expect_taken(job, JOB_RESUME);
	expect_status(job, JOB_PAUSED);
	drain_ends();
	expect_status(job, JOB_RUNNING);
	CU_ASSERT_STRING_EQUAL(toy.states, "paused running paused running"
			       " paused running ");

	/* whatever pauses it, a cancelled job ends */
	expect_taken(job, JOB_PAUSE);
	drain_begins();
	expect_taken(job, JOB_CANCEL);
	expect_status(job, JOB_CONCLUDED);
	drain_ends();
	job_out_of_graph(job, root);
}

SIM_TEST(a_ready_job_stands_by_in_a_drain)
{
	struct job *job = job_in(JOB_READY);
	struct root *root = job_in_graph(job);

	drain_begins();
	expect_status(job, JOB_STANDBY);
	expect_taken(job, JOB_COMPLETE);
	expect_status(job, JOB_STANDBY);
	drain_ends();
	expect_status(job, JOB_CONCLUDED);
	job_out_of_graph(job, root);
}

/* Users resume what an error has stopped, as if they had paused it. */
SIM_TEST(an_error_stops_until_resumed)
{
	struct job *job = job_in(JOB_RUNNING);
	struct root *root = job_in_graph(job);

	toy.stop_at_error = true;
	expect_status(job, JOB_PAUSED);
	expect_refused(job, JOB_PAUSE, "Job is already paused");
	drain_begins();
	drain_ends();
	expect_status(job, JOB_PAUSED);
	expect_taken(job, JOB_RESUME);
	expect_status(job, JOB_RUNNING);

	/* with a user's pause: one resume ends both */
	expect_taken(job, JOB_PAUSE);
	toy.stop_at_error = true;
	expect_status(job, JOB_PAUSED);
	drain_begins();
	expect_taken(job, JOB_RESUME);
	expect_status(job, JOB_PAUSED);
	toy.finish = true;
	drain_ends();
	expect_status(job, JOB_CONCLUDED);
	CU_ASSERT_PTR_NULL(job->err);
	job_out_of_graph(job, root);
}

SIM_TEST(cancelled_jobs_abort)
{
	struct job *job;

	job = job_in(JOB_PAUSED);
	expect_taken(job, JOB_CANCEL);
	settle();
	CU_ASSERT_STRING_EQUAL(toy.states, "created running paused running"
			       " aborting concluded ");
	CU_ASSERT_STRING_EQUAL(job->err->text, "Operation canceled");
	expect_taken(job, JOB_DISMISS);
	job = job_in(JOB_PENDING);
	expect_taken(job, JOB_CANCEL);
	CU_ASSERT_EQUAL(job->status, JOB_CONCLUDED);
	CU_ASSERT(toy.aborts == 1 && !toy.commits);
	expect_taken(job, JOB_DISMISS);
	/* work that ended well all the same is given up */
	job = job_in(JOB_RUNNING);
	toy.finish = true;
	expect_taken(job, JOB_CANCEL);
	settle();
	CU_ASSERT(toy.aborts == 1 && !toy.commits);
	expect_taken(job, JOB_DISMISS);
}

static void finalize_later(void *arg)
{
	expect_taken(arg, JOB_FINALIZE);
}

SIM_TEST(the_end_may_fail_or_be_cancelled)
{
	struct job *job;

	job = job_in(JOB_PENDING);
	expect_taken(job, JOB_FINALIZE);
	CU_ASSERT(toy.prepares == 1 && toy.commits == 1 && !toy.aborts);
	expect_taken(job, JOB_DISMISS);
	job = job_in(JOB_PENDING);
	toy.fail_prepare = 1;
	expect_taken(job, JOB_FINALIZE);
	CU_ASSERT(toy.aborts == 1 && !toy.commits);
	CU_ASSERT_STRING_EQUAL(job->err->text, "no end");
	expect_taken(job, JOB_DISMISS);
	/* while it is being finalized */
	job = job_in(JOB_PENDING);
	CU_ASSERT(co_spawn(finalize_later, job));
	CU_ASSERT_EQUAL(job->status, JOB_PENDING);
	expect_refused(job, JOB_FINALIZE, "finalize");
	expect_taken(job, JOB_CANCEL);
	settle();
	CU_ASSERT(toy.aborts == 1 && !toy.commits);
	expect_taken(job, JOB_DISMISS);
}

SIM_TEST(ready_jobs_are_completed)
{
	struct job *job;

	job = job_in(JOB_READY);
	expect_taken(job, JOB_COMPLETE);
	settle();
	CU_ASSERT_EQUAL(job->status, JOB_CONCLUDED);
	CU_ASSERT_PTR_NULL(job->err);
	CU_ASSERT(job->current == 1 && job->total == 1);
	expect_taken(job, JOB_DISMISS);
}

static void expect_bad_id(const char *id, const char *part)
{
	struct error *err = NULL;

	CU_ASSERT_PTR_NULL(job_new(&toy_ops, id, 0, NULL, &err));
	CU_ASSERT(err && strstr(err->text, part));
	error_clear(&err);
}

SIM_TEST(ids_are_names_and_unique)
{
	struct error *err = NULL;
	struct job *job;

	job = job_in(JOB_RUNNING);
	expect_bad_id("1j", "Invalid job ID '1j'");
	expect_bad_id("", "Invalid job ID ''");
	expect_bad_id("a/b", "Invalid job ID 'a/b'");
	expect_bad_id("j", "Job ID 'j' already in use");
	CU_ASSERT_PTR_EQUAL(job_find("j", &err), job);
	CU_ASSERT_PTR_NULL(job_find("k", &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Job not found");
	error_clear(&err);
	CU_ASSERT_TRUE(co_job_end_all(1000000000));
	CU_ASSERT_EQUAL(toy.frees, 1);
}

TEST_MAIN("graph-job", TEST(every_verb_in_every_state),
	  TEST(states_come_in_order), TEST(a_paused_job_rests),
	  TEST(a_drain_and_a_user_pause_together),
	  TEST(a_ready_job_stands_by_in_a_drain),
	  TEST(an_error_stops_until_resumed),
	  TEST(cancelled_jobs_abort), TEST(the_end_may_fail_or_be_cancelled),
	  TEST(ready_jobs_are_completed), TEST(ids_are_names_and_unique))
