/* SPDX-License-Identifier: MIT */
/*
 * blkdebug.c - the filter that fails what a test wants to see fail, and asks
 * for the alignment and the sizes that a test wants to see kept.
 *
 * Any thread. Without rules whatever keeps the limits is forwarded; with some,
 * every operation is slow and goes by the rules, which belong to the lock. An
 * event takes the rules that wait for it, in this state, in place of those that
 * were in effect; what "none" waits for is in effect from the start.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/drivers.h"
#include "graph/io.h"
#include "graph/state.h"
#include "graph/wait.h"
#include "runtime/co.h"

#define SECTOR_SIZE 512u

enum blkdebug_event {
	EVENT_NONE, EVENT_READ, EVENT_WRITE, EVENT_WRITE_BEGUN,
	EVENT_ZEROES_BEGUN, EVENT_WRITE_ENDED, EVENT_FLUSH_OS,
	EVENT_FLUSH_DISK,
};

static const char *const event_names[] = {
	[EVENT_NONE] = "none",
	[EVENT_READ] = "read_aio",
	[EVENT_WRITE] = "write_aio",
	[EVENT_WRITE_BEGUN] = "pwritev",
	[EVENT_ZEROES_BEGUN] = "pwritev_zero",
	[EVENT_WRITE_ENDED] = "pwritev_done",
	[EVENT_FLUSH_OS] = "flush_to_os",
	[EVENT_FLUSH_DISK] = "flush_to_disk",
	NULL
};

enum blkdebug_iotype {
	IOTYPE_ANY, IOTYPE_READ, IOTYPE_WRITE, IOTYPE_ZEROES, IOTYPE_DISCARD,
	IOTYPE_FLUSH, IOTYPE_STATUS,
};

static const char *const iotype_names[] = {
	[IOTYPE_ANY] = "any",
	[IOTYPE_READ] = "read",
	[IOTYPE_WRITE] = "write",
	[IOTYPE_ZEROES] = "write-zeroes",
	[IOTYPE_DISCARD] = "discard",
	[IOTYPE_FLUSH] = "flush",
	[IOTYPE_STATUS] = "block-status",
	NULL
};

/* by bit of PERM_... */
static const char *const perm_values[] = {
	"consistent-read", "write", "write-unchanged", "resize", NULL
};

struct inject_error {
	int event, iotype;
	uint32_t state;		/* 0: any */
	uint32_t error;
	uint64_t sector;	/* UINT64_MAX: any, and of no place */
	bool once, immediately;
};

struct set_state {
	int event;
	uint32_t state, new_state;
};

struct blkdebug_opts {
	struct option_list inject, set;
	uint64_t align, max_transfer;	/* 0: as the child's */
	uint64_t opt_zeroes, max_zeroes, opt_discard, max_discard;
	uint32_t take, unshare;		/* PERM_... */
};

struct blkdebug {
	bool rules;		/* there are any; immutable after open */
	struct co_mutex lock;
	/* under the lock */
	uint32_t state;
	struct {
		bool active, over;
	} *injects;		/* one for each in the options */
};

/* ---- rules; under the lock ---- */

static const struct inject_error *inject_at(const struct blkdebug_opts *opts,
					    size_t i)
{
	return (const struct inject_error *)opts->inject.items + i;
}

static void rules_activate(struct blkdebug *b, const struct blkdebug_opts *opts,
			   int event)
{
	bool first = true;

	for (size_t i = 0; i < opts->inject.count; i++) {
		const struct inject_error *rule = inject_at(opts, i);

		if (rule->event != event || b->injects[i].over ||
		    (rule->state && rule->state != b->state))
			continue;
		for (size_t k = 0; first && k < opts->inject.count; k++)
			b->injects[k].active = false;
		first = false;
		b->injects[i].active = true;
	}
}

/* Of several the first decides. */
static void rules_set_state(struct blkdebug *b,
			    const struct blkdebug_opts *opts, int event)
{
	const struct set_state *rule = opts->set.items;

	for (size_t i = 0; i < opts->set.count; i++, rule++)
		if (rule->event == event &&
		    (!rule->state || rule->state == b->state)) {
			b->state = rule->new_state;
			return;
		}
}

static void rules_event(struct blkdebug *b, const struct blkdebug_opts *opts,
			int event)
{
	rules_activate(b, opts, event);
	rules_set_state(b, opts, event);
}

/* The rule that fails it; NULL: none. */
static const struct inject_error *
rules_find(struct blkdebug *b, const struct blkdebug_opts *opts, int iotype,
	   uint64_t offset, uint64_t len)
{
	for (size_t i = 0; i < opts->inject.count; i++) {
		const struct inject_error *rule = inject_at(opts, i);
		uint64_t at = rule->sector * SECTOR_SIZE;

		if (!b->injects[i].active)
			continue;
		if (rule->sector != UINT64_MAX &&
		    (at < offset || at - offset >= len))
			continue;
		if (rule->iotype != IOTYPE_ANY && rule->iotype != iotype)
			continue;
		if (rule->once) {
			b->injects[i].active = false;
			b->injects[i].over = true;
		}
		return rule;
	}
	return NULL;
}

/* ---- operations ---- */

static void co_debug_event(struct node *node, int event)
{
	struct blkdebug *b = node->state;

	if (!b->rules)
		return;
	co_lock(&b->lock);
	rules_event(b, node->opts, event);
	co_unlock(&b->lock);
}

/* What had to wait further down was asked about when it came the first time. */
static bool was_debugged(const struct node *node, int iotype, uint64_t end)
{
	struct charge *charge = charge_here(node);

	if (!charge)
		return false;
	if (charge->due == (uint64_t)iotype && charge->end >= end)
		return true;
	charge->due = (uint64_t)iotype;
	charge->end = end;
	return false;
}

/* 0: it may go on. */
static int co_debug(struct node *node, int iotype, uint64_t offset,
		    uint64_t len)
{
	static const int events[][2] = {
		[IOTYPE_READ] = { EVENT_READ },
		[IOTYPE_WRITE] = { EVENT_WRITE, EVENT_WRITE_BEGUN },
		[IOTYPE_ZEROES] = { EVENT_ZEROES_BEGUN },
		[IOTYPE_FLUSH] = { EVENT_FLUSH_OS, EVENT_FLUSH_DISK },
		[IOTYPE_STATUS] = { EVENT_NONE },
	};
	const struct inject_error *rule;
	struct blkdebug *b = node->state;

	if (!b->rules || was_debugged(node, iotype, offset + len))
		return 0;
	co_lock(&b->lock);
	for (unsigned i = 0; i < 2 && events[iotype][i] != EVENT_NONE; i++)
		rules_event(b, node->opts, events[iotype][i]);
	rule = rules_find(b, node->opts, iotype, offset, len);
	co_unlock(&b->lock);
	if (!rule || !rule->error)
		return 0;
	if (!rule->immediately)
		co_yield();
	return -(int)rule->error;
}

static int64_t blkdebug_read(struct node *node, uint64_t offset, uint32_t len,
			     void *buf)
{
	int ret = co_debug(node, IOTYPE_READ, offset, len);

	if (ret == 0)
		ret = co_edge_read(node->file, offset, len, buf);
	return ret ? ret : (int64_t)len;
}

static int64_t blkdebug_write(struct node *node, uint64_t offset, uint32_t len,
			      const void *buf, unsigned flags)
{
	int ret = co_debug(node, IOTYPE_WRITE, offset, len);

	if (ret == 0)
		ret = co_edge_write(node->file, offset, len, buf, flags);
	if (ret != STEER_WAIT)
		co_debug_event(node, EVENT_WRITE_ENDED);
	return ret ? ret : (int64_t)len;
}

static bool is_multiple(uint64_t offset, uint64_t len, uint64_t of)
{
	return !of || (offset % of == 0 && len % of == 0);
}

static int64_t blkdebug_zeroes(struct node *node, uint64_t offset,
			       uint32_t len, unsigned flags)
{
	const struct blkdebug_opts *opts = node->opts;
	int ret;

	if (!is_multiple(offset, len, opts->opt_zeroes))
		return -ENOTSUP;
	ret = co_debug(node, IOTYPE_ZEROES, offset, len);
	if (ret == 0)
		ret = co_edge_zeroes(node->file, offset, len, flags);
	if (ret != STEER_WAIT)
		co_debug_event(node, EVENT_WRITE_ENDED);
	return ret ? ret : (int64_t)len;
}

static int64_t blkdebug_discard(struct node *node, uint64_t offset,
				uint32_t len)
{
	const struct blkdebug_opts *opts = node->opts;
	int ret;

	if (!is_multiple(offset, len, opts->opt_discard))
		return -ENOTSUP;
	ret = co_debug(node, IOTYPE_DISCARD, offset, len);
	if (ret == 0)
		ret = co_edge_discard(node->file, offset, len);
	return ret ? ret : (int64_t)len;
}

static int blkdebug_flush(struct node *node)
{
	return co_debug(node, IOTYPE_FLUSH, 0, 0);
}

static int blkdebug_extent(struct node *node, struct extent *e)
{
	e->kind = EXTENT_CHILD;
	e->child = node->file;
	return co_debug(node, IOTYPE_STATUS, e->offset, e->len);
}

/* What is passed on of zeroes or a discard begins and ends at multiples of
 * best; up to the first of them it is a piece of its own. */
static uint32_t piece_of(uint64_t offset, uint32_t len, uint64_t best,
			 uint64_t most)
{
	if (best && offset % best)
		len = (uint32_t)min((uint64_t)len, best - offset % best);
	else if (best && len >= best)
		len -= (uint32_t)(len % best);
	return most ? (uint32_t)min((uint64_t)len, most) : len;
}

static void blkdebug_map(struct node *node, struct map *map)
{
	const struct blkdebug_opts *opts = node->opts;
	const struct blkdebug *b = node->state;
	uint64_t best = 0;

	if (map->op == REQ_ZEROES) {
		best = opts->opt_zeroes;
		map->len = piece_of(map->offset, map->len, best,
				    opts->max_zeroes);
	} else if (map->op == REQ_DISCARD) {
		best = opts->opt_discard;
		map->len = piece_of(map->offset, map->len, best,
				    opts->max_discard);
	} else {
		map->len = min(map->len, node->limits.max_transfer);
	}
	map->child = node->file;
	map->kind = b->rules || !is_multiple(map->offset, map->len, best) ?
		    MAP_SLOW : MAP_FORWARD;
}

/* ---- life ---- */

static void blkdebug_limits(const struct node *node, struct limits *lim)
{
	const struct blkdebug_opts *opts = node->opts;

	lim->align = max(lim->align, (uint32_t)opts->align);
	if (opts->max_transfer)
		lim->max_transfer = min(lim->max_transfer,
					(uint32_t)opts->max_transfer);
	/* what was put below since may ask for more */
	lim->max_transfer = max(lim->max_transfer, lim->align);
}

static void blkdebug_child_perm(const struct node *node,
				const struct edge *child, unsigned *perm,
				unsigned *shared)
{
	const struct blkdebug_opts *opts = node->opts;

	(void)child;
	*perm |= opts->take;
	*shared &= ~opts->unshare;
}

static int limit_check(const struct node *node, const char *name,
		       uint64_t value, uint64_t multiple_of, struct error **err)
{
	if (value < INT32_MAX && value % multiple_of == 0)
		return 0;
	error_set(err, EINVAL, "Cannot meet constraints with %s %" PRIu64, name,
		  value);
	return error_add(err, " of node '%s'", node->name);
}

static int limits_of_opts(const struct node *node, struct error **err)
{
	const struct blkdebug_opts *o = node->opts;
	uint64_t align = max(o->align,
			     (uint64_t)node->file->child->limits.align);
	int ret = 0;

	if (o->align && (!is_pow2(o->align) || o->align > BOUNCE_SIZE)) {
		error_set(err, EINVAL, "Cannot meet constraints with align %"
			  PRIu64, o->align);
		return error_add(err, " of node '%s', which is no power of 2"
				 " up to %u", node->name, BOUNCE_SIZE);
	}
	if (ret == 0)
		ret = limit_check(node, "max-transfer", o->max_transfer, align,
				  err);
	if (ret == 0)
		ret = limit_check(node, "opt-write-zero", o->opt_zeroes, align,
				  err);
	if (ret == 0)
		ret = limit_check(node, "max-write-zero", o->max_zeroes,
				  max(o->opt_zeroes, align), err);
	if (ret == 0)
		ret = limit_check(node, "opt-discard", o->opt_discard, align,
				  err);
	if (ret == 0)
		ret = limit_check(node, "max-discard", o->max_discard,
				  max(o->opt_discard, align), err);
	return ret;
}

static int blkdebug_open(struct node *node, struct error **err)
{
	const struct blkdebug_opts *opts = node->opts;
	struct blkdebug *b = node->state;
	int ret = limits_of_opts(node, err);

	if (ret < 0)
		return ret;
	b->rules = opts->inject.count || opts->set.count;
	b->injects = calloc(opts->inject.count + 1, sizeof(*b->injects));
	if (!b->injects)
		abort();
	co_mutex_init(&b->lock);
	b->state = 1;
	rules_event(b, opts, EVENT_NONE);
	return 0;
}

static int blkdebug_close(struct node *node, struct error **err)
{
	struct blkdebug *b = node->state;

	(void)err;
	co_mutex_destroy(&b->lock);
	free(b->injects);
	return 0;
}

/* ---- options ---- */

#define INJECT(field) offsetof(struct inject_error, field)

static const struct option inject_options[] = {
	{ .name = "event", .type = OPT_ENUM, .offset = INJECT(event),
	  .values = event_names, .required = true,
	  .help = "what puts the rule in effect" },
	{ .name = "iotype", .type = OPT_ENUM, .offset = INJECT(iotype),
	  .values = iotype_names, .def = "any",
	  .help = "which operations fail" },
	{ .name = "state", .type = OPT_UINT, .offset = INJECT(state),
	  .def = "0", .help = "in which state only; 0: in any" },
	{ .name = "errno", .type = OPT_UINT, .offset = INJECT(error),
	  .def = "5", .highest = 4095, .help = "number of the error" },
	{ .name = "sector", .type = OPT_INT64, .offset = INJECT(sector),
	  .def = "0xffffffffffffffff",
	  .help = "only what has this sector of 512 bytes; -1: all" },
	{ .name = "once", .type = OPT_BOOL, .offset = INJECT(once),
	  .def = "off", .help = "fail one operation only" },
	{ .name = "immediately", .type = OPT_BOOL,
	  .offset = INJECT(immediately), .def = "off",
	  .help = "before other work of the thread" },
	{ .name = NULL },
};

#define SET(field) offsetof(struct set_state, field)

static const struct option set_options[] = {
	{ .name = "event", .type = OPT_ENUM, .offset = SET(event),
	  .values = event_names, .required = true,
	  .help = "what changes the state" },
	{ .name = "state", .type = OPT_UINT, .offset = SET(state),
	  .def = "0", .help = "from which state only; 0: from any" },
	{ .name = "new_state", .type = OPT_UINT, .offset = SET(new_state),
	  .required = true, .help = "the state then" },
	{ .name = NULL },
};

#define OPT(field) offsetof(struct blkdebug_opts, field)

static const struct option blkdebug_options[] = {
	{ .name = "inject-error", .type = OPT_LIST, .offset = OPT(inject),
	  .members = inject_options, .item_size = sizeof(struct inject_error),
	  .help = "what fails, and when" },
	{ .name = "set-state", .type = OPT_LIST, .offset = OPT(set),
	  .members = set_options, .item_size = sizeof(struct set_state),
	  .help = "what changes the state, which is 1 at first" },
	{ .name = "align", .type = OPT_SIZE, .offset = OPT(align), .def = "0",
	  .help = "bytes of which requests are multiples" },
	{ .name = "max-transfer", .type = OPT_SIZE, .def = "0",
	  .offset = OPT(max_transfer), .help = "most bytes of one request" },
	{ .name = "opt-write-zero", .type = OPT_SIZE, .def = "0",
	  .offset = OPT(opt_zeroes),
	  .help = "bytes of which zeroes are multiples, or are written" },
	{ .name = "max-write-zero", .type = OPT_SIZE, .def = "0",
	  .offset = OPT(max_zeroes), .help = "most bytes of zeroes at once" },
	{ .name = "opt-discard", .type = OPT_SIZE, .def = "0",
	  .offset = OPT(opt_discard),
	  .help = "bytes of which discards are multiples, or do nothing" },
	{ .name = "max-discard", .type = OPT_SIZE, .def = "0",
	  .offset = OPT(max_discard), .help = "most bytes of a discard" },
	{ .name = "take-child-perms", .type = OPT_FLAGS, .offset = OPT(take),
	  .values = perm_values, .help = "permissions to take of the child" },
	{ .name = "unshare-child-perms", .type = OPT_FLAGS,
	  .offset = OPT(unshare), .values = perm_values,
	  .help = "permissions that others of the child may not have" },
	{ .name = NULL },
};

static const struct child_decl blkdebug_children[] = {
	{ .name = "image", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

const struct driver blkdebug_driver = {
	.name = "blkdebug",
	.kind = DRIVER_FILTER,
	.state_size = sizeof(struct blkdebug),
	.options = blkdebug_options,
	.options_size = sizeof(struct blkdebug_opts),
	.children = blkdebug_children,
	.open = blkdebug_open,
	.close = blkdebug_close,
	.limits = blkdebug_limits,
	.child_perm = blkdebug_child_perm,
	.map = blkdebug_map,
	.read = blkdebug_read,
	.write = blkdebug_write,
	.zeroes = blkdebug_zeroes,
	.discard = blkdebug_discard,
	.flush = blkdebug_flush,
	.status = blkdebug_extent,
};
