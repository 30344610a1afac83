/* SPDX-License-Identifier: MIT */
/*
 * later.h - requests that nobody waits for yet, for tests of waiting. Time of
 * the simulation moves when nothing else can, so whoever has not ended after a
 * sleep is waiting. Main thread, coroutines.
 */
#ifndef TESTS_LIB_LATER_H
#define TESTS_LIB_LATER_H

#include "graph/root.h"
#include "tests/lib/crew.h"

struct later {
	struct crew crew;
	struct crew_member member;
	struct root *root;
	enum req_op op;
	unsigned flags;
	uint64_t offset;
	uint32_t len;
	char buf[65536];	/* what is written: 1 and the number of the
				 * sector that is first, in each byte */
	bool done;
	int res;
};

/* On that thread; returns a millisecond later. */
struct later *later_begin(struct root *root, unsigned thread, enum req_op op,
			  uint64_t offset, uint32_t len, unsigned flags);
/* Waits for it, frees it, and gives its result. */
int later_end(struct later *l);
/* A drain of all roots above the node, twice. */
void later_drain(struct node *node);

#endif
