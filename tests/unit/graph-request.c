/* SPDX-License-Identifier: MIT */
/*
 * One request at a time: bounds, alignment, splitting, emulation, FUA, flush
 * and errors (A9, A12, A29), on toy drivers that check every call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define TOY_4K "{'driver':'toy','node-name':'t','align':4096," \
	"'mem-align':512,'max-transfer':65536,'discard':'unmap'}"

static char *pattern(uint32_t len, unsigned seed)
{
	char *buf = aligned_alloc(4096, align_up(len, 4096));

	for (uint32_t i = 0; i < len; i++)
		buf[i] = (char)(seed + i * 7 + i / 251);
	return buf;
}

SIM_TEST(test_bounds)
{
	struct node *node;
	struct root *root;
	char *buf = pattern(4096, 1);

	toy_start();
	node = toy_open(TOY_4K);
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 1 << 20, 512, buf, 0),
			-EIO);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, (1 << 20) - 512, 1024, buf,
				    0), -EIO);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, UINT64_MAX - 511, 512, buf,
				    0), -EIO);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 100, 512, buf, 0),
			-EINVAL);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 0, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node)->reads, 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, (1 << 20) - 512, 512, buf,
				    0), 0);
	root_free(root);
	free(buf);
}

/* Unaligned writes change their bytes and no others. */
static void body_unaligned(void *arg)
{
	struct node *node;
	struct root *root;
	char *model = calloc(1, 1 << 20), *got = malloc(1 << 20);

	(void)arg;
	toy_start();
	node = toy_open(TOY_4K);
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT(node->serialise);
	for (unsigned i = 0; i < 200; i++) {
		uint32_t len = 512 * (1 + (uint32_t)sim_random_below(300));
		uint64_t offset = 512 * sim_random_below(2048 - len / 512);
		char *buf = pattern(len + 1, i);
		char *p = buf + (i & 1);	/* also unaligned memory */
		int ret;

		if (i % 5 == 4) {
			ret = toy_request(root, REQ_ZEROES, offset, len, NULL,
					  0);
			memset(model + offset, 0, len);
		} else {
			ret = toy_request(root, REQ_WRITE, offset, len, p, 0);
			memcpy(model + offset, p, len);
		}
		CU_ASSERT_EQUAL(ret, 0);
		ret = toy_request(root, REQ_READ, offset, len, p, 0);
		CU_ASSERT_EQUAL(ret, 0);
		CU_ASSERT(!memcmp(p, model + offset, len));
		free(buf);
	}
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 1 << 20, got, 0), 0);
	CU_ASSERT(!memcmp(got, model, 1 << 20));
	root_free(root);
	free(model);
	free(got);
}

static void test_unaligned(void)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		test_run(1, seed, body_unaligned, NULL);
}

/* A discard gives back whole blocks only and touches nothing else. */
SIM_TEST(test_discard)
{
	struct node *node;
	struct root *root;
	char *buf = pattern(16384, 3), *got = malloc(16384);

	toy_start();
	node = toy_open(TOY_4K);
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 16384, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 512, 12288, NULL, 0),
			0);
	CU_ASSERT_EQUAL(toy_of(node)->discards, 1);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 16384, got, 0), 0);
	CU_ASSERT(!memcmp(got, buf, 4096));
	CU_ASSERT(got[4096] == 0 && !memcmp(got + 4096, got + 4097, 8191));
	CU_ASSERT(!memcmp(got + 12288, buf + 12288, 4096));
	/* unsupported is no error: discards are advice */
	toy_wishes.no_discard = true;
	CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 12288, 4096, NULL, 0),
			0);
	root_free(root);
	free(got);
	free(buf);
}

SIM_TEST(test_discard_ignored)
{
	struct node *node;
	struct root *root;

	toy_start();
	node = toy_open("{'driver':'toy'}");
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 0, 4096, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node)->discards, 0);
	root_free(root);
}

/* Zeroes are written where the driver cannot zero, in pieces it can take. */
SIM_TEST(test_zeroes)
{
	struct node *node;
	struct root *root;
	char *buf = pattern(1 << 18, 5);

	toy_start();
	toy_wishes.no_zeroes = true;
	node = toy_open(TOY_4K);
	root = toy_root("export 'e'", node, true, 4096);
	CU_ASSERT(!node->serialise);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 1 << 18, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node)->writes, 4);
	CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 0, 1 << 18, NULL,
				    REQ_FUA), 0);
	CU_ASSERT_EQUAL(toy_of(node)->writes, 8);
	CU_ASSERT_EQUAL(toy_of(node)->zeroes, 0);
	/* no driver knows FUA, so it is a flush afterwards */
	CU_ASSERT_EQUAL(toy_of(node)->flushes, 1);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 1 << 18, buf, 0), 0);
	CU_ASSERT(!buf[0] && !memcmp(buf, buf + 1, (1 << 18) - 1));
	root_free(root);
	free(buf);
}

/* A driver may do less than asked; the rest is asked for again. */
SIM_TEST(test_prefix)
{
	struct node *node;
	struct root *root;
	char *buf = pattern(65536, 9), *got = malloc(65536);

	toy_start();
	toy_wishes.prefix = 4096;
	node = toy_open(TOY_4K);
	root = toy_root("export 'e'", node, true, 4096);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 4096, 65536, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node)->writes, 16);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 4096, 65536, got, 0), 0);
	CU_ASSERT(!memcmp(buf, got, 65536));
	root_free(root);
	free(buf);
	free(got);
}

/* A chain of formats and filters on top of each other shows the right data. */
static void body_chain(void *arg)
{
	struct node *node, *top;
	struct root *root;
	char *buf = pattern(1 << 20, 11), *got = malloc(1 << 20);

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy-filter','read-only':false,'file':"
		"{'driver':'toy-format','file':{'driver':'toy','align':512,"
		"'node-name':'leaf'}}}");
	root = toy_root("export 'b'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 1 << 20, got, 0), 0);
	CU_ASSERT(!got[0] && !memcmp(got, got + 1, (1 << 20) - 1));
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 512, (1 << 20) - 512, buf,
				    0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 1 << 20, got, 0), 0);
	CU_ASSERT(!memcmp(got + 512, buf, (1 << 20) - 512));
	root_free(root);
	/* an overlay longer than its backing: zeroes past the end */
	node = toy_open("{'driver':'toy-format','size':300000,"
		"'file':{'driver':'toy'},'backing':{'driver':'toy',"
		"'size':200000,'node-name':'base'}}");
	memset(toy_of(node_find("base"))->data, 7, 200000);
	top = node;
	root = toy_root("export 'o'", top, true, 1);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 300000, got, 0), 0);
	CU_ASSERT(got[0] == 7 && !memcmp(got, got + 1, 199999));
	CU_ASSERT(got[200000] == 0 && !memcmp(got + 200000, got + 200001,
					      99999));
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 199999, 2, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 199998, 4, got, 0), 0);
	CU_ASSERT(got[0] == 7 && got[1] == buf[0] && got[2] == buf[1] &&
		  got[3] == 0);
	root_free(root);
	free(buf);
	free(got);
}

static void test_chain(void)
{
	for (uint64_t seed = 0; seed < 10; seed++)
		test_run(2, seed, body_chain, NULL);
}

/* A NULL operation of a filter, and one with no operation at all. */
SIM_TEST(test_filters)
{
	struct node *node;
	struct root *root;
	char *buf = pattern(4096, 2), *got = malloc(4096);

	toy_start();
	node = toy_open("{'driver':'nop','discard':'unmap','file':{'driver':"
		"'toy-writes','image':{'driver':'nop','file':{'driver':'toy',"
		"'node-name':'leaf'}}}}");
	CU_ASSERT(node->forwards);
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 512, 4096, buf, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 512, 4096, got, 0), 0);
	CU_ASSERT(!memcmp(buf, got, 4096));
	CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 512, 512, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 512, 512, NULL, 0), 0);
	CU_ASSERT_EQUAL(toy_of(node_find("leaf"))->zeroes, 1);
	CU_ASSERT_EQUAL(toy_of(node_find("leaf"))->discards, 1);
	root_free(root);
	free(got);
	free(buf);
}

SIM_TEST(test_errors)
{
	struct node *node;
	struct root *root;
	struct error *err = NULL;
	char *buf = pattern(4096, 2);
	static const struct root_ops reader = { .kind = "export",
						.gated = true };

	toy_start();
	node = toy_open(TOY_4K);
	root = toy_root("export 'e'", node, true, 512);
	toy_wishes.fail_read = -EIO;
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 4096, buf, 0), -EIO);
	/* the read of a read-modify-write */
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), -EIO);
	toy_wishes.fail_read = 0;
	toy_wishes.fail_write = -ENOSPC;
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0),
			-ENOSPC);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 4096, buf, REQ_FUA),
			-ENOSPC);
	toy_wishes.fail_write = 0;
	/* nothing stays locked */
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	root_free(root);
	node = toy_open(TOY_4K);
	root = root_new(&reader, NULL, "export 'r'", node,
			PERM_CONSISTENT_READ, PERM_ALL, 512, 2, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	toy_give(node);
	CU_ASSERT(!node->serialise);
	root_free(root);
	free(buf);
}

/* The file driver's fast path, and what happens when the storage says no. */
static int refuse_punch(void *arg, const struct io *io)
{
	(void)arg;
	return io->op == IO_PUNCH || io->op == IO_ZERO ? -EOPNOTSUPP : 0;
}

SIM_TEST(test_file)
{
	struct node *node;
	struct root *root;
	char *buf = pattern(65536, 2), *got = malloc(65536);

	toy_start();
	sim_file_create("/img", 1 << 20);
	node = toy_open("{'driver':'raw','discard':'unmap','file':{'driver':"
			 "'file','filename':'/img'}}");
	root = toy_root("export 'e'", node, true, 512);
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 4096, 65536, buf,
				    REQ_FUA), 0);
	CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 8192, 4096, NULL, 0),
			0);
	sim_set_fault(refuse_punch, NULL);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(toy_request(root, REQ_ZEROES, 4096, 4096, NULL,
					    i ? REQ_NO_UNMAP : 0), 0);
		CU_ASSERT_EQUAL(toy_request(root, REQ_DISCARD, 4096, 4096,
					    NULL, 0), 0);
	}
	sim_set_fault(NULL, NULL);
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 4096, 65536, got, 0), 0);
	CU_ASSERT(!got[0] && !memcmp(got, got + 1, 8191));
	CU_ASSERT(!memcmp(got + 8192, buf + 8192, 65536 - 8192));
	root_free(root);
	free(buf);
	free(got);
}

/* A failed FUA write may have been told of other writes' lost pages, and the
 * kernel tells once: flushes fail from then on, unless nothing is cached. */
static int fail_dsync(void *arg, const struct io *io)
{
	return io->flags & IO_DSYNC ? *(int *)arg : 0;
}

SIM_TEST(test_dsync)
{
	static const struct {
		const char *json;
		int fail, flush;
	} cases[] = {
		{ "{'driver':'file','filename':'/img'}", -EIO, -EIO },
		{ "{'driver':'file','filename':'/img'}", -ENOSPC, 0 },
		{ "{'driver':'file','filename':'/img','cache':{'direct':true}}",
		  -EIO, 0 },
	};
	char *buf = pattern(4096, 2);

	toy_start();
	sim_file_create("/img", 1 << 20);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		int fail = cases[i].fail;
		struct node *node = toy_open(cases[i].json);
		struct root *root = toy_root("export 'e'", node, true, 512);

		CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 4096, buf, 0),
				0);
		sim_set_fault(fail_dsync, &fail);
		CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 8192, 4096, buf,
					    REQ_FUA), fail);
		sim_set_fault(NULL, NULL);
		CU_ASSERT_EQUAL(toy_request(root, REQ_FLUSH, 0, 0, NULL, 0),
				cases[i].flush);
		root_free(root);
	}
	free(buf);
}

TEST_MAIN("graph-request",
	  TEST(test_bounds),
	  TEST(test_unaligned),
	  TEST(test_discard),
	  TEST(test_discard_ignored),
	  TEST(test_zeroes),
	  TEST(test_prefix),
	  TEST(test_chain),
	  TEST(test_filters),
	  TEST(test_errors),
	  TEST(test_file),
	  TEST(test_dsync))
