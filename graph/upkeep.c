/* SPDX-License-Identifier: MIT */
/*
 * upkeep.c - flushes that a node wants for itself (upkeep.h).
 *
 *	(wanted) -> asked -> waits, for the timer -> flushes -+-> idle
 *	              ^                                       |
 *	              +------- wanted again meanwhile --------+
 *
 * The state is the main thread's. Messages go round: whoever wants it -> main
 * -> the root's thread -> main, each at most once on its way.
 */
#include "graph/upkeep.h"

#include <stdio.h>
#include <stdlib.h>

#include "graph/root.h"
#include "runtime/co.h"

/* So long a disk is left alone first: requests come in bursts, and a guest that
 * trims flushes soon. Between flushes that did not help up to PAUSE_MAX_NS. */
#define PAUSE_NS 1000000000u
#define PAUSE_MAX_NS UINT64_C(16000000000)

enum upkeep_state { UPKEEP_IDLE, UPKEEP_WAITS, UPKEEP_FLUSHES, UPKEEP_STOPPED };

struct upkeep {
	struct root *root;
	bool wanted;		/* atomic: asked, and no flush has begun */
	struct message asked, begin, ended;
	struct request req;
	struct io_thread *thread;	/* of the root */
	/* main */
	enum upkeep_state state;
	bool again, stopping;
	uint64_t pause_ns;
	struct timer timer;
	struct co *waiter;
};

static const struct root_ops upkeep_root_ops = {
	.kind = "upkeep",
	.gated = true,
};

/* ---- the root's thread ---- */

static void upkeep_done(struct request *req, int res)
{
	struct upkeep *u = container_of(req, struct upkeep, req);

	/* the next flush, or the close, hears of what stays broken */
	(void)res;
	thread_post(thread_by_index(MAIN_THREAD), &u->ended);
}

static void upkeep_on_begin(struct message *msg)
{
	struct upkeep *u = container_of(msg, struct upkeep, begin);

	u->req = (struct request){
		.op = REQ_FLUSH,
		.fixed = IO_NOT_FIXED,
		.done = upkeep_done,
	};
	root_submit(u->root, &u->req);
}

/* ---- the main thread ---- */

static void upkeep_stopped(struct upkeep *u)
{
	u->state = UPKEEP_STOPPED;
	co_wake(u->waiter);
}

static void upkeep_expire(struct timer *timer)
{
	struct upkeep *u = container_of(timer, struct upkeep, timer);

	u->state = UPKEEP_FLUSHES;
	/* what is wanted from here on this flush may not cover */
	__atomic_store_n(&u->wanted, false, __ATOMIC_RELEASE);
	thread_post(u->thread, &u->begin);
}

static void upkeep_wait(struct upkeep *u)
{
	u->state = UPKEEP_WAITS;
	timer_start(&u->timer, u->pause_ns, upkeep_expire);
}

static void upkeep_on_asked(struct message *msg)
{
	struct upkeep *u = container_of(msg, struct upkeep, asked);

	if (u->state == UPKEEP_FLUSHES) {
		u->again = true;
		return;
	}
	u->pause_ns = PAUSE_NS;
	if (u->stopping)
		upkeep_stopped(u);
	else
		upkeep_wait(u);
}

static void upkeep_on_ended(struct message *msg)
{
	struct upkeep *u = container_of(msg, struct upkeep, ended);

	u->state = UPKEEP_IDLE;
	if (u->stopping) {
		upkeep_stopped(u);
	} else if (u->again) {
		u->again = false;
		u->pause_ns = min(2 * u->pause_ns, PAUSE_MAX_NS);
		upkeep_wait(u);
	}
}

struct upkeep *upkeep_new(struct node *node)
{
	static unsigned turn;
	unsigned io_threads = thread_count() - 1;
	unsigned thread = io_threads ? 1 + turn++ % io_threads : MAIN_THREAD;
	struct upkeep *u = calloc(1, sizeof(*u));
	char name[NODE_NAME_MAX + 32];

	if (!u)
		abort();
	snprintf(name, sizeof(name), "the upkeep of node '%s'", node->name);
	u->thread = thread_by_index(thread);
	u->root = root_new_own(&upkeep_root_ops, u, name, node,
			       UINT64_C(1) << thread);
	u->asked.fn = upkeep_on_asked;
	u->begin.fn = upkeep_on_begin;
	u->ended.fn = upkeep_on_ended;
	return u;
}

struct root *upkeep_root(struct upkeep *u)
{
	return u->root;
}

void co_upkeep_stop(struct upkeep *u)
{
	/* from here on nobody asks; but a message may be on its way */
	bool asked = __atomic_exchange_n(&u->wanted, true, __ATOMIC_ACQ_REL);

	u->stopping = true;
	timer_stop(&u->timer);
	if (u->state != UPKEEP_FLUSHES &&
	    (u->state == UPKEEP_WAITS || !asked)) {
		u->state = UPKEEP_STOPPED;
		return;
	}
	u->waiter = co_self();
	while (u->state != UPKEEP_STOPPED)
		co_wait();
}

void upkeep_free(struct upkeep *u)
{
	assert(u->state == UPKEEP_STOPPED);
	root_free_own(u->root);
	free(u);
}

/* ---- any thread ---- */

void node_wants_flush(struct node *node)
{
	struct upkeep *u = node->upkeep;

	if (!__atomic_load_n(&u->wanted, __ATOMIC_RELAXED) &&
	    !__atomic_exchange_n(&u->wanted, true, __ATOMIC_ACQ_REL))
		thread_post(thread_by_index(MAIN_THREAD), &u->asked);
}
