/* SPDX-License-Identifier: MIT */
/*
 * opening.h - opening nodes by a deadline (A3), so that storage that does not
 * answer keeps no client waiting for ever, nor the daemon from leaving.
 *
 * Main thread.
 */
#ifndef SERVER_OPENING_H
#define SERVER_OPENING_H

#include <jansson.h>
#include <stdint.h>

#include "runtime/error.h"

struct node;

/* Before the first opening; seconds > 0. tell_late hears how each ended that
 * nobody waited for any more. */
void opening_start(unsigned seconds, void (*tell_late)(const struct error *));
/*
 * Runs fn(args), a coroutine that gives a node, held or not, or NULL and *err,
 * and waits for that node, at most until the deadline; then *err
 * says so with `what`, a file's or node's name, and the opening goes on: its
 * node is closed as soon as it is there. Coroutine.
 */
struct node *co_open_by_deadline(struct node *(*fn)(json_t *, struct error **),
				 json_t *args, const char *what,
				 struct error **err)
	MUST_CHECK;
/* How many openings go on with nobody waiting for them. */
unsigned opening_count_late(void);

#endif
