/* SPDX-License-Identifier: MIT */
/*
 * Random control commands, legal or not, several at a time, while exports do
 * I/O (B13): none crashes or hangs, and at the end everything closes.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define THREADS 2
#define COMMANDERS 4
#define COMMANDS 25
#define NAMES 8
#define EXPORTS 4

struct user {
	struct crew_member member;
	struct root *root;
	bool stop;
};

/* An export and those who use it. */
struct slot {
	struct root *root;
	struct user users[THREADS];
	struct crew crew;
	bool busy;
};

static struct slot slots[EXPORTS];
static unsigned done, refused;

static void use(void *arg)
{
	struct user *u = arg;
	uint64_t size = 1 << 20;
	char *buf = aligned_alloc(4096, 8192);

	memset(buf, 1, 8192);
	while (!u->stop) {
		uint32_t len = 512 * (1 + (uint32_t)sim_random_below(8));
		uint64_t at = 512 * sim_random_below(size / 512 - 8);
		enum req_op op = (enum req_op)sim_random_below(5);

		if (op == REQ_FLUSH)
			at = len = 0;
		toy_request(u->root, op, at, len, buf, 0);
		co_sleep(1 + sim_random_below(20000));
	}
	free(buf);
}

static const struct root_ops export_ops = { .kind = "export", .gated = true };

static void count(int ret, struct error **err)
{
	CU_ASSERT_EQUAL(ret < 0, *err != NULL);
	if (ret < 0)
		refused++;
	else
		done++;
	error_clear(err);
}

static void command_add(void)
{
	static const char *const drivers[] = {
		"toy", "toy-format", "toy-filter", "nop", "raw", "toy-writes",
	};
	unsigned d = (unsigned)sim_random_below(ARRAY_SIZE(drivers));
	struct error *err = NULL;
	struct node *node;
	char name[8], child[8], other[8];
	json_t *options;

	snprintf(name, sizeof(name), "n%u", (unsigned)sim_random_below(NAMES));
	snprintf(child, sizeof(child), "n%u",
		 (unsigned)sim_random_below(NAMES));
	snprintf(other, sizeof(other), "n%u",
		 (unsigned)sim_random_below(NAMES));
	options = json_pack("{s:s, s:s, s:b}", "driver", drivers[d],
			    "node-name", name, "read-only",
			    (int)sim_random_below(2));
	if (d == 0 && sim_random_below(2))
		json_object_set_new(options, "align", json_integer(4096));
	if (d)
		json_object_set_new(options, d == 5 ? "image" : "file",
				    json_string(child));
	if (d == 1 && sim_random_below(2))
		json_object_set_new(options, "backing", json_string(other));
	node = node_add(options, &err);
	count(node ? 0 : -1, &err);
	if (node)
		node_put(node, "opener");
	json_decref(options);
}

static void command_del(void)
{
	struct error *err = NULL;
	char name[8];

	snprintf(name, sizeof(name), "n%u", (unsigned)sim_random_below(NAMES));
	count(node_del(name, &err), &err);
}

/* Any node, also those that filters' options named. */
static struct node *any_node(void)
{
	unsigned n = 0, at;
	struct node *node;

	for (node = node_next(NULL); node; node = node_next(node))
		n++;
	if (!n)
		return NULL;
	at = (unsigned)sim_random_below(n);
	for (node = node_next(NULL); node; node = node_next(node))
		if (!at--)
			break;
	return node;
}

static void command_insert(void)
{
	struct node *below = any_node(), *filter;
	struct error *err = NULL;
	json_t *options;

	if (!below || !below->parents)
		return;
	options = json_pack("{s:s}", "driver", sim_random_below(2) ? "nop" :
			    "toy-filter");
	node_get(below, "command");
	filter = graph_insert(below, NULL, options, NULL, &err);
	count(filter ? 0 : -1, &err);
	if (filter)
		node_put(filter, "opener");
	node_put(below, "command");
	json_decref(options);
}

static void command_remove(void)
{
	struct node *filter = any_node();
	struct error *err = NULL;

	if (!filter)
		return;
	node_get(filter, "command");
	count(graph_remove(filter, NULL, NULL, &err), &err);
	node_put(filter, "command");
}

static void command_attach(struct slot *s)
{
	struct node *node = any_node();
	struct error *err = NULL;
	bool writes;

	if (!node || s->root || s->busy)
		return;
	s->busy = true;
	writes = !node->read_only && sim_random_below(2);
	s->root = root_new(&export_ops, NULL, "export", node,
			   PERM_CONSISTENT_READ | (writes ? PERM_WRITE : 0),
			   PERM_ALL, sim_random_below(2) ? 512 : 4096, 6,
			   &err);
	count(s->root ? 0 : -1, &err);
	s->busy = false;
	for (unsigned i = 0; s->root && i < THREADS; i++) {
		s->users[i].root = s->root;
		s->users[i].stop = false;
		crew_start(&s->crew, &s->users[i].member, 1 + i, use,
			   &s->users[i]);
	}
}

static void command_detach(struct slot *s)
{
	if (!s->root || s->busy)
		return;
	s->busy = true;
	for (unsigned i = 0; i < THREADS; i++)
		s->users[i].stop = true;
	crew_wait(&s->crew);
	root_free(s->root);
	s->root = NULL;
	s->busy = false;
	done++;
}

static void command(void)
{
	json_t *picture;

	switch (sim_random_below(10)) {
	case 0: case 1: case 2:
		command_add();
		break;
	case 3:
		command_del();
		break;
	case 4: case 5:
		command_insert();
		break;
	case 6:
		command_remove();
		break;
	case 7: case 8:
		command_attach(&slots[sim_random_below(EXPORTS)]);
		break;
	default:
		command_detach(&slots[sim_random_below(EXPORTS)]);
	}
	picture = graph_query_nodes(sim_random_below(2));
	json_decref(picture);
	picture = graph_query_graph();
	json_decref(picture);
}

static void commander(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < COMMANDS; i++) {
		command();
		co_sleep(sim_random_below(30000));
	}
}

static void close_all(void)
{
	struct error *err = NULL;
	struct node *node;

	for (unsigned i = 0; i < EXPORTS; i++)
		command_detach(&slots[i]);
	for (node = node_next(NULL); node;) {
		if (node->held && !node->parents) {
			CU_ASSERT_EQUAL(node_del(node->name, &err), 0);
			node = node_next(NULL);
		} else {
			node = node_next(node);
		}
	}
}

static void body_random(void *arg)
{
	struct crew_member members[COMMANDERS];
	struct crew crew = { 0 };

	(void)arg;
	toy_start();
	memset(slots, 0, sizeof(slots));
	for (unsigned i = 0; i < COMMANDERS; i++)
		crew_start(&crew, &members[i], MAIN_THREAD, commander, NULL);
	crew_wait(&crew);
	close_all();
	CU_ASSERT_PTR_NULL(node_next(NULL));
	CU_ASSERT_EQUAL(toy_calls.opens, toy_calls.closes);
}

static void test_random(void)
{
	for (uint64_t seed = 0; seed < 400; seed++)
		test_run(THREADS, seed, body_random, NULL);
	/* both happen, or this shows little */
	CU_ASSERT(done > 400 * 20);
	CU_ASSERT(refused > 400 * 10);
	printf("%u commands done, %u refused\n", done, refused);
}

TEST_MAIN("graph-random", TEST(test_random))
