/* SPDX-License-Identifier: MIT */
/*
 * blocking.c - helper threads for calls that may block (A3, A6).
 *
 * A helper serves one job at a time. Jobs that find none idle get a new one, up
 * to a limit, so that a job stuck on dead storage does not hold up the others.
 */
#include <signal.h>

#include "runtime/real/real.h"

#define HELPERS_MAX 64

struct job {
	struct job *next;
	void (*fn)(void *arg);
	void *arg;
	struct co *co;
	struct message over;
};

/*
 * lock protects everything in here. Under it a helper also posts its job's end:
 * so once blocking_stop had the lock, no helper touches a thread any more.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;		/* a job came, or stop */
	pthread_cond_t gone;		/* a helper ended */
	struct job *first, **last;
	unsigned queued;
	unsigned helpers, idle;
	unsigned generation;		/* counts blocking_stop calls */
	bool stop;
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.gone = PTHREAD_COND_INITIALIZER,
	.last = &pool.first,
};

static void job_over(struct message *msg)
{
	co_enter(container_of(msg, struct job, over)->co);
}

static struct job *job_take_locked(void)
{
	struct job *job = pool.first;

	pool.first = job->next;
	if (!pool.first)
		pool.last = &pool.first;
	pool.queued--;
	return job;
}

static void *helper_main(void *arg)
{
	unsigned generation;

	(void)arg;
	pthread_mutex_lock(&pool.lock);
	generation = pool.generation;
	while (!pool.stop && generation == pool.generation) {
		struct job *job;

		if (!pool.first) {
			pool.idle++;
			pthread_cond_wait(&pool.work, &pool.lock);
			pool.idle--;
			continue;
		}
		job = job_take_locked();
		pthread_mutex_unlock(&pool.lock);
		job->fn(job->arg);
		pthread_mutex_lock(&pool.lock);
		/* else the job's coroutine went away with its thread */
		if (generation == pool.generation)
			thread_post(job->co->thread, &job->over);
	}
	pool.helpers--;
	pthread_cond_signal(&pool.gone);
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

static bool helper_create(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, &attr, helper_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return rc == 0;
}

void co_blocking(void (*fn)(void *), void *arg)
{
	struct job job = {
		.fn = fn,
		.arg = arg,
		.co = co_self(),
		.over = { .fn = job_over },
	};
	bool grow;

	assert(job.co);
	pthread_mutex_lock(&pool.lock);
	*pool.last = &job;
	pool.last = &job.next;
	pool.queued++;
	grow = pool.queued > pool.idle && pool.helpers < HELPERS_MAX;
	if (grow)
		pool.helpers++;
	else
		pthread_cond_signal(&pool.work);
	pthread_mutex_unlock(&pool.lock);
	if (grow && !helper_create()) {
		pthread_mutex_lock(&pool.lock);
		pool.helpers--;
		/* some helper will come to it; without any nothing can go on */
		assert(pool.helpers);
		pthread_mutex_unlock(&pool.lock);
	}
	co_park("co_blocking");
}

/* Idle helpers end here; one that is stuck in a call ends with the process. */
void blocking_stop(void)
{
	pthread_mutex_lock(&pool.lock);
	pool.stop = true;
	pthread_cond_broadcast(&pool.work);
	while (pool.idle)
		pthread_cond_wait(&pool.gone, &pool.lock);
	pool.stop = false;
	pool.generation++;
	pthread_mutex_unlock(&pool.lock);
}
