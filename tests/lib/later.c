/* SPDX-License-Identifier: MIT */
/*
 * later.c - see later.h.
 */
#include "tests/lib/later.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define LATER_NS UINT64_C(1000000)

static void later_run(void *arg)
{
	struct later *l = arg;

	l->res = toy_request(l->root, l->op, l->offset, l->len, l->buf,
			     l->flags);
	l->done = true;
}

struct later *later_begin(struct root *root, unsigned thread, enum req_op op,
			  uint64_t offset, uint32_t len, unsigned flags)
{
	struct later *l = calloc(1, sizeof(*l));

	*l = (struct later){
		.root = root, .op = op, .offset = offset, .len = len,
		.flags = flags,
	};
	memset(l->buf, 1 + (int)(offset / 512), len);
	crew_start(&l->crew, &l->member, thread, later_run, l);
	co_sleep(LATER_NS);
	return l;
}

int later_end(struct later *l)
{
	int res;

	crew_wait(&l->crew);
	res = l->res;
	free(l);
	return res;
}

void later_drain(struct node *node)
{
	json_t *options = json_pack("{s:s,s:s}", "driver", "nop", "node-name",
				    "drained");
	struct error *err = NULL;
	struct node *nop = graph_insert(node, NULL, options, NULL, &err);

	json_decref(options);
	CU_ASSERT_PTR_NOT_NULL_FATAL(nop);
	CU_ASSERT_EQUAL(graph_remove(nop, NULL, NULL, &err), 0);
	toy_let_go(nop);
}
