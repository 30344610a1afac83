/* SPDX-License-Identifier: MIT */
/*
 * throttle.c - the filter that holds requests back until their group's limits
 * let them pass (group.h).
 *
 * Any thread. A request that may pass is paid for and forwarded by map, and
 * its operation, should a node below make one of it, knows that from its
 * charge. Others wait for their turn (wait.h), reads and writes in a line of
 * their own. Each line of each node and thread is a lane, which pays for the
 * first who wait there and lets them go when what was paid for may pass. What
 * always holds: a lane has paid for one turn ahead at most, so of lanes that
 * share a group each has its turn after all others had theirs. A node's share
 * does not grow with its threads: where other nodes wait too, each of its lanes
 * pays a part of a turn.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "drivers/drivers.h"
#include "drivers/filter/throttle/group.h"
#include "graph/io.h"
#include "graph/reopen.h"
#include "graph/thread-state.h"
#include "graph/wait.h"
#include "runtime/json.h"

/* What a turn pays for at least, of what waits: shorter ones would be of those
 * whose timers come first. */
#define TURN_NS 1e6

struct throttle_lane {
	/* its thread's */
	struct node *node;
	unsigned line;
	struct timer timer;
	/* where it is counted and listed as waiting; NULL: nobody waits */
	struct throttle_group *group;
	struct throttle_lane *next, **prev;
	/* what it has paid for: whole requests, or parts of the first */
	bool paid;
	uint32_t generation;	/* of the limits when it paid */
	uint64_t pass_ns;	/* when that may pass */
	unsigned requests;
	double left;		/* of the first one: what is not paid for */
	uint64_t first;		/* bytes of that */
};

struct throttle_thread {
	struct throttle_lane lanes[TURN_LINES];
};

struct throttle_options {
	char *group;
};

struct throttle {
	struct throttle_group *group;	/* changes under a drain */
	struct throttle_waiting waiting;
};

static struct throttle *throttle_of(const struct node *node)
{
	return node->state;
}

/* ---- lanes ---- */

static void lane_on_timer(struct timer *timer);

static uint32_t lanes_waiting(const struct throttle_waiting *waiting,
			      unsigned line)
{
	return __atomic_load_n(&waiting->lanes[line], __ATOMIC_RELAXED);
}

static void lanes_count(struct throttle_waiting *waiting, unsigned line, int n)
{
	__atomic_add_fetch(&waiting->lanes[line], (uint32_t)n,
			   __ATOMIC_RELAXED);
}

static void lane_list(struct throttle_lane *lane)
{
	struct throttle *t = throttle_of(lane->node);
	unsigned self = thread_index(thread_self());

	lane->group = t->group;
	lane->next = lane->group->lanes[self];
	lane->prev = &lane->group->lanes[self];
	if (lane->next)
		lane->next->prev = &lane->next;
	lane->group->lanes[self] = lane;
	lanes_count(&lane->group->waiting, lane->line, 1);
	lanes_count(&t->waiting, lane->line, 1);
}

static void lane_unlist(struct throttle_lane *lane)
{
	timer_stop(&lane->timer);
	if (!lane->group)
		return;
	*lane->prev = lane->next;
	if (lane->next)
		lane->next->prev = lane->prev;
	lanes_count(&lane->group->waiting, lane->line, -1);
	lanes_count(&throttle_of(lane->node)->waiting, lane->line, -1);
	lane->group = NULL;
}

/* Of a turn, what is this lane's: nodes have the same, whatever their threads.
 */
static double lane_share(const struct throttle_lane *lane)
{
	const struct throttle *t = throttle_of(lane->node);
	uint32_t own = lanes_waiting(&t->waiting, lane->line);

	return lanes_waiting(&lane->group->waiting, lane->line) > own && own ?
		1.0 / own : 1;
}

/* Whole requests as far as the turn goes; of one that is larger, a part. */
static struct throttle_cost lane_turn(struct throttle_lane *lane,
				      const struct waiter *w)
{
	struct throttle_cost sum = throttle_cost(lane->group, w->due);
	double time = throttle_time_ns(lane->group, lane->line, sum);
	double turn = max(TURN_NS, time) * lane_share(lane);
	double part = lane->left;

	lane->requests = 0;
	if (time * part > turn)
		part = turn / time;
	lane->left -= part;
	sum.requests *= part;
	sum.bytes *= part;
	if (lane->left > 1e-9)
		return sum;
	for (lane->left = 1;;) {
		struct throttle_cost more;

		lane->requests++;
		w = w->next;
		if (!w)
			return sum;
		more = throttle_cost(lane->group, w->due);
		more.requests += sum.requests;
		more.bytes += sum.bytes;
		if (throttle_time_ns(lane->group, lane->line, more) > turn)
			return sum;
		sum = more;
	}
}

static void lane_pay(struct throttle_lane *lane, const struct waiter *w,
		     uint64_t now)
{
	uint32_t generation = __atomic_load_n(&lane->group->generation,
					      __ATOMIC_RELAXED);

	if (lane->generation != generation || lane->first != w->due) {
		lane->generation = generation;
		lane->first = w->due;
		lane->left = 1;
	}
	lane->pass_ns = throttle_reserve(lane->group, lane->line,
					 lane_turn(lane, w), now);
	lane->paid = true;
}

/* What a drain has taken away before it could pass comes again. */
static void lane_pass(struct throttle_lane *lane)
{
	const struct waiter *w;

	while (lane->requests &&
	       (w = wait_turn_first(lane->node, lane->line))) {
		struct charge *charge = charge_of_waiter(w);

		if (charge)
			charge->due = 0;
		wait_turn_over(lane->node, lane->line);
		lane->requests--;
	}
	lane->paid = lane->requests;
}

static void lane_run(struct throttle_lane *lane)
{
	const struct waiter *w;

	while ((w = wait_turn_first(lane->node, lane->line))) {
		uint64_t now = clock_ns();

		if (!lane->paid)
			lane_pay(lane, w, now);
		if (lane->pass_ns > now) {
			timer_start(&lane->timer, lane->pass_ns - now,
				    lane_on_timer);
			return;
		}
		lane_pass(lane);
	}
	lane_unlist(lane);
}

static void lane_on_timer(struct timer *timer)
{
	lane_run(container_of(timer, struct throttle_lane, timer));
}

void throttle_lanes_restart(struct throttle_lane *lane)
{
	for (; lane; lane = lane->next) {
		lane->paid = false;
		timer_stop(&lane->timer);
		timer_start(&lane->timer, 0, lane_on_timer);
	}
}

/* A drain has let somebody go. */
static void lane_owe(struct throttle_lane *lane, uint64_t bytes)
{
	struct throttle_group *group = throttle_of(lane->node)->group;

	if (lane->paid && lane->requests)
		lane->paid = --lane->requests;
	else
		(void)throttle_reserve(group, lane->line,
				       throttle_cost(group, bytes),
				       clock_ns());
}

static int throttle_thread_open(struct node *node, void *state)
{
	struct throttle_thread *here = state;

	for (unsigned line = 0; line < TURN_LINES; line++)
		here->lanes[line] = (struct throttle_lane){
			.node = node, .line = line,
		};
	return 0;
}

static void throttle_thread_close(struct node *node, void *state)
{
	struct throttle_thread *here = state;

	(void)node;
	for (unsigned line = 0; line < TURN_LINES; line++)
		lane_unlist(&here->lanes[line]);
}

static void throttle_turn_awaited(struct node *node, unsigned line)
{
	struct throttle_thread *here = node_thread_state(node);
	struct throttle_lane *lane = &here->lanes[line];

	if (lane->group)
		return;
	lane_list(lane);
	if (lane->generation != __atomic_load_n(&lane->group->generation,
						__ATOMIC_RELAXED))
		lane->paid = false;
	timer_start(&lane->timer, 0, lane_on_timer);
}

/* ---- requests ---- */

/* What a request costs in bytes; discards move none. */
static uint64_t throttle_bytes(unsigned op, uint32_t len)
{
	return op == REQ_DISCARD ? 0 : len;
}

static void throttle_map(struct node *node, struct map *map)
{
	unsigned line = map->op == REQ_READ ? THROTTLE_READ : THROTTLE_WRITE;
	struct throttle_group *group = throttle_of(node)->group;

	map->child = node->file;
	map->kind = MAP_FORWARD;
	if (throttle_is_off(group, line))
		return;
	if (unlikely(!map_charge(map, node, line))) {
		map->kind = MAP_SLOW;
	} else if (unlikely(!throttle_take(group, line, throttle_bytes(
				map->op, map->len), map->req->start_ns))) {
		map_uncharge(map);
		map->kind = MAP_SLOW;
	}
}

/*
 * 0 when it may pass, paid for. A charge whose due is not 0 is not paid: what
 * waits has one, and a drain takes it back to the gate as it is.
 */
static int co_throttle_turn(struct node *node, unsigned op, uint64_t offset,
			    uint32_t len)
{
	unsigned line = op == REQ_READ ? THROTTLE_READ : THROTTLE_WRITE;
	struct charge here = { .node = node }, *charge = charge_here(node);
	struct throttle_group *group = throttle_of(node)->group;
	uint64_t end = offset + len, bytes;
	void *state;
	int ret;

	if (!charge)
		charge = &here;
	if (end <= charge->end && !charge->due)
		return 0;
	if (!charge->due && charge->end > offset)
		len = (uint32_t)(end - charge->end);
	bytes = throttle_bytes(op, len);
	charge->end = end;
	charge->due = 1;
	if (wait_turn_first(node, line) ||
	    !throttle_take(group, line, bytes, clock_ns())) {
		ret = co_node_thread_state(node, &state);
		if (ret == 0)
			ret = co_wait_turn(node, line, bytes);
		if (ret < 0)
			return ret;
		if (ret == TURN_SKIPPED)
			lane_owe(&((struct throttle_thread *)state)
				 ->lanes[line], bytes);
	}
	charge->due = 0;
	return 0;
}

static int64_t throttle_read(struct node *node, uint64_t offset, uint32_t len,
			     void *buf)
{
	int ret = co_throttle_turn(node, REQ_READ, offset, len);

	if (ret == 0)
		ret = co_edge_read(node->file, offset, len, buf);
	return ret ? ret : (int64_t)len;
}

static int64_t throttle_write(struct node *node, uint64_t offset, uint32_t len,
			      const void *buf, unsigned flags)
{
	int ret = co_throttle_turn(node, REQ_WRITE, offset, len);

	if (ret == 0)
		ret = co_edge_write(node->file, offset, len, buf,
				    flags);
	return ret ? ret : (int64_t)len;
}

static int64_t throttle_zeroes(struct node *node, uint64_t offset,
			       uint32_t len, unsigned flags)
{
	int ret = co_throttle_turn(node, REQ_ZEROES, offset, len);

	if (ret == 0)
		ret = co_edge_zeroes(node->file, offset, len, flags);
	return ret ? ret : (int64_t)len;
}

static int64_t throttle_discard(struct node *node, uint64_t offset,
				uint32_t len)
{
	int ret = co_throttle_turn(node, REQ_DISCARD, offset, len);

	if (ret == 0)
		ret = co_edge_discard(node->file, offset, len);
	return ret ? ret : (int64_t)len;
}

/* ---- life ---- */

static struct throttle_group *group_by_option(const char *name,
					      struct error **err)
{
	struct throttle_group *group = throttle_group_find(name);

	if (!group)
		error_set(err, ENOENT, "Throttle group '%s' does not exist",
			  name);
	else
		throttle_group_get(group);
	return group;
}

static int throttle_open(struct node *node, struct error **err)
{
	const struct throttle_options *opts = node->opts;
	struct throttle *t = throttle_of(node);

	t->group = group_by_option(opts->group, err);
	if (!t->group)
		return -ENOENT;
	node->size = node->file->child->size;
	return 0;
}

static int throttle_close(struct node *node, struct error **err)
{
	(void)err;
	throttle_group_put(throttle_of(node)->group);
	return 0;
}

static int throttle_reopen_prepare(struct node *node, struct reopen *r,
				   struct error **err)
{
	const struct throttle_options *opts = r->opts ? r->opts : node->opts;

	r->state = group_by_option(opts->group, err);
	return r->state ? 0 : -ENOENT;
}

/* r->state is the group that is let go of. */
static void throttle_reopen_commit(struct node *node, struct reopen *r)
{
	struct throttle *t = throttle_of(node);
	struct throttle_group *old = t->group;

	t->group = r->state;
	r->state = old;
}

static void throttle_reopen_abort(struct node *node, struct reopen *r)
{
	(void)node;
	throttle_group_put(r->state);
}

/* A lane that nobody waits in any more since the drain: what it has paid for
 * was the old group's. */
static void lanes_change_group(void *arg)
{
	struct node *node = arg;
	struct throttle_thread *here = node_thread_state(node);

	for (unsigned line = 0; here && line < TURN_LINES; line++) {
		struct throttle_lane *lane = &here->lanes[line];

		if (lane->group == throttle_of(node)->group)
			continue;
		lane_unlist(lane);
		lane->paid = false;
		if (wait_turn_first(node, line))
			throttle_turn_awaited(node, line);
	}
}

static void throttle_reopen_end(struct node *node, struct reopen *r)
{
	for (unsigned i = 0; i < thread_count(); i++)
		co_call(thread_by_index(i), lanes_change_group, node);
	throttle_group_put(r->state);
}

/* By the names that limits have had in queries from the first. */
static void throttle_describe(const struct node *node, json_t *object)
{
	static const char *const names[THROTTLE_LIMITS] = {
		"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr",
	};
	const struct throttle_group *group = throttle_of(node)->group;
	char name[24];

	for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
		const struct throttle_rate *r = &group->limits.rate[i];

		json_object_set_new(object, names[i], json_integer(r->avg));
		if (!r->max)
			continue;
		snprintf(name, sizeof(name), "%s_max", names[i]);
		json_object_set_new(object, name, json_integer(r->max));
		snprintf(name, sizeof(name), "%s_max_length", names[i]);
		json_object_set_new(object, name, json_integer(r->length));
	}
	if (group->limits.iops_size)
		json_object_set_new(object, "iops_size", json_integer(
				    group->limits.iops_size));
	json_object_set_new(object, "group", json_text(group->name));
}

#define OPT(field) offsetof(struct throttle_options, field)

static const struct option throttle_options[] = {
	{ .name = "throttle-group", .type = OPT_STRING, .offset = OPT(group),
	  .required = true, .changes = true,
	  .help = "id of an object with limits, which nodes share" },
	{ .name = NULL },
};

static const struct child_decl throttle_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

const struct driver throttle_driver = {
	.name = "throttle",
	.kind = DRIVER_FILTER,
	.state_size = sizeof(struct throttle),
	.options = throttle_options,
	.options_size = sizeof(struct throttle_options),
	.children = throttle_children,
	.open = throttle_open,
	.close = throttle_close,
	.thread_state_size = sizeof(struct throttle_thread),
	.thread_open = throttle_thread_open,
	.thread_close = throttle_thread_close,
	.reopen_prepare = throttle_reopen_prepare,
	.reopen_commit = throttle_reopen_commit,
	.reopen_abort = throttle_reopen_abort,
	.reopen_end = throttle_reopen_end,
	.map = throttle_map,
	.read = throttle_read,
	.write = throttle_write,
	.zeroes = throttle_zeroes,
	.discard = throttle_discard,
	.turn_awaited = throttle_turn_awaited,
	.describe = throttle_describe,
};
