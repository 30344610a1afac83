/* SPDX-License-Identifier: MIT */
/*
 * What several threads do at once: overlapping unaligned writes (A12), flushes
 * that cover every acknowledged write (A29), grace periods (A28).
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/epoch.h"
#include "graph/flush.h"
#include "graph/io.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define THREADS 3

/* ---- read-modify-write ---- */

/*
 * Each worker owns some sectors of shared blocks and writes ever higher
 * numbers into them; a lost update shows as a lower number. Some write whole
 * blocks of their own between the shared ones.
 */
#define BLOCK 4096u
#define SECTORS (BLOCK / 512)
#define BLOCKS 4u
#define ROUNDS 25

struct writer {
	struct crew_member member;
	struct root *root;
	unsigned sector, errors;
	uint64_t seed;
};

static void write_sectors(void *arg)
{
	struct writer *w = arg;
	uint32_t buf[128], got[128];

	for (uint32_t round = 1; round <= ROUNDS; round++) {
		for (unsigned block = 0; block < BLOCKS; block++) {
			uint64_t at = block * BLOCK + w->sector * 512;

			for (unsigned i = 0; i < 128; i++)
				buf[i] = round * 1000 + w->sector;
			w->errors += !!toy_request(w->root, REQ_WRITE, at, 512,
						   buf, 0);
			w->errors += !!toy_request(w->root, REQ_READ, at, 512,
						   got, 0);
			w->errors += !!memcmp(buf, got, 512);
		}
	}
}

/* Through a root of whole blocks, into every block; keeps what is there. */
static void write_blocks(void *arg)
{
	struct writer *w = arg;
	char *buf = aligned_alloc(4096, BLOCK);

	for (uint32_t round = 1; round <= ROUNDS; round++) {
		memset(buf, (int)round, BLOCK);
		w->errors += !!toy_request(w->root, REQ_WRITE, BLOCKS * BLOCK,
					   BLOCK, buf, 0);
	}
	free(buf);
}

static void body_rmw(void *arg)
{
	static const char *const graphs[] = {
		"{\"driver\":\"toy\",\"align\":4096,\"size\":20480}",
		"{\"driver\":\"raw\",\"file\":{\"driver\":\"toy-filter\","
		"\"file\":{\"driver\":\"toy\",\"align\":4096,"
		"\"size\":20480}}}",
	};
	uint64_t seed = *(uint64_t *)arg;
	struct writer writers[SECTORS + 1];
	struct crew crew = { 0 };
	struct root *fine, *coarse;
	struct node *node;

	toy_start();
	node = toy_open(graphs[seed % 2]);
	fine = toy_root("export 'f'", node, true, 512);
	coarse = toy_root("export 'c'", node, true, BLOCK);
	for (unsigned i = 0; i <= SECTORS; i++) {
		writers[i].root = i < SECTORS ? fine : coarse;
		writers[i].sector = i;
		writers[i].errors = 0;
		crew_start(&crew, &writers[i].member, 1 + i % THREADS,
			   i < SECTORS ? write_sectors : write_blocks,
			   &writers[i]);
	}
	crew_wait(&crew);
	for (unsigned i = 0; i <= SECTORS; i++)
		CU_ASSERT_EQUAL(writers[i].errors, 0);
	root_free(fine);
	root_free(coarse);
}

static void test_rmw(void)
{
	for (uint64_t seed = 0; seed < 60; seed++)
		test_run(THREADS, seed, body_rmw, &seed);
}

/*
 * A whole-block write and a sector's, overlapping: after both the block holds
 * all of the block's write, but for the sector, which may be of either.
 */
struct overlap {
	struct crew_member member;
	struct root *root;
	uint64_t offset;
	uint32_t len;
	int fill, res;
};

static void write_overlap(void *arg)
{
	struct overlap *o = arg;
	char *buf = aligned_alloc(4096, BLOCK);

	memset(buf, o->fill, BLOCK);
	o->res = toy_request(o->root, REQ_WRITE, o->offset, o->len, buf, 0);
	free(buf);
}

static void body_overlap(void *arg)
{
	struct overlap o[2] = {
		{ .offset = 0, .len = BLOCK, .fill = 1 },
		{ .offset = 1024, .len = 512, .fill = 2 },
	};
	struct crew crew = { 0 };
	struct root *root;
	struct node *node;
	char *data;

	(void)arg;
	toy_start();
	node = toy_open("{\"driver\":\"toy\",\"align\":4096}");
	root = toy_root("export 'e'", node, true, 512);
	for (unsigned i = 0; i < 2; i++) {
		o[i].root = root;
		crew_start(&crew, &o[i].member, 1 + i, write_overlap, &o[i]);
	}
	crew_wait(&crew);
	data = toy_of(node)->data;
	CU_ASSERT(data[0] == 1 && !memcmp(data, data + 1, 1023));
	CU_ASSERT(data[1024] == 1 || data[1024] == 2);
	CU_ASSERT(!memcmp(data + 1024, data + 1025, 511));
	CU_ASSERT(data[1536] == 1 && !memcmp(data + 1536, data + 1537, 2559));
	root_free(root);
}

static void test_overlap(void)
{
	for (uint64_t seed = 0; seed < 300; seed++)
		test_run(2, seed, body_overlap, NULL);
}

/* ---- flush ---- */

/*
 * Writers of a sector each, on all threads: after a flush that was sent after
 * the acknowledgement of number n, stable storage holds n or later.
 */
struct flusher {
	struct crew_member member;
	struct root *root;
	struct toy *toy;
	unsigned sector, errors, flushes;
};

static void write_and_flush(void *arg)
{
	struct flusher *f = arg;
	uint32_t buf[128], *stable;

	for (uint32_t n = 1; n <= 30; n++) {
		for (unsigned i = 0; i < 128; i++)
			buf[i] = n;
		f->errors += !!toy_request(f->root, REQ_WRITE,
					   f->sector * 512, 512, buf, 0);
		if (sim_random_below(2))
			continue;
		f->errors += !!toy_request(f->root, REQ_FLUSH, 0, 0, NULL, 0);
		stable = (uint32_t *)(void *)(f->toy->stable +
					      f->sector * 512);
		f->errors += *stable < n;
		f->flushes++;
	}
}

static void body_flush(void *arg)
{
	struct flusher f[9];
	struct crew crew = { 0 };
	struct node *node, *leaf;
	struct root *root;
	unsigned flushes = 0, *total = arg;

	toy_start();
	/* the flush comes from above, the writes from anywhere */
	node = toy_open("{\"driver\":\"nop\",\"file\":{\"driver\":\"raw\","
			"\"file\":{\"driver\":\"toy\",\"size\":8192,"
			"\"node-name\":\"leaf\"}}}");
	leaf = node_find("leaf");
	root = toy_root("export 'e'", node, true, 512);
	for (unsigned i = 0; i < ARRAY_SIZE(f); i++) {
		f[i].root = root;
		f[i].toy = toy_of(leaf);
		f[i].sector = i;
		f[i].errors = f[i].flushes = 0;
		crew_start(&crew, &f[i].member, 1 + i % THREADS,
			   write_and_flush, &f[i]);
	}
	crew_wait(&crew);
	for (unsigned i = 0; i < ARRAY_SIZE(f); i++) {
		CU_ASSERT_EQUAL(f[i].errors, 0);
		flushes += f[i].flushes;
	}
	/* and concurrent flushes share */
	CU_ASSERT(toy_of(leaf)->flushes <= flushes);
	total[0] += flushes;
	total[1] += toy_of(leaf)->flushes;
	root_free(root);
}

static void test_flush(void)
{
	unsigned total[2] = { 0 };

	for (uint64_t seed = 0; seed < 100; seed++)
		test_run(THREADS, seed, body_flush, total);
	CU_ASSERT(total[1] < total[0]);
}

/* Nothing written, nothing flushed; COW children included; errors stay. */
static void body_flush_rules(void *arg)
{
	struct node *node, *old, *data;
	struct root *root, *direct;
	char buf[512] = "";

	(void)arg;
	toy_start();
	node = toy_open("{\"driver\":\"toy-format\",\"file\":{\"driver\":"
		"\"toy\",\"node-name\":\"data\"},\"backing\":{\"driver\":"
		"\"toy\",\"node-name\":\"old\",\"read-only\":false}}");
	old = node_find("old");
	data = node_find("data");
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(data)->flushes + toy_of(old)->flushes, 0);
	/* a write that the old top still owes to its flush */
	direct = toy_root("control", old, false, 512);
	CU_ASSERT_EQUAL(toy_request(direct, REQ_WRITE, 0, 512, buf, 0), 0);
	root_free(direct);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(old)->flushes, 1);
	CU_ASSERT_EQUAL(toy_of(data)->flushes, 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(data)->flushes, 1);
	CU_ASSERT_EQUAL(toy_of(old)->flushes, 1);
	/* the kernel says it once; we say it until the file is reopened */
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	toy_wishes.fail_flush = -EIO;
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), -EIO);
	toy_wishes.fail_flush = 0;
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), -EIO);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, REQ_FUA),
			-EIO);
	root_free(root);
	/* with O_DIRECT nothing is lost by a failed flush */
	node = toy_open("{\"driver\":\"toy\",\"cache\":{\"direct\":true}}");
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	toy_wishes.fail_flush = -EIO;
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), -EIO);
	toy_wishes.fail_flush = 0;
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node)->flushes, 2);
	root_free(root);
	node = toy_open("{\"driver\":\"toy\",\"cache\":{\"no-flush\":true}}");
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node)->flushes, 0);
	root_free(root);
}

static void test_flush_rules(void)
{
	test_run(2, 1, body_flush_rules, NULL);
}

/* ---- grace periods ---- */

struct held {
	struct crew_member member;
	struct root *root;
	char buf[512];
	bool done;
};

static void held_read(void *arg)
{
	struct held *h = arg;
	int ret = toy_request(h->root, REQ_READ, 0, 512, h->buf, 0);

	CU_ASSERT_EQUAL(ret, 0);
	h->done = true;
}

static void release_here(void *arg)
{
	(void)arg;
	toy_release();
}

struct waiting {
	struct grace grace;
	bool done;
};

static void grace_over(struct grace *grace)
{
	container_of(grace, struct waiting, grace)->done = true;
}

static void body_grace(void *arg)
{
	static struct held old[THREADS], new[THREADS], other;
	struct waiting w[4] = { 0 };
	struct crew crew = { 0 };
	struct node *node, *leaf;
	struct root *root, *beside;

	(void)arg;
	toy_start();
	node = toy_open("{\"driver\":\"nop\",\"file\":{\"driver\":\"toy\","
			"\"node-name\":\"leaf\"}}");
	leaf = node_find("leaf");
	root = toy_root("export 'e'", node, true, 512);
	beside = toy_root("export 'o'", toy_open("{\"driver\":\"toy\"}"), true,
			  512);
	memset(old, 0, sizeof(old));
	memset(new, 0, sizeof(new));
	memset(&other, 0, sizeof(other));
	/* nothing in flight: it ends */
	grace_start(leaf, &w[0].grace, grace_over);
	co_sleep(1000000);
	CU_ASSERT(w[0].done);
	toy_wishes.hold = true;
	other.root = beside;
	crew_start(&crew, &other.member, 1, held_read, &other);
	for (unsigned i = 0; i < THREADS; i++) {
		old[i].root = new[i].root = root;
		crew_start(&crew, &old[i].member, 1 + i, held_read, &old[i]);
	}
	co_sleep(1000000);
	CU_ASSERT_EQUAL(toy_of(leaf)->held, THREADS);
	grace_start(leaf, &w[1].grace, grace_over);
	co_sleep(1000000);
	/* newer ones are not waited for, however long they take */
	for (unsigned i = 0; i < THREADS; i++)
		crew_start(&crew, &new[i].member, 1 + i, held_read, &new[i]);
	co_sleep(1000000);
	grace_start(leaf, &w[2].grace, grace_over);
	co_sleep(1000000);
	CU_ASSERT(!w[1].done && !w[2].done);
	toy_wishes.hold = false;
	for (unsigned i = 1; i <= THREADS; i++) {
		CU_ASSERT(!w[1].done);
		co_call(thread_by_index(i), release_here, NULL);
		co_sleep(1000000);
	}
	crew_wait(&crew);
	co_sleep(1000000);
	CU_ASSERT(w[1].done && w[2].done);
	root_free(root);
	root_free(beside);
}

static void test_grace(void)
{
	for (uint64_t seed = 0; seed < 50; seed++)
		test_run(THREADS, seed, body_grace, NULL);
}

/* One held old request, and newer ones that come and go: the grace period
 * waits for the old one only. A request that waits itself is not waited for. */
struct stream {
	struct crew_member member;
	struct root *root;
	bool stop;
	unsigned count;
};

static void stream_reads(void *arg)
{
	struct stream *s = arg;
	char buf[512];

	while (!s->stop) {
		toy_request(s->root, REQ_READ, 0, 512, buf, 0);
		s->count++;
		co_sleep(1000);
	}
}

static void body_grace_stream(void *arg)
{
	struct stream s[THREADS];
	struct waiting w = { 0 };
	struct crew crew = { 0 }, held_crew = { 0 };
	struct held held = { 0 };
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open("{\"driver\":\"toy\",\"node-name\":\"leaf\"}");
	root = toy_root("export 'e'", node, true, 512);
	held.root = root;
	toy_wishes.hold = true;
	crew_start(&held_crew, &held.member, 2, held_read, &held);
	co_sleep(1000000);
	toy_wishes.hold = false;
	memset(s, 0, sizeof(s));
	for (unsigned i = 0; i < THREADS; i++) {
		s[i].root = root;
		crew_start(&crew, &s[i].member, 1 + i, stream_reads, &s[i]);
	}
	grace_start(node, &w.grace, grace_over);
	co_sleep(1000000);
	CU_ASSERT(!w.done && s[1].count > 10);
	co_call(thread_by_index(2), release_here, NULL);
	crew_wait(&held_crew);
	co_sleep(1000000);
	CU_ASSERT(w.done);
	for (unsigned i = 0; i < THREADS; i++)
		s[i].stop = true;
	crew_wait(&crew);
	root_free(root);
}

static void test_grace_stream(void)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		test_run(THREADS, seed, body_grace_stream, NULL);
}

/*
 * A format that is out of space: its write unwinds to the root, waits there
 * for the requests of before, and runs again whole, also while a drain waits
 * for all of it (findings of the limbo model).
 */
static unsigned full_asked, full_after;
static bool full;

static int64_t full_write(struct node *node, uint64_t offset, uint32_t len,
			  const void *buf, unsigned flags)
{
	int ret;

	full_asked++;
	if (full)
		return wish_grace(node);
	ret = co_edge_write(node->file, offset, len, buf, flags);
	return ret ? ret : (int64_t)len;
}

static int64_t full_read(struct node *node, uint64_t offset, uint32_t len,
			 void *buf)
{
	int ret = co_edge_read(node->file, offset, len, buf);

	/* what an old request held is given back when it ends */
	full = false;
	full_after = full_asked;
	return ret ? ret : (int64_t)len;
}

static const struct child_decl full_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

static const struct driver full_driver = {
	.name = "toy-filling",
	.kind = DRIVER_FILTER,
	.children = full_children,
	.read = full_read,
	.write = full_write,
};

static void full_writer(void *arg)
{
	struct held *h = arg;
	int ret = toy_request(h->root, REQ_WRITE, 512, 512, h->buf, 0);

	CU_ASSERT_EQUAL(ret, 0);
	h->done = true;
}

struct beside {
	struct node *below, *result;
	struct error *err;
	bool done;
};

static void insert_beside(void *arg)
{
	struct beside *b = arg;
	json_t *options = json_pack("{s:s}", "driver", "nop");

	b->result = graph_insert(b->below, NULL, options, NULL, &b->err);
	json_decref(options);
	if (b->result)
		node_put(b->result, "opener");
	b->done = true;
}

static void body_full(void *arg)
{
	struct held old = { 0 }, writers[4];
	struct beside change = { 0 };
	struct crew crew = { 0 };
	struct node *node;
	struct root *root;
	bool spawned;

	(void)arg;
	toy_start();
	driver_register(&full_driver);
	full = true;
	full_asked = full_after = 0;
	node = toy_open("{\"driver\":\"toy-filling\",\"node-name\":\"full\","
			"\"file\":{\"driver\":\"toy\"}}");
	root = toy_root("export 'e'", node, true, 512);
	toy_wishes.hold = true;
	old.root = root;
	crew_start(&crew, &old.member, 1, held_read, &old);
	co_sleep(1000000);
	toy_wishes.hold = false;
	for (unsigned i = 0; i < ARRAY_SIZE(writers); i++) {
		memset(&writers[i], 0, sizeof(writers[i]));
		writers[i].root = root;
		crew_start(&crew, &writers[i].member, 1 + i % THREADS,
			   full_writer, &writers[i]);
	}
	co_sleep(1000000);
	/* each asked once and waits; none waits for another */
	CU_ASSERT_EQUAL(full_asked, 4);
	change.below = node;
	spawned = co_spawn(insert_beside, &change);
	CU_ASSERT(spawned);
	co_sleep(1000000);
	CU_ASSERT(!change.done && !writers[0].done);
	co_call(thread_by_index(1), release_here, NULL);
	crew_wait(&crew);
	while (!change.done)
		co_sleep(1000000);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	CU_ASSERT_EQUAL(full_after, 4);
	CU_ASSERT_EQUAL(full_asked, 8);
	root_free(root);
}

static void test_full(void)
{
	for (uint64_t seed = 0; seed < 50; seed++)
		test_run(THREADS, seed, body_full, NULL);
}

TEST_MAIN("graph-order",
	  TEST(test_rmw),
	  TEST(test_overlap),
	  TEST(test_flush),
	  TEST(test_flush_rules),
	  TEST(test_grace),
	  TEST(test_grace_stream),
	  TEST(test_full))
