/* SPDX-License-Identifier: MIT */
/*
 * running.h - the commands that are under way, and whether others may begin.
 * Main thread.
 */
#ifndef SERVER_RUNNING_H
#define SERVER_RUNNING_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"

/* One: on the stack of its coroutine. */
struct running {
	const char *name;
	struct co *co;
	struct running *next;
};

/* Refused while the daemon leaves. */
int running_begin(struct running *self, const char *name, bool changes,
		  struct error **err) MUST_CHECK;
void running_end(struct running *self);

/* The daemon wants to leave: no change begins from here on, or no command at
 * all, until running_allow. */
void running_forbid(bool queries_too);
void running_allow(void);
/* Waits until all have ended but the caller's own, at most so long. Whether
 * they have. Coroutine. */
bool co_running_end(uint64_t timeout_ns) MUST_CHECK;
/* Calls fn for each but the caller's own. */
void running_tell(void (*fn)(const char *name));

#endif
