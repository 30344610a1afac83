/* SPDX-License-Identifier: MIT */
/*
 * null-co.c - a disk that keeps nothing, for measuring and tests.
 *
 * Reads give zeroes unless "read-zeroes" is off: what a client's buffer held
 * before is never shown to it as disk contents by default. With a latency each
 * request sleeps in a coroutine; without, the fast path answers everything.
 * State is immutable after open; any thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "drivers/drivers.h"
#include "graph/node.h"
#include "runtime/co.h"

#define LATENCY_NS_MAX UINT64_C(60000000000)

struct null_co_opts {
	uint64_t size;
	uint64_t latency_ns;
	bool read_zeroes;
};

static const struct option null_co_options[] = {
	{
		.name = "size",
		.type = OPT_SIZE,
		.offset = offsetof(struct null_co_opts, size),
		.def = "1G",
		.lowest = 0,
		.highest = INT64_MAX,
		.strong = true,
		.help = "bytes of the disk",
	}, {
		.name = "latency-ns",
		.type = OPT_UINT64,
		.offset = offsetof(struct null_co_opts, latency_ns),
		.def = "0",
		.help = "how long each request takes, in nanoseconds",
	}, {
		.name = "read-zeroes",
		.type = OPT_BOOL,
		.offset = offsetof(struct null_co_opts, read_zeroes),
		.def = "on",
		.strong = true,
		.help = "whether a read clears the buffer",
	},
	{ .name = NULL },
};

static int null_co_open(struct node *node, struct error **err)
{
	const struct null_co_opts *opts = node->opts;

	if (opts->latency_ns > LATENCY_NS_MAX) {
		error_set(err, EINVAL, "latency-ns is invalid");
		return error_add(err, ": %" PRIu64 " is more than %" PRIu64,
				 opts->latency_ns, LATENCY_NS_MAX);
	}
	node->size = opts->size;
	return 0;
}

static void null_co_limits(const struct node *node, struct limits *lim)
{
	(void)node;
	*lim = (struct limits){
		.align = 1,
		.mem_align = 1,
		.max_transfer = 1u << 30,
		.discard_align = 512,
		.zeroes = SUPPORT_NATIVE,
		.discard = SUPPORT_NATIVE,
		.fixed_size = true,
	};
}

static void null_co_map(struct node *node, struct map *map)
{
	const struct null_co_opts *opts = node->opts;

	if (opts->latency_ns)
		map->kind = MAP_SLOW;
	else if (map->op == REQ_READ && opts->read_zeroes)
		map->kind = MAP_ZEROES;
	else
		map->kind = MAP_DONE;
}

static int64_t null_co_read(struct node *node, uint64_t offset, uint32_t len,
			    void *buf)
{
	const struct null_co_opts *opts = node->opts;

	(void)offset;
	co_sleep(opts->latency_ns);
	if (opts->read_zeroes)
		memset(buf, 0, len);
	return len;
}

static int64_t null_co_write(struct node *node, uint64_t offset, uint32_t len,
			     const void *buf, unsigned flags)
{
	const struct null_co_opts *opts = node->opts;

	(void)offset;
	(void)buf;
	(void)flags;
	co_sleep(opts->latency_ns);
	return len;
}

static int64_t null_co_zeroes(struct node *node, uint64_t offset,
			      uint32_t len, unsigned flags)
{
	return null_co_write(node, offset, len, NULL, flags);
}

static int64_t null_co_discard(struct node *node, uint64_t offset,
			       uint32_t len)
{
	return null_co_write(node, offset, len, NULL, 0);
}

static int null_co_status(struct node *node, struct extent *e)
{
	const struct null_co_opts *opts = node->opts;

	e->flags = opts->read_zeroes ? STATUS_ZERO : STATUS_DATA;
	return 0;
}

const struct driver null_co_driver = {
	.name = "null-co",
	.plain_name = "null-co://",
	.kind = DRIVER_PROTOCOL,
	.options = null_co_options,
	.options_size = sizeof(struct null_co_opts),
	.open = null_co_open,
	.limits = null_co_limits,
	.map = null_co_map,
	.read = null_co_read,
	.write = null_co_write,
	.zeroes = null_co_zeroes,
	.discard = null_co_discard,
	.status = null_co_status,
};
