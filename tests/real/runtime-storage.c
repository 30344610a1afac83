/* SPDX-License-Identifier: MIT */
/*
 * Calls that wait for storage are counted by it (A38): one that is silent has
 * so many helpers and no more, is refused by name past that, and others go on.
 * Here /dev/shm is silent: calls of it wait for a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/real/real.h"
#include "runtime/storage.h"
#include "runtime/thread.h"
#include "tests/lib/suite.h"

#define SILENT_DIR "/dev/shm"
#define CALLS (3 * STORAGE_CALLS_MAX)

static int gate[2];		/* closed: the silent calls come back */
static unsigned began, ended;	/* atomic */
static char dir[] = "/tmp/blkgraph-storage-XXXXXX";
static struct storage *silent;

static void wait_at_gate(void *arg)
{
	char byte;
	ssize_t n;

	(void)arg;
	__atomic_add_fetch(&began, 1, __ATOMIC_RELAXED);
	do
		n = read(gate[0], &byte, 1);
	while (n < 0 && errno == EINTR);
	__atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED);
}

static unsigned count(const unsigned *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void silent_call(void *arg)
{
	struct storage *refused = co_storage_call(silent, wait_at_gate, NULL);

	CU_ASSERT_PTR_NULL(refused);
	++*(unsigned *)arg;
}

static void note(void *arg)
{
	*(bool *)arg = true;
}

static struct storage *call_at(const char *name, bool *ran)
{
	char path[100];

	snprintf(path, sizeof(path), "%s%s%s", name[0] == '/' ? "" : dir,
		 name[0] == '/' ? "" : "/", name);
	*ran = false;
	return co_storage_call_at(path, note, ran);
}

static void expect_silent(const char *name)
{
	char text[STORAGE_TEXT_MAX];
	bool ran;
	struct storage *who = call_at(name, &ran);

	CU_ASSERT(!ran);
	CU_ASSERT_PTR_EQUAL_FATAL(who, silent);
	CU_ASSERT_PTR_NOT_NULL(strstr(storage_tell(who, text),
				      "'" SILENT_DIR "' has not answered"));
	CU_ASSERT_PTR_NOT_NULL(strstr(storage_why(-ETIMEDOUT, text),
				      "'" SILENT_DIR "' has not answered"));
}

static void expect_served(const char *name)
{
	bool ran;

	CU_ASSERT_PTR_NULL(call_at(name, &ran));
	CU_ASSERT(ran);
}

static void links_make(void)
{
	CU_ASSERT_EQUAL(symlinkat(SILENT_DIR, AT_FDCWD, "there"), 0);
	CU_ASSERT_EQUAL(symlinkat("there/../shm/x", AT_FDCWD, "round"), 0);
	CU_ASSERT_EQUAL(symlinkat("here", AT_FDCWD, "near"), 0);
	CU_ASSERT_EQUAL(symlinkat("loop", AT_FDCWD, "loop"), 0);
	CU_ASSERT_EQUAL(close(creat("here", 0600)), 0);
}

static void body(void *arg)
{
	unsigned back = 0;
	int fd = open(SILENT_DIR, O_PATH | O_CLOEXEC);

	(void)arg;
	silent = storage_of_fd(fd);
	close(fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(silent);
	/* each is under way or in line when it first waits */
	for (unsigned i = 0; i < CALLS; i++)
		CU_ASSERT_TRUE_FATAL(co_spawn(silent_call, &back));
	while (count(&began) < STORAGE_CALLS_MAX)
		co_sleep(1000000);
	/* not silent yet, then it is */
	storage_set_patience(0);
	expect_silent(SILENT_DIR);
	expect_silent(SILENT_DIR "/none");
	expect_silent("there");
	expect_silent("there/none/deeper");
	expect_silent("round");
	/* what lies elsewhere, or nowhere */
	expect_served("here");
	expect_served("near");
	expect_served("none/there");
	expect_served("loop");
	expect_served("/proc/self/fd/0");
	expect_served("/dev/null");
	CU_ASSERT_EQUAL(count(&began), STORAGE_CALLS_MAX);
	/* it comes back: those in line have their turn, none is lost, nor
	 * refused for the time that the first take to come back */
	storage_set_patience(UINT64_MAX);
	close(gate[1]);
	while (back < CALLS)
		co_sleep(1000000);
	CU_ASSERT_EQUAL(count(&ended), CALLS);
	expect_served(SILENT_DIR);
	expect_served("there");
	runtime_quit();
}

static void test_a_silent_storage_has_its_share(void)
{
	const struct runtime_options opts = { .io_threads = 1 };
	struct error *err = NULL;
	int top = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(pipe2(gate, O_CLOEXEC), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_EQUAL_FATAL(chdir(dir), 0);
	links_make();
	CU_ASSERT_EQUAL_FATAL(runtime_start(&opts, NULL, &err), 0);
	runtime_run(body, NULL);
	runtime_stop();
	unlink("there");
	unlink("round");
	unlink("near");
	unlink("loop");
	unlink("here");
	CU_ASSERT_EQUAL(fchdir(top), 0);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
	close(top);
	close(gate[0]);
}

TEST_MAIN("runtime-storage", TEST(test_a_silent_storage_has_its_share))
