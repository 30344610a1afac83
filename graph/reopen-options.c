/* SPDX-License-Identifier: MIT */
/*
 * reopen-options.c - reopenings from options, as blockdev-reopen takes them
 * (reopen.h, C5). Main thread; nothing here waits, so that nothing that was
 * looked at changes before it is held.
 *
 * First all that is named is listed, with the children that were opened with
 * it, whose options may come from there; then each is worked out, a parent
 * before those that take options from it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/edge.h"
#include "graph/generic.h"
#include "graph/reopen.h"

/* A node that is named, or below one. */
struct wish {
	struct reopen *r;
	json_t *options;	/* its own; used up when it is worked out */
	struct wish *parent;	/* that it takes options from; or NULL */
	bool cow;		/* as its backing image */
	bool said;		/* else the options are what it has kept */
	bool done;
	struct wish *next;
};

static struct wish *find_wish(struct wish *list, const struct node *node)
{
	while (list && list->r->node != node)
		list = list->next;
	return list;
}

static void free_wishes(struct wish *list)
{
	struct wish *wish;

	while ((wish = list)) {
		list = wish->next;
		json_decref(wish->options);
		free(wish);
	}
}

/* ---- who is meant ---- */

static struct wish *list_node(struct wish **list, struct node *node,
			      json_t *options, bool said, struct error **err);

/* What options say of the child at that edge; NULL: nothing. */
static json_t *said_of(json_t *options, const struct edge *e)
{
	size_t len = strcspn(e->name, ".");
	json_t *value = json_object_getn(options, e->name, len);

	if (!e->own_name)
		return value;
	return json_array_get(value, strtoul(e->own_name + len + 1, NULL, 10));
}

static bool names(const json_t *value, const struct node *node)
{
	return json_is_string(value) &&
	       !strcmp(json_string_value(value), node->name);
}

/*
 * A child that its parent was opened with is reopened with it: with what it was
 * given when it is only named, else with what is said of it now. What is then
 * left to say of the parent is which child it has.
 */
static int list_children(struct wish **list, struct wish *wish,
			 struct error **err)
{
	struct node *node = wish->r->node;

	for (struct edge *e = node->children; e; e = e->next_child) {
		json_t *value = said_of(wish->options, e);
		bool said = json_is_object(value) && !e->own_name;
		struct wish *child;

		if (e->child->inherits_from != node ||
		    !(said || names(value, e->child)))
			continue;
		child = list_node(list, e->child, said ? json_incref(value) :
				  generic_given(e->child), said, err);
		if (!child)
			return -EINVAL;
		child->parent = wish;
		child->cow = e->role & ROLE_COW;
		if (said)
			json_object_set_new(wish->options, e->name,
					    json_string(e->child->name));
	}
	return 0;
}

/* What is said twice is what was said last, else what was said first; what is
 * kept counts where nothing is said. */
static void say_more(struct wish *wish, json_t *options, bool said)
{
	if (said && wish->said)
		json_object_update_missing(options, wish->options);
	if (said) {
		json_decref(wish->options);
		wish->options = json_incref(options);
		wish->said = true;
	}
	json_decref(options);
}

/* Takes over options. NULL: it cannot be reopened, or one below it. */
static struct wish *list_node(struct wish **list, struct node *node,
			      json_t *options, bool said, struct error **err)
{
	struct wish *wish = find_wish(*list, node);
	struct reopen *r;

	if (wish) {
		say_more(wish, options, said);
	} else {
		r = reopen_new(node, err);
		if (!r) {
			json_decref(options);
			return NULL;
		}
		wish = calloc(1, sizeof(*wish));
		if (!wish)
			abort();
		wish->r = r;
		wish->options = options;
		wish->said = said;
		wish->next = *list;
		*list = wish;
	}
	return list_children(list, wish, err) < 0 ? NULL : wish;
}

static int list_named(struct wish **list, json_t *options, struct error **err)
{
	const char *name = json_string_value(json_object_get(options,
							     "node-name"));
	struct node *node = name ? node_find(name) : NULL;

	if (!name)
		return error_set(err, EINVAL, "node-name not specified");
	if (!node)
		return error_set(err, ENOENT, "Failed to find node with "
				 "node-name='%s'", name);
	return list_node(list, node, json_deep_copy(options), true, err) ?
	       0 : -EINVAL;
}

/* ---- what each becomes ---- */

static struct inherit inherited(const struct wish *wish)
{
	const struct reopen *above;

	if (!wish->parent)
		return (struct inherit){ .child = false };
	above = wish->parent->r;
	return (struct inherit){
		.child = true,
		.cow = wish->cow,
		.read_only = above->read_only,
		.auto_read_only = above->auto_read_only,
		.direct = above->cache_direct,
		.no_flush = above->no_flush,
		.force_share = above->node->force_share,
	};
}

static int want_generic(struct reopen *r, const struct generic *g,
			struct error **err)
{
	r->read_only = g->read_only;
	r->auto_read_only = g->auto_read_only;
	r->cache_direct = g->direct;
	r->no_flush = g->no_flush;
	r->discard_unmap = g->discard;
	r->generic_given = g->given;
	if (g->node_name && strcmp(g->node_name, r->node->name))
		return reopen_cannot_be(r->node, "node-name", true, err);
	if (g->force_share != r->node->force_share)
		return reopen_cannot_be(r->node, "force-share",
				 g->given & GIVEN_FORCE_SHARE, err);
	return 0;
}

static int want_driver(const struct wish *wish, struct error **err)
{
	const struct node *node = wish->r->node;
	const char *name = json_string_value(json_object_get(wish->options,
							     "driver"));

	if (name && strcmp(name, node->driver->name))
		return reopen_cannot_be(node, "driver", true, err);
	json_object_del(wish->options, "driver");
	return 0;
}

/* Nothing is said of a child that may be missing. */
static int want_no_word(const struct node *node, const struct child_decl *decl,
			const struct edge *e, struct error **err)
{
	if (decl->role & ROLE_COW && (e || node->header_backing))
		return error_set(err, EINVAL, "backing is missing for '%s'",
				 node->name);
	return e ? reopen_cannot_be(node, decl->name, false, err) : 0;
}

static int refuse_implicit(const struct node *node, const struct edge *e,
			   struct error **err)
{
	if (!e || !e->child->implicit)
		return 0;
	return error_set(err, EPERM, "Cannot replace implicit %s child of %s",
			 e->name, node->name);
}

static struct node *below_implicit(struct node *node)
{
	while (node->implicit && node_filtered_child(node))
		node = node_filtered_child(node);
	return node;
}

static int want_named(struct reopen *r, const struct child_decl *decl,
		      const struct edge *e, const char *name,
		      struct error **err)
{
	struct node *to = node_find(name);

	if (!to)
		return error_set(err, ENOENT, "Cannot find device='' nor"
				 " node-name='%s'", name);
	if (e && (e->child == to || below_implicit(e->child) == to))
		return 0;
	/* others have no second place, or their driver looks at them once */
	if (!(decl->role & (ROLE_COW | ROLE_PRIMARY)))
		return reopen_cannot_be(r->node, decl->name, true, err);
	if (refuse_implicit(r->node, e, err) < 0)
		return -EPERM;
	reopen_set_child(r, decl->name, to);
	return 0;
}

/* Members of a list stay who they are. */
static int want_list(const struct node *node, const struct child_decl *decl,
		     json_t *list, struct error **err)
{
	size_t len = strlen(decl->name), count = 0;
	bool same = json_is_array(list);

	for (const struct edge *e = node->children; e; e = e->next_child) {
		if (!e->own_name || strncmp(e->own_name, decl->name, len) ||
		    e->own_name[len] != '.')
			continue;
		same = same && names(json_array_get(list, count), e->child);
		count++;
	}
	if (same && json_array_size(list) == count)
		return 0;
	return reopen_cannot_be(node, decl->name, list, err);
}

/* Options of a child that was not opened with its parent. */
static int want_object(const struct node *node, const struct child_decl *decl,
		       struct error **err)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.driver", decl->name);
	return reopen_cannot_be(node, name, true, err);
}

static int want_child(struct reopen *r, const struct child_decl *decl,
		      json_t *value, struct error **err)
{
	const struct node *node = r->node;
	const struct edge *e = node->children;

	if (decl->list)
		return want_list(node, decl, value, err);
	while (e && strcmp(e->name, decl->name))
		e = e->next_child;
	if (!value && !decl->optional)
		return error_set(err, EINVAL, "A block device must be"
				 " specified for \"%s\"", decl->name);
	if (!value)
		return want_no_word(node, decl, e, err);
	if (json_is_string(value))
		return want_named(r, decl, e, json_string_value(value), err);
	if (!json_is_null(value) || !decl->optional)
		return want_object(node, decl, err);
	if (refuse_implicit(node, e, err) < 0)
		return -EPERM;
	if (e && !(decl->role & ROLE_COW))
		return reopen_cannot_be(node, decl->name, true, err);
	if (e)
		reopen_set_child(r, decl->name, NULL);
	return 0;
}

static int want_children(struct wish *wish, json_t *children,
			 struct error **err)
{
	const struct child_decl *decl = wish->r->node->driver->children;
	int ret = 0;

	for (; decl && decl->name && ret == 0; decl++)
		ret = want_child(wish->r, decl,
				 json_object_get(children, decl->name), err);
	return ret;
}

static int work_out(struct wish *wish, struct error **err)
{
	const struct driver *driver = wish->r->node->driver;
	struct inherit from;
	json_t *children;
	struct generic g;
	int ret;

	if (wish->done)
		return 0;
	wish->done = true;
	if (wish->parent && work_out(wish->parent, err) < 0)
		return -EINVAL;
	from = inherited(wish);
	ret = want_driver(wish, err);
	if (ret == 0)
		ret = generic_parse(wish->options, &from, &g, err);
	if (ret < 0)
		return ret;
	children = generic_take_children(wish->options, driver);
	generic_pass_on(&g, driver, wish->options);
	ret = want_generic(wish->r, &g, err);
	if (ret == 0)
		ret = reopen_set_options(wish->r, wish->options, err);
	/* it was given to the node, not to the driver */
	json_object_del(wish->r->given, "force-share");
	if (ret == 0)
		ret = options_refuse_rest(wish->options, err);
	if (ret == 0)
		ret = want_children(wish, children, err);
	json_decref(children);
	generic_free(&g);
	return ret;
}

/* ---- all of them ---- */

static bool changes_nothing(const struct reopen *r)
{
	const struct node *node = r->node;

	return !r->children && r->read_only == node->read_only &&
	       r->auto_read_only == node->auto_read_only &&
	       r->cache_direct == node->cache_direct &&
	       r->no_flush == node->no_flush &&
	       r->discard_unmap == node->discard_unmap &&
	       r->generic_given == node->generic_given &&
	       json_equal(r->given, node->given);
}

/* Those that change, of wishes that are worked out. */
static struct reopen *take_reopens(const struct wish *wish)
{
	struct reopen *list = NULL;

	for (; wish; wish = wish->next) {
		wish->r->next = NULL;
		if (changes_nothing(wish->r)) {
			co_reopen_end(wish->r, false);
			continue;
		}
		wish->r->next = list;
		list = wish->r;
	}
	return list;
}

struct reopen *reopen_by_options(json_t *list, struct error **err)
{
	struct wish *wishes = NULL;
	struct reopen *reopens;
	size_t i;
	json_t *options;
	int ret = 0;

	json_array_foreach(list, i, options)
		if (ret == 0)
			ret = list_named(&wishes, options, err);
	for (struct wish *w = wishes; w && ret == 0; w = w->next)
		ret = work_out(w, err);
	if (ret == 0) {
		reopens = take_reopens(wishes);
	} else {
		for (struct wish *w = wishes; w; w = w->next)
			co_reopen_end(w->r, false);
		reopens = NULL;
	}
	free_wishes(wishes);
	return reopens;
}
