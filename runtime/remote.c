/* SPDX-License-Identifier: MIT */
/*
 * remote.c - coroutines that one thread starts on another.
 *
 * The order and the news of the end are one message, which belongs to the
 * thread that runs the coroutine in between.
 */
#include "runtime/co.h"

static void remote_ended(struct message *msg)
{
	struct co_remote *remote = container_of(msg, struct co_remote, msg);

	remote->done(remote);
}

static void remote_answer(struct co_remote *remote, bool ran)
{
	remote->ran = ran;
	remote->msg.fn = remote_ended;
	thread_post(remote->from, &remote->msg);
}

static void remote_run(void *arg)
{
	struct co_remote *remote = arg;

	remote->fn(remote->arg);
	remote_answer(remote, true);
}

static void remote_arrived(struct message *msg)
{
	struct co_remote *remote = container_of(msg, struct co_remote, msg);

	if (!co_spawn(remote_run, remote))
		remote_answer(remote, false);
}

void co_spawn_on(struct io_thread *to, struct co_remote *remote, co_fn *fn,
		 void *arg, void (*done)(struct co_remote *remote))
{
	remote->from = thread_self();
	remote->fn = fn;
	remote->arg = arg;
	remote->done = done;
	remote->msg.fn = remote_arrived;
	thread_post(to, &remote->msg);
}

struct remote_wait {
	struct co_remote remote;
	struct co *co;
};

static void remote_wake(struct co_remote *remote)
{
	co_wake(container_of(remote, struct remote_wait, remote)->co);
}

bool co_run_on(struct io_thread *to, co_fn *fn, void *arg)
{
	struct remote_wait wait = { .co = co_self() };

	co_spawn_on(to, &wait.remote, fn, arg, remote_wake);
	co_wait();
	return wait.remote.ran;
}
