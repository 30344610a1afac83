/* SPDX-License-Identifier: MIT */
/*
 * Gates and drains (A8, A14-A17, C4): filters come and go under load from
 * three threads, held requests, order, deadlines, job roots.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define THREADS 3
#define WORKERS 4	/* on each thread */
#define REGION 131072u	/* bytes of one worker */
#define SIZE (THREADS * WORKERS * REGION)

/* ---- load ---- */

struct load {
	struct root *root;
	unsigned errors, requests;
	unsigned target;	/* of requests: wakes waiter */
	struct co *waiter;
	bool stop;
};

struct worker {
	struct crew_member member;
	struct load *load;
	unsigned number;
	uint64_t seed;
	char model[REGION], got[REGION];
};

static uint64_t worker_random(struct worker *w, uint64_t n)
{
	w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
	return (w->seed >> 33) % n;
}

static void work(void *arg)
{
	struct worker *w = arg;
	uint64_t base = (uint64_t)w->number * REGION;

	while (!w->load->stop) {
		uint32_t len = 512 * (1 + (uint32_t)worker_random(w, 64));
		uint64_t at = 512 * worker_random(w, REGION / 512 - len / 512);
		int ret;

		if (worker_random(w, 32) == 0) {
			ret = toy_request(w->load->root, REQ_FLUSH, 0, 0, NULL,
					  0);
		} else if (worker_random(w, 2)) {
			memset(w->model + at, (int)worker_random(w, 256), len);
			ret = toy_request(w->load->root, REQ_WRITE, base + at,
					  len, w->model + at, 0);
		} else {
			ret = toy_request(w->load->root, REQ_READ, base + at,
					  len, w->got, 0);
			if (!ret && memcmp(w->got, w->model + at, len))
				ret = -EBADMSG;
		}
		w->load->errors += !!ret;
		if (++w->load->requests == w->load->target)
			co_wake(w->load->waiter);
	}
}

static struct worker *load_start(struct load *load, struct crew *crew,
				 uint64_t seed)
{
	struct worker *workers = calloc(THREADS * WORKERS, sizeof(*workers));

	for (unsigned i = 0; i < THREADS * WORKERS; i++) {
		struct worker *w = &workers[i];

		w->load = load;
		w->number = i;
		w->seed = seed * 1000 + i;
		crew_start(crew, &w->member, 1 + i % THREADS, work, w);
	}
	return workers;
}

/* Lets so many more requests pass. Nothing polls here: simulated time stands
 * still while somebody can run. */
static void co_let_pass(struct load *load, unsigned requests)
{
	load->target = load->requests + requests;
	load->waiter = co_self();
	co_wait();
}

static struct node *insert(struct node *below, const char *driver,
			   const char *name, struct change_stats *stats,
			   struct error **err)
{
	json_t *options = json_pack("{s:s, s:s}", "driver", driver,
				    "node-name", name);
	struct node *node = graph_insert(below, NULL, options, stats, err);

	json_decref(options);
	return node;
}

struct live {
	uint64_t seed, in_flight;
};

static const char *const filters[] = { "nop", "toy-filter", "toy-writes" };

static void body_live(void *arg)
{
	struct live *live = arg;
	struct load load = { 0 };
	struct crew crew = { 0 };
	struct worker *workers;
	struct node *top, *filter[4];
	struct error *err = NULL;
	unsigned depth = 0;

	toy_start();
	sim_file_create("/img", SIZE);
	top = toy_open("{\"driver\":\"toy-format\",\"node-name\":\"top\","
		       "\"file\":{\"driver\":\"file\",\"filename\":\"/img\"},"
		       "\"backing\":{\"driver\":\"toy\",\"size\":\"1M\"}}");
	load.root = toy_root("export 'd0'", top, true, 512);
	workers = load_start(&load, &crew, live->seed);
	for (unsigned i = 0; i < 12; i++) {
		struct change_stats stats;
		char name[8];

		co_let_pass(&load, 20);
		if (depth < 4 && (!depth || sim_random_below(2))) {
			struct node *below = depth ? filter[depth - 1] : top;

			snprintf(name, sizeof(name), "f%u", i);
			filter[depth] = insert(below, filters[i % 3], name,
					       &stats, &err);
			CU_ASSERT_PTR_NOT_NULL_FATAL(filter[depth]);
			depth++;
		} else {
			/* from anywhere in the stack */
			unsigned at = (unsigned)sim_random_below(depth);

			CU_ASSERT_EQUAL_FATAL(graph_remove(filter[at], NULL,
							   &stats,
							   &err), 0);
			toy_let_go(filter[at]);
			depth--;
			memmove(filter + at, filter + at + 1,
				(depth - at) * sizeof(filter[0]));
		}
		live->in_flight += stats.in_flight;
		CU_ASSERT_PTR_EQUAL(load.root->edge.child,
				    depth ? filter[depth - 1] : top);
		CU_ASSERT_EQUAL(load.root->drains.count, i + 1);
	}
	load.stop = true;
	crew_wait(&crew);
	CU_ASSERT_EQUAL(load.errors, 0);
	while (depth)
		toy_let_go(filter[--depth]);
	root_free(load.root);
	free(workers);
}

static void test_live_filters(void)
{
	struct live live = { 0 };

	for (live.seed = 0; live.seed < 300; live.seed++)
		test_run(THREADS, live.seed, body_live, &live);
	/* otherwise the drains would have had nothing to wait for */
	CU_ASSERT(live.in_flight > 300 * 12 * 2);
}

/* ---- held requests ---- */

struct held {
	struct request req;
	char buf[512];
	unsigned order;
	int res;
	bool done;
};

static unsigned done_count;

static void held_done(struct request *req, int res)
{
	struct held *h = container_of(req, struct held, req);

	h->res = res;
	h->done = true;
	h->order = done_count++;
}

static void held_submit(struct root *root, struct held *h, uint64_t offset)
{
	memset(h, 0, sizeof(*h));
	h->req.op = REQ_WRITE;
	h->req.offset = offset;
	h->req.len = 512;
	h->req.buf = h->buf;
	h->req.fixed = IO_NOT_FIXED;
	h->req.done = held_done;
	root_submit(root, &h->req);
}

/* A change that runs beside the test on the main thread. */
struct change {
	struct node *below, *result;
	const char *name;
	struct change_stats stats;
	struct error *err;
	bool done;
};

static void change_run(void *arg)
{
	struct change *c = arg;

	c->result = insert(c->below, "nop", c->name, &c->stats, &c->err);
	if (c->result)
		node_put(c->result, "opener");
	c->done = true;
}

static void change_start(struct change *c, struct node *below,
			 const char *name)
{
	bool spawned;

	memset(c, 0, sizeof(*c));
	c->below = below;
	c->name = name;
	spawned = co_spawn(change_run, c);
	assert(spawned);
}

static void co_until(const bool *flag)
{
	while (!*flag)
		co_sleep(1000000);
}

static void body_order(void *arg)
{
	struct node *node;
	struct root *root;
	static struct held first, later[10];
	struct change change;

	(void)arg;
	toy_start();
	done_count = 0;
	node = toy_open("{\"driver\":\"toy\"}");
	root = toy_root("export 'd0'", node, true, 512);
	toy_wishes.hold = true;
	held_submit(root, &first, 0);
	change_start(&change, node, "f");
	co_sleep(1000000);
	CU_ASSERT(!change.done && !first.done);
	toy_wishes.hold = false;
	for (unsigned i = 0; i < 10; i++)
		held_submit(root, &later[i], 512 * i);
	/* they are at the gate, not in the driver */
	CU_ASSERT_EQUAL(toy_of(node)->busy, 1);
	co_sleep(1000000);
	CU_ASSERT_EQUAL(toy_of(node)->writes, 0);
	toy_release();
	co_until(&change.done);
	co_until(&later[9].done);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	CU_ASSERT(change.stats.pause_ns >= 2000000);
	CU_ASSERT_EQUAL(change.stats.in_flight, 1);
	CU_ASSERT_EQUAL(first.order, 0);
	for (unsigned i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(later[i].order, i + 1);
	root_free(root);
}

static void test_order(void)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		test_run(THREADS, seed, body_order, NULL);
}

static void body_deadline(void *arg)
{
	struct node *node;
	struct root *root;
	struct held first, later;
	struct change change;

	(void)arg;
	toy_start();
	node = toy_open("{\"driver\":\"raw\",\"node-name\":\"top\",\"file\":"
			"{\"driver\":\"toy\",\"node-name\":\"leaf\"}}");
	root = toy_root("export 'd0'", node, true, 512);
	toy_wishes.hold = true;
	held_submit(root, &first, 0);
	co_sleep(2500000000);
	change_start(&change, node, "f");
	co_sleep(1000000);
	held_submit(root, &later, 512);
	co_until(&change.done);
	CU_ASSERT_PTR_NULL(change.result);
	CU_ASSERT_PTR_NOT_NULL_FATAL(change.err);
	CU_ASSERT_EQUAL(change.err->code, ETIMEDOUT);
	CU_ASSERT_STRING_EQUAL(change.err->text, "Draining node 'top' took"
		" longer than 10.0 s: export 'd0' has 1 requests in flight,"
		" the oldest for 12.5 s at node 'leaf'");
	error_clear(&change.err);
	/* as before, and the one that waited goes on */
	CU_ASSERT_PTR_EQUAL(root->edge.child, node);
	CU_ASSERT_PTR_NULL(node_find("f"));
	CU_ASSERT_PTR_EQUAL(node->parents, &root->edge);
	CU_ASSERT_PTR_NULL(node->parents->next_parent);
	CU_ASSERT_EQUAL(toy_of(node->file->child)->busy, 2);
	toy_wishes.hold = false;
	toy_release();
	co_until(&later.done);
	change_start(&change, node, "f");
	co_until(&change.done);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	root_free(root);
}

static void test_deadline(void)
{
	for (uint64_t seed = 0; seed < 10; seed++)
		test_run(2, seed, body_deadline, NULL);
}

/* ---- job roots ---- */

static unsigned quiesced, resumed;

static void on_quiesce(struct root *root)
{
	(void)root;
	quiesced++;
}

static void on_resume(struct root *root)
{
	(void)root;
	resumed++;
}

/* A job's requests pass a drain, which waits for its whole operation. */
static void body_job(void *arg)
{
	struct node *node;
	struct root *guest, *job;
	struct held held;
	struct change change;
	char buf[512];

	(void)arg;
	toy_start();
	quiesced = resumed = 0;
	toy_quiesce = on_quiesce;
	toy_resume = on_resume;
	node = toy_open("{\"driver\":\"toy\"}");
	guest = toy_root("export 'd0'", node, true, 512);
	job = toy_root("job 'j'", node, false, 512);
	co_root_busy(job);
	change_start(&change, node, "f");
	co_sleep(1000000);
	CU_ASSERT(!change.done);
	CU_ASSERT_EQUAL(quiesced, 1);
	/* the guest's waits, the job's passes */
	held_submit(guest, &held, 0);
	for (unsigned i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(toy_request(job, REQ_READ, 0, 512, buf, 0), 0);
		co_sleep(1000000);
		CU_ASSERT(!change.done && !held.done);
	}
	CU_ASSERT_EQUAL(resumed, 0);
	root_idle(job);
	co_until(&change.done);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	co_until(&held.done);
	CU_ASSERT_EQUAL(resumed, 1);
	CU_ASSERT_PTR_EQUAL(job->edge.child, change.result);
	root_free(guest);
	root_free(job);
}

static void test_job_roots(void)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		test_run(2, seed, body_job, NULL);
}

/* ---- which roots ---- */

/* Only what reaches the changed edges waits; the rest goes on. */
static void body_scope(void *arg)
{
	struct node *a, *b, *base;
	struct root *ra, *rb, *rbase;
	struct change change;
	struct held held;
	char buf[512];

	(void)arg;
	toy_start();
	base = toy_open("{\"driver\":\"toy\",\"node-name\":\"base\","
			"\"read-only\":true}");
	toy_hold(base);
	a = toy_open("{\"driver\":\"toy-format\",\"node-name\":\"a\",\"file\":"
		     "{\"driver\":\"toy\"},\"backing\":\"base\"}");
	b = toy_open("{\"driver\":\"toy-format\",\"node-name\":\"b\",\"file\":"
		     "{\"driver\":\"toy\"},\"backing\":\"base\"}");
	ra = toy_root("export 'a'", a, true, 512);
	rb = toy_root("export 'b'", b, true, 512);
	rbase = toy_root("export 'base'", base, true, 512);
	co_root_busy(ra);
	change_start(&change, a, "f");
	co_sleep(1000000);
	CU_ASSERT(!change.done);
	CU_ASSERT_EQUAL(toy_request(rb, REQ_READ, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(rbase, REQ_READ, 0, 512, buf, 0), 0);
	root_idle(ra);
	co_until(&change.done);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	CU_ASSERT_EQUAL(rb->drains.count + rbase->drains.count, 0);
	/* a filter above the base concerns both overlays' edges, and its own */
	co_root_busy(rb);
	change_start(&change, base, "g");
	co_sleep(1000000);
	CU_ASSERT(!change.done);
	held_submit(ra, &held, 0);
	co_sleep(1000000);
	CU_ASSERT(!held.done);
	root_idle(rb);
	co_until(&change.done);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	co_until(&held.done);
	root_free(ra);
	root_free(rb);
	root_free(rbase);
	toy_let_go(base);
}

static void test_scope(void)
{
	test_run(2, 1, body_scope, NULL);
}

/* A node that is being opened reads below it without a root; a change there
 * waits for it (T9). */
static void open_beside(void *arg)
{
	struct node **node = arg;

	*node = toy_open("{\"driver\":\"toy-format\",\"node-name\":\"late\","
			 "\"file\":\"leaf\",\"probe\":true}");
}

static void body_opening(void *arg)
{
	struct node *leaf, *late = NULL;
	struct change change;
	bool spawned;

	(void)arg;
	toy_start();
	leaf = toy_open("{\"driver\":\"toy\",\"node-name\":\"leaf\"}");
	toy_hold(leaf);
	toy_wishes.hold = true;
	spawned = co_spawn(open_beside, &late);
	CU_ASSERT(spawned);
	co_sleep(1000000);
	CU_ASSERT_EQUAL(toy_of(leaf)->held, 1);
	CU_ASSERT_PTR_NULL(node_find("late"));
	change_start(&change, leaf, "f");
	co_until(&change.done);
	CU_ASSERT_PTR_NULL(change.result);
	CU_ASSERT_STRING_EQUAL(change.err->text, "Draining node 'late' took"
		" longer than 10.0 s: node 'late' is still being opened,"
		" closed or flushed");
	error_clear(&change.err);
	change_start(&change, leaf, "f");
	co_sleep(1000000);
	CU_ASSERT(!change.done);
	toy_release();
	toy_wishes.hold = false;
	co_until(&change.done);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	while (!node_find("late"))
		co_sleep(1000000);
	CU_ASSERT_PTR_EQUAL(late->file->child, change.result);
	toy_let_go(late);
	toy_let_go(leaf);
}

static void test_opening(void)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		test_run(1, seed, body_opening, NULL);
}

/* Freeing a root waits for what is in flight all the same. */
static void release_late(struct timer *timer)
{
	(void)timer;
	toy_release();
}

static void body_free_late(void *arg)
{
	struct held held;
	struct node *node;
	struct root *root;
	struct timer timer = { 0 };

	(void)arg;
	toy_start();
	node = toy_open("{\"driver\":\"toy\"}");
	root = toy_root("export 'd0'", node, true, 512);
	toy_wishes.hold = true;
	held_submit(root, &held, 0);
	timer_start(&timer, 25000000000, release_late);
	root_free(root);
	CU_ASSERT(held.done);
	CU_ASSERT_EQUAL(toy_calls.closes, 1);
}

static void test_free_late(void)
{
	test_run(1, 1, body_free_late, NULL);
}

/* A root attached onto a drained node waits with the others. */
struct join {
	struct root *guest, *late;
	struct held held;
	bool passed_early;
};

static void join_hook(void *arg)
{
	struct join *j = arg;

	held_submit(j->late, &j->held, 0);
	j->passed_early = j->held.done;
}

static void body_join(void *arg)
{
	struct node *node, *filter;
	struct transaction *t;
	struct error *err = NULL;
	struct join j;

	(void)arg;
	toy_start();
	memset(&j, 0, sizeof(j));
	node = toy_open("{\"driver\":\"null-co\",\"node-name\":\"n\"}");
	j.guest = toy_root("export 'a'", node, true, 512);
	j.late = toy_root("export 'b'", node, true, 512);
	filter = toy_open("{\"driver\":\"nop\",\"file\":\"n\"}");
	toy_hold(filter);
	/* take the late one off, and put it back onto a node being changed */
	t = transaction_begin();
	transaction_move(t, &j.late->edge, NULL);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	j.late->edge.perm = j.late->edge.new_perm = PERM_CONSISTENT_READ |
						    PERM_WRITE;
	t = transaction_begin();
	transaction_move(t, &j.guest->edge, filter);
	transaction_move(t, &j.late->edge, filter);
	transaction_touch(t, filter);
	transaction_on_commit(t, join_hook, &j);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	CU_ASSERT(!j.passed_early);
	co_until(&j.held.done);
	CU_ASSERT_EQUAL(j.held.res, 0);
	root_free(j.guest);
	root_free(j.late);
	toy_let_go(filter);
}

static void test_join(void)
{
	test_run(1, 1, body_join, NULL);
}

/* ---- stacks ---- */

/* More slow requests than stacks: they wait at the gate, and all are done. */
static void body_stacks(void *arg)
{
	unsigned count = 5000;
	struct held *held = calloc(count, sizeof(*held));
	struct change change;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	done_count = 0;
	node = toy_open("{\"driver\":\"toy\",\"size\":\"4M\"}");
	root = toy_root("export 'd0'", node, true, 512);
	toy_wishes.hold = true;
	for (unsigned i = 0; i < count; i++)
		held_submit(root, &held[i], 512 * i);
	CU_ASSERT(toy_of(node)->held < count);
	CU_ASSERT(toy_of(node)->held > 3900);
	toy_wishes.hold = false;
	change_start(&change, node, "f");
	toy_release();
	while (done_count < count)
		co_sleep(1000000);
	co_until(&change.done);
	CU_ASSERT_PTR_NOT_NULL(change.result);
	for (unsigned i = 0; i < count; i++)
		CU_ASSERT_EQUAL(held[i].res, 0);
	root_free(root);
	free(held);
}

static void test_stacks(void)
{
	test_run(1, 1, body_stacks, NULL);
}

/* A sender whose requests end at once keeps a line at the gate for as long as
 * it likes; the thread does its other work all the same (A42). */
struct refill {
	struct request req;
	struct root *root;
	unsigned count;
	bool stop;
};

static void refill_done(struct request *req, int res)
{
	struct refill *r = container_of(req, struct refill, req);

	CU_ASSERT_EQUAL(res, 0);
	r->count++;
	if (!r->stop)
		root_submit(r->root, req);
}

static void body_refill(void *arg)
{
	struct refill refill = { .req = { .op = REQ_READ } };
	struct change change;
	struct held first;
	struct node *node;

	(void)arg;
	toy_start();
	node = toy_open("{\"driver\":\"toy\"}");
	refill.root = toy_root("export 'd0'", node, true, 512);
	refill.req.fixed = IO_NOT_FIXED;
	refill.req.done = refill_done;
	toy_wishes.hold = true;
	held_submit(refill.root, &first, 0);
	change_start(&change, node, "f");
	co_sleep(1000000);
	root_submit(refill.root, &refill.req);
	toy_wishes.hold = false;
	toy_release();
	/* the line goes on while the change, of the same thread, ends */
	while (!change.done || refill.count < 1000)
		co_yield();
	CU_ASSERT_PTR_NOT_NULL(change.result);
	refill.stop = true;
	co_sleep(1000000);
	root_free(refill.root);
}

static void test_refill(void)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		test_run(THREADS, seed, body_refill, NULL);
}

TEST_MAIN("graph-drain",
	  TEST(test_order),
	  TEST(test_deadline),
	  TEST(test_job_roots),
	  TEST(test_scope),
	  TEST(test_opening),
	  TEST(test_free_late),
	  TEST(test_join),
	  TEST(test_stacks),
	  TEST(test_refill),
	  TEST(test_live_filters))
