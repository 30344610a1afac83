/* SPDX-License-Identifier: MIT */
/*
 * state.c - what the graph keeps for each thread: who waits for a stack, bounce
 * buffers; and graph_start, graph_stop.
 */
#include "graph/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "graph/drain.h"
#include "graph/gate.h"
#include "graph/graph.h"
#include "graph/node-life.h"
#include "graph/transaction.h"

#define DEADLINE_NS (10ull * 1000000000)
#define RETRY_NS 1000000ull

static struct graph_thread *graph_threads;
static void *zeroes;
static struct file *zero_file;
static bool zero_tried;

struct graph_thread *graph_self(void)
{
	return &graph_threads[thread_index(thread_self())];
}

const void *graph_zeroes(void)
{
	return zeroes;
}

struct file *graph_zero_file(void)
{
	return zero_file;
}

/* ---- stacks ---- */

static void run_short_gates(struct graph_thread *t)
{
	struct root_gate *gate, *next;

	gate = t->short_first;
	t->short_first = NULL;
	t->short_last = &t->short_first;
	for (; gate; gate = next) {
		next = gate->next_short;
		gate->short_of_stacks = false;
		gate_run(gate);
	}
}

static void on_kick(struct message *msg)
{
	struct graph_thread *t = container_of(msg, struct graph_thread, kick);

	t->kicked = false;
	run_short_gates(t);
}

static void on_retry(struct timer *timer)
{
	run_short_gates(container_of(timer, struct graph_thread, retry));
}

/* Told by a message: from the loop, when it has given its stack back. */
void stacks_come_free(void)
{
	struct graph_thread *t = graph_self();

	if (!t->short_first || t->kicked)
		return;
	t->kicked = true;
	thread_post(thread_self(), &t->kick);
}

/* Stacks may all be drivers', exports' or jobs', which do not tell. */
void stacks_retry_later(void)
{
	struct graph_thread *t = graph_self();

	if (!t->errand_count && !t->retry.armed)
		timer_start(&t->retry, RETRY_NS, on_retry);
}

/* ---- life ---- */

static void bounce_start(struct bounce_pool *pool)
{
	pool->memory = mmap(NULL, BOUNCE_COUNT * BOUNCE_SIZE,
			    PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool->memory == MAP_FAILED)
		abort();
	pool->last = &pool->first;
	while (pool->count < BOUNCE_COUNT) {
		pool->free[pool->count] = pool->memory +
					  pool->count * BOUNCE_SIZE;
		pool->count++;
	}
}

static void graph_threads_start(void)
{
	size_t size = thread_count() * sizeof(*graph_threads);

	graph_threads = aligned_alloc(64, size);
	if (!graph_threads)
		abort();
	memset(graph_threads, 0, size);
	for (unsigned i = 0; i < thread_count(); i++) {
		struct graph_thread *t = &graph_threads[i];

		t->short_last = &t->short_first;
		t->kick.fn = on_kick;
		t->ready_msg.fn = wait_on_ready;
		for (unsigned l = 0; l < BOUNCE_LEVELS; l++)
			bounce_start(&t->bounce[l]);
	}
	/* read from only; untouched, so it costs one page of the kernel's */
	zeroes = mmap(NULL, ZERO_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (zeroes == MAP_FAILED)
		abort();
}

static void graph_threads_stop(void)
{
	for (unsigned i = 0; i < thread_count(); i++)
		for (unsigned l = 0; l < BOUNCE_LEVELS; l++)
			munmap(graph_threads[i].bounce[l].memory,
			       BOUNCE_COUNT * BOUNCE_SIZE);
	munmap(zeroes, ZERO_SIZE);
	free(graph_threads);
	graph_threads = NULL;
}

void graph_start(uint64_t drain_deadline_ns)
{
	assert(thread_is_main() && !graph_threads);
	driver_register_all();
	drain_set_deadline(drain_deadline_ns ? drain_deadline_ns
					     : DEADLINE_NS);
	graph_threads_start();
}

/* For fixed reads of holes (A31); the simulation has none. */
void graph_open_zero_file(void)
{
	if (zero_tried || !co_self())
		return;
	zero_tried = true;
	if (co_file_open("/dev/zero", O_RDONLY, 0, &zero_file) < 0)
		zero_file = NULL;
}

void graph_stop(void)
{
	assert(thread_is_main());
	/* a root is left only where the kernel keeps its device (A6) */
	if (!root_first())
		node_blame();
	ending_forget();
	if (zero_file && co_self())
		co_file_close(zero_file);
	zero_file = NULL;
	zero_tried = false;
	graph_threads_stop();
}

