/* SPDX-License-Identifier: MIT */
/*
 * hold.h - requests that have failed and are kept, to be tried again, instead
 * of being answered: writes, zeroes and discards, where the root's terms say so
 * (A34, M9; drain.md, R46 to R50).
 *
 * A held request waits as others do (wait.h): in no epoch, counted for drains,
 * which take it back to the gate. Each thread tries those again that it has,
 * once a second, all of them: what one finds no room for another may not need.
 * It ends when it succeeds, when its longest time is over, when its sender has
 * gone, or when its root ends; then with the error that it had last.
 *
 * Any thread; what is here belongs to the request's.
 */
#ifndef GRAPH_HOLD_H
#define GRAPH_HOLD_H

#include "graph/root.h"

/* How often what is held is tried again. */
#define HOLD_RETRY_NS UINT64_C(1000000000)

/* What a root has of them, all threads together. */
struct holds {
	uint32_t count;		/* waiting, or just being tried again */
	int error;		/* of one that failed last, positive */
	uint64_t since_ns;	/* clock_ns: there has been one all the time */
};

/* Whether the root wants a request that failed so to be held. */
bool hold_wants(const struct request *req, int res);
/*
 * A request off the fast path, counted, unwound to where it began, has failed.
 * True: it is held, and is not the caller's any more. False: it is to end.
 */
bool request_hold(struct request *req, int res) MUST_CHECK;
/* Ends one off the fast path, held or not. */
void request_end(struct request *req, int res);
/* Nobody is in the thread's list any more. */
void holds_emptied(struct waiter_list *list);

/* The root's thread: root_ops.abandoned says of more of them than before that
 * their sender has gone. */
void root_holds_look(struct root *root);

/* ---- main thread ---- */

/* At any time. */
void root_holds(const struct root *root, struct holds *sum);
/* Coroutines; the caller sees to it that the root lives. Returns when all
 * threads have begun: what is held is tried again, and its longest time begins
 * anew. */
void co_root_resume(struct root *root);
/* What is held is answered with its error, what waits for a turn goes on, and
 * so it stays until as many of the second: the root is about to end (M9). */
void co_root_hurry(struct root *root);
void co_root_linger(struct root *root);

#endif
