/* SPDX-License-Identifier: MIT */
/*
 * copies.h - for nodes whose requests go to several children: doing it side by
 * side, and memory for it. What goes to two places, or is compared, is copied
 * first, since the client may change its bytes meanwhile (A31).
 *
 * Each thread of each node has memory of its own, cut into sets of as many
 * pieces as an operation needs at once; who finds no set waits for one, in
 * order. So nobody who has a part waits for the rest, and nobody waits for what
 * a node above or below holds.
 *
 * Any thread, inside an operation of the node.
 */
#ifndef DRIVERS_FILTER_COPIES_H
#define DRIVERS_FILTER_COPIES_H

#include "graph/node.h"
#include "graph/wait.h"
#include "runtime/co.h"

/* ---- memory ---- */

struct copies_waiter;

/* A node's state for a thread, or a part of it; zero before it is used. */
struct copies {
	char *memory;
	unsigned pieces;	/* of a set */
	uint32_t sets, idle;	/* by bits */
	struct copies_waiter *first, **last;
};

/* Bytes of a piece, and how many a set has at most. */
#define COPIES_PIECE 65536u
#define COPIES_PIECES_MAX 32u

/* As driver->thread_open and thread_close where struct copies is the state. */
int copies_thread_open(struct node *node, void *state);
void copies_thread_close(struct node *node, void *state);

/*
 * A set of so many pieces, one behind the other, aligned to 4096. All that have
 * one at a time have as many pieces. Waits, for others' I/O only; the caller
 * holds no range.
 */
char *co_copies_get(struct copies *copies, unsigned pieces);
void copies_put(struct copies *copies, char *set);

/* Where two that are not the same differ first. */
static inline uint64_t copies_differ_at(const char *a, const char *b)
{
	uint64_t at = 0;

	while (a[at] == b[at])
		at++;
	return at;
}

/* ---- side by side ---- */

struct part {
	struct edge *edge;
	uint8_t op;		/* enum req_op */
	uint8_t flags;
	uint64_t offset;
	uint32_t len;
	void *buf;
	int ret;		/* 0 or a negative errno */
	/* the function's own */
	struct co_group *group;
	struct errand *of;
};

/* All of them at once. STEER_WAIT: one of them wishes to wait, and all are to
 * be done again; else 0. */
int co_parts(struct part *parts, unsigned count) MUST_CHECK;

#endif
