/* SPDX-License-Identifier: MIT */
/*
 * sched.c - the scheduler of the simulated threads (A25).
 *
 * Each simulated thread runs the same kind of loop as a real one, on a stack of
 * its own; main runs on the process's. A loop does one thing (a message, a
 * completion, a timer, a coroutine) and then asks the scheduler, which picks a
 * thread that has something to do, or gives effect to an operation in flight.
 * rt_step and posting ask in the middle of things. When only timers are left
 * time jumps to the first of them; when nothing is left at all, it is a
 * deadlock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/late.h"
#include "runtime/sim/world.h"

#define TIME_START 1000000000u
#define IO_THREADS_DEFAULT 2
#define STEP_RATE_DEFAULT 4
/* One in so many preempted threads stalls, for so many picks at most. */
#define STALL_RATE 8
#define STALL_MAX_SHIFT 9

struct world world = { .step_rate = STEP_RATE_DEFAULT };

/* splitmix64 */
uint64_t sim_random(void)
{
	uint64_t z = world.random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t sim_random_below(uint64_t n)
{
	assert(n);
	return (uint64_t)((unsigned __int128)sim_random() * n >> 64);
}

/* A choice of the schedule. */
uint64_t random_below(uint64_t n)
{
	uint64_t r = n > 1 ? sim_random_below(n) : 0;

	world.hash = (world.hash ^ r) * 0x100000001b3;
	return r;
}

uint64_t sim_schedule_hash(void)
{
	return world.hash;
}

static struct sim_thread *sim_thread(struct io_thread *t)
{
	return container_of(t, struct sim_thread, base);
}

struct io_thread *thread_self(void)
{
	return world.current ? &world.current->base : NULL;
}

struct io_thread *thread_by_index(unsigned index)
{
	assert(index < world.count);
	return &world.threads[index]->base;
}

unsigned thread_count(void)
{
	return world.count;
}

uint64_t clock_ns(void)
{
	return world.now_ns;
}

uint64_t clock_turn_ns(void)
{
	return world.now_ns;
}

void sim_step_rate(unsigned n)
{
	world.step_rate = n;
}

void sim_set_deadlock(void (*fn)(void))
{
	world.deadlock = fn;
}

static bool timer_due(const struct io_thread *t)
{
	return timer_next(t) <= world.now_ns;
}

static bool has_work(const struct sim_thread *t)
{
	return t->preempted || t->base.run_first || t->senders ||
	       t->done_first || timer_due(&t->base) ||
	       buffer_granted(&t->base);
}

/* The threads that could go on; once the run is over, without main. */
static uint64_t runnable(void)
{
	uint64_t mask = 0;
	unsigned i;

	for (i = world.stopping ? 1 : 0; i < world.count; i++)
		if (has_work(world.threads[i]))
			mask |= 1ull << i;
	return mask;
}

/*
 * Those of the runnable threads that are not stalled: some preempted threads
 * are passed over for a long while, so that the others get far ahead of one
 * that stands between two lock-free steps.
 */
static uint64_t awake(uint64_t mask)
{
	uint64_t left = mask;
	unsigned i;

	for (i = 0; i < world.count; i++) {
		struct sim_thread *t = world.threads[i];

		if (t->stalled && mask >> i & 1) {
			t->stalled--;
			left &= ~(1ull << i);
		}
	}
	return left;
}

static unsigned nth_bit(uint64_t mask, uint64_t n)
{
	while (n--)
		mask &= mask - 1;
	return (unsigned)__builtin_ctzll(mask);
}

static unsigned pick_bit(uint64_t mask)
{
	uint64_t n = (unsigned)__builtin_popcountll(mask);

	return nth_bit(mask, random_below(n));
}

/* Whether a timer was left to wait for. */
static bool time_pass(void)
{
	uint64_t next = UINT64_MAX;
	unsigned i;

	for (i = 0; i < world.count; i++)
		next = min(next, timer_next(&world.threads[i]->base));
	if (next == UINT64_MAX)
		return false;
	world.now_ns = next;
	return true;
}

static void describe_co(const struct co *co)
{
	static const char *const states[] = {
		[CO_FREE] = "free",	   [CO_RUNNING] = "running",
		[CO_QUEUED] = "runnable",  [CO_PARKED] = "waits in",
		[CO_WAITING] = "waits in",
	};

	if (co->state == CO_FREE)
		return;
	fprintf(stderr, "  thread %u: coroutine %p %s %s\n",
		co->thread->index, (const void *)co, states[co->state],
		co->waits_for);
}

static void deadlock_describe(void)
{
	const struct co *co;
	unsigned i;

	fprintf(stderr, "simulation: nothing can run any more\n");
	for (i = 0; i < world.count; i++)
		for (co = world.threads[i]->base.all; co; co = co->all_next)
			describe_co(co);
	op_describe_held();
}

static void deadlock(void)
{
	world.dead = true;
	if (world.deadlock) {
		world.deadlock();
		return;
	}
	deadlock_describe();
	abort();
}

/* The thread that goes on. Main with nothing to do: the run is over. */
static struct sim_thread *pick(void)
{
	for (;;) {
		uint64_t all = runnable(), mask = awake(all);
		unsigned n = (unsigned)__builtin_popcountll(mask);
		unsigned io = world.ready.count ? world.io_weight : 0;

		if (io && (!n || random_below(n * 4 + io) < io))
			op_step(false);
		else if (all)
			return world.threads[pick_bit(mask ? mask : all)];
		else if (op_step(true))
			continue;
		else if (world.stopping)
			return world.threads[MAIN_THREAD];
		else if (!time_pass()) {
			deadlock();
			return world.threads[MAIN_THREAD];
		}
	}
}

static void schedule(void)
{
	struct sim_thread *t = world.current, *next = pick();

	if (next == t)
		return;
	world.current = next;
	context_switch(t->base.running, next->base.running);
	assert(world.current == t);
}

void rt_step(void)
{
	struct sim_thread *t = world.current;

	if (!world.running || !world.step_rate ||
	    random_below(world.step_rate))
		return;
	t->preempted = true;
	if (!random_below(STALL_RATE))
		t->stalled = 1u << random_below(STALL_MAX_SHIFT);
	schedule();
	t->preempted = false;
	t->stalled = 0;
}

void sim_wait_rate(unsigned n)
{
	world.wait_rate = n;
}

void rt_may_wait(void)
{
	rt_step();
	if (world.wait_rate && !random_below(world.wait_rate))
		co_yield();
}

void thread_post(struct io_thread *to, struct message *msg)
{
	struct sim_thread *t = sim_thread(to);
	unsigned from = world.current->base.index;

	msg->next = NULL;
	*t->inbox[from].last = msg;
	t->inbox[from].last = &msg->next;
	t->senders |= 1ull << from;
	rt_step();
}

static void message_run(struct sim_thread *t)
{
	unsigned from = pick_bit(t->senders);
	struct message *msg = t->inbox[from].first;

	t->inbox[from].first = msg->next;
	if (!msg->next) {
		t->inbox[from].last = &t->inbox[from].first;
		t->senders &= ~(1ull << from);
	}
	msg->fn(msg);
}

enum work { WORK_MESSAGE, WORK_DONE, WORK_TIMER, WORK_BUFFER, WORK_CO };

/* Does one of the things that the thread could do. */
static void work_one(struct sim_thread *t)
{
	uint64_t kinds = 0;

	if (t->senders)
		kinds |= 1 << WORK_MESSAGE;
	if (t->done_first)
		kinds |= 1 << WORK_DONE;
	if (timer_due(&t->base))
		kinds |= 1 << WORK_TIMER;
	if (buffer_granted(&t->base))
		kinds |= 1 << WORK_BUFFER;
	if (t->base.run_first)
		kinds |= 1 << WORK_CO;
	if (!kinds)
		return;
	switch ((enum work)pick_bit(kinds)) {
	case WORK_MESSAGE:
		message_run(t);
		break;
	case WORK_DONE:
		op_deliver(t);
		break;
	case WORK_TIMER:
		timer_run_one(&t->base, world.now_ns);
		break;
	case WORK_BUFFER:
		buffer_grant_one(&t->base);
		break;
	case WORK_CO:
		co_run_one(&t->base);
		break;
	}
}

static void io_thread_main(void *arg)
{
	struct sim_thread *t = arg;

	for (;;) {
		work_one(t);
		schedule();
	}
}

static void thread_begin(struct sim_thread *t, unsigned index)
{
	unsigned from;

	t->preempted = false;
	t->stalled = 0;
	t->base.timers = NULL;
	t->done_first = NULL;
	t->done_last = &t->done_first;
	t->senders = 0;
	for (from = 0; from < THREADS_MAX; from++) {
		t->inbox[from].first = NULL;
		t->inbox[from].last = &t->inbox[from].first;
	}
	if (index == MAIN_THREAD) {
		context_native(&t->base.loop);
		t->base.running = &t->base.loop;
		return;
	}
	context_make(&t->base.loop, t->stack, STACK_SIZE, io_thread_main, t);
	t->base.running = &t->base.loop;
}

static struct sim_thread *thread_new(unsigned index, uint64_t buffer_bytes)
{
	struct sim_thread *t = calloc(1, sizeof(*t));

	if (!t || !loop_init(&t->base, index, buffer_bytes))
		abort();
	if (index != MAIN_THREAD) {
		t->stack = stack_map();
		if (!t->stack)
			abort();
	}
	return t;
}

/* Threads, with their stacks and memory, are kept for the next run. */
static void thread_prepare(unsigned index, uint64_t buffer_bytes)
{
	struct sim_thread *t = world.threads[index];

	if (!t) {
		t = thread_new(index, buffer_bytes);
		world.threads[index] = t;
	} else if (!buffer_pool_fits(t->base.buffers, buffer_bytes)) {
		buffer_pool_free(t->base.buffers);
		t->base.buffers = buffer_pool_new(buffer_bytes);
		if (!t->base.buffers)
			abort();
	}
	thread_begin(t, index);
}

int runtime_start(const struct runtime_options *opts, const char **warning,
		  struct error **err)
{
	unsigned i;

	(void)err;
	assert(!world.count && opts->io_threads < THREADS_MAX);
	world.random = opts->seed;
	world.hash = 0xcbf29ce484222325;
	world.count = 1 + (opts->io_threads ? opts->io_threads :
					      IO_THREADS_DEFAULT);
	world.now_ns = TIME_START;
	world.io_weight = 1u << random_below(5);
	world.slow_rate = (unsigned)random_below(8);
	world.cut = false;
	world.dead = false;
	world.writes = 0;
	for (i = 0; i < world.count; i++)
		thread_prepare(i, opts->buffer_bytes);
	world.current = world.threads[MAIN_THREAD];
	if (warning)
		*warning = NULL;
	return 0;
}

static void first_coroutine(void *arg)
{
	(void)arg;
	world.fn(world.arg);
	world.first_over = true;
	world.over = world.quit;
}

void runtime_run(void (*fn)(void *), void *arg)
{
	bool spawned;

	assert(thread_is_main() && !world.running);
	world.fn = fn;
	world.arg = arg;
	world.quit = false;
	world.first_over = false;
	world.over = false;
	world.running = true;
	spawned = co_spawn(first_coroutine, NULL);
	assert(spawned);
	while (!world.over && !world.dead) {
		schedule();
		work_one(world.current);
	}
	world.running = false;
}

void runtime_quit(void)
{
	assert(thread_is_main());
	world.quit = true;
	world.over = world.first_over;
}

/* As the real one: what was posted is still done, then the threads end. */
static void threads_finish(void)
{
	world.running = true;
	world.stopping = true;
	schedule();
	world.stopping = false;
	world.running = false;
}

void runtime_stop(void)
{
	unsigned i;

	assert(thread_is_main() && !co_self());
	if (!world.cut && !world.dead)
		threads_finish();
	late_forget();
	op_discard_all();
	file_discard_all();
	for (i = 0; i < world.count; i++) {
		struct sim_thread *t = world.threads[i];

		co_pool_reset(&t->base);
		buffer_pool_reset(t->base.buffers);
		if (i != MAIN_THREAD)
			context_destroy(&t->base.loop);
	}
	world.count = 0;
	world.current = NULL;
}

/* Nothing blocks here. */
void co_blocking(void (*fn)(void *), void *arg)
{
	assert(co_self());
	co_yield();
	fn(arg);
	co_yield();
}
