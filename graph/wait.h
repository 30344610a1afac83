/* SPDX-License-Identifier: MIT */
/*
 * wait.h - waiting while holding nothing (A34): for a grace period, a
 * throttle's turn, a server that comes back, space.
 *
 * The operation that has to wait says so and unwinds, as from an error, until
 * nobody above it holds anything of the graph. A request then leaves its epoch,
 * stays counted for drains, gives its stack back and is listed at the node that
 * asked, one list per thread; it goes on behind what is finished of it. Work
 * without a request (open, close, create) waits where it began, and a job's
 * request is answered with the wish, since the job holds ranges.
 *
 * A drain takes requests that wait for what time or a user ends (WAIT_TURN)
 * back to the gate, in the order in which they came, and those that have
 * failed (WAIT_HOLD). A grace period ends by itself, and perhaps only if those
 * requests go on, so it is waited for.
 *
 * Any thread; everything here belongs to the calling thread.
 */
#ifndef GRAPH_WAIT_H
#define GRAPH_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/compiler.h"

struct epochs;
struct map;
struct node;
struct request;
struct root_gate;

/*
 * Results of operations that are no errors: they steer inside the graph, no
 * errno is among them, and no owner of a root sees them, but for STEER_WAIT
 * where a request says REQ_HAND_BACK.
 */
enum steer {
	STEER_WAIT = -65536,	/* the operation stopped: see wish_grace
				 * and co_wait_turn */
	STEER_PLAIN = -65537,	/* with FUA it cannot be done here */
	STEER_AGAIN = -65538,	/* a driver has changed the mapping, or brought
				 * it in: ask map again */
};

enum wait_kind {
	WAIT_GRACE,	/* until the requests of now have ended (epoch.h) */
	WAIT_TURN,	/* until the node says so (wait_turn_over) */
	WAIT_HOLD,	/* it has failed, and is tried again (hold.h) */
};

/* A node's turns have two lines, for what passes each other there. */
#define TURN_LINES 2

/* Somebody in a node's list. */
struct waiter {
	struct waiter *next, *prev;
	struct waiter_list *list;	/* NULL: in none */
	struct node *node;
	uint64_t due;		/* the node's own */
	enum wait_kind kind;
	uint8_t line;		/* of a turn */
	bool covered;		/* by the grace period that runs */
	bool drained;		/* let go by a drain, not by the node */
	/* one of the two: */
	struct request *req;	/* goes on later */
	struct co *co;		/* waits where it stands; woken */
	struct root_gate *gate;	/* whose drain lets it go, or NULL */
	struct waiter *next_here, **prev_here;	/* all of the thread */
};

struct waiter_list {
	struct waiter *first, *last;
};

/* ---- for drivers, in an operation ---- */

/*
 * A later attempt may work when the requests that reach `node` now have ended.
 * Returns STEER_WAIT for the operation to return, with everything given back
 * that a request may wait for, up to a job's ranges.
 */
int wish_grace(struct node *node) MUST_CHECK;

/*
 * The operation is to wait for its turn at `node`, in one of its lines.
 * STEER_WAIT: return this, the operation is called again in its turn, or when a
 * drain that took it back to the gate is over. TURN_CAME: it has waited here.
 * TURN_SKIPPED: a drain wants it to go on now, without a turn, and what it
 * costs stays a debt. Only what is reached through filters alone is unwound: a
 * format above may be in the middle of something. Coroutine, no lock held. due:
 * for the node to find in its list. When it is there, driver->turn_awaited
 * hears of it.
 */
enum { TURN_CAME, TURN_SKIPPED };
int co_wait_turn(struct node *node, unsigned line, uint64_t due) MUST_CHECK;
/* The first of the calling thread in that line of the node; NULL. */
const struct waiter *wait_turn_first(const struct node *node, unsigned line);
/* The first goes on; that one does, wherever it stands in its line. */
void wait_turn_over(struct node *node, unsigned line);
void wait_turn_is_over(const struct waiter *w);

/*
 * What a node has asked of the running request for bytes up to `end` of it:
 * what is asked once is not asked again when the request went back and comes
 * once more. A new one is zeroed. NULL: the operation is none that may be
 * unwound (it has no request, lies below a format, or met too many such nodes).
 */
#define CHARGES_MAX 4
struct charge {
	const struct node *node;
	uint64_t end, due;
};
struct charge *charge_here(const struct node *node);
/* The same for a request in one of the node's lines; NULL also for an operation
 * that stands where it is. */
struct charge *charge_of_waiter(const struct waiter *w);
/*
 * In node's map, of a whole request that has not left the fast path, while
 * nobody waits in that line here: notes that it was asked for all of its bytes,
 * so that its operation, should it come to that, is not asked again. False:
 * it is something else, and nothing is noted. map_uncharge: takes that back.
 */
bool map_charge(struct map *map, const struct node *node, unsigned line)
	MUST_CHECK;
void map_uncharge(struct map *map);

/* ---- whose work a coroutine does ---- */

/* Lives on a coroutine's stack from errand_begin to errand_end. */
struct errand {
	struct co *co;
	struct request *req;	/* NULL: it has none */
	struct errand *of;	/* helps in this one's operation */
	/* the wish that an operation returned STEER_WAIT for */
	struct node *node;
	enum wait_kind kind;
	uint8_t line;
	uint64_t due;
	struct errand *next, **prev;
};

/* Of the running coroutine; NULL: it does none. */
struct errand *errand_self(void);
/*
 * A coroutine that a driver spawned to do a part of its operation: of is the
 * operation's errand_self(), NULL too, and outlives it.
 */
void errand_help(struct errand *errand, struct errand *of);
void errand_end(struct errand *errand);

/* ---- for jobs ---- */

/*
 * A request with REQ_HAND_BACK was answered with STEER_WAIT: req->finished
 * bytes of it are done. Holding nothing any more, between root_busy and
 * root_idle: waits as the request would have. True: it may be submitted again,
 * as it is, and goes on behind what is finished. False: a drain wants the
 * operation to end.
 */
bool co_wait_wish(struct request *req) MUST_CHECK;

/* ---- private to graph/ ---- */

void errand_begin(struct errand *errand, struct request *req);
/* The request that has ended with STEER_WAIT; it is no longer its coroutine's
 * from here on. */
void request_wait(struct request *req, const struct errand *errand);

/*
 * An operation on `node` from outside: where there is neither a request nor an
 * operation around it, it is an errand of the main thread's own, counted for
 * grace periods at the node, and waits here. Lives on the caller's stack from
 * begin to end.
 */
struct loose {
	struct errand errand;
	struct epochs *epochs;	/* NULL: it belongs to what is around it */
	uint8_t parity;
};

void loose_begin(struct loose *loose, struct node *node);
/* Its operation has ended with STEER_WAIT. Waits, then true: go on; false: it
 * is others' to wait. */
bool co_loose_again(struct loose *loose);
void loose_end(struct loose *loose);
/* A counted request that holds nothing waits, in a list of the thread's own
 * that hold.c keeps, behind `after`; NULL: first. */
void request_wait_held(struct request *req, struct waiter_list *list,
		       struct waiter *after);
/* Who waits in a list goes on; a request by a message. */
void waiter_go(struct waiter *w);
/* One that waits is counted in an epoch again, and in no list. */
void request_rejoin(struct request *req);
/* The gate's drain begins: answer_drain is set. */
void wait_on_close(struct root_gate *gate);
/* Nothing of the gate's is to wait any more: turns are given at once. */
void wait_on_ending(struct root_gate *gate);
/* The same for work of the main thread without a request. */
void wait_drain_main(bool draining);

#endif
