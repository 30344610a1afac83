/* SPDX-License-Identifier: MIT */
/*
 * object-throttle.c - the object "throttle-group": limits that nodes of the
 * driver "throttle" share by its id. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "drivers/filter/throttle/group.h"
#include "server/object.h"

struct group_state {
	struct throttle_group *group;
};

#define OPT(member) offsetof(struct throttle_limits, member)
#define RATE(option, limit, what) \
	{ .name = "x-" option, .type = OPT_INT64, \
	  .offset = OPT(rate[limit].avg), \
	  .help = what " a second; 0: no limit" }, \
	{ .name = "x-" option "-max", .type = OPT_INT64, \
	  .offset = OPT(rate[limit].max), .help = "the same in bursts" }, \
	{ .name = "x-" option "-max-length", .type = OPT_INT64, .def = "1", \
	  .offset = OPT(rate[limit].length), \
	  .help = "seconds that a burst lasts at most" }

static const struct option throttle_group_options[] = {
	RATE("iops-total", THROTTLE_IOPS_TOTAL, "requests"),
	RATE("iops-read", THROTTLE_IOPS_READ, "reads"),
	RATE("iops-write", THROTTLE_IOPS_WRITE, "writes"),
	RATE("bps-total", THROTTLE_BPS_TOTAL, "bytes"),
	RATE("bps-read", THROTTLE_BPS_READ, "bytes read"),
	RATE("bps-write", THROTTLE_BPS_WRITE, "bytes written"),
	{ .name = "x-iops-size", .type = OPT_INT64, .offset = OPT(iops_size),
	  .help = "bytes that count as one request; 0: any number" },
	{ .name = NULL },
};

static int throttle_group_check(const void *opts, struct error **err)
{
	for (const struct option *o = throttle_group_options; o->name; o++) {
		int64_t value = *(const int64_t *)(const void *)
			((const char *)opts + o->offset);

		if (strstr(o->name, "-length") &&
		    (value < 0 || value > UINT32_MAX))
			return error_set(err, EINVAL, "%s value must be in "
					 "the range [0, %" PRIu32 "]",
					 o->name + strlen(BUNDLE_PREFIX),
					 UINT32_MAX);
	}
	return throttle_limits_check(opts, err);
}

static void throttle_group_unused(void *owner)
{
	object_unused(owner);
}

static int throttle_group_open(struct object *obj, struct error **err)
{
	struct group_state *state = obj->state;
	int rc = throttle_group_check(obj->opts, err);

	if (rc < 0)
		return rc;
	state->group = throttle_group_new(obj->id, obj->opts);
	state->group->unused = throttle_group_unused;
	state->group->owner = obj;
	return 0;
}

static void throttle_group_close(struct object *obj)
{
	const struct group_state *state = obj->state;

	throttle_group_put_last(state->group);
}

static void throttle_group_changed(struct object *obj)
{
	const struct group_state *state = obj->state;
	struct throttle_limits limits =
		*(const struct throttle_limits *)obj->opts;

	co_throttle_group_change(state->group, &limits);
}

static bool throttle_group_is_used(const struct object *obj)
{
	const struct group_state *state = obj->state;

	return state->group->refs > 1;
}

const struct object_type object_throttle_group = {
	.name = "throttle-group",
	.options = throttle_group_options,
	.options_size = sizeof(struct throttle_limits),
	.state_size = sizeof(struct group_state),
	.bundle = "limits",
	.bundle_type = "ThrottleLimits",
	.open = throttle_group_open,
	.close = throttle_group_close,
	.check = throttle_group_check,
	.changed = throttle_group_changed,
	.is_used = throttle_group_is_used,
};
