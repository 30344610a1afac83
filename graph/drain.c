/* SPDX-License-Identifier: MIT */
/*
 * drain.c - closing gates, waiting, and opening them again (A14-A17).
 *
 * Main thread; gates are asked and answer by messages (root.c). Each close is
 * answered at most once and each open exactly once, in this order, so that
 * after the open's answer nothing of the drain is under way in that gate.
 */
#include "graph/drain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/co.h"

static uint64_t drain_deadline_ns;

/* Opens and closes of nodes that wait for the drain under way to end. */
struct busy_waiter {
	struct co *co;
	struct busy_waiter *next;
};

static struct busy_waiter *busy_waiters;

void drain_set_deadline(uint64_t ns)
{
	drain_deadline_ns = ns;
}

uint64_t drain_get_deadline(void)
{
	return drain_deadline_ns;
}

static void *grow(void *list, unsigned *room, size_t size)
{
	*room = *room ? 2 * *room : 16;
	list = realloc(list, *room * size);
	if (!list)
		abort();
	return list;
}

static void drain_list_root(struct drain *drain, struct root *root)
{
	if (drain->root_count == drain->root_room)
		drain->roots = grow(drain->roots, &drain->root_room,
				    sizeof(*drain->roots));
	drain->roots[drain->root_count++] = root;
}

static void drain_done_one(struct drain *drain)
{
	struct co *waiter = drain->waiter;

	drain->pending--;
	if (drain->pending || !waiter)
		return;
	drain->waiter = NULL;
	co_wake(waiter);
}

struct busy_wait {
	struct idle_waiter waiter;
	struct drain *drain;
	struct node *node;
	struct busy_wait *next;
};

static void drain_on_walk_root(struct walk *walk, struct root *root)
{
	struct drain *drain = container_of(walk, struct drain, walk);

	drain_list_root(drain, root);
}

static void drain_on_idle(struct idle_waiter *waiter)
{
	struct busy_wait *busy = container_of(waiter, struct busy_wait,
					      waiter);

	busy->node = NULL;
	drain_done_one(busy->drain);
}

void co_node_busy(struct node *node)
{
	while (node->drained) {
		struct busy_waiter w = { co_self(), busy_waiters };

		busy_waiters = &w;
		co_wait();
	}
	node->busy++;
}

void node_idle(struct node *node)
{
	struct idle_waiter *w;

	assert(node->busy > 0);
	if (--node->busy)
		return;
	while ((w = node->waiters)) {
		node->waiters = w->next;
		w->idle(w);
	}
}

/* A node that is being opened or closed does I/O of its own below it: what has
 * begun is waited for, what has not waits for the undrain. */
static void drain_on_walk_node(struct walk *walk, struct node *node)
{
	struct drain *drain = container_of(walk, struct drain, walk);
	struct busy_wait *busy;

	node->drained = true;
	node->next_drained = drain->covered;
	drain->covered = node;
	if (!node->busy)
		return;
	busy = calloc(1, sizeof(*busy));
	if (!busy)
		abort();
	busy->drain = drain;
	busy->node = node;
	busy->waiter.idle = drain_on_idle;
	busy->waiter.next = node->waiters;
	node->waiters = &busy->waiter;
	busy->next = drain->busy;
	drain->busy = busy;
	drain->pending++;
}

void drain_init(struct drain *drain)
{
	memset(drain, 0, sizeof(*drain));
	drain->walk.root = drain_on_walk_root;
	drain->walk.node = drain_on_walk_node;
	walk_begin(&drain->walk);
}

void drain_add_node(struct drain *drain, struct node *node)
{
	if (drain->node_count == drain->node_room)
		drain->nodes = grow(drain->nodes, &drain->node_room,
				    sizeof(*drain->nodes));
	drain->nodes[drain->node_count++] = node;
}

void drain_add_root(struct drain *drain, struct root *root)
{
	walk_root(&drain->walk, root);
}

/* ---- messages ---- */

void drain_on_drained(struct message *msg)
{
	struct root_gate *gate = container_of(msg, struct root_gate, drained);

	assert(gate->awaited);
	gate->awaited = false;
	drain_done_one(gate->drain);
}

void drain_on_opened(struct message *msg)
{
	struct root_gate *gate = container_of(msg, struct root_gate, opened);
	struct drain *drain = gate->drain;

	drain->opening--;
	if (drain->opening || !drain->waiter)
		return;
	co_wake(drain->waiter);
	drain->waiter = NULL;
}

static void drain_close_root(struct drain *drain, struct root *root)
{
	for (unsigned i = 0; i < thread_count(); i++) {
		struct root_gate *gate = &root->gates[i];

		if (!(root->threads >> i & 1))
			continue;
		assert(!gate->awaited);
		gate->drain = drain;
		gate->awaited = true;
		drain->pending++;
		thread_post(thread_by_index(i), &gate->close);
	}
}

static void drain_open_root(struct drain *drain, struct root *root)
{
	for (unsigned i = 0; i < thread_count(); i++) {
		if (!(root->threads >> i & 1))
			continue;
		drain->opening++;
		thread_post(thread_by_index(i), &root->gates[i].open);
	}
}

/* ---- waiting ---- */

static void drain_expire(struct timer *timer)
{
	struct drain *drain = container_of(timer, struct drain, timer);
	struct co *waiter = drain->waiter;

	drain->expired = true;
	if (!waiter)
		return;
	drain->waiter = NULL;
	co_wake(waiter);
}

static void co_drain_wait(struct drain *drain)
{
	timer_start(&drain->timer, drain_deadline_ns, drain_expire);
	while (drain->pending && !drain->expired) {
		drain->waiter = co_self();
		co_wait();
	}
	timer_stop(&drain->timer);
	/* all answered is in time, however late the answers were read */
	drain->expired = drain->pending != 0;
}

static void drain_forget_busy(struct drain *drain)
{
	struct busy_wait *busy;

	while ((busy = drain->busy)) {
		struct idle_waiter **at;

		drain->busy = busy->next;
		if (busy->node) {
			at = &busy->node->waiters;
			while (*at != &busy->waiter)
				at = &(*at)->next;
			*at = busy->waiter.next;
		}
		free(busy);
	}
}

/* ---- reports ---- */

static void root_gate_times(const struct root *root, uint64_t *pause,
			    uint64_t *in_flight)
{
	uint64_t closed = UINT64_MAX, opened = 0;

	*in_flight = 0;
	for (unsigned i = 0; i < thread_count(); i++) {
		const struct root_gate *gate = &root->gates[i];

		if (!(root->threads >> i & 1))
			continue;
		closed = min(closed, gate->closed_ns);
		opened = max(opened, gate->opened_ns);
		*in_flight += gate->at_close;
	}
	*pause = opened > closed ? opened - closed : 0;
}
/* Of all gates of a drain: the last that was empty, the last that opened. */
static void root_gate_ends(const struct root *root, uint64_t *drained,
			   uint64_t *opened)
{
	for (unsigned i = 0; root->ops->gated && i < thread_count(); i++) {
		const struct root_gate *gate = &root->gates[i];

		if (!(root->threads >> i & 1))
			continue;
		*drained = max(*drained, gate->drained_ns);
		*opened = max(*opened, gate->opened_ns);
	}
}

static void drain_count(struct drain_stats *d, uint64_t pause,
			uint64_t in_flight)
{
	d->count++;
	d->last_ns = pause;
	d->max_ns = max(d->max_ns, pause);
	d->total_ns += pause;
	d->last_in_flight = in_flight;
	d->total_in_flight += in_flight;
	d->histogram[pause ? 63 - __builtin_clzll(pause) : 0]++;
}

static void drain_account(struct root *root, enum drain_kind kind,
			  struct change_stats *stats)
{
	uint64_t pause, in_flight;

	if (!root->ops->gated)
		return;
	root_gate_times(root, &pause, &in_flight);
	drain_count(&root->drains, pause, in_flight);
	drain_count(&root->drains_by[kind], pause, in_flight);
	if (!stats)
		return;
	stats->pause_ns = max(stats->pause_ns, pause);
	stats->in_flight += in_flight;
}

/* The oldest request that was still under way when the gates were opened. */
static struct root_gate *drain_find_oldest(struct drain *drain)
{
	struct root_gate *oldest = NULL;

	for (unsigned r = 0; r < drain->root_count; r++) {
		struct root *root = drain->roots[r];

		for (unsigned i = 0; i < thread_count(); i++) {
			struct root_gate *gate = &root->gates[i];

			if (!(root->threads >> i & 1) || !gate->left)
				continue;
			if (!oldest || (gate->oldest_ns &&
					gate->oldest_ns < oldest->oldest_ns))
				oldest = gate;
		}
	}
	return oldest;
}

static int drain_report_late(struct drain *drain, const char *busy,
			     struct error **err)
{
	struct root_gate *gate = drain_find_oldest(drain);
	uint64_t seconds = drain_deadline_ns / 1000000000;
	uint64_t tenths = drain_deadline_ns / 100000000 % 10;
	const struct node *node;
	uint64_t age;

	if (!gate)
		return error_set(err, ETIMEDOUT, "Draining node '%s' took"
			" longer than %" PRIu64 ".%" PRIu64 " s: node '%s' is"
			" still being opened, closed or flushed",
			drain_subject(drain), seconds, tenths, busy);
	age = gate->oldest_ns ? (gate->opened_ns - gate->oldest_ns) / 100000000
			      : 0;
	node = gate->oldest_node ? gate->oldest_node : gate->root->edge.child;
	return error_set(err, ETIMEDOUT, "Draining node '%s' took longer than"
		" %" PRIu64 ".%" PRIu64 " s: %s has %u requests in flight, the"
		" oldest for %" PRIu64 ".%" PRIu64 " s at node '%s'",
		drain_subject(drain), seconds, tenths, gate->root->name,
		gate->left, age / 10, age % 10, node->name);
}

/* ---- begin, join, end ---- */

static void co_drain_open(struct drain *drain)
{
	for (unsigned r = 0; r < drain->root_count; r++)
		drain_open_root(drain, drain->roots[r]);
	while (drain->opening) {
		drain->waiter = co_self();
		co_wait();
	}
	/* a close that was not answered before the open never will be */
	for (unsigned r = 0; r < drain->root_count; r++)
		for (unsigned i = 0; i < thread_count(); i++)
			drain->roots[r]->gates[i].awaited = false;
}

static void drain_uncover(struct drain *drain)
{
	struct busy_waiter *w = busy_waiters, *next;
	struct node *node;

	while ((node = drain->covered)) {
		drain->covered = node->next_drained;
		node->drained = false;
	}
	busy_waiters = NULL;
	for (; w; w = next) {
		next = w->next;
		co_wake(w->co);
	}
}

static void drain_free(struct drain *drain)
{
	drain_forget_busy(drain);
	drain_set_stuck(drain, NULL);
	free(drain->roots);
	free(drain->nodes);
	drain->roots = NULL;
	drain->nodes = NULL;
}

static void drain_finish(struct drain *drain, struct change_stats *stats)
{
	uint64_t drained = 0, opened = 0;

	drain_uncover(drain);
	wait_drain_main(false);
	co_drain_open(drain);
	for (unsigned r = 0; r < drain->root_count; r++) {
		struct root *root = drain->roots[r];

		drain_account(root, drain->kind, stats);
		root_gate_ends(root, &drained, &opened);
		if (root->quiesced && root->ops->resume)
			root->ops->resume(root);
		root->quiesced = false;
	}
	if (stats && opened > drained)
		stats->switch_ns = max(stats->switch_ns, opened - drained);
}

static int drain_give_up(struct drain *drain, struct error **err)
{
	char busy[NODE_NAME_MAX + 1] = "";
	int ret;

	for (struct busy_wait *b = drain->busy; b; b = b->next)
		if (b->node)
			memcpy(busy, b->node->name, sizeof(busy));
	drain_forget_busy(drain);
	drain_finish(drain, NULL);
	ret = drain_report_late(drain, busy, err);
	drain_free(drain);
	return ret;
}

int drain_begin(struct drain *drain, struct error **err)
{
	wait_drain_main(true);
	for (unsigned i = 0; i < drain->node_count; i++)
		walk_up(&drain->walk, drain->nodes[i]);
	for (unsigned r = 0; r < drain->root_count; r++) {
		struct root *root = drain->roots[r];

		/* a root that is let go of has nobody to stop any more */
		if (root->ops->quiesce && root->edge.target) {
			root->quiesced = true;
			root->ops->quiesce(root);
		}
		drain_close_root(drain, root);
	}
	co_drain_wait(drain);
	if (drain->expired)
		return drain_give_up(drain, err);
	for (unsigned i = 0; i < drain->node_count; i++)
		node_assert_idle(drain->nodes[i]);
	return 0;
}

void drain_set_stuck(struct drain *drain, const char *why)
{
	char *old = drain->stuck;

	drain->stuck = why ? strdup(why) : NULL;
	if (why && !drain->stuck)
		abort();
	for (unsigned r = 0; r < drain->root_count; r++)
		drain->roots[r]->stuck = drain->stuck;
	free(old);
}

const char *drain_subject(const struct drain *drain)
{
	if (drain->node_count)
		return drain->nodes[0]->name;
	return drain->root_count && drain->roots[0]->edge.child ?
	       drain->roots[0]->edge.child->name : "?";
}

bool drain_covers(const struct drain *drain, const struct node *node)
{
	for (unsigned i = 0; i < drain->node_count; i++)
		if (drain->nodes[i] == node)
			return true;
	return false;
}

/*
 * A root that was in use is in the list already. Nobody has seen a new one, so
 * its gates are still the main thread's to close.
 */
void drain_join(struct drain *drain, struct root *root)
{
	for (unsigned r = 0; r < drain->root_count; r++)
		if (drain->roots[r] == root)
			return;
	drain_list_root(drain, root);
	for (unsigned i = 0; i < thread_count(); i++) {
		struct root_gate *gate = &root->gates[i];

		gate->drain = drain;
		gate->closed = gate->blocked = true;
		gate->closed_ns = gate->drained_ns = clock_ns();
	}
}

void drain_end(struct drain *drain, struct change_stats *stats)
{
	drain_finish(drain, stats);
	drain_free(drain);
}
