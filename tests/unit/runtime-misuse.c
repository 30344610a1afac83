/* SPDX-License-Identifier: MIT */
/*
 * Misuse of the runtime ends in an assertion, in every build. Each case runs
 * in a child process, which must die of SIGABRT.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/buffer.h"
#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/suite.h"

static struct file *file;
static struct co_mutex mutex;

static void in_run(void (*fn)(void *))
{
	struct runtime_options opts = { .io_threads = 1 };
	struct error *err = NULL;

	if (runtime_start(&opts, NULL, &err))
		_exit(3);
	runtime_run(fn, NULL);
}

/* The status of a child that ran fn in the simulation. */
static int child_status(void (*fn)(void *))
{
	pid_t child = fork();
	int status;

	CU_ASSERT_FATAL(child >= 0);
	if (child == 0) {
		/* the assertion's text is expected: nobody needs to see it */
		int null = open("/dev/null", O_WRONLY);

		if (null < 0 || dup2(null, STDERR_FILENO) < 0)
			_exit(3);
		sim_file_create("f", 65536);
		in_run(fn);
		_exit(0);
	}
	CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
	return status;
}

static void aborts(void (*fn)(void *))
{
	int status = child_status(fn);

	CU_ASSERT_TRUE(WIFSIGNALED(status));
	CU_ASSERT_EQUAL(WTERMSIG(status), SIGABRT);
}

static void put_here(void *arg)
{
	buffer_put(arg, 4096);
}

static void wrong_thread(void *arg)
{
	(void)arg;
	co_call(thread_by_index(1), put_here, buffer_get(4096));
	runtime_quit();
}

static void buffer_put_on_another_thread(void)
{
	aborts(wrong_thread);
}

static void put_twice(void *arg)
{
	void *buf = buffer_get(4096);

	(void)arg;
	buffer_put(buf, 4096);
	buffer_put(buf, 4096);
	runtime_quit();
}

static void buffer_put_twice(void)
{
	aborts(put_twice);
}

static void io_over(struct io *io, int res)
{
	(void)io;
	(void)res;
}

static void submit_twice(void *arg)
{
	static char buf[512];
	static struct io io;

	(void)arg;
	if (co_file_open("f", O_RDWR, 0, &file))
		_exit(3);
	io = (struct io){ .file = file, .op = IO_READ, .buf = buf, .len = 512,
			  .fixed = IO_NOT_FIXED, .done = io_over };
	io_submit(&io);
	io_submit(&io);
	runtime_quit();
}

static void io_resubmitted_in_flight(void)
{
	aborts(submit_twice);
}

static void unaligned(void *arg)
{
	_Alignas(512) static char buf[1024];

	(void)arg;
	if (co_file_open("f", O_RDWR | O_DIRECT, 0, &file))
		_exit(3);
	if (co_file_read(file, 512, buf, 512))
		_exit(3);
	if (co_file_read(file, 512, buf + 1, 512) == 0)
		_exit(3);
	runtime_quit();
}

static void direct_io_unaligned(void)
{
	aborts(unaligned);
}

static void lock_twice(void *arg)
{
	(void)arg;
	co_mutex_init(&mutex);
	co_lock(&mutex);
	co_lock(&mutex);
	runtime_quit();
}

static void mutex_taken_twice(void)
{
	aborts(lock_twice);
}

static void unlock_other(void *arg)
{
	(void)arg;
	co_unlock(&mutex);
}

static void unlock_foreign(void *arg)
{
	(void)arg;
	co_mutex_init(&mutex);
	co_lock(&mutex);
	if (!co_spawn(unlock_other, NULL))
		_exit(3);
	runtime_quit();
}

static void mutex_unlocked_by_another(void)
{
	aborts(unlock_foreign);
}

static void wait_outside(void *arg)
{
	(void)arg;
	co_yield();
}

static void wait_in_loop(void *arg)
{
	(void)arg;
	co_call(thread_by_index(1), wait_outside, NULL);
	runtime_quit();
}

static void wait_outside_a_coroutine(void)
{
	aborts(wait_in_loop);
}

static void sleep_forever(void *arg)
{
	(void)arg;
	co_wait();
}

static void deadlock_aborts(void)
{
	aborts(sleep_forever);
}

static __attribute__((noinline)) unsigned deeper(unsigned depth)
{
	volatile char frame[512];

	frame[depth % sizeof(frame)] = 1;
	if (depth == 0)
		return 0;
	return deeper(depth - 1) + frame[depth % sizeof(frame)];
}

static void overflow(void *arg)
{
	(void)arg;
	if (deeper(20 * 1024) == 0)
		_exit(3);
	runtime_quit();
}

/* The guard page: a signal, or what a sanitizer makes of it. */
static void stack_overflow_does_not_go_on(void)
{
	int status = child_status(overflow);

	CU_ASSERT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CU_ASSERT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

TEST_MAIN("runtime-misuse", TEST(buffer_put_on_another_thread),
	  TEST(buffer_put_twice), TEST(io_resubmitted_in_flight),
	  TEST(direct_io_unaligned), TEST(mutex_taken_twice),
	  TEST(mutex_unlocked_by_another), TEST(wait_outside_a_coroutine),
	  TEST(deadlock_aborts), TEST(stack_overflow_does_not_go_on))
