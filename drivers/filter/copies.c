/* SPDX-License-Identifier: MIT */
/*
 * copies.c - see copies.h.
 */
#include "drivers/filter/copies.h"

#include <errno.h>
#include <sys/mman.h>

#include "graph/io.h"
#include "graph/thread-state.h"

/* For each thread and node; touched on first use. */
#define COPIES_BYTES (COPIES_PIECE * COPIES_PIECES_MAX)
#define COPIES_SETS_MAX 16u

struct copies_waiter {
	struct co *co;
	char *set;
	struct copies_waiter *next;
};

int copies_thread_open(struct node *node, void *state)
{
	struct copies *c = state;

	(void)node;
	c->memory = mmap(NULL, COPIES_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->memory == MAP_FAILED)
		return -ENOMEM;
	c->last = &c->first;
	return 0;
}

void copies_thread_close(struct node *node, void *state)
{
	struct copies *c = state;

	(void)node;
	assert(c->idle == c->sets && !c->first);
	munmap(c->memory, COPIES_BYTES);
}

static char *copies_set(const struct copies *c, unsigned i)
{
	return c->memory + (size_t)i * c->pieces * COPIES_PIECE;
}

static void copies_cut(struct copies *c, unsigned pieces)
{
	unsigned sets;

	assert(pieces && pieces <= COPIES_PIECES_MAX);
	assert(c->idle == c->sets && !c->first);
	c->pieces = pieces;
	sets = min(COPIES_PIECES_MAX / pieces, COPIES_SETS_MAX);
	c->sets = c->idle = (1u << sets) - 1;
}

char *co_copies_get(struct copies *c, unsigned pieces)
{
	struct copies_waiter w = { .co = co_self() };

	if (c->pieces != pieces)
		copies_cut(c, pieces);
	if (c->idle) {
		unsigned i = (unsigned)__builtin_ctz(c->idle);

		c->idle &= c->idle - 1;
		return copies_set(c, i);
	}
	*c->last = &w;
	c->last = &w.next;
	co_wait();
	return w.set;
}

void copies_put(struct copies *c, char *set)
{
	struct copies_waiter *w = c->first;

	if (!w) {
		c->idle |= 1u << (size_t)(set - c->memory) /
			   ((size_t)c->pieces * COPIES_PIECE);
		return;
	}
	c->first = w->next;
	if (!c->first)
		c->last = &c->first;
	w->set = set;
	co_wake(w->co);
}

static int co_part(const struct part *p)
{
	switch (p->op) {
	case REQ_READ:
		return co_edge_read(p->edge, p->offset, p->len, p->buf);
	case REQ_WRITE:
		return co_edge_write(p->edge, p->offset, p->len, p->buf,
				     p->flags);
	case REQ_ZEROES:
		return co_edge_zeroes(p->edge, p->offset, p->len, p->flags);
	case REQ_DISCARD:
		return co_edge_discard(p->edge, p->offset, p->len);
	default:
		return co_edge_flush(p->edge);
	}
}

static void part_run(void *arg)
{
	struct part *p = arg;
	struct errand errand;

	errand_help(&errand, p->of);
	p->ret = co_part(p);
	errand_end(&errand);
	co_group_done(p->group);
}

int co_parts(struct part *parts, unsigned count)
{
	struct co_group group;

	co_group_init(&group);
	for (unsigned i = 0; i < count; i++) {
		struct part *p = &parts[i];

		p->group = &group;
		p->of = errand_self();
		co_group_add(&group);
		/* the last, and what there is no stack for, here */
		if (i + 1 == count || !co_spawn(part_run, p)) {
			p->ret = co_part(p);
			co_group_done(&group);
		}
	}
	co_group_wait(&group);
	for (unsigned i = 0; i < count; i++)
		if (parts[i].ret == STEER_WAIT)
			return STEER_WAIT;
	return 0;
}
