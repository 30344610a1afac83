/* SPDX-License-Identifier: MIT */
/*
 * generic.c - the options of every node (generic.h). Main thread.
 */
#include "graph/generic.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "graph/edge.h"
#include "graph/reopen.h"
#include "graph/transaction.h"

static const char *const discard_values[] = { "ignore", "unmap", NULL };
/* looking for zeroes in what is written is not done */
static const char *const detect_values[] = { "off", NULL };

const struct option node_options[] = {
	{ .name = "node-name", .type = OPT_STRING,
	  .offset = offsetof(struct generic, node_name),
	  .help = "unique name of the node" },
	{ .name = "read-only", .type = OPT_BOOL,
	  .offset = offsetof(struct generic, read_only),
	  .help = "refuse writes" },
	{ .name = "auto-read-only", .type = OPT_BOOL,
	  .offset = offsetof(struct generic, auto_read_only),
	  .help = "read-only where writing is not possible" },
	{ .name = "force-share", .type = OPT_BOOL,
	  .offset = offsetof(struct generic, force_share),
	  .help = "read although others write" },
	{ .name = "discard", .type = OPT_ENUM, .values = discard_values,
	  .offset = offsetof(struct generic, discard),
	  .help = "whether discards give space back" },
	{ .name = "detect-zeroes", .type = OPT_ENUM, .values = detect_values,
	  .offset = offsetof(struct generic, detect_zeroes),
	  .help = "only off" },
	{ .name = NULL },
};

const struct option node_cache_options[] = {
	{ .name = "direct", .type = OPT_BOOL,
	  .offset = offsetof(struct generic, direct),
	  .help = "O_DIRECT: leave the page cache out" },
	{ .name = "no-flush", .type = OPT_BOOL,
	  .offset = offsetof(struct generic, no_flush),
	  .help = "ignore flushes; a power cut destroys the image" },
	{ .name = NULL },
};

static const struct given {
	const char *name;
	unsigned bit;
	bool cache;	/* a member of "cache" */
} givens[] = {
	{ "read-only", GIVEN_READ_ONLY, false },
	{ "auto-read-only", GIVEN_AUTO_READ_ONLY, false },
	{ "force-share", GIVEN_FORCE_SHARE, false },
	{ "discard", GIVEN_DISCARD, false },
	{ "direct", GIVEN_DIRECT, true },
	{ "no-flush", GIVEN_NO_FLUSH, true },
};

struct inherit inherit_from_node(const struct node *node, bool cow)
{
	return (struct inherit){
		.child = true,
		.cow = cow,
		.read_only = transaction_announced() ?
			     node_will_be_read_only(node) : node->read_only,
		.auto_read_only = node->auto_read_only,
		.direct = node->cache_direct,
		.no_flush = node->no_flush,
		.force_share = node->force_share,
	};
}

/* ---- parsing ---- */

static unsigned what_is_given(const json_t *options)
{
	const json_t *cache = json_object_get(options, "cache");
	unsigned given = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(givens); i++)
		if (json_object_get(givens[i].cache ? cache : options,
				    givens[i].name))
			given |= givens[i].bit;
	return given;
}

static int parse_cache(json_t *options, struct generic *g, struct error **err)
{
	json_t *object = json_object_get(options, "cache");
	int ret;

	if (!object)
		return 0;
	if (!json_is_object(object))
		return error_set(err, EINVAL, "Invalid parameter type for"
				 " 'cache', expected: object");
	ret = options_parse(object, node_cache_options, "cache", g, err);
	if (ret == 0)
		ret = options_refuse_rest(object, err);
	json_object_del(options, "cache");
	return ret;
}

static void inherit_rest(struct generic *g, const struct inherit *from)
{
	if (!(g->given & GIVEN_READ_ONLY))
		g->read_only = from->cow || from->read_only;
	if (!(g->given & GIVEN_AUTO_READ_ONLY))
		g->auto_read_only = !from->cow && from->auto_read_only;
	if (!(g->given & GIVEN_FORCE_SHARE))
		g->force_share = from->force_share;
	if (!(g->given & GIVEN_DISCARD))
		g->discard = from->child;
	if (!(g->given & GIVEN_DIRECT))
		g->direct = from->direct;
	if (!(g->given & GIVEN_NO_FLUSH))
		g->no_flush = from->no_flush;
}

int generic_parse(json_t *options, const struct inherit *from,
		  struct generic *g, struct error **err)
{
	int ret;

	memset(g, 0, sizeof(*g));
	g->given = what_is_given(options);
	ret = options_parse(options, node_options, NULL, g, err);
	if (ret == 0)
		ret = parse_cache(options, g, err);
	if (ret < 0) {
		generic_free(g);
		return ret;
	}
	inherit_rest(g, from);
	if (!g->force_share || g->read_only)
		return 0;
	generic_free(g);
	return error_set(err, EINVAL, "force-share=on can only be used with "
			 "read-only images");
}

void generic_free(struct generic *g)
{
	options_free(node_options, g);
}

static bool table_has(const struct option *table, const char *name)
{
	for (; table && table->name; table++)
		if (!strcmp(table->name, name))
			return true;
	return false;
}

void generic_pass_on(const struct generic *g, const struct driver *driver,
		     json_t *options)
{
	if (g->force_share && table_has(driver->options, "force-share"))
		json_object_set_new(options, "force-share", json_true());
}

json_t *generic_take_children(json_t *options, const struct driver *driver)
{
	const struct child_decl *decl = driver->children;
	json_t *children = json_object();

	for (; decl && decl->name; decl++) {
		json_t *value = json_object_get(options, decl->name);

		if (!value)
			continue;
		json_object_set(children, decl->name, value);
		json_object_del(options, decl->name);
	}
	return children;
}

/* ---- what a node has ---- */

/* As they are, given or not, or as r leaves them; name: room for the node's. */
static struct generic generic_of(const struct node *node,
				 const struct reopen *r,
				 char name[NODE_NAME_MAX + 1])
{
	memcpy(name, node->name, sizeof(node->name));
	return (struct generic){
		.node_name = name,
		.read_only = r ? r->read_only : node->read_only,
		.auto_read_only = r ? r->auto_read_only : node->auto_read_only,
		.force_share = node->force_share,
		.discard = r ? r->discard_unmap : node->discard_unmap,
		.direct = r ? r->cache_direct : node->cache_direct,
		.no_flush = r ? r->no_flush : node->no_flush,
	};
}

/* null: it has none, whatever a header says. */
static void describe_children(const struct node *node, json_t *options)
{
	const struct child_decl *decl = node->driver->children;
	const struct transaction *t = transaction_announced();
	const struct edge *e;

	for (; decl && decl->name; decl++)
		if (decl->optional)
			json_object_set_new(options, decl->name, json_null());
	for (e = t ? transaction_first_child(t, node) : node->children; e;
	     e = t ? transaction_next_child(t, node, e) : e->next_child)
		edge_describe(e, options, json_string(t ? e->target->name
							: e->child->name));
}

json_t *node_describe(const struct node *node)
{
	const struct reopen *r = transaction_announced() ? node->reopen : NULL;
	char name[NODE_NAME_MAX + 1];
	struct generic g = generic_of(node, r, name);
	json_t *options = options_describe(node_options, &g);

	json_object_set_new(options, "driver",
			    json_string(node->driver->name));
	json_object_set_new(options, "cache",
			    options_describe(node_cache_options, &g));
	json_object_update(options, r && r->opts ? r->given : node->given);
	describe_children(node, options);
	return options;
}

json_t *generic_given(const struct node *node)
{
	json_t *options = node_describe(node);
	json_t *cache = json_object_get(options, "cache");

	for (unsigned i = 0; i < ARRAY_SIZE(givens); i++)
		if (!(node->generic_given & givens[i].bit))
			json_object_del(givens[i].cache ? cache : options,
					givens[i].name);
	return options;
}
