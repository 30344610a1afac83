/* SPDX-License-Identifier: MIT */
/*
 * co.c - coroutines: their pool, running and waiting (A10).
 *
 * All of it runs on the coroutine's own thread, except co_wake. A coroutine
 * that ended keeps its context and serves the next co_spawn from where it
 * stands, so that spawning is a list operation and a switch.
 *
 * There are two kinds of waiting. co_wait takes a token that co_wake leaves,
 * early or late. Inside the runtime a coroutine parks on an object (mutex,
 * operation, timer), which resumes exactly it; a co_wake that arrives meanwhile
 * stays for the next co_wait.
 */
#include "runtime/co.h"

#include <string.h>

#include "runtime/loop.h"

static void co_main(void *arg)
{
	struct co *co = arg;
	struct io_thread *t = co->thread;

	for (;;) {
		struct co *caller;

		co->fn(co->arg);
		assert(t->current == co && !co->token);
		co->state = CO_FREE;
		co->next = t->pool;
		t->pool = co;
		t->co_used--;
		caller = co->caller;
		t->current = caller;
		t->running = caller ? &caller->context : &t->loop;
		context_switch(&co->context, t->running);
	}
}

static void co_make_context(struct co *co, char *stack)
{
	size_t size = (size_t)((char *)co - stack);

	context_make(&co->context, stack, size, co_main, co);
}

static char *co_stack(struct co *co)
{
	return co->context.stack;
}

static struct co *co_new(struct io_thread *t)
{
	char *stack = stack_map();
	struct co *co;
	size_t at;

	if (!stack)
		return NULL;
	at = align_down(STACK_SIZE - sizeof(*co), 64);
	co = (struct co *)(void *)(stack + at);
	memset(co, 0, sizeof(*co));
	co->thread = t;
	co_make_context(co, stack);
	co->all_next = t->all;
	t->all = co;
	return co;
}

void co_pool_init(struct io_thread *t)
{
	context_native(&t->loop);
	t->running = &t->loop;
	t->run_first = NULL;
	t->run_last = &t->run_first;
}

void co_pool_reset(struct io_thread *t)
{
	struct co *co;

	for (co = t->all; co; co = co->all_next) {
		if (co->state == CO_FREE)
			continue;
		context_destroy(&co->context);
		co_make_context(co, co_stack(co));
		co->state = CO_FREE;
		co->token = false;
		co->wake_sent = 0;
		co->next = t->pool;
		t->pool = co;
	}
	t->co_used = 0;
	t->current = NULL;
	t->run_first = NULL;
	t->run_last = &t->run_first;
}

void co_pool_destroy(struct io_thread *t)
{
	while (t->all) {
		struct co *co = t->all;
		char *stack = co_stack(co);

		t->all = co->all_next;
		context_destroy(&co->context);
		stack_unmap(stack);
	}
	t->pool = NULL;
}

struct co *co_self(void)
{
	struct io_thread *t = thread_self();

	return t ? t->current : NULL;
}

unsigned co_available(void)
{
	return CO_MAX_PER_THREAD - thread_self()->co_used;
}

void co_enter(struct co *co)
{
	struct io_thread *t = co->thread;
	struct context *from = t->running;

	assert(t == thread_self() && co->state != CO_RUNNING);
	co->caller = t->current;
	co->state = CO_RUNNING;
	t->current = co;
	t->running = &co->context;
	context_switch(from, &co->context);
}

/* Back to who entered co, with the state that says what continues it. */
static void co_leave(struct co *co, enum co_state state)
{
	struct io_thread *t = co->thread;
	struct co *caller = co->caller;

	assert(t->current == co && co->state == CO_RUNNING);
	co->state = state;
	t->current = caller;
	t->running = caller ? &caller->context : &t->loop;
	context_switch(&co->context, t->running);
}

bool co_spawn(co_fn *fn, void *arg)
{
	struct io_thread *t = thread_self();
	struct co *co = t->pool;

	if (t->co_used == CO_MAX_PER_THREAD)
		return false;
	if (co) {
		t->pool = co->next;
	} else {
		co = co_new(t);
		if (!co)
			return false;
	}
	assert(co->state == CO_FREE);
	t->co_used++;
	co->fn = fn;
	co->arg = arg;
	co_enter(co);
	return true;
}

void co_queue_run(struct co *co)
{
	struct io_thread *t = co->thread;

	assert(t == thread_self());
	assert(co->state == CO_PARKED || co->state == CO_WAITING);
	co->state = CO_QUEUED;
	co->next = NULL;
	*t->run_last = co;
	t->run_last = &co->next;
}

bool co_run_one(struct io_thread *t)
{
	struct co *co = t->run_first;

	if (!co)
		return false;
	t->run_first = co->next;
	if (!t->run_first)
		t->run_last = &t->run_first;
	assert(co->state == CO_QUEUED);
	co_enter(co);
	return true;
}

void co_park(const char *waits_for)
{
	struct co *co = co_self();

	assert(co);
	co->waits_for = waits_for;
	co_leave(co, CO_PARKED);
}

void co_wait(void)
{
	struct co *co = co_self();

	assert(co);
	rt_may_wait();
	if (co->token) {
		co->token = false;
		return;
	}
	co->waits_for = "co_wake";
	co_leave(co, CO_WAITING);
}

static void co_wake_here(struct co *co)
{
	if (co->state == CO_WAITING) {
		co_queue_run(co);
	} else {
		assert(co->state != CO_FREE && !co->token);
		co->token = true;
	}
}

static void co_wake_message(struct message *msg)
{
	struct co *co = container_of(msg, struct co, wake);

	__atomic_store_n(&co->wake_sent, 0, __ATOMIC_RELAXED);
	co_wake_here(co);
}

void co_wake(struct co *co)
{
	unsigned char sent;

	if (co->thread == thread_self()) {
		co_wake_here(co);
		return;
	}
	sent = __atomic_exchange_n(&co->wake_sent, 1, __ATOMIC_RELAXED);
	assert(!sent);
	co->wake.fn = co_wake_message;
	thread_post(co->thread, &co->wake);
}

void co_yield(void)
{
	struct co *co = co_self();

	assert(co);
	/* queued first: co_leave then only has to switch */
	co->state = CO_PARKED;
	co_queue_run(co);
	co->state = CO_RUNNING;
	co_leave(co, CO_QUEUED);
}

struct sleep {
	struct timer timer;
	struct co *co;
};

static void co_sleep_over(struct timer *timer)
{
	struct sleep *s = container_of(timer, struct sleep, timer);

	co_enter(s->co);
}

void co_sleep(uint64_t ns)
{
	struct sleep s = { .co = co_self() };

	assert(s.co);
	timer_start(&s.timer, ns, co_sleep_over);
	co_park("co_sleep");
}
