/* SPDX-License-Identifier: MIT */
/*
 * epoch.c - grace periods: waiting for the requests of before (A28).
 *
 * The main thread finds the roots that reach the node, which fixes what is
 * covered, and sends each of their gates a step. A gate counts requests in two
 * epochs. A step needs a flip after it came, and then the old epoch's count at
 * zero; a flip needs the old count at zero too, or the requests of three
 * epochs would share two counters. Gates do this whether open or closed.
 */
#include "graph/epoch.h"

#include <stdlib.h>

#include "graph/gate.h"
#include "graph/state.h"
#include "graph/walk.h"
#include "runtime/co.h"

struct grace_step {
	struct message msg;
	struct root_gate *gate;
	struct grace *grace;
	struct grace_step *next;
	bool flipped;		/* its requests are those of the old epoch */
};

/* ---- main thread ---- */

static void grace_tell(struct message *msg)
{
	struct grace *grace = container_of(msg, struct grace, msg);

	grace->done(grace);
}

static void grace_done_one(struct grace *grace)
{
	if (--grace->pending)
		return;
	grace->msg.fn = grace_tell;
	thread_post(grace->from, &grace->msg);
}

static void grace_on_answer(struct message *msg)
{
	struct grace_step *step = container_of(msg, struct grace_step, msg);
	struct grace *grace = step->grace;

	free(step);
	grace_done_one(grace);
}

/* ---- the gate's thread ---- */

/* The old epoch is empty: ends what waited for it. */
static void grace_end_old(struct root_gate *gate)
{
	struct grace_step **at = &gate->flips, *step;

	while ((step = *at)) {
		if (!step->flipped) {
			at = &step->next;
			continue;
		}
		*at = step->next;
		step->msg.fn = grace_on_answer;
		thread_post(thread_by_index(MAIN_THREAD), &step->msg);
	}
}

void grace_turn(struct root_gate *gate)
{
	struct grace_step *step;

	while (gate->flips && gate->in_flight[!gate->parity] == 0) {
		grace_end_old(gate);
		if (!gate->flips)
			break;
		gate->parity = !gate->parity;
		for (step = gate->flips; step; step = step->next)
			step->flipped = true;
	}
}

static void grace_on_gate(struct message *msg)
{
	struct grace_step *step = container_of(msg, struct grace_step, msg);

	step->next = step->gate->flips;
	step->gate->flips = step;
	gate_watch(step->gate);
}

/* ---- main thread ---- */

struct grace_walk {
	struct walk walk;
	struct grace *grace;
};

static void grace_on_root(struct walk *walk, struct root *root)
{
	struct grace_walk *w = container_of(walk, struct grace_walk, walk);

	for (unsigned i = 0; i < thread_count(); i++) {
		struct grace_step *step;

		if (!(root->threads >> i & 1))
			continue;
		step = calloc(1, sizeof(*step));
		if (!step)
			abort();
		step->gate = &root->gates[i];
		step->grace = w->grace;
		step->msg.fn = grace_on_gate;
		w->grace->pending++;
		thread_post(thread_by_index(i), &step->msg);
	}
}

struct grace_idle {
	struct idle_waiter waiter;
	struct grace *grace;
};

static void grace_on_idle(struct idle_waiter *waiter)
{
	struct grace_idle *idle = container_of(waiter, struct grace_idle,
					       waiter);
	struct grace *grace = idle->grace;

	free(idle);
	grace_done_one(grace);
}

/* Opening or closing a node reads below it without a root. The node itself is
 * not waited for: it is its own driver that asks, in its close perhaps. */
static void grace_on_node(struct walk *walk, struct node *node)
{
	struct grace_walk *w = container_of(walk, struct grace_walk, walk);
	struct grace_idle *idle;

	if (!node->busy || node == w->grace->node)
		return;
	idle = calloc(1, sizeof(*idle));
	if (!idle)
		abort();
	idle->grace = w->grace;
	idle->waiter.idle = grace_on_idle;
	idle->waiter.next = node->waiters;
	node->waiters = &idle->waiter;
	w->grace->pending++;
}

static void grace_on_main(struct message *msg)
{
	struct grace_walk w = {
		.walk = { .root = grace_on_root, .node = grace_on_node },
		.grace = container_of(msg, struct grace, msg),
	};

	w.grace->pending = 1;
	walk_begin(&w.walk);
	walk_up(&w.walk, w.grace->node);
	grace_done_one(w.grace);
}

/* ---- any thread ---- */

struct passing {
	struct message msg;
	struct co *co;
	unsigned at;		/* the thread that it is on its way to */
};

static void passing_on_thread(struct message *msg)
{
	struct passing *passing = container_of(msg, struct passing, msg);

	if (++passing->at == thread_count())
		co_wake(passing->co);
	else
		thread_post(thread_by_index(passing->at), msg);
}

void co_threads_pass(void)
{
	struct passing passing = {
		.msg.fn = passing_on_thread, .co = co_self(),
	};

	thread_post(thread_by_index(0), &passing.msg);
	co_wait();
}

void grace_start(struct node *node, struct grace *grace,
		 void (*done)(struct grace *))
{
	grace->node = node;
	grace->done = done;
	grace->from = thread_self();
	grace->msg.fn = grace_on_main;
	thread_post(thread_by_index(MAIN_THREAD), &grace->msg);
}

struct grace_wait {
	struct grace grace;
	struct co *co;
};

static void co_grace_over(struct grace *grace)
{
	co_wake(container_of(grace, struct grace_wait, grace)->co);
}

static void co_grace_wait(struct node *node)
{
	struct grace_wait wait = { .co = co_self() };

	grace_start(node, &wait.grace, co_grace_over);
	co_wait();
}

void co_grace(struct node *node)
{
	struct slow *slow = slow_self();
	struct request *req = slow ? slow->req : NULL;
	struct root_gate *gate;

	if (!req) {
		co_grace_wait(node);
		return;
	}
	/* parked before it leaves its epoch: a drain must not see it go */
	gate = req->gate;
	gate->parked++;
	gate_leave(gate, req->parity);
	co_grace_wait(node);
	gate->parked--;
	req->parity = gate->parity;
	gate->in_flight[req->parity]++;
}

void graph_wants_grace(struct node *node)
{
	struct slow *slow = slow_self();

	if (slow)
		slow->wants_grace = node;
	else
		graph_self()->wants_grace = node;
}
