/* SPDX-License-Identifier: MIT */
/*
 * transaction.c - changes of the graph's shape, all or nothing (A18, A19).
 *
 * Main thread, under the change lock from begin to the end of the drain. A
 * prepared edge differs from a finished one only in edge->target; lists and
 * edge->child, which I/O threads read, change in the commit alone, so undoing
 * means forgetting targets, and there are no slots to restore.
 */
#include "graph/transaction.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/drain.h"
#include "graph/edge.h"
#include "graph/limits.h"
#include "graph/permission.h"
#include "graph/reopen.h"
#include "graph/span.h"
#include "runtime/co.h"

struct hook {
	void (*fn)(void *arg);
	void *arg;
	struct hook *next;
};

/* What is said of a node and is not its links. */
struct word {
	struct node *node;
	enum { WORD_GIVEN, WORD_BY_HEADER, WORD_LET_GO } what;
	struct word *next;
};

/* A link that the transaction has frozen. */
struct freeze {
	struct edge *edge;
	struct freeze *next;
};

struct transaction {
	struct edge **edges;	/* that change, in the order of the steps */
	unsigned count, room;
	struct node_list touched, refreshed;
	struct node_list resized;
	struct reopen *reopens;
	struct root *allowed;	/* whose permissions change, to these */
	unsigned allowed_perm;
	struct freeze *freezes;
	struct word *words;	/* the last one first */
	struct node_list order;	/* permissions: parents before children */
	struct node_list above;	/* limits: also everything above those */
	struct hook *hooks, **last_hook;
	struct error *failed;
	const struct decision *decision;
	void *decision_arg;
	bool announces;		/* its record is made before the drain */
	struct timer late;	/* of the decision */
	struct drain drain;
	bool loosening;
	enum drain_kind kind;
};

static struct transaction *current;	/* that has the change lock */
static const struct transaction *announced;
static int (*recorder)(bool decides, struct error **err);
static struct co_mutex change_lock;
static bool change_lock_ready;

/* ---- steps ---- */

struct transaction *transaction_begin(void)
{
	struct transaction *t = calloc(1, sizeof(*t));

	assert(thread_is_main() && co_self());
	if (!t)
		abort();
	if (!change_lock_ready) {
		co_mutex_init(&change_lock);
		change_lock_ready = true;
	}
	t->last_hook = &t->hooks;
	t->touched.owner = t->refreshed.owner = "transaction";
	t->order.owner = t->above.owner = "transaction";
	t->resized.owner = "transaction";
	co_lock(&change_lock);
	current = t;
	return t;
}

void transaction_move(struct transaction *t, struct edge *edge,
		      struct node *to)
{
	if (edge->frozen_by && to != edge->child && !t->failed)
		error_set(&t->failed, EBUSY, "Cannot change '%s' link from"
			  " '%s' to '%s': it is used by %s", edge->name,
			  edge->parent->name, edge->child->name,
			  edge->frozen_by);
	edge->target = to;
	if (edge->changing)
		return;
	edge->changing = true;
	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 8;
		t->edges = realloc(t->edges, t->room * sizeof(*t->edges));
		if (!t->edges)
			abort();
	}
	t->edges[t->count++] = edge;
}

void transaction_freeze(struct transaction *t, struct edge *edge,
			const char *by)
{
	struct freeze *freeze;

	assert(edge->parent && edge->target);
	if (t->failed)
		return;
	if (edge->frozen_by) {
		error_set(&t->failed, EBUSY, "The '%s' link from '%s' to '%s'"
			  " is used by %s already", edge->name,
			  edge->parent->name, edge->target->name,
			  edge->frozen_by);
		return;
	}
	if (!node_may_be_child(edge->parent)) {
		error_set(&t->failed, ENOENT, "Node '%s' has been deleted"
			  " meanwhile", edge->parent->name);
		return;
	}
	freeze = calloc(1, sizeof(*freeze));
	if (!freeze)
		abort();
	/* at once: nobody may take its parent away while the commit waits */
	edge_freeze(edge, by);
	freeze->edge = edge;
	freeze->next = t->freezes;
	t->freezes = freeze;
}

struct edge *transaction_attach(struct transaction *t, struct node *parent,
				const char *name, unsigned role,
				struct node *child)
{
	struct edge *edge = edge_new(parent, name, role);

	transaction_move(t, edge, child);
	return edge;
}

/* Whether `node` is at or below `top` in the prepared shape. */
static bool is_below(const struct transaction *t, struct node *top,
		     const struct node *node, uint32_t stamp)
{
	struct edge *e;

	if (top == node)
		return true;
	if (top->mark == stamp)
		return false;
	top->mark = stamp;
	for (e = transaction_first_child(t, top); e;
	     e = transaction_next_child(t, top, e))
		if (is_below(t, e->target, node, stamp))
			return true;
	return false;
}

unsigned transaction_move_parents(struct transaction *t, struct node *from,
				  struct node *to)
{
	struct edge *e, *next;
	unsigned moved = 0;

	for (e = transaction_first_parent(t, from); e; e = next) {
		struct walk walk;

		next = transaction_next_parent(t, from, e);
		walk_begin(&walk);
		if (e->parent ? is_below(t, to, e->parent, walk.stamp) :
				e->root->ops->stays)
			continue;
		transaction_move(t, e, to);
		moved++;
	}
	return moved;
}

void transaction_touch(struct transaction *t, struct node *node)
{
	node_list_add(&t->touched, node);
}

void transaction_resize(struct transaction *t, struct node *node,
			uint64_t size)
{
	node->new_size = size;
	node->has_new_size = true;
	node_list_add(&t->resized, node);
	transaction_touch(t, node);
}

void transaction_allow(struct transaction *t, struct root *root, unsigned perm)
{
	assert(!t->allowed);
	t->allowed = root;
	t->allowed_perm = perm;
	transaction_touch(t, root->edge.child);
}

unsigned transaction_perm(const struct transaction *t, const struct edge *e)
{
	return t && t->allowed && e == &t->allowed->edge ? t->allowed_perm :
		e->perm;
}

void transaction_refresh(struct transaction *t, struct node *node)
{
	node_list_add(&t->refreshed, node);
}

static void say(struct transaction *t, struct node *node, int what)
{
	struct word *word = calloc(1, sizeof(*word));

	if (!word)
		abort();
	word->node = node;
	word->what = what;
	word->next = t->words;
	t->words = word;
}

void transaction_set_given(struct transaction *t, struct node *node,
			   bool given)
{
	say(t, node, given ? WORD_GIVEN : WORD_BY_HEADER);
}

void transaction_let_go(struct transaction *t, struct node *node)
{
	say(t, node, WORD_LET_GO);
}

bool transaction_backing_given(const struct transaction *t,
			       const struct node *node)
{
	const struct word *word = t ? t->words : NULL;

	while (word && (word->node != node || word->what == WORD_LET_GO))
		word = word->next;
	return word ? word->what == WORD_GIVEN : node->backing_given;
}

bool transaction_holds(const struct transaction *t, const struct node *node)
{
	const struct word *word = t ? t->words : NULL;

	while (word && (word->node != node || word->what != WORD_LET_GO))
		word = word->next;
	return node->held && !word;
}

void transaction_on_commit(struct transaction *t, void (*fn)(void *arg),
			   void *arg)
{
	struct hook *hook = calloc(1, sizeof(*hook));

	if (!hook)
		abort();
	hook->fn = fn;
	hook->arg = arg;
	*t->last_hook = hook;
	t->last_hook = &hook->next;
}

void transaction_set_decision(struct transaction *t,
			      const struct decision *decision, void *arg)
{
	assert(!t->decision);
	t->decision = decision;
	t->decision_arg = arg;
}

void transaction_set_recorder(int (*fn)(bool decides, struct error **err))
{
	recorder = fn;
}

const struct transaction *transaction_announced(void)
{
	return announced;
}

/* One that failed may be the durable one until the next that does not. */
static int record_take(void *arg, struct error **err)
{
	announced = arg;
	return recorder(true, err) == 0 ? 0 : DECISION_UNKNOWN;
}

static int record_settle(void *arg, struct error **err)
{
	(void)arg;
	announced = NULL;
	return recorder(true, err);
}

static const struct decision record_decision = { record_take, record_settle };

void transaction_announce(struct transaction *t, bool decides)
{
	if (!recorder)
		return;
	t->announces |= !decides;
	if (decides && !t->decision)
		transaction_set_decision(t, &record_decision, t);
}

static int announce(struct transaction *t, struct error **err)
{
	if (!t->announces || t->decision)
		return 0;
	announced = t;
	return recorder(false, err);
}

void transaction_fail(struct transaction *t, struct error *err)
{
	if (t->failed)
		error_clear(&err);
	else
		t->failed = err;
}

void transaction_set_kind(struct transaction *t, enum drain_kind kind)
{
	t->kind = t->kind == DRAIN_FOR_OTHER || t->kind == kind ? kind :
		DRAIN_FOR_SEVERAL;
}

void transaction_set_loosening(struct transaction *t)
{
	t->loosening = true;
}

static bool is_same_image(struct node *a, struct node *b)
{
	return a && b && node_skip_filters(a) == node_skip_filters(b);
}

void transaction_exchange(struct transaction *t, struct edge *edge,
			  struct node *to)
{
	if (!is_same_image(edge->child, to))
		transaction_announce(t, true);
	if (edge->role & ROLE_COW)
		transaction_set_given(t, edge->parent, true);
	transaction_move(t, edge, to);
}

static void reopen_child_step(struct transaction *t, struct node *node,
			      const struct reopen_child *c)
{
	struct edge *e = node->children;

	while (e && strcmp(e->name, c->name))
		e = e->next_child;
	if (!e && !c->to)
		return;
	if (!e)
		e = edge_new(node, c->name, c->role);
	transaction_exchange(t, e, c->to);
}

void transaction_reopen(struct transaction *t, struct reopen *r)
{
	assert(r->prepared);
	r->node->reopen = r;
	r->next_step = t->reopens;
	t->reopens = r;
	transaction_touch(t, r->node);
	for (const struct reopen_child *c = r->children; c; c = c->next)
		reopen_child_step(t, r->node, c);
}

/* ---- the prepared shape ---- */

/* Edges that I/O does not see in the list yet come from the steps. */
static struct edge *new_child(const struct transaction *t,
			      const struct node *node, unsigned from)
{
	for (unsigned i = from; t && i < t->count; i++) {
		struct edge *e = t->edges[i];

		if (e->parent == node && !e->child && e->target)
			return e;
	}
	return NULL;
}

static unsigned index_after(const struct transaction *t,
			    const struct edge *edge)
{
	unsigned i = 0;

	while (t->edges[i] != edge)
		i++;
	return i + 1;
}

static struct edge *kept_child(struct edge *e)
{
	while (e && !e->target)
		e = e->next_child;
	return e;
}

struct edge *transaction_first_child(const struct transaction *t,
				     const struct node *node)
{
	struct edge *e = kept_child(node->children);

	return e ? e : new_child(t, node, 0);
}

struct edge *transaction_next_child(const struct transaction *t,
				    const struct node *node,
				    const struct edge *edge)
{
	struct edge *e;

	if (!edge->child)
		return new_child(t, node, index_after(t, edge));
	e = kept_child(edge->next_child);
	return e ? e : new_child(t, node, 0);
}

static struct edge *new_parent(const struct transaction *t,
			       const struct node *node, unsigned from)
{
	for (unsigned i = from; t && i < t->count; i++) {
		struct edge *e = t->edges[i];

		if (e->target == node && e->child != node)
			return e;
	}
	return NULL;
}

static struct edge *kept_parent(struct edge *e, const struct node *node)
{
	while (e && e->target != node)
		e = e->next_parent;
	return e;
}

struct edge *transaction_first_parent(const struct transaction *t,
				      const struct node *node)
{
	struct edge *e = kept_parent(node->parents, node);

	return e ? e : new_parent(t, node, 0);
}

struct edge *transaction_next_parent(const struct transaction *t,
				     const struct node *node,
				     const struct edge *edge)
{
	struct edge *e;

	if (edge->child != node)
		return new_parent(t, node, index_after(t, edge));
	e = kept_parent(edge->next_parent, node);
	return e ? e : new_parent(t, node, 0);
}

bool transaction_keeps(const struct transaction *t, const struct node *node)
{
	struct edge *e = t ? transaction_first_parent(t, node) : NULL;

	if (!t || transaction_holds(t, node))
		return true;
	/* one that is being opened has neither yet */
	if (!e)
		return !node->held && !node->parents;
	for (; e; e = transaction_next_parent(t, node, e))
		if (e->root || transaction_keeps(t, e->parent))
			return true;
	return false;
}

/* ---- checking ---- */

/* Edges from top to bottom: a chain of images, and filters among them. Walks
 * recurse, so this is what a coroutine's stack must bear. */
#define DEPTH_MAX (NODE_CHAIN_MAX + 56)
/* Ways from top to bottom through a node: a flush goes all of them. */
#define WAYS_MAX 65536u

/*
 * Depth first over the prepared shape, children listed before parents; the
 * marks of unfinished nodes find cycles.
 */
struct sort {
	const struct transaction *t;
	struct node_list *done;
	uint32_t open, closed;
	struct error **err;
};

static int too_deep(const struct node *node, struct error **err)
{
	return error_set(err, ELOOP,
			 "The chain at node '%s' is deeper than %d nodes",
			 node->name, DEPTH_MAX);
}

static int sort_down(struct sort *s, struct node *node, unsigned depth);

static int sort_child(struct sort *s, const struct edge *e, unsigned depth)
{
	if (e->target->mark == s->open)
		return error_set(s->err, EINVAL, "Making '%s' a %s child of"
				 " '%s' would create a cycle", e->target->name,
				 e->name, e->parent->name);
	return sort_down(s, e->target, depth);
}

static int sort_down(struct sort *s, struct node *node, unsigned depth)
{
	struct edge *e;
	int ret;

	if (node->mark == s->closed)
		return 0;
	if (depth > 2 * DEPTH_MAX)
		return too_deep(node, s->err);
	node->mark = s->open;
	node->below = node->ways_below = 0;
	for (e = transaction_first_child(s->t, node); e;
	     e = transaction_next_child(s->t, node, e)) {
		ret = sort_child(s, e, depth + 1);
		if (ret < 0)
			return ret;
		node->below = max(node->below, e->target->below + 1);
		node->ways_below = min(node->ways_below +
				       e->target->ways_below, WAYS_MAX + 1);
	}
	node->ways_below = max(node->ways_below, 1u);
	node->mark = s->closed;
	node_list_add(s->done, node);
	return 0;
}

/* Edges above; there is no cycle any more. */
static unsigned depth_above(const struct transaction *t, struct node *node,
			    uint32_t stamp)
{
	struct edge *e;

	if (node->mark == stamp)
		return node->above;
	node->mark = stamp;
	node->above = node->ways_above = 0;
	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e)) {
		if (!e->parent)
			continue;
		node->above = max(node->above,
				  depth_above(t, e->parent, stamp) + 1);
		node->ways_above = min(node->ways_above +
				       e->parent->ways_above, WAYS_MAX + 1);
	}
	node->ways_above = max(node->ways_above, 1u);
	return node->above;
}

static int check_depth(struct transaction *t, struct error **err)
{
	struct walk walk;

	walk_begin(&walk);
	for (unsigned i = 0; i < t->order.count; i++) {
		struct node *node = t->order.list[i];

		if (depth_above(t, node, walk.stamp) + node->below > DEPTH_MAX)
			return too_deep(node, err);
		if ((uint64_t)node->ways_above * node->ways_below > WAYS_MAX)
			return error_set(err, ELOOP, "The graph at node '%s'"
					 " branches too often", node->name);
	}
	return 0;
}

/* children were done first; permissions go the other way */
static void reverse(struct node_list *list)
{
	for (unsigned i = 0; i < list->count / 2; i++) {
		struct node **a = &list->list[i];
		struct node **b = &list->list[list->count - 1 - i];
		struct node *swap = *a;

		*a = *b;
		*b = swap;
	}
}

static int check_sort(struct transaction *t, struct error **err)
{
	struct walk walk;
	struct sort s = { .t = t, .done = &t->order, .err = err };
	int ret = 0;

	walk_begin(&walk);
	s.open = walk.stamp;
	walk_begin(&walk);
	s.closed = walk.stamp;
	for (unsigned i = 0; i < t->count && ret == 0; i++) {
		struct edge *e = t->edges[i];

		/* of a circle the edge that changes is the one that is named:
		 * the walk ends with it, having begun below it */
		if (e->target)
			ret = sort_down(&s, e->target, 0);
		if (ret == 0 && e->parent)
			ret = sort_down(&s, e->parent, 0);
		if (ret == 0 && e->child)
			ret = sort_down(&s, e->child, 0);
	}
	for (unsigned i = 0; i < t->touched.count && ret == 0; i++)
		ret = sort_down(&s, t->touched.list[i], 0);
	for (unsigned i = 0; i < t->refreshed.count && ret == 0; i++)
		ret = sort_down(&s, t->refreshed.list[i], 0);
	reverse(&t->order);
	return ret ? ret : check_depth(t, err);
}

/* A format's file, or a second backing: one edge per meaning (G2, G3). */
static int check_slots(const struct transaction *t, struct error **err)
{
	for (unsigned i = 0; i < t->count; i++) {
		const struct edge *a = t->edges[i], *b;
		unsigned same = 0;

		if (!a->parent || !a->target)
			continue;
		for (b = transaction_first_child(t, a->parent); b;
		     b = transaction_next_child(t, a->parent, b))
			same += !!(b->role & a->role &
				   (ROLE_COW | ROLE_PRIMARY));
		if (same > 1)
			return error_set(err, EINVAL,
					 "Node '%s' already has a '%s' child",
					 a->parent->name, a->name);
	}
	return 0;
}

/* What was found by its name before the lock may be on its way out by now. */
static int check_lives(const struct transaction *t, struct error **err)
{
	for (unsigned i = 0; i < t->count; i++) {
		const struct edge *e = t->edges[i];

		if (e->target && e->target != e->child &&
		    !node_may_be_child(e->target))
			return error_set(err, ENOENT, "Node '%s' has been"
					 " deleted meanwhile",
					 e->target->name);
	}
	return 0;
}

static int prepare(struct transaction *t, struct error **err)
{
	int ret;

	if (t->failed) {
		ret = -(t->failed->code ? t->failed->code : EINVAL);
		error_propagate(err, &t->failed);
		return ret;
	}
	ret = check_lives(t, err);
	if (ret == 0)
		ret = check_slots(t, err);
	if (ret == 0)
		ret = check_sort(t, err);
	if (ret == 0)
		ret = permission_prepare(t, t->order.list, t->order.count,
					 t->loosening, err);
	/* letting go may leave a node serialising for nobody: no reason to
	 * hold up those who still use it */
	if (ret < 0 || t->loosening)
		return ret;
	limits_prepare(t, &t->order, &t->above);
	ret = limits_check(&t->above, err);
	if (ret < 0)
		permission_abort(t, t->order.list, t->order.count);
	return ret;
}

/* ---- draining ---- */

static int begin_drain(struct transaction *t, struct error **err)
{
	drain_init(&t->drain);
	t->drain.kind = t->kind;
	for (unsigned i = 0; i < t->count; i++) {
		struct edge *e = t->edges[i];

		if (e->child == e->target)
			continue;
		if (e->parent)
			drain_add_node(&t->drain, e->parent);
		else if (e->child)
			drain_add_root(&t->drain, e->root);
	}
	for (unsigned i = 0; i < t->touched.count; i++)
		drain_add_node(&t->drain, t->touched.list[i]);
	for (unsigned i = 0; i < t->above.count; i++)
		if (limits_change(t->above.list[i]))
			drain_add_node(&t->drain, t->above.list[i]);
	return drain_begin(&t->drain, err);
}

/* ---- the point of no return (A36) ---- */

/* Between two attempts to settle a decision. */
#define SETTLE_PAUSE_NS 1000000000u

static void decision_is_late(struct timer *timer)
{
	struct transaction *t = container_of(timer, struct transaction, late);
	char *why;

	if (asprintf(&why, "The record of a change of node '%s' is not durable"
		     " yet", drain_subject(&t->drain)) < 0)
		abort();
	drain_set_stuck(&t->drain, why);
	free(why);
}

/* The record may be durable or not: neither may be built on (M3). */
static void co_settle(struct transaction *t, const struct error *why)
{
	struct error *err = NULL;

	drain_set_stuck(&t->drain, why->text);
	while (t->decision->settle(t->decision_arg, &err) < 0) {
		drain_set_stuck(&t->drain, err->text);
		error_clear(&err);
		co_sleep(SETTLE_PAUSE_NS);
	}
}

static int co_decide(struct transaction *t, struct error **err)
{
	int ret;

	if (!t->decision)
		return 0;
	timer_start(&t->late, drain_get_deadline(), decision_is_late);
	ret = t->decision->take(t->decision_arg, err);
	timer_stop(&t->late);
	assert((ret == 0) == !*err);
	if (ret == DECISION_UNKNOWN) {
		co_settle(t, *err);
		ret = -((*err)->code ? (*err)->code : EIO);
	}
	drain_set_stuck(&t->drain, NULL);
	return ret;
}

/* ---- the end ---- */

static void commit_edges(struct transaction *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		struct edge *e = t->edges[i];

		e->changing = false;
		edge_commit(e);
		/* A14: it may carry requests as soon as somebody has it */
		if (e->root && e->child && drain_covers(&t->drain, e->child))
			drain_join(&t->drain, e->root);
		if (!e->child && e->parent)
			edge_free(e);
	}
	/* others may look at us while the drain ends (T11) */
	t->count = 0;
	announced = NULL;
}

static void undo_freezes(struct transaction *t)
{
	struct freeze *freeze;

	for (freeze = t->freezes; freeze; freeze = freeze->next)
		edge_thaw(freeze->edge);
}

static void undo_edges(struct transaction *t)
{
	announced = NULL;
	for (unsigned i = t->count; i--;) {
		struct edge *e = t->edges[i];

		e->changing = false;
		e->target = e->child;
		if (!e->child && e->parent)
			edge_free(e);
	}
	t->count = 0;
}

static void commit_words(struct transaction *t)
{
	for (struct word *w = t->words; w; w = w->next)
		w->node->backing_given = transaction_backing_given(t, w->node);
}

/* Children are as they shall be; limits were computed for this. */
static void commit_reopens(struct transaction *t)
{
	while (t->reopens) {
		struct reopen *r = t->reopens;

		t->reopens = r->next_step;
		reopen_commit(r);
	}
}

static void undo_reopens(struct transaction *t)
{
	for (struct reopen *r = t->reopens; r; r = r->next_step)
		r->node->reopen = NULL;
	t->reopens = NULL;
}

/* What a protocol node's file once reached beyond is no longer asked of it
 * (D6). */
static void commit_sizes(struct transaction *t)
{
	for (unsigned i = 0; i < t->resized.count; i++) {
		struct node *node = t->resized.list[i];

		node->has_new_size = false;
		node->size = node->new_size;
		node_span_end(node);
	}
}

static void undo_sizes(struct transaction *t)
{
	for (unsigned i = 0; i < t->resized.count; i++)
		t->resized.list[i]->has_new_size = false;
}

static void transaction_free(struct transaction *t)
{
	struct freeze *freeze;
	struct word *word;
	struct hook *hook;

	while ((word = t->words)) {
		t->words = word->next;
		free(word);
	}
	while ((hook = t->hooks)) {
		t->hooks = hook->next;
		free(hook);
	}
	while ((freeze = t->freezes)) {
		t->freezes = freeze->next;
		free(freeze);
	}
	error_clear(&t->failed);
	free(t->edges);
	node_list_free(&t->touched);
	node_list_free(&t->refreshed);
	node_list_free(&t->resized);
	node_list_free(&t->order);
	node_list_free(&t->above);
	free(t);
}

static int commit(struct transaction *t, struct change_stats *stats,
		  struct error **err)
{
	int ret = prepare(t, err);

	if (ret < 0)
		return ret;
	ret = announce(t, err);
	if (ret == 0)
		ret = begin_drain(t, err);
	if (ret < 0) {
		permission_abort(t, t->order.list, t->order.count);
		return ret;
	}
	ret = co_decide(t, err);
	if (ret < 0) {
		permission_abort(t, t->order.list, t->order.count);
		drain_end(&t->drain, stats);
		return ret;
	}
	/* from here to drain_end nothing waits and nothing fails */
	permission_commit(t, t->order.list, t->order.count);
	limits_commit(&t->above);
	commit_sizes(t);
	commit_edges(t);
	commit_words(t);
	commit_reopens(t);
	if (t->allowed)
		root_set_writable(t->allowed, t->allowed_perm);
	for (struct hook *hook = t->hooks; hook; hook = hook->next)
		hook->fn(hook->arg);
	drain_end(&t->drain, stats);
	return 0;
}

static void transaction_unlock(void)
{
	current = NULL;
	co_unlock(&change_lock);
}

/* What nobody but the transaction refers to closes in the end: behind the
 * drain, without the lock. */
int transaction_commit(struct transaction *t, struct change_stats *stats,
		       struct error **err)
{
	struct error *failure = NULL;
	int ret;

	if (stats)
		memset(stats, 0, sizeof(*stats));
	ret = commit(t, stats, err ? err : &failure);
	if (ret < 0) {
		undo_freezes(t);
		undo_edges(t);
		undo_reopens(t);
		undo_sizes(t);
	}
	error_clear(&failure);
	transaction_unlock();
	co_permission_let_go(t->order.list, t->order.count);
	transaction_free(t);
	return ret;
}

void transaction_abort(struct transaction *t)
{
	undo_freezes(t);
	undo_edges(t);
	undo_reopens(t);
	undo_sizes(t);
	transaction_unlock();
	transaction_free(t);
}

bool transaction_gives_parent(const struct node *node)
{
	for (unsigned i = 0; current && i < current->count; i++)
		if (current->edges[i]->target == node &&
		    current->edges[i]->child != node)
			return true;
	return false;
}
