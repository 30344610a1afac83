/* SPDX-License-Identifier: MIT */
/*
 * export.c - what all export types share: ids, options, the order of opening
 * and closing (A18).
 *
 * Main thread, coroutines. An export is in the list from the moment its id is
 * taken until nothing of it is left.
 */
#include "graph/export.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node.h"
#include "graph/root.h"
#include "runtime/co.h"

#define TYPES_MAX 8
#define PIN_POLL_NS 1000000ull

struct generic {
	char *id, *node_name;
	bool writable, exclusive;
};

const struct option export_options[] = {
	{ .name = "id", .type = OPT_STRING, .required = true,
	  .offset = offsetof(struct generic, id),
	  .help = "unique name of the export" },
	{ .name = "node-name", .type = OPT_STRING, .required = true,
	  .offset = offsetof(struct generic, node_name),
	  .help = "node to show" },
	{ .name = "writable", .type = OPT_BOOL,
	  .offset = offsetof(struct generic, writable),
	  .help = "let it be written" },
	{ .name = "exclusive", .type = OPT_BOOL,
	  .offset = offsetof(struct generic, exclusive),
	  .help = "let nobody else write to the node meanwhile" },
	{ .name = NULL },
};

static const struct export_type *types[TYPES_MAX];
static unsigned type_count;
static struct export *exports;

void export_type_register(const struct export_type *type)
{
	if (export_type_find(type->name) == type)
		return;
	assert(!export_type_find(type->name) && type_count < TYPES_MAX);
	types[type_count++] = type;
}

const struct export_type *export_type_find(const char *name)
{
	for (unsigned i = 0; i < type_count; i++)
		if (!strcmp(types[i]->name, name))
			return types[i];
	return NULL;
}

const struct export_type *export_type_at(unsigned i)
{
	return i < type_count ? types[i] : NULL;
}

struct export *export_find(const char *id)
{
	struct export *exp;

	for (exp = exports; exp; exp = exp->next)
		if (!strcmp(exp->id, id))
			return exp;
	return NULL;
}

struct export *export_first(void)
{
	return exports;
}

static int check_id(const char *id, struct error **err)
{
	const char *c = id;

	if (!isalpha((unsigned char)*c))
		return error_set(err, EINVAL, "Invalid block export id");
	for (; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-._", *c))
			return error_set(err, EINVAL,
					 "Invalid block export id");
	if (export_find(id))
		return error_set(err, EEXIST,
				 "Block export id '%s' is already in use", id);
	return 0;
}

static void *xcalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

static void export_list(struct export *exp)
{
	struct export **last;

	for (last = &exports; *last; last = &(*last)->next)
		;
	*last = exp;
}

static void export_free(struct export *exp)
{
	struct export **at;

	for (at = &exports; *at && *at != exp; at = &(*at)->next)
		;
	if (*at)
		*at = exp->next;
	options_free(exp->type->options, exp->opts);
	free(exp->opts);
	json_decref(exp->given);
	free(exp->state);
	free(exp->id);
	free(exp);
}

static const struct export_type *take_type(json_t *options, struct error **err)
{
	json_t *name = json_object_get(options, "type");
	const struct export_type *type = NULL;

	if (!name)
		error_set(err, EINVAL, "Parameter 'type' is missing");
	else if (!json_is_string(name))
		error_set(err, EINVAL, "Invalid parameter type for 'type',"
			  " expected: string");
	else if (!(type = export_type_find(json_string_value(name))))
		error_set(err, EINVAL, "Parameter 'type' does not accept value"
			  " '%s'", json_string_value(name));
	json_object_del(options, "type");
	return type;
}

static int parse_own(struct export *exp, json_t *options, struct error **err)
{
	int ret = options_parse(options, exp->type->options, NULL, exp->opts,
				err);
	void *iter = json_object_iter(options);

	if (ret == 0 && iter)
		ret = error_set(err, EINVAL, "Parameter '%s' is unexpected",
				json_object_iter_key(iter));
	return ret;
}

static struct node *find_node(const char *name, bool writable,
			      struct error **err)
{
	struct node *node = node_find(name);

	if (!node)
		error_set(err, ENOENT,
			  "Cannot find device='' nor node-name='%s'", name);
	else if (writable && node->read_only)
		error_set(err, EROFS, "Cannot export '%s' as writable: Block"
			  " node is read-only", name);
	else
		return node;
	return NULL;
}

/* Waits until no query looks at it any more (export.h: pins). */
static void co_export_unpinned(struct export *exp)
{
	while (exp->pins)
		co_sleep(PIN_POLL_NS);
}

static int export_begin(struct export *exp, struct node *node,
			struct error **err)
{
	int ret;

	node_get(node, "export");
	ret = exp->type->open(exp, node, err);
	node_put(node, "export");
	if (ret == 0) {
		ret = exp->type->start(exp, err);
		if (ret < 0 && !exp->stuck) {
			co_export_unpinned(exp);
			exp->type->close(exp);
		}
	}
	/* what is stuck is there: it is shown, and export_del may end it */
	exp->started = ret == 0 || exp->stuck;
	return ret;
}

struct root *export_root_new(struct export *exp, const struct root_ops *ops,
			     void *owner, struct node *node, unsigned shared,
			     uint32_t granularity, uint64_t threads,
			     struct error **err)
{
	unsigned perm = PERM_CONSISTENT_READ;
	char name[80];

	if (exp->writable)
		perm |= PERM_WRITE;
	if (exp->exclusive)
		shared &= ~(unsigned)(PERM_WRITE | PERM_RESIZE);
	snprintf(name, sizeof(name), "export '%s'", exp->id);
	exp->root = root_new(ops, owner, name, node, perm, shared, granularity,
			     threads, err);
	return exp->root;
}

struct export *export_add(json_t *options, struct error **err)
{
	json_t *copy = json_deep_copy(options);
	struct generic g = { 0 };
	struct export *exp = NULL;
	const struct export_type *type;
	struct node *node;

	assert(thread_is_main() && co_self());
	type = take_type(copy, err);
	if (!type || options_parse(copy, export_options, NULL, &g, err) < 0)
		goto out;
	if (check_id(g.id, err) < 0)
		goto out;
	node = find_node(g.node_name, g.writable, err);
	if (!node)
		goto out;
	exp = xcalloc(sizeof(*exp));
	exp->type = type;
	exp->id = strdup(g.id);
	exp->writable = g.writable;
	exp->exclusive = g.exclusive;
	exp->given = json_deep_copy(options);
	exp->opts = xcalloc(type->options_size);
	exp->state = xcalloc(type->state_size);
	if (!exp->id)
		abort();
	export_list(exp);
	if (parse_own(exp, copy, err) < 0 || export_begin(exp, node, err) < 0) {
		if (!exp->stuck)
			export_free(exp);
		exp = NULL;
	}
out:
	options_free(export_options, &g);
	json_decref(copy);
	return exp;
}

int export_del(const char *id, enum export_stop mode, struct error **err)
{
	struct export *exp = export_find(id);
	int ret;

	assert(thread_is_main() && co_self());
	if (!exp)
		return error_set(err, ENOENT, "Export '%s' is not found", id);
	if (exp->shutting_down)
		return error_set(err, EBUSY,
				 "Export '%s' is already shutting down", id);
	if (!exp->started)
		return error_set(err, EBUSY, "Export '%s' is being started",
				 id);
	exp->shutting_down = true;
	ret = exp->type->stop(exp, mode, err);
	if (ret < 0) {
		exp->shutting_down = false;
		return ret;
	}
	co_export_unpinned(exp);
	exp->type->close(exp);
	export_free(exp);
	return 0;
}
