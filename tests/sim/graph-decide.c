/* SPDX-License-Identifier: MIT */
/*
 * The point of no return (A36): a change whose record is written while the
 * gates are closed is decided, refused, late, or neither; what waits for it
 * meanwhile; and a move to another file, cut and failed at every write.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/transaction.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define SECONDS(n) ((n) * UINT64_C(1000000000))

/* ---- what waits for a decision ---- */

static struct script {
	uint64_t take_ns;
	int take;		/* what take returns */
	unsigned settles;	/* that fail before one succeeds */
	bool taking, settled;
} script;

static int script_take(void *arg, struct error **err)
{
	CU_ASSERT_PTR_EQUAL(arg, &script);
	script.taking = true;
	co_sleep(script.take_ns);
	if (script.take)
		error_set(err, EIO, "the record's sync failed");
	return script.take;
}

static int script_settle(void *arg, struct error **err)
{
	CU_ASSERT_PTR_EQUAL(arg, &script);
	co_sleep(SECONDS(1));
	if (script.settles) {
		script.settles--;
		return error_set(err, EIO, "no log without the record yet");
	}
	script.settled = true;
	return 0;
}

static const struct decision scripted = { script_take, script_settle };

static void unexpected_commit(void *arg)
{
	(void)arg;
	CU_FAIL("a change that was undone was committed");
}

struct change {
	struct root *root;
	struct node *from, *to;
	struct error *err;
	int ret;
	bool done;
};

static void change_run(void *arg)
{
	struct change *c = arg;
	struct transaction *t = transaction_begin();

	transaction_move_parents(t, c->from, c->to);
	transaction_touch(t, c->from);
	transaction_set_decision(t, &scripted, &script);
	if (script.take)
		transaction_on_commit(t, unexpected_commit, NULL);
	c->ret = transaction_commit(t, NULL, &c->err);
	c->done = true;
}

struct beside {
	struct crew_member member;
	struct root *root;
	char buf[512];
	int ret;
	bool begun, done;
};

static void bare_read(void *arg)
{
	struct beside *b = arg;

	b->begun = true;
	b->ret = toy_request(b->root, REQ_READ, 0, 512, b->buf, 0);
	b->done = true;
}

static void held_read(void *arg)
{
	struct beside *b = arg;

	b->begun = true;
	co_root_busy(b->root);
	b->ret = toy_request(b->root, REQ_READ, 0, 512, b->buf, 0);
	root_idle(b->root);
	b->done = true;
}

static void open_above(void *arg)
{
	struct node **above = arg;

	*above = toy_open("{'driver':'toy-format','node-name':'above','probe':"
			  "true,'read-only':true,'file':'held'}");
}

static void close_above(void *arg)
{
	struct node **above = arg;

	toy_let_go(*above);
	*above = NULL;
}

static void spawn(void (*fn)(void *arg), void *arg)
{
	bool spawned = co_spawn(fn, arg);

	assert(spawned);
}

static void co_until(const bool *flag)
{
	while (!*flag)
		co_sleep(1000000);
}

/* From the drain to the undrain nothing begins: no guest's request, none of a
 * root without a gate, no operation of a job, no close of a node (R38). */
static void body_waits(void *arg)
{
	struct beside guest, bare, held;
	struct change change = { 0 };
	struct crew crew = { 0 };
	struct node *above;

	(void)arg;
	toy_start();
	change.from = toy_open("{'driver':'toy','node-name':'held',"
			       "'read-only':true}");
	change.to = toy_open("{'driver':'toy','node-name':'to',"
			     "'read-only':true}");
	toy_hold(change.to);
	toy_hold(change.from);
	open_above(&above);
	guest = (struct beside){ .root = toy_root("export 'd0'", change.from,
						  true, 512) };
	bare = (struct beside){ .root = toy_root("job 'b'", change.from, false,
						 512) };
	held = bare;
	spawn(change_run, &change);
	co_until(&script.taking);
	crew_start(&crew, &guest.member, 1, bare_read, &guest);
	crew_start(&crew, &bare.member, 1, bare_read, &bare);
	crew_start(&crew, &held.member, 2, held_read, &held);
	spawn(close_above, &above);
	co_sleep(1000000);
	CU_ASSERT(guest.begun && bare.begun && held.begun);
	do {
		CU_ASSERT(!change.done || script.take_ns <= 1000000);
		CU_ASSERT(!guest.done && !bare.done && !held.done && above);
		CU_ASSERT_EQUAL(toy_calls.closes, 0);
		CU_ASSERT_EQUAL(toy_of(change.from)->reads, 1);
		CU_ASSERT_EQUAL(toy_of(change.to)->reads, 0);
		co_sleep(SECONDS(1) / 2);
	} while (!change.done);
	crew_wait(&crew);
	CU_ASSERT(guest.done && !guest.ret);
	CU_ASSERT(bare.done && !bare.ret);
	CU_ASSERT(held.done && !held.ret);
	CU_ASSERT_EQUAL(toy_of(script.take ? change.from : change.to)->reads,
			script.take ? 4 : 3);
	while (above)
		co_sleep(1000000);
	CU_ASSERT_PTR_NULL(guest.root->stuck);
	CU_ASSERT_EQUAL(change.ret, script.take ? -EIO : 0);
	CU_ASSERT_EQUAL(!change.err, !script.take);
	error_clear(&change.err);
	root_free(guest.root);
	root_free(bare.root);
	toy_let_go(change.from);
	toy_let_go(change.to);
}

static void run_waits(struct script s)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		script = s;
		test_run(2, seed, body_waits, NULL);
		CU_ASSERT_EQUAL(script.settled, s.take > 0);
	}
}

static void test_decided(void)
{
	run_waits((struct script){ .take_ns = SECONDS(2) });
}

static void test_refused(void)
{
	run_waits((struct script){ .take_ns = SECONDS(2), .take = -EIO });
}

/* M3: until it is sure that the record never will be durable nothing opens,
 * past the drain's deadline too. */
static void test_unknown(void)
{
	run_waits((struct script){ .take_ns = SECONDS(1), .settles = 12,
				   .take = DECISION_UNKNOWN });
}

static void body_stuck(void *arg)
{
	struct change change = { 0 };

	(void)arg;
	toy_start();
	change.from = toy_open("{'driver':'toy','node-name':'held'}");
	change.to = toy_open("{'driver':'toy','node-name':'to'}");
	toy_hold(change.to);
	toy_hold(change.from);
	change.root = toy_root("export 'd0'", change.from, true, 512);
	spawn(change_run, &change);
	co_sleep(SECONDS(9));
	CU_ASSERT_PTR_NULL(change.root->stuck);
	co_sleep(SECONDS(2));
	CU_ASSERT_STRING_EQUAL(change.root->stuck, "The record of a change of"
			       " node 'held' is not durable yet");
	co_sleep(SECONDS(4) + SECONDS(1) / 2);
	CU_ASSERT_STRING_EQUAL(change.root->stuck, "the record's sync failed");
	co_sleep(SECONDS(1));
	CU_ASSERT_STRING_EQUAL(change.root->stuck,
			       "no log without the record yet");
	co_until(&change.done);
	CU_ASSERT_PTR_NULL(change.root->stuck);
	CU_ASSERT_PTR_EQUAL(change.root->edge.child, change.from);
	error_clear(&change.err);
	root_free(change.root);
	toy_let_go(change.from);
	toy_let_go(change.to);
}

static void test_stuck(void)
{
	script = (struct script){ .take_ns = SECONDS(15), .settles = 1,
				  .take = DECISION_UNKNOWN };
	test_run(1, 1, body_stuck, NULL);
}

/* ---- a move to another file, interrupted ---- */

#define SECTORS 32u
#define BYTES (SECTORS * 512u)

/*
 * A guest writes numbers that grow, each durably, while its disk moves from
 * one file to another: under the drain the rest is copied, then the record
 * says which file is the disk. Whoever opens the record's file afterwards
 * finds what was acknowledged.
 */
static struct pivot {
	struct root *disk, *from, *to;
	struct file *record;
	uint64_t cut_at, fail_at, seed;
	uint32_t sent[SECTORS], acked[SECTORS];
	uint64_t operations;
	unsigned guest_errors;
	struct co *waiter;
	bool stop, decided, moved, undone;
} pivot;

static bool is_off(void)
{
	return pivot.cut_at && sim_write_count() >= pivot.cut_at;
}

static int pivot_fault(void *arg, const struct io *io)
{
	(void)arg;
	/* of the change: the guest's own errors are another matter */
	if (io->op != IO_READ && !pivot.decided &&
	    strcmp(file_path(io->file), "/from") &&
	    ++pivot.operations == pivot.fail_at)
		return -EIO;
	return 0;
}

static void guest_run(void *arg)
{
	uint32_t *number = aligned_alloc(512, 512);
	unsigned at = 0;

	(void)arg;
	memset(number, 0, 512);
	for (unsigned i = 1; !pivot.stop || i < 40; i++) {
		at = (at + 7) % SECTORS;
		*number = pivot.sent[at] = i;
		if (toy_request(pivot.disk, REQ_WRITE, at * 512, 512, number,
				REQ_FUA))
			pivot.guest_errors++;
		else if (!is_off())
			pivot.acked[at] = i;
		if (i == 15)
			co_wake(pivot.waiter);
	}
	free(number);
}

static int record_write(const char *name)
{
	char sector[512] = "";
	int ret;

	memcpy(sector, name, strlen(name));
	ret = co_file_write(pivot.record, 0, sector, sizeof(sector));
	return ret ? ret : co_file_sync(pivot.record);
}

static int pivot_take(void *arg, struct error **err)
{
	char *buf = aligned_alloc(4096, BYTES);
	int ret;

	(void)arg;
	ret = toy_request(pivot.from, REQ_READ, 0, BYTES, buf, 0);
	if (!ret)
		ret = toy_request(pivot.to, REQ_WRITE, 0, BYTES, buf, 0);
	if (!ret)
		ret = toy_request(pivot.to, REQ_FLUSH, 0, 0, NULL, 0);
	free(buf);
	if (ret)
		return error_set(err, -ret, "the copy failed");
	ret = record_write("/to");
	pivot.decided = !ret;
	if (!ret)
		return 0;
	error_set(err, -ret, "the record is not written");
	return DECISION_UNKNOWN;
}

static int pivot_settle(void *arg, struct error **err)
{
	int ret = record_write("/from");

	(void)arg;
	/* without power there is nobody left for whom it must be settled */
	return ret && !is_off() ? error_set(err, -ret, "not yet") : 0;
}

static const struct decision pivot_decision = { pivot_take, pivot_settle };

static struct node *pivot_open(const char *name)
{
	char json[128];
	struct node *node;

	snprintf(json, sizeof(json), "{'driver':'file','filename':'/%s',"
		 "'node-name':'%s'}", name, name);
	node = toy_open(json);
	toy_hold(node);
	return node;
}

static void pivot_body(void *arg)
{
	struct crew crew = { 0 };
	struct crew_member guest;
	struct node *from, *to;
	struct error *err = NULL;
	struct transaction *t;
	int ret;

	(void)arg;
	toy_start();
	from = pivot_open("from");
	to = pivot_open("to");
	pivot.disk = toy_root("export 'd0'", from, true, 512);
	pivot.from = toy_root("job 'f'", from, false, 512);
	pivot.to = toy_root("job 't'", to, false, 512);
	if (co_file_open("/record", O_RDWR, 0, &pivot.record))
		abort();
	crew_start(&crew, &guest, 1, guest_run, NULL);
	/* time stands still while he writes */
	pivot.waiter = co_self();
	co_wait();
	t = transaction_begin();
	transaction_move(t, &pivot.disk->edge, to);
	transaction_set_decision(t, &pivot_decision, NULL);
	ret = transaction_commit(t, NULL, &err);
	pivot.moved = !ret;
	CU_ASSERT_EQUAL(!ret, !err);
	CU_ASSERT_PTR_EQUAL(pivot.disk->edge.child, ret ? from : to);
	error_clear(&err);
	pivot.stop = true;
	crew_wait(&crew);
	co_file_close(pivot.record);
	root_free(pivot.disk);
	root_free(pivot.from);
	root_free(pivot.to);
	toy_let_go(from);
	toy_let_go(to);
}

static void pivot_run(uint64_t seed, uint64_t cut_at, uint64_t fail_at)
{
	char record[512] = "/from";
	const uint32_t *disk;
	void *data;

	memset(&pivot, 0, sizeof(pivot));
	pivot.seed = seed;
	pivot.cut_at = cut_at;
	pivot.fail_at = fail_at;
	sim_file_create("/from", BYTES);
	sim_file_create("/to", BYTES);
	sim_file_set("/record", record, sizeof(record));
	sim_power_cut_at(cut_at);
	sim_set_fault(pivot_fault, NULL);
	test_run(1, seed, pivot_body, NULL);
	sim_set_fault(NULL, NULL);
	sim_power_cut_at(0);
	CU_ASSERT(cut_at || !pivot.guest_errors);
	sim_file_get("/record", &data);
	memcpy(record, data, sizeof(record));
	free(data);
	CU_ASSERT(!strcmp(record, "/from") || !strcmp(record, "/to"));
	/* without a cut it says what the graph is */
	CU_ASSERT(cut_at || !strcmp(record, "/to") == pivot.moved);
	CU_ASSERT(!fail_at || !pivot.moved || pivot.operations < fail_at ||
		  pivot.guest_errors);
	sim_file_get(record, &data);
	disk = data;
	for (unsigned s = 0; s < SECTORS; s++)
		CU_ASSERT(disk[s * 128] >= pivot.acked[s] &&
			  disk[s * 128] <= pivot.sent[s]);
	free(data);
}

static void test_cut(void)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		unsigned moved = 0;
		uint64_t writes;

		pivot_run(seed, 0, 0);
		CU_ASSERT(pivot.moved);
		writes = sim_write_count();
		for (uint64_t cut = 1; cut <= writes; cut++) {
			pivot_run(seed, cut, 0);
			moved += pivot.moved;
		}
		/* cuts on both sides of the point of no return */
		CU_ASSERT(moved > 0 && moved < writes);
	}
}

/* Each of the change's writes and syncs, until none fails: the copy and its
 * flush, the record and its sync. Failed before, it is undone; the guest
 * notices nothing. */
static void test_fail(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t fail = 1;

		for (;; fail++) {
			pivot_run(seed, 0, fail);
			if (pivot.moved || fail == 100)
				break;
		}
		CU_ASSERT_EQUAL(fail, 5);
	}
}

/* The power goes while the record of a change that failed is taken back. */
static void test_fail_and_cut(void)
{
	for (uint64_t fail = 1; fail <= 4; fail++) {
		uint64_t writes;

		pivot_run(fail, 0, fail);
		CU_ASSERT(!pivot.moved);
		writes = sim_write_count();
		for (uint64_t cut = 1; cut <= writes; cut++)
			pivot_run(fail, cut, fail);
	}
}

TEST_MAIN("graph-decide",
	  TEST(test_decided),
	  TEST(test_refused),
	  TEST(test_unknown),
	  TEST(test_stuck),
	  TEST(test_cut),
	  TEST(test_fail),
	  TEST(test_fail_and_cut))
