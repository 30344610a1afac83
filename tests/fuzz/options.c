/* SPDX-License-Identifier: MIT */
/*
 * options.c - what blockdev-add may be given: any JSON as a node's options.
 * It opens or is refused with a sentence; nothing stays open.
 */
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void body(void *arg)
{
	struct error *err = NULL;
	struct node *node = node_open(arg, 0, &err);

	if (node) {
		(void)!co_node_put(node, "opener", &err);
	} else {
		assert(err && err->text && err->text[0]);
	}
	error_clear(&err);
	assert(!node_next(NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *o = json_loadb((const char *)data, size,
			       JSON_REJECT_DUPLICATES, NULL);

	if (o && json_is_object(o)) {
		sim_file_create("/a", 65536);
		test_run(1, 1, body, o);
		sim_file_remove("/a");
	}
	json_decref(o);
	return 0;
}
