/* SPDX-License-Identifier: MIT */
/*
 * backing.h - the file that an image's header names as its backing (C7, A26),
 * and what an image file is opened as. Main thread, coroutines.
 */
#ifndef GRAPH_BACKING_H
#define GRAPH_BACKING_H

#include "graph/node.h"

struct backing_file {
	char *path;
	struct json_t *options;
	const struct driver *driver;
	uint64_t dev, ino;
	bool guessed;
};

/*
 * node->header_backing, as options: a plain local file relative to the
 * directory of the node's own file, which is none of the chain's images.
 */
int backing_resolve(const struct node *node, struct node *const *chain,
		    unsigned count, struct backing_file *file,
		    struct error **err) MUST_CHECK;
void backing_file_free(struct backing_file *file);
/*
 * Makes the image's header name another file below, or none (C7, A24), and
 * node->header_backing say so. Refused for what is read-only and for drivers
 * whose images name none.
 */
int co_backing_rename(struct node *node, const char *name, const char *format,
		      struct error **err) MUST_CHECK;
/* How a header would name the image that `node` shows: absolute, and with
 * *format its format; NULL: no name would open that. Good as long as the node
 * is. */
const char *backing_name_of(struct node *node, const char **format);
/* Whether the file that the header of `overlay` names is that of `node`. May
 * wait. */
bool co_backing_is(const struct node *overlay, const struct node *node);
/* A node that shows just that, opened the same way (P3); or NULL. */
struct node *backing_find_shared(const struct node *overlay,
				 const struct backing_file *file);
/* The file that holds the node's own data, as long as the node does; NULL: none
 * with a name. */
const char *own_file_name(const struct node *node);
/* Sets node->dev and node->ino; protocol nodes from their file, others from
 * their primary child. */
void node_identify(struct node *node);

#endif
