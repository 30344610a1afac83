/* SPDX-License-Identifier: MIT */
/*
 * graph-wait.c - waiting holds nothing (R39 to R43): a throttle's turn and a
 * grace period, behind filters and below a format, with drains, and in a job
 * that holds a range. Time of the simulation moves when nothing else can, so
 * after a sleep whoever has not ended is waiting.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/census.h"
#include "graph/io.h"
#include "graph/wait.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/later.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define SEEDS 30u
#define MS UINT64_C(1000000)

#define THROTTLE "{'driver':'toy-throttle','node-name':'t'," \
	"'file':{'driver':'toy','node-name':'leaf'}}"

/* ---- on the throttle's thread ---- */

struct gift {
	struct node *node;
	uint64_t bytes;
};

static void give_here(void *arg)
{
	struct gift *gift = arg;

	toy_throttle_give(gift->node, gift->bytes);
}

static void give(struct node *node, unsigned thread, uint64_t bytes)
{
	struct gift gift = { node, bytes };

	co_call(thread_by_index(thread), give_here, &gift);
	co_sleep(MS);
}

/* ---- a throttle ---- */

static void body_reads_pass(void *arg)
{
	struct later *write, *read;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open(THROTTLE);
	root = toy_root("export 'e'", node, true, 512);
	write = later_begin(root, 1, REQ_WRITE, 0, 4096, 0);
	CU_ASSERT_FALSE(write->done);
	read = later_begin(root, 1, REQ_READ, 0, 4096, 0);
	CU_ASSERT_TRUE(read->done);
	CU_ASSERT_EQUAL(later_end(read), 0);
	give(node, 1, 4095);
	CU_ASSERT_FALSE(write->done);
	give(node, 1, 1);
	CU_ASSERT_EQUAL(later_end(write), 0);
	CU_ASSERT_EQUAL(toy_of(node_find("leaf"))->data[0], 1);
	root_free(root);
}

/* Back at the gate they keep their order, and what they were charged. */
static void body_drain_takes_back(void *arg)
{
	struct later *w[6], *behind;
	struct toy_throttle *t;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open(THROTTLE);
	root = toy_root("export 'e'", node, true, 512);
	t = toy_throttle_of(node);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		w[i] = later_begin(root, 1, REQ_WRITE, 512 * i, 512, 0);
	CU_ASSERT_EQUAL(t->charged[1], 6 * 512);
	/* no tokens come, and the drain ends all the same */
	later_drain(node);
	co_sleep(MS);
	CU_ASSERT_EQUAL(t->charged[1], 6 * 512);
	behind = later_begin(root, 1, REQ_WRITE, 8192, 512, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		CU_ASSERT_FALSE(w[i]->done);
		if (i == 3)
			later_drain(node);
		give(node, 1, 512);
		CU_ASSERT_TRUE(w[i]->done);
		CU_ASSERT_EQUAL(t->log[1][i], 512 * i);
		CU_ASSERT_EQUAL(later_end(w[i]), 0);
	}
	CU_ASSERT_FALSE(behind->done);
	give(node, 1, 512);
	CU_ASSERT_EQUAL(later_end(behind), 0);
	CU_ASSERT_EQUAL(t->charged[1], 7 * 512);
	CU_ASSERT_EQUAL(t->given[1], 7 * 512);
	root_free(root);
}

static void release_here(void *arg)
{
	(void)arg;
	toy_release();
}

static void drain_beside(void *arg)
{
	later_drain(arg);
}

/* in_flight, waiting, queued; where the oldest is, and who waits longest. */
static bool is_census(struct root *root, unsigned in_flight, unsigned waiting,
		      unsigned queued, const char *oldest, const char *longest)
{
	struct census c;

	return co_root_census(root, &c) && c.in_flight == in_flight &&
	       c.waiting == waiting && c.queued == queued &&
	       !strcmp(c.oldest_at, oldest) && !strcmp(c.longest_at, longest) &&
	       !c.oldest_ns == !in_flight && !c.longest_ns == !waiting &&
	       !c.closed_ns == !queued;
}

/* Each is counted where it is, on whatever thread. */
static void body_census(void *arg)
{
	struct later *write[2], *read, *behind;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open(THROTTLE);
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_TRUE(is_census(root, 0, 0, 0, "", ""));
	write[0] = later_begin(root, 1, REQ_WRITE, 0, 512, 0);
	write[1] = later_begin(root, 2, REQ_WRITE, 512, 512, 0);
	CU_ASSERT_TRUE(is_census(root, 2, 2, 0, "t", "t"));
	toy_wishes.hold = true;
	read = later_begin(root, 2, REQ_READ, 0, 512, 0);
	CU_ASSERT_TRUE(is_census(root, 3, 2, 0, "t", "t"));
	/* the drain waits for the read, and takes the writes back */
	CU_ASSERT_TRUE(co_spawn(drain_beside, node));
	co_sleep(MS);
	CU_ASSERT_TRUE(is_census(root, 1, 0, 2, "leaf", ""));
	behind = later_begin(root, 1, REQ_WRITE, 1024, 512, 0);
	CU_ASSERT_TRUE(is_census(root, 1, 0, 3, "leaf", ""));
	toy_wishes.hold = false;
	co_call(thread_by_index(2), release_here, NULL);
	CU_ASSERT_EQUAL(later_end(read), 0);
	co_sleep(MS);
	CU_ASSERT_TRUE(is_census(root, 3, 3, 0, "t", "t"));
	give(node, 1, 1024);
	give(node, 2, 512);
	CU_ASSERT_EQUAL(later_end(write[0]), 0);
	CU_ASSERT_EQUAL(later_end(write[1]), 0);
	CU_ASSERT_EQUAL(later_end(behind), 0);
	CU_ASSERT_TRUE(is_census(root, 0, 0, 0, "", ""));
	root_free(root);
}

/* A turn gets further: nothing is done twice, with drains in between. */
static void body_goes_on_behind(void *arg)
{
	struct later *write;
	struct node *node, *leaf;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy-throttle','step':4096,'file':"
			"{'driver':'toy','node-name':'leaf'}}");
	leaf = node_find("leaf");
	root = toy_root("export 'e'", node, true, 512);
	write = later_begin(root, 1, REQ_WRITE, 0, 8 * 4096, 0);
	for (unsigned i = 0; i < 8; i++) {
		CU_ASSERT_FALSE(write->done);
		CU_ASSERT_EQUAL(toy_of(leaf)->writes, i);
		if (i % 2)
			later_drain(node);
		give(node, 1, 4096);
	}
	CU_ASSERT_EQUAL(later_end(write), 0);
	CU_ASSERT_EQUAL(toy_of(leaf)->writes, 8);
	CU_ASSERT_EQUAL(toy_throttle_of(node)->charged[1], 8 * 4096);
	root_free(root);
}

/* Its parts may have gone different ways: the node of its root is flushed. */
static void body_fua(void *arg)
{
	struct later *write;
	struct node *node, *leaf;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open(THROTTLE);
	leaf = node_find("leaf");
	root = toy_root("export 'e'", node, true, 512);
	write = later_begin(root, 1, REQ_WRITE, 0, 512, REQ_FUA);
	later_drain(node);
	give(node, 1, 512);
	CU_ASSERT_EQUAL(later_end(write), 0);
	CU_ASSERT_EQUAL(toy_of(leaf)->flushes, 1);
	CU_ASSERT_EQUAL(toy_of(leaf)->stable[0], 1);
	root_free(root);
}

/* The format is in the middle of something: it waits where it stands, and a
 * drain lets it go; the next one pays for it. */
static void body_below_a_format(void *arg)
{
	struct later *write, *next;
	struct toy_throttle *t;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy-format','file':" THROTTLE "}");
	t = toy_throttle_of(node_find("t"));
	root = toy_root("export 'e'", node, true, 512);
	write = later_begin(root, 1, REQ_WRITE, 0, 512, 0);
	CU_ASSERT_FALSE(write->done);
	later_drain(node);
	CU_ASSERT_EQUAL(later_end(write), 0);
	/* the cluster, and the data into it */
	CU_ASSERT(t->charged[1] >= TOY_CLUSTER);
	CU_ASSERT_EQUAL(t->given[1], 0);
	next = later_begin(root, 1, REQ_WRITE, 512, 512, 0);
	give(node_find("t"), 1, 1024);
	CU_ASSERT_FALSE(next->done);
	give(node_find("t"), 1, TOY_CLUSTER);
	CU_ASSERT_EQUAL(later_end(next), 0);
	CU_ASSERT_EQUAL(t->charged[1], t->given[1]);
	root_free(root);
}

/* A command's or a job's request always passes (A16). */
static void body_without_gate(void *arg)
{
	struct later *write;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open(THROTTLE);
	root = toy_root("control", node, false, 512);
	write = later_begin(root, 1, REQ_WRITE, 0, 512, 0);
	CU_ASSERT_FALSE(write->done);
	later_drain(node);
	CU_ASSERT_EQUAL(later_end(write), 0);
	CU_ASSERT_EQUAL(toy_throttle_of(node)->charged[1], 512);
	root_free(root);
}

/* More of them than a request can note: the last one waits where it stands. */
static void body_many(void *arg)
{
	struct later *write;
	struct node *node, *t[6];
	struct root *root;
	char text[800] = "{'driver':'toy'}", name[16];

	(void)arg;
	toy_start();
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		char above[sizeof(text)];

		snprintf(above, sizeof(above), "{'driver':'toy-throttle',"
			 "'node-name':'t%u','file':%.600s}", i, text);
		memcpy(text, above, sizeof(text));
	}
	node = toy_open(text);
	root = toy_root("export 'e'", node, true, 512);
	write = later_begin(root, 1, REQ_WRITE, 0, 512, 0);
	for (unsigned i = ARRAY_SIZE(t); i-- > 0;) {
		CU_ASSERT_FALSE(write->done);
		snprintf(name, sizeof(name), "t%u", i);
		t[i] = node_find(name);
		give(t[i], 1, 512);
	}
	CU_ASSERT_EQUAL(later_end(write), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
		CU_ASSERT_EQUAL(toy_throttle_of(t[i])->charged[1], 512);
	root_free(root);
}

/* ---- a job that holds a range ---- */

/*
 * A range lock as jobs have them: the guest's write takes it too, at its
 * filter, and is what the grace period waits for. Kept by who waits, neither
 * would ever go on (limbo.pml KEEP_ENTRY).
 */
struct job_case {
	struct crew_member member;
	struct co_mutex range;
	struct root *root;
	unsigned wishes, drained;
	bool done;
	int res;
};

static struct job_case *job_case;

static void job_copy(void *arg)
{
	struct job_case *job = arg;
	static char buf[4096];
	struct request req = {
		.op = REQ_WRITE,
		.flags = REQ_HAND_BACK,
		.len = sizeof(buf),
		.buf = buf,
		.fixed = IO_NOT_FIXED,
	};

	memset(buf, 9, sizeof(buf));
	co_root_busy(job->root);
	for (;;) {
		co_lock(&job->range);
		/* so that the guest's write comes to the range meanwhile */
		if (!job->wishes)
			co_sleep(5 * MS);
		job->res = co_root_submit(job->root, &req);
		co_unlock(&job->range);
		if (job->res != STEER_WAIT)
			break;
		job->wishes++;
		if (co_wait_wish(&req))
			continue;
		/* between two operations a drain has its turn */
		job->drained++;
		root_idle(job->root);
		co_sleep(MS);
		co_root_busy(job->root);
	}
	root_idle(job->root);
	job->done = true;
}

static int64_t range_write(struct node *node, uint64_t offset, uint32_t len,
			   const void *buf, unsigned flags)
{
	int ret;

	co_lock(&job_case->range);
	ret = co_edge_write(node->file, offset, len, buf, flags);
	co_unlock(&job_case->range);
	return ret ? ret : (int64_t)len;
}

static const struct child_decl range_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

static const struct driver range_driver = {
	.name = "toy-range",
	.kind = DRIVER_FILTER,
	.children = range_children,
	.write = range_write,
};

static void body_job(void *arg)
{
	struct job_case job = { 0 };
	struct crew crew = { 0 };
	struct later *guest;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	driver_register(&range_driver);
	job_case = &job;
	co_mutex_init(&job.range);
	node = toy_open("{'driver':'toy-range','file':{'driver':'toy-full',"
			"'node-name':'full','file':{'driver':'toy',"
			"'node-name':'leaf'}}}");
	root = toy_root("export 'e'", node, true, 512);
	job.root = toy_root("job 'j'", node_find("full"), false, 512);
	toy_wishes.full = 1;
	crew_start(&crew, &job.member, 1, job_copy, &job);
	co_sleep(MS);
	guest = later_begin(root, 2, REQ_WRITE, 8192, 512, 0);
	CU_ASSERT_FALSE(guest->done || job.wishes);
	CU_ASSERT_EQUAL(later_end(guest), 0);
	crew_wait(&crew);
	CU_ASSERT_TRUE(job.done);
	CU_ASSERT_EQUAL(job.res, 0);
	CU_ASSERT_EQUAL(job.wishes, 1);
	CU_ASSERT_EQUAL(toy_of(node_find("leaf"))->data[4095], 9);
	co_mutex_destroy(&job.range);
	root_free(root);
	root_free(job.root);
}

/* What it has paid it has paid, and a drain does not wait for its turn. */
static void body_job_throttled(void *arg)
{
	struct job_case job = { 0 };
	struct crew crew = { 0 };
	struct node *node;

	(void)arg;
	toy_start();
	co_mutex_init(&job.range);
	node = toy_open(THROTTLE);
	job.root = toy_root("job 'j'", node, false, 512);
	crew_start(&crew, &job.member, 1, job_copy, &job);
	co_sleep(8 * MS);
	CU_ASSERT_EQUAL(job.wishes, 1);
	give(node, 1, 4096);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(job.res, 0);
	CU_ASSERT_EQUAL(job.wishes, 1);
	CU_ASSERT_EQUAL(toy_throttle_of(node)->charged[1], 4096);
	job.wishes = 0;
	job.done = false;
	crew_start(&crew, &job.member, 1, job_copy, &job);
	co_sleep(8 * MS);
	CU_ASSERT_EQUAL(job.wishes, 1);
	later_drain(node);
	co_sleep(8 * MS);
	CU_ASSERT_EQUAL(job.drained, 1);
	CU_ASSERT_FALSE(job.done);
	give(node, 1, 16384);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(job.res, 0);
	co_mutex_destroy(&job.range);
	root_free(job.root);
}

/* ---- work without a request ---- */

/* A grace period is wanted, again and again, and waited for in place. */
static void body_no_request(void *arg)
{
	struct node *node;
	char buf[512] = "x";

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy-full','file':{'driver':'toy',"
			"'node-name':'leaf'}}");
	toy_wishes.full = 3;
	CU_ASSERT_EQUAL(co_node_write(node, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_wishes.full, 0);
	CU_ASSERT_EQUAL(toy_of(node_find("leaf"))->data[0], 'x');
	toy_let_go(node);
}

#define SEEDED(name) \
	static void name(void) \
	{ \
		for (uint64_t seed = 1; seed <= SEEDS; seed++) \
			test_run(3, seed, body_##name, NULL); \
	}

SEEDED(reads_pass)
SEEDED(drain_takes_back)
SEEDED(census)
SEEDED(goes_on_behind)
SEEDED(fua)
SEEDED(below_a_format)
SEEDED(without_gate)
SEEDED(many)
SEEDED(job)
SEEDED(job_throttled)
SEEDED(no_request)

TEST_MAIN("graph-wait",
	  TEST(reads_pass),
	  TEST(drain_takes_back),
	  TEST(census),
	  TEST(goes_on_behind),
	  TEST(fua),
	  TEST(below_a_format),
	  TEST(without_gate),
	  TEST(many),
	  TEST(job),
	  TEST(job_throttled),
	  TEST(no_request))
