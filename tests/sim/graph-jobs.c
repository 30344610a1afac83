/* SPDX-License-Identifier: MIT */
/*
 * graph-jobs.c - a job that copies on I/O threads, while drains, changes of the
 * graph, pauses, errors and cancels come from elsewhere (R20 to R22, A16): it
 * is throttled, runs out of space, sleeps, or is in the middle of an operation,
 * and neither a drain nor the job waits for the other for ever.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/job.h"
#include "graph/range-lock.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define SEEDS 300u
#define THREADS 3u
#define WORKERS 2u	/* on each */
#define CHUNK 4096u
#define CHUNKS 96u
#define MS UINT64_C(1000000)

/* ---- the job ---- */

struct worker {
	struct co_remote remote;
	struct copy *copy;
	struct io_thread *thread;
	unsigned redo;		/* chunk + 1, 0: none */
	char *buf;
};

struct copy {
	struct job *job;
	struct root *roots[2];	/* source, target */
	struct worker workers[THREADS * WORKERS];
	struct co *run;		/* waits for the workers */
	unsigned working;
	struct range_lock lock;	/* of chunks; guests lock what they write */
	bool sent[CHUNKS];	/* writes go to both disks from here on */
	struct toy *target;
	/* one processor at a time in the simulation */
	unsigned next, done, under_way, begun;
	unsigned errors;	/* to come */
	int failed;
	unsigned wishes, let_go, stops;
	bool over, copied;
};

/* Held by an operation, and by nobody who must wait for more than I/O. */
static int copy_locked(struct worker *w, struct request *req)
{
	struct copy *c = w->copy;
	struct range range;
	int ret;

	/* guests have written since it was read, if it was */
	CU_ASSERT_EQUAL(req->finished, 0);
	co_range_lock(&c->lock, &range, req->offset, req->offset + CHUNK,
		      true);
	ret = toy_request(c->roots[0], REQ_READ, req->offset, CHUNK, w->buf,
			  0);
	if (sim_random_below(4) == 0)
		co_sleep(sim_random_below(3 * MS));
	if (!ret && c->errors && sim_random_below(3) == 0) {
		c->errors--;
		ret = -EIO;
	}
	if (!ret)
		ret = co_root_submit(c->roots[1], req);
	c->sent[req->offset / CHUNK] |= !ret;
	co_range_unlock(&c->lock, &range);
	return ret;
}

static int copy_chunk(struct worker *w, unsigned chunk)
{
	struct request req = {
		.op = REQ_WRITE, .flags = REQ_HAND_BACK, .len = CHUNK,
		.offset = (uint64_t)chunk * CHUNK, .buf = w->buf,
		.fixed = IO_NOT_FIXED,
	};
	int ret;

	while ((ret = copy_locked(w, &req)) == STEER_WAIT) {
		w->copy->wishes++;
		if (!co_wait_wish(&req))
			break;
	}
	return ret;
}

static void copy_work(void *arg)
{
	struct worker *w = arg;
	struct copy *c = w->copy;

	while ((w->redo || c->next < CHUNKS) && !c->failed) {
		unsigned chunk;
		int ret;

		if (!job_begin(c->job, c->roots, 2))
			return;
		chunk = w->redo ? w->redo - 1 : c->next++;
		w->redo = chunk + 1;
		c->begun++;
		c->under_way++;
		ret = copy_chunk(w, chunk);
		c->under_way--;
		if (ret == STEER_WAIT) {
			c->let_go++;
		} else if (ret < 0) {
			c->failed = ret;
		} else {
			c->done++;
			w->redo = 0;
		}
		job_end(c->roots, 2);
		if (sim_random_below(4) == 0)
			co_sleep(sim_random_below(3 * MS));
	}
}

static void copy_worked(struct co_remote *remote)
{
	struct copy *c = container_of(remote, struct worker, remote)->copy;

	CU_ASSERT_TRUE(remote->ran);
	if (--c->working == 0)
		co_wake(c->run);
}

static int copy_run(struct job *job, struct error **err)
{
	struct copy *c = job->owner;

	(void)err;
	c->run = co_self();
	while (!co_job_pause_point(job)) {
		for (unsigned i = 0; i < ARRAY_SIZE(c->workers); i++) {
			struct worker *w = &c->workers[i];

			c->working++;
			co_spawn_on(w->thread, &w->remote, copy_work, w,
				    copy_worked);
		}
		co_wait();
		CU_ASSERT_EQUAL(c->under_way, 0);
		if (c->failed) {
			c->failed = 0;
			c->stops++;
			job_pause_by(job, JOB_PAUSE_ERROR);
		} else if (c->done == CHUNKS) {
			break;
		}
	}
	return 0;
}

static void copy_end(struct job *job)
{
	struct copy *c = job->owner;

	root_free(c->roots[0]);
	root_free(c->roots[1]);
}

static void copy_commit(struct job *job)
{
	struct copy *c = job->owner;

	c->copied = true;
	copy_end(job);
}

static void copy_free(struct job *job)
{
	struct copy *c = job->owner;

	for (unsigned i = 0; i < ARRAY_SIZE(c->workers); i++)
		free(c->workers[i].buf);
	c->over = true;
}

static const struct job_ops copy_ops = {
	.type = "toy", .run = copy_run, .commit = copy_commit,
	.abort = copy_end, .free = copy_free,
};

static void copy_start(struct copy *c, struct node *from, struct node *to)
{
	const uint64_t threads = ((UINT64_C(1) << THREADS) - 1) << 1;
	struct error *err = NULL;

	range_lock_init(&c->lock);
	c->target = toy_of(node_find("leaf"));
	c->job = job_new(&copy_ops, "copy", 0, c, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c->job);
	c->roots[0] = job_root_new(c->job, from, PERM_CONSISTENT_READ,
				   PERM_ALL, threads, &err);
	c->roots[1] = job_root_new(c->job, to, PERM_WRITE, PERM_ALL, threads,
				   &err);
	CU_ASSERT(c->roots[0] && c->roots[1]);
	for (unsigned i = 0; i < ARRAY_SIZE(c->workers); i++) {
		c->workers[i].copy = c;
		c->workers[i].thread = thread_by_index(1 + i % THREADS);
		c->workers[i].buf = aligned_alloc(4096, CHUNK);
	}
	CU_ASSERT_EQUAL(job_start(c->job, &err), 0);
}

/* ---- guests ---- */

static struct copy *guarded;	/* by the filter of this test */

/* Before the job has come both disks differ; behind it they are the same. */
static int64_t guarded_write(struct node *node, uint64_t offset, uint32_t len,
			     const void *buf, unsigned flags)
{
	struct copy *c = guarded;
	struct range range;
	int ret;

	co_range_lock(&c->lock, &range, offset, offset + len, false);
	ret = co_edge_write(node->file, offset, len, buf, flags);
	if (c->sent[offset / CHUNK])
		memcpy(c->target->data + offset, buf, len);
	co_range_unlock(&c->lock, &range);
	return ret ? ret : (int64_t)len;
}

static const struct child_decl guarded_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

static const struct driver guarded_driver = {
	.name = "toy-guarded",
	.kind = DRIVER_FILTER,
	.children = guarded_children,
	.write = guarded_write,
};

struct guest {
	struct crew_member member;
	struct root *root;
	char buf[CHUNK];
};

static void guest_write(void *arg)
{
	struct guest *g = arg;

	while (!guarded->over) {
		uint32_t len = 512 * (1 + (uint32_t)sim_random_below(8));
		uint64_t at = 512 * sim_random_below((CHUNK - len) / 512 + 1);

		at += CHUNK * sim_random_below(CHUNKS);
		memset(g->buf, (int)sim_random_below(256), len);
		CU_ASSERT_EQUAL(toy_request(g->root, REQ_WRITE, at, len,
					    g->buf, 0), 0);
		co_sleep(1 + sim_random_below(MS));
	}
}

/* ---- what comes meanwhile ---- */

static unsigned drains, paused_drains, busy_drains, cancels, stops, let_go;
static unsigned wishes;

/* The job's I/O has ended, and until the undrain none begins (R38). */
static int look_while_drained(void *arg, struct error **err)
{
	struct copy *c = arg;
	unsigned begun = c->begun;

	(void)err;
	CU_ASSERT_EQUAL(c->under_way, 0);
	co_sleep(5 * MS);
	CU_ASSERT(!c->under_way && c->begun == begun);
	drains++;
	/* by now who slept has come back */
	if (!c->over && (c->job->status == JOB_PAUSED ||
			 c->job->status == JOB_RUNNING))
		CU_ASSERT(c->job->status == JOB_PAUSED || c->job->cancelled ||
			  c->done == CHUNKS);
	if (!c->over && c->job->status == JOB_PAUSED)
		paused_drains++;
	return 0;
}

static const struct decision look = { .take = look_while_drained };

static void drain(struct copy *c, struct node *node)
{
	struct transaction *t = transaction_begin();
	struct error *err = NULL;

	busy_drains += c->under_way > 0;
	transaction_touch(t, node);
	transaction_set_decision(t, &look, c);
	CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
	error_clear(&err);
}

static void change(struct node *node)
{
	json_t *options = json_pack("{s:s,s:s}", "driver", "nop", "node-name",
				    "f");
	struct error *err = NULL;
	struct node *nop = graph_insert(node, NULL, options, NULL, &err);

	json_decref(options);
	/* the job may have gone, and nobody is left to move */
	if (!nop) {
		CU_ASSERT_EQUAL(err->code, EINVAL);
		error_clear(&err);
		return;
	}
	co_sleep(sim_random_below(2 * MS));
	CU_ASSERT_EQUAL(graph_remove(nop, NULL, NULL, &err), 0);
	toy_let_go(nop);
}

static void ask(struct job *job, enum job_verb verb)
{
	struct error *err = NULL;

	/* what is refused now is taken another time */
	if (co_job_verb(job, verb, &err) < 0)
		error_clear(&err);
}

static void throttle_give(void *arg)
{
	toy_throttle_give(arg, 2 * CHUNK);
}

struct hand {
	struct copy *copy;
	struct node *throttle;
	bool ended;
};

/* Time goes by, for those who wait for their turn. */
static void hand_run(void *arg)
{
	struct hand *hand = arg;

	while (!hand->copy->over) {
		for (unsigned i = 1; i <= THREADS; i++)
			co_call(thread_by_index(i), throttle_give,
				hand->throttle);
		co_sleep(MS);
	}
	hand->ended = true;
}

static void copy_let_go(struct copy *c, const struct hand *hand,
			struct node *from, struct node *to)
{
	job_put(c->job, "test");
	range_lock_destroy(&c->lock);
	while (!hand->ended)
		co_sleep(MS);
	toy_let_go(from);
	toy_let_go(to);
	free(c);
}

static void body_copy(void *arg)
{
	struct copy *c = calloc(1, sizeof(*c));
	struct guest *guests = calloc(THREADS, sizeof(*guests));
	struct hand hand = { .copy = c };
	struct node *from, *to, *leaf, *above;
	struct crew crew = { 0 };
	struct root *root;
	bool cancel = sim_random_below(4) == 0;
	uint64_t deadline;

	(void)arg;
	toy_start();
	toy_wishes.full = 5;
	from = toy_open("{'driver':'toy','node-name':'from'}");
	to = toy_open("{'driver':'toy-full','node-name':'to','file':"
		      "{'driver':'toy-throttle','node-name':'t','file':"
		      "{'driver':'toy','node-name':'leaf'}}}");
	guarded = c;
	driver_register(&guarded_driver);
	above = toy_open("{'driver':'toy-guarded','file':'from'}");
	toy_hold(from);
	toy_hold(to);
	leaf = node_find("leaf");
	hand.throttle = node_find("t");
	for (unsigned i = 0; i < CHUNKS * CHUNK; i++)
		toy_of(from)->data[i] = (char)(i / CHUNK + i * 7);
	c->errors = (unsigned)sim_random_below(3);
	copy_start(c, from, to);
	root = toy_root("export 'd0'", above, true, 512);
	for (unsigned i = 0; i < THREADS; i++) {
		guests[i].root = root;
		crew_start(&crew, &guests[i].member, 1 + i, guest_write,
			   &guests[i]);
	}
	CU_ASSERT_TRUE(co_spawn(hand_run, &hand));
	job_get(c->job, "test");
	deadline = clock_ns() + UINT64_C(60000000000);
	while (!c->over && clock_ns() < deadline) {
		struct node *node[] = { from, to, hand.throttle, above, leaf };

		switch (sim_random_below(6)) {
		case 0:
			ask(c->job, JOB_PAUSE);
			break;
		case 1:
			change(node[sim_random_below(4)]);
			break;
		case 2:
			if (cancel && c->done > CHUNKS / 2) {
				cancels++;
				ask(c->job, JOB_CANCEL);
			}
			break;
		case 3:
			drain(c, node[sim_random_below(3)]);
			break;
		default:
			ask(c->job, JOB_RESUME);
		}
		co_sleep(sim_random_below(2 * MS));
	}
	CU_ASSERT_TRUE_FATAL(c->over);
	CU_ASSERT(c->copied || cancel);
	crew_wait(&crew);
	root_free(root);
	free(guests);
	if (c->copied)
		CU_ASSERT_EQUAL(memcmp(toy_of(from)->data, toy_of(leaf)->data,
				       CHUNKS * CHUNK), 0);
	stops += c->stops;
	let_go += c->let_go;
	wishes += c->wishes;
	copy_let_go(c, &hand, from, to);
}

static void test_copy(void)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		test_run(THREADS, seed, body_copy, NULL);
	/* otherwise nothing met */
	CU_ASSERT(drains > SEEDS && paused_drains > SEEDS / 4 &&
		  busy_drains > SEEDS / 4);
	CU_ASSERT(cancels > 10 && stops > 10);
	CU_ASSERT(wishes > SEEDS && let_go > 10);
}

/* ---- waiting for each other ---- */

/* A drain that covers both roots comes between any two steps of an operation
 * that takes both: neither root is held while the other is waited for. */
static void body_both(void *arg)
{
	struct copy *c = calloc(1, sizeof(*c));
	struct hand hand = { .copy = c };
	struct transaction *t;
	struct node *from, *to;
	struct error *err = NULL;

	(void)arg;
	toy_start();
	from = toy_open("{'driver':'toy','node-name':'from'}");
	to = toy_open("{'driver':'toy-throttle','node-name':'to','file':"
		      "{'driver':'toy','node-name':'leaf'}}");
	toy_hold(from);
	toy_hold(to);
	hand.throttle = to;
	copy_start(c, from, to);
	job_get(c->job, "test");
	CU_ASSERT_TRUE(co_spawn(hand_run, &hand));
	while (!c->over) {
		t = transaction_begin();
		transaction_touch(t, from);
		transaction_touch(t, to);
		transaction_set_decision(t, &look, c);
		CU_ASSERT_EQUAL(transaction_commit(t, NULL, &err), 0);
		co_sleep(1 + sim_random_below(2 * MS));
	}
	CU_ASSERT_TRUE(c->copied);
	copy_let_go(c, &hand, from, to);
}

static void test_both(void)
{
	for (uint64_t seed = 1; seed <= SEEDS / 4; seed++)
		test_run(THREADS, seed, body_both, NULL);
}

TEST_MAIN("graph-jobs", TEST(test_copy), TEST(test_both))
