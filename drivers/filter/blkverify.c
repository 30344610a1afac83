/* SPDX-License-Identifier: MIT */
/*
 * blkverify.c - the filter that does everything to two images, and compares
 * what they give: `test` is doubted, `raw` is believed. Its disk is raw's.
 *
 * Any thread. What is read is test's, once it was found to be raw's too; where
 * the two differ the request fails, and what they did is told (report.h).
 * Requests that overlap, unless all read, are done one after the other: in
 * flight together two writes may reach the two images in different order. What
 * is discarded may read as anything afterwards, so no discard passes.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "drivers/drivers.h"
#include "drivers/filter/copies.h"
#include "graph/range-lock.h"
#include "graph/report.h"
#include "graph/thread-state.h"

struct blkverify {
	struct range_lock lock;
};

static struct edge *blkverify_test(const struct node *node)
{
	struct edge *e = node->children;

	while (e->role & ROLE_FILTERED)
		e = e->next_child;
	return e;
}

static int blkverify_open(struct node *node, struct error **err)
{
	const struct node *test = blkverify_test(node)->child;
	struct blkverify *v = node->state;

	if (test->size != node->size)
		return error_set(err, EINVAL, "Nodes '%s' and '%s', which node"
				 " '%s' compares, have different sizes: %"
				 PRIu64 " and %" PRIu64 " bytes", test->name,
				 node->file->child->name, node->name,
				 test->size, node->size);
	range_lock_init(&v->lock);
	return 0;
}

static int blkverify_close(struct node *node, struct error **err)
{
	struct blkverify *v = node->state;

	(void)err;
	range_lock_destroy(&v->lock);
	return 0;
}

static void blkverify_limits(const struct node *node, struct limits *lim)
{
	lim->fixed_size |= blkverify_test(node)->child->limits.fixed_size;
	lim->discard = SUPPORT_NONE;
	lim->discard_align = 0;
}

static int blkverify_resize(struct node *node, uint64_t from, uint64_t to,
			    struct error **err)
{
	(void)from;
	(void)to;
	return error_set(err, ENOTSUP, "Node '%s' compares two images, and"
			 " keeps their size", node->name);
}

/* As by their roles, but that raw's size too stays what users have seen. */
static void blkverify_child_perm(const struct node *node,
				 const struct edge *child, unsigned *perm,
				 unsigned *shared)
{
	(void)node;
	if (child->role & ROLE_FILTERED) {
		if (*perm && !(*perm & PERM_RESIZE))
			*shared &= ~(unsigned)PERM_RESIZE;
		return;
	}
	*shared &= ~(unsigned)PERM_RESIZE;
	if (*perm & PERM_WRITE_UNCHANGED)
		*perm |= PERM_WRITE;
	if (*perm & PERM_WRITE)
		*perm |= PERM_RESIZE;
}

/* Both images, for a part of a request. What is read goes to buf, one piece for
 * each. */
static int co_blkverify(struct node *node, unsigned op, uint64_t offset,
			uint32_t len, char *buf, unsigned flags)
{
	struct blkverify *v = node->state;
	struct report report = {
		.op = (uint8_t)op, .offset = offset, .len = len,
	};
	struct part parts[2];
	struct range range;
	int ret;

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		parts[i] = (struct part){
			.edge = i ? node->file : blkverify_test(node),
			.op = (uint8_t)op,
			.flags = (uint8_t)flags,
			.offset = offset,
			.len = len,
			.buf = op == REQ_READ ? buf + i * COPIES_PIECE : buf,
		};
	co_range_lock(&v->lock, &range, offset, offset + len, op == REQ_READ);
	ret = co_parts(parts, ARRAY_SIZE(parts));
	co_range_unlock(&v->lock, &range);
	if (ret < 0)
		return ret;
	if (parts[0].ret != parts[1].ret) {
		report.kind = REPORT_RESULTS;
		report.error = -parts[0].ret;
		report.other_error = -parts[1].ret;
	} else if (parts[0].ret < 0) {
		return parts[0].ret;
	} else if (op == REQ_READ && memcmp(buf, buf + COPIES_PIECE, len)) {
		report.kind = REPORT_BYTES;
		report.at = offset + copies_differ_at(buf, buf + COPIES_PIECE);
	} else {
		return 0;
	}
	report_tell(node, NULL, &report);
	return -EIO;
}

static int64_t blkverify_read(struct node *node, uint64_t offset, uint32_t len,
			      void *buf)
{
	void *state;
	int ret = co_node_thread_state(node, &state);
	struct copies *copies = state;
	char *set;

	if (ret < 0)
		return ret;
	set = co_copies_get(copies, 2);
	len = min(len, COPIES_PIECE);
	ret = co_blkverify(node, REQ_READ, offset, len, set, 0);
	if (ret == 0)
		memcpy(buf, set, len);
	copies_put(copies, set);
	return ret < 0 ? ret : (int64_t)len;
}

static int64_t blkverify_write(struct node *node, uint64_t offset,
			       uint32_t len, const void *buf, unsigned flags)
{
	void *state;
	int ret = co_node_thread_state(node, &state);
	struct copies *copies = state;
	char *set;

	if (ret < 0)
		return ret;
	set = co_copies_get(copies, 2);
	len = min(len, COPIES_PIECE);
	memcpy(set, buf, len);
	ret = co_blkverify(node, REQ_WRITE, offset, len, set, flags);
	copies_put(copies, set);
	return ret < 0 ? ret : (int64_t)len;
}

static int64_t blkverify_zeroes(struct node *node, uint64_t offset,
				uint32_t len, unsigned flags)
{
	int ret = co_blkverify(node, REQ_ZEROES, offset, len, NULL, flags);

	return ret < 0 ? ret : (int64_t)len;
}

static int64_t blkverify_discard(struct node *node, uint64_t offset,
				 uint32_t len)
{
	(void)node;
	(void)offset;
	(void)len;
	return -ENOTSUP;
}

static const struct child_decl blkverify_children[] = {
	{ .name = "raw", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = "test", .role = ROLE_DATA },
	{ .name = NULL },
};

const struct driver blkverify_driver = {
	.name = "blkverify",
	.kind = DRIVER_FILTER,
	.state_size = sizeof(struct blkverify),
	.children = blkverify_children,
	.open = blkverify_open,
	.close = blkverify_close,
	.thread_state_size = sizeof(struct copies),
	.thread_open = copies_thread_open,
	.thread_close = copies_thread_close,
	.limits = blkverify_limits,
	.resize = blkverify_resize,
	.child_perm = blkverify_child_perm,
	.read = blkverify_read,
	.write = blkverify_write,
	.zeroes = blkverify_zeroes,
	.discard = blkverify_discard,
};
