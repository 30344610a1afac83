/* SPDX-License-Identifier: MIT */
/*
 * deadline.h - opening nodes, and asking images, as late work (A38), so that
 * storage that does not answer keeps no client waiting for ever, nor the daemon
 * from leaving. Main thread, coroutines.
 */
#ifndef SERVER_DEADLINE_H
#define SERVER_DEADLINE_H

#include <jansson.h>
#include <stdint.h>

#include "runtime/error.h"

struct node;

/* Before the first call; seconds > 0. tell_late hears how each ended that
 * nobody waited for any more. */
void deadline_start(unsigned seconds, void (*tell_late)(const struct error *));
/*
 * Runs fn(args), which gives a node, held or not, the opener's reference, or
 * NULL and *err, and waits for that node, at most until the deadline; then
 * *err says so with `what`, a file's or node's name, and its node is closed as
 * soon as it is there.
 */
struct node *co_open_by_deadline(struct node *(*fn)(json_t *, struct error **),
				 json_t *args, const char *what,
				 struct error **err)
	MUST_CHECK;
/*
 * The same for what gives JSON, a new reference, and leaves nothing open. As
 * long as *progress changes it is not late: an image may be large.
 */
json_t *co_ask_by_deadline(json_t *(*fn)(json_t *args, uint64_t *progress,
					 struct error **err),
			   json_t *args, const char *what, struct error **err)
	MUST_CHECK;

#endif
