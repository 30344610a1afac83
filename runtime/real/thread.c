/* SPDX-License-Identifier: MIT */
/*
 * thread.c - starting and stopping the threads (A3, A4, A7). Main thread,
 * except thread_main.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "runtime/late.h"
#include "runtime/real/real.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* More would only add switches: storage rarely needs more cores than this. */
#define THREADS_DEFAULT_MAX 8

static struct {
	unsigned count;			/* immutable while running */
	uint64_t buffer_bytes;
	struct real_thread *threads[THREADS_MAX];
	/* main thread */
	bool quit, first_over, over;
	void (*fn)(void *arg);
	void *arg;
	/* start: protects `started` and each thread's start_error */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned started;
} rt = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.cond = PTHREAD_COND_INITIALIZER,
};

struct io_thread *thread_by_index(unsigned index)
{
	assert(index < rt.count);
	return &rt.threads[index]->base;
}

unsigned thread_count(void)
{
	return rt.count;
}

static void *thread_main(void *arg)
{
	struct real_thread *t = arg;
	char name[16];
	int error;

	snprintf(name, sizeof(name), "io-%u", t->base.index);
	pthread_setname_np(pthread_self(), name);
	error = real_loop_init(t, t->base.index, rt.buffer_bytes);
	pthread_mutex_lock(&rt.lock);
	t->start_error = error;
	rt.started++;
	pthread_cond_signal(&rt.cond);
	pthread_mutex_unlock(&rt.lock);
	if (error)
		return NULL;
	real_loop_run(t, &t->stop);
	real_loop_exit(t);
	return NULL;
}

static void thread_stop(struct message *msg)
{
	container_of(msg, struct real_thread, stop_msg)->stop = true;
}

static struct real_thread *thread_new(unsigned index)
{
	struct real_thread *t = aligned_alloc(64, align_up(sizeof(*t), 64));

	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->wake_fd = -1;
	t->base.index = index;
	return t;
}

static void thread_free(struct real_thread *t)
{
	if (!t)
		return;
	if (t->wake_fd >= 0)
		close(t->wake_fd);
	free(t);
}

/* Threads before `count` run; the others failed or never began. */
static void threads_join(unsigned count)
{
	unsigned i;

	for (i = 1; i < count; i++) {
		struct real_thread *t = rt.threads[i];

		if (!t->start_error) {
			t->stop_msg.fn = thread_stop;
			thread_post(&t->base, &t->stop_msg);
		}
		pthread_join(t->thread, NULL);
	}
	for (i = 1; i < rt.count; i++) {
		thread_free(rt.threads[i]);
		rt.threads[i] = NULL;
	}
}

/* Signals are the main thread's: the others are born with all blocked. */
static int thread_create(struct real_thread *t)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&t->thread, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

static bool threads_start(struct error **err)
{
	unsigned i;
	int rc = 0;

	rt.started = 1;
	for (i = 1; i < rt.count && !rc; i++) {
		rt.threads[i] = thread_new(i);
		rc = rt.threads[i] ? thread_create(rt.threads[i]) : ENOMEM;
		if (rc) {
			thread_free(rt.threads[i]);
			rt.threads[i] = NULL;
			break;
		}
	}
	pthread_mutex_lock(&rt.lock);
	while (rt.started < i)
		pthread_cond_wait(&rt.cond, &rt.lock);
	pthread_mutex_unlock(&rt.lock);
	for (unsigned k = 1; k < i && !rc; k++)
		rc = rt.threads[k]->start_error;
	if (!rc)
		return true;
	threads_join(i);
	error_set(err, rc, "cannot start I/O threads: %s", strerror(rc));
	return false;
}

static unsigned threads_default(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return (unsigned)max(1L, min(cpus, (long)THREADS_DEFAULT_MAX));
}

int runtime_start(const struct runtime_options *opts, const char **warning,
		  struct error **err)
{
	const char *warn = NULL;
	struct real_thread *t;
	int rc;

	assert(!rt.count && opts->io_threads < THREADS_MAX);
	if (prctl(PR_SET_IO_FLUSHER, 1L, 0L, 0L, 0L))
		warn = "no CAP_SYS_RESOURCE: under memory pressure the daemon "
		       "may wait for its own devices";
	t = thread_new(MAIN_THREAD);
	if (!t)
		return error_set(err, ENOMEM, "no memory for the main thread");
	rt.count = 1 + (opts->io_threads ? opts->io_threads :
					   threads_default());
	rt.buffer_bytes = opts->buffer_bytes;
	rt.threads[0] = t;
	rc = real_loop_init(t, MAIN_THREAD, rt.buffer_bytes);
	if (rc) {
		error_set(err, rc, "cannot set up io_uring: %s%s",
			  strerror(rc),
			  rc == EPERM ? " (see kernel.io_uring_disabled)" : "");
	} else if (!threads_start(err)) {
		rc = (*err)->code;
		real_loop_exit(t);
	}
	if (rc) {
		thread_free(t);
		rt.count = 0;
		return -rc;
	}
	if (warning)
		*warning = warn;
	return 0;
}

static void first_coroutine(void *arg)
{
	(void)arg;
	rt.fn(rt.arg);
	rt.first_over = true;
	rt.over = rt.quit;
}

void runtime_run(void (*fn)(void *), void *arg)
{
	bool spawned;

	assert(thread_is_main());
	rt.fn = fn;
	rt.arg = arg;
	rt.quit = false;
	rt.first_over = false;
	rt.over = false;
	spawned = co_spawn(first_coroutine, NULL);
	assert(spawned);
	real_loop_run(rt.threads[0], &rt.over);
}

void runtime_quit(void)
{
	assert(thread_is_main());
	rt.quit = true;
	rt.over = rt.first_over;
}

void runtime_stop(void)
{
	struct real_thread *t = rt.threads[0];

	assert(thread_is_main() && !co_self());
	threads_join(rt.count);
	blocking_stop();
	late_forget();
	real_loop_exit(t);
	thread_free(t);
	rt.threads[0] = NULL;
	rt.count = 0;
}
