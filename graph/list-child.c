/* SPDX-License-Identifier: MIT */
/*
 * list-child.c - children of a list that come and go while their parent is used
 * (action.h).
 *
 * Main thread, coroutines. The driver says whether one may
 * (driver->child_change); that the others have the same bytes is the user's
 * matter. What was written to one that goes is flushed when it is closed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/transaction.h"

struct list_change {
	struct action action;
	struct node *parent;
	struct node *comes;	/* NULL: one goes, of this name: */
	char *goes;
};

static struct edge *child_named(const struct transaction *t,
				const struct node *parent, const char *name)
{
	struct edge *e;

	for (e = transaction_first_child(t, parent); e;
	     e = transaction_next_child(t, parent, e))
		if (!strcmp(e->name, name))
			return e;
	return NULL;
}

static const struct child_decl *list_decl(const struct node *parent)
{
	const struct child_decl *decl = parent->driver->children;

	while (decl->name && !decl->list)
		decl++;
	return decl;
}

/* How many there are, and the number that the next one gets. */
static unsigned list_count(const struct transaction *t,
			   const struct node *parent, unsigned long *next)
{
	size_t len = strlen(list_decl(parent)->name);
	unsigned count = 0;
	struct edge *e;

	*next = 0;
	for (e = transaction_first_child(t, parent); e;
	     e = transaction_next_child(t, parent, e)) {
		unsigned long number;

		if (!e->own_name)
			continue;
		count++;
		number = strtoul(e->own_name + len + 1, NULL, 10);
		*next = max(*next, number + 1);
	}
	return count;
}

static int list_change_step_add(const struct list_change *c,
				struct transaction *t, struct error **err)
{
	unsigned long number;
	unsigned count = list_count(t, c->parent, &number);
	const struct child_decl *decl = list_decl(c->parent);
	struct edge *edge;
	int ret;

	if (transaction_first_parent(t, c->comes))
		return error_set(err, EBUSY, "The node %s already has a"
				 " parent", c->comes->name);
	ret = c->parent->driver->child_change(c->parent, count, c->comes, err);
	if (ret < 0)
		return ret;
	edge = transaction_attach(t, c->parent, decl->name, decl->role,
				  c->comes);
	if (asprintf(&edge->own_name, "%s.%lu", decl->name, number) < 0)
		abort();
	edge->name = edge->own_name;
	return 0;
}

static int list_change_step_del(const struct list_change *c,
				struct transaction *t, struct error **err)
{
	struct edge *edge = child_named(t, c->parent, c->goes);
	unsigned long number;
	unsigned count = list_count(t, c->parent, &number);
	int ret;

	if (!edge)
		return error_set(err, ENOENT, "Node '%s' does not have child"
				 " '%s'", c->parent->name, c->goes);
	ret = c->parent->driver->child_change(c->parent, count, NULL, err);
	if (ret == 0)
		transaction_move(t, edge, NULL);
	return ret;
}

static void list_change_step(struct action *action, struct transaction *t)
{
	struct list_change *c = container_of(action, struct list_change,
					     action);
	struct error *err = NULL;
	int ret = c->comes ? list_change_step_add(c, t, &err) :
			     list_change_step_del(c, t, &err);

	if (ret < 0)
		transaction_fail(t, err);
	else
		/* one that went, and came back in a crash, lacks what was
		 * written since */
		transaction_announce(t, true);
}

static int list_change_prepare(struct action *action, struct error **err)
{
	const struct list_change *c = container_of(action, struct list_change,
						   action);

	if (!c->comes && !child_named(NULL, c->parent, c->goes))
		return error_set(err, ENOENT, "Node '%s' does not have child"
				 " '%s'", c->parent->name, c->goes);
	if (c->parent->driver->child_change)
		return 0;
	return error_set(err, ENOTSUP, "The node %s does not support %s a"
			 " child", c->parent->name, c->comes ? "adding" :
			 "removing");
}

static void list_change_end(struct action *action, bool committed)
{
	struct list_change *c = container_of(action, struct list_change,
					     action);

	(void)committed;
	node_put(c->parent, "list change");
	if (c->comes)
		node_put(c->comes, "list change");
	free(c->goes);
	free(c);
}

static const struct action_ops list_change_ops = {
	.prepare = list_change_prepare,
	.step = list_change_step,
	.end = list_change_end,
};

static struct list_change *list_change_new(struct node *parent)
{
	struct list_change *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->action.ops = &list_change_ops;
	c->parent = node_get(parent, "list change");
	return c;
}

struct action *action_add_child(struct node *parent, struct node *child)
{
	struct list_change *c = list_change_new(parent);

	c->comes = node_get(child, "list change");
	return &c->action;
}

struct action *action_del_child(struct node *parent, const char *name)
{
	struct list_change *c = list_change_new(parent);

	c->goes = strdup(name);
	if (!c->goes)
		abort();
	return &c->action;
}
