/* SPDX-License-Identifier: MIT */
/*
 * blocking.c - helper threads for calls that may block (A3, A6, A38).
 *
 * A helper serves one job at a time. Jobs that find none idle get a new one, up
 * to a limit. Of these one storage has STORAGE_CALLS_MAX at most: its other
 * jobs stand in its own line, where they need no helper.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "runtime/real/real.h"
#include "runtime/storage.h"

#define HELPERS_MAX 64
static_assert(HELPERS_MAX >= 4 * STORAGE_CALLS_MAX,
	      "dead storage leaves helpers to the others");

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

static __thread struct storage *refused_by;

/* For a helper. */
static void job_ready_locked(struct job *job)
{
	struct storage *s = job->storage;

	if (s && !s->calls++)
		s->heard_ns = clock_ns();
	job->next = NULL;
	*pool.last = job;
	pool.last = &job->next;
	pool.queued++;
}

static void job_enqueue_locked(struct job *job)
{
	struct storage *s = job->storage;

	if (!s || s->calls < STORAGE_CALLS_MAX) {
		job_ready_locked(job);
		return;
	}
	job->next = NULL;
	*s->last = job;
	s->last = &job->next;
}

/* One of its calls came back: the first in line goes. */
static void storage_heard_locked(struct storage *s)
{
	struct job *job = s->first;

	s->heard_ns = clock_ns();
	s->calls--;
	if (!job)
		return;
	s->first = job->next;
	if (!s->first)
		s->last = &s->first;
	job_ready_locked(job);
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
		struct storage *storage;
		struct job *job;

		if (!pool.first) {
			pool.idle++;
			pthread_cond_wait(&pool.work, &pool.lock);
			pool.idle--;
			continue;
		}
		job = job_take_locked();
		storage = job->storage;
		pthread_mutex_unlock(&pool.lock);
		job->fn(job->arg);
		pthread_mutex_lock(&pool.lock);
		if (storage && generation == pool.generation)
			storage_heard_locked(storage);
		else if (storage)
			storage->calls--;
		/* else whoever waited went away with its thread */
		if (generation == pool.generation)
			thread_post(job->thread, &job->over);
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

static void helpers_grow(void)
{
	pthread_mutex_lock(&pool.lock);
	while (pool.queued > pool.idle && pool.helpers < HELPERS_MAX) {
		pool.helpers++;
		pthread_mutex_unlock(&pool.lock);
		if (helper_create())
			return;
		pthread_mutex_lock(&pool.lock);
		pool.helpers--;
		/* some helper will come to it; without any nothing can go on */
		assert(pool.helpers);
		break;
	}
	pthread_mutex_unlock(&pool.lock);
}

void job_submit(struct job *job)
{
	bool grow;

	pthread_mutex_lock(&pool.lock);
	job_enqueue_locked(job);
	grow = pool.queued > pool.idle && pool.helpers < HELPERS_MAX;
	if (!grow)
		pthread_cond_signal(&pool.work);
	pthread_mutex_unlock(&pool.lock);
	if (grow)
		helpers_grow();
}

struct co_job {
	struct job job;
	struct co *co;
};

static void co_job_over(struct message *msg)
{
	co_enter(container_of(msg, struct co_job, job.over)->co);
}

static void co_job(struct storage *storage, void (*fn)(void *), void *arg)
{
	struct co_job self = {
		.job = {
			.fn = fn,
			.arg = arg,
			.storage = storage,
			.thread = thread_self(),
			.over = { .fn = co_job_over },
		},
		.co = co_self(),
	};

	assert(self.co);
	job_submit(&self.job);
	co_park("co_blocking");
}

void co_blocking(void (*fn)(void *), void *arg)
{
	co_job(NULL, fn, arg);
}

void co_storage_call_always(struct storage *storage, void (*fn)(void *arg),
			    void *arg)
{
	co_job(storage, fn, arg);
}

struct storage *co_storage_call(struct storage *storage, void (*fn)(void *arg),
				void *arg)
{
	if (storage && storage_silent_s(storage) >= 0) {
		refused_by = storage;
		return storage;
	}
	co_job(storage, fn, arg);
	return NULL;
}

const char *storage_why(int ret, char text[STORAGE_TEXT_MAX])
{
	return ret == -ETIMEDOUT && refused_by ? storage_tell(refused_by, text)
					       : strerror(-ret);
}

int64_t storage_silent_s(struct storage *s)
{
	uint64_t since;
	bool silent;

	pthread_mutex_lock(&pool.lock);
	since = clock_ns() - s->heard_ns;
	silent = s->calls == STORAGE_CALLS_MAX && since >= storage_silence_ns;
	pthread_mutex_unlock(&pool.lock);
	return silent ? (int64_t)(since / 1000000000) : -1;
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
	storages_forget();
	pthread_mutex_unlock(&pool.lock);
}
