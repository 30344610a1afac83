/* SPDX-License-Identifier: MIT */
/*
 * driver-copy-on-read.c - what is read through the filter is the image's own
 * from then on (C11): down to the bottom, in whole clusters, zeroes as such;
 * a write is never undone by it; a read succeeds where there is no copy.
 */
#include <stdlib.h>
#include <string.h>

#include "drivers/drivers.h"
#include "graph/status.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define TOP "/sim/top.qcow2"
#define MID "/sim/mid.qcow2"
#define CLUSTER 4096u
#define SIZE (64 * CLUSTER)

/* What of each four clusters is whose. */
enum { OF_BASE, OF_MID, OF_TOP, ZEROES, LAYERS };

static enum image_cluster only(void *arg, uint64_t n)
{
	return n % LAYERS == *(const unsigned *)arg ? IMAGE_DATA : IMAGE_HOLE;
}

static void fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)offset;
	memset(buf, 1 + *(const int *)arg, len);
}

static uint64_t make_image(const char *path, unsigned version, unsigned layer)
{
	struct image_spec spec = {
		.version = version, .cluster_bits = 12, .refcount_order = 4,
		.size = SIZE, .kind = only, .fill = fill, .arg = &layer,
	};
	void *data;
	uint64_t size = image_build(&spec, &data);

	sim_file_create(path, 0);
	sim_file_set(path, data, size);
	free(data);
	return size;
}

struct chain {
	unsigned version;
	const char *options;	/* of the filter */
	uint64_t top_size;
	struct root *root;
	struct toy *base;
};

static void chain_images(struct chain *c)
{
	c->top_size = make_image(TOP, c->version, OF_TOP);
	make_image(MID, c->version, OF_MID);
}

static void chain_text(const struct chain *c, char *text, size_t size)
{
	snprintf(text, size, "{'driver':'copy-on-read','node-name':'c',%s"
		 "'file':{'driver':'qcow2','node-name':'top','file':{'driver':"
		 "'file','filename':'" TOP "'},'backing':{'driver':'qcow2',"
		 "'node-name':'mid','file':{'driver':'file','filename':'" MID
		 "'},'backing':{'driver':'nop','node-name':'f','file':{"
		 "'driver':'toy','node-name':'base'}}}}}", c->options);
}

static void chain_open(struct chain *c)
{
	char text[900];

	toy_start();
	driver_register_all();
	chain_images(c);
	chain_text(c, text, sizeof(text));
	c->root = toy_root("e", toy_open(text), true, 512);
	c->base = toy_of(node_find("base"));
	for (unsigned i = 0; i < SIZE; i++)
		c->base->data[i] = i / CLUSTER % LAYERS != ZEROES;
}

static void chain_close(struct chain *c)
{
	root_free(c->root);
	sim_file_remove(TOP);
	sim_file_remove(MID);
}

/* How deep in the chain the cluster is, 1: in the image itself. */
static unsigned depth_of(struct chain *c, unsigned n, unsigned *flags)
{
	struct status status;

	CU_ASSERT_EQUAL(toy_request(c->root, REQ_STATUS, n * CLUSTER, 512,
				    &status, 0), 0);
	if (flags)
		*flags = status.flags;
	return status.depth;
}

static void read_in(struct chain *c, unsigned n)
{
	unsigned char buf[512];
	unsigned value = n % LAYERS == ZEROES ? 0 : 1 + n % LAYERS;

	CU_ASSERT_EQUAL(toy_request(c->root, REQ_READ, n * CLUSTER + 1024,
				    sizeof(buf), buf, 0), 0);
	CU_ASSERT(buf[0] == value && buf[511] == value);
}

/* Whole clusters, and what is read twice is asked of the base once. */
static void body_copies(void *arg)
{
	struct chain c = { .version = *(unsigned *)arg, .options = "" };
	unsigned flags, reads;

	chain_open(&c);
	for (unsigned n = 0; n < 8; n++)
		read_in(&c, n);
	reads = c.base->reads;
	for (unsigned n = 0; n < 8; n++) {
		CU_ASSERT_EQUAL(depth_of(&c, n, NULL), 1);
		read_in(&c, n);
	}
	CU_ASSERT_EQUAL(c.base->reads, reads);
	CU_ASSERT_EQUAL(reads, 4);
	CU_ASSERT_EQUAL(depth_of(&c, 8 + OF_BASE, NULL), 3);
	CU_ASSERT_EQUAL(depth_of(&c, 8 + OF_MID, NULL), 2);
	(void)depth_of(&c, ZEROES, &flags);
	CU_ASSERT_EQUAL(!(flags & STATUS_DATA), c.version == 3);
	chain_close(&c);
}

static void reads_become_the_images_own(void)
{
	for (unsigned version = 2; version <= 3; version++)
		test_run(1, version, body_copies, &version);
}

SIM_TEST(no_further_down_than_the_bottom)
{
	struct chain c = { .version = 3, .options = "'bottom':'mid'," };

	chain_open(&c);
	for (unsigned n = 0; n < 4; n++)
		read_in(&c, n);
	CU_ASSERT_EQUAL(depth_of(&c, OF_MID, NULL), 1);
	CU_ASSERT_EQUAL(depth_of(&c, OF_BASE, NULL), 3);
	CU_ASSERT_EQUAL(depth_of(&c, ZEROES, NULL), 3);
	chain_close(&c);
	c.options = "'bottom':'base',";
	chain_open(&c);
	for (unsigned n = 0; n < 4; n++)
		read_in(&c, n);
	for (unsigned n = 0; n < 4; n++)
		CU_ASSERT_EQUAL(depth_of(&c, n, NULL), 1);
	chain_close(&c);
}

/* ---- beside writes ---- */

static struct chain beside;
static bool read_done, write_done;

static void beside_read(void *arg)
{
	static unsigned char buf[CLUSTER];

	(void)arg;
	CU_ASSERT_EQUAL(toy_request(beside.root, REQ_READ, 0, CLUSTER, buf, 0),
			0);
	/* before it or after it */
	CU_ASSERT(buf[0] == 1 && (buf[512] == 1 || buf[512] == 9));
	read_done = true;
}

static void beside_write(void *arg)
{
	unsigned char buf[512];

	(void)arg;
	memset(buf, 9, sizeof(buf));
	CU_ASSERT_EQUAL(toy_request(beside.root, REQ_WRITE, 512, 512, buf, 0),
			0);
	write_done = true;
}

static void beside_zeroes(void *arg)
{
	(void)arg;
	CU_ASSERT_EQUAL(toy_request(beside.root, REQ_ZEROES, 0, CLUSTER, NULL,
				    0), 0);
	write_done = true;
}

/* The base's bytes are on their way, and stay there for a while. */
static void beside_release(void *arg)
{
	(void)arg;
	while (!beside.base->held)
		co_yield();
	for (unsigned i = 0; i < 100; i++)
		co_yield();
	CU_ASSERT_FALSE(read_done);
	CU_ASSERT_FALSE(write_done);
	toy_wishes.hold = false;
	toy_release();
}

static void overlap(void (*write)(void *arg))
{
	static unsigned char buf[CLUSTER];
	struct crew_member members[3];
	struct crew crew = { .working = 0 };

	beside = (struct chain){ .version = 3, .options = "" };
	read_done = write_done = false;
	chain_open(&beside);
	toy_wishes.hold = true;
	crew_start(&crew, &members[0], 1, beside_read, NULL);
	crew_start(&crew, &members[1], 1, beside_release, NULL);
	crew_start(&crew, &members[2], 1, write, NULL);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(toy_request(beside.root, REQ_READ, 0, CLUSTER, buf, 0),
			0);
	if (write == beside_write) {
		CU_ASSERT(buf[511] == 1 && buf[512] == 9);
		CU_ASSERT(buf[1023] == 9 && buf[1024] == 1);
	} else {
		CU_ASSERT(buf[0] == 0 && buf[CLUSTER - 1] == 0);
	}
	chain_close(&beside);
}

SIM_TEST(no_write_is_undone)
{
	overlap(beside_write);
}

SIM_TEST(no_zeroes_are_undone)
{
	overlap(beside_zeroes);
}

/* ---- where there is no copy ---- */

SIM_TEST(without_space_reads_go_on)
{
	struct chain c = { .version = 3, .options = "" };

	chain_open(&c);
	sim_file_limit(TOP, c.top_size);
	read_in(&c, OF_BASE);
	CU_ASSERT_EQUAL(depth_of(&c, OF_BASE, NULL), 3);
	/* an entry needs none */
	read_in(&c, ZEROES);
	sim_file_limit(TOP, UINT64_MAX);
	read_in(&c, OF_BASE);
	CU_ASSERT_EQUAL(depth_of(&c, OF_BASE, NULL), 1);
	chain_close(&c);
}

SIM_TEST(an_image_without_chain_is_as_before)
{
	struct root *root;
	unsigned char buf[512];

	toy_start();
	driver_register_all();
	root = toy_root("e", toy_open("{'driver':'copy-on-read','file':{"
				      "'driver':'toy'}}"), true, 512);
	memset(buf, 7, sizeof(buf));
	CU_ASSERT_EQUAL(toy_request(root, REQ_WRITE, 0, 512, buf, 0), 0);
	memset(buf, 0, sizeof(buf));
	CU_ASSERT_EQUAL(toy_request(root, REQ_READ, 0, 512, buf, 0), 0);
	CU_ASSERT_EQUAL(buf[511], 7);
	root_free(root);
}

static void assert_refused(const char *options, const char *why)
{
	struct chain c = { .version = 3, .options = options };
	char text[900], *said;

	chain_images(&c);
	chain_text(&c, text, sizeof(text));
	said = toy_open_error(text);
	CU_ASSERT(said && strstr(said, why));
	if (said && !strstr(said, why))
		fprintf(stderr, "%s\n", said);
	free(said);
	sim_file_remove(TOP);
	sim_file_remove(MID);
}

/* P1: it writes, so what is below has to be writable. */
SIM_TEST(what_cannot_be_is_refused)
{
	struct node *other;

	toy_start();
	driver_register_all();
	assert_refused("'bottom':'none',", "Bottom node 'none' not found");
	assert_refused("'bottom':'f',", "Bottom node 'f' is a filter");
	assert_refused("'bottom':'c',", "Bottom node 'c' not found");
	other = toy_open("{'driver':'toy','node-name':'other'}");
	toy_hold(other);
	assert_refused("'bottom':'other',", "'other' is not in the chain of"
		       " node 'top'");
	toy_let_go(other);
	assert_refused("'read-only':true,", "Block node is read-only: node"
		       " 'top'");
}

TEST_MAIN("copy-on-read", TEST(reads_become_the_images_own),
	  TEST(no_further_down_than_the_bottom), TEST(no_write_is_undone),
	  TEST(no_zeroes_are_undone), TEST(without_space_reads_go_on),
	  TEST(an_image_without_chain_is_as_before),
	  TEST(what_cannot_be_is_refused))
