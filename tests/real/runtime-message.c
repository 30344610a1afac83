/* SPDX-License-Identifier: MIT */
/*
 * Messages, coroutines and mutexes between real threads.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "runtime/co.h"
#include "runtime/thread.h"
#include "tests/lib/suite.h"

#define THREADS 3
#define MESSAGES 20000

static void in_run(void (*fn)(void *))
{
	struct runtime_options opts = { .io_threads = THREADS };
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(fn, NULL);
	runtime_stop();
}

/* own thread of the receiver: the next number expected from each sender */
static unsigned expected[THREADS + 1][THREADS + 1];
static unsigned received[THREADS + 1], wrong[THREADS + 1];

struct numbered {
	struct message msg;
	unsigned from, number;
};

static struct numbered numbered[THREADS + 1][THREADS + 1][MESSAGES];

static void numbered_arrived(struct message *msg)
{
	struct numbered *n = container_of(msg, struct numbered, msg);
	unsigned self = thread_index(thread_self());

	if (expected[self][n->from]++ != n->number)
		wrong[self]++;
	received[self]++;
}

/* Every thread sends to every thread, itself too. */
static void flood(void *arg)
{
	unsigned from = thread_index(thread_self());

	(void)arg;
	for (unsigned i = 0; i < MESSAGES; i++) {
		for (unsigned to = 0; to < thread_count(); to++) {
			struct numbered *n = &numbered[from][to][i];

			n->from = from;
			n->number = i;
			n->msg.fn = numbered_arrived;
			thread_post(thread_by_index(to), &n->msg);
			/* posting to oneself does not call */
			if (to == from && i == 0)
				assert(expected[from][from] == 0);
		}
	}
}

static void nothing(void *arg)
{
	(void)arg;
}

static struct co_group group;

static void flood_from(void *arg)
{
	co_call(arg, flood, NULL);
	co_group_done(&group);
}

static void order_body(void *arg)
{
	(void)arg;
	co_group_init(&group);
	for (unsigned i = 0; i < thread_count(); i++) {
		co_group_add(&group);
		CU_ASSERT_TRUE(co_spawn(flood_from, thread_by_index(i)));
	}
	co_group_wait(&group);
	/* behind everything that anybody posted */
	for (unsigned i = 0; i < thread_count(); i++)
		co_call(thread_by_index(i), nothing, NULL);
	runtime_quit();
}

static void messages_keep_their_order(void)
{
	in_run(order_body);
	for (unsigned i = 0; i <= THREADS; i++) {
		CU_ASSERT_EQUAL(received[i], (THREADS + 1) * MESSAGES);
		CU_ASSERT_EQUAL(wrong[i], 0);
	}
}

#define ROUNDS 3000

static struct co_mutex mutex;
static struct co_queue queue;
static unsigned plain, turn, inside;

static void contend(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		co_lock(&mutex);
		assert(inside++ == 0);
		plain++;
		if (i % 64 == 0)
			co_yield();
		assert(--inside == 0);
		co_unlock(&mutex);
	}
	co_wake(arg);
}

/* Takes turns with the others through one condition. */
static void take_turns(void *arg)
{
	unsigned self = thread_index(thread_self()) - 1;

	for (unsigned i = 0; i < ROUNDS; i++) {
		co_lock(&mutex);
		while (turn % THREADS != self)
			co_queue_wait(&queue, &mutex);
		turn++;
		co_queue_wake_all(&queue);
		co_unlock(&mutex);
	}
	co_wake(arg);
}

struct start {
	void (*fn)(void *);
	void *arg;
};

static void start_here(void *arg)
{
	struct start *s = arg;
	bool spawned = co_spawn(s->fn, s->arg);

	assert(spawned);
}

/* One after the other, so that each has one co_wake outstanding at most. */
static struct co *joiners[THREADS];
static struct start starts[THREADS];

static void joiner(void *arg)
{
	struct start *s = arg;
	unsigned i = (unsigned)(s - starts);

	s->arg = co_self();
	joiners[i] = co_self();
	co_call(thread_by_index(i + 1), start_here, s);
	co_wait();
	co_group_done(&group);
}

static void on_all_threads(void (*fn)(void *))
{
	co_group_init(&group);
	for (unsigned i = 0; i < THREADS; i++) {
		starts[i].fn = fn;
		co_group_add(&group);
		CU_ASSERT_TRUE(co_spawn(joiner, &starts[i]));
	}
	co_group_wait(&group);
}

static void mutex_body(void *arg)
{
	(void)arg;
	co_mutex_init(&mutex);
	on_all_threads(contend);
	CU_ASSERT_EQUAL(plain, THREADS * ROUNDS);
	co_mutex_destroy(&mutex);
	runtime_quit();
}

static void mutex_excludes_threads(void)
{
	in_run(mutex_body);
}

static void queue_body(void *arg)
{
	(void)arg;
	co_mutex_init(&mutex);
	co_queue_init(&queue);
	on_all_threads(take_turns);
	CU_ASSERT_EQUAL(turn, THREADS * ROUNDS);
	co_mutex_destroy(&mutex);
	runtime_quit();
}

static void queue_wakes_across_threads(void)
{
	in_run(queue_body);
}

static void sleep_body(void *arg)
{
	uint64_t before = clock_ns();

	(void)arg;
	co_sleep(20000000);
	CU_ASSERT(clock_ns() - before >= 20000000);
	runtime_quit();
}

static void sleep_takes_its_time(void)
{
	in_run(sleep_body);
}

static bool blocked_over;
static unsigned blocking_count;

static void block(void *arg)
{
	(void)arg;
	CU_ASSERT_PTR_NULL(thread_self());
	__atomic_add_fetch(&blocking_count, 1, __ATOMIC_RELAXED);
}

/* A helper that is stuck until another job has run. */
static void stuck(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&blocking_count, __ATOMIC_RELAXED))
		;
}

static void stuck_co(void *arg)
{
	(void)arg;
	co_blocking(stuck, NULL);
	blocked_over = true;
}

static void blocking_body(void *arg)
{
	(void)arg;
	CU_ASSERT_TRUE(co_spawn(stuck_co, NULL));
	co_blocking(block, NULL);
	while (!blocked_over)
		co_yield();
	runtime_quit();
}

static void stuck_helper_holds_up_nobody(void)
{
	in_run(blocking_body);
	CU_ASSERT_EQUAL(blocking_count, 1);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t idle_cpu_ns;

static void idle_body(void *arg)
{
	uint64_t before = cpu_ns();

	(void)arg;
	co_sleep(200000000);
	idle_cpu_ns = cpu_ns() - before;
	runtime_quit();
}

/* A loop that spins would use at least the time of one CPU. */
static void idle_threads_sleep(void)
{
	in_run(idle_body);
	CU_ASSERT(idle_cpu_ns < 100000000);
}

#define FLUSHER_FLAGS (0x00080000ul | 0x00100000ul)

static void nothing_blocking(void *arg)
{
	(void)arg;
}

/* Field 9 of the thread's stat file, counted behind its name. */
static bool task_is_flusher(const char *task)
{
	char path[300], line[512], *at;
	unsigned long flags;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%s/stat", task);
	f = fopen(path, "r");
	if (!f)
		return true;	/* ended meanwhile */
	at = fgets(line, sizeof(line), f);
	fclose(f);
	at = at ? strrchr(line, ')') : NULL;
	if (!at || sscanf(at, ") %*c %*d %*d %*d %*d %*d %lu", &flags) != 1)
		return false;
	return (flags & FLUSHER_FLAGS) == FLUSHER_FLAGS;
}

static unsigned tasks, flushers;

static void flusher_body(void *arg)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *e;

	(void)arg;
	co_blocking(nothing_blocking, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		tasks++;
		flushers += task_is_flusher(e->d_name);
	}
	closedir(dir);
	runtime_quit();
}

/* A7: set before the first thread, so that all have it; or a warning. */
static void every_thread_is_an_io_flusher(void)
{
	struct runtime_options opts = { .io_threads = THREADS };
	struct error *err = NULL;
	const char *warning = NULL;
	int rc = runtime_start(&opts, &warning, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(flusher_body, NULL);
	runtime_stop();
	/* main, the I/O threads, a helper */
	CU_ASSERT(tasks >= 1 + THREADS + 1);
	CU_ASSERT(warning ? strstr(warning, "CAP_SYS_RESOURCE") != NULL :
			    flushers == tasks);
}

static unsigned open_files(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Descriptors run out at each step of starting. */
static void failed_start_says_so_and_leaves_nothing(void)
{
	struct runtime_options opts = { .io_threads = THREADS };
	struct rlimit old, few;
	unsigned before = open_files(), failed = 0;

	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (unsigned room = 0; room < 30; room++) {
		struct error *err = NULL;
		int rc;

		few = old;
		few.rlim_cur = before + room;
		setrlimit(RLIMIT_NOFILE, &few);
		rc = runtime_start(&opts, NULL, &err);
		setrlimit(RLIMIT_NOFILE, &old);
		if (rc == 0) {
			runtime_stop();
			break;
		}
		failed++;
		CU_ASSERT_EQUAL(rc, -EMFILE);
		CU_ASSERT_PTR_NOT_NULL_FATAL(err);
		CU_ASSERT_EQUAL(err->code, EMFILE);
		error_clear(&err);
		CU_ASSERT_EQUAL(open_files(), before);
	}
	/* at least once for each thread: some numbers may be taken */
	CU_ASSERT(failed > THREADS && failed < 30);
	CU_ASSERT_EQUAL(open_files(), before);
}

TEST_MAIN("runtime-message", TEST(messages_keep_their_order),
	  TEST(mutex_excludes_threads), TEST(queue_wakes_across_threads),
	  TEST(sleep_takes_its_time), TEST(stuck_helper_holds_up_nobody),
	  TEST(idle_threads_sleep), TEST(every_thread_is_an_io_flusher),
	  TEST(failed_start_says_so_and_leaves_nothing))
