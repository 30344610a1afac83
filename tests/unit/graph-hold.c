/* SPDX-License-Identifier: MIT */
/*
 * graph-hold.c - requests that fail and are held (R46 to R50): what may be
 * held, what lets it go on, and what ends it; on the fast path and off it, with
 * drains and changes of the graph meanwhile.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/action.h"
#include "graph/hold.h"
#include "graph/io.h"
#include "graph/resize.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/later.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define SEEDS 20u
#define S UINT64_C(1000000000)
#define KIB 1024u

/* Of which each write that needs room is one submission; 64 KiB are there. */
static struct node *open_file(const char *cache)
{
	char text[200];

	snprintf(text, sizeof(text), "{'driver':'file','node-name':'f',"
		 "'filename':'disk','cache':{'direct':%s}}", cache);
	sim_file_create("disk", 1024 * KIB);
	sim_file_space("disk", 64 * KIB);
	return toy_open(text);
}

/* Both for a minute. */
static struct root *holding(struct node *node, bool no_space, bool errors)
{
	struct root *root = toy_root("export 'e'", node, true, 512);

	root->holds = (struct hold_terms){
		.no_space = no_space, .errors = errors, .longest_ns = 60 * S,
	};
	return root;
}

static unsigned held(const struct root *root)
{
	struct holds sum;

	root_holds(root, &sum);
	CU_ASSERT_EQUAL(!sum.count, !sum.since_ns);
	return sum.count;
}

static struct later *write_held(struct root *root, unsigned thread,
				uint64_t offset, uint32_t len)
{
	unsigned before = held(root);
	struct later *l = later_begin(root, thread, REQ_WRITE, offset, len, 0);

	CU_ASSERT_FALSE(l->done);
	CU_ASSERT_EQUAL(held(root), before + 1);
	return l;
}

/* R46, R48: others pass, and room that appears is found. */
static void body_room_appears(void *arg)
{
	struct later *w[2], *z;
	struct holds sum;
	struct node *node;
	struct root *root;
	void *data;

	(void)arg;
	toy_start();
	node = open_file("true");
	root = holding(node, true, false);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 64 * KIB,
					      0)), 0);
	w[0] = write_held(root, 1, 64 * KIB, 4 * KIB);
	w[1] = write_held(root, 2, 80 * KIB, 16 * KIB);
	z = later_begin(root, 1, REQ_ZEROES, 128 * KIB, 4 * KIB,
			REQ_NO_UNMAP);
	CU_ASSERT_EQUAL(held(root), 3);
	/* what needs no room, and a flush, which waits for nothing held (R47)
	 */
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 512, 512,
					      0)), 0);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 2, REQ_READ, 64 * KIB,
					      512, 0)), 0);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_FLUSH, 0, 0, 0)),
			0);
	co_sleep(20 * S);
	root_holds(root, &sum);
	CU_ASSERT_EQUAL(sum.count, 3);
	CU_ASSERT_EQUAL(sum.error, ENOSPC);
	CU_ASSERT(clock_ns() - sum.since_ns >= 20 * S);
	/* each takes what there is for it */
	sim_file_space("disk", 72 * KIB);
	co_sleep(2 * S);
	CU_ASSERT_FALSE(w[1]->done);
	CU_ASSERT_EQUAL(held(root), 1);
	sim_file_space("disk", 1024 * KIB);
	CU_ASSERT_EQUAL(later_end(w[0]), 0);
	CU_ASSERT_EQUAL(later_end(w[1]), 0);
	CU_ASSERT_EQUAL(later_end(z), 0);
	CU_ASSERT_EQUAL(held(root), 0);
	CU_ASSERT_EQUAL(root_failures_count(root), 0);
	sim_file_get("disk", &data);
	CU_ASSERT_EQUAL(((uint8_t *)data)[64 * KIB], 129);
	CU_ASSERT_EQUAL(((uint8_t *)data)[96 * KIB - 1], 161);
	free(data);
	root_free(root);
}

/* R49: and what has waited in vain is a failure, once. */
static void body_longest_time(void *arg)
{
	struct failure sum[FAILURE_CAUSES];
	struct later *w, *second;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = open_file("true");
	root = holding(node, true, false);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 64 * KIB,
					      0)), 0);
	w = write_held(root, 1, 64 * KIB, 4 * KIB);
	co_sleep(30 * S);
	second = write_held(root, 1, 68 * KIB, 4 * KIB);
	co_sleep(29 * S);
	CU_ASSERT_FALSE(w->done);
	co_sleep(2 * S);
	CU_ASSERT_TRUE(w->done);
	CU_ASSERT_EQUAL(later_end(w), -ENOSPC);
	CU_ASSERT_FALSE(second->done);
	/* by hand it begins anew (R48) */
	co_sleep(20 * S);
	co_root_resume(root);
	co_sleep(58 * S);
	CU_ASSERT_FALSE(second->done);
	co_sleep(3 * S);
	CU_ASSERT_EQUAL(later_end(second), -ENOSPC);
	CU_ASSERT_EQUAL(root_failures(root, sum), 2);
	CU_ASSERT_TRUE(sum[0].held && !sum[1].held);
	CU_ASSERT_EQUAL(sum[0].count, 2);
	CU_ASSERT_EQUAL(sum[1].count, 2);
	CU_ASSERT_EQUAL(root_failures_count(root), 2);
	/* for ever */
	root->holds.longest_ns = 0;
	w = write_held(root, 1, 64 * KIB, 4 * KIB);
	co_sleep(10000 * S);
	CU_ASSERT_FALSE(w->done);
	sim_file_space("disk", 1024 * KIB);
	co_root_resume(root);
	CU_ASSERT_EQUAL(later_end(w), 0);
	root_free(root);
}

/* R47: what the terms do not name, and what trying again cannot mend. */
static void body_not_held(void *arg)
{
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy'}");
	root = holding(node, true, false);
	toy_wishes.fail_write = -EIO;
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 512, 0)),
			-EIO);
	root->holds = (struct hold_terms){ .errors = true };
	toy_wishes.fail_write = -ENOSPC;
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 512, 0)),
			-ENOSPC);
	root->holds.no_space = true;
	toy_wishes.fail_write = -EPERM;
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 512, 0)),
			-EPERM);
	toy_wishes.no_zeroes = true;
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_ZEROES, 0, 512,
					      REQ_FAST)), -ENOTSUP);
	toy_wishes.fail_write = 0;
	toy_wishes.fail_read = -EIO;
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_READ, 0, 512, 0)),
			-EIO);
	toy_wishes.fail_flush = -ENOSPC;
	/* written it is; what fails is its flush */
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 512,
					      REQ_FUA)), -ENOSPC);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_FLUSH, 0, 0, 0)),
			-EIO);
	CU_ASSERT_EQUAL(held(root), 0);
	root_free(root);
}

static int fail_all(void *arg, const struct io *io)
{
	const int *error = arg;

	return io->op == IO_READ ? 0 : *error;
}

/* R47, R35: after a sync of cached pages has failed writes are not held. */
static void body_failed_sync(void *arg)
{
	struct later *w;
	struct node *node;
	struct root *root;
	int error = -EIO;

	(void)arg;
	toy_start();
	node = open_file("false");
	root = holding(node, true, true);
	sim_set_fault(fail_all, &error);
	w = write_held(root, 1, 0, 4 * KIB);
	error = 0;
	CU_ASSERT_EQUAL(later_end(w), 0);
	error = -EIO;
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_FLUSH, 0, 0, 0)),
			-EIO);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 4 * KIB,
					      0)), -EIO);
	sim_set_fault(NULL, NULL);
	root_free(root);
}

/* R40: what is done of it stays done, and FUA is a flush in the end (M7). */
static void release_one(void *arg)
{
	(void)arg;
	toy_release();
}

static void body_goes_on_behind(void *arg)
{
	struct later *w;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy','node-name':'leaf'}");
	root = holding(node, true, false);
	toy_wishes.prefix = 512;
	toy_wishes.hold = true;
	w = later_begin(root, 1, REQ_WRITE, 0, 2048, REQ_FUA);
	co_call(thread_by_index(1), release_one, NULL);
	co_sleep(S / 100);
	toy_wishes.fail_write = -ENOSPC;
	toy_wishes.hold = false;
	co_call(thread_by_index(1), release_one, NULL);
	co_sleep(S / 100);
	CU_ASSERT_EQUAL(held(root), 1);
	CU_ASSERT_EQUAL(toy_of(node)->writes, 2);
	toy_wishes.fail_write = 0;
	CU_ASSERT_EQUAL(later_end(w), 0);
	CU_ASSERT_EQUAL(toy_of(node)->writes, 5);
	CU_ASSERT_EQUAL(toy_of(node)->flushes, 1);
	CU_ASSERT_EQUAL(toy_of(node)->stable[2047], 1);
	root_free(root);
}

/* R50: a drain takes it back, its longest time goes on. */
static void body_drain(void *arg)
{
	struct later *w[6];
	unsigned had_room = 0;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = open_file("true");
	root = holding(node, true, false);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 64 * KIB,
					      0)), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		w[i] = write_held(root, 1 + i % 2, (64 + 4 * i) * KIB, 4 * KIB);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t before = clock_ns();

		later_drain(node);
		CU_ASSERT(clock_ns() - before < 2 * S);
		CU_ASSERT_EQUAL(held(root), ARRAY_SIZE(w));
		co_sleep(10 * S);
	}
	sim_file_space("disk", 68 * KIB);
	co_sleep(20 * S);
	/* one had room, and the others waited no longer for the drains */
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		int res;

		CU_ASSERT_TRUE(w[i]->done);
		res = later_end(w[i]);
		CU_ASSERT(res == 0 || res == -ENOSPC);
		had_room += res == 0;
	}
	CU_ASSERT_EQUAL(had_room, 1);
	CU_ASSERT_EQUAL(held(root), 0);
	root_free(root);
}

static struct node *open_disk(const char *name)
{
	char text[400];

	snprintf(text, sizeof(text), "{'driver':'toy-format','node-name':'%s',"
		 "'backing':null,'file':{'driver':'toy','node-name':"
		 "'%s-file'}}", name, name);
	return toy_open(text);
}

/* R50: it goes on through the graph as it is then. */
static void body_snapshot(void *arg)
{
	struct actions all = { NULL };
	struct error *err = NULL;
	struct node *disk, *overlay;
	struct later *w;
	struct root *root;

	(void)arg;
	toy_start();
	disk = open_disk("disk");
	root = holding(disk, true, false);
	overlay = open_disk("overlay");
	toy_hold(overlay);
	toy_wishes.fail_write = -ENOSPC;
	w = write_held(root, 1, 0, 512);
	CU_ASSERT_EQUAL(co_action_add(&all, action_snapshot(disk, overlay),
				      &err), 0);
	CU_ASSERT_EQUAL(co_actions_commit(&all, NULL, &err), 0);
	CU_ASSERT_FALSE(w->done);
	CU_ASSERT_EQUAL(held(root), 1);
	toy_wishes.fail_write = 0;
	CU_ASSERT_EQUAL(later_end(w), 0);
	CU_ASSERT_TRUE(toy_format_is_allocated(overlay, 0));
	CU_ASSERT_FALSE(toy_format_is_allocated(disk, 0));
	root_free(root);
	toy_let_go(overlay);
}

/* R49: it is looked at again, since the disk may be smaller by then. */
static void body_shrink(void *arg)
{
	struct change_stats stats;
	struct error *err = NULL;
	struct later *w;
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	node = open_file("true");
	root = holding(node, true, false);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 64 * KIB,
					      0)), 0);
	w = write_held(root, 1, 512 * KIB, 4 * KIB);
	CU_ASSERT_EQUAL(graph_resize(node, 256 * KIB, &stats, &err), 0);
	CU_ASSERT_EQUAL(later_end(w), -EIO);
	CU_ASSERT_EQUAL(held(root), 0);
	root_free(root);
}

/* R49: the root is about to end. What waits for a turn goes on as well, and
 * what comes neither waits nor is held. */
static void body_hurry(void *arg)
{
	struct later *w, *throttled[2];
	struct node *node;
	struct root *root;
	uint64_t before;

	(void)arg;
	toy_start();
	node = toy_open("{'driver':'toy-throttle','node-name':'t','file':"
			"{'driver':'toy','node-name':'leaf'}}");
	root = holding(node, true, true);
	throttled[0] = later_begin(root, 1, REQ_WRITE, 0, 512, 0);
	throttled[1] = later_begin(root, 2, REQ_WRITE, 512, 512, 0);
	toy_wishes.fail_write = -EIO;
	w = later_begin(root, 1, REQ_ZEROES, 4096, 512, 0);
	CU_ASSERT_EQUAL(held(root), 1);
	CU_ASSERT_FALSE(throttled[0]->done || throttled[1]->done || w->done);
	before = clock_ns();
	toy_wishes.fail_write = 0;
	co_root_hurry(root);
	CU_ASSERT_EQUAL(later_end(w), -EIO);
	CU_ASSERT_EQUAL(later_end(throttled[0]), 0);
	CU_ASSERT_EQUAL(later_end(throttled[1]), 0);
	toy_wishes.fail_write = -ENOSPC;
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 0, 512, 0)),
			-ENOSPC);
	CU_ASSERT(clock_ns() - before < S);
	/* it stays after all */
	co_root_linger(root);
	w = later_begin(root, 1, REQ_ZEROES, 4096, 512, 0);
	CU_ASSERT_EQUAL(held(root), 1);
	toy_wishes.fail_write = 0;
	CU_ASSERT_EQUAL(later_end(w), 0);
	root_free(root);
}

static bool gone;

static bool is_gone(struct request *req)
{
	return gone && req->offset;
}

static void look_here(void *arg)
{
	root_holds_look(arg);
}

/* R49: a sender that is gone leaves nothing that could be written later. */
static void body_abandoned(void *arg)
{
	struct root_ops ops;
	struct later *w[2];
	struct node *node;
	struct root *root;

	(void)arg;
	toy_start();
	gone = false;
	node = open_file("true");
	root = holding(node, true, false);
	ops = *root->ops;
	ops.abandoned = is_gone;
	root->ops = &ops;
	sim_file_space("disk", 0);
	w[0] = write_held(root, 1, 0, 4 * KIB);
	w[1] = write_held(root, 1, 4 * KIB, 4 * KIB);
	gone = true;
	co_call(thread_by_index(1), look_here, root);
	CU_ASSERT_EQUAL(later_end(w[1]), -ENOSPC);
	CU_ASSERT_EQUAL(held(root), 1);
	CU_ASSERT_EQUAL(later_end(later_begin(root, 1, REQ_WRITE, 8 * KIB,
					      4 * KIB, 0)), -ENOSPC);
	sim_file_space("disk", 64 * KIB);
	CU_ASSERT_EQUAL(later_end(w[0]), 0);
	root_free(root);
}

#define SEEDED(name) \
	static void name(void) \
	{ \
		for (uint64_t seed = 1; seed <= SEEDS; seed++) \
			test_run(3, seed, body_##name, NULL); \
	}

SEEDED(room_appears)
SEEDED(longest_time)
SEEDED(not_held)
SEEDED(failed_sync)
SEEDED(goes_on_behind)
SEEDED(drain)
SEEDED(snapshot)
SEEDED(shrink)
SEEDED(hurry)
SEEDED(abandoned)

TEST_MAIN("graph-hold",
	  TEST(room_appears),
	  TEST(longest_time),
	  TEST(not_held),
	  TEST(failed_sync),
	  TEST(goes_on_behind),
	  TEST(drain),
	  TEST(snapshot),
	  TEST(shrink),
	  TEST(hurry),
	  TEST(abandoned))
