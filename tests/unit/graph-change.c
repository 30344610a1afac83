/* SPDX-License-Identifier: MIT */
/*
 * Permissions (P1-P3) and transactions (A18): texts, what is refused, and that
 * a change that fails at any step leaves everything as it was.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/edge.h"
#include "graph/io.h"
#include "graph/node-io.h"
#include "graph/reopen.h"
#include "graph/replace.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/picture.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

static const struct root_ops export_ops = { .kind = "export", .gated = true };

static struct root *try_root(const char *name, struct node *node,
			     unsigned perm, unsigned shared, const char *text)
{
	struct error *err = NULL;
	struct root *root = root_new(&export_ops, NULL, name, node, perm,
				     shared, 512, 2, &err);

	CU_ASSERT_EQUAL(root == NULL, text != NULL);
	if (!root) {
		CU_ASSERT_STRING_EQUAL(err->text, text ? text : "no error");
		error_clear(&err);
	} else {
		toy_give(node);
	}
	return root;
}

#define RW (PERM_CONSISTENT_READ | PERM_WRITE)

SIM_TEST(test_conflicts)
{
	struct node *node, *over;
	struct root *a, *b;

	toy_start();
	node = toy_open("{'driver':'toy','node-name':'n'}");
	a = try_root("export 'a'", node, RW, PERM_CONSISTENT_READ, NULL);
	/* what b needs and a does not share */
	try_root("export 'b'", node, RW | PERM_RESIZE, PERM_ALL,
		 "Permission conflict on node 'n': permissions 'write, resize'"
		 " are both required by export 'b' (uses node 'n' as 'root'"
		 " child) and unshared by export 'a' (uses node 'n' as 'root'"
		 " child).");
	/* the other way round */
	try_root("export 'c'", node, PERM_CONSISTENT_READ,
		 PERM_CONSISTENT_READ,
		 "Permission conflict on node 'n': permissions 'write' are both"
		 " required by export 'a' (uses node 'n' as 'root' child) and"
		 " unshared by export 'c' (uses node 'n' as 'root' child).");
	b = try_root("export 'd'", node, PERM_CONSISTENT_READ, PERM_ALL, NULL);
	CU_ASSERT_EQUAL(node->perm, RW);
	CU_ASSERT_EQUAL(node->shared, PERM_CONSISTENT_READ);
	/* the driver is asked only when something changes for it */
	CU_ASSERT_EQUAL(toy_calls.perm_checks, 1);
	CU_ASSERT_EQUAL(toy_calls.perm_commits, 1);
	root_free(b);
	root_free(a);
	node = toy_open("{'driver':'toy','node-name':'r','read-only':true}");
	toy_hold(node);
	try_root("export 'a'", node, RW, PERM_ALL, "Block node is read-only");
	CU_ASSERT_EQUAL(node->perm, 0);
	toy_let_go(node);
	/* an image as the base of an overlay may not be written */
	node = toy_open("{'driver':'toy','node-name':'base'}");
	toy_hold(node);
	over = toy_open("{'driver':'toy-format','node-name':'over','file':"
			 "{'driver':'toy'},'backing':'base'}");
	b = try_root("export 'r'", over, RW, PERM_CONSISTENT_READ, NULL);
	try_root("export 'w'", node, RW, PERM_ALL,
		 "Permission conflict on node 'base': permissions 'write' are"
		 " both required by export 'w' (uses node 'base' as 'root'"
		 " child) and unshared by node 'over' (uses node 'base' as"
		 " 'backing' child).");
	root_free(b);
	toy_let_go(node);
}

/* The defaults of each role, as tools of the same protocol expect them. */
SIM_TEST(test_defaults)
{
	struct node *top, *flt;
	struct root *root;

	toy_start();
	top = toy_open("{'driver':'nop','file':{'driver':'toy-format',"
		"'node-name':'fmt','file':{'driver':'toy','node-name':'leaf'},"
		"'backing':{'driver':'toy','node-name':'base'}}}");
	/* also while nobody writes: a format changes its own metadata */
	flt = node_find("fmt");
	CU_ASSERT_EQUAL(flt->file->perm, RW | PERM_RESIZE);
	CU_ASSERT_EQUAL(flt->file->shared, PERM_CONSISTENT_READ |
			PERM_WRITE_UNCHANGED);
	CU_ASSERT_EQUAL(flt->backing->perm, 0);
	root = try_root("export 'e'", top, RW, PERM_ALL, NULL);
	CU_ASSERT_EQUAL(top->file->perm, RW);
	CU_ASSERT_EQUAL(top->file->shared, PERM_ALL);
	CU_ASSERT_EQUAL(flt->backing->perm, PERM_CONSISTENT_READ);
	CU_ASSERT_EQUAL(flt->backing->shared, PERM_ALL);
	CU_ASSERT_EQUAL(node_find("base")->perm, PERM_CONSISTENT_READ);
	root_free(root);
}

/* ---- undoing ---- */

static void check_unchanged(json_t *before)
{
	json_t *after = picture_take();

	CU_ASSERT(json_equal(before, after));
	json_decref(after);
}

static void must_fail(struct transaction *t, int code, const char *text)
{
	struct error *err = NULL;
	int ret = transaction_commit(t, NULL, &err);

	CU_ASSERT_EQUAL(ret, -code);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, text);
	if (strcmp(err->text, text))
		fprintf(stderr, "got:  %s\nwant: %s\n", err->text, text);
	error_clear(&err);
}

static void unexpected_hook(void *arg)
{
	(void)arg;
	CU_FAIL("a hook of a change that failed was called");
}

/* A change with every kind of step, which alone would succeed. */
static struct transaction *big_change(struct node *mid, struct node *extra,
				      struct node *filter)
{
	struct transaction *t = transaction_begin();

	transaction_move_parents(t, mid, filter);
	transaction_move(t, mid->backing, NULL);
	transaction_attach(t, mid, "backing2", ROLE_COW, extra);
	transaction_touch(t, mid);
	transaction_on_commit(t, unexpected_hook, NULL);
	return t;
}


SIM_TEST(test_undo)
{
	struct node *top, *mid, *extra, *filter, *fine;
	struct error *err = NULL;
	struct transaction *t;
	struct root *root;
	json_t *before;

	toy_start();
	top = toy_open("{'driver':'toy-format','node-name':'top','file':"
		"{'driver':'toy','node-name':'topfile'},'backing':{'driver':"
		"'toy-format','node-name':'mid','read-only':false,'file':"
		"{'driver':'toy','node-name':'midfile','read-only':false,"
		"'align':512},'backing':{'driver':'toy','node-name':"
		"'base'}}}");
	mid = node_find("mid");
	extra = toy_open("{'driver':'toy','node-name':'extra','align':4096,"
			  "'read-only':true}");
	fine = toy_open("{'driver':'toy-format','node-name':'fine','file':"
			 "{'driver':'toy','align':4096}}");
	filter = toy_open("{'driver':'nop','node-name':'filter','read-only':"
			   "false,'file':'mid'}");
	toy_hold(extra);
	toy_hold(fine);
	toy_hold(filter);
	root = toy_root("export 'e'", top, true, 512);
	before = picture_take();

	/* a step that the caller finds wrong */
	t = big_change(mid, extra, filter);
	error_set(&err, ENOENT, "nothing there");
	transaction_fail(t, err);
	err = NULL;
	must_fail(t, ENOENT, "nothing there");
	check_unchanged(before);

	/* a frozen link (C6) */
	t = transaction_begin();
	transaction_freeze(t, top->backing, "job 'commit0'");
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	t = big_change(mid, extra, filter);
	must_fail(t, EBUSY, "Cannot change 'backing' link from 'top' to 'mid':"
		  " it is used by job 'commit0'");
	edge_thaw(top->backing);
	check_unchanged(before);

	/* a cycle */
	t = big_change(mid, extra, filter);
	transaction_move(t, mid->file, top);
	must_fail(t, EINVAL, "Making 'filter' a backing child of 'top' would"
		  " create a cycle");
	check_unchanged(before);

	/* two children of one meaning */
	t = big_change(mid, extra, filter);
	transaction_attach(t, mid, "file2", ROLE_IMAGE, fine);
	must_fail(t, EINVAL, "Node 'mid' already has a 'file2' child");
	check_unchanged(before);

	/* permissions: nobody writes a read-only node */
	t = big_change(mid, extra, filter);
	transaction_move(t, &root->edge, extra);
	must_fail(t, EPERM, "Block node is read-only");
	check_unchanged(before);

	/* a driver's refusal, after others have agreed */
	toy_wishes.name = "extra";
	toy_wishes.fail_perm = -EAGAIN;
	toy_calls.perm_commits = 0;
	t = big_change(mid, extra, filter);
	must_fail(t, EAGAIN, "toy 'extra' refuses");
	toy_wishes.fail_perm = 0;
	CU_ASSERT_EQUAL(toy_calls.perm_commits, 0);
	check_unchanged(before);

	/* the drain's deadline */
	co_root_busy(root);
	t = big_change(mid, extra, filter);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), -ETIMEDOUT);
	error_clear(&err);
	root_idle(root);
	check_unchanged(before);
	CU_ASSERT_EQUAL(toy_calls.perm_commits, 0);

	/* withdrawn */
	t = big_change(mid, extra, filter);
	transaction_abort(t);
	check_unchanged(before);

	/* and it does work */
	t = transaction_begin();
	transaction_move_parents(t, mid, filter);
	transaction_move(t, mid->backing, NULL);
	transaction_attach(t, mid, "backing", ROLE_COW, extra);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	CU_ASSERT_PTR_EQUAL(top->backing->child, filter);
	CU_ASSERT_PTR_EQUAL(mid->backing->child, extra);
	CU_ASSERT_PTR_NULL(node_find("base"));
	json_decref(before);
	root_free(root);
	toy_let_go(extra);
	toy_let_go(filter);
	toy_let_go(fine);
}

/* ---- reopening (A37) ---- */

static struct reopen *want(struct node *node, struct reopen *rest)
{
	struct error *err = NULL;
	struct reopen *r = reopen_new(node, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	r->next = rest;
	return r;
}

static void must_not_reopen(struct reopen *list, const char *text)
{
	struct error *err = NULL;

	CU_ASSERT(graph_reopen(list, NULL, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, text);
	if (strcmp(err->text, text))
		fprintf(stderr, "got:  %s\nwant: %s\n", err->text, text);
	error_clear(&err);
	CU_ASSERT_EQUAL(toy_calls.reopen_commits, 0);
	CU_ASSERT_EQUAL(toy_calls.reopen_aborts, toy_calls.reopen_prepares);
}

static void give_align(struct reopen *r, unsigned align)
{
	json_t *options = json_pack("{s:i}", "align", (int)align);
	struct error *err = NULL;

	CU_ASSERT_EQUAL(reopen_set_options(r, options, &err), 0);
	CU_ASSERT_EQUAL(json_object_size(options), 0);
	json_decref(options);
}

/* Takes over value. */
static void check_option(const struct node *node, const char *name,
			 json_t *value)
{
	json_t *options = node_describe(node);

	CU_ASSERT(json_equal(json_object_get(options, name), value));
	json_decref(options);
	json_decref(value);
}

static int refuse_take(void *arg, struct error **err)
{
	(void)arg;
	co_sleep(1000000);
	return error_set(err, EIO, "no record");
}

static const struct decision refuse = { refuse_take, NULL };

/* Two nodes: all or none, whatever fails. */
static struct reopen *both(struct node *img, struct node *leaf)
{
	struct reopen *list = want(leaf, NULL);

	give_align(list, 512);
	list->discard_unmap = true;
	list = want(img, list);
	list->no_flush = true;
	return list;
}

SIM_TEST(test_reopen_undo)
{
	struct node *img, *leaf, *other, *small;
	struct error *err = NULL;
	struct transaction *t;
	struct reopen *r;
	struct root *root;
	json_t *before, *options;
	char sector[512];

	toy_start();
	img = toy_open("{'driver':'toy-format','node-name':'img','file':"
		       "{'driver':'toy','node-name':'leaf','discard':"
		       "'ignore'},'backing':{'driver':'toy','node-name':"
		       "'base'}}");
	leaf = node_find("leaf");
	other = toy_open("{'driver':'toy','node-name':'other'}");
	small = toy_open("{'driver':'toy','node-name':'small','size':'512k'}");
	toy_hold(other);
	toy_hold(small);
	root = toy_root("export 'e'", img, true, 512);
	before = picture_take();

	/* a driver's prepare, after another's */
	toy_wishes.name = "leaf";
	toy_wishes.fail_reopen = -EACCES;
	must_not_reopen(both(img, leaf), "toy 'leaf' does not reopen");
	toy_wishes.fail_reopen = 0;
	check_unchanged(before);

	/* what is not flushed cannot be answered for later */
	toy_request(root, REQ_WRITE, 0, 512, sector, 0);
	toy_wishes.fail_flush = -EIO;
	must_not_reopen(both(img, leaf), "Could not flush node 'leaf':"
			" Input/output error");
	toy_wishes.fail_flush = 0;
	leaf->io->failed = false;
	check_unchanged(before);

	/* permissions: somebody writes */
	r = both(img, leaf);
	r->read_only = r->next->read_only = true;
	must_not_reopen(r, "Read-only block node 'img' cannot support"
			" read-write users");
	check_unchanged(before);

	/* a size that the new blocks do not divide */
	r = want(leaf, NULL);
	options = json_pack("{s:i}", "size", 65536);
	CU_ASSERT_EQUAL(reopen_set_options(r, options, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err->text, "Cannot change the option 'size' of"
			       " node 'leaf'");
	error_clear(&err);
	json_decref(options);
	/* one at a time */
	CU_ASSERT_PTR_NULL(reopen_new(leaf, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Node 'leaf' is being reopened");
	error_clear(&err);
	co_reopen_end(r, false);
	check_unchanged(before);

	/* another file, and one that is not as long */
	r = want(img, NULL);
	reopen_set_child(r, "file", other);
	must_not_reopen(r, "Cannot replace 'file' of node 'img' by 'other': it"
			" is not the same file");
	check_unchanged(before);

	/* the drain's deadline */
	co_root_busy(root);
	CU_ASSERT_EQUAL(graph_reopen(both(img, leaf), NULL, &err), -ETIMEDOUT);
	error_clear(&err);
	root_idle(root);
	CU_ASSERT_EQUAL(toy_calls.reopen_aborts, toy_calls.reopen_prepares);
	check_unchanged(before);

	/* the record (A36), and withdrawn */
	for (unsigned i = 0; i < 2; i++) {
		r = both(img, leaf);
		CU_ASSERT_EQUAL(co_reopen_prepare(r, &err), 0);
		CU_ASSERT_EQUAL(co_reopen_prepare(r->next, &err), 0);
		t = transaction_begin();
		transaction_reopen(t, r);
		transaction_reopen(t, r->next);
		transaction_set_decision(t, &refuse, NULL);
		if (i)
			transaction_abort(t);
		else
			must_fail(t, EIO, "no record");
		co_reopen_end(r, false);
		check_unchanged(before);
	}
	CU_ASSERT_EQUAL(toy_calls.reopen_commits, 0);
	CU_ASSERT_EQUAL(toy_calls.reopen_aborts, toy_calls.reopen_prepares);
	CU_ASSERT(!img->reopening && !leaf->reopening);

	/* and it does work; coarser blocks than the export's requests have are
	 * read, modified and written (A12) */
	toy_calls.reopen_prepares = 0;
	r = both(img, leaf);
	reopen_set_child(r, "backing", small);
	CU_ASSERT_EQUAL(graph_reopen(r, NULL, &err), 0);
	CU_ASSERT(img->no_flush && leaf->discard_unmap);
	CU_ASSERT_EQUAL(leaf->limits.align, 512);
	CU_ASSERT_PTR_EQUAL(img->backing->child, small);
	CU_ASSERT_PTR_NULL(node_find("base"));
	/* as it would be opened now */
	check_option(leaf, "align", json_integer(512));
	check_option(leaf, "discard", json_string("unmap"));
	check_option(img, "backing", json_string("small"));
	CU_ASSERT(img->backing_given);
	r = want(leaf, NULL);
	give_align(r, 4096);
	CU_ASSERT_EQUAL(graph_reopen(r, NULL, &err), 0);
	CU_ASSERT(leaf->serialise);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 512, 512, sector, 0), 0);
	CU_ASSERT_EQUAL(toy_calls.reopen_prepares, 2);
	CU_ASSERT_EQUAL(toy_calls.reopen_commits, 2);
	CU_ASSERT_EQUAL(toy_calls.reopen_finishes, 2);
	CU_ASSERT_EQUAL(toy_calls.reopen_ends, 2);
	json_decref(before);
	root_free(root);
	toy_let_go(other);
	toy_let_go(small);
}

/* M10: what a node that goes read-only still has is written afterwards, with
 * the permissions for it; they go when it is done. */
SIM_TEST(test_reopen_debt)
{
	struct node *img, *leaf;
	struct error *err = NULL;
	struct reopen *r;

	toy_start();
	img = toy_open("{'driver':'toy-format','node-name':'img','file':"
		       "{'driver':'toy','node-name':'leaf'}}");
	toy_hold(img);
	leaf = node_find("leaf");
	toy_wishes.name = "leaf";
	toy_wishes.fail_settle = -EIO;
	for (unsigned i = 0; i < 2; i++) {
		r = want(leaf, want(img, NULL));
		r->read_only = r->next->read_only = true;
		CU_ASSERT_EQUAL(graph_reopen(r, NULL, &err), 0);
		CU_ASSERT(img->read_only && leaf->read_only && !img->owes);
		/* the format is done with writing in any case */
		CU_ASSERT_EQUAL(img->file->perm, PERM_CONSISTENT_READ);
		CU_ASSERT_EQUAL(leaf->owes, !i);
		/* the next flush says that its sync failed */
		CU_ASSERT_EQUAL(co_node_flush(img), i ? 0 : -EIO);
		leaf->io->failed = false;
		try_root("export 'w'", img, RW, PERM_ALL,
			 "Block node is read-only");
		/* only both */
		if (!i) {
			r = want(img, NULL);
			r->read_only = false;
			CU_ASSERT(graph_reopen(r, NULL, &err) < 0);
			CU_ASSERT_STRING_EQUAL(err->text,
					       "Block node is read-only");
			error_clear(&err);
		}
		toy_wishes.fail_settle = 0;
		r = want(img, want(leaf, NULL));
		r->read_only = r->next->read_only = false;
		CU_ASSERT_EQUAL(graph_reopen(r, NULL, &err), 0);
		CU_ASSERT_EQUAL(img->file->perm, RW | PERM_RESIZE);
	}
	toy_let_go(img);
}

/* ---- from options, as blockdev-reopen has them (C5) ---- */

static int reopen_as(const char *text, struct error **err)
{
	json_t *options = toy_json(text);
	struct reopen *list = reopen_by_options(options, err);
	int ret = *err ? -1 : graph_reopen(list, NULL, err);

	json_decref(options);
	return ret;
}

static void must_reopen(const char *text)
{
	struct error *err = NULL;

	CU_ASSERT_EQUAL(reopen_as(text, &err), 0);
	if (err)
		fprintf(stderr, "%s: %s\n", text, err->text);
	error_clear(&err);
}

static void must_refuse(const char *text, const char *why)
{
	json_t *before = picture_take();
	struct error *err = NULL;

	CU_ASSERT(reopen_as(text, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, why);
	if (strcmp(err->text, why))
		fprintf(stderr, "got:  %s\nwant: %s\n", err->text, why);
	error_clear(&err);
	check_unchanged(before);
	json_decref(before);
}

#define IMG "{'driver':'toy-format','node-name':'img',"
#define LEAF "{'driver':'toy','node-name':'leaf'"

/* What is not said goes back to its default; children that were opened with
 * the node keep what they were given, and take the rest from it. */
SIM_TEST(test_reopen_options)
{
	struct node *img, *leaf, *base, *other;

	toy_start();
	other = toy_open("{'driver':'toy','node-name':'other'}");
	toy_hold(other);
	img = toy_open("{'driver':'toy-format','node-name':'img','discard':"
		       "'unmap','file':{'driver':'toy','node-name':'leaf',"
		       "'align':512,'cache':{'direct':true}},'backing':"
		       "{'driver':'toy','node-name':'base'}}");
	toy_hold(img);
	leaf = node_find("leaf");
	base = node_find("base");
	CU_ASSERT(base->read_only && !img->read_only);

	must_reopen("[" IMG "'file':'leaf','backing':'base','read-only':true,"
		    "'cache':{'no-flush':true}}]");
	CU_ASSERT(img->read_only && leaf->read_only);
	CU_ASSERT(!img->discard_unmap && leaf->discard_unmap);
	CU_ASSERT(img->no_flush && leaf->no_flush && base->no_flush);
	CU_ASSERT(!img->cache_direct && leaf->cache_direct);
	check_option(leaf, "align", json_integer(512));
	must_reopen("[" IMG "'file':'leaf','backing':'base'}]");
	CU_ASSERT(!img->read_only && !leaf->read_only && base->read_only);
	CU_ASSERT(!img->no_flush && !leaf->no_flush && !base->no_flush);
	/* what is said of a child is all that it is given from then on */
	must_reopen("[" IMG "'backing':'base','file':" LEAF ",'read-only':"
		    "false}}]");
	CU_ASSERT(!leaf->cache_direct);
	CU_ASSERT_PTR_NULL(json_object_get(leaf->given, "align"));
	must_refuse("[" IMG "'file':'leaf','backing':'base','read-only':true},"
		    "{'driver':'toy','node-name':'other','size':1024}]",
		    "Cannot change the option 'size' of node 'other'");
	must_reopen("[" IMG "'file':'leaf','backing':'base','read-only':true"
		    "}]");
	CU_ASSERT(img->read_only && !leaf->read_only);
	must_reopen("[" IMG "'file':'leaf','backing':'base'}]");
	must_refuse("[" LEAF ",'read-only':true}]", "Read-only block node"
		    " 'leaf' cannot support read-write users");

	/* a call may be about a node twice; its parent says less than it */
	must_reopen("[" LEAF ",'read-only':true}," IMG "'file':'leaf',"
		    "'backing':'base','read-only':true}]");
	CU_ASSERT(img->read_only && leaf->read_only);
	must_reopen("[" IMG "'file':'leaf','backing':'base'}," LEAF "}]");
	CU_ASSERT(!img->read_only && !leaf->read_only);

	/* the backing image is changed, left, and taken away */
	must_refuse("[" IMG "'file':'leaf'}]", "backing is missing for 'img'");
	must_refuse("[" IMG "'file':'leaf','backing':'img'}]",
		    "Making 'img' a backing child of 'img' would create a"
		    " cycle");
	must_refuse("[" IMG "'file':'leaf','backing':'none'}]",
		    "Cannot find device='' nor node-name='none'");
	must_refuse("[" IMG "'file':'leaf','backing':{'driver':'nop','file':"
		    "'base'}}]", "Cannot change the option 'driver' of node"
		    " 'base'");
	must_refuse("[" IMG "'file':null,'backing':'base'}]",
		    "Cannot change the option 'file.driver' of node 'img'");
	must_reopen("[" IMG "'file':'leaf','backing':'other'}]");
	CU_ASSERT_PTR_EQUAL(img->backing->child, other);
	CU_ASSERT_PTR_NULL(node_find("base"));
	/* it was not opened with the node */
	must_refuse("[" IMG "'file':'leaf','backing':{'driver':'toy'}}]",
		    "Cannot change the option 'backing.driver' of node 'img'");
	must_reopen("[" IMG "'file':'leaf','backing':'other','read-only':"
		    "true}]");
	CU_ASSERT(!other->read_only);
	must_reopen("[" IMG "'file':'leaf','backing':null}]");
	CU_ASSERT_PTR_NULL(img->backing);
	must_reopen("[" IMG "'file':'leaf'}]");

	/* names, drivers */
	must_refuse("[{'driver':'toy'}]", "node-name not specified");
	must_refuse("[{'driver':'toy','node-name':'none'}]",
		    "Failed to find node with node-name='none'");
	must_refuse("[{'driver':'toy','node-name':'img'}]",
		    "Cannot change the option 'driver' of node 'img'");
	must_refuse("[{'driver':'toy','node-name':'other','none':1}]",
		    "Parameter 'none' is unexpected");
	must_refuse("[{'driver':'toy','node-name':'other','force-share':true,"
		    "'read-only':true}]",
		    "Cannot change the option 'force-share' of node 'other'");
	must_refuse("[{'driver':'toy','node-name':'leaf','align':512,"
		    "'size':'1M'},{'driver':'toy','node-name':'none'}]",
		    "Failed to find node with node-name='none'");
	must_reopen("[]");
	toy_let_go(img);
	toy_let_go(other);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* A circle that two reopenings make together, and one node below two others. */
SIM_TEST(test_reopen_circle)
{
	struct node *a, *b, *base;

	toy_start();
	base = toy_open("{'driver':'toy','node-name':'base','read-only':true}");
	toy_hold(base);
	a = toy_open("{'driver':'toy-format','node-name':'a','file':"
		     "{'driver':'toy','node-name':'af'},'backing':'base'}");
	b = toy_open("{'driver':'toy-format','node-name':'b','file':"
		     "{'driver':'toy','node-name':'bf'},'backing':'base'}");
	toy_hold(a);
	toy_hold(b);
#define TOP(name, back) "{'driver':'toy-format','node-name':'" name "'," \
	"'file':'" name "f','backing':'" back "'}"
	must_refuse("[" TOP("a", "b") "," TOP("b", "a") "]",
		    "Making 'b' a backing child of 'a' would create a cycle");
	must_reopen("[" TOP("a", "b") "]");
	must_refuse("[" TOP("b", "a") "]",
		    "Making 'a' a backing child of 'b' would create a cycle");
	/* the other way round in one step */
	must_reopen("[" TOP("b", "a") "," TOP("a", "base") "]");
	CU_ASSERT_PTR_EQUAL(node_cow_child(b), a);
	CU_ASSERT_PTR_EQUAL(node_cow_child(a), base);
	toy_let_go(b);
	toy_let_go(a);
	toy_let_go(base);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* A graph may branch and join again, but not without end. */
SIM_TEST(test_ways)
{
	struct node *below, *node;
	char json[256], *text;
	unsigned i;

	toy_start();
	below = toy_open("{'driver':'toy','node-name':'n0','read-only':true}");
	for (i = 1; i < 30; i++) {
		snprintf(json, sizeof(json), "{\"driver\":\"toy-format\","
			 "\"node-name\":\"n%u\",\"read-only\":true,"
			 "\"file\":\"n%u\",\"backing\":\"n%u\"}", i, i - 1,
			 i - 1);
		if (i == 17)
			break;
		node = toy_open(json);
		toy_let_go(below);
		below = node;
	}
	text = toy_open_error(json);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "branches too often"));
	free(text);
	toy_let_go(below);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* C1: parents below the new node keep their edges, the others move. */
SIM_TEST(test_append)
{
	struct node *old, *over, *other;
	struct error *err = NULL;
	struct transaction *t;
	struct root *a, *b;

	toy_start();
	old = toy_open("{'driver':'toy','node-name':'old'}");
	a = try_root("export 'a'", old, RW, PERM_ALL, NULL);
	b = try_root("export 'b'", old, PERM_CONSISTENT_READ, PERM_ALL, NULL);
	other = toy_open("{'driver':'toy-format','node-name':'other','file':"
			  "{'driver':'toy'},'backing':'old'}");
	over = toy_open("{'driver':'toy-format','node-name':'over','file':"
			 "{'driver':'toy'}}");
	t = transaction_begin();
	transaction_attach(t, over, "backing", ROLE_COW, old);
	transaction_move_parents(t, old, over);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	CU_ASSERT_PTR_EQUAL(a->edge.child, over);
	CU_ASSERT_PTR_EQUAL(b->edge.child, over);
	CU_ASSERT_PTR_EQUAL(other->backing->child, over);
	CU_ASSERT_PTR_EQUAL(over->backing->child, old);
	CU_ASSERT_EQUAL(old->perm, PERM_CONSISTENT_READ);
	toy_let_go(over);
	root_free(a);
	root_free(b);
	toy_let_go(other);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

static void must_not_replace(const struct place *place, struct node *to,
			     const char *why)
{
	json_t *before = picture_take();
	struct change_stats stats;
	struct error *err = NULL;

	CU_ASSERT(graph_replace(place, to, &stats, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, why);
	if (strcmp(err->text, why))
		fprintf(stderr, "got:  %s\nwant: %s\n", err->text, why);
	error_clear(&err);
	check_unchanged(before);
	json_decref(before);
}

static void must_replace(const struct place *place, struct node *to)
{
	struct change_stats stats;
	struct error *err = NULL;

	CU_ASSERT_EQUAL(graph_replace(place, to, &stats, &err), 0);
	if (err)
		fprintf(stderr, "%s\n", err->text);
	error_clear(&err);
}

/* C2: another node for one parent, a root or a node; sizes, files and
 * permissions must fit, else nothing changes. */
SIM_TEST(test_replace)
{
	struct node *n, *same, *small, *img, *over;
	struct place at_root = { .child = "root" }, at_file, at_base;
	char sector[512] = "x";
	struct root *a, *b;

	toy_start();
	n = toy_open("{'driver':'toy','node-name':'n'}");
	same = toy_open("{'driver':'toy','node-name':'same'}");
	small = toy_open("{'driver':'toy','node-name':'small','size':65536}");
	toy_hold(same);
	toy_hold(small);
	a = toy_root("export 'a'", n, true, 512);
	b = toy_root("export 'b'", n, true, 512);
	at_root.root = a;
	must_not_replace(&at_root, small, "Cannot replace 'root' of export 'a'"
			 " by 'small': their sizes differ");
	at_root.child = "file";
	must_not_replace(&at_root, same, "The child of export 'a' is 'root',"
			 " not 'file'");
	at_root.child = "root";
	/* what was written before is flushed where it was written to */
	CU_ASSERT_EQUAL(toy_request(a, REQ_WRITE, 0, 512, sector, 0), 0);
	toy_wishes.fail_flush = -EIO;
	must_not_replace(&at_root, same, "Could not flush node 'n':"
			 " Input/output error");
	toy_wishes.fail_flush = 0;
	n->io->failed = false;
	CU_ASSERT_EQUAL(toy_request(a, REQ_WRITE, 0, 512, sector, 0), 0);
	must_replace(&at_root, same);
	CU_ASSERT_PTR_EQUAL(a->edge.child, same);
	CU_ASSERT_PTR_EQUAL(b->edge.child, n);
	CU_ASSERT_EQUAL(toy_of(n)->stable[0], 'x');
	CU_ASSERT_EQUAL(same->perm, PERM_ALL);
	/* b was not held up */
	CU_ASSERT_EQUAL(a->drains.count, 1);
	CU_ASSERT_EQUAL(b->drains.count, 0);
	must_replace(&at_root, same);
	CU_ASSERT_EQUAL(a->drains.count, 1);

	/* what a format lies in is the same file; what is below it may be of
	 * any size */
	img = toy_open("{'driver':'toy-format','node-name':'img','file':"
		       "{'driver':'toy','node-name':'leaf'},'backing':"
		       "{'driver':'toy','node-name':'base'}}");
	toy_hold(img);
	at_file = (struct place){ .parent = img, .child = "file" };
	at_base = (struct place){ .parent = img, .child = "backing" };
	must_not_replace(&at_file, same, "Cannot replace 'file' of node 'img'"
			 " by 'same': it is not the same file");
	must_not_replace(&at_base, img, "Making 'img' a backing child of 'img'"
			 " would create a cycle");
	at_base.child = "backup";
	must_not_replace(&at_base, small,
			 "Node 'img' doesn't have child 'backup'");
	at_base.child = "backing";
	over = toy_open("{'driver':'toy-format','node-name':'over','file':"
			"{'driver':'toy'},'backing':'img'}");
	root_free(b);
	b = try_root("export 'b'", over, RW, PERM_CONSISTENT_READ, NULL);
	must_not_replace(&at_base, same, "Permission conflict on node 'same':"
			 " permissions 'write, resize' are both required by"
			 " export 'a' (uses node 'same' as 'root' child) and"
			 " unshared by node 'img' (uses node 'same' as"
			 " 'backing' child).");
	must_replace(&at_base, small);
	CU_ASSERT_PTR_EQUAL(node_cow_child(img), small);
	CU_ASSERT(img->backing_given);
	/* what nobody else had is closed */
	CU_ASSERT_PTR_NULL(node_find("base"));
	root_free(a);
	root_free(b);
	toy_let_go(img);
	toy_let_go(same);
	toy_let_go(small);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* ---- the record of it (A36, M5) ---- */

static struct {
	unsigned calls, fails;
	struct root *root;
	const char *shows;	/* what the root will show; NULL: not asked */
} decided;

static int record_decision(bool decides, struct error **err)
{
	CU_ASSERT(decides);
	CU_ASSERT_PTR_NOT_NULL(decided.root->gates[1].drain);
	decided.calls++;
	/* the one that failed is taken back: the graph is as it was */
	if (!transaction_announced())
		return 0;
	CU_ASSERT_STRING_EQUAL(decided.root->edge.target->name, decided.shows);
	if (!decided.fails)
		return 0;
	decided.fails--;
	return error_set(err, EIO, "no record");
}

/* Who shows another image than before says so durably while nobody writes; a
 * filter above the same image is no matter of the record. */
SIM_TEST(test_replace_is_decided)
{
	struct place place = { .child = "root" };
	struct node *n, *same, *f;
	struct error *err = NULL;
	struct root *root;

	toy_start();
	n = toy_open("{'driver':'toy','node-name':'n'}");
	same = toy_open("{'driver':'toy','node-name':'same'}");
	f = toy_open("{'driver':'nop','node-name':'f','file':'n'}");
	node_hold(n);
	node_hold(same);
	node_hold(f);
	root = toy_root("export 'a'", n, true, 512);
	place.root = decided.root = root;
	decided.shows = "same";
	decided.fails = 1;
	transaction_set_recorder(record_decision);
	must_not_replace(&place, same, "no record");
	CU_ASSERT_EQUAL(decided.calls, 2);
	must_replace(&place, f);
	must_replace(&place, n);
	CU_ASSERT_EQUAL(decided.calls, 2);
	must_replace(&place, same);
	CU_ASSERT_EQUAL(decided.calls, 3);
	transaction_set_recorder(NULL);
	root_free(root);
	node_let_go(f);
	toy_let_go(f);
	node_let_go(same);
	toy_let_go(same);
	CU_ASSERT_EQUAL(node_del("n", &err), 0);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/*
 * G3: `file` and `backing` are what the edges say, and a detach that is rolled
 * back has touched neither. One that is done clears both, and attaching sets
 * them again.
 */
SIM_TEST(test_pointers)
{
	struct node *img, *leaf, *base, *flt;
	struct error *err = NULL;
	struct transaction *t;
	json_t *before;

	toy_start();
	leaf = toy_open("{'driver':'toy','node-name':'leaf'}");
	base = toy_open("{'driver':'toy','node-name':'base','read-only':true}");
	toy_hold(leaf);
	toy_hold(base);
	img = toy_open("{'driver':'toy-format','node-name':'img','file':'leaf',"
		       "'backing':'base'}");
	toy_hold(img);
	flt = toy_open("{'driver':'nop','node-name':'flt','file':'img'}");
	CU_ASSERT_PTR_NULL(flt->backing);
	before = picture_take();
	t = transaction_begin();
	transaction_move(t, img->file, NULL);
	transaction_move(t, img->backing, NULL);
	CU_ASSERT_PTR_EQUAL(img->file->child, leaf);
	error_set(&err, EIO, "not now");
	transaction_fail(t, err);
	err = NULL;
	must_fail(t, EIO, "not now");
	CU_ASSERT_PTR_EQUAL(img->file->child, leaf);
	CU_ASSERT_PTR_EQUAL(img->backing->child, base);
	CU_ASSERT_PTR_EQUAL(node_primary_child(img), leaf);
	CU_ASSERT_PTR_EQUAL(node_cow_child(img), base);
	check_unchanged(before);
	/* the order of the edges is part of the picture */
	t = transaction_begin();
	transaction_move(t, img->backing, NULL);
	transaction_move(t, img->file, NULL);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	CU_ASSERT(!img->file && !img->backing && !img->children);
	t = transaction_begin();
	transaction_attach(t, img, "file", ROLE_IMAGE, leaf);
	transaction_attach(t, img, "backing", ROLE_COW, base);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	check_unchanged(before);
	json_decref(before);
	toy_let_go(flt);
	toy_let_go(img);
	toy_let_go(leaf);
	toy_let_go(base);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* P2: all parents of a node move to another in one step, as at the end of a
 * commit into it; one that may not keeps all of them. */
SIM_TEST(test_all_parents)
{
	struct node *top, *base, *over;
	struct error *err = NULL;
	struct transaction *t;
	struct root *a, *w;
	json_t *before;

	toy_start();
	base = toy_open("{'driver':'toy','node-name':'base'}");
	top = toy_open("{'driver':'toy','node-name':'top'}");
	toy_hold(base);
	toy_hold(top);
	/* one writes to base and lets nobody else do so */
	w = try_root("export 'w'", base, RW, PERM_CONSISTENT_READ, NULL);
	a = try_root("export 'a'", top, RW, PERM_ALL, NULL);
	over = toy_open("{'driver':'toy-format','node-name':'over','read-only':"
			"true,'file':{'driver':'toy'},'backing':'top'}");
	toy_hold(over);
	before = picture_take();
	t = transaction_begin();
	CU_ASSERT_EQUAL(transaction_move_parents(t, top, base), 2);
	must_fail(t, EPERM, "Permission conflict on node 'base': permissions"
		  " 'write' are both required by export 'a' (uses node 'base'"
		  " as 'root' child) and unshared by export 'w' (uses node"
		  " 'base' as 'root' child).");
	CU_ASSERT_PTR_EQUAL(node_cow_child(over), top);
	check_unchanged(before);
	json_decref(before);
	root_free(w);
	t = transaction_begin();
	CU_ASSERT_EQUAL(transaction_move_parents(t, top, base), 2);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	CU_ASSERT_PTR_EQUAL(a->edge.child, base);
	CU_ASSERT_PTR_EQUAL(node_cow_child(over), base);
	CU_ASSERT_PTR_NULL(top->parents);
	root_free(a);
	toy_let_go(over);
	toy_let_go(top);
	toy_let_go(base);
	CU_ASSERT_PTR_NULL(node_next(NULL));
}

/* Insert and remove on one parent's edge; what they refuse. */
SIM_TEST(test_insert)
{
	const struct link_of of_b = { "b", NULL }, of_c = { "c", NULL };
	json_t *options = json_pack("{s:s, s:s}", "driver", "nop",
				    "node-name", "f");
	struct error *err = NULL;
	struct change_stats stats;
	struct node *node, *f;
	struct root *a, *b;

	toy_start();
	node = toy_open("{'driver':'toy','node-name':'n','discard':'unmap'}");
	a = try_root("export 'a'", node, RW, PERM_ALL, NULL);
	b = try_root("export 'b'", node, RW, PERM_ALL, NULL);
	CU_ASSERT_PTR_NULL(graph_insert(node, &of_c, options, NULL, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "'c' is not a parent of node 'n'");
	error_clear(&err);
	CU_ASSERT_PTR_NULL(node_find("f"));
	f = graph_insert(node, &of_b, options, &stats, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT(f->discard_unmap);
	CU_ASSERT_PTR_EQUAL(a->edge.child, node);
	CU_ASSERT_PTR_EQUAL(b->edge.child, f);
	/* a was not held up */
	CU_ASSERT_EQUAL(a->drains.count, 0);
	CU_ASSERT_EQUAL(b->drains.count, 1);
	CU_ASSERT_EQUAL(graph_remove(node, NULL, NULL, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err->text, "Node 'n' is not a filter");
	error_clear(&err);
	CU_ASSERT_EQUAL(graph_remove(f, NULL, &stats, &err), 0);
	toy_let_go(f);
	CU_ASSERT_PTR_EQUAL(b->edge.child, node);
	CU_ASSERT_PTR_NULL(node_find("f"));
	json_object_set_new(options, "driver", json_string("toy"));
	CU_ASSERT_PTR_NULL(graph_insert(node, NULL, options, NULL, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Driver 'toy' is not a filter");
	error_clear(&err);
	root_free(a);
	root_free(b);

	/* as when the last parent goes while the filter is opened */
	json_object_set_new(options, "driver", json_string("nop"));
	node = toy_open("{'driver':'toy','node-name':'n'}");
	CU_ASSERT_PTR_NULL(graph_insert(node, NULL, options, NULL, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Node 'n' has no parent that could "
			       "move to a filter");
	error_clear(&err);
	toy_let_go(node);
	CU_ASSERT_PTR_NULL(node_next(NULL));
	json_decref(options);
}

static void insert_nowhere(struct node *below, const char *parent,
			   const char *child, const char *why)
{
	const struct link_of of = { parent, child };
	json_t *options = json_pack("{s:s}", "driver", "nop");
	struct error *err = NULL;

	CU_ASSERT_PTR_NULL(graph_insert(below, &of, options, NULL, &err));
	CU_ASSERT_STRING_EQUAL(err->text, why);
	error_clear(&err);
	json_decref(options);
}

/* C4: of two links of one parent the one that is named; out for one parent. */
SIM_TEST(test_insert_into_one_link)
{
	const struct link_of of_backing = { "top", "backing" };
	const struct link_of of_r = { "r", NULL };
	json_t *options = json_pack("{s:s, s:s}", "driver", "nop",
				    "node-name", "f");
	struct node *low, *top, *other, *f;
	struct error *err = NULL;
	struct root *r;

	toy_start();
	low = toy_open("{'driver':'toy','node-name':'low','read-only':true}");
	top = toy_open("{'driver':'toy-format','node-name':'top','file':'low',"
		       "'backing':'low','read-only':true}");
	r = try_root("export 'r'", low, PERM_CONSISTENT_READ, PERM_ALL, NULL);
	insert_nowhere(low, "top", NULL, "'top' has node 'low' as 'backing' and"
		       " as 'file': say which with 'child'");
	insert_nowhere(low, "top", "root", "Node 'low' is not the 'root' child"
		       " of 'top'");
	insert_nowhere(low, "r", "file", "Node 'low' is not the 'file' child"
		       " of 'r'");
	f = graph_insert(low, &of_backing, options, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_PTR_EQUAL(top->backing->child, f);
	CU_ASSERT_PTR_EQUAL(top->file->child, low);
	CU_ASSERT_PTR_EQUAL(r->edge.child, low);

	/* with a second parent it stays for that one */
	other = toy_open("{'driver':'raw','node-name':'other','file':'f',"
			 "'read-only':true}");
	CU_ASSERT_EQUAL(graph_remove(f, &of_r, NULL, &err), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err->text, "'r' is not a parent of node 'f'");
	error_clear(&err);
	CU_ASSERT_EQUAL(graph_remove(f, &of_backing, NULL, &err), 0);
	CU_ASSERT_PTR_EQUAL(top->backing->child, low);
	CU_ASSERT_PTR_EQUAL(other->file->child, f);
	toy_let_go(f);
	toy_let_go(other);
	CU_ASSERT_PTR_NULL(node_find("f"));
	root_free(r);
	toy_let_go(top);
	CU_ASSERT_PTR_NULL(node_next(NULL));
	json_decref(options);
}

/* A12: what makes a node serialise, and that it is switched under a drain. */
SIM_TEST(test_serialise)
{
	struct node *node;
	struct root *coarse, *fine;

	toy_start();
	node = toy_open("{'driver':'raw','file':{'driver':'toy','node-name':"
			 "'leaf','align':4096}}");
	CU_ASSERT_EQUAL(node->limits.align, 4096);
	CU_ASSERT_EQUAL(node->own_mask, 0);
	CU_ASSERT_EQUAL(node_find("leaf")->own_mask, 4095);
	coarse = toy_root("export 'a'", node, true, 4096);
	CU_ASSERT(!node_find("leaf")->serialise);
	fine = toy_root("export 'b'", node, true, 512);
	CU_ASSERT(node_find("leaf")->serialise);
	CU_ASSERT_EQUAL(coarse->drains.count, 1);
	root_free(fine);
	/* letting go holds nobody up */
	CU_ASSERT_EQUAL(coarse->drains.count, 1);
	root_free(coarse);
	/* a window that does not start on a block */
	node = toy_open("{'driver':'raw','offset':512,'size':65536,'file':"
		"{'driver':'toy','node-name':'leaf','align':4096}}");
	coarse = toy_root("export 'a'", node, true, 4096);
	CU_ASSERT(node_find("leaf")->serialise);
	root_free(coarse);
}

TEST_MAIN("graph-change",
	  TEST(test_conflicts),
	  TEST(test_defaults),
	  TEST(test_undo),
	  TEST(test_reopen_undo),
	  TEST(test_reopen_debt),
	  TEST(test_reopen_options),
	  TEST(test_reopen_circle),
	  TEST(test_ways),
	  TEST(test_append),
	  TEST(test_replace),
	  TEST(test_replace_is_decided),
	  TEST(test_pointers),
	  TEST(test_all_parents),
	  TEST(test_insert),
	  TEST(test_insert_into_one_link),
	  TEST(test_serialise))
