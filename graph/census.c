/* SPDX-License-Identifier: MIT */
/*
 * census.c - see census.h. Main thread, and each gate's when it is asked.
 *
 * An answer that comes late finds nobody, and the last one frees all. A gate is
 * there until its thread has answered: who frees a root closes its gates first,
 * by a message that comes behind this one.
 */
#include "graph/census.h"

#include <stdlib.h>
#include <string.h>

#include "graph/gate.h"
#include "graph/state.h"
#include "runtime/wait.h"

#define CENSUS_NS SECONDS(1)

struct census_ask {
	struct message msg;
	struct census_job *job;
	struct root_gate *gate;
	struct census found;
};

struct census_job {
	struct wait_event over;
	unsigned pending;
	bool abandoned;
	unsigned count;
	struct census_ask asks[];
};

/* ---- the gate's thread ---- */

static void census_waiting(struct census *found, const struct root_gate *gate)
{
	const struct request *oldest = gate->flying;

	for (const struct waiter *w = graph_self()->waiters; w;
	     w = w->next_here) {
		if (w->gate != gate || !w->req)
			continue;
		if (!found->longest_ns || w->req->start_ns <= found->longest_ns)
			memcpy(found->longest_at, w->node->name,
			       sizeof(found->longest_at));
		if (!found->longest_ns || w->req->start_ns < found->longest_ns)
			found->longest_ns = w->req->start_ns;
		if (w->req == oldest)
			memcpy(found->oldest_at, w->node->name,
			       sizeof(found->oldest_at));
	}
}

static void census_take(struct census *found, const struct root_gate *gate)
{
	const struct request *oldest = gate->flying;
	const struct node *node;

	found->in_flight = gate_count(gate);
	found->waiting = gate->waiting;
	found->queued = gate->queued;
	found->closed_ns = gate->closed ? gate->closed_ns : 0;
	if (oldest) {
		node = oldest->end ? oldest->end : gate->root->edge.child;
		found->oldest_ns = oldest->start_ns;
		memcpy(found->oldest_at, node->name, sizeof(found->oldest_at));
	}
	if (gate->waiting)
		census_waiting(found, gate);
}

static void census_on_answer(struct message *msg)
{
	struct census_ask *ask = container_of(msg, struct census_ask, msg);
	struct census_job *job = ask->job;

	if (--job->pending)
		return;
	if (job->abandoned)
		free(job);
	else
		wait_event_set(&job->over);
}

static void census_on_gate(struct message *msg)
{
	struct census_ask *ask = container_of(msg, struct census_ask, msg);

	census_take(&ask->found, ask->gate);
	msg->fn = census_on_answer;
	thread_post(thread_by_index(MAIN_THREAD), msg);
}

/* ---- the main thread ---- */

static void census_first(uint64_t *sum_ns, char *sum_at, uint64_t ns,
			 const char *at)
{
	if (!ns || (*sum_ns && *sum_ns <= ns))
		return;
	*sum_ns = ns;
	if (at)
		memcpy(sum_at, at, NODE_NAME_MAX + 1);
}

static void census_add(struct census *sum, const struct census *found)
{
	sum->in_flight += found->in_flight;
	sum->waiting += found->waiting;
	sum->queued += found->queued;
	census_first(&sum->oldest_ns, sum->oldest_at, found->oldest_ns,
		     found->oldest_at);
	census_first(&sum->longest_ns, sum->longest_at, found->longest_ns,
		     found->longest_at);
	census_first(&sum->closed_ns, NULL, found->closed_ns, NULL);
}

static struct census_job *census_begin(struct root *root)
{
	struct census_job *job = calloc(1, sizeof(*job) + thread_count() *
					sizeof(job->asks[0]));

	if (!job)
		abort();
	for (unsigned i = 0; i < thread_count(); i++) {
		struct census_ask *ask = &job->asks[job->count];

		if (!(root->threads >> i & 1))
			continue;
		job->count++;
		job->pending++;
		ask->job = job;
		ask->gate = &root->gates[i];
		ask->msg.fn = census_on_gate;
		thread_post(thread_by_index(i), &ask->msg);
	}
	return job;
}

bool co_root_census(struct root *root, struct census *census)
{
	struct census_job *job = census_begin(root);

	memset(census, 0, sizeof(*census));
	if (!co_wait_event(&job->over, CENSUS_NS)) {
		job->abandoned = true;
		return false;
	}
	for (unsigned i = 0; i < job->count; i++)
		census_add(census, &job->asks[i].found);
	free(job);
	return true;
}
