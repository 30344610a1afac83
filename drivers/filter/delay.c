/* SPDX-License-Identifier: MIT */
/*
 * delay.c - the filter that makes requests take longer: each kind by its own
 * time, and by a random one besides.
 *
 * Any thread. What is delayed waits for its turn (wait.h), so a drain takes it
 * back to the gate, and there it goes on for as long as was left; what stands
 * below a format a drain lets pass. A line of a node and thread is a lane, with
 * a timer for the first of those who wait there that may go.
 */
#include <errno.h>
#include <inttypes.h>

#include "drivers/drivers.h"
#include "graph/io.h"
#include "graph/thread-state.h"
#include "graph/wait.h"

#define DELAY_NS_MAX UINT64_C(60000000000)

enum delay_kind { DELAY_READ, DELAY_WRITE, DELAY_FLUSH, DELAY_KINDS };

struct delay_opts {
	struct {
		uint64_t fixed_ns, random_ns;
	} of[DELAY_KINDS];
};

struct delay_lane {
	struct node *node;
	struct timer timer;
	unsigned line;
};

struct delay_thread {
	struct delay_lane lanes[TURN_LINES];
	uint64_t random;	/* state of the generator, never 0 */
};

/* ---- lanes ---- */

static void lane_due(struct timer *timer);

static void lane_arm(struct delay_lane *lane, uint64_t now)
{
	const struct waiter *w = wait_turn_first(lane->node, lane->line);
	uint64_t first = UINT64_MAX;

	for (; w; w = w->next)
		first = min(first, w->due);
	timer_stop(&lane->timer);
	if (first != UINT64_MAX)
		timer_start(&lane->timer, first > now ? first - now : 0,
			    lane_due);
}

static void lane_due(struct timer *timer)
{
	struct delay_lane *lane = container_of(timer, struct delay_lane,
					       timer);
	const struct waiter *w = wait_turn_first(lane->node, lane->line);
	uint64_t now = clock_ns();

	while (w) {
		const struct waiter *next = w->next;

		if (w->due <= now)
			wait_turn_is_over(w);
		w = next;
	}
	lane_arm(lane, now);
}

static void delay_turn_awaited(struct node *node, unsigned line)
{
	struct delay_thread *here = node_thread_state(node);

	lane_arm(&here->lanes[line], clock_ns());
}

static int delay_thread_open(struct node *node, void *state)
{
	struct delay_thread *here = state;

	for (unsigned line = 0; line < TURN_LINES; line++)
		here->lanes[line] = (struct delay_lane){
			.node = node, .line = line,
		};
	here->random = thread_index(thread_self()) + 1;
	return 0;
}

static void delay_thread_close(struct node *node, void *state)
{
	struct delay_thread *here = state;

	(void)node;
	for (unsigned line = 0; line < TURN_LINES; line++)
		timer_stop(&here->lanes[line].timer);
}

/* ---- operations ---- */

static bool is_delayed(const struct node *node, enum delay_kind kind)
{
	const struct delay_opts *opts = node->opts;

	return opts->of[kind].fixed_ns || opts->of[kind].random_ns;
}

static uint64_t delay_draw(const struct node *node, enum delay_kind kind,
			   struct delay_thread *here)
{
	const struct delay_opts *opts = node->opts;

	here->random ^= here->random << 13;
	here->random ^= here->random >> 7;
	here->random ^= here->random << 17;
	return opts->of[kind].fixed_ns +
	       here->random % (opts->of[kind].random_ns + 1);
}

/*
 * 0 when it may go on. A request waits once for each kind of operation that is
 * made of it: the charge has a bit for each that it has begun to wait for, and
 * until when. Changed options count for what waits.
 */
static int co_delay(struct node *node, enum delay_kind kind)
{
	const struct delay_opts *opts = node->opts;
	unsigned line = kind == DELAY_READ ? 0 : 1;
	struct charge here = { .node = node }, *charge;
	uint64_t now = clock_ns();
	void *state;
	int ret;

	if (!is_delayed(node, kind))
		return 0;
	ret = co_node_thread_state(node, &state);
	if (ret < 0)
		return ret;
	charge = charge_here(node);
	if (!charge)
		charge = &here;
	if (!(charge->end >> kind & 1)) {
		charge->end |= UINT64_C(1) << kind;
		charge->due = now + delay_draw(node, kind, state);
	}
	/* it may have been made shorter meanwhile */
	charge->due = min(charge->due, now + opts->of[kind].fixed_ns +
				       opts->of[kind].random_ns);
	if (charge->due <= now)
		return 0;
	ret = co_wait_turn(node, line, charge->due);
	return min(ret, 0);
}

static int64_t delay_read(struct node *node, uint64_t offset, uint32_t len,
			  void *buf)
{
	int ret = co_delay(node, DELAY_READ);

	if (ret == 0)
		ret = co_edge_read(node->file, offset, len, buf);
	return ret ? ret : (int64_t)len;
}

static int64_t delay_write(struct node *node, uint64_t offset, uint32_t len,
			   const void *buf, unsigned flags)
{
	int ret = co_delay(node, DELAY_WRITE);

	if (ret == 0)
		ret = co_edge_write(node->file, offset, len, buf, flags);
	return ret ? ret : (int64_t)len;
}

static int64_t delay_zeroes(struct node *node, uint64_t offset, uint32_t len,
			    unsigned flags)
{
	int ret = co_delay(node, DELAY_WRITE);

	if (ret == 0)
		ret = co_edge_zeroes(node->file, offset, len, flags);
	return ret ? ret : (int64_t)len;
}

static int64_t delay_discard(struct node *node, uint64_t offset, uint32_t len)
{
	int ret = co_delay(node, DELAY_WRITE);

	if (ret == 0)
		ret = co_edge_discard(node->file, offset, len);
	return ret ? ret : (int64_t)len;
}

static int delay_flush(struct node *node)
{
	return co_delay(node, DELAY_FLUSH);
}

static void delay_map(struct node *node, struct map *map)
{
	map->child = node->file;
	map->kind = is_delayed(node, map->op == REQ_READ ? DELAY_READ :
							   DELAY_WRITE) ?
		    MAP_SLOW : MAP_FORWARD;
}

#define OPT(kind, field) offsetof(struct delay_opts, of[kind].field)

static const struct option delay_options[] = {
	{ .name = "read-ns", .type = OPT_UINT64, .def = "0", .changes = true,
	  .offset = OPT(DELAY_READ, fixed_ns), .highest = DELAY_NS_MAX,
	  .help = "how much longer each read takes, in nanoseconds" },
	{ .name = "read-random-ns", .type = OPT_UINT64, .def = "0",
	  .changes = true, .offset = OPT(DELAY_READ, random_ns),
	  .highest = DELAY_NS_MAX, .help = "up to so much more at random" },
	{ .name = "write-ns", .type = OPT_UINT64, .def = "0", .changes = true,
	  .offset = OPT(DELAY_WRITE, fixed_ns), .highest = DELAY_NS_MAX,
	  .help = "the same of writes, zeroes and discards" },
	{ .name = "write-random-ns", .type = OPT_UINT64, .def = "0",
	  .changes = true, .offset = OPT(DELAY_WRITE, random_ns),
	  .highest = DELAY_NS_MAX, .help = "up to so much more at random" },
	{ .name = "flush-ns", .type = OPT_UINT64, .def = "0", .changes = true,
	  .offset = OPT(DELAY_FLUSH, fixed_ns), .highest = DELAY_NS_MAX,
	  .help = "the same of flushes" },
	{ .name = "flush-random-ns", .type = OPT_UINT64, .def = "0",
	  .changes = true, .offset = OPT(DELAY_FLUSH, random_ns),
	  .highest = DELAY_NS_MAX, .help = "up to so much more at random" },
	{ .name = NULL },
};

static const struct child_decl delay_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

const struct driver delay_driver = {
	.name = "delay",
	.kind = DRIVER_FILTER,
	.options = delay_options,
	.options_size = sizeof(struct delay_opts),
	.children = delay_children,
	.thread_state_size = sizeof(struct delay_thread),
	.thread_open = delay_thread_open,
	.thread_close = delay_thread_close,
	.map = delay_map,
	.read = delay_read,
	.write = delay_write,
	.zeroes = delay_zeroes,
	.discard = delay_discard,
	.flush = delay_flush,
	.turn_awaited = delay_turn_awaited,
};
