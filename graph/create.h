/* SPDX-License-Identifier: MIT */
/*
 * create.h - the job that makes images. Main thread.
 */
#ifndef GRAPH_CREATE_H
#define GRAPH_CREATE_H

#include "runtime/error.h"

struct json_t;

/*
 * Starts a job that makes an image: options has "driver", the driver's own
 * create_options, and for a format "file": a node's name or options of one.
 * What can be seen to be wrong without I/O is refused here; the rest is the
 * job's end. It is dismissed by the user. Coroutine.
 */
int create_start(const char *job_id, struct json_t *options,
		 struct error **err) MUST_CHECK;

#endif
