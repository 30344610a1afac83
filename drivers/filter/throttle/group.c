/* SPDX-License-Identifier: MIT */
/*
 * group.c - see group.h.
 *
 * Any thread pays; the main thread changes limits while they do. A payment that
 * meets a change sees some old and some new: one request is paid for wrongly.
 */
#include "drivers/filter/throttle/group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/co.h"

/* Parts of a nanosecond: a request of 512 bytes at 100 GB/s costs 80. */
#define FINE 16
#define SECOND (1e9 * FINE)
/* A rate whose limits say nothing of bursts may be ahead by as much, and no
 * more is lost when a thread is late by less. 0.5 % of 10 s. */
#define SLACK_S 0.05
/* Nothing is further ahead than that: 2 years, below half of what wraps. */
#define FAR (UINT64_C(1) << 60)

#define VALUE_MAX INT64_C(1000000000000000)

static struct throttle_group *throttle_groups;

/* ---- limits ---- */

static bool limits_are_mixed(const struct throttle_limits *l)
{
	const struct throttle_rate *bps = &l->rate[THROTTLE_BPS_TOTAL];
	const struct throttle_rate *iops = &l->rate[THROTTLE_IOPS_TOTAL];

	return (bps[0].avg && (bps[1].avg || bps[2].avg)) ||
	       (iops[0].avg && (iops[1].avg || iops[2].avg)) ||
	       (bps[0].max && (bps[1].max || bps[2].max)) ||
	       (iops[0].max && (iops[1].max || iops[2].max));
}

static int rate_check(const struct throttle_rate *r, struct error **err)
{
	if (r->avg < 0 || r->max < 0 || r->avg > VALUE_MAX ||
	    r->max > VALUE_MAX)
		return error_set(err, EINVAL, "bps/iops/max values must be "
				 "within [0, %" PRId64 "]", VALUE_MAX);
	if (!r->length)
		return error_set(err, EINVAL, "the burst length cannot be 0");
	if (r->length > 1 && !r->max)
		return error_set(err, EINVAL, "burst length set without burst "
				 "rate");
	if (r->length > 1 && r->length > VALUE_MAX / r->max)
		return error_set(err, EINVAL, "burst length too high for this "
				 "burst rate");
	if (r->max && !r->avg)
		return error_set(err, EINVAL, "bps_max/iops_max require "
				 "corresponding bps/iops values");
	if (r->max && r->max < r->avg)
		return error_set(err, EINVAL, "bps_max/iops_max cannot be "
				 "lower than bps/iops");
	return 0;
}

int throttle_limits_check(const struct throttle_limits *l, struct error **err)
{
	int rc = 0;

	if (limits_are_mixed(l))
		return error_set(err, EINVAL, "bps/iops/max total values and "
				 "read/write values cannot be used at the same "
				 "time");
	if (l->iops_size < 0)
		return error_set(err, EINVAL, "iops size must be within "
				 "[0, %" PRId64 "]", INT64_MAX);
	if (l->iops_size && !l->rate[THROTTLE_IOPS_TOTAL].avg &&
	    !l->rate[THROTTLE_IOPS_READ].avg &&
	    !l->rate[THROTTLE_IOPS_WRITE].avg)
		return error_set(err, EINVAL, "iops size requires an iops "
				 "value to be set");
	for (unsigned i = 0; i < THROTTLE_LIMITS && rc == 0; i++)
		rc = rate_check(&l->rate[i], err);
	return rc;
}

/* ---- meters ---- */

static void meter_set(struct throttle_meter *m, double rate, double slack_s,
		      uint64_t now)
{
	double unit = rate > 0 ? SECOND / rate : 0;
	double slack = min(slack_s * SECOND, (double)(FAR / 2));

	__atomic_store(&m->unit, &unit, __ATOMIC_RELAXED);
	__atomic_store_n(&m->slack, (uint64_t)slack, __ATOMIC_RELAXED);
	__atomic_store_n(&m->paid, now, __ATOMIC_RELAXED);
}

/* How far a meter is ahead; it wraps. */
static int64_t meter_ahead(uint64_t paid, uint64_t now)
{
	return (int64_t)(paid - now);
}

static uint64_t meter_slack(const struct throttle_meter *m)
{
	return __atomic_load_n(&m->slack, __ATOMIC_RELAXED);
}

static double meter_unit(const struct throttle_meter *m)
{
	double unit;

	__atomic_load(&m->unit, &unit, __ATOMIC_RELAXED);
	return unit;
}

static int64_t meter_cost(const struct throttle_meter *m, double units)
{
	return (int64_t)min(units * meter_unit(m), (double)FAR);
}

/* How long until what is paid for may pass; negative: it may. Where it may not
 * and must not wait, nothing is paid. */
static inline int64_t meter_pay(struct throttle_meter *m, double units,
				uint64_t now, bool waits)
{
	uint64_t paid = __atomic_load_n(&m->paid, __ATOMIC_RELAXED), from, to;
	int64_t ahead, slack = (int64_t)meter_slack(m);

	do {
		ahead = meter_ahead(paid, now);
		if (ahead > slack && (!waits || ahead > (int64_t)FAR))
			break;
		from = ahead > 0 ? paid : now;
		to = from + (uint64_t)meter_cost(m, units);
	} while (!__atomic_compare_exchange_n(&m->paid, &paid, to, true,
					      __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return ahead - slack;
}

static void meter_give_back(struct throttle_meter *m, double units)
{
	__atomic_sub_fetch(&m->paid, (uint64_t)meter_cost(m, units),
			   __ATOMIC_RELAXED);
}

/* Meters are in pairs: the rate of a limit, and that of its bursts. */
static bool meter_is_bytes(unsigned i)
{
	return i / 2 < THROTTLE_IOPS_TOTAL;
}

static double meter_units(unsigned i, struct throttle_cost cost)
{
	return meter_is_bytes(i) ? cost.bytes : cost.requests;
}

#define FOR_METERS(i, mask) \
	for (unsigned i; (mask) && (i = (unsigned)__builtin_ctz(mask), true); \
	     (mask) &= (mask) - 1)

static uint32_t meters_active(const struct throttle_group *group, unsigned line)
{
	return __atomic_load_n(&group->active[line], __ATOMIC_RELAXED);
}

struct throttle_cost throttle_cost(const struct throttle_group *group,
				   uint64_t bytes)
{
	uint64_t size = __atomic_load_n(&group->iops_size, __ATOMIC_RELAXED);

	/* signed ones are faster to convert */
	return (struct throttle_cost){
		.requests = size && bytes > size ?
			(double)(int64_t)bytes / (double)(int64_t)size : 1,
		.bytes = (double)(int64_t)bytes,
	};
}

bool throttle_take(struct throttle_group *group, unsigned line, uint64_t bytes,
		   uint64_t now_ns)
{
	struct throttle_cost cost = throttle_cost(group, bytes);
	uint32_t mask = meters_active(group, line), paid = 0;
	uint64_t now = now_ns * FINE;

	rt_step();
	FOR_METERS(i, mask) {
		if (unlikely(meter_pay(&group->meters[i],
				       meter_units(i, cost), now, false) > 0))
			goto full;
		paid |= 1u << i;
	}
	return true;
full:
	rt_step();
	FOR_METERS(i, paid)
		meter_give_back(&group->meters[i], meter_units(i, cost));
	return false;
}

uint64_t throttle_reserve(struct throttle_group *group, unsigned line,
			  struct throttle_cost cost, uint64_t now_ns)
{
	uint32_t mask = meters_active(group, line);
	uint64_t now = now_ns * FINE;
	int64_t wait = 0;

	rt_step();
	FOR_METERS(i, mask)
		wait = max(wait, meter_pay(&group->meters[i],
					   meter_units(i, cost), now, true));
	return now_ns + ((uint64_t)wait + FINE - 1) / FINE;
}

double throttle_time_ns(const struct throttle_group *group, unsigned line,
			struct throttle_cost cost)
{
	uint32_t mask = meters_active(group, line);
	double time = 0;

	FOR_METERS(i, mask)
		time = max(time, meter_unit(&group->meters[i]) *
				 meter_units(i, cost));
	return time / FINE;
}

/* ---- groups ---- */

static bool limit_counts(enum throttle_limit limit, unsigned line)
{
	switch (limit) {
	case THROTTLE_BPS_READ:
	case THROTTLE_IOPS_READ:
		return line == THROTTLE_READ;
	case THROTTLE_BPS_WRITE:
	case THROTTLE_IOPS_WRITE:
		return line == THROTTLE_WRITE;
	case THROTTLE_BPS_TOTAL:
	case THROTTLE_IOPS_TOTAL:
	case THROTTLE_LIMITS:
		break;
	}
	return true;
}

/*
 * As QEMU has them: bursts of `max` for `length` seconds fill a bucket of
 * max * length that leaks at `avg`; where they last for more than a second, one
 * that leaks at `max` spreads them.
 */
static void throttle_group_set(struct throttle_group *group,
			       const struct throttle_limits *limits)
{
	uint32_t active[TURN_LINES] = { 0 };
	uint64_t now = clock_ns() * FINE;

	for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
		const struct throttle_rate *r = &limits->rate[i];
		double avg = (double)r->avg, max = (double)r->max;
		bool spread = r->max && r->length > 1;

		meter_set(&group->meters[2 * i], avg, r->max ?
			  max * (double)r->length / avg : SLACK_S, now);
		meter_set(&group->meters[2 * i + 1], spread ? max : 0, SLACK_S,
			  now);
		for (unsigned line = 0; line < TURN_LINES; line++)
			if (r->avg && limit_counts(i, line))
				active[line] |= (spread ? 3u : 1u) << 2 * i;
	}
	__atomic_store_n(&group->iops_size, (uint64_t)limits->iops_size,
			 __ATOMIC_RELAXED);
	for (unsigned line = 0; line < TURN_LINES; line++)
		__atomic_store_n(&group->active[line], active[line],
				 __ATOMIC_RELAXED);
	__atomic_add_fetch(&group->generation, 1, __ATOMIC_RELAXED);
	group->limits = *limits;
}

struct throttle_group *throttle_group_new(const char *name,
					  const struct throttle_limits *limits)
{
	struct throttle_group *group = calloc(1, sizeof(*group));

	if (!group)
		abort();
	group->name = strdup(name);
	if (!group->name)
		abort();
	group->refs = 1;
	throttle_group_set(group, limits);
	group->next = throttle_groups;
	throttle_groups = group;
	return group;
}

void throttle_group_put_last(struct throttle_group *group)
{
	struct throttle_group **at = &throttle_groups;

	assert(group->refs == 1);
	while (*at != group)
		at = &(*at)->next;
	*at = group->next;
	free(group->name);
	free(group);
}

struct throttle_group *throttle_group_find(const char *name)
{
	struct throttle_group *group = throttle_groups;

	while (group && strcmp(group->name, name))
		group = group->next;
	return group;
}

void throttle_group_get(struct throttle_group *group)
{
	group->refs++;
}

void throttle_group_put(struct throttle_group *group)
{
	assert(group->refs > 1);
	if (--group->refs == 1 && group->unused)
		group->unused(group->owner);
}

static void throttle_group_restart(void *arg)
{
	struct throttle_group *group = arg;

	throttle_lanes_restart(group->lanes[thread_index(thread_self())]);
}

void co_throttle_group_change(struct throttle_group *group,
			      const struct throttle_limits *limits)
{
	throttle_group_set(group, limits);
	for (unsigned i = 0; i < thread_count(); i++)
		co_call(thread_by_index(i), throttle_group_restart, group);
}
