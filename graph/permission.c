/* SPDX-License-Identifier: MIT */
/*
 * permission.c - what each edge may do and lets others do (P1-P3).
 *
 * Main thread. Works on the shape that the transaction will leave, in the
 * edges' new_perm and new_shared; nothing else sees these before the commit.
 * The texts are those that tools of the same protocol match.
 */
#include "graph/permission.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/reopen.h"

#define PERM_WRITES (PERM_WRITE | PERM_WRITE_UNCHANGED)

/* "consistent read, write"; buf of PERM_TEXT_MAX bytes. */
#define PERM_TEXT_MAX 64

static char *permission_text(unsigned perm, char buf[PERM_TEXT_MAX])
{
	static const char *const names[] = {
		"consistent read", "write", "write unchanged", "resize",
	};

	buf[0] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!(perm >> i & 1))
			continue;
		if (buf[0])
			strcat(buf, ", ");
		strcat(buf, names[i]);
	}
	return buf;
}

/* "node 'top'" or "export 'd0'"; the caller frees it. */
static char *edge_user(const struct edge *edge)
{
	char *text;
	int ret;

	if (edge->root)
		ret = asprintf(&text, "%s", edge->root->name);
	else
		ret = asprintf(&text, "node '%s'", edge->parent->name);
	if (ret < 0)
		abort();
	return text;
}

static int permission_conflict(const struct node *node, const struct edge *a,
			       const struct edge *b, struct error **err)
{
	char buf[PERM_TEXT_MAX];
	char *holder = edge_user(a), *asker = edge_user(b);
	int ret;

	ret = error_set(err, EPERM, "Permission conflict on node '%s':"
			" permissions '%s' are both required by %s (uses node"
			" '%s' as '%s' child) and unshared by %s (uses node"
			" '%s' as '%s' child).", node->name,
			permission_text(b->new_perm & ~a->new_shared, buf),
			asker, node->name, b->name, holder, node->name,
			a->name);
	free(holder);
	free(asker);
	return ret;
}

/* Whether whoever has the edge sees its node's size change and lives with it:
 * exports follow, and filters with all that is above them (C8). */
static bool edge_follows(const struct transaction *t, const struct edge *edge)
{
	const struct edge *e;

	if (edge->root)
		return edge->root->follows;
	if (!(edge->role & ROLE_FILTERED) || edge->parent->driver->resize)
		return false;
	for (e = transaction_first_parent(t, edge->parent); e;
	     e = transaction_next_parent(t, edge->parent, e))
		if (!(e->new_shared & PERM_RESIZE) && !edge_follows(t, e))
			return false;
	return true;
}

static bool permissions_conflict(const struct transaction *t,
				 const struct edge *holder,
				 const struct edge *asker)
{
	unsigned both = asker->new_perm & ~holder->new_shared;

	if (both == PERM_RESIZE && asker->root && asker->root->ops->resizes)
		return !edge_follows(t, holder);
	return both;
}

static int permission_check_pairs(const struct transaction *t,
				  const struct node *node, struct error **err)
{
	const struct edge *holder = NULL, *asker = NULL;
	struct edge *a, *b;

	/* of several the newest holder is named, as the protocol's users know
	 * it: a new edge, though they come last, else the first */
	for (a = transaction_first_parent(t, node); a;
	     a = transaction_next_parent(t, node, a)) {
		if (a->new_shared == PERM_ALL)
			continue;
		for (b = transaction_first_parent(t, node); b;
		     b = transaction_next_parent(t, node, b)) {
			if (a == b || !permissions_conflict(t, a, b))
				continue;
			if (holder && (holder == a || !a->changing))
				continue;
			holder = a;
			asker = b;
		}
	}
	return holder ? permission_conflict(node, holder, asker, err) : 0;
}

static bool has_new_writer(const struct transaction *t,
			   const struct node *node)
{
	const struct edge *e;

	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e))
		if (e->new_perm & PERM_WRITES &&
		    (!e->parent || !node_will_be_read_only(e->parent)))
			return true;
	return false;
}

static int permission_check_node(const struct transaction *t,
				 const struct node *node, struct error **err)
{
	unsigned perm = node->new_perm;

	/* a node above that goes read-only may still write what it owes */
	if (perm & PERM_WRITES && node_will_be_read_only(node) &&
	    has_new_writer(t, node))
		return node->read_only ?
			error_set(err, EPERM, "Block node is read-only") :
			error_set(err, EPERM, "Read-only block node '%s' cannot"
				  " support read-write users", node->name);
	if (node_is_open(node) && perm & PERM_WRITES && !(perm & PERM_RESIZE) &&
	    !is_aligned(node_will_have(node), node->limits.align))
		return error_set(err, EPERM, "Cannot get 'write' permission"
				 " without 'resize': Image size is not a"
				 " multiple of request alignment");
	return 0;
}

static void default_format(const struct node *node, const struct edge *child,
			   unsigned *perm, unsigned *shared)
{
	if (child->role & ROLE_METADATA) {
		/* also while nobody writes: headers and refcounts change */
		if (node_will_write(node))
			*perm |= PERM_WRITE | PERM_RESIZE;
		*perm |= PERM_CONSISTENT_READ;
		*shared &= ~(unsigned)(PERM_WRITE | PERM_RESIZE);
	}
	if (child->role & ROLE_DATA) {
		*shared &= ~(unsigned)PERM_RESIZE;
		if (*perm & PERM_WRITE_UNCHANGED)
			*perm |= PERM_WRITE;
		if (*perm & PERM_WRITE)
			*perm |= PERM_RESIZE;
	}
}

static void default_cow(unsigned *perm, unsigned *shared)
{
	bool writes_shared = *shared & PERM_WRITE;

	*perm &= PERM_CONSISTENT_READ;
	*shared = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
	if (writes_shared)
		*shared |= PERM_WRITE | PERM_RESIZE;
}

static void permission_of_child(const struct node *node, struct edge *child)
{
	unsigned perm = node->new_perm, shared = node->new_shared;

	if (node->driver->child_perm)
		node->driver->child_perm(node, child, &perm, &shared);
	else if (child->role & ROLE_COW)
		default_cow(&perm, &shared);
	else if (!(child->role & ROLE_FILTERED))
		default_format(node, child, &perm, &shared);
	if (child->target->force_share)
		shared = PERM_ALL;
	child->new_perm = perm & PERM_ALL;
	child->new_shared = shared & PERM_ALL;
}

static void permission_cumulate(const struct transaction *t, struct node *node)
{
	struct edge *e;

	node->new_perm = 0;
	node->new_shared = PERM_ALL;
	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e)) {
		node->new_perm |= e->new_perm;
		node->new_shared &= e->new_shared;
	}
}

/* Edges from outside of the touched nodes keep what they have, but for a root
 * that is allowed something else. asked: that counts; else it is as it is
 * outside of a transaction. */
static void permission_reset(const struct transaction *t, struct node *node,
			     bool asked)
{
	struct edge *e;

	for (e = transaction_first_parent(t, node); e;
	     e = transaction_next_parent(t, node, e)) {
		e->new_perm = asked ? transaction_perm(t, e) : e->perm;
		e->new_shared = e->shared;
	}
}

static int permission_ask_driver(struct node *node, bool loosening,
				 struct error **err)
{
	struct error *refusal = NULL;
	int ret;

	if (!node->driver->perm_check || !node_is_open(node) ||
	    (node->new_perm == node->perm && node->new_shared == node->shared))
		return 0;
	ret = node->driver->perm_check(node, node->new_perm, node->new_shared,
				       &refusal);
	if (ret == 0) {
		node->checked = true;
		return 0;
	}
	if (loosening) {
		error_clear(&refusal);
		return 0;
	}
	error_propagate(err, &refusal);
	return ret;
}

static int permission_refresh(const struct transaction *t, struct node *node,
			      bool loosening, struct error **err)
{
	struct edge *e;
	int ret = 0;

	permission_cumulate(t, node);
	if (!loosening) {
		ret = permission_check_pairs(t, node, err);
		if (ret == 0)
			ret = permission_check_node(t, node, err);
	}
	if (ret == 0)
		ret = permission_ask_driver(node, loosening, err);
	if (ret < 0)
		return ret;
	for (e = transaction_first_child(t, node); e;
	     e = transaction_next_child(t, node, e))
		permission_of_child(node, e);
	return 0;
}

int permission_prepare(const struct transaction *t, struct node **list,
		       unsigned count, bool loosening, struct error **err)
{
	int ret;

	for (unsigned i = 0; i < count; i++) {
		list[i]->checked = false;
		permission_reset(t, list[i], true);
	}
	for (unsigned i = 0; i < count; i++) {
		ret = permission_refresh(t, list[i], loosening, err);
		if (ret < 0) {
			permission_abort(t, list, count);
			return ret;
		}
	}
	return 0;
}

void permission_commit(const struct transaction *t, struct node **list,
		       unsigned count)
{
	struct edge *e;

	for (unsigned i = 0; i < count; i++) {
		struct node *node = list[i];

		node->perm = node->new_perm;
		node->shared = node->new_shared;
		for (e = transaction_first_parent(t, node); e;
		     e = transaction_next_parent(t, node, e)) {
			e->perm = e->new_perm;
			e->shared = e->new_shared;
		}
		if (node->checked)
			node->driver->perm_commit(node);
		node->checked = false;
	}
}

void permission_abort(const struct transaction *t, struct node **list,
		      unsigned count)
{
	while (count--) {
		if (list[count]->checked)
			list[count]->driver->perm_abort(list[count]);
		list[count]->checked = false;
		permission_reset(t, list[count], false);
	}
}

void co_permission_let_go(struct node **list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (list[i]->driver->perm_let_go && node_is_open(list[i]))
			list[i]->driver->perm_let_go(list[i]);
}
