/* SPDX-License-Identifier: MIT */
/*
 * hook-case.c - see hook-case.h. Each worker has sectors of its own, so what
 * they must be counted needs no order; filters come and go meanwhile.
 */
#include "tests/lib/hook-case.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/crew.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/random.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define WORKERS 6u
#define SECTORS (HOOK_CASE_SIZE / 512 / WORKERS)
#define LONGEST 32u	/* sectors of one request */

struct worker {
	struct crew_member member;
	const struct hook_case *c;
	struct root *root;
	uint64_t base, seed;
	unsigned counts[SECTORS], errors;
	char *buf;
};

static void work(void *arg)
{
	static const enum req_op ops[] = {
		REQ_READ, REQ_WRITE, REQ_WRITE, REQ_ZEROES, REQ_DISCARD,
	};
	struct worker *w = arg;

	for (unsigned i = 0; i < w->c->rounds; i++) {
		unsigned n = 1 + (unsigned)random_next(&w->seed, LONGEST);
		unsigned at = (unsigned)random_next(&w->seed, SECTORS - n);
		enum req_op op = ops[random_next(&w->seed, ARRAY_SIZE(ops))];
		unsigned flags = op <= REQ_WRITE && random_next(&w->seed, 8) ?
				 0 : op == REQ_WRITE ? REQ_FUA : 0;

		w->errors += !!toy_request(w->root, op, w->base + at * 512,
					   n * 512, w->buf, flags);
		for (unsigned s = at; op != REQ_READ && s < at + n; s++)
			w->counts[s]++;
		if (i % 16 == 0)
			toy_request(w->root, REQ_FLUSH, 0, 0, NULL, 0);
		co_yield();
	}
}

/* Above, between and below the counters. */
static void change(const struct hook_case *c)
{
	struct error *err = NULL;

	for (unsigned i = 0; i < 6; i++) {
		json_t *options = json_pack("{s:s,s:s}", "driver",
					    "toy-filter", "discard", "unmap");
		char name[24];
		struct node *filter;

		snprintf(name, sizeof(name), "c%u", i % c->counters);
		filter = graph_insert(node_find(name), NULL, options, NULL,
				      &err);
		json_decref(options);
		CU_ASSERT_PTR_NOT_NULL_FATAL(filter);
		co_yield();
		CU_ASSERT_EQUAL(graph_remove(filter, NULL, NULL, &err), 0);
		toy_let_go(filter);
	}
}

static void check(const struct worker *workers, unsigned counter)
{
	struct toy_counter *t;
	unsigned wrong = 0;
	char name[24];

	snprintf(name, sizeof(name), "c%u", counter);
	t = toy_counter_of(node_find(name));
	for (unsigned i = 0; i < WORKERS; i++)
		for (unsigned s = 0; s < SECTORS; s++)
			wrong += t->sectors[workers[i].base / 512 + s] !=
				 workers[i].counts[s];
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(t->failed, 0);
}

static void body(void *arg)
{
	const struct hook_case *c = arg;
	struct worker *workers = calloc(WORKERS, sizeof(*workers));
	struct crew crew = { 0 };
	char *text = strdup(c->below), *more;
	struct root *root;

	toy_start();
	for (unsigned i = 0; i < c->counters; i++) {
		if (asprintf(&more, "{'driver':'toy-counter','discard':"
			     "'unmap','node-name':'c%u','file':%s}", i,
			     text) < 0)
			abort();
		free(text);
		text = more;
	}
	root = toy_root("export 'e'", toy_open(text), true, 512);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		w->c = c;
		w->root = root;
		w->base = (uint64_t)i * SECTORS * 512;
		w->seed = c->seed * 100 + i;
		w->buf = aligned_alloc(4096, LONGEST * 512);
		memset(w->buf, (int)i, LONGEST * 512);
		crew_start(&crew, &w->member, 1 + i % c->threads, work, w);
	}
	change(c);
	crew_wait(&crew);
	for (unsigned i = 0; i < c->counters; i++)
		check(workers, i);
	root_free(root);
	for (unsigned i = 0; i < WORKERS; i++) {
		CU_ASSERT_EQUAL(workers[i].errors, 0);
		free(workers[i].buf);
	}
	free(workers);
	free(text);
}

void hook_case_run(const struct hook_case *c)
{
	struct hook_case copy = *c;

	test_run(c->threads, c->seed, body, &copy);
}

uint64_t hook_case_image(void **data)
{
	struct image_spec spec = {
		.version = 3,
		.cluster_bits = 12,
		.refcount_order = 4,
		.size = HOOK_CASE_SIZE,
	};

	return image_build(&spec, data);
}
