/* SPDX-License-Identifier: MIT */
/*
 * root.c - roots: their life (main thread) and their gates (each gate on its
 * thread).
 *
 * A gate lets a request in only when it is open and nobody waits before it. It
 * closes and opens by messages of the main thread (drain.c), and answers when
 * nothing is counted any more. Root lists belong to the main thread.
 */
#include "graph/root.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/drain.h"
#include "graph/gate.h"
#include "graph/resolve.h"
#include "graph/transaction.h"
#include "runtime/co.h"

/* Requests that a gate lets in in one turn of its thread's loop. */
#define GATE_BATCH 64u

static struct root *roots;

static void op_count(const struct op_counts *from, struct op_counts *sum)
{
	sum->ok += __atomic_load_n(&from->ok, __ATOMIC_RELAXED);
	sum->failed += __atomic_load_n(&from->failed, __ATOMIC_RELAXED);
	sum->bytes += __atomic_load_n(&from->bytes, __ATOMIC_RELAXED);
	sum->ns += __atomic_load_n(&from->ns, __ATOMIC_RELAXED);
}

void root_count(const struct root *root, struct root_counts *sum)
{
	for (unsigned i = 0; i < THREADS_MAX; i++) {
		const struct root_counts *from;

		if (!(root->threads >> i & 1))
			continue;
		from = &root->gates[i].counts;
		for (unsigned op = 0; op < REQ_OPS; op++)
			op_count(&from->ops[op], &sum->ops[op]);
		sum->highest = max(sum->highest,
			__atomic_load_n(&from->highest, __ATOMIC_RELAXED));
	}
}

struct root *root_first(void)
{
	return roots;
}

/* ---- gates: the gate's thread ---- */

static void gate_update(struct root_gate *gate)
{
	gate->blocked = gate->closed || gate->first;
	gate->heeds = gate->answer_drain || gate->epochs.steps;
}

void gate_fell(struct root_gate *gate)
{
	grace_turn(&gate->epochs);
	if (gate->answer_drain && gate_count(gate) == 0 &&
	    !gate->more_posted) {
		gate->answer_drain = false;
		/* a root without a gate: what was under way has ended, and
		 * until the undrain nothing begins (R38) */
		gate->closed = true;
		gate->drained_ns = clock_ns();
		thread_post(thread_by_index(MAIN_THREAD), &gate->drained);
	}
	gate_update(gate);
}

void gate_append(struct root_gate *gate, struct request *req)
{
	req->returned = false;
	req->next = NULL;
	*gate->last = req;
	gate->last = &req->next;
	gate->queued++;
	gate_update(gate);
}

void gate_return(struct root_gate *gate, struct request *req)
{
	struct request **at = &gate->first;
	unsigned parity = req->parity;

	gate_unlist(gate, req);
	req->returned = true;
	/* that node may go while it is queued */
	req->end = NULL;
	while (*at && (*at)->returned && (int32_t)((*at)->turn - req->turn) < 0)
		at = &(*at)->next;
	req->next = *at;
	if (!*at)
		gate->last = &req->next;
	*at = req;
	gate->queued++;
	gate_update(gate);
	gate_leave(gate, parity);
}

/*
 * A request that ends at once lets its sender send the next one, which joins
 * the queue: so only some of it in one turn of the loop (A42).
 */
void gate_run(struct root_gate *gate)
{
	unsigned left = GATE_BATCH;

	if (gate->running || gate->more_posted)
		return;
	gate->running = true;
	while (gate->first && !gate->closed && !gate->short_of_stacks) {
		struct request *req = gate->first;

		if (!left--) {
			gate->more_posted = true;
			thread_post(thread_self(), &gate->more);
			break;
		}
		gate->first = req->next;
		if (!gate->first)
			gate->last = &gate->first;
		gate->queued--;
		gate_enter(gate, req);
		if (req->returned)
			request_go_on(req);
		else
			request_begin(req);
	}
	gate->running = false;
	gate_update(gate);
}

static void gate_on_more(struct message *msg)
{
	struct root_gate *gate = container_of(msg, struct root_gate, more);

	gate->more_posted = false;
	gate_run(gate);
	gate_fell(gate);
}

static void gate_on_close(struct message *msg)
{
	struct root_gate *gate = container_of(msg, struct root_gate, close);

	/* others go on until nothing of theirs is under way (R19) */
	gate->closed = gate->root->ops->gated;
	gate->closed_ns = clock_ns();
	gate->at_close = gate_count(gate);
	gate->answer_drain = true;
	wait_on_close(gate);
	gate_fell(gate);
}

struct open_waiter {
	struct co *co;
	struct open_waiter *next;
};

static void open_wake(struct root_gate *gate)
{
	struct open_waiter *w = gate->open_waiters, *next;

	gate->open_waiters = NULL;
	for (; w; w = next) {
		next = w->next;
		co_wake(w->co);
	}
}

/* Also takes a close back that could not be answered. */
static void gate_on_open(struct message *msg)
{
	struct root_gate *gate = container_of(msg, struct root_gate, open);
	const struct request *oldest = gate->flying;

	gate->closed = false;
	gate->answer_drain = false;
	gate->opened_ns = clock_ns();
	gate->left = gate_count(gate);
	gate->oldest_ns = oldest ? oldest->start_ns : 0;
	gate->oldest_node = oldest ? oldest->end : NULL;
	gate_update(gate);
	open_wake(gate);
	gate_run(gate);
	/* last: the root may be freed as soon as main has read it */
	thread_post(thread_by_index(MAIN_THREAD), &gate->opened);
}

static void gate_init(struct root_gate *gate, struct root *root, unsigned index)
{
	gate->root = root;
	gate->index = index;
	gate->last = &gate->first;
	gate->close.fn = gate_on_close;
	gate->open.fn = gate_on_open;
	gate->more.fn = gate_on_more;
	gate->drained.fn = drain_on_drained;
	gate->opened.fn = drain_on_opened;
}

void co_root_busy(struct root *root)
{
	struct root_gate *gate = root_gate_self(root);

	while (gate->closed) {
		struct open_waiter w = { co_self(), gate->open_waiters };

		gate->open_waiters = &w;
		co_wait();
	}
	gate->busy++;
}

void root_busy(struct root *root)
{
	struct root_gate *gate = root_gate_self(root);

	assert(!gate->closed && !gate->answer_drain);
	gate->busy++;
}

void root_idle(struct root *root)
{
	struct root_gate *gate = root_gate_self(root);

	assert(gate->busy > 0);
	if (--gate->busy == 0 && gate->heeds)
		gate_fell(gate);
}

/* ---- life: the main thread ---- */

static struct root *root_alloc(const struct root_ops *ops, const char *name,
			       uint64_t threads)
{
	struct root *root = calloc(1, sizeof(*root));
	size_t size = thread_count() * sizeof(struct root_gate);

	if (!root)
		abort();
	root->gates = aligned_alloc(_Alignof(struct root_gate), size);
	root->name = strdup(name);
	if (!root->gates || !root->name)
		abort();
	memset(root->gates, 0, size);
	root->ops = ops;
	root->threads = threads;
	for (unsigned i = 0; i < thread_count(); i++)
		gate_init(&root->gates[i], root, i);
	root->edge.name = "root";
	root->edge.root = root;
	root->edge.role = ROLE_DATA | ROLE_PRIMARY;
	return root;
}

static void root_dealloc(struct root *root)
{
	assert(!root->edge.child);
	free(root->gates);
	free(root->name);
	free(root);
}

void root_set_writable(struct root *root, unsigned perm)
{
	root->writable = perm & (PERM_WRITE | PERM_WRITE_UNCHANGED);
}

struct root *root_new(const struct root_ops *ops, void *owner,
		      const char *name, struct node *node, unsigned perm,
		      unsigned shared, uint32_t granularity, uint64_t threads,
		      struct error **err)
{
	struct root *root = root_alloc(ops, name, threads);
	struct transaction *t;
	int ret;

	assert(thread_is_main() && is_pow2(granularity));
	assert(threads && threads >> (thread_count() - 1) >> 1 == 0);
	root->owner = owner;
	root->granularity = granularity;
	root_set_writable(root, perm);
	root->edge.perm = root->edge.new_perm = perm;
	root->edge.shared = root->edge.new_shared = shared;
	node_get(node, "root");
	t = transaction_begin();
	transaction_move(t, &root->edge, node);
	ret = transaction_commit(t, NULL, err);
	node_put(node, "root");
	if (ret < 0) {
		root_dealloc(root);
		return NULL;
	}
	root->next = roots;
	roots = root;
	return root;
}

struct root *root_new_own(const struct root_ops *ops, void *owner,
			  const char *name, struct node *node,
			  uint64_t threads)
{
	struct root *root = root_alloc(ops, name, threads);

	root->owner = owner;
	root->granularity = 1;
	/* linked nowhere: its edge is only where it begins */
	root->edge.child = root->edge.target = node;
	return root;
}

void root_free_own(struct root *root)
{
	root->edge.child = NULL;
	root_dealloc(root);
}

static int root_detach(struct root *root, struct close_wait *wait)
{
	struct transaction *t = transaction_begin();

	/* others may move it until here */
	close_wait_add(wait, root->edge.child);
	transaction_set_loosening(t);
	transaction_move(t, &root->edge, NULL);
	return transaction_commit(t, NULL, NULL);
}

/*
 * The owner has heard of its last request's end perhaps before the thread that
 * sent it has dropped the count; the drain's answer comes after that.
 */
static void co_root_free(struct root *root, struct close_wait *wait)
{
	struct root **at;

	assert(thread_is_main());
	/* should requests be in flight all the same, what they use must stay;
	 * between the deadlines others get the change lock */
	while (root_detach(root, wait) == -ETIMEDOUT)
		;
	assert(!root->edge.child);
	for (at = &roots; *at != root; at = &(*at)->next)
		;
	*at = root->next;
	for (unsigned i = 0; i < thread_count(); i++)
		assert(!root->gates[i].first && !gate_count(&root->gates[i]));
	root_dealloc(root);
}

void root_free(struct root *root)
{
	struct close_wait wait = { .links = NULL };
	struct error *ignored CLEANUP_ERROR = NULL;

	co_root_free(root, &wait);
	(void)!co_close_wait(&wait, false, &ignored);
}

int co_root_end(struct root *root, struct error **err)
{
	struct close_wait wait = { .links = NULL };

	co_root_free(root, &wait);
	return co_close_wait(&wait, true, err);
}
