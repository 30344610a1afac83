/* SPDX-License-Identifier: MIT */
/*
 * reopen.c - reopening nodes (reopen.h). Main thread, coroutines.
 *
 * node->reopening: from reopen_new to co_reopen_end, so there is one at a time
 * and nobody else changes what it was prepared for. node->reopen: while a
 * transaction looks at the node as it will be.
 */
#include "graph/reopen.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/epoch.h"
#include "graph/flush.h"
#include "graph/io.h"
#include "graph/node-io.h"
#include "graph/replace.h"
#include "graph/transaction.h"
#include "graph/walk.h"
#include "runtime/co.h"

/* ---- what shall be ---- */

struct reopen *reopen_new(struct node *node, struct error **err)
{
	struct reopen *r;

	if (node->resizing) {
		error_set(err, EBUSY, "Node '%s' is being resized",
			  node->name);
		return NULL;
	}
	if (node->reopening) {
		error_set(err, EBUSY, "Node '%s' is being reopened",
			  node->name);
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		abort();
	node->reopening = true;
	r->node = node_get(node, "reopening");
	r->read_only = node->read_only;
	r->auto_read_only = node->auto_read_only;
	r->cache_direct = node->cache_direct;
	r->no_flush = node->no_flush;
	r->discard_unmap = node->discard_unmap;
	r->generic_given = node->generic_given;
	return r;
}

static void reopen_free(struct reopen *r)
{
	struct node *node = r->node;
	struct reopen_child *c;

	while ((c = r->children)) {
		r->children = c->next;
		if (c->to)
			node_put(c->to, "reopening");
		free(c);
	}
	options_free(node->driver->options, r->opts);
	free(r->opts);
	json_decref(r->given);
	free(r);
	node->reopening = false;
	node_put(node, "reopening");
}

int reopen_cannot_be(const struct node *node, const char *option, bool said,
		     struct error **err)
{
	if (said)
		return error_set(err, EINVAL, "Cannot change the option '%s'"
				 " of node '%s'", option, node->name);
	return error_set(err, EINVAL, "Option '%s' cannot be reset to its"
			 " default value: node '%s' was opened with another",
			 option, node->name);
}

int reopen_set_options(struct reopen *r, struct json_t *options,
		       struct error **err)
{
	const struct driver *driver = r->node->driver;
	const char *name;
	int ret;

	assert(!r->opts);
	r->opts = calloc(1, driver->options_size ? driver->options_size : 1);
	if (!r->opts)
		abort();
	r->given = options_given(options, driver->options);
	ret = options_parse(options, driver->options, NULL, r->opts, err);
	if (ret < 0)
		return ret;
	name = options_differ(driver->options, r->node->opts, r->opts, true);
	return name ? reopen_cannot_be(r->node, name,
				       json_object_get(r->given, name), err) :
		      0;
}

void reopen_set_child(struct reopen *r, const char *name, struct node *to)
{
	const struct child_decl *decl = r->node->driver->children;
	struct reopen_child *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	while (strcmp(decl->name, name))
		decl++;
	assert(to || decl->optional);
	c->name = decl->name;
	c->role = r->node->driver->child_role ?
		  r->node->driver->child_role(r->node, decl) : decl->role;
	c->to = to ? node_get(to, "reopening") : NULL;
	c->next = r->children;
	r->children = c;
}

/* ---- before the change ---- */

static int check_child(const struct node *node, const struct reopen_child *c,
		       struct error **err)
{
	const struct edge *e = node->children;

	while (e && strcmp(e->name, c->name))
		e = e->next_child;
	return e && c->to ? edge_check_new_child(e, c->to, err) : 0;
}

int co_reopen_prepare(struct reopen *r, struct error **err)
{
	struct node *node = r->node;
	int ret = 0;

	for (struct reopen_child *c = r->children; c && ret == 0; c = c->next)
		ret = check_child(node, c, err);
	if (ret < 0)
		return ret;
	if (node->force_share && !r->read_only)
		return error_set(err, EINVAL, "Node '%s' was opened with"
				 " force-share=on, which is for reading only",
				 node->name);
	/* most of it, so that little is left for later */
	ret = co_flush_before(node, err);
	if (ret < 0)
		return ret;
	co_node_busy(node);
	if (node->driver->reopen_prepare)
		ret = node->driver->reopen_prepare(node, r, err);
	node_idle(node);
	r->prepared = ret == 0;
	return ret;
}

static struct reopen *find_in_list(struct reopen *list,
				   const struct node *node)
{
	while (list && list->node != node)
		list = list->next;
	return list;
}

/* Of what is a child now or becomes one. */
static bool waits_for_child(const struct reopen *r, struct reopen *list)
{
	const struct reopen *below;

	for (const struct edge *e = r->node->children; e; e = e->next_child) {
		below = find_in_list(list, e->child);
		if (below && !below->prepared)
			return true;
	}
	for (const struct reopen_child *c = r->children; c; c = c->next) {
		below = c->to ? find_in_list(list, c->to) : NULL;
		if (below && below != r && !below->prepared)
			return true;
	}
	return false;
}

/* The next one; where a circle was asked for, which the commit refuses, any. */
static struct reopen *next_to_prepare(struct reopen *list)
{
	struct reopen *any = NULL;

	for (struct reopen *r = list; r; r = r->next) {
		if (r->prepared)
			continue;
		if (!waits_for_child(r, list))
			return r;
		any = r;
	}
	return any;
}

static void follow_read_only(struct reopen *r, struct reopen *list)
{
	const struct reopen_child *c = r->children;
	const struct edge *e = r->node->children;
	const struct reopen *below;
	struct node *child;

	while (e && !(e->role & ROLE_PRIMARY))
		e = e->next_child;
	while (c && !(c->role & ROLE_PRIMARY))
		c = c->next;
	child = c ? c->to : e ? e->child : NULL;
	if (!child || !r->auto_read_only)
		return;
	below = find_in_list(list, child);
	r->read_only |= below ? below->read_only : child->read_only;
}

int co_reopen_prepare_all(struct reopen *list, struct error **err)
{
	struct reopen *r;
	int ret = 0;

	while (ret == 0 && (r = next_to_prepare(list))) {
		follow_read_only(r, list);
		ret = co_reopen_prepare(r, err);
	}
	return ret;
}

/* ---- the change: transaction_reopen is transaction.c's ---- */

void reopen_commit(struct reopen *r)
{
	struct node *node = r->node;
	struct json_t *given = node->given;
	void *opts = node->opts;

	node->owes = r->read_only && node_writes(node);
	node->read_only = r->read_only;
	node->auto_read_only = r->auto_read_only;
	node->cache_direct = r->cache_direct;
	node->no_flush = r->no_flush;
	node->discard_unmap = r->discard_unmap;
	node->generic_given = r->generic_given;
	if (r->opts) {
		node->opts = r->opts;
		r->opts = opts;
		node->given = r->given;
		r->given = given;
	}
	if (node->driver->reopen_commit)
		node->driver->reopen_commit(node, r);
	node->reopen = NULL;
}

/* ---- after it ---- */

struct reopen_grace {
	struct grace grace;
	struct co *co;
};

static void reopen_grace_over(struct grace *grace)
{
	co_wake(container_of(grace, struct reopen_grace, grace)->co);
}

void co_reopen_grace(struct node *node)
{
	struct reopen_grace wait = { .co = co_self() };

	grace_start(node, &wait.grace, reopen_grace_over);
	co_wait();
}

/*
 * What a format still has in memory, then what its file has in the page cache.
 * One that fails stays in debt: it keeps what it needs to write, and tries
 * again with the next flush, whose error that is, or with its close.
 */
static void co_finish_node(struct reopen *r)
{
	struct node *node = r->node;
	int ret = 0;

	co_node_busy(node);
	if (node->driver->reopen_finish)
		ret = node->driver->reopen_finish(node, r);
	if (ret == 0)
		ret = co_node_flush(node);
	else if (node->driver->kind == DRIVER_PROTOCOL)
		/* the kernel told the old descriptor, and nobody else again */
		__atomic_store_n(&node->io->failed, true, __ATOMIC_RELEASE);
	node_idle(node);
	if (ret == 0)
		node->owes = false;
}

static void co_lower_permissions(struct reopen *list)
{
	struct transaction *t = transaction_begin();
	struct error *err = NULL;

	transaction_set_loosening(t);
	for (struct reopen *r = list; r; r = r->next)
		transaction_refresh(t, r->node);
	/* nothing is drained and nothing is asked for */
	if (transaction_commit(t, NULL, &err) < 0)
		error_clear(&err);
}

/* Nodes above others first: what they still write goes through those. */
static struct reopen *sort_by_depth(struct reopen *list)
{
	struct reopen *sorted = NULL, *r, **at;

	while ((r = list)) {
		list = r->next;
		for (at = &sorted; *at && (*at)->node->above <= r->node->above;
		     at = &(*at)->next)
			;
		r->next = *at;
		*at = r;
	}
	return sorted;
}

static void reopen_pay(struct reopen *list)
{
	bool owed = false;

	for (struct reopen *r = list; r; r = r->next) {
		if (!r->node->owes && !r->state)
			continue;
		owed |= r->node->owes;
		co_finish_node(r);
	}
	if (owed)
		co_lower_permissions(list);
	for (struct reopen *r = list; r; r = r->next)
		if (r->node->driver->reopen_end)
			r->node->driver->reopen_end(r->node, r);
}

void co_reopen_end(struct reopen *list, bool committed)
{
	struct reopen *r;

	if (committed) {
		list = sort_by_depth(list);
		reopen_pay(list);
	}
	while ((r = list)) {
		list = r->next;
		if (!committed && r->prepared && r->node->driver->reopen_abort)
			r->node->driver->reopen_abort(r->node, r);
		reopen_free(r);
	}
}

/* Those that get another parent, or none. */
static void wait_for_old_children(struct reopen *list, struct close_wait *wait)
{
	for (const struct reopen *r = list; r; r = r->next)
		for (const struct reopen_child *c = r->children; c;
		     c = c->next) {
			struct edge *e = r->node->children;

			while (e && strcmp(e->name, c->name))
				e = e->next_child;
			if (e)
				close_wait_add(wait, e->child);
		}
}

/* ---- as an action ---- */

struct reopening {
	struct action action;
	struct reopen *list;
	struct close_wait wait;
};

static int reopening_prepare(struct action *action, struct error **err)
{
	return co_reopen_prepare_all(container_of(action, struct reopening,
						  action)->list, err);
}

static void reopening_step(struct action *action, struct transaction *t)
{
	struct reopening *all = container_of(action, struct reopening, action);

	transaction_set_kind(t, DRAIN_FOR_REOPEN);
	for (struct reopen *r = all->list; r; r = r->next)
		transaction_reopen(t, r);
	wait_for_old_children(all->list, &all->wait);
}

static void reopening_end(struct action *action, bool committed)
{
	struct reopening *all = container_of(action, struct reopening, action);
	struct error *ignored CLEANUP_ERROR = NULL;

	co_reopen_end(all->list, committed);
	/* who asks next finds names and files free; what a close lost is heard
	 * by who listens for closes */
	(void)!co_close_wait(&all->wait, false, &ignored);
	free(all);
}

static const struct action_ops reopening_ops = {
	.prepare = reopening_prepare,
	.step = reopening_step,
	.end = reopening_end,
};

struct action *action_reopen(struct reopen *list)
{
	struct reopening *all = calloc(1, sizeof(*all));

	if (!all)
		abort();
	all->action.ops = &reopening_ops;
	all->list = list;
	return &all->action;
}

int graph_reopen(struct reopen *list, struct change_stats *stats,
		 struct error **err)
{
	struct actions all = { NULL };
	int ret = co_action_add(&all, action_reopen(list), err);

	if (ret == 0)
		return co_actions_commit(&all, stats, err);
	co_actions_give_up(&all);
	return ret;
}
