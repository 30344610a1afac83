/* SPDX-License-Identifier: MIT */
/*
 * driver-throttle.c - what passes a throttle, counted on the simulation's
 * clock: the rates are kept within 1 % over 10 s by whatever threads and nodes
 * share them, bursts are what was allowed, nodes get equal shares; drains take
 * back what waits (A34), and other limits count for it at once.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/drivers.h"
#include "drivers/filter/throttle/group.h"
#include "graph/io.h"
#include "graph/reopen.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define IO_THREADS 3u
#define SEEDS 10u
#define WORKERS_MAX 32u

/* ---- groups ---- */

static struct throttle_limits limits_none(void)
{
	struct throttle_limits l = { .iops_size = 0 };

	for (unsigned i = 0; i < THROTTLE_LIMITS; i++)
		l.rate[i].length = 1;
	return l;
}

static struct throttle_group *group_of(enum throttle_limit limit, int64_t avg)
{
	struct throttle_limits l = limits_none();

	l.rate[limit].avg = avg;
	return throttle_group_new("g", &l);
}

static struct node *open_throttle(const char *name)
{
	char text[200];

	snprintf(text, sizeof(text), "{'driver':'throttle','node-name':'%s',"
		 "'throttle-group':'g','discard':'unmap','file':{'driver':"
		 "'toy','discard':'unmap'}}", name);
	return toy_open(text);
}

static void start(void)
{
	toy_start();
	driver_register(&throttle_driver);
}

/* ---- load: each worker sends the next when the last is done ---- */

struct load_worker {
	struct crew_member member;
	struct root *root;
	enum req_op op;
	uint32_t len;
	uint64_t end_ns, passed;
};

struct load_crew {
	struct crew crew;
	struct load_worker workers[WORKERS_MAX];
	unsigned count;
};

static char load_buf[65536];

static void load_work(void *arg)
{
	struct load_worker *w = arg;

	for (;;) {
		int ret = toy_request(w->root, w->op, 0, w->len, load_buf, 0);

		CU_ASSERT_EQUAL(ret, 0);
		if (clock_ns() >= w->end_ns)
			return;
		w->passed++;
	}
}

static struct load_worker *load_add(struct load_crew *load, unsigned thread,
				    struct root *root, enum req_op op,
				    uint32_t len, uint64_t ns)
{
	struct load_worker *w = &load->workers[load->count++];

	assert(load->count <= WORKERS_MAX);
	*w = (struct load_worker){
		.root = root, .op = op, .len = len, .end_ns = clock_ns() + ns,
	};
	crew_start(&load->crew, &w->member, thread, load_work, w);
	return w;
}

static uint64_t load_sum(const struct load_crew *load, const struct root *root,
			 enum req_op op)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < load->count; i++)
		if ((!root || load->workers[i].root == root) &&
		    load->workers[i].op == op)
			sum += load->workers[i].passed;
	return sum;
}

static void assert_near(uint64_t is, double should, double by)
{
	bool near = (double)is >= should * (1 - by) &&
		    (double)is <= should * (1 + by);

	if (!near)
		fprintf(stderr, "%" PRIu64 " passed, not %.0f\n", is, should);
	CU_ASSERT_TRUE(near);
}

/* ---- rates ---- */

struct rate_case {
	enum throttle_limit limit;
	int64_t avg;
	uint32_t read_len, write_len;	/* 0: there are none */
	double reads, writes, sum;	/* in 10 s; 0: not looked at */
};

/* Two nodes, three threads, requests of one size each way. */
static void body_rate(void *arg)
{
	const struct rate_case *c = arg;
	struct throttle_group *group = group_of(c->limit, c->avg);
	struct load_crew *load = calloc(1, sizeof(*load));
	struct root *roots[2];
	uint64_t reads, writes;

	start();
	for (unsigned i = 0; i < 2; i++) {
		char name[] = { 't', (char)('0' + i), 0 };

		roots[i] = toy_root(name, open_throttle(name), true, 512);
	}
	for (unsigned i = 0; i < 12; i++) {
		if (c->read_len)
			load_add(load, 1 + i % IO_THREADS, roots[i % 2],
				 REQ_READ, c->read_len, 10 * SECOND);
		if (c->write_len)
			load_add(load, 1 + i % IO_THREADS, roots[i / 2 % 2],
				 REQ_WRITE, c->write_len, 10 * SECOND);
	}
	crew_wait(&load->crew);
	reads = load_sum(load, NULL, REQ_READ);
	writes = load_sum(load, NULL, REQ_WRITE);
	if (c->reads > 0)
		assert_near(reads, c->reads, 0.01);
	if (c->writes > 0)
		assert_near(writes, c->writes, 0.01);
	if (c->sum > 0)
		assert_near(reads + writes, c->sum, 0.01);
	root_free(roots[0]);
	root_free(roots[1]);
	throttle_group_put_last(group);
	free(load);
}

static void rates_are_exact(void)
{
	static struct rate_case cases[] = {
		{ THROTTLE_IOPS_TOTAL, 500, 4096, 65536, .sum = 5000 },
		{ THROTTLE_IOPS_TOTAL, 100, 4096, 4096, .sum = 1000 },
		{ THROTTLE_IOPS_READ, 777, 512, 0, .reads = 7770 },
		{ THROTTLE_IOPS_WRITE, 2000, 0, 4096, .writes = 20000 },
		{ THROTTLE_BPS_TOTAL, 4096 * 300, 4096, 4096, .sum = 3000 },
		{ THROTTLE_BPS_READ, 10000000, 65536, 0,
		  .reads = 100000000.0 / 65536 },
		{ THROTTLE_BPS_WRITE, 3333333, 0, 4096,
		  .writes = 33333330.0 / 4096 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		for (uint64_t seed = 1; seed <= 2; seed++)
			test_run(IO_THREADS, seed + i, body_rate, &cases[i]);
}

/* Several limits at once: the narrowest decides, each way. */
static void body_several(void *arg)
{
	struct throttle_limits l = limits_none();
	struct load_crew *load = calloc(1, sizeof(*load));
	struct throttle_group *group;
	struct root *root;

	(void)arg;
	start();
	l.rate[THROTTLE_IOPS_READ].avg = 1000;
	l.rate[THROTTLE_IOPS_WRITE].avg = 300;
	l.rate[THROTTLE_BPS_TOTAL].avg = 4096 * 800;
	group = throttle_group_new("g", &l);
	root = toy_root("e", open_throttle("t"), true, 512);
	for (unsigned i = 0; i < 6; i++) {
		load_add(load, 1 + i % 3, root, REQ_WRITE, 4096, 10 * SECOND);
		load_add(load, 1 + i % 3, root, REQ_READ, 4096, 10 * SECOND);
	}
	crew_wait(&load->crew);
	assert_near(load_sum(load, NULL, REQ_WRITE) +
		    load_sum(load, NULL, REQ_READ), 8000, 0.01);
	CU_ASSERT(load_sum(load, NULL, REQ_WRITE) <= 3020);
	root_free(root);
	throttle_group_put_last(group);
	free(load);
}

/* Larger requests count as several; discards move no bytes. */
static void body_sizes(void *arg)
{
	struct throttle_limits l = limits_none();
	struct load_crew *load = calloc(1, sizeof(*load));
	struct throttle_group *group;
	struct root *root;

	(void)arg;
	start();
	l.rate[THROTTLE_IOPS_WRITE].avg = 400;
	l.rate[THROTTLE_BPS_WRITE].avg = 4096 * 400;
	l.iops_size = 4096;
	group = throttle_group_new("g", &l);
	root = toy_root("e", open_throttle("t"), true, 512);
	load_add(load, 1, root, REQ_WRITE, 4096 * 4, 10 * SECOND);
	crew_wait(&load->crew);
	assert_near(load_sum(load, NULL, REQ_WRITE), 1000, 0.01);
	l.rate[THROTTLE_BPS_WRITE].avg = 1;
	l.iops_size = 0;
	co_throttle_group_change(group, &l);
	load_add(load, 1, root, REQ_DISCARD, 65536, 10 * SECOND);
	crew_wait(&load->crew);
	assert_near(load_sum(load, NULL, REQ_DISCARD), 4000, 0.01);
	root_free(root);
	throttle_group_put_last(group);
	free(load);
}

/* ---- bursts ---- */

static uint64_t passed_in(struct root *root, uint64_t ns)
{
	struct load_crew *load = calloc(1, sizeof(*load));
	uint64_t sum;

	load_add(load, 1, root, REQ_WRITE, 512, ns);
	load_add(load, 2, root, REQ_WRITE, 512, ns);
	crew_wait(&load->crew);
	sum = load_sum(load, NULL, REQ_WRITE);
	free(load);
	return sum;
}

static void body_bursts(void *arg)
{
	struct throttle_limits l = limits_none();
	struct throttle_group *group;
	struct root *root;
	uint64_t first;

	(void)arg;
	start();
	/* of one second: 2000 at once, then 100 a second */
	l.rate[THROTTLE_IOPS_TOTAL] = (struct throttle_rate){ 100, 2000, 1 };
	group = throttle_group_new("g", &l);
	root = toy_root("e", open_throttle("t"), true, 512);
	assert_near(passed_in(root, 10 * SECOND), 2000 + 1000, 0.01);
	/* 6000 at 2000 a second: what leaks meanwhile, 300, comes with them */
	l.rate[THROTTLE_IOPS_TOTAL] = (struct throttle_rate){ 100, 2000, 3 };
	co_throttle_group_change(group, &l);
	first = passed_in(root, SECOND);
	assert_near(first, 2000, 0.06);
	assert_near(first + passed_in(root, 9 * SECOND), 6000 + 1000, 0.01);
	/* and back again when it has rested: 20 s give 2000 */
	co_sleep(20 * SECOND);
	assert_near(passed_in(root, SECOND), 2000, 0.06);
	root_free(root);
	throttle_group_put_last(group);
}

/* ---- shares ---- */

struct share_case {
	struct throttle_rate rate;
	unsigned threads, depth;	/* of the first node; else one */
};

static void body_shares(void *arg)
{
	const struct share_case *c = arg;
	struct throttle_group *group = group_of(THROTTLE_IOPS_TOTAL,
						c->rate.avg);
	struct load_crew *load = calloc(1, sizeof(*load));
	struct root *a, *b;
	double half = (double)c->rate.avg * 5;

	start();
	a = toy_root("a", open_throttle("ta"), true, 512);
	b = toy_root("b", open_throttle("tb"), true, 512);
	for (unsigned i = 0; i < c->depth * c->threads; i++)
		load_add(load, 1 + i % c->threads, a, REQ_WRITE, 4096,
			 10 * SECOND);
	load_add(load, 1, b, REQ_WRITE, 4096, 10 * SECOND);
	crew_wait(&load->crew);
	assert_near(load_sum(load, a, REQ_WRITE), half, 0.05);
	assert_near(load_sum(load, b, REQ_WRITE), half, 0.05);
	root_free(a);
	root_free(b);
	throttle_group_put_last(group);
	free(load);
}

static void shares_are_equal(void)
{
	static struct share_case cases[] = {
		{ { 100, 0, 1 }, 1, 16 },
		{ { 100, 0, 1 }, 3, 8 },
		{ { 900, 0, 1 }, 3, 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		for (uint64_t seed = 1; seed <= 2; seed++)
			test_run(IO_THREADS, seed, body_shares, &cases[i]);
}

/* ---- waiting ---- */

struct later {
	struct crew crew;
	struct crew_member member;
	struct root *root;
	enum req_op op;
	uint32_t len;
	bool done;
	uint64_t at_ns;
};

static void later_work(void *arg)
{
	struct later *l = arg;

	CU_ASSERT_EQUAL(toy_request(l->root, l->op, 0, l->len, load_buf, 0),
			0);
	l->at_ns = clock_ns();
	l->done = true;
}

static void later(struct later *l, struct root *root, unsigned thread,
		  enum req_op op, uint32_t len)
{
	*l = (struct later){ .root = root, .op = op, .len = len };
	crew_start(&l->crew, &l->member, thread, later_work, l);
	co_sleep(MS / 100);
}

/* A drain of all roots above the node. */
static void drain(struct node *node)
{
	json_t *options = json_pack("{s:s,s:s}", "driver", "nop", "node-name",
				    "drained");
	struct error *err = NULL;
	struct node *nop = graph_insert(node, NULL, options, NULL, &err);

	json_decref(options);
	CU_ASSERT_PTR_NOT_NULL_FATAL(nop);
	CU_ASSERT_EQUAL(graph_remove(nop, NULL, NULL, &err), 0);
	toy_let_go(nop);
}

/* A read passes a write that waits (A34), and what waits keeps its order over
 * drains, each in its turn and paid for once. */
static void body_drains(void *arg)
{
	struct throttle_group *group = group_of(THROTTLE_BPS_WRITE, 4096);
	struct later w[5], read;
	uint64_t start_ns;
	struct node *node;
	struct root *root;

	(void)arg;
	start();
	driver_register(&nop_driver);
	node = open_throttle("t");
	root = toy_root("e", node, true, 512);
	start_ns = clock_ns();
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		later(&w[i], root, 1, REQ_WRITE, 4096);
	later(&read, root, 1, REQ_READ, 65536);
	CU_ASSERT(w[0].done && read.done && !w[1].done);
	for (unsigned i = 0; i < 8; i++) {
		drain(node);
		co_sleep(400 * MS);
	}
	crew_wait(&read.crew);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		crew_wait(&w[i].crew);
		/* a second each, less what may be ahead */
		assert_near(w[i].at_ns - start_ns + 50 * MS + 1,
			    i ? (double)(i * SECOND) : 50.0 * (double)MS,
			    0.02);
	}
	root_free(root);
	throttle_group_put_last(group);
}

/* Other limits are those of what waits already. */
static void body_change(void *arg)
{
	struct throttle_group *group = group_of(THROTTLE_BPS_WRITE, 1);
	struct throttle_limits l = limits_none();
	struct later w[6];
	struct root *root;
	uint64_t now;

	(void)arg;
	start();
	root = toy_root("e", open_throttle("t"), true, 512);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		later(&w[i], root, 1 + i % 2, REQ_WRITE, 4096);
	CU_ASSERT(w[0].done);
	co_sleep(100 * SECOND);
	CU_ASSERT(!w[1].done && !w[2].done && !w[5].done);
	l.rate[THROTTLE_IOPS_TOTAL].avg = 1;
	now = clock_ns();
	co_throttle_group_change(group, &l);
	co_sleep(SECOND / 2);
	CU_ASSERT_EQUAL(w[1].done + w[2].done + w[3].done + w[4].done +
			w[5].done, 1);
	co_sleep(SECOND);
	CU_ASSERT_EQUAL(w[1].done + w[2].done + w[3].done + w[4].done +
			w[5].done, 2);
	co_throttle_group_change(group, &(struct throttle_limits){
		.rate = { { 0, 0, 1 }, { 0, 0, 1 }, { 0, 0, 1 },
			  { 0, 0, 1 }, { 0, 0, 1 }, { 0, 0, 1 } } });
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		crew_wait(&w[i].crew);
		CU_ASSERT(w[i].at_ns < now + 2 * SECOND);
	}
	root_free(root);
	throttle_group_put_last(group);
}

/* A format waits where it stands, and a drain lets it go; a job's request goes
 * on in a drain too. What they cost is a debt. */
static void body_debt(void *arg)
{
	struct throttle_group *group = group_of(THROTTLE_IOPS_TOTAL, 1);
	struct later format[2], job;
	struct node *node, *other;
	struct root *root, *control;
	const struct toy *leaf;
	uint64_t start_ns;

	(void)arg;
	start();
	driver_register(&nop_driver);
	node = toy_open("{'driver':'toy-format','file':{'driver':'throttle',"
			"'node-name':'t','throttle-group':'g','file':"
			"{'driver':'toy','node-name':'leaf'}}}");
	start_ns = clock_ns();
	root = toy_root("e", node, true, 512);
	other = open_throttle("other");
	control = toy_root("c", other, false, 512);
	later(&format[0], root, 1, REQ_WRITE, 512);
	later(&job, control, 1, REQ_READ, 512);
	CU_ASSERT(!format[0].done && !job.done);
	drain(node);
	crew_wait(&format[0].crew);
	drain(other);
	crew_wait(&job.crew);
	CU_ASSERT_EQUAL(clock_ns() / SECOND, start_ns / SECOND);
	later(&format[1], root, 1, REQ_READ, 512);
	CU_ASSERT_FALSE(format[1].done);
	crew_wait(&format[1].crew);
	/* each that was let go is a second for who comes then */
	leaf = toy_of(node_find("leaf"));
	assert_near(format[1].at_ns - start_ns + SECOND,
		    (double)(leaf->reads + leaf->writes + leaf->zeroes + 1) *
		    1e9, 0.02);
	root_free(root);
	root_free(control);
	throttle_group_put_last(group);
}

/* Another group by reopening, under requests. */
static void body_group_changes(void *arg)
{
	struct throttle_group *group = group_of(THROTTLE_BPS_WRITE, 1), *fast;
	struct throttle_limits l = limits_none();
	struct error *err = NULL;
	struct reopen *r;
	struct later w[4];
	struct node *node;
	struct root *root;
	json_t *options;

	(void)arg;
	start();
	fast = throttle_group_new("fast", &l);
	node = open_throttle("t");
	root = toy_root("e", node, true, 512);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		later(&w[i], root, 1 + i % 2, REQ_WRITE, 4096);
	CU_ASSERT_FALSE(w[3].done);
	CU_ASSERT_EQUAL(group->refs, 2);
	r = reopen_new(node, &err);
	options = json_pack("{s:s}", "throttle-group", "fast");
	CU_ASSERT_EQUAL(reopen_set_options(r, options, &err), 0);
	json_decref(options);
	CU_ASSERT_EQUAL(graph_reopen(r, NULL, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		crew_wait(&w[i].crew);
	CU_ASSERT_EQUAL(group->refs, 1);
	throttle_group_put_last(group);
	r = reopen_new(node, &err);
	options = json_pack("{s:s}", "throttle-group", "g");
	CU_ASSERT_EQUAL(reopen_set_options(r, options, &err), 0);
	json_decref(options);
	CU_ASSERT(graph_reopen(r, NULL, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err->text, "Throttle group 'g' does not exist");
	error_clear(&err);
	CU_ASSERT_EQUAL(fast->refs, 2);
	root_free(root);
	throttle_group_put_last(fast);
}

/* ---- limits that are none ---- */

static void wrong_limits_are_refused(void)
{
	static const struct {
		struct throttle_rate rate[THROTTLE_LIMITS];
		int64_t size;
		const char *text;
	} cases[] = {
		{ { { 1, 0, 1 }, { 1, 0, 1 } }, 0, "bps/iops/max total values "
		  "and read/write values cannot be used at the same time" },
		{ { { -1, 0, 1 } }, 0, "bps/iops/max values must be within "
		  "[0, 1000000000000000]" },
		{ { { 1, 0, 1 } }, 512,
		  "iops size requires an iops value to be set" },
		{ { { 1, 0, 0 } }, 0, "the burst length cannot be 0" },
		{ { { 1, 0, 2 } }, 0, "burst length set without burst rate" },
		{ { { 0, 1, 1 } }, 0, "bps_max/iops_max require corresponding "
		  "bps/iops values" },
		{ { { 2, 1, 1 } }, 0,
		  "bps_max/iops_max cannot be lower than bps/iops" },
		{ { { 1, INT64_C(1000000000000000), 2 } }, 0,
		  "burst length too high for this burst rate" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct throttle_limits l = limits_none();
		struct error *err = NULL;

		for (unsigned j = 0; j < THROTTLE_LIMITS; j++)
			if (cases[i].rate[j].length || cases[i].rate[j].avg)
				l.rate[j] = cases[i].rate[j];
		l.iops_size = cases[i].size;
		CU_ASSERT(throttle_limits_check(&l, &err) < 0);
		CU_ASSERT_STRING_EQUAL(err->text, cases[i].text);
		error_clear(&err);
	}
}

#define SEEDED(name) \
	static void name(void) \
	{ \
		for (uint64_t seed = 1; seed <= SEEDS; seed++) \
			test_run(IO_THREADS, seed, body_##name, NULL); \
	}

SEEDED(several)
SEEDED(sizes)
SEEDED(bursts)
SEEDED(drains)
SEEDED(change)
SEEDED(debt)
SEEDED(group_changes)

TEST_MAIN("driver-throttle",
	  TEST(rates_are_exact),
	  TEST(several),
	  TEST(sizes),
	  TEST(bursts),
	  TEST(shares_are_equal),
	  TEST(drains),
	  TEST(change),
	  TEST(debt),
	  TEST(group_changes),
	  TEST(wrong_limits_are_refused))
