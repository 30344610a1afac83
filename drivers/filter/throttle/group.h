/* SPDX-License-Identifier: MIT */
/*
 * group.h - limits that throttle nodes share, and the arithmetic of
 * what passes when. The options and their meaning are the storage daemon's.
 *
 * Each limit is a meter: the moment until which what has passed is paid for at
 * the limit's rate. A request moves that moment on by what it costs, one atomic
 * step that all threads share, and may pass while it lies no further ahead than
 * what may come at once. So nothing is lost or given twice whatever the threads
 * do, and nobody has to be told of anything: a thread knows when its own turn
 * will have come.
 */
#ifndef DRIVERS_FILTER_THROTTLE_GROUP_H
#define DRIVERS_FILTER_THROTTLE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/wait.h"
#include "runtime/error.h"
#include "runtime/thread.h"

enum throttle_limit {
	THROTTLE_BPS_TOTAL,
	THROTTLE_BPS_READ,
	THROTTLE_BPS_WRITE,
	THROTTLE_IOPS_TOTAL,
	THROTTLE_IOPS_READ,
	THROTTLE_IOPS_WRITE,
	THROTTLE_LIMITS
};

struct throttle_rate {
	int64_t avg;		/* bytes or requests a second; 0: no limit */
	int64_t max;		/* in a burst; 0: there are none */
	int64_t length;		/* seconds that a burst may last */
};

struct throttle_limits {
	struct throttle_rate rate[THROTTLE_LIMITS];
	/* bytes that count as one request, larger ones as more; 0: any */
	int64_t iops_size;
};

/* The lines of a throttle's turns: writes pass reads and reads writes. */
enum { THROTTLE_READ, THROTTLE_WRITE };
static_assert(TURN_LINES == THROTTLE_WRITE + 1, "a line for each");

struct throttle_lane;

/* How many lanes (throttle.c) have somebody waiting; atomic. */
struct throttle_waiting {
	uint32_t lanes[TURN_LINES];
};

struct throttle_meter {
	/* all atomic; times in FINE parts of a nanosecond, which wrap */
	double unit;		/* what a byte or request costs */
	uint64_t slack;		/* how far ahead it may be paid */
	uint64_t paid;		/* until then */
};

struct throttle_group {
	/* all threads */
	struct throttle_meter meters[2 * THROTTLE_LIMITS];
	uint32_t active[TURN_LINES];	/* atomic: bits of meters that count */
	uint32_t generation;		/* atomic: grows when limits change */
	uint64_t iops_size;		/* atomic */
	struct throttle_waiting waiting;
	/* each its thread's: lanes that have somebody waiting */
	struct throttle_lane *lanes[THREADS_MAX];
	/* main thread */
	char *name;
	unsigned refs;
	/* told when the first reference is the only one again, which may be its
	 * end; NULL: nobody */
	void (*unused)(void *owner);
	void *owner;
	struct throttle_limits limits;
	struct throttle_group *next;
};

/* Refused with the storage daemon's words. */
int throttle_limits_check(const struct throttle_limits *limits,
			  struct error **err) MUST_CHECK;

/* ---- main thread ---- */

/* Limits that were checked; one reference. The name is not taken yet. */
struct throttle_group *throttle_group_new(const char *name,
					  const struct throttle_limits *limits);
/* Found by nobody any more; the last reference goes. */
void throttle_group_put_last(struct throttle_group *group);
struct throttle_group *throttle_group_find(const char *name);
void throttle_group_get(struct throttle_group *group);
void throttle_group_put(struct throttle_group *group);
/*
 * Other limits, which were checked, for what waits too: nothing counts as
 * having passed. Coroutine, which refers to the group; waits for each thread's
 * loop to come round.
 */
void co_throttle_group_change(struct throttle_group *group,
			      const struct throttle_limits *limits);

/* ---- any thread ---- */

static inline bool throttle_is_off(const struct throttle_group *group,
				   unsigned line)
{
	return !__atomic_load_n(&group->active[line], __ATOMIC_RELAXED);
}

/* One request: passes now and is paid for, or neither. */
bool throttle_take(struct throttle_group *group, unsigned line, uint64_t bytes,
		   uint64_t now_ns) MUST_CHECK;

struct throttle_cost {
	double requests, bytes;
};

struct throttle_cost throttle_cost(const struct throttle_group *group,
				   uint64_t bytes);
/* Pays for it, and says when it may pass. */
uint64_t throttle_reserve(struct throttle_group *group, unsigned line,
			  struct throttle_cost cost, uint64_t now_ns);
/* Nanoseconds that it takes of the group at most. */
double throttle_time_ns(const struct throttle_group *group, unsigned line,
			struct throttle_cost cost);

/* ---- throttle.c, on its thread ---- */

/* What waits there waits anew, by the limits of now. */
void throttle_lanes_restart(struct throttle_lane *lanes);

#endif
