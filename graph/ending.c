/* SPDX-License-Identifier: MIT */
/*
 * ending.c - coroutines for what nobody refers to any more (ending.h).
 *
 * Main thread. A last reference may be dropped in the middle of anything, so
 * nothing ends inside of that call: a message brings it to the loop.
 */
#include "graph/ending.h"

#include "runtime/co.h"

#define RETRY_NS 10000000ull	/* without a stack */

static struct {
	struct ending *first, **last;
	struct message msg;
	struct timer retry;
	bool posted;		/* msg is on its way */
} endings;

static void ending_run(void *arg)
{
	struct ending *ending = arg;

	ending->fn(ending);
}

static void ending_run_all(struct timer *retry)
{
	timer_stop(retry);
	while (endings.first) {
		struct ending *ending = endings.first;

		endings.first = ending->next;
		if (co_spawn(ending_run, ending))
			continue;
		endings.first = ending;
		timer_start(retry, RETRY_NS, ending_run_all);
		return;
	}
}

static void ending_on_message(struct message *msg)
{
	(void)msg;
	endings.posted = false;
	ending_run_all(&endings.retry);
}

void ending_start(struct ending *ending)
{
	if (!endings.first)
		endings.last = &endings.first;
	ending->next = NULL;
	*endings.last = ending;
	endings.last = &ending->next;
	if (endings.posted)
		return;
	endings.posted = true;
	endings.msg.fn = ending_on_message;
	thread_post(thread_self(), &endings.msg);
}

void ending_forget(void)
{
	endings.first = NULL;
	endings.posted = false;
	endings.retry.armed = false;
}
