/* SPDX-License-Identifier: MIT */
/*
 * graph-reopen.c - a qcow2 image and its file are reopened while two threads
 * write (cache, discard), then read-only, then for writing again; with power
 * cuts and failing storage at any write (A37).
 *
 *	graph-reopen [quick|check|soak] [-s SEED] [-n PROGRAMS] [-k CUT]
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "graph/io.h"
#include "graph/reopen.h"
#include "graph/root.h"
#include "runtime/sim.h"
#include "tests/lib/disk-case.h"
#include "tests/lib/mode.h"

struct program {
	struct disk_case c;
	struct node *top;
	bool working, over;
	struct co *waiter;
	unsigned changes, refusals;
	uint64_t count, fail_at;	/* writes and syncs */
};

static unsigned passed, failed;

static int inject(void *arg, const struct io *io)
{
	struct program *p = arg;

	if (io->op == IO_READ || ++p->count != p->fail_at)
		return 0;
	return -EIO;
}

/* Changes the image and its file together. */
static int change(struct program *p, bool read_only, bool direct, bool unmap)
{
	struct node *file = p->top->file->child;
	struct error *err = NULL;
	struct reopen *r;
	int ret;

	r = reopen_new(file, &err);
	assert(r);
	r->next = reopen_new(p->top, &err);
	assert(r->next);
	r->read_only = r->next->read_only = read_only;
	r->cache_direct = direct;
	r->discard_unmap = unmap;
	ret = graph_reopen(r, NULL, &err);
	assert(!ret == !err);
	if (ret == 0 && file->cache_direct != direct)
		abort();
	p->changes += ret == 0;
	p->refusals += ret < 0;
	error_clear(&err);
	return ret;
}

static void change_again_and_again(void *arg)
{
	struct program *p = arg;

	/* time stands still while anybody can run, so not for ever */
	while (p->working && p->refusals < 3) {
		(void)change(p, false, sim_random_below(2),
			     sim_random_below(2));
		for (unsigned i = 0; i < 10 && p->working; i++)
			co_yield();
	}
	p->over = true;
	if (p->waiter)
		co_wake(p->waiter);
}

static void before(struct disk_case *c, struct node *node)
{
	struct program *p = c->arg;
	bool spawned;

	if (c->verifying)
		return;
	p->top = node;
	node_get(node, "test");
	p->working = true;
	spawned = co_spawn(change_again_and_again, p);
	assert(spawned);
}

/* Nobody writes any more: read-only and back, and then the image is closed as
 * it is. */
static void after(struct disk_case *c)
{
	struct program *p = c->arg;
	char *buf = aligned_alloc(4096, 4096);
	struct error *err = NULL;

	if (!p->working)
		return;
	p->working = false;
	if (!p->over) {
		p->waiter = co_self();
		co_wait();
	}
	if (c->root)
		root_free(c->root);
	c->root = NULL;
	if (change(p, true, c->seed % 2, true) == 0) {
		if (!p->top->read_only || (!c->faults && !c->cut_at &&
					   p->top->owes))
			abort();
		(void)co_node_read(p->top, 0, 4096, buf);
		(void)co_node_flush(p->top);
		if (c->seed % 4 >= 2)
			(void)change(p, false, c->seed % 2, false);
	}
	free(buf);
	(void)!co_node_put(p->top, "test", &err);
	error_clear(&err);
}

/* Returns how many writes and syncs there were. */
static uint64_t run(uint64_t seed, uint64_t cut, uint64_t fault)
{
	struct program p = { .fail_at = fault };
	struct disk_case *c = &p.c;
	char what[240];
	bool ok;

	disk_case_init(c, seed);
	c->arg = &p;
	c->before = before;
	c->after = after;
	c->cut_at = cut;
	c->faults = fault;
	disk_case_describe(c, what, sizeof(what));
	disk_case_make(c);
	sim_set_fault(inject, &p);
	ok = disk_case_work(c);
	sim_set_fault(NULL, NULL);
	c->before = NULL;
	c->after = NULL;
	ok = ok && disk_case_verify(c, !cut && !fault);
	ok = ok && (cut || fault || (p.changes > 2 && !p.refusals));
	if (ok) {
		passed++;
	} else {
		failed++;
		printf("%s, write %" PRIu64 " fails: %u changes, %u refused\n"
		       "\t%s\n", what, fault, p.changes, p.refusals, c->text);
		fflush(stdout);
	}
	disk_case_free(c);
	return p.count;
}

int main(int argc, char **argv)
{
	static const uint64_t amounts[] = { 10, 20, 10000 };
	uint64_t programs = amounts[test_mode(&argc, argv)];
	uint64_t seed = 1, cut = 0;
	int opt;

	while ((opt = getopt(argc, argv, "s:n:k:")) != -1) {
		switch (opt) {
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': programs = strtoull(optarg, NULL, 0); break;
		case 'k': cut = strtoull(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	if (cut)
		run(seed, cut, 0);
	for (uint64_t i = 0; !cut && i < programs; i++) {
		uint64_t writes = run(seed + i, 0, 0);
		uint64_t step = 1 + writes / 12;

		/* the end, where it becomes read-only, at each write */
		for (uint64_t at = 1; at <= writes;
		     at += at + 12 < writes ? step : 1) {
			run(seed + i, at, 0);
			run(seed + i, 0, at);
		}
	}
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
