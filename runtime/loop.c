/* SPDX-License-Identifier: MIT */
/*
 * loop.c - a thread's shared state, and the calls that need nothing but
 * coroutines and messages.
 */
#include "runtime/loop.h"

#include <string.h>

bool loop_init(struct io_thread *t, unsigned index, uint64_t buffer_bytes)
{
	memset(t, 0, sizeof(*t));
	t->index = index;
	t->buffers = buffer_pool_new(buffer_bytes);
	if (!t->buffers)
		return false;
	co_pool_init(t);
	return true;
}

void loop_destroy(struct io_thread *t)
{
	co_pool_destroy(t);
	if (t->buffers)
		buffer_pool_free(t->buffers);
	t->buffers = NULL;
}

unsigned thread_index(const struct io_thread *t)
{
	return t->index;
}

struct call {
	struct message msg;
	struct co *co;
	void (*fn)(void *arg);
	void *arg;
};

static void call_returned(struct message *msg)
{
	struct call *c = container_of(msg, struct call, msg);

	co_enter(c->co);
}

static void call_arrived(struct message *msg)
{
	struct call *c = container_of(msg, struct call, msg);

	c->fn(c->arg);
	c->msg.fn = call_returned;
	thread_post(c->co->thread, &c->msg);
}

void co_call(struct io_thread *to, void (*fn)(void *), void *arg)
{
	struct call c = {
		.msg = { .fn = call_arrived },
		.co = co_self(),
		.fn = fn,
		.arg = arg,
	};

	assert(c.co);
	thread_post(to, &c.msg);
	co_park("co_call");
}
