/* SPDX-License-Identifier: MIT */
/*
 * quorum.c - one disk in several images: what is written goes to all of them,
 * what is read is what enough of them have. Options, events and what counts as
 * enough are the storage daemon's.
 *
 * Any thread. Requests that overlap, unless all read, are done one after the
 * other, so that images which are right are the same whenever they are
 * compared. An image that failed or was outvoted is told of (report.h), and
 * written anew with what the others have only where that was asked for. What is
 * discarded may read as anything afterwards, so no discard passes.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "drivers/drivers.h"
#include "drivers/filter/copies.h"
#include "graph/io.h"
#include "graph/range-lock.h"
#include "graph/report.h"
#include "graph/status.h"
#include "graph/thread-state.h"

enum { PATTERN_QUORUM, PATTERN_FIFO };

struct quorum_options {
	uint64_t threshold;
	bool blkverify, rewrite;
	int pattern;
};

struct quorum {
	struct range_lock lock;
};

/* One operation on each child. */
struct votes {
	struct part parts[COPIES_PIECES_MAX];
	unsigned count;
	/* of a read: the first child that has the same bytes */
	unsigned like[COPIES_PIECES_MAX];
};

/* ---- life ---- */

static unsigned quorum_children(const struct node *node)
{
	unsigned count = 0;

	for (const struct edge *e = node->children; e; e = e->next_child)
		count++;
	return count;
}

static int quorum_check_options(const struct quorum_options *opts,
				unsigned children, struct error **err)
{
	if ((int64_t)opts->threshold < 1)
		return error_set(err, EINVAL, "Parameter 'vote-threshold'"
				 " expects a value >= 1");
	if (opts->threshold > children) {
		error_set(err, EINVAL, "threshold may not exceed children"
			  " count");
		return error_add(err, ": vote-threshold is %" PRIu64 ", and"
				 " there are %u children", opts->threshold,
				 children);
	}
	if (opts->pattern != PATTERN_QUORUM)
		return 0;
	if (opts->blkverify && (children != 2 || opts->threshold != 2))
		return error_set(err, EINVAL, "blkverify=on can only be set if"
				 " there are exactly two files and"
				 " vote-threshold is 2");
	if (opts->blkverify && opts->rewrite)
		return error_set(err, EINVAL, "rewrite-corrupted=on cannot be"
				 " used with blkverify=on");
	return 0;
}

static int quorum_check_size(const struct node *node, uint64_t size,
			     const struct node *child, struct error **err)
{
	if (child->size == size)
		return 0;
	return error_set(err, EINVAL, "Child '%s' of quorum '%s' has %" PRIu64
			 " bytes, and the others have %" PRIu64, child->name,
			 node->name, child->size, size);
}

static int quorum_open(struct node *node, struct error **err)
{
	unsigned count = quorum_children(node);
	struct quorum *q = node->state;
	int ret;

	if (count > COPIES_PIECES_MAX)
		return error_set(err, EINVAL, "Too many children of quorum"
				 " '%s': %u, and there can be %u", node->name,
				 count, COPIES_PIECES_MAX);
	ret = quorum_check_options(node->opts, count, err);
	node->size = node->children->child->size;
	for (const struct edge *e = node->children; e && ret == 0;
	     e = e->next_child)
		ret = quorum_check_size(node, node->size, e->child, err);
	if (ret == 0)
		range_lock_init(&q->lock);
	return ret;
}

static int quorum_close(struct node *node, struct error **err)
{
	struct quorum *q = node->state;

	(void)err;
	range_lock_destroy(&q->lock);
	return 0;
}

static int quorum_child_change(const struct node *node, unsigned count,
			       const struct node *child, struct error **err)
{
	const struct quorum_options *opts = node->opts;

	if (!child && count <= opts->threshold) {
		error_set(err, EBUSY, "The number of children cannot be lower"
			  " than the vote threshold %" PRIu64,
			  opts->threshold);
		return error_add(err, " of quorum '%s'", node->name);
	}
	if (!child)
		return 0;
	if (opts->blkverify && opts->pattern == PATTERN_QUORUM) {
		error_set(err, EBUSY, "Cannot add a child to a quorum in"
			  " blkverify mode");
		return error_add(err, ": '%s'", node->name);
	}
	if (count == COPIES_PIECES_MAX)
		return error_set(err, EBUSY, "Too many children of quorum"
				 " '%s': there can be %u", node->name,
				 COPIES_PIECES_MAX);
	return quorum_check_size(node, node->size, child, err);
}

static void quorum_limits(const struct node *node, struct limits *lim)
{
	(void)node;
	lim->discard = SUPPORT_NONE;
	lim->discard_align = 0;
}

/* Nobody else writes to a child, or makes it longer: it would differ from the
 * others. */
static void quorum_child_perm(const struct node *node,
			      const struct edge *child, unsigned *perm,
			      unsigned *shared)
{
	const struct quorum_options *opts = node->opts;

	(void)child;
	if (opts->rewrite && opts->pattern == PATTERN_QUORUM)
		*perm |= PERM_WRITE;
	*shared &= PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
}

/* ---- counting ---- */

static void quorum_tell(const struct node *node, unsigned kind,
			const struct part *part, int error)
{
	const struct report report = {
		.kind = (uint8_t)kind, .op = part->op, .error = error,
		.offset = part->offset, .len = part->len,
	};

	report_tell(node, part->edge->child, &report);
}

/* The error that most of them had; of two, the later one's. */
static int votes_error(const struct votes *v)
{
	unsigned most = 0;
	int error = 0;

	for (unsigned i = 0; i < v->count; i++) {
		unsigned same = 0;

		for (unsigned k = 0; k < v->count; k++)
			same += v->parts[k].ret == v->parts[i].ret;
		if (v->parts[i].ret < 0 && same >= most) {
			most = same;
			error = v->parts[i].ret;
		}
	}
	return error;
}

/* Whether enough have done it; tells who has not. 0, or the error. */
static int votes_count(const struct node *node, const struct votes *v)
{
	const struct quorum_options *opts = node->opts;
	unsigned done = 0;

	for (unsigned i = 0; i < v->count; i++) {
		if (v->parts[i].ret == 0)
			done++;
		else
			quorum_tell(node, REPORT_CHILD, &v->parts[i],
				    -v->parts[i].ret);
	}
	if (done >= opts->threshold)
		return 0;
	if (v->parts[0].op != REQ_FLUSH)
		quorum_tell(node, REPORT_VOTE, &v->parts[0], 0);
	return votes_error(v);
}

/* Finds out who has the same bytes. True: all that have any. */
static bool votes_compare(struct votes *v)
{
	unsigned first = v->count;
	bool same = true;

	for (unsigned i = 0; i < v->count; i++) {
		const struct part *p = &v->parts[i];

		v->like[i] = i;
		if (p->ret < 0)
			continue;
		first = min(first, i);
		for (unsigned k = first; k < i; k++)
			if (v->parts[k].ret == 0 && v->like[k] == k &&
			    !memcmp(p->buf, v->parts[k].buf, p->len)) {
				v->like[i] = k;
				break;
			}
		same = same && v->like[i] == first;
	}
	return same;
}

/* Who has what most have, and how many these are; of two versions with as many
 * the one that was seen later. */
static unsigned votes_winner(const struct votes *v, unsigned *most)
{
	unsigned winner = 0;

	*most = 0;
	for (unsigned i = 0; i < v->count; i++) {
		unsigned same = 0;

		if (v->parts[i].ret < 0 || v->like[i] != i)
			continue;
		for (unsigned k = i; k < v->count; k++)
			same += v->parts[k].ret == 0 && v->like[k] == i;
		if (same >= *most) {
			*most = same;
			winner = i;
		}
	}
	return winner;
}

/* ---- operations ---- */

static void votes_begin(struct votes *v, const struct node *node, unsigned op,
			uint64_t offset, uint32_t len)
{
	v->count = 0;
	for (struct edge *e = node->children; e; e = e->next_child)
		v->parts[v->count++] = (struct part){
			.edge = e, .op = (uint8_t)op, .offset = offset,
			.len = len,
		};
}

static int co_quorum_change(struct node *node, unsigned op, uint64_t offset,
			    uint32_t len, void *buf, unsigned flags)
{
	struct quorum *q = node->state;
	struct range range;
	struct votes v;
	int ret;

	votes_begin(&v, node, op, offset, len);
	for (unsigned i = 0; i < v.count; i++) {
		v.parts[i].buf = buf;
		v.parts[i].flags = (uint8_t)flags;
	}
	co_range_lock(&q->lock, &range, offset, offset + len, false);
	ret = co_parts(v.parts, v.count);
	co_range_unlock(&q->lock, &range);
	return ret < 0 ? ret : votes_count(node, &v);
}

/* Who is outvoted gets what the winner has; one that fails is as it was, and
 * found again by the next read. */
static void co_quorum_rewrite(struct votes *v, unsigned winner)
{
	void *right = v->parts[winner].buf;
	unsigned count = 0;

	for (unsigned i = 0; i < v->count; i++) {
		if (v->parts[i].ret < 0 || v->like[i] == winner)
			continue;
		v->parts[count] = v->parts[i];
		v->parts[count].op = REQ_WRITE;
		v->parts[count].buf = right;
		count++;
	}
	(void)!co_parts(v->parts, count);
}

/* The bytes that are right, while nobody but such reads writes there. */
static int co_quorum_vote(struct node *node, struct votes *v, void *buf)
{
	const struct quorum_options *opts = node->opts;
	unsigned winner, most;
	bool same;
	int ret = co_parts(v->parts, v->count);

	if (ret < 0)
		return ret;
	same = votes_compare(v);
	ret = votes_count(node, v);
	if (ret < 0)
		return ret;
	winner = votes_winner(v, &most);
	if (!same && opts->blkverify) {
		/* of two, which may not fail: both are there */
		const struct report report = {
			.kind = REPORT_BYTES, .op = REQ_READ,
			.offset = v->parts[0].offset, .len = v->parts[0].len,
			.at = v->parts[0].offset +
			      copies_differ_at(v->parts[0].buf,
					       v->parts[1].buf),
		};

		report_tell(node, NULL, &report);
		return -EIO;
	}
	if (most < opts->threshold) {
		quorum_tell(node, REPORT_VOTE, &v->parts[0], 0);
		return -EIO;
	}
	memcpy(buf, v->parts[winner].buf, v->parts[winner].len);
	for (unsigned i = 0; i < v->count && !same; i++)
		if (v->parts[i].ret == 0 && v->like[i] != winner)
			quorum_tell(node, REPORT_CHILD, &v->parts[i], 0);
	if (!same && opts->rewrite)
		co_quorum_rewrite(v, winner);
	return 0;
}

static int co_quorum_read(struct node *node, uint64_t offset, uint32_t len,
			  char *set, void *buf)
{
	struct quorum *q = node->state;
	struct range range;
	struct votes v;
	int ret;

	votes_begin(&v, node, REQ_READ, offset, len);
	for (unsigned i = 0; i < v.count; i++)
		v.parts[i].buf = set + (size_t)i * COPIES_PIECE;
	co_range_lock(&q->lock, &range, offset, offset + len, true);
	ret = co_quorum_vote(node, &v, buf);
	co_range_unlock(&q->lock, &range);
	return ret;
}

/* The first that can. */
static int64_t quorum_read_fifo(struct node *node, uint64_t offset,
				uint32_t len, void *buf)
{
	int ret = -EIO;

	for (struct edge *e = node->children; e; e = e->next_child) {
		const struct part part = {
			.edge = e, .op = REQ_READ, .offset = offset,
			.len = len,
		};

		ret = co_edge_read(e, offset, len, buf);
		if (ret == STEER_WAIT)
			return ret;
		if (ret == 0)
			return len;
		quorum_tell(node, REPORT_CHILD, &part, -ret);
	}
	return ret;
}

static int64_t quorum_read(struct node *node, uint64_t offset, uint32_t len,
			   void *buf)
{
	const struct quorum_options *opts = node->opts;
	struct copies *copies;
	void *state;
	char *set;
	int ret;

	if (opts->pattern == PATTERN_FIFO)
		return quorum_read_fifo(node, offset, len, buf);
	ret = co_node_thread_state(node, &state);
	if (ret < 0)
		return ret;
	copies = state;
	set = co_copies_get(copies, quorum_children(node));
	len = min(len, COPIES_PIECE);
	ret = co_quorum_read(node, offset, len, set, buf);
	copies_put(copies, set);
	return ret < 0 ? ret : (int64_t)len;
}

static int64_t quorum_write(struct node *node, uint64_t offset, uint32_t len,
			    const void *buf, unsigned flags)
{
	void *state;
	int ret = co_node_thread_state(node, &state);
	struct copies *copies = state;
	char *set;

	if (ret < 0)
		return ret;
	set = co_copies_get(copies, quorum_children(node));
	len = min(len, COPIES_PIECE);
	memcpy(set, buf, len);
	ret = co_quorum_change(node, REQ_WRITE, offset, len, set, flags);
	copies_put(copies, set);
	return ret < 0 ? ret : (int64_t)len;
}

static int64_t quorum_zeroes(struct node *node, uint64_t offset, uint32_t len,
			     unsigned flags)
{
	int ret = co_quorum_change(node, REQ_ZEROES, offset, len, NULL, flags);

	return ret < 0 ? ret : (int64_t)len;
}

static int64_t quorum_discard(struct node *node, uint64_t offset, uint32_t len)
{
	(void)node;
	(void)offset;
	(void)len;
	return -ENOTSUP;
}

static int quorum_flush(struct node *node)
{
	struct votes v;
	int ret;

	votes_begin(&v, node, REQ_FLUSH, 0, 0);
	ret = co_parts(v.parts, v.count);
	return ret < 0 ? ret : votes_count(node, &v);
}

/* Zeroes are what all have as zeroes; what any has as data may be. */
static int quorum_status(struct node *node, struct extent *e)
{
	uint64_t zero = e->len, data = 0;

	for (struct edge *child = node->children; child;
	     child = child->next_child) {
		struct status status;

		if (co_node_status(child->child, e->offset, e->len, 1, 0,
				   &status) < 0) {
			data = e->len;
			break;
		}
		if (status.flags & STATUS_ZERO)
			zero = min(zero, status.len);
		else
			data = max(data, status.len);
	}
	e->kind = EXTENT_HERE;
	e->flags = data ? STATUS_DATA : STATUS_ZERO;
	e->len = (uint32_t)min(data ? data : zero, (uint64_t)e->len);
	return 0;
}

#define OPT(field) offsetof(struct quorum_options, field)

static const char *const quorum_patterns[] = { "quorum", "fifo", NULL };

static const struct option quorum_options[] = {
	{ .name = "vote-threshold", .type = OPT_INT64,
	  .offset = OPT(threshold), .required = true, .strong = true,
	  .help = "how many children must agree" },
	{ .name = "blkverify", .type = OPT_BOOL, .offset = OPT(blkverify),
	  .def = "off", .strong = true,
	  .help = "two children that differ are an error" },
	{ .name = "rewrite-corrupted", .type = OPT_BOOL,
	  .offset = OPT(rewrite), .def = "off", .strong = true,
	  .help = "children that are outvoted get what the others have" },
	{ .name = "read-pattern", .type = OPT_ENUM, .offset = OPT(pattern),
	  .def = "quorum", .values = quorum_patterns, .strong = true,
	  .help = "fifo: reads are of the first child that can" },
	{ .name = NULL },
};

static const struct child_decl quorum_decls[] = {
	{ .name = "children", .role = ROLE_DATA, .list = true },
	{ .name = NULL },
};

const struct driver quorum_driver = {
	.name = "quorum",
	.kind = DRIVER_FORMAT,
	.state_size = sizeof(struct quorum),
	.options = quorum_options,
	.options_size = sizeof(struct quorum_options),
	.children = quorum_decls,
	.open = quorum_open,
	.close = quorum_close,
	.thread_state_size = sizeof(struct copies),
	.thread_open = copies_thread_open,
	.thread_close = copies_thread_close,
	.limits = quorum_limits,
	.child_change = quorum_child_change,
	.child_perm = quorum_child_perm,
	.read = quorum_read,
	.write = quorum_write,
	.zeroes = quorum_zeroes,
	.discard = quorum_discard,
	.flush = quorum_flush,
	.flushes_children = true,
	.status = quorum_status,
};
