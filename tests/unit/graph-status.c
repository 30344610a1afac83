/* SPDX-License-Identifier: MIT */
/*
 * graph-status.c - block status: who decides in a chain, alignment, merging,
 * errors; on toy drivers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/status.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define TOY "{'driver':'toy','node-name':'t'}"
#define BASE "{'driver':'toy-format','node-name':'base','size':131072," \
	"'backing':null,'file':{'driver':'toy','node-name':'tb'}}"
#define CHAIN "{'driver':'toy-format','node-name':'top','size':1048576," \
	"'backing':" BASE ",'file':{'driver':'toy','node-name':'tt'}}"

static struct status ask(struct root *root, uint64_t offset, uint32_t len,
			 unsigned flags)
{
	struct status st = {};

	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, offset, len, &st,
				    flags), 0);
	return st;
}

static void poke(struct node *node, uint64_t offset, uint32_t len)
{
	memset(toy_of(node)->data + offset, 0x55, len);
}

SIM_TEST(status_keeps_to_the_disk)
{
	struct status st;
	struct root *root;

	toy_start();
	root = toy_root("export 'e'", toy_open(TOY), true, 512);
	root->writable = false;
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 0, 512, &st, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 1 << 20, 512, &st, 0),
			-EIO);
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 512, 1 << 20, &st, 0),
			-EIO);
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 100, 512, &st, 0),
			-EINVAL);
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 0, 0, &st, 0), 0);
	root_free(root);
}

static void expect(struct root *root, uint64_t offset, uint32_t len,
		   uint64_t want_len, unsigned flags, unsigned depth)
{
	struct status st = ask(root, offset, len, 0);

	CU_ASSERT_EQUAL(st.len, want_len);
	CU_ASSERT_EQUAL(st.flags, flags);
	CU_ASSERT_EQUAL(st.depth, depth);
}

SIM_TEST(the_topmost_image_that_has_it_decides)
{
	char *buf = malloc(TOY_CLUSTER);
	struct root *root, *base;

	toy_start();
	memset(buf, 1, TOY_CLUSTER);
	base = toy_root("job 'b'", toy_open(BASE), false, 512);
	CU_ASSERT_EQUAL(toy_request(base, REQ_WRITE, 65536, 65536, buf, 0), 0);
	root = toy_root("export 'e'", toy_open("{'driver':'toy-format',"
		"'node-name':'top','size':1048576,'backing':'base',"
		"'file':{'driver':'toy','node-name':'tt'}}"), true, 512);
	/* nobody has the first cluster, the base the second and no more */
	expect(root, 0, 1 << 20, 65536, STATUS_ZERO, 0);
	expect(root, 65536, 65536, 65536, STATUS_DATA, 2);
	expect(root, 131072, 131072, 131072, STATUS_ZERO | STATUS_PAST_END, 2);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 65536, 512, buf, 0), 0);
	memset(buf, 0, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 65536, 512, buf, 0), 0);
	expect(root, 65536, 65536, 512, STATUS_ZERO, 1);
	expect(root, 66048, 65024, 65024, STATUS_DATA, 1);
	root_free(root);
	root_free(base);
	free(buf);
}

SIM_TEST(filters_are_no_layer)
{
	struct node *node;
	struct root *root;

	toy_start();
	node = toy_open("{'driver':'toy-filter','file':" CHAIN "}");
	root = toy_root("export 'e'", node, true, 512);
	poke(node_find("tb"), 512, 512);
	expect(root, 0, 131072, 131072, STATUS_ZERO, 0);
	CU_ASSERT_PTR_EQUAL(ask(root, 0, 512, 0).node, node_find("base"));
	root_free(root);
}

SIM_TEST(data_is_rounded_outwards)
{
	struct node *node;
	struct root *root;

	toy_start();
	node = toy_open(TOY);
	root = toy_root("export 'e'", node, true, 4096);
	poke(node, 4096 + 512, 512);
	poke(node, 16384, 4096);
	poke(node, 20480 + 3584, 512);
	expect(root, 0, 65536, 4096, STATUS_ZERO, 1);
	expect(root, 4096, 61440, 4096, STATUS_DATA, 1);
	expect(root, 8192, 57344, 8192, STATUS_ZERO, 1);
	expect(root, 16384, 49152, 8192, STATUS_DATA, 1);
	expect(root, 24576, 40960, 40960, STATUS_ZERO, 1);
	root_free(root);
}

SIM_TEST(equal_neighbours_are_one_up_to_a_bound)
{
	struct node *node;
	struct root *root;

	toy_start();
	node = toy_open(TOY);
	root = toy_root("export 'e'", node, true, 512);
	toy_wishes.prefix = 512;
	CU_ASSERT_EQUAL(ask(root, 0, 65536, 0).len, 65536);
	CU_ASSERT_EQUAL(ask(root, 0, 65536, REQ_OFFSETS).len, 65536);
	/* the bound */
	toy_of(node)->statuses = 0;
	CU_ASSERT_EQUAL(ask(root, 0, 1 << 20, 0).len, 131072);
	CU_ASSERT_EQUAL(toy_of(node)->statuses, 256);
	root_free(root);
}

SIM_TEST(offsets_are_told_when_asked_for)
{
	struct node *node;
	struct root *root;
	struct status st;

	toy_start();
	node = toy_open(TOY);
	root = toy_root("export 'e'", node, true, 512);
	poke(node, 4096, 4096);
	st = ask(root, 4096, 65536, REQ_OFFSETS);
	CU_ASSERT_EQUAL(st.flags, STATUS_DATA | STATUS_OFFSET);
	CU_ASSERT_EQUAL(st.host_offset, 4096);
	CU_ASSERT_EQUAL(st.len, 4096);
	root_free(root);
}

SIM_TEST(errors_come_where_they_are)
{
	struct status st;
	struct root *root;

	toy_start();
	root = toy_root("export 'e'", toy_open(TOY), true, 512);
	toy_wishes.prefix = 512;
	toy_wishes.fail_status = -EIO;
	toy_wishes.fail_status_from = 4096;
	CU_ASSERT_EQUAL(ask(root, 0, 65536, 0).len, 4096);
	CU_ASSERT_EQUAL(toy_request(root, REQ_STATUS, 4096, 512, &st, 0),
			-EIO);
	root_free(root);
}

/* Whatever is written: the answers tile the disk, what is called zero is. */
static void body_random(void *arg)
{
	static const uint32_t units[] = { 512, 1024, 4096 };
	uint32_t unit = units[sim_random_below(3)];
	char *got = malloc(1 << 20);
	struct node *node;
	struct root *root;
	uint64_t at = 0;

	(void)arg;
	toy_start();
	node = toy_open(CHAIN);
	root = toy_root("export 'e'", node, true, unit);
	for (unsigned i = 0; i < 12; i++) {
		uint32_t len = unit * (uint32_t)(1 + sim_random_below(100));

		memset(got, sim_random_below(3) ? 0x11 : 0, len);
		CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, unit *
			sim_random_below(((1 << 20) - len) / unit), len, got,
			0), 0);
	}
	toy_wishes.prefix = (unsigned)sim_random_below(2) * 4096;
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 1 << 20, got, 0), 0);
	while (at < 1 << 20) {
		struct status st = ask(root, at, (1 << 20) - (uint32_t)at, 0);
		unsigned what = st.flags & (STATUS_ZERO | STATUS_DATA);

		CU_ASSERT_FATAL(st.len && is_aligned(st.len, unit) &&
				st.len <= (1 << 20) - at);
		CU_ASSERT(what == STATUS_ZERO || what == STATUS_DATA);
		for (uint64_t i = 0; what == STATUS_ZERO && i < st.len; i++)
			CU_ASSERT(!got[at + i]);
		for (uint64_t i = 0; what == STATUS_DATA && i < st.len;
		     i += unit)
			CU_ASSERT_PTR_NOT_NULL(memchr(got + at + i, 0x11,
							unit));
		CU_ASSERT(toy_format_is_allocated(node, at) == (st.depth == 1));
		at += st.len;
	}
	root_free(root);
	free(got);
}

static void answers_tile_the_disk_and_are_true(void)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		test_run(1, seed, body_random, NULL);
}

TEST_MAIN("graph-status", TEST(status_keeps_to_the_disk),
	  TEST(the_topmost_image_that_has_it_decides),
	  TEST(filters_are_no_layer), TEST(data_is_rounded_outwards),
	  TEST(equal_neighbours_are_one_up_to_a_bound),
	  TEST(offsets_are_told_when_asked_for),
	  TEST(errors_come_where_they_are),
	  TEST(answers_tile_the_disk_and_are_true))
