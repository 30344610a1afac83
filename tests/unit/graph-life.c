/* SPDX-License-Identifier: MIT */
/*
 * The life of nodes (T9-T12): who keeps one, when it closes, and what commands
 * do to each other's nodes at every point where one of them waits.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/export.h"
#include "graph/transaction.h"
#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define MS 1000000ull

/* ---- commands, as the control plane gives them ---- */

static int co_add(const char *text, struct error **err)
{
	json_t *options = toy_json(text);
	struct node *node = node_add(options, err);

	json_decref(options);
	if (!node)
		return -1;
	node_put(node, "opener");
	return 0;
}

static int co_insert(const char *name, const char *filter, struct error **err)
{
	struct node *below = node_find(name), *node;
	struct error *ignored CLEANUP_ERROR = NULL;
	json_t *options;

	if (!below)
		return error_set(err, ENOENT, "no '%s'", name);
	options = json_pack("{s:s,s:s*}", "driver", "nop", "node-name",
			    filter);
	node_get(below, "command");
	node = graph_insert(below, NULL, options, NULL, err);
	(void)!co_node_put(below, "command", &ignored);
	json_decref(options);
	if (!node)
		return -1;
	node_put(node, "opener");
	return 0;
}

static int co_remove(const char *name, struct error **err)
{
	struct node *filter = node_find(name);
	struct error *ignored CLEANUP_ERROR = NULL;
	int ret;

	if (!filter)
		return error_set(err, ENOENT, "no '%s'", name);
	node_get(filter, "command");
	ret = graph_remove(filter, NULL, NULL, err);
	(void)!co_node_put(filter, "command", &ignored);
	return ret;
}

/* An export that waits in each of its steps. */

static bool gate_fails;

static int gate_open(struct export *exp, struct node *node, struct error **err)
{
	static const struct root_ops ops = { .kind = "export", .gated = true };

	co_sleep(sim_random_below(3) * MS);
	return export_root_new(exp, &ops, NULL, node, PERM_ALL, 512, 2, err) ?
	       0 : -EPERM;
}

static int gate_start(struct export *exp, struct error **err)
{
	co_sleep(sim_random_below(3) * MS);
	return gate_fails ? error_set(err, EBUSY, "gate '%s' is shut",
				      exp->id) : 0;
}

static int gate_stop(struct export *exp, enum export_stop mode,
		     struct error **err)
{
	(void)exp;
	(void)mode;
	(void)err;
	co_sleep(sim_random_below(3) * MS);
	return 0;
}

static int gate_close(struct export *exp, struct error **err)
{
	struct root *root = exp->root;

	exp->root = NULL;
	return co_export_root_end(exp, root, err);
}

static const struct export_type gate_type = {
	.name = "gate",
	.open = gate_open,
	.start = gate_start,
	.stop = gate_stop,
	.close = gate_close,
};

static int co_show(const char *id, const char *name, struct error **err)
{
	json_t *options = json_pack("{s:s,s:s,s:s}", "type", "gate", "id", id,
				    "node-name", name);
	struct export *exp = export_add(options, err);

	json_decref(options);
	return exp ? 0 : -1;
}

static void start(void)
{
	toy_start();
	export_type_register(&gate_type);
	gate_fails = false;
}

static void spawned(bool ok)
{
	assert(ok);
	(void)ok;
}

struct call {
	int (*fn)(struct call *call);
	const char *a, *b;
	struct error *err;
	int ret;
	bool done;
};

static void call_run(void *arg)
{
	struct call *c = arg;

	c->ret = c->fn(c);
	c->done = true;
}

static void call(struct call *c)
{
	c->done = false;
	spawned(co_spawn(call_run, c));
}

static void co_until_done(const struct call *c)
{
	while (!c->done)
		co_sleep(MS);
}

static int call_add(struct call *c)
{
	return co_add(c->a, &c->err);
}

static int call_del(struct call *c)
{
	return node_del(c->a, &c->err);
}

static int call_root_free(struct call *c)
{
	root_free(node_find(c->a)->parents->root);
	return 0;
}

static int call_insert(struct call *c)
{
	return co_insert(c->a, c->b, &c->err);
}

/* ---- while another has the change lock ---- */

/* Whoever found a child by its name waits for the lock; it is deleted. */
SIM_TEST(test_child_is_deleted)
{
	struct call add = { call_add, "{'driver':'raw','node-name':'r','file':"
			    "'p'}", NULL, NULL, 0, false };
	struct error *err = NULL;
	struct transaction *t;

	start();
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'p'}", &err), 0);
	t = transaction_begin();
	call(&add);
	co_sleep(MS);
	CU_ASSERT(!add.done && node_find("p"));
	{
		struct call del = { call_del, "p", NULL, NULL, 0, false };

		call(&del);
		/* nobody finds it, nobody else may have its name; and it is
		 * there for who waits with it */
		CU_ASSERT_PTR_NULL(node_find("p"));
		CU_ASSERT(co_add("{'driver':'toy','node-name':'p'}", &err) < 0);
		CU_ASSERT_STRING_EQUAL(err->text, "Duplicate nodes with"
				       " node-name='p'");
		error_clear(&err);
		CU_ASSERT(!del.done);
		transaction_abort(t);
		co_until_done(&add);
		co_until_done(&del);
		CU_ASSERT_EQUAL(del.ret, 0);
	}
	CU_ASSERT(add.ret < 0);
	CU_ASSERT_STRING_EQUAL(add.err->text,
			       "Node 'p' has been deleted meanwhile");
	error_clear(&add.err);
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
}

/*
 * A filter goes above what is being deleted: the command has a reference to the
 * node, the deletion waits for that one, and the opening that fails must not
 * wait for the deletion. Neither runs into its bound.
 */
SIM_TEST(test_insert_above_deleted)
{
	struct call insert = { call_insert, "n", "f", NULL, 0, false };
	struct call del = { call_del, "n", NULL, NULL, 0, false };
	struct error *err = NULL;
	struct transaction *t;
	uint64_t begun;

	start();
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'n'}", &err), 0);
	begun = clock_ns();
	t = transaction_begin();
	call(&insert);
	call(&del);
	transaction_abort(t);
	co_until_done(&insert);
	co_until_done(&del);
	CU_ASSERT_EQUAL(del.ret, 0);
	CU_ASSERT(insert.ret < 0);
	CU_ASSERT_STRING_EQUAL(insert.err->text,
			       "Node 'n' has been deleted meanwhile");
	error_clear(&insert.err);
	CU_ASSERT(clock_ns() - begun < 1000 * MS);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* Storage is not blamed for what a command keeps. */
SIM_TEST(test_kept_by_a_command)
{
	struct error *err = NULL;
	struct node *n;

	start();
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'n'}", &err), 0);
	n = node_get(node_find("n"), "command");
	CU_ASSERT_EQUAL(node_del("n", &err), -ETIMEDOUT);
	CU_ASSERT_STRING_EQUAL(err->text, "Node 'n' is deleted, but another"
			       " command has kept it for 30 s: it closes when"
			       " that ends");
	error_clear(&err);
	node_put(n, "command");
	co_sleep(MS);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* A node that is deleted while what is above it lets go closes for who deletes
 * it: who waits for what is above may be the one that keeps it. */
static void test_let_go_and_delete(int (*let_go)(struct call *call),
				   const char *above_name)
{
	struct call del = { call_del, "n", NULL, NULL, 0, false };
	struct call above = { let_go, above_name, NULL, NULL, 0, false };
	struct node *n = node_get(node_find("n"), "command");

	toy_wishes.name = "n";
	toy_wishes.let_go_ns = 10 * MS;
	call(&above);
	while (n->parents)
		co_sleep(MS);
	call(&del);
	CU_ASSERT(!above.done && !del.done && n->life == NODE_LEAVING);
	for (unsigned ms = 0; ms < 1000 && !above.done; ms++)
		co_sleep(MS);
	CU_ASSERT(above.done && !del.done);
	node_put(n, "command");
	co_until_done(&del);
	co_until_done(&above);
	CU_ASSERT_EQUAL(above.ret, 0);
	CU_ASSERT_EQUAL(del.ret, 0);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

SIM_TEST(test_child_is_deleted_at_close)
{
	struct error *err = NULL;

	start();
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'n'}", &err), 0);
	CU_ASSERT_EQUAL(co_add("{'driver':'raw','node-name':'r','file':'n'}",
			       &err), 0);
	test_let_go_and_delete(call_del, "r");
	toy_wishes.let_go_ns = 0;
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'n'}", &err), 0);
	(void)toy_root("job 'j'", node_find("n"), true, 512);
	test_let_go_and_delete(call_root_free, "n");
}

/* Two filters above one node at once: the second is above the first. */
SIM_TEST(test_two_inserts)
{
	struct call a = { call_insert, "n", "fa", NULL, 0, false };
	struct call b = { call_insert, "n", "fb", NULL, 0, false };
	struct error *err = NULL;
	struct transaction *t;
	struct root *root;

	start();
	root = toy_root("export 'e'",
			toy_open("{'driver':'toy','node-name':'n'}"), true,
			512);
	t = transaction_begin();
	call(&a);
	call(&b);
	transaction_abort(t);
	co_until_done(&a);
	co_until_done(&b);
	CU_ASSERT(a.ret == 0 && b.ret == 0);
	CU_ASSERT_STRING_EQUAL(root->edge.child->name, "fb");
	CU_ASSERT_STRING_EQUAL(root->edge.child->file->child->name, "fa");
	CU_ASSERT_PTR_EQUAL(root->edge.child->file->child->file->child,
			    node_find("n"));
	/* above what nobody uses it would be above nothing */
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'alone'}", &err),
			0);
	CU_ASSERT(co_insert("alone", "f", &err) < 0);
	error_clear(&err);
	CU_ASSERT_PTR_NULL(node_find("f"));
	CU_ASSERT_EQUAL(node_del("alone", &err), 0);
	root_free(root);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* A node is not deleted while a change gives it a parent. */
SIM_TEST(test_becomes_a_child)
{
	struct call del = { call_del, "n", NULL, NULL, 0, false };
	struct node *top, *n;
	struct root *root;
	struct transaction *t;
	struct error *err = NULL;

	start();
	top = toy_open("{'driver':'toy','node-name':'top'}");
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'n'}", &err), 0);
	n = node_find("n");
	root = toy_root("export 'e'", top, true, 512);
	t = transaction_begin();
	transaction_move(t, &root->edge, n);
	call(&del);
	CU_ASSERT(del.done && del.ret == -EBUSY);
	error_clear(&del.err);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	CU_ASSERT_PTR_EQUAL(node_find("n"), n);
	root_free(root);
	CU_ASSERT_EQUAL(node_del("n", &err), 0);
}

/* ---- closes that fail ---- */

static char heard[200];

static void hear(const struct node *node, const struct error *err)
{
	CU_ASSERT_STRING_EQUAL(node->name, "full");
	snprintf(heard, sizeof(heard), "%s", err->text);
}

/* Whoever deletes hears it, also of a node that closes with his; so do all. */
SIM_TEST(test_close_fails)
{
	static const char text[] =
		"Node 'full' is closed, but toy 'full' was full";
	struct error *err = NULL, *loss = NULL;

	start();
	node_set_close_listener(hear);
	toy_wishes.name = "full";
	toy_wishes.fail_close = -ENOSPC;
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'full'}", &err),
			0);
	CU_ASSERT_EQUAL(node_del("full", &err), -ENOSPC);
	CU_ASSERT_STRING_EQUAL(err->text, text);
	CU_ASSERT_STRING_EQUAL(heard, text);
	error_clear(&err);
	heard[0] = 0;
	CU_ASSERT_EQUAL(co_add("{'driver':'raw','node-name':'r','file':"
			       "{'driver':'toy','node-name':'full'}}", &err),
			0);
	CU_ASSERT_EQUAL(co_show("e", "r", &err), 0);
	node_let_go(node_find("r"));
	CU_ASSERT_EQUAL(export_del("e", EXPORT_STOP_SAFE, &loss, &err), 0);
	CU_ASSERT_PTR_NULL(export_find("e"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(loss);
	CU_ASSERT_STRING_EQUAL(loss->text, text);
	CU_ASSERT_STRING_EQUAL(heard, text);
	error_clear(&loss);
	CU_ASSERT_PTR_NULL(node_next(NULL));
	node_set_close_listener(NULL);
}

/* ---- exports ---- */

/* What others find is whole; an id is taken before and after. */
SIM_TEST(test_export_is_whole)
{
	struct error *err = NULL;
	struct export *exp;

	start();
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'n'}", &err), 0);
	gate_fails = true;
	CU_ASSERT(co_show("e", "n", &err) < 0);
	CU_ASSERT_STRING_EQUAL(err->text, "gate 'e' is shut");
	error_clear(&err);
	CU_ASSERT(!export_id_is_taken("e"));
	gate_fails = false;
	CU_ASSERT_EQUAL(co_show("e", "n", &err), 0);
	exp = export_find("e");
	CU_ASSERT(exp && exp->root && exp->root->edge.child);
	CU_ASSERT_EQUAL(export_del("e", EXPORT_STOP_SAFE, NULL, &err), 0);
	CU_ASSERT_EQUAL(node_del("n", &err), 0);
}

/* ---- pairs of commands ---- */

static int try_add(struct call *c)
{
	(void)c;
	return co_add("{'driver':'toy-format','node-name':'over','file':"
		      "{'driver':'toy'},'backing':'n'}", &c->err);
}

static int try_del(struct call *c)
{
	return node_del("over", &c->err);
}

static int try_del_base(struct call *c)
{
	return node_del("n", &c->err);
}

static int try_insert(struct call *c)
{
	return co_insert("n", "f", &c->err);
}

static int try_insert_other(struct call *c)
{
	return co_insert("n", "g", &c->err);
}

static int try_remove(struct call *c)
{
	return co_remove("f", &c->err);
}

static int try_show(struct call *c)
{
	gate_fails = false;
	return co_show("e", "n", &c->err);
}

static int try_show_in_vain(struct call *c)
{
	gate_fails = true;
	return co_show("e", "n", &c->err);
}

static int try_hide(struct call *c)
{
	return export_del("e", EXPORT_STOP_HARD, NULL, &c->err);
}

/* By id, as map and insert do it: what is found is whole, and stays so while
 * it is referred to, whatever becomes of the export. */
static int try_query(struct call *c)
{
	struct export **all = export_get_all("query");

	for (unsigned i = 0; all[i]; i++) {
		if (!export_is_found(all[i]))
			continue;
		CU_ASSERT_PTR_NOT_NULL(all[i]->root->edge.child);
		co_sleep(sim_random_below(2) * MS);
		CU_ASSERT(all[i]->life < EXPORT_CLOSED);
		CU_ASSERT_PTR_NOT_NULL(all[i]->root);
	}
	export_put_all(all, "query");
	json_decref(graph_query_nodes(true));
	json_decref(graph_query_graph());
	(void)c;
	return 0;
}

static int (*const commands[])(struct call *call) = {
	try_add, try_del, try_del_base, try_insert, try_insert_other,
	try_remove, try_show, try_show_in_vain, try_hide, try_query,
};

struct pair {
	unsigned first, second, third;
	unsigned delay;
	unsigned well;		/* commands that did what they were to */
};

static void body_pair(void *arg)
{
	struct pair *p = arg;
	struct call calls[3] = {
		{ .fn = commands[p->first] }, { .fn = commands[p->second] },
		{ .fn = commands[p->third] },
	};
	struct error *err = NULL;

	start();
	CU_ASSERT_EQUAL(co_add("{'driver':'toy','node-name':'n'}", &err), 0);
	CU_ASSERT_EQUAL(co_show("first", "n", &err), 0);
	/* each of the others at any of the points where the one before waits */
	call(&calls[0]);
	for (unsigned i = 1; i < ARRAY_SIZE(calls); i++) {
		for (unsigned y = sim_random_below(p->delay) & 0xff; y; y--)
			co_yield();
		call(&calls[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		co_until_done(&calls[i]);
		CU_ASSERT_EQUAL(calls[i].ret < 0, calls[i].err != NULL);
		p->well += calls[i].ret == 0;
		error_clear(&calls[i].err);
	}
	if (export_find("e"))
		CU_ASSERT_EQUAL(export_del("e", EXPORT_STOP_HARD, NULL, &err),
				0);
	CU_ASSERT_EQUAL(export_del("first", EXPORT_STOP_HARD, NULL, &err), 0);
	if (node_find("over"))
		CU_ASSERT_EQUAL(node_del("over", &err), 0);
	if (node_find("n"))
		CU_ASSERT_EQUAL(node_del("n", &err), 0);
	CU_ASSERT_PTR_NULL(node_next(NULL));
	CU_ASSERT_PTR_NULL(export_each(NULL));
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
}

static void test_pairs(void)
{
	const unsigned count = ARRAY_SIZE(commands);
	unsigned well = 0, total = 0;

	for (unsigned seed = 0; seed < 12; seed++)
		for (unsigned a = 0; a < count; a++)
			for (unsigned b = 0; b < count; b++) {
				struct pair p = { a, b, (a + b + seed) % count,
						  1 + seed * 2, 0 };

				test_run(1, seed * 1000 + a * count + b,
					 body_pair, &p);
				well += p.well;
				total += 3;
			}
	/* both happen, or this shows little */
	CU_ASSERT(well > total / 4 && well < total);
	printf("%u of %u commands did what they were to\n", well, total);
}

TEST_MAIN("graph-life",
	  TEST(test_child_is_deleted),
	  TEST(test_insert_above_deleted),
	  TEST(test_kept_by_a_command),
	  TEST(test_child_is_deleted_at_close),
	  TEST(test_two_inserts),
	  TEST(test_becomes_a_child),
	  TEST(test_close_fails),
	  TEST(test_export_is_whole),
	  TEST(test_pairs))
