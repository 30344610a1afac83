/* SPDX-License-Identifier: MIT */
/*
 * thread-state.c - a node's state per thread (thread-state.h).
 *
 * Each entry is its thread's; the main thread reads whether there is a state
 * when the node is closed, after the thread's last request has been answered.
 */
#include "graph/thread-state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/co.h"

struct opener {
	struct co *co;
	struct opener *next;
};

struct thread_state {
	void *state;		/* atomic; NULL: not open */
	bool opening;
	struct opener *waiting;
} CACHELINE_ALIGNED;

void node_thread_states_init(struct node *node)
{
	if (!node->driver->thread_state_size)
		return;
	node->thread_states = aligned_alloc(64, thread_count() *
					    sizeof(*node->thread_states));
	if (!node->thread_states)
		abort();
	memset(node->thread_states, 0, thread_count() *
	       sizeof(*node->thread_states));
}

void node_thread_states_free(struct node *node)
{
	free(node->thread_states);
}

static struct thread_state *thread_state_here(const struct node *node)
{
	return &node->thread_states[thread_index(thread_self())];
}

void *node_thread_state(const struct node *node)
{
	return thread_state_here(node)->state;
}

static int co_thread_open(struct node *node, struct thread_state *ts)
{
	void *state = calloc(1, node->driver->thread_state_size);
	struct opener *w;
	int ret;

	if (!state)
		return -ENOMEM;
	ts->opening = true;
	ret = node->driver->thread_open(node, state);
	ts->opening = false;
	if (ret < 0)
		free(state);
	else
		__atomic_store_n(&ts->state, state, __ATOMIC_RELEASE);
	while ((w = ts->waiting)) {
		ts->waiting = w->next;
		co_wake(w->co);
	}
	return ret;
}

int co_node_thread_state(struct node *node, void **state)
{
	struct thread_state *ts = thread_state_here(node);
	int ret = 0;

	while (ts->opening) {
		struct opener w = { co_self(), ts->waiting };

		ts->waiting = &w;
		co_wait();
	}
	if (!ts->state)
		ret = co_thread_open(node, ts);
	*state = ts->state;
	return ret;
}

static void co_thread_close(void *arg)
{
	struct node *node = arg;
	struct thread_state *ts = thread_state_here(node);

	node->driver->thread_close(node, ts->state);
	free(ts->state);
	ts->state = NULL;
}

void co_node_thread_states_close(struct node *node)
{
	for (unsigned i = 0; node->thread_states && i < thread_count(); i++) {
		struct thread_state *ts = &node->thread_states[i];

		if (!__atomic_load_n(&ts->state, __ATOMIC_ACQUIRE))
			continue;
		/* others' coroutines end and leave their stacks */
		while (!co_run_on(thread_by_index(i), co_thread_close, node))
			co_sleep(1000000);
	}
}
