/* SPDX-License-Identifier: MIT */
/*
 * graph-wait-random.c - waiting under seeds (R39 to R44, Q14): writes wait for
 * turns at a throttle, for grace periods, and at gates, on three threads, with
 * and without a gate, while drains come and go and filters are put in and taken
 * out between all of it.
 *
 * Each write is charged once and done once, as hooks above and below count it;
 * those of a thread pass the throttle in the order in which they came.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define SEEDS 60u
#define THREADS 3u
#define WRITES 40u	/* of a thread, through the gate */
#define BARE 10u	/* of a thread, of a root without one */
#define LONGEST 8u	/* sectors of a write */
#define REGION ((WRITES + BARE) * LONGEST)	/* of a thread */
#define MS UINT64_C(1000000)

struct sent {
	struct request req;
	char buf[LONGEST * 512];
	unsigned done;
	int res;
};

struct sender {
	struct crew_member member, giver;
	struct root *gated, *bare;
	struct node *throttle;
	unsigned thread;
	uint64_t bytes;			/* of writes */
	bool over;
	struct sent sent[WRITES + BARE];
};

static struct {
	bool full;		/* grace periods too */
	unsigned ended;		/* senders */
	unsigned changes;
} run;

static unsigned waited;		/* of all seeds */

static void sent_done(struct request *req, int res)
{
	struct sent *s = container_of(req, struct sent, req);

	s->done++;
	s->res = res;
	waited += req->waited;
}

static void sent_make(struct sender *m, unsigned i)
{
	uint32_t sectors = 1 + (uint32_t)sim_random_below(LONGEST);
	uint64_t at = (uint64_t)m->thread * REGION + i * LONGEST;
	struct sent *s = &m->sent[i];

	memset(s->buf, (int)(1 + i), sizeof(s->buf));
	s->req = (struct request){
		.op = REQ_WRITE,
		.flags = sim_random_below(8) ? 0 : REQ_FUA,
		.offset = at * 512,
		.len = sectors * 512,
		.buf = s->buf,
		.done = sent_done,
		.fixed = IO_NOT_FIXED,
	};
	m->bytes += s->req.len;
}

static bool all_done(const struct sender *m, unsigned from, unsigned to)
{
	while (from < to && m->sent[from].done)
		from++;
	return from == to;
}

/* Its writes are on their way at once, and reads pass them. */
static void send_run(void *arg)
{
	struct sender *m = arg;
	unsigned bare = WRITES;
	static char read[512];

	for (unsigned i = 0; i < WRITES; i++) {
		sent_make(m, i);
		root_submit(m->gated, &m->sent[i].req);
		if (bare < WRITES + BARE && !sim_random_below(4)) {
			sent_make(m, bare);
			root_submit(m->bare, &m->sent[bare++].req);
		}
		if (!sim_random_below(4))
			CU_ASSERT_EQUAL(toy_request(m->gated, REQ_READ, 0,
						    512, read, 0), 0);
		if (!sim_random_below(3))
			co_sleep(sim_random_below(MS));
	}
	for (; bare < WRITES + BARE; bare++) {
		sent_make(m, bare);
		root_submit(m->bare, &m->sent[bare].req);
	}
	while (!all_done(m, 0, WRITES + BARE))
		co_sleep(MS);
	m->over = true;
	run.ended++;
}

/* Turns, sometimes none for long. */
static void give_run(void *arg)
{
	struct sender *m = arg;

	while (!m->over) {
		toy_throttle_give(m->throttle, 512 *
				  sim_random_below(2 * LONGEST));
		co_sleep(sim_random_below(sim_random_below(8) ? MS : 20 * MS));
	}
}

static void change(void)
{
	static const char *const above[] = { "c0", "t", "c1", "f", "leaf" };
	const char *name = above[sim_random_below(ARRAY_SIZE(above))];
	json_t *options = json_pack("{s:s}", "driver", sim_random_below(2) ?
				    "nop" : "toy-filter");
	struct error *err = NULL;
	struct node *filter = graph_insert(node_find(name), NULL, options,
					   NULL, &err);

	json_decref(options);
	CU_ASSERT_PTR_NOT_NULL_FATAL(filter);
	run.changes++;
	if (run.full)
		toy_wishes.full += (unsigned)sim_random_below(4);
	co_sleep(sim_random_below(2 * MS));
	CU_ASSERT_EQUAL(graph_remove(filter, NULL, NULL, &err), 0);
	toy_let_go(filter);
	co_sleep(sim_random_below(2 * MS));
}

static void check_counter(const struct sender *m, const char *name)
{
	const struct toy_counter *c = toy_counter_of(node_find(name));
	unsigned wrong = 0;

	for (unsigned i = 0; i < WRITES + BARE; i++) {
		const struct request *req = &m->sent[i].req;
		uint64_t at = req->offset / 512;

		for (unsigned s = 0; s < LONGEST; s++)
			wrong += c->sectors[at + s] != (s < req->len / 512);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

/* Those that came through the gate; who has none passes while it is closed. */
static void check_order(const struct sender *m)
{
	const struct toy_throttle *t = toy_throttle_of(m->throttle);
	uint64_t last = 0, begin = (uint64_t)m->thread * REGION * 512;
	unsigned wrong = 0;

	for (unsigned i = 0; i < WRITES + BARE; i++) {
		uint64_t at = t->log[m->thread][i];

		if (at >= begin + WRITES * LONGEST * 512)
			continue;
		wrong += at < begin || at < last;
		last = at;
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static void check_sender(const struct sender *m)
{
	const struct toy_throttle *t = toy_throttle_of(m->throttle);
	const char *data = toy_of(node_find("leaf"))->data;

	CU_ASSERT_EQUAL(t->charged[m->thread], m->bytes);
	for (unsigned i = 0; i < WRITES + BARE; i++) {
		const struct sent *s = &m->sent[i];

		CU_ASSERT_EQUAL(s->done, 1);
		CU_ASSERT_EQUAL(s->res, 0);
		CU_ASSERT(!memcmp(data + s->req.offset, s->buf, s->req.len));
	}
	check_counter(m, "c0");
	check_counter(m, "c1");
	if (!run.full) {
		CU_ASSERT_EQUAL(t->passed[m->thread], WRITES + BARE);
		check_order(m);
	}
}

static void body(void *arg)
{
	struct sender *senders = calloc(THREADS, sizeof(*senders));
	struct crew crew = { 0 };
	struct root *gated, *bare;
	struct node *top;

	memset(&run, 0, sizeof(run));
	run.full = *(unsigned *)arg % 2;
	toy_start();
	top = toy_open("{'driver':'toy-counter','node-name':'c0','file':"
		       "{'driver':'toy-throttle','node-name':'t','file':"
		       "{'driver':'toy-counter','node-name':'c1','file':"
		       "{'driver':'toy-full','node-name':'f','file':"
		       "{'driver':'toy','node-name':'leaf'}}}}}");
	toy_hold(top);
	gated = toy_root("export 'e'", top, true, 512);
	bare = toy_root("job 'j'", top, false, 512);
	for (unsigned i = 0; i < THREADS; i++) {
		struct sender *m = &senders[i];

		m->gated = gated;
		m->bare = bare;
		m->thread = 1 + i;
		m->throttle = node_find("t");
		crew_start(&crew, &m->member, m->thread, send_run, m);
		crew_start(&crew, &m->giver, m->thread, give_run, m);
	}
	while (run.ended < THREADS)
		change();
	crew_wait(&crew);
	CU_ASSERT(run.changes > 1);
	for (unsigned i = 0; i < THREADS; i++)
		check_sender(&senders[i]);
	root_free(gated);
	root_free(bare);
	toy_let_go(top);
	free(senders);
}

static void test_seeds(void)
{
	for (unsigned seed = 1; seed <= SEEDS; seed++)
		test_run(THREADS, seed, body, &seed);
	/* or this shows little */
	CU_ASSERT(waited > SEEDS * THREADS * WRITES / 2);
}

TEST_MAIN("graph-wait-random", TEST(test_seeds))
