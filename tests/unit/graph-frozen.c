/* SPDX-License-Identifier: MIT */
/*
 * graph-frozen.c - a link that a job needs (C6): whatever would change it is
 * refused in a sentence that names the job, and changes nothing.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/edge.h"
#include "graph/graph.h"
#include "graph/job.h"
#include "graph/reopen.h"
#include "graph/transaction.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

static int no_run(struct job *job, struct error **err)
{
	(void)job;
	(void)err;
	return 0;
}

static const struct job_ops job_ops = { .type = "toy", .run = no_run };

/* base <- f <- top, and what the test changes. */
static struct {
	struct job *job;
	struct node *top, *f, *base, *other;
	struct error *err;
} chain;

static struct job *new_job(const char *id)
{
	struct error *err = NULL;
	struct job *job = job_new(&job_ops, id, 0, NULL, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(job);
	return job;
}

static void chain_open(void)
{
	toy_start();
	memset(&chain, 0, sizeof(chain));
	chain.job = new_job("j");
	chain.base = toy_open("{'driver':'toy','node-name':'base',"
			      "'read-only':true}");
	chain.f = toy_open("{'driver':'nop','node-name':'f','read-only':true,"
			   "'file':'base'}");
	chain.top = toy_open("{'driver':'toy-format','node-name':'top','file':"
			     "{'driver':'toy'},'backing':'f'}");
	chain.other = toy_open("{'driver':'toy','node-name':'other',"
			       "'read-only':true}");
	toy_hold(chain.base);
	toy_hold(chain.f);
	toy_hold(chain.top);
	toy_hold(chain.other);
}

static void chain_close(void)
{
	struct error *err = NULL;

	CU_ASSERT_EQUAL(job_start(chain.job, &err), 0);
	toy_let_go(chain.top);
	toy_let_go(chain.f);
	toy_let_go(chain.base);
	toy_let_go(chain.other);
}

static void freeze(struct edge *edge)
{
	struct transaction *t = transaction_begin();

	transaction_freeze(t, edge, chain.job->name);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &chain.err), 0);
	CU_ASSERT_STRING_EQUAL(edge->frozen_by, "job 'j'");
}

/* The last change was refused with this. */
static void refused(const char *text)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(chain.err);
	if (strcmp(chain.err->text, text))
		fprintf(stderr, "got:  %s\nwant: %s\n", chain.err->text, text);
	CU_ASSERT_STRING_EQUAL(chain.err->text, text);
	CU_ASSERT_EQUAL(chain.err->code, EBUSY);
	error_clear(&chain.err);
	CU_ASSERT_PTR_EQUAL(chain.top->backing->child, chain.f);
	CU_ASSERT_PTR_EQUAL(chain.f->file->child, chain.base);
	CU_ASSERT_PTR_NULL(node_find("new"));
}

static struct node *insert(struct node *below, const char *parent)
{
	json_t *options = json_pack("{s:s,s:s}", "driver", "nop", "node-name",
				    "new");
	const struct link_of of = { parent, NULL };
	struct node *node = graph_insert(below, parent ? &of : NULL, options,
					 NULL, &chain.err);

	json_decref(options);
	return node;
}

#define TOP_TO_F "Cannot change 'backing' link from 'top' to 'f': it is used" \
	" by job 'j'"

SIM_TEST(insert_and_remove)
{
	struct node *node;

	chain_open();
	freeze(chain.top->backing);
	CU_ASSERT_PTR_NULL(insert(chain.f, NULL));
	refused(TOP_TO_F);
	CU_ASSERT_PTR_NULL(insert(chain.f, "top"));
	refused(TOP_TO_F);
	CU_ASSERT_EQUAL(graph_remove(chain.f, NULL, NULL, &chain.err), -EBUSY);
	refused(TOP_TO_F);
	/* what is below is not frozen */
	node = insert(chain.base, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	CU_ASSERT_EQUAL(graph_remove(node, NULL, NULL, &chain.err), 0);
	CU_ASSERT_EQUAL(co_node_put(node, "opener", &chain.err), 0);
	edge_thaw(chain.top->backing);

	/* the filter's own link */
	freeze(chain.f->file);
	CU_ASSERT_EQUAL(graph_remove(chain.f, NULL, NULL, &chain.err), -EBUSY);
	refused("Cannot remove node 'f': its 'file' link to 'base' is used by"
		" job 'j'");
	CU_ASSERT_PTR_NULL(insert(chain.base, NULL));
	refused("Cannot change 'file' link from 'f' to 'base': it is used by"
		" job 'j'");
	edge_thaw(chain.f->file);
	CU_ASSERT_EQUAL(graph_remove(chain.f, NULL, NULL, &chain.err), 0);
	CU_ASSERT_PTR_EQUAL(chain.top->backing->child, chain.base);
	chain_close();
}

static int reopen_backing(struct node *to)
{
	struct reopen *r = reopen_new(chain.top, &chain.err);

	reopen_set_child(r, "backing", to);
	return graph_reopen(r, NULL, &chain.err);
}

SIM_TEST(reopen_with_another_child)
{
	chain_open();
	freeze(chain.top->backing);
	CU_ASSERT_EQUAL(reopen_backing(chain.other), -EBUSY);
	refused(TOP_TO_F);
	CU_ASSERT_EQUAL(reopen_backing(NULL), -EBUSY);
	refused(TOP_TO_F);
	/* this one says what is */
	CU_ASSERT_EQUAL(reopen_backing(chain.f), 0);
	CU_ASSERT_PTR_EQUAL(chain.top->backing->child, chain.f);
	edge_thaw(chain.top->backing);
	CU_ASSERT_EQUAL(reopen_backing(NULL), 0);
	CU_ASSERT_PTR_NULL(chain.top->backing);
	chain_close();
}

/* As a snapshot will: everything above `f` goes to another node. */
SIM_TEST(moving_all_parents)
{
	struct transaction *t;

	chain_open();
	freeze(chain.top->backing);
	t = transaction_begin();
	CU_ASSERT_EQUAL(transaction_move_parents(t, chain.f, chain.other), 1);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &chain.err), -EBUSY);
	refused(TOP_TO_F);
	edge_thaw(chain.top->backing);
	chain_close();
}

static void del(const char *name, const char *text)
{
	CU_ASSERT(node_del(name, &chain.err) < 0);
	refused(text);
	CU_ASSERT_PTR_NOT_NULL(node_find(name));
}

SIM_TEST(deleting_nodes)
{
	chain_open();
	node_hold(chain.top);
	node_hold(chain.f);
	freeze(chain.top->backing);
	del("f", "Node 'f' is busy: node is used as backing hd of 'top'");
	del("top", "Node 'top' is busy: its 'backing' link is used by job 'j'");
	edge_thaw(chain.top->backing);
	toy_let_go(chain.top);
	CU_ASSERT_EQUAL(node_del("top", &chain.err), 0);
	CU_ASSERT_PTR_NULL(node_find("top"));
	chain.top = NULL;
	node_let_go(chain.f);
	CU_ASSERT_EQUAL(job_start(chain.job, &chain.err), 0);
	toy_let_go(chain.f);
	toy_let_go(chain.base);
	toy_let_go(chain.other);
}

/* Whoever else lets go: the link stays, and so does what it begins at. */
SIM_TEST(the_last_parent_goes)
{
	struct node *top;
	struct root *root;

	chain_open();
	root = toy_root("export 'd0'", chain.top, true, 512);
	freeze(chain.top->backing);
	/* none waits for a close that is not to come */
	CU_ASSERT_EQUAL(co_root_end(root, &chain.err), 0);
	toy_let_go(chain.top);
	top = node_find("top");
	CU_ASSERT_PTR_EQUAL_FATAL(top, chain.top);
	CU_ASSERT_PTR_EQUAL(top->backing->child, chain.f);
	edge_thaw(top->backing);
	co_sleep(1000000);
	CU_ASSERT_PTR_NULL(node_find("top"));
	CU_ASSERT_EQUAL(job_start(chain.job, &chain.err), 0);
	toy_let_go(chain.f);
	toy_let_go(chain.base);
	toy_let_go(chain.other);
}

SIM_TEST(one_job_a_link)
{
	struct job *second;
	struct transaction *t;
	struct error *err = NULL;

	chain_open();
	second = new_job("k");
	freeze(chain.top->backing);
	t = transaction_begin();
	transaction_freeze(t, chain.f->file, second->name);
	transaction_freeze(t, chain.top->backing, second->name);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &chain.err), -EBUSY);
	refused("The 'backing' link from 'top' to 'f' is used by job 'j'"
		" already");
	/* all or nothing */
	CU_ASSERT_PTR_NULL(chain.f->file->frozen_by);
	t = transaction_begin();
	transaction_freeze(t, chain.f->file, second->name);
	transaction_abort(t);
	CU_ASSERT_PTR_NULL(chain.f->file->frozen_by);
	edge_thaw(chain.top->backing);
	CU_ASSERT_EQUAL(job_start(second, &err), 0);
	chain_close();
}

/* The record of a change waits, and nobody takes the node away meanwhile. */
static bool decide;

static int take(void *arg, struct error **err)
{
	(void)arg;
	(void)err;
	while (!decide)
		co_sleep(1000);
	return 0;
}

static const struct decision decision = { .take = take };

static void freeze_slowly(void *arg)
{
	struct transaction *t = transaction_begin();

	(void)arg;
	transaction_touch(t, chain.top);
	transaction_freeze(t, chain.top->backing, chain.job->name);
	transaction_set_decision(t, &decision, NULL);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &chain.err), 0);
}

SIM_TEST(deleted_while_it_freezes)
{
	chain_open();
	node_hold(chain.top);
	decide = false;
	CU_ASSERT_TRUE(co_spawn(freeze_slowly, NULL));
	co_sleep(1000000);
	del("top", "Node 'top' is busy: its 'backing' link is used by job 'j'");
	decide = true;
	co_sleep(1000000);
	CU_ASSERT_STRING_EQUAL(chain.top->backing->frozen_by, "job 'j'");
	edge_thaw(chain.top->backing);
	node_let_go(chain.top);
	chain_close();
}

TEST_MAIN("graph-frozen", TEST(insert_and_remove),
	  TEST(reopen_with_another_child), TEST(moving_all_parents),
	  TEST(deleting_nodes), TEST(the_last_parent_goes),
	  TEST(one_job_a_link), TEST(deleted_while_it_freezes))
