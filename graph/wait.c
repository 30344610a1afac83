/* SPDX-License-Identifier: MIT */
/*
 * wait.c - see wait.h: lists of waiters, and what lets them go.
 *
 * Any thread, each its own lists. What always holds: a request that waits is
 * counted in its gate's `waiting`, in no epoch, and among those in flight, in
 * the order in which they came; it is in exactly one list, its node's or that
 * of the thread's requests that are to go on. The node cannot go away: drains
 * count who waits.
 */
#include "graph/wait.h"

#include "graph/epoch.h"
#include "graph/gate.h"
#include "graph/hold.h"
#include "graph/node-io.h"
#include "graph/resolve.h"
#include "graph/state.h"

/* Requests that go on in one turn of the loop (A42). */
#define READY_BATCH 32u

/* ---- whose work a coroutine does ---- */

static struct errand **errand_bucket(const struct co *co)
{
	/* one per stack, so the low bits of the address say nothing */
	uintptr_t key = (uintptr_t)co / CO_STACK_SIZE;

	return &graph_self()->errands[(key ^ key / ERRAND_BUCKETS) %
				      ERRAND_BUCKETS];
}

struct errand *errand_self(void)
{
	struct co *co = co_self();
	struct errand *errand;

	for (errand = co ? *errand_bucket(co) : NULL; errand;
	     errand = errand->next)
		if (errand->co == co)
			break;
	return errand;
}

void errand_begin(struct errand *errand, struct request *req)
{
	struct errand **bucket;

	*errand = (struct errand){ .co = co_self(), .req = req };
	bucket = errand_bucket(errand->co);
	errand->next = *bucket;
	errand->prev = bucket;
	if (errand->next)
		errand->next->prev = &errand->next;
	*bucket = errand;
	graph_self()->errand_count++;
}

void errand_help(struct errand *errand, struct errand *of)
{
	errand->co = NULL;
	if (!of)
		return;
	errand_begin(errand, of->req);
	errand->of = of;
}

/* Its stack is free when the coroutine has returned to the loop. */
void errand_end(struct errand *errand)
{
	if (!errand->co)
		return;
	*errand->prev = errand->next;
	if (errand->next)
		errand->next->prev = errand->prev;
	graph_self()->errand_count--;
	stacks_come_free();
}

/* ---- lists ---- */

/* Behind `after`; NULL: first. */
static void waiter_insert(struct waiter_list *list, struct waiter *w,
			  struct waiter *after)
{
	assert(!w->list);
	w->list = list;
	w->prev = after;
	w->next = after ? after->next : list->first;
	if (w->next)
		w->next->prev = w;
	else
		list->last = w;
	if (after)
		after->next = w;
	else
		list->first = w;
}

static void waiter_append(struct waiter_list *list, struct waiter *w)
{
	waiter_insert(list, w, list->last);
}

static void waiter_remove(struct waiter *w)
{
	struct waiter_list *list = w->list;

	if (w->prev)
		w->prev->next = w->next;
	else
		list->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		list->last = w->prev;
	w->list = NULL;
	if (w->kind == WAIT_HOLD && !list->first)
		holds_emptied(list);
}

static struct node_thread *node_here(const struct node *node)
{
	return &node->io->threads[thread_index(thread_self())];
}

/* All who wait on this thread. */
static void waiter_come(struct waiter *w)
{
	struct graph_thread *t = graph_self();

	w->next_here = t->waiters;
	w->prev_here = &t->waiters;
	if (w->next_here)
		w->next_here->prev_here = &w->next_here;
	t->waiters = w;
}

static void waiter_leave(struct waiter *w)
{
	*w->prev_here = w->next_here;
	if (w->next_here)
		w->next_here->prev_here = w->prev_here;
}

void waiter_go(struct waiter *w)
{
	struct graph_thread *t = graph_self();

	waiter_remove(w);
	if (w->co) {
		waiter_leave(w);
		co_wake(w->co);
		return;
	}
	waiter_append(&t->ready, w);
	if (!t->ready_posted) {
		t->ready_posted = true;
		thread_post(thread_self(), &t->ready_msg);
	}
}

/* The epoch is the current one. */
void request_rejoin(struct request *req)
{
	struct root_gate *gate = req->gate;

	waiter_remove(&req->waiter);
	waiter_leave(&req->waiter);
	gate->waiting--;
	req->parity = epochs_enter(&gate->epochs);
}

void wait_on_ready(struct message *msg)
{
	struct graph_thread *t = container_of(msg, struct graph_thread,
					      ready_msg);

	for (unsigned i = 0; t->ready.first && i < READY_BATCH; i++) {
		struct request *req = t->ready.first->req;

		request_rejoin(req);
		request_go_on(req);
	}
	t->ready_posted = t->ready.first;
	if (t->ready_posted)
		thread_post(thread_self(), msg);
}

/* ---- grace periods: one at a time of a node and thread ---- */

static void wait_on_grace(struct grace *grace);

static void grace_cover(struct node_thread *here, struct node *node)
{
	here->grace_runs = here->graces.first;
	if (!here->grace_runs)
		return;
	for (struct waiter *w = here->graces.first; w; w = w->next)
		w->covered = true;
	grace_start(node, &here->grace, wait_on_grace);
}

static void wait_on_grace(struct grace *grace)
{
	struct node_thread *here = container_of(grace, struct node_thread,
						grace);
	struct node *node = grace->node;

	while (here->graces.first && here->graces.first->covered)
		waiter_go(here->graces.first);
	grace_cover(here, node);
}

/* ---- waiting ---- */

static void waiter_enlist(struct waiter *w, const struct errand *wish,
			  struct root_gate *gate)
{
	struct node_thread *here = node_here(wish->node);

	w->list = NULL;
	w->node = wish->node;
	w->kind = wish->kind;
	w->line = wish->line;
	w->due = wish->due;
	w->covered = false;
	w->drained = false;
	w->gate = gate;
	waiter_come(w);
	if (w->kind == WAIT_TURN) {
		waiter_append(&here->turns[w->line], w);
		if (w->node->driver->turn_awaited)
			w->node->driver->turn_awaited(w->node, w->line);
		return;
	}
	waiter_append(&here->graces, w);
	if (!here->grace_runs)
		grace_cover(here, wish->node);
}

/* Where it stands. False: a drain let it go. */
static bool co_stand(const struct errand *wish, struct root_gate *gate)
{
	struct waiter w = { .co = co_self() };

	waiter_enlist(&w, wish, gate);
	co_wait();
	return !w.drained;
}

void loose_begin(struct loose *loose, struct node *node)
{
	loose->epochs = NULL;
	if (errand_self())
		return;
	assert(thread_is_main());
	errand_begin(&loose->errand, NULL);
	loose->epochs = &node->io->loose;
	loose->parity = epochs_enter(loose->epochs);
}

bool co_loose_again(struct loose *loose)
{
	if (!loose->epochs)
		return false;
	epochs_leave(loose->epochs, loose->parity);
	(void)co_stand(&loose->errand, NULL);
	loose->parity = epochs_enter(loose->epochs);
	return true;
}

void loose_end(struct loose *loose)
{
	if (!loose->epochs)
		return;
	epochs_leave(loose->epochs, loose->parity);
	errand_end(&loose->errand);
}

/* Counted as waiting before it leaves its epoch: a drain must not see it go. */
static void request_leave_epoch(struct request *req)
{
	req->gate->waiting++;
	gate_leave(req->gate, req->parity);
	req->waiter.req = req;
	req->waiter.co = NULL;
}

void request_wait(struct request *req, const struct errand *errand)
{
	struct root_gate *gate = req->gate;

	req->waited = true;
	if (req->flags & REQ_HAND_BACK) {
		req->waiter.node = errand->node;
		req->waiter.kind = errand->kind;
		req->waiter.line = errand->line;
		req->waiter.due = errand->due;
		request_hand_back(req);
		return;
	}
	if (errand->kind == WAIT_TURN &&
	    (gate->answer_drain || gate->ending)) {
		/* its charge is noted, so it has its turn when it comes back;
		 * a job's or a command's always goes on (A16) */
		if (gate->closed)
			gate_return(gate, req);
		else
			request_go_on(req);
		return;
	}
	request_leave_epoch(req);
	waiter_enlist(&req->waiter, errand, gate);
}

void request_wait_held(struct request *req, struct waiter_list *list,
		       struct waiter *after)
{
	struct waiter *w = &req->waiter;

	request_leave_epoch(req);
	w->list = NULL;
	w->node = req->end ? req->end : req->root->edge.child;
	w->kind = WAIT_HOLD;
	w->gate = req->gate;
	waiter_come(w);
	waiter_insert(list, w, after);
}

bool co_wait_wish(struct request *req)
{
	struct root_gate *gate = root_gate_self(req->root);
	struct errand wish = {
		.node = req->waiter.node,
		.kind = req->waiter.kind,
		.line = req->waiter.line,
		.due = req->waiter.due,
	};

	assert(gate->busy);
	if (wish.kind == WAIT_TURN && gate->answer_drain)
		return false;
	if (!co_stand(&wish, gate))
		return false;
	req->flags |= REQ_AGAIN;
	return true;
}

/* ---- drivers' part ---- */

static void errand_wish(struct errand *errand, const struct errand *wish)
{
	while (errand->of)
		errand = errand->of;
	errand->node = wish->node;
	errand->kind = wish->kind;
	errand->line = wish->line;
	errand->due = wish->due;
}

int wish_grace(struct node *node)
{
	struct errand wish = { .node = node, .kind = WAIT_GRACE };

	errand_wish(errand_self(), &wish);
	return STEER_WAIT;
}

/* Whether only filters lie between the request's root and the node. */
static bool is_below_filters(const struct request *req,
			     const struct node *node)
{
	const struct node *above = req->root->edge.child;

	while (above && above != node)
		above = above->driver->kind == DRIVER_FILTER ?
			node_filtered_child(above) : NULL;
	return above;
}

static struct charge *charge_find(struct request *req, const struct node *node)
{
	for (unsigned i = 0; i < req->charged; i++)
		if (req->charges[i].node == node)
			return &req->charges[i];
	return NULL;
}

/* The request whose operation at `node` may be unwound; NULL: none. */
static struct request *request_above(const struct errand *errand,
				     const struct node *node)
{
	return errand && errand->req && !errand->of &&
	       is_below_filters(errand->req, node) ? errand->req : NULL;
}

int co_wait_turn(struct node *node, unsigned line, uint64_t due)
{
	struct errand *errand = errand_self();
	struct root_gate *gate = errand->req ? errand->req->gate : NULL;
	struct errand wish = {
		.node = node,
		.kind = WAIT_TURN,
		.line = (uint8_t)line,
		.due = due,
	};
	struct request *above = request_above(errand, node);

	/* a job's or a command's always goes on (A16), and what ends */
	if (gate && ((gate->answer_drain && !gate->closed) || gate->ending))
		return TURN_SKIPPED;
	if (above && charge_find(above, node)) {
		errand_wish(errand, &wish);
		return STEER_WAIT;
	}
	if (gate ? !gate->answer_drain : !graph_self()->draining)
		return co_stand(&wish, gate) ? TURN_CAME : TURN_SKIPPED;
	return TURN_SKIPPED;
}

const struct waiter *wait_turn_first(const struct node *node, unsigned line)
{
	return node_here(node)->turns[line].first;
}

void wait_turn_is_over(const struct waiter *w)
{
	/* of this thread's list, which is ours to change */
	waiter_go((struct waiter *)(uintptr_t)w);
}

void wait_turn_over(struct node *node, unsigned line)
{
	wait_turn_is_over(wait_turn_first(node, line));
}

struct charge *charge_here(const struct node *node)
{
	struct request *req = request_above(errand_self(), node);
	struct charge *charge = req ? charge_find(req, node) : NULL;

	if (charge || !req || req->charged == CHARGES_MAX)
		return charge;
	charge = &req->charges[req->charged++];
	*charge = (struct charge){ .node = node };
	return charge;
}

struct charge *charge_of_waiter(const struct waiter *w)
{
	return w->req ? charge_find(w->req, w->node) : NULL;
}

bool map_charge(struct map *map, const struct node *node, unsigned line)
{
	struct request *req = map->req;
	struct charge *charge;

	/* what a job submits again has its charges from before */
	if (!req || map->len != req->len || map->flags & REQ_AGAIN ||
	    map->hooks->charged == CHARGES_MAX ||
	    node->io->threads[req->gate->index].turns[line].first)
		return false;
	charge = &req->charges[map->hooks->charged++];
	charge->node = node;
	charge->end = map->offset + map->len;
	charge->due = 0;
	return true;
}

void map_uncharge(struct map *map)
{
	map->hooks->charged--;
}

/* ---- drains ---- */

void wait_on_close(struct root_gate *gate)
{
	struct waiter *w = graph_self()->waiters, *next;

	for (; w; w = next) {
		next = w->next_here;
		if (w->gate != gate || w->kind == WAIT_GRACE)
			continue;
		if (w->req && gate && gate->closed) {
			request_rejoin(w->req);
			gate_return(gate, w->req);
		} else if (w->list != &graph_self()->ready) {
			/* a job's or a command's always goes on (A16) */
			w->drained = true;
			waiter_go(w);
		}
	}
}

void wait_on_ending(struct root_gate *gate)
{
	struct graph_thread *t = graph_self();
	struct waiter *w = t->waiters, *next;

	for (; w; w = next) {
		next = w->next_here;
		if (w->gate != gate || w->kind != WAIT_TURN ||
		    w->list == &t->ready)
			continue;
		w->drained = true;
		waiter_go(w);
	}
}

void wait_drain_main(bool draining)
{
	graph_self()->draining = draining;
	if (draining)
		wait_on_close(NULL);
}
