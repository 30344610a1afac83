/* SPDX-License-Identifier: MIT */
/*
 * create.h - the job that makes images. Main thread.
 */
#ifndef GRAPH_CREATE_H
#define GRAPH_CREATE_H

#include "runtime/error.h"

struct json_t;
struct node;

/*
 * Starts a job that makes an image: options has "driver", the driver's own
 * create_options, and for a format "file": a node's name or options of one.
 * What can be seen to be wrong without I/O is refused here; the rest is the
 * job's end. It is dismissed by the user. Coroutine.
 */
int create_start(const char *job_id, struct json_t *options,
		 struct error **err) MUST_CHECK;
/*
 * Makes an image of a format in a node that is there and that nobody else
 * uses: options as above, without "file". who: for errors. What was there is
 * gone. Coroutine, which has a reference to the node.
 */
int co_create_in_node(struct json_t *options, struct node *node,
		      const char *who, struct error **err) MUST_CHECK;
/* The same without a job: waits for the image, at most late_bound_ns. who: as
 * sentences name it. */
int co_create_image(const char *who, struct json_t *options,
		    struct error **err) MUST_CHECK;

#endif
