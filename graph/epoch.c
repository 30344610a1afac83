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
#include "graph/node-io.h"
#include "graph/walk.h"
#include "runtime/co.h"

struct grace_step {
	struct message msg;
	struct root_gate *gate;	/* NULL: a node's loose operations */
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
static void grace_end_old(struct epochs *epochs)
{
	struct grace_step **at = &epochs->steps, *step;

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

void grace_turn(struct epochs *epochs)
{
	struct grace_step *step;

	while (epochs->steps && epochs->in_flight[!epochs->parity] == 0) {
		grace_end_old(epochs);
		if (!epochs->steps)
			break;
		epochs->parity = !epochs->parity;
		for (step = epochs->steps; step; step = step->next)
			step->flipped = true;
	}
}

static void grace_on_gate(struct message *msg)
{
	struct grace_step *step = container_of(msg, struct grace_step, msg);

	step->next = step->gate->epochs.steps;
	step->gate->epochs.steps = step;
	gate_fell(step->gate);
}

/* ---- main thread ---- */

struct grace_walk {
	struct walk walk;
	struct grace *grace;
};

static struct grace_step *grace_step_new(struct grace *grace)
{
	struct grace_step *step = calloc(1, sizeof(*step));

	if (!step)
		abort();
	step->grace = grace;
	grace->pending++;
	return step;
}

static void grace_on_root(struct walk *walk, struct root *root)
{
	struct grace_walk *w = container_of(walk, struct grace_walk, walk);

	for (unsigned i = 0; i < thread_count(); i++) {
		struct grace_step *step;

		if (!(root->threads >> i & 1))
			continue;
		step = grace_step_new(w->grace);
		step->gate = &root->gates[i];
		step->msg.fn = grace_on_gate;
		thread_post(thread_by_index(i), &step->msg);
	}
}

/* Opening, closing or creating works on a node without a request. */
static void grace_on_node(struct walk *walk, struct node *node)
{
	struct grace_walk *w = container_of(walk, struct grace_walk, walk);
	struct epochs *loose = &node->io->loose;
	struct grace_step *step;

	if (!loose->in_flight[0] && !loose->in_flight[1])
		return;
	step = grace_step_new(w->grace);
	step->next = loose->steps;
	loose->steps = step;
	grace_turn(loose);
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
