/* SPDX-License-Identifier: MIT */
/*
 * graph-snapshot.c - live snapshots (C1, B4) and several changes as one (B8):
 * who moves and who stays, what the nodes keep (S2), and that a step which
 * fails, whichever it is, leaves everything as it was.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/edge.h"
#include "graph/io.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/picture.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

/* A disk of a format that can have an image below, of that name. */
static struct node *open_disk(const char *name, const char *more)
{
	char text[400];

	snprintf(text, sizeof(text), "{'driver':'toy-format','node-name':'%s',"
		 "'backing':null,%s'file':{'driver':'toy','node-name':"
		 "'%s-file'}}", name, more, name);
	return toy_open(text);
}

static int snapshot(struct node *node, struct node *overlay,
		    struct error **err)
{
	struct actions all = { NULL };
	int ret = co_action_add(&all, action_snapshot(node, overlay), err);

	if (ret == 0)
		return co_actions_commit(&all, NULL, err);
	co_actions_give_up(&all);
	return ret;
}

static void must_snapshot(struct node *node, struct node *overlay)
{
	struct error *err = NULL;

	CU_ASSERT_EQUAL(snapshot(node, overlay, &err), 0);
	if (err)
		fprintf(stderr, "%s\n", err->text);
	error_clear(&err);
}

static void must_refuse(int ret, struct error **err, const char *text)
{
	CU_ASSERT(ret < 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(*err);
	CU_ASSERT_STRING_EQUAL((*err)->text, text);
	if (strcmp((*err)->text, text))
		fprintf(stderr, "got:  %s\nwant: %s\n", (*err)->text, text);
	error_clear(err);
}

static void check_same(json_t *before)
{
	json_t *after = picture_take();

	CU_ASSERT(json_equal(before, after));
	json_decref(after);
}

static uint8_t buf[4096];

static int put(struct root *root, uint64_t offset, int byte)
{
	memset(buf, byte, sizeof(buf));
	return toy_request(root, REQ_WRITE, offset, sizeof(buf), buf, 0);
}

static int get(struct root *root, uint64_t offset)
{
	if (toy_request(root, REQ_READ, offset, sizeof(buf), buf, 0) < 0)
		return -1;
	return buf[0];
}

/* C1: every parent moves, filters too; those below the overlay and a job's own
 * do not. Nothing of the node's goes to the overlay or back (S2). */
SIM_TEST(who_moves)
{
	struct node *disk, *filter, *top;
	struct root *a, *b, *f;

	toy_start();
	disk = open_disk("disk", "");
	filter = toy_open("{'driver':'nop','node-name':'filter','read-only':"
			  "false,'file':'disk'}");
	top = open_disk("top", "'cache':{'direct':true},'discard':'unmap',");
	a = toy_root("export 'a'", disk, true, 512);
	b = toy_root("export 'b'", disk, true, 512);
	f = toy_root("export 'f'", filter, true, 512);
	toy_hold(top);
	CU_ASSERT_EQUAL(put(a, 0, 1), 0);
	must_snapshot(disk, top);
	CU_ASSERT_PTR_EQUAL(a->edge.child, top);
	CU_ASSERT_PTR_EQUAL(b->edge.child, top);
	CU_ASSERT_PTR_EQUAL(node_filtered_child(filter), top);
	CU_ASSERT_PTR_EQUAL(f->edge.child, filter);
	CU_ASSERT_PTR_EQUAL(node_cow_child(top), disk);
	CU_ASSERT_PTR_EQUAL(top->backing->child, disk);
	CU_ASSERT(disk->read_only && !disk->cache_direct && !top->read_only);
	CU_ASSERT(top->cache_direct && top->discard_unmap);
	CU_ASSERT(!disk->discard_unmap);
	/* its file is nobody else's, and goes with it */
	CU_ASSERT(node_find("disk-file")->read_only);
	CU_ASSERT_EQUAL(node_find("disk-file")->perm & PERM_WRITE, 0);
	/* what was there, and what comes */
	CU_ASSERT_EQUAL(put(f, TOY_CLUSTER, 2), 0);
	CU_ASSERT_EQUAL(get(b, 0), 1);
	CU_ASSERT_EQUAL(get(b, TOY_CLUSTER), 2);
	CU_ASSERT(!toy_format_is_allocated(disk, TOY_CLUSTER));
	root_free(a);
	root_free(b);
	root_free(f);
	toy_let_go(top);
}

/* Storage that does not answer keeps the change from being made, and nobody
 * waiting for longer than a drain may take (A3). */
SIM_TEST(test_a_flush_that_does_not_end)
{
	struct error *err = NULL;
	struct node *disk, *top;
	struct root *a;

	toy_start();
	disk = open_disk("disk", "");
	top = open_disk("top", "");
	a = toy_root("export 'a'", disk, true, 512);
	toy_hold(top);
	CU_ASSERT_EQUAL(put(a, 0, 1), 0);
	toy_wishes.hold = toy_wishes.hold_flush = true;
	must_refuse(snapshot(disk, top, &err), &err, "Node 'disk' has not been"
		    " flushed within 10.0 s: its storage does not answer");
	CU_ASSERT_PTR_EQUAL(a->edge.child, disk);
	CU_ASSERT_FALSE(disk->read_only);
	toy_wishes.hold = toy_wishes.hold_flush = false;
	toy_release();
	must_snapshot(disk, top);
	CU_ASSERT_PTR_EQUAL(a->edge.child, top);
	root_free(a);
	toy_let_go(top);
}

/* A29: what was acknowledged before is on stable storage before the overlay
 * takes writes, or else a flush of the overlay brings it there. */
SIM_TEST(flushed_before)
{
	struct node *disk, *top;
	struct root *root;
	struct toy *file;

	toy_start();
	disk = open_disk("disk", "");
	top = open_disk("top", "");
	toy_hold(top);
	root = toy_root("export 'a'", disk, true, 512);
	file = toy_of(node_find("disk-file"));
	CU_ASSERT_EQUAL(put(root, 0, 7), 0);
	CU_ASSERT_EQUAL(file->stable[0], 0);
	must_snapshot(disk, top);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(file->stable[0], 7);
	root_free(root);
	toy_let_go(top);
}

SIM_TEST(refused)
{
	struct node *disk, *top, *small, *filter, *plain;
	struct error *err = NULL;
	struct root *root, *other;
	json_t *before;

	toy_start();
	disk = open_disk("disk", "");
	top = open_disk("top", "");
	small = toy_open("{'driver':'toy-format','node-name':'small','backing':"
			 "null,'file':{'driver':'toy','size':65536}}");
	plain = toy_open("{'driver':'toy','node-name':'plain'}");
	filter = toy_open("{'driver':'nop','node-name':'filter','file':"
			  "'plain'}");
	toy_hold(top);
	toy_hold(small);
	toy_hold(filter);
	toy_hold(plain);
	root = toy_root("export 'a'", disk, true, 512);
	before = picture_take();
	must_refuse(snapshot(disk, small, &err), &err, "The overlay 'small' has"
		    " 65536 bytes, less than the 1048576 of node 'disk'");
	must_refuse(snapshot(disk, plain, &err), &err,
		    "The overlay does not support backing images");
	must_refuse(snapshot(disk, filter, &err), &err,
		    "Filters cannot be used as overlays");
	must_refuse(snapshot(disk, disk, &err), &err,
		    "The overlay is already in use");
	must_refuse(snapshot(top, top, &err), &err, "Making 'top' a backing"
		    " child of 'top' would create a cycle");
	/* its own file: a loop that is not seen at once */
	must_refuse(snapshot(node_find("top-file"), top, &err), &err,
		    "Read-only block node 'top-file' cannot support read-write"
		    " users");
	check_same(before);
	other = toy_root("export 'b'", top, true, 512);
	must_refuse(snapshot(disk, top, &err), &err,
		    "The overlay is already in use");
	root_free(other);
	check_same(before);

	/* C6 */
	json_decref(before);
	must_snapshot(disk, top);
	before = picture_take();
	must_refuse(snapshot(disk, small, &err), &err, "Node 'disk' is busy:"
		    " node is used as backing hd of 'top'");
	must_refuse(snapshot(small, top, &err), &err,
		    "The overlay is already in use");
	check_same(before);
	json_decref(before);
	root_free(root);
	toy_let_go(top);
	toy_let_go(small);
	toy_let_go(filter);
	toy_let_go(plain);
}

/* ---- several as one ---- */

#define DISKS 3

struct disks {
	struct node *disk[DISKS], *top[DISKS], *spare;
	struct root *root[DISKS];
};

static void open_disks(struct disks *d)
{
	for (int i = 0; i < DISKS; i++) {
		char name[32];

		snprintf(name, sizeof(name), "d%d", i);
		d->disk[i] = open_disk(name, "");
		snprintf(name, sizeof(name), "t%d", i);
		d->top[i] = open_disk(name, "");
		toy_hold(d->top[i]);
		d->root[i] = toy_root("export 'x'", d->disk[i], true, 512);
	}
	d->spare = toy_open("{'driver':'toy','node-name':'spare'}");
	node_hold(d->spare);
	toy_give(d->spare);
}

static void close_disks(struct disks *d)
{
	struct error *err = NULL;

	for (int i = 0; i < DISKS; i++) {
		root_free(d->root[i]);
		toy_let_go(d->top[i]);
	}
	if (node_find("spare"))
		CU_ASSERT_EQUAL(node_del("spare", &err), 0);
}

/* The snapshots of all, a filter above the first overlay, and the spare node
 * gone. filter: the new one. */
static int change_all(struct disks *d, struct node **filter, int without,
		      struct error **err)
{
	json_t *options = toy_json("{'driver':'nop','node-name':'f'}");
	struct actions all = { NULL };
	int ret = 0;

	for (int i = 0; i < DISKS && ret == 0; i++)
		if (i != without)
			ret = co_action_add(&all, action_snapshot(d->disk[i],
					    d->top[i]), err);
	if (ret == 0)
		ret = co_action_add(&all, action_insert(d->top[0], NULL,
				    options, filter), err);
	if (ret == 0)
		ret = co_action_add(&all, action_delete(d->spare), err);
	json_decref(options);
	if (ret == 0)
		return co_actions_commit(&all, NULL, err);
	co_actions_give_up(&all);
	return ret;
}

/* B8, A18: whatever fails, at whichever of the actions. */
SIM_TEST(all_or_none)
{
	struct disks d;
	struct error *err = NULL;
	struct node *filter;
	json_t *before;
	char name[32];

	toy_start();
	open_disks(&d);
	before = picture_take();
	for (int i = 0; i < DISKS; i++) {
		/* preparing: a descriptor for reading alone */
		snprintf(name, sizeof(name), "d%d-file", i);
		toy_wishes.name = name;
		toy_wishes.fail_reopen = -EMFILE;
		CU_ASSERT_EQUAL(change_all(&d, &filter, -1, &err), -EMFILE);
		error_clear(&err);
		toy_wishes.fail_reopen = 0;
		check_same(before);
		/* permissions, of one after the other */
		toy_wishes.fail_perm = -EAGAIN;
		toy_calls.perm_commits = 0;
		CU_ASSERT_EQUAL(change_all(&d, &filter, -1, &err), -EAGAIN);
		error_clear(&err);
		toy_wishes.fail_perm = 0;
		CU_ASSERT_EQUAL(toy_calls.perm_commits, 0);
		check_same(before);
		/* the drain's deadline */
		co_root_busy(d.root[i]);
		CU_ASSERT_EQUAL(change_all(&d, &filter, -1, &err), -ETIMEDOUT);
		error_clear(&err);
		root_idle(d.root[i]);
		check_same(before);
	}
	/* the last one */
	toy_hold(toy_open("{'driver':'nop','node-name':'user','file':"
			  "'spare'}"));
	json_decref(before);
	before = picture_take();
	must_refuse(change_all(&d, &filter, -1, &err), &err,
		    "Block device spare is in use");
	check_same(before);
	toy_let_go(node_find("user"));
	/* without the first snapshot the filter's node has no parent */
	must_refuse(change_all(&d, &filter, 0, &err), &err,
		    "Node 't0' has no parent that could move to a filter");
	json_decref(before);

	CU_ASSERT_EQUAL(change_all(&d, &filter, -1, &err), 0);
	CU_ASSERT_PTR_EQUAL(d.root[0]->edge.child, filter);
	CU_ASSERT_PTR_EQUAL(node_filtered_child(filter), d.top[0]);
	CU_ASSERT_PTR_EQUAL(d.root[2]->edge.child, d.top[2]);
	CU_ASSERT_PTR_NULL(node_find("spare"));
	CU_ASSERT_EQUAL(put(d.root[0], 0, 5), 0);
	CU_ASSERT_EQUAL(get(d.root[0], 0), 5);
	node_put(filter, "opener");
	close_disks(&d);
}

/* B8: what an action took out is not there for those behind it. */
SIM_TEST(deleted_twice)
{
	struct actions all = { NULL };
	struct error *err = NULL;
	struct disks d;
	json_t *before;

	toy_start();
	open_disks(&d);
	before = picture_take();
	CU_ASSERT_EQUAL(co_action_add(&all, action_delete(d.spare), &err), 0);
	must_refuse(co_action_add(&all, action_delete(d.spare), &err), &err,
		    "Failed to find node with node-name='spare'");
	co_actions_give_up(&all);
	check_same(before);
	json_decref(before);
	close_disks(&d);
}

static void change_in_background(void *arg)
{
	struct error *err = NULL;
	struct node *filter;

	CU_ASSERT_EQUAL(change_all(arg, &filter, -1, &err), 0);
	error_clear(&err);
	node_put(filter, "opener");
}

static void delete_in_background(void *arg)
{
	struct error *err = NULL;

	(void)arg;
	CU_ASSERT_EQUAL(node_del("spare", &err), 0);
	error_clear(&err);
}

/* B8: nobody waits for the drain of a change in order to delete a node. */
SIM_TEST(deleted_under_the_drain)
{
	struct crew_member members[2];
	struct crew crew = { 0 };
	struct disks d;

	toy_start();
	open_disks(&d);
	co_root_busy(d.root[0]);
	crew_start(&crew, &members[0], MAIN_THREAD, change_in_background, &d);
	while (!d.root[0]->gates[MAIN_THREAD].drain)
		co_yield();
	crew_start(&crew, &members[1], MAIN_THREAD, delete_in_background,
		   NULL);
	while (node_find("spare"))
		co_yield();
	root_idle(d.root[0]);
	crew_wait(&crew);
	CU_ASSERT_PTR_EQUAL(node_cow_child(d.top[0]), d.disk[0]);
	close_disks(&d);
}

SIM_TEST(flush_fails)
{
	struct error *err = NULL;
	struct node *filter;
	struct disks d;
	json_t *before;

	toy_start();
	open_disks(&d);
	before = picture_take();
	CU_ASSERT_EQUAL(put(d.root[1], 0, 1), 0);
	toy_wishes.fail_flush = -EIO;
	must_refuse(change_all(&d, &filter, -1, &err), &err,
		    "Could not flush node 'd1': Input/output error");
	toy_wishes.fail_flush = 0;
	check_same(before);
	json_decref(before);
	close_disks(&d);
}

/* S2: a snapshot of a snapshot in one change; what is in the middle is an
 * image as any other. */
SIM_TEST(one_above_the_other)
{
	struct actions all = { NULL };
	struct error *err = NULL;
	struct disks d;
	json_t *before;

	toy_start();
	open_disks(&d);
	/* the same node twice, and the same overlay */
	before = picture_take();
	CU_ASSERT_EQUAL(co_action_add(&all, action_snapshot(d.disk[0],
				      d.top[0]), &err), 0);
	must_refuse(co_action_add(&all, action_snapshot(d.disk[0], d.top[1]),
				  &err), &err, "Node 'd0' is busy: node is used"
		    " as backing hd of 't0'");
	co_actions_give_up(&all);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(co_action_add(&all, action_snapshot(d.disk[i],
					      d.top[0]), &err), 0);
	must_refuse(co_actions_commit(&all, NULL, &err), &err,
		    "The overlay already has a backing image");
	check_same(before);
	json_decref(before);

	CU_ASSERT_EQUAL(co_action_add(&all, action_snapshot(d.disk[0],
				      d.top[0]), &err), 0);
	CU_ASSERT_EQUAL(co_action_add(&all, action_snapshot(d.top[0],
				      d.top[1]), &err), 0);
	CU_ASSERT_EQUAL(co_actions_commit(&all, NULL, &err), 0);
	CU_ASSERT_PTR_EQUAL(d.root[0]->edge.child, d.top[1]);
	CU_ASSERT_PTR_EQUAL(node_cow_child(d.top[1]), d.top[0]);
	CU_ASSERT_PTR_EQUAL(node_cow_child(d.top[0]), d.disk[0]);
	CU_ASSERT(d.disk[0]->read_only && d.top[0]->read_only);
	CU_ASSERT(!d.top[1]->read_only);
	CU_ASSERT_EQUAL(put(d.root[0], 0, 5), 0);
	CU_ASSERT(toy_format_is_allocated(d.top[1], 0));
	CU_ASSERT(!toy_format_is_allocated(d.top[0], 0));
	close_disks(&d);
}

/* ---- the record of it (A23) ---- */

static struct {
	unsigned calls, decisions, fail;
	bool under_drain;
	struct root *root;
} record;

static int record_graph(bool decides, struct error **err)
{
	const char *below = NULL;
	json_t *top = node_describe(node_find("top"));

	record.calls++;
	record.decisions += decides;
	record.under_drain = record.root->gates[1].drain != NULL;
	/* as it will be, unless that is being taken back */
	below = json_string_value(json_object_get(top, "backing"));
	CU_ASSERT_EQUAL(!transaction_announced(), !below);
	CU_ASSERT(!below || !strcmp(below, "disk"));
	json_decref(top);
	if (!record.fail)
		return 0;
	record.fail--;
	return error_set(err, EIO, "no record");
}

/* M5, A36: before the drain where the overlay is empty, else under it; where
 * it cannot be made nothing has changed. */
SIM_TEST(recorded_before_writes_go_there)
{
	struct node *disk, *top;
	struct error *err = NULL;
	struct root *other;
	json_t *before;

	toy_start();
	transaction_set_recorder(record_graph);
	for (unsigned full = 0; full < 2; full++) {
		memset(&record, 0, sizeof(record));
		disk = open_disk("disk", "");
		top = open_disk("top", "");
		toy_hold(top);
		record.root = toy_root("export 'a'", disk, true, 512);
		if (full) {
			other = toy_root("export 'b'", top, true, 512);
			CU_ASSERT_EQUAL(put(other, 0, 1), 0);
			root_free(other);
		}
		CU_ASSERT_EQUAL(record.calls, 0);
		before = picture_take();
		record.fail = 1;
		must_refuse(snapshot(disk, top, &err), &err, "no record");
		/* what was decided is taken back by another (M3) */
		CU_ASSERT_EQUAL(record.calls, full ? 2 : 1);
		check_same(before);
		json_decref(before);
		record.calls = record.decisions = 0;
		must_snapshot(disk, top);
		CU_ASSERT_EQUAL(record.calls, 1);
		CU_ASSERT_EQUAL(record.decisions, full);
		CU_ASSERT_EQUAL(record.under_drain, full);
		CU_ASSERT_PTR_NULL(transaction_announced());
		root_free(record.root);
		toy_let_go(top);
	}
	transaction_set_recorder(NULL);
}

/* ---- headers (B4) ---- */

static void make_image(const char *path, const char *backing)
{
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = 16,
		.refcount_order = 4,
		.size = 1 << 20,
		.backing = backing,
		.backing_format = backing ? "raw" : NULL,
	};
	void *data;
	uint64_t bytes = image_build(&spec, &data);

	sim_file_create(path, 0);
	sim_file_set(path, data, bytes);
	free(data);
}

static struct node *open_image_at(const char *name, const char *path)
{
	char text[300];

	snprintf(text, sizeof(text), "{'driver':'qcow2','node-name':'%s',"
		 "'backing':null,'file':{'driver':'file','filename':'%s'}}",
		 name, path);
	return toy_open(text);
}

static void check_header(const struct node *node, const char *name,
			 const char *format)
{
	CU_ASSERT_EQUAL(!node->header_backing, !name);
	if (node->header_backing && name)
		CU_ASSERT_STRING_EQUAL(node->header_backing, name);
	if (name)
		CU_ASSERT_STRING_EQUAL(node->header_backing_format, format);
}

SIM_TEST(header_names_the_base)
{
	struct actions all = { NULL };
	struct node *disk, *top, *named;
	struct error *err = NULL;
	struct root *root;

	toy_start();
	make_image("/sim/disk", NULL);
	make_image("/sim/top", NULL);
	make_image("/sim/named", "somewhere");
	disk = open_image_at("disk", "/sim/disk");
	top = open_image_at("top", "/sim/top");
	named = open_image_at("named", "/sim/named");
	toy_hold(top);
	toy_hold(named);
	root = toy_root("export 'a'", disk, true, 512);
	CU_ASSERT_EQUAL(put(root, 0, 3), 0);
	/* prepared, and given up */
	CU_ASSERT_EQUAL(co_action_add(&all, action_snapshot(disk, top), &err),
			0);
	check_header(top, "/sim/disk", "qcow2");
	co_actions_give_up(&all);
	check_header(top, NULL, NULL);
	CU_ASSERT(top->backing_given);
	must_snapshot(disk, top);
	check_header(top, "/sim/disk", "qcow2");
	/* it is a chain as its header says, no other (S2) */
	CU_ASSERT(!top->backing_given);
	must_snapshot(top, named);
	check_header(named, "somewhere", "raw");
	CU_ASSERT(named->backing_given);
	CU_ASSERT_EQUAL(put(root, 65536, 4), 0);
	root_free(root);
	toy_let_go(named);
	toy_let_go(top);

	/* what the next opener finds */
	top = toy_open("{'driver':'qcow2','node-name':'again','file':{'driver':"
		       "'file','filename':'/sim/top'}}");
	root = toy_root("export 'b'", top, true, 512);
	CU_ASSERT_STRING_EQUAL(node_cow_child(top)->driver->name, "qcow2");
	CU_ASSERT_EQUAL(get(root, 0), 3);
	root_free(root);
}

TEST_MAIN("graph-snapshot",
	  TEST(test_a_flush_that_does_not_end),
	  TEST(who_moves),
	  TEST(flushed_before),
	  TEST(refused),
	  TEST(all_or_none),
	  TEST(deleted_twice),
	  TEST(deleted_under_the_drain),
	  TEST(flush_fails),
	  TEST(one_above_the_other),
	  TEST(recorded_before_writes_go_there),
	  TEST(header_names_the_base))
