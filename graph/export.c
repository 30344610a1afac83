/* SPDX-License-Identifier: MIT */
/*
 * export.c - what all export types share: ids, options, the order of opening
 * and closing (A18).
 *
 * Main thread, coroutines. An export is in the list from the moment its id is
 * taken until nothing of it is left; others find it there while it is whole.
 * Its first reference is that of being there, which export_del drops.
 */
#include "graph/export.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/hold.h"
#include "graph/node.h"
#include "graph/reopen.h"
#include "graph/transaction.h"
#include "runtime/co.h"

#define TYPES_MAX 8
#define SECOND UINT64_C(1000000000)
#define HOLD_TIME_MAX (10u * 365 * 24 * 3600)

struct generic {
	char *id, *node_name;
	bool writable, exclusive;
	int on_no_space, on_error;
	uint32_t hold_time;
};

static const char *const on_no_space_values[] = {
	"auto", "hold", "report", NULL
};
static const char *const on_error_values[] = { "report", "hold", NULL };

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
	{ .name = "on-no-space", .type = OPT_ENUM,
	  .values = on_no_space_values, .def = "auto",
	  .offset = offsetof(struct generic, on_no_space),
	  .help = "what becomes of writes that find no space" },
	{ .name = "on-error", .type = OPT_ENUM, .values = on_error_values,
	  .def = "report", .offset = offsetof(struct generic, on_error),
	  .help = "what becomes of writes that fail otherwise" },
	{ .name = "hold-time", .type = OPT_UINT, .def = "60",
	  .lowest = 0, .highest = HOLD_TIME_MAX,
	  .offset = offsetof(struct generic, hold_time),
	  .help = "seconds that they are held at most; 0: for ever" },
	{ .name = NULL },
};

static const struct export_type *types[TYPES_MAX];
static unsigned type_count;
static struct export *exports;	/* of every life */
static struct export_promise *promises;
static const struct export_listener *export_listener;

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

#define BIT(life) (1u << EXPORT_##life)

static const unsigned export_follows[EXPORT_LIVES] = {
	[EXPORT_OPENING] = BIT(STARTING) | BIT(STUCK) | BIT(CLOSED),
	[EXPORT_STARTING] = BIT(RUNNING) | BIT(STUCK) | BIT(CLOSING),
	[EXPORT_RUNNING] = BIT(STOPPING),
	[EXPORT_STOPPING] = BIT(RUNNING) | BIT(STUCK) | BIT(CLOSING),
	[EXPORT_STUCK] = BIT(STOPPING),
	[EXPORT_CLOSING] = BIT(CLOSED),
};

/* Starts and stops find it out themselves. */
static void export_tell_lost(struct export *exp)
{
	if (!exp->lost || exp->life != EXPORT_RUNNING || !export_listener)
		return;
	exp->lost = false;
	export_listener->lost(exp);
}

static void export_set_life(struct export *exp, enum export_life life)
{
	assert(export_follows[exp->life] >> life & 1);
	exp->life = life;
	exp->ran |= life == EXPORT_RUNNING || life == EXPORT_STUCK;
	export_tell_lost(exp);
}

bool export_is_found(const struct export *exp)
{
	return exp->root &&
	       (BIT(RUNNING) | BIT(STOPPING) | BIT(STUCK)) >> exp->life & 1;
}

void export_set_stuck(struct export *exp)
{
	if (exp->life != EXPORT_STUCK)
		export_set_life(exp, EXPORT_STUCK);
}

static struct export *export_of_root(const struct root *root)
{
	struct export *exp = exports;

	while (exp && exp->root != root)
		exp = exp->next;
	return exp;
}

/* Roots that are no export's are their owners' matter. What fails while one
 * closes is what its close tells. */
static void export_root_failed(struct root *root)
{
	struct export *exp = export_of_root(root);

	if (exp && exp->life < EXPORT_CLOSING && export_listener)
		export_listener->failed(exp, false);
}

void export_lost(const struct root *root)
{
	struct export *exp = export_of_root(root);

	if (!exp)
		return;
	exp->lost = true;
	export_tell_lost(exp);
}

void export_set_listener(const struct export_listener *listener)
{
	export_listener = listener;
	failure_set_listener(export_root_failed);
}

struct export *export_each(const struct export *prev)
{
	return prev ? prev->next : exports;
}

struct export *export_next(const struct export *prev)
{
	struct export *exp = export_each(prev);

	while (exp && !export_is_found(exp))
		exp = exp->next;
	return exp;
}

struct export *export_find(const char *id)
{
	struct export *exp = NULL;

	while ((exp = export_next(exp)) && strcmp(exp->id, id))
		;
	return exp;
}

int export_refuse_taken(const char *disk, uint32_t device_id,
			struct error **err)
{
	struct export *exp = NULL;
	char device[sizeof(exp->device)];

	snprintf(device, sizeof(device), "/dev/%s%u", disk, device_id);
	while ((exp = export_each(exp)) != NULL)
		if (device_id != DEVICE_ID_ANY && !strcmp(exp->device, device))
			return error_set(err, EBUSY, "%s is taken: it is "
					 "device '%s'", device, exp->id);
	return 0;
}

struct export **export_get_all(const char *owner)
{
	struct export *exp = NULL, **list;
	unsigned count = 0;

	while ((exp = export_next(exp)) != NULL)
		count++;
	list = calloc(count + 1, sizeof(*list));
	if (!list)
		abort();
	count = 0;
	while ((exp = export_next(exp)) != NULL) {
		export_get(exp, owner);
		list[count++] = exp;
	}
	return list;
}

void export_put_all(struct export **list, const char *owner)
{
	for (unsigned i = 0; list[i]; i++)
		export_put(list[i], owner);
	free(list);
}

static struct export *export_of_any_life(const char *id)
{
	struct export *exp = exports;

	while (exp && strcmp(exp->id, id))
		exp = exp->next;
	return exp;
}

bool export_id_is_taken(const char *id)
{
	const struct export_promise *p = promises;

	while (p && strcmp(p->id, id))
		p = p->next;
	return p || export_of_any_life(id);
}

void export_id_promise(struct export_promise *promise)
{
	promise->next = promises;
	promises = promise;
}

void export_id_release(struct export_promise *promise)
{
	struct export_promise **at = &promises;

	while (*at != promise)
		at = &(*at)->next;
	*at = promise->next;
}

static int check_export_id(const char *id, struct error **err)
{
	const char *c = id;

	if (!isalpha((unsigned char)*c))
		return error_set(err, EINVAL, "Invalid block export id");
	for (; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-._", *c))
			return error_set(err, EINVAL,
					 "Invalid block export id");
	if (export_id_is_taken(id))
		return error_set(err, EEXIST,
				 "Block export id '%s' is already in use", id);
	return 0;
}

static void export_list(struct export *exp)
{
	struct export **last;

	for (last = &exports; *last; last = &(*last)->next)
		;
	*last = exp;
}

/* Told to whoever waits for it. */
struct export_end {
	struct co_group group;
	struct error *loss;
};

static void export_free(struct export *exp)
{
	struct export **at;

	for (at = &exports; *at != exp; at = &(*at)->next)
		;
	*at = exp->next;
	options_free(exp->type->options, exp->opts);
	free(exp->opts);
	json_decref(exp->given);
	free(exp->state);
	free(exp->id);
	free(exp);
}

static void export_close(struct ending *ending)
{
	struct export *exp = container_of(ending, struct export, ending);
	struct error *loss CLEANUP_ERROR = NULL;
	struct export_end *end = exp->end;
	int ret = 0;

	if (export_listener)
		export_listener->failed(exp, true);
	if (exp->life == EXPORT_CLOSING) {
		ret = exp->type->close(exp, &loss);
		if (exp->stand_in)
			root_free(exp->stand_in);
		export_set_life(exp, EXPORT_CLOSED);
	}
	assert((ret < 0) == (loss != NULL));
	export_free(exp);
	if (loss)
		error_propagate(&end->loss, &loss);
	co_group_done(&end->group);
}

void export_put(struct export *exp, const char *owner)
{
	assert(thread_is_main());
	if (!ref_put(&exp->ref, owner))
		return;
	exp->ending.fn = export_close;
	ending_start(&exp->ending);
}

/* Nobody finds it any more: waits until nobody refers to it, and it is gone. */
static void co_export_finish(struct export *exp, struct error **loss)
{
	struct export_end end = { .loss = NULL };

	co_group_init(&end.group);
	co_group_add(&end.group);
	exp->end = &end;
	export_put(exp, "list");
	co_group_wait(&end.group);
	if (end.loss && loss)
		error_propagate(loss, &end.loss);
	error_clear(&end.loss);
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

	if (node && (!writable || !node->read_only))
		return node;
	if (node) {
		error_set(err, EROFS,
			  "Cannot export read-only node as writable");
		error_add(err, ": '%s'", name);
	} else {
		error_set(err, ENOENT,
			  "Cannot find device='' nor node-name='%s'", name);
	}
	return NULL;
}

/* What is found has a root: it shows the node, and does nothing. Without it
 * nobody would find what is stuck, so a drain is waited for till it ends. */
static void export_stand_in(struct export *exp, struct node *node)
{
	static const struct root_ops ops = { .kind = "export" };
	bool again = exp->life == EXPORT_STUCK && !exp->root;

	while (again) {
		struct error *err CLEANUP_ERROR = NULL;

		exp->stand_in = exp->root =
			root_new(&ops, exp, exp->id, node, 0, PERM_ALL, 1,
				 UINT64_C(1) << MAIN_THREAD, &err);
		again = err && err->code == ETIMEDOUT;
	}
}

static int export_begin(struct export *exp, json_t *options, struct node *node,
			struct error **err)
{
	int ret = parse_own(exp, options, err);

	if (ret == 0 && node->resizing)
		ret = error_set(err, EBUSY, "Node '%s' is being resized",
				node->name);
	if (ret == 0) {
		node_get(node, "export");
		node->shown_soon++;
		ret = exp->type->open(exp, node, err);
		export_stand_in(exp, node);
		node->shown_soon--;
		node_put(node, "export");
	}
	if (exp->life == EXPORT_STUCK)
		return ret;
	if (ret < 0) {
		export_set_life(exp, EXPORT_CLOSED);
		return ret;
	}
	export_set_life(exp, EXPORT_STARTING);
	ret = exp->type->start(exp, err);
	/* what is stuck is there: it is shown, and export_del may end it */
	if (exp->life == EXPORT_STARTING)
		export_set_life(exp, ret < 0 ? EXPORT_CLOSING :
					       EXPORT_RUNNING);
	return ret;
}

static struct hold_terms export_holds(const struct export_type *type,
				      const struct generic *g)
{
	const char *no_space = on_no_space_values[g->on_no_space];

	return (struct hold_terms){
		.no_space = !strcmp(no_space, "auto") ? type->local :
			    !strcmp(no_space, "hold"),
		.errors = !strcmp(on_error_values[g->on_error], "hold"),
		.longest_ns = g->hold_time * SECOND,
	};
}

int export_bound_holds(struct export *exp, unsigned most, const char *why,
		       struct error **err)
{
	struct hold_terms *holds = &exp->holds;

	if (!holds->no_space && !holds->errors)
		return 0;
	if (holds->longest_ns && holds->longest_ns <= most * SECOND)
		return 0;
	if (json_object_get(exp->given, "hold-time"))
		return error_set(err, EINVAL, "Parameter 'hold-time' of export"
				 " '%s' is at most %u: %s", exp->id, most,
				 why);
	holds->longest_ns = most * SECOND;
	return 0;
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
	if (exp->root) {
		exp->root->holds = exp->holds;
		exp->root->follows = exp->type->resize;
		root_failures_listen(exp->root);
	}
	return exp->root;
}

int co_export_root_end(struct export *exp, struct root *root,
		       struct error **err)
{
	if (exp->ran)
		return co_root_end(root, err);
	root_free(root);
	return 0;
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
	if (check_export_id(g.id, err) < 0)
		goto out;
	node = find_node(g.node_name, g.writable, err);
	if (!node)
		goto out;
	exp = xcalloc(sizeof(*exp));
	exp->type = type;
	exp->id = strdup(g.id);
	exp->writable = exp->began_writable = g.writable;
	exp->exclusive = g.exclusive;
	exp->holds = export_holds(type, &g);
	exp->given = json_deep_copy(options);
	exp->opts = xcalloc(type->options_size);
	exp->state = xcalloc(type->state_size);
	if (!exp->id)
		abort();
	export_list(exp);
	export_get(exp, "list");
	if (export_begin(exp, copy, node, err) < 0) {
		if (exp->life != EXPORT_STUCK)
			co_export_finish(exp, NULL);
		exp = NULL;
	}
out:
	options_free(export_options, &g);
	json_decref(copy);
	return exp;
}

/* What the root may do, as an action. */
struct allowance {
	struct action action;
	struct export *exp;
	bool writable;
};

/* Before it begins the export may end. */
static void allowance_step(struct action *action, struct transaction *t)
{
	struct allowance *a = container_of(action, struct allowance, action);
	struct root *root = a->exp->root;
	struct error *gone = NULL;

	transaction_set_kind(t, DRAIN_FOR_REOPEN);
	if (a->exp->life == EXPORT_RUNNING && root && root->edge.child) {
		transaction_allow(t, root, a->writable ?
				  root->edge.perm | PERM_WRITE :
				  root->edge.perm & ~(unsigned)PERM_WRITE);
		return;
	}
	error_set(&gone, EBUSY, "Export '%s' is already shutting down",
		  a->exp->id);
	transaction_fail(t, gone);
}

static void allowance_end(struct action *action, bool committed)
{
	struct allowance *a = container_of(action, struct allowance, action);

	if (committed)
		a->exp->writable = a->writable;
	free(a);
}

static struct action *action_allow(struct export *exp, bool writable)
{
	static const struct action_ops ops = {
		.step = allowance_step,
		.end = allowance_end,
	};
	struct allowance *a = xcalloc(sizeof(*a));

	a->action.ops = &ops;
	a->exp = exp;
	a->writable = writable;
	return &a->action;
}

static int export_can_be(const struct export *exp, bool writable,
			 struct error **err)
{
	if (exp->reopening)
		return error_set(err, EBUSY, "Export '%s' is being reopened",
				 exp->id);
	if (writable && !exp->began_writable && !exp->type->becomes_writable)
		return error_set(err, EROFS, "Export '%s' began read-only, and"
				 " the kernel cannot make that writable: it has"
				 " to be taken away and made again", exp->id);
	return 0;
}

int co_export_reopen(struct export *exp, bool writable, struct reopen *list,
		     struct change_stats *stats, struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct actions all = { NULL };
	bool changes = writable != exp->writable;
	int ret = changes ? export_can_be(exp, writable, err) : 0;

	if (!changes)
		return graph_reopen(list, stats, err);
	if (ret < 0) {
		co_reopen_end(list, false);
		return ret;
	}
	exp->reopening = true;
	ret = co_action_add(&all, action_reopen(list), err);
	if (ret == 0)
		ret = co_action_add(&all, action_allow(exp, writable), err);
	if (ret == 0)
		ret = exp->type->show_writable(exp, writable, err);
	if (ret < 0) {
		co_actions_give_up(&all);
	} else {
		ret = co_actions_commit(&all, stats, err);
		if (ret < 0)
			(void)!exp->type->show_writable(exp, !writable,
							&ignored);
	}
	exp->reopening = false;
	return ret;
}

int export_del(const char *id, enum export_stop mode, struct error **loss,
	       struct error **err)
{
	struct export *exp = export_of_any_life(id);
	char *name;
	int ret;

	assert(thread_is_main() && co_self());
	if (!exp)
		return error_set(err, ENOENT, "Export '%s' is not found", id);
	if (exp->life < EXPORT_RUNNING ||
	    (exp->life == EXPORT_STUCK && !exp->root))
		return error_set(err, EBUSY, "Export '%s' is being started",
				 id);
	if (exp->life != EXPORT_RUNNING && exp->life != EXPORT_STUCK)
		return error_set(err, EBUSY,
				 "Export '%s' is already shutting down", id);
	export_set_life(exp, EXPORT_STOPPING);
	/* nothing of it waits for what nobody will give (R49) */
	if (mode == EXPORT_STOP_HARD)
		co_root_hurry(exp->root);
	ret = exp->type->stop(exp, mode, err);
	if (ret < 0) {
		if (exp->life != EXPORT_STOPPING)
			return ret;
		co_root_linger(exp->root);
		export_set_life(exp, EXPORT_RUNNING);
		return ret;
	}
	export_set_life(exp, EXPORT_CLOSING);
	name = strdup(exp->id);
	if (!name)
		abort();
	co_export_finish(exp, loss);
	if (export_listener)
		export_listener->gone(name);
	free(name);
	return 0;
}
