/* SPDX-License-Identifier: MIT */
/*
 * Tags that the kernel refuses to take. What stands in for /dev/ublkcN is a
 * file, which knows none of ublk's commands: each FETCH fails. The error is
 * there at once, since START_DEV would wait for such a tag for ever.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/co.h"
#include "tests/lib/suite.h"
#include "ublk/params.h"
#include "ublk/queue.h"

static void body(void *arg)
{
	struct ublk_queue *q = arg;
	char path[] = "/tmp/ublk-queue-XXXXXX";

	q->char_fd = mkstemp(path);
	CU_ASSERT_FATAL(q->char_fd >= 0);
	unlink(path);
	CU_ASSERT_EQUAL(ftruncate(q->char_fd, 1 << 20), 0);
	q->thread = thread_by_index(1);
	CU_ASSERT_EQUAL_FATAL(co_ublk_queue_reserve(q, false), 0);
	CU_ASSERT_EQUAL_FATAL(ublk_queue_map(q), 0);
	/* older kernels: ENOTTY */
	CU_ASSERT_EQUAL(co_ublk_queue_fetch(q), -EOPNOTSUPP);
	/* and nothing of it is left in the kernel */
	CU_ASSERT(co_wait_event(&q->dead, SECONDS(60)));
	CU_ASSERT_FALSE(q->fetching);
	ublk_queue_unmap(q);
	co_ublk_queue_release(q);
	close(q->char_fd);
	runtime_quit();
}

static void refused(uint16_t depth)
{
	struct runtime_options opts = { .io_threads = 1 };
	struct ublk_queue q = { .depth = depth, .first_buffer = -1 };
	struct error *err = NULL;

	CU_ASSERT_EQUAL_FATAL(runtime_start(&opts, NULL, &err), 0);
	runtime_run(body, &q);
	runtime_stop();
}

static void a_fetch_that_fails_is_heard_of(void)
{
	refused(1);
	refused(128);
	/* more than the ring submits at a time, and than a turn takes */
	refused(4096);
}

TEST_MAIN("ublk-queue",
	  TEST(a_fetch_that_fails_is_heard_of))
