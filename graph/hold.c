/* SPDX-License-Identifier: MIT */
/*
 * hold.c - see hold.h.
 *
 * Any thread, each its own list. What always holds: gate->held counts the
 * requests of the gate that have failed and are neither answered nor done, be
 * they in the list, on their way again, or at the gate; the timer is armed
 * while there is anybody in the list.
 */
#include "graph/hold.h"

#include <errno.h>
#include <string.h>

#include "graph/gate.h"
#include "graph/node-io.h"
#include "graph/resolve.h"
#include "graph/state.h"

/* ---- what is held ---- */

/* It was refused, and would be again. */
static bool is_refusal(int res)
{
	return is_unsupported(res) || res == -EINVAL || res == -EPERM ||
	       res == -EROFS || res == -EFBIG;
}

bool hold_wants(const struct request *req, int res)
{
	const struct hold_terms *terms = &req->root->holds;

	if (req->op != REQ_WRITE && req->op < REQ_DISCARD)
		return false;
	if (req->op == REQ_STATUS || !(terms->no_space | terms->errors))
		return false;
	if (res == -ENOSPC || res == -EDQUOT)
		return terms->no_space;
	/* what the file holds is not known any more: trying again would hide
	 * that (R35) */
	if (req->end && __atomic_load_n(&req->end->io->failed,
					__ATOMIC_ACQUIRE))
		return false;
	return terms->errors && !is_refusal(res);
}

/* When its longest time is over; 0: never. */
static uint64_t hold_end_ns(const struct request *req)
{
	uint64_t longest = req->root->holds.longest_ns;

	if (!longest || !req->held_ns)
		return 0;
	return max(req->held_ns, req->gate->resumed_ns) + longest;
}

static bool hold_is_over(struct request *req, uint64_t now)
{
	const struct root_ops *ops = req->root->ops;
	uint64_t end = hold_end_ns(req);

	return req->gate->ending || (end && now >= end) ||
	       (ops->abandoned && ops->abandoned(req));
}

static void held_count(struct root_gate *gate, int n)
{
	uint32_t count = gate->held.count + (uint32_t)n;

	if (!gate->held.count || !count)
		__atomic_store_n(&gate->held.since_ns, count ? clock_ns() : 0,
				 __ATOMIC_RELAXED);
	__atomic_store_n(&gate->held.count, count, __ATOMIC_RELEASE);
}

void request_end(struct request *req, int res)
{
	if (req->held_ns)
		held_count(req->gate, -1);
	request_finish(req, res);
}

/* ---- the thread's list ---- */

/* The last of the gate's that came before it. */
static struct waiter *hold_place(const struct graph_thread *t,
				 const struct request *req)
{
	struct waiter *w = t->held.last;

	while (w && (w->gate != req->gate ||
		     (int32_t)(w->req->turn - req->turn) > 0))
		w = w->prev;
	return w;
}

/*
 * Those of a gate, or of all: who has been held for long enough is answered.
 * Again: the others are tried again.
 */
static void holds_look(const struct root_gate *gate, bool again)
{
	struct graph_thread *t = graph_self();
	uint64_t now = clock_ns();
	struct waiter *w = t->held.first, *next;

	for (; w && again; w = next) {
		next = w->next;
		if ((!gate || w->gate == gate) && !hold_is_over(w->req, now))
			waiter_go(w);
	}
	/* an answer may bring others into the list, or take them out of it */
	for (;;) {
		struct request *req;

		for (w = t->held.first; w; w = w->next)
			if ((!gate || w->gate == gate) &&
			    hold_is_over(w->req, now))
				break;
		if (!w)
			break;
		req = w->req;
		request_rejoin(req);
		request_end(req, req->held_for);
	}
}

static void hold_arm(struct graph_thread *t, uint64_t due);

static void hold_on_timer(struct timer *timer)
{
	struct graph_thread *t = container_of(timer, struct graph_thread,
					      hold_timer);

	holds_look(NULL, true);
	/* who failed again meanwhile has armed it */
	if (t->held.first)
		hold_arm(t, clock_ns() + HOLD_RETRY_NS);
}

static void hold_arm(struct graph_thread *t, uint64_t due)
{
	uint64_t now = clock_ns();

	if (t->hold_timer.armed && t->hold_due_ns <= due)
		return;
	timer_stop(&t->hold_timer);
	t->hold_due_ns = due;
	timer_start(&t->hold_timer, due > now ? due - now : 0, hold_on_timer);
}

void holds_emptied(struct waiter_list *list)
{
	struct graph_thread *t = graph_self();

	if (list == &t->held)
		timer_stop(&t->hold_timer);
}

bool request_hold(struct request *req, int res)
{
	struct graph_thread *t = graph_self();
	struct root_gate *gate = req->gate;
	uint64_t now = clock_ns(), due = now + HOLD_RETRY_NS, end;

	/* where all is done of it, its flush has failed */
	if (req->finished == req->len || !hold_wants(req, res))
		return false;
	if (hold_is_over(req, now))
		return false;
	req->held_for = res;
	req->waited = true;
	__atomic_store_n(&gate->held.error, -res, __ATOMIC_RELAXED);
	if (!req->held_ns) {
		req->held_ns = now;
		held_count(gate, 1);
		failure_note(req, res, true);
	}
	if (gate->closed) {
		gate_return(gate, req);
		return true;
	}
	end = hold_end_ns(req);
	request_wait_held(req, &t->held, hold_place(t, req));
	hold_arm(t, end ? min(due, end) : due);
	return true;
}

void root_holds_look(struct root *root)
{
	holds_look(root_gate_self(root), false);
}

/* ---- the main thread ---- */

void root_holds(const struct root *root, struct holds *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned i = 0; i < thread_count(); i++) {
		const struct root_gate *gate = &root->gates[i];
		uint32_t count = __atomic_load_n(&gate->held.count,
						 __ATOMIC_ACQUIRE);
		uint64_t since = __atomic_load_n(&gate->held.since_ns,
						 __ATOMIC_RELAXED);

		if (!count)
			continue;
		sum->count += count;
		sum->error = __atomic_load_n(&gate->held.error,
					     __ATOMIC_RELAXED);
		if (since && (!sum->since_ns || since < sum->since_ns))
			sum->since_ns = since;
	}
}

static void gate_resume(void *arg)
{
	struct root_gate *gate = root_gate_self(arg);

	gate->resumed_ns = clock_ns();
	holds_look(gate, true);
}

static void gate_hurry(void *arg)
{
	struct root_gate *gate = root_gate_self(arg);

	gate->ending++;
	wait_on_ending(gate);
	holds_look(gate, false);
}

static void gate_linger(void *arg)
{
	root_gate_self(arg)->ending--;
}

static void co_gates(struct root *root, void (*fn)(void *arg))
{
	for (unsigned i = 0; i < thread_count(); i++)
		if (root->threads >> i & 1)
			co_call(thread_by_index(i), fn, root);
}

void co_root_resume(struct root *root)
{
	co_gates(root, gate_resume);
}

void co_root_hurry(struct root *root)
{
	co_gates(root, gate_hurry);
}

void co_root_linger(struct root *root)
{
	co_gates(root, gate_linger);
}
