/* SPDX-License-Identifier: MIT */
/*
 * gate.h - one thread's part of a root: entering and leaving (A8, A14, A28).
 *
 * On the gate's thread only. Between the test of `blocked` and the count there
 * is no wait, so a request is either counted or behind the gate.
 */
#ifndef GRAPH_GATE_H
#define GRAPH_GATE_H

#include "graph/root.h"

/* Counts have fallen and somebody heeds it: answers drains, turns epochs. */
void gate_fell(struct root_gate *gate);
/* Starts what is queued, in order, until the gate closes or stacks run out. */
void gate_run(struct root_gate *gate);
/* At the end of the queue, or, for one that was in already, before those that
 * came later. */
void gate_append(struct root_gate *gate, struct request *req);
void gate_return(struct root_gate *gate, struct request *req);
/* epoch.c: turns the epoch and ends grace periods as far as counts allow. */
void grace_turn(struct epochs *epochs);

static inline struct root_gate *root_gate_self(struct root *root)
{
	return &root->gates[thread_index(thread_self())];
}

static inline uint32_t gate_count(const struct root_gate *gate)
{
	return gate->epochs.in_flight[0] + gate->epochs.in_flight[1] +
	       gate->waiting + gate->busy;
}

/* Returns the parity to leave with. */
static inline uint8_t epochs_enter(struct epochs *epochs)
{
	epochs->in_flight[epochs->parity]++;
	return epochs->parity;
}

static inline void gate_enter(struct root_gate *gate, struct request *req)
{
	struct request *last = gate->last_flying;

	req->parity = epochs_enter(&gate->epochs);
	req->next = NULL;
	req->prev = last;
	if (last)
		last->next = req;
	else
		gate->flying = req;
	gate->last_flying = req;
}

static inline void epochs_leave(struct epochs *epochs, unsigned parity)
{
	assert(epochs->in_flight[parity] > 0);
	epochs->in_flight[parity]--;
	grace_turn(epochs);
}

/* No longer in flight, but still counted. */
static inline void gate_unlist(struct root_gate *gate, struct request *req)
{
	if (req->prev)
		req->prev->next = req->next;
	else
		gate->flying = req->next;
	if (req->next)
		req->next->prev = req->prev;
	else
		gate->last_flying = req->prev;
}

/* A request's last act. */
static inline void gate_leave(struct root_gate *gate, unsigned parity)
{
	assert(gate->epochs.in_flight[parity] > 0);
	if (--gate->epochs.in_flight[parity] == 0 && unlikely(gate->heeds))
		gate_fell(gate);
}

#endif
