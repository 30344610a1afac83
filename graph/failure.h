/* SPDX-License-Identifier: MIT */
/*
 * failure.h - requests of a root that failed, by cause: what was asked, with
 * which error, and whether they were answered with it or held (hold.h).
 *
 * A gate's thread notes them where a request has failed, so never on the way of
 * one that does not (A9). The main thread looks at any time, and is told once
 * when it asks to be.
 */
#ifndef GRAPH_FAILURE_H
#define GRAPH_FAILURE_H

#include "runtime/thread.h"

struct request;
struct root;

struct failure {
	uint64_t count, bytes;
	/* of the first */
	uint64_t offset;
	uint32_t len;
	int32_t error;		/* positive */
	uint8_t op;		/* enum req_op */
	bool held;		/* at first: what is held in vain fails later */
};

/* What comes when there are so many counts as the last. */
#define FAILURE_CAUSES 12

/* Whether main hears of the next one. */
enum {
	FAILURES_QUIET,
	FAILURES_ASKED,		/* by main */
	FAILURES_TOLD,		/* the message is on its way: there is one */
};

/* Of one gate. Written by its thread, read by main at any time: atomic. */
struct failures {
	struct failure cause[FAILURE_CAUSES];
	uint32_t causes;	/* those that are whole */
	uint32_t telling;	/* FAILURES_QUIET, ... */
	struct message tell;
};

/* On the request's thread, before it is answered, or when it is held.
 * Questions, and what may be refused as not supported, are no failures. */
void failure_note(const struct request *req, int res, bool held);

/* Main thread from here on. */

/* Hears, outside any coroutine, that requests of a root have failed which was
 * listened to. */
void failure_set_listener(void (*failed)(struct root *root));
/* Once, when the next one fails; what failed before this is found by looking
 * after it. */
void root_failures_listen(struct root *root);
/* Of all its threads; how many there are in sum. */
unsigned root_failures(const struct root *root,
		       struct failure sum[FAILURE_CAUSES]);
/* Those that were answered. */
uint64_t root_failures_count(const struct root *root);

#endif
