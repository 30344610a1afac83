/* SPDX-License-Identifier: MIT */
/*
 * Reopening files and images, with each call that it makes failed in turn, and
 * its decision (A36, A37): whatever failed before the change leaves graph,
 * options and locks as they were, and the disk goes on. tests/sim/graph-reopen
 * does it under writes; graph-change.c tests the words and the order.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/node-io.h"
#include "graph/reopen.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/picture.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define PATH "/sim/disk"
#define SIZE (UINT64_C(128) << 10)

struct mode {
	bool read_only, direct, unmap;
};

#define MODES 8u
static struct mode mode_of(unsigned i)
{
	return (struct mode){ i & 1, i & 2, i & 4 };
}

struct way {
	const char *file, *format;	/* NULL: the file by itself */
};

static struct way ways[] = {
	{ "file", NULL }, { "file", "raw" }, { "file", "qcow2" },
	{ "host_device", "raw" }, { "host_device", "qcow2" },
};

/* One reopening, whose n-th call fails. */
struct trial {
	struct way way;
	struct mode from, to;
	unsigned fail_at;
	bool refuse;	/* the decision, instead */
	unsigned count;
	bool fired, lost_data;
};

/* What runs failed, so that a suite that fails nothing is seen. */
static unsigned calls, failures, kept;

static int fail_nth(void *arg, const struct io *io)
{
	struct trial *t = arg;

	if (++t->count != t->fail_at)
		return 0;
	t->fired = true;
	/* what was written is perhaps not there: flushes say so from now on */
	t->lost_data = io->op == IO_WRITE || io->op == IO_SYNC;
	return -EIO;
}

/* Of each byte that stands for a permission: whether somebody has it. */
static json_t *locks_picture(void)
{
	json_t *list = json_array();
	struct file *f;

	CU_ASSERT_EQUAL_FATAL(co_file_open(PATH, O_RDWR, 0, &f), 0);
	for (unsigned i = 0; i < 20; i++) {
		const struct file_lock lock = {
			(i < 10 ? 100 : 190) + i, 1, FILE_LOCK_EXCLUSIVE, true
		};
		unsigned done;

		json_array_append_new(list, json_boolean(
				      co_file_lock(f, &lock, 1, &done) < 0));
	}
	co_file_close(f);
	return list;
}

static void make_file(const struct way *way)
{
	struct image_spec spec = {
		.version = 3, .cluster_bits = 16, .refcount_order = 4,
		.size = SIZE,
	};
	void *data = NULL;
	uint64_t bytes;

	sim_file_create(PATH, SIZE);
	if (way->format && !strcmp(way->format, "qcow2")) {
		bytes = image_build(&spec, &data);
		sim_file_set(PATH, data, bytes);
		free(data);
	}
	if (!strcmp(way->file, "host_device")) {
		/* a device does not grow: there is room for the clusters */
		bytes = sim_file_get(PATH, &data);
		data = realloc(data, 8 * SIZE);
		memset((char *)data + bytes, 0, 8 * SIZE - bytes);
		sim_file_set(PATH, data, 8 * SIZE);
		free(data);
		sim_file_block_device(PATH);
	}
}

static bool open_way(const struct trial *t, struct disk *d)
{
	const char *unmap = t->from.unmap ? "unmap" : "ignore";
	struct error *err = NULL;
	json_t *options;
	char *text;
	bool rw = !t->from.read_only && !t->to.read_only;

	options = json_pack("{s:s,s:s,s:s,s:b,s:s,s:{s:b}}", "driver",
			    t->way.file, "node-name", "file", "filename", PATH,
			    "read-only", t->from.read_only, "discard", unmap,
			    "cache", "direct", t->from.direct);
	if (t->way.format)
		options = json_pack("{s:s,s:s,s:b,s:s,s:o}", "driver",
				    t->way.format, "node-name", "image",
				    "read-only", t->from.read_only, "discard",
				    unmap, "file", options);
	text = json_dumps(options, 0);
	CU_ASSERT_EQUAL(disk_open(d, text, rw ? DISK_WRITABLE :
				  PERM_CONSISTENT_READ, 0, &err), 0);
	if (err)
		fprintf(stderr, "%s: %s\n", text, err->text);
	free(text);
	json_decref(options);
	return !err;
}

static int refuse_take(void *arg, struct error **err)
{
	(void)arg;
	return error_set(err, EIO, "no record");
}

static const struct decision refuse = { refuse_take, NULL };

static int reopen_all(const struct trial *t, struct node *top,
		      struct error **err)
{
	struct reopen *list = NULL, *r;
	struct transaction *change;
	struct node *node;
	int ret = 0;

	for (node = top; node; node = node->file ? node->file->child : NULL) {
		r = reopen_new(node, err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(r);
		r->read_only = t->to.read_only;
		r->discard_unmap = t->to.unmap;
		if (node != top || !t->way.format)
			r->cache_direct = t->to.direct;
		r->next = list;
		list = r;
	}
	if (!t->refuse)
		return graph_reopen(list, NULL, err);
	for (r = list; r && ret == 0; r = r->next)
		ret = co_reopen_prepare(r, err);
	CU_ASSERT_EQUAL(ret, 0);
	change = transaction_begin();
	for (r = list; r; r = r->next)
		transaction_reopen(change, r);
	transaction_set_decision(change, &refuse, NULL);
	ret = transaction_commit(change, NULL, err);
	co_reopen_end(list, ret == 0);
	return ret;
}

static void check_goes_on(const struct trial *t, struct disk *d)
{
	char *buf = aligned_alloc(4096, 4096), *back;

	back = aligned_alloc(4096, 4096);
	memset(buf, 0x5a, 4096);
	if (!d->node->read_only && d->root->edge.perm & PERM_WRITE) {
		CU_ASSERT_EQUAL(disk_request(d, REQ_WRITE, 0, 65536, 4096,
					     buf), 0);
		if (!t->lost_data)
			CU_ASSERT_EQUAL(disk_request(d, REQ_FLUSH, 0, 0, 0,
						     NULL), 0);
		CU_ASSERT_EQUAL(disk_request(d, REQ_READ, 0, 65536, 4096,
					     back), 0);
		CU_ASSERT_EQUAL(memcmp(buf, back, 4096), 0);
	}
	CU_ASSERT_EQUAL(disk_request(d, REQ_READ, 0, 0, 4096, back), 0);
	CU_ASSERT_EQUAL(back[0], d->root->edge.perm & PERM_WRITE ? 0x11 : 0);
	free(buf);
	free(back);
}

static void check_image(void)
{
	struct image_report report;
	void *data;
	uint64_t size = sim_file_get(PATH, &data);

	CU_ASSERT_EQUAL(image_check(data, size, &report), 0);
	free(data);
}

static void try_it(struct trial *t)
{
	struct error *err = NULL;
	json_t *before, *locks, *now;
	struct disk d;
	char *buf;
	int ret;

	make_file(&t->way);
	if (!open_way(t, &d))
		return;
	if (d.root->edge.perm & PERM_WRITE) {
		buf = aligned_alloc(4096, 4096);
		memset(buf, 0x11, 4096);
		CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 0, 4096, buf),
				0);
		free(buf);
	}
	before = picture_take();
	locks = locks_picture();
	sim_fault_calls(true);
	sim_set_fault(fail_nth, t);
	ret = reopen_all(t, d.node, &err);
	sim_set_fault(NULL, NULL);
	sim_fault_calls(false);
	CU_ASSERT_EQUAL(!ret, !err);
	CU_ASSERT(ret == 0 || t->fired || t->refuse);
	error_clear(&err);
	if (ret < 0) {
		now = picture_take();
		CU_ASSERT(json_equal(before, now));
		json_decref(now);
		now = locks_picture();
		CU_ASSERT(json_equal(locks, now));
		json_decref(now);
		failures++;
	} else {
		CU_ASSERT_EQUAL(d.node->read_only, t->to.read_only);
		kept += t->fired;
	}
	check_goes_on(t, &d);
	json_decref(before);
	json_decref(locks);
	disk_close(&d);
	CU_ASSERT_EQUAL(sim_files_open(), 0);
	if (t->way.format && !strcmp(t->way.format, "qcow2"))
		check_image();
}

static void fail_each_call(struct trial *t)
{
	for (t->fail_at = 1; t->fail_at == 1 || t->fired; t->fail_at++) {
		t->fired = t->lost_data = false;
		t->count = 0;
		try_it(t);
		calls += t->fired;
	}
	t->fail_at = 0;
	t->refuse = true;
	try_it(t);
}

static void body_way(void *arg)
{
	const struct way *way = arg;

	for (unsigned i = 0; i < MODES * MODES; i++) {
		struct trial t = {
			.way = *way, .from = mode_of(i % MODES),
			.to = mode_of(i / MODES),
		};

		/* discard changes by itself, or stays on */
		if (t.from.unmap == t.to.unmap ? !t.to.unmap :
		    t.from.read_only != t.to.read_only ||
		    t.from.direct != t.to.direct)
			continue;
		fail_each_call(&t);
	}
}

static void test_each_call(void)
{
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++)
		test_run(1, w + 1, body_way, &ways[w]);
	printf("%u calls failed: %u reopenings undone, %u made all the same\n",
	       calls, failures, kept);
	CU_ASSERT(failures > 200);
}

TEST_MAIN("graph-reopen", TEST(test_each_call))
