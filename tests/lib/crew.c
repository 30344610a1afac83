/* SPDX-License-Identifier: MIT */
/*
 * crew.c - see crew.h. The count belongs to the main thread; members tell it
 * by message that they are done.
 */
#include "tests/lib/crew.h"

#include <stdio.h>
#include <stdlib.h>

#include "graph/graph.h"

struct body {
	void (*fn)(void *arg);
	void *arg;
};

static void run_body(void *arg)
{
	struct body *body = arg;

	graph_start(0);
	body->fn(body->arg);
	graph_stop();
	runtime_quit();
}

void test_run(unsigned io_threads, uint64_t seed, void (*fn)(void *arg),
	      void *arg)
{
	struct runtime_options opts = {
		.io_threads = io_threads,
		.seed = seed,
	};
	struct body body = { fn, arg };
	struct error *err = NULL;

	if (runtime_start(&opts, NULL, &err) < 0) {
		fprintf(stderr, "runtime: %s\n", err->text);
		exit(1);
	}
	runtime_run(run_body, &body);
	runtime_stop();
}

static void member_done(struct message *msg)
{
	struct crew_member *member = container_of(msg, struct crew_member,
						  msg);
	struct crew *crew = member->crew;

	if (--crew->working == 0 && crew->waiter)
		co_wake(crew->waiter);
}

static void member_run(void *arg)
{
	struct crew_member *member = arg;

	member->fn(member->arg);
	member->msg.fn = member_done;
	thread_post(thread_by_index(MAIN_THREAD), &member->msg);
}

static void member_start(struct message *msg)
{
	struct crew_member *member = container_of(msg, struct crew_member,
						  msg);

	if (!co_spawn(member_run, member))
		abort();
}

void crew_start(struct crew *crew, struct crew_member *member,
		unsigned thread, void (*fn)(void *arg), void *arg)
{
	crew->working++;
	member->crew = crew;
	member->fn = fn;
	member->arg = arg;
	member->msg.fn = member_start;
	thread_post(thread_by_index(thread), &member->msg);
}

void crew_wait(struct crew *crew)
{
	if (!crew->working)
		return;
	crew->waiter = co_self();
	co_wait();
	crew->waiter = NULL;
}
