/* SPDX-License-Identifier: MIT */
/*
 * generic.h - the options of every node, whatever its driver: what they are
 * where nothing says so, and what a child takes from its parent. For who opens
 * nodes and who reopens them. Main thread.
 */
#ifndef GRAPH_GENERIC_H
#define GRAPH_GENERIC_H

#include "graph/node.h"

/* Which of them a node's own options said. */
enum {
	GIVEN_READ_ONLY = 1,
	GIVEN_AUTO_READ_ONLY = 2,
	GIVEN_FORCE_SHARE = 4,
	GIVEN_DISCARD = 8,
	GIVEN_DIRECT = 16,
	GIVEN_NO_FLUSH = 32,
};

struct generic {
	char *node_name;
	bool read_only, auto_read_only, force_share, direct, no_flush;
	int discard, detect_zeroes;
	unsigned given;		/* GIVEN_... */
};

/* What a child gets where its options do not say. All zero: it is nobody's. */
struct inherit {
	bool child, cow;
	bool read_only, auto_read_only, direct, no_flush, force_share;
};

/* cow: for the child that is its backing image. */
struct inherit inherit_from_node(const struct node *node, bool cow);

/* Takes them out of the options. */
int generic_parse(struct json_t *options, const struct inherit *from,
		  struct generic *g, struct error **err) MUST_CHECK;
void generic_free(struct generic *g);
/* A driver that has to do with one of them gets it too, as one of its own. */
void generic_pass_on(const struct generic *g, const struct driver *driver,
		     struct json_t *options);
/* Takes what is said of the driver's children out of the options: a new
 * reference to an object. */
struct json_t *generic_take_children(struct json_t *options,
				     const struct driver *driver);
/* What the node was given, and no more: of its own, children by name. New
 * reference. */
struct json_t *generic_given(const struct node *node);

#endif
