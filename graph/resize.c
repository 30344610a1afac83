/* SPDX-License-Identifier: MIT */
/*
 * resize.c - see resize.h.
 *
 * node->resizing: from resize_begin to resize_end, so there is one at a time,
 * and no export begins to show the size that goes. References to the nodes are
 * held throughout, since all of this waits.
 */
#include "graph/resize.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/backing.h"
#include "graph/export.h"
#include "graph/flush.h"
#include "graph/transaction.h"
#include "graph/walk.h"
#include "runtime/io.h"

struct resize {
	/* the image first, then filters above it: all show the same bytes */
	struct node_list nodes;
	struct root *root;	/* has the permission */
	uint64_t from, to;
	bool storage;		/* the image is to be changed too */
	struct change_stats *stats;
};

static const struct root_ops resize_root_ops = {
	.kind = "control",
	.resizes = true,
};

static struct node *image_of(const struct resize *r)
{
	return r->nodes.list[0];
}

/* ---- what belongs together ---- */

/* A node whose size is its child's. */
static bool has_childs_size(const struct node *node)
{
	return !node->driver->resize && node_filtered_child(node);
}

static void list_followers(struct node_list *list, struct node *node)
{
	node_list_add(list, node);
	for (const struct edge *e = node->parents; e; e = e->next_parent)
		if (e->parent && e->role & ROLE_FILTERED &&
		    has_childs_size(e->parent))
			list_followers(list, e->parent);
}

static bool shows_it(const struct resize *r, const struct node *node)
{
	for (unsigned i = 0; i < r->nodes.count; i++)
		if (r->nodes.list[i] == node)
			return true;
	return false;
}

/* Its overlays would show other bytes behind the smaller end. */
static int refuse_if_backing(const struct node *node, struct error **err)
{
	for (const struct edge *e = node->parents; e; e = e->next_parent)
		if (e->parent && e->role & ROLE_COW)
			return error_set(err, EBUSY, "Node '%s' is busy: node "
					 "is used as backing hd of '%s'",
					 node->name, e->parent->name);
	return 0;
}

static int resize_check_nodes(const struct resize *r, struct error **err)
{
	for (unsigned i = 0; i < r->nodes.count; i++) {
		const struct node *node = r->nodes.list[i];

		if (node->resizing || node->reopening)
			return error_set(err, EBUSY, "Node '%s' is being %s",
					 node->name, node->resizing ?
					 "resized" : "reopened");
		if (node->shown_soon)
			return error_set(err, EBUSY, "Node '%s' is about to be"
					 " exported", node->name);
		if (r->storage && refuse_if_backing(node, err) < 0)
			return -EBUSY;
	}
	return 0;
}

static void resize_end(struct resize *r)
{
	if (r->root)
		root_free(r->root);
	for (unsigned i = 0; i < r->nodes.count; i++)
		r->nodes.list[i]->resizing = false;
	node_list_free(&r->nodes);
}

/* On failure nothing is left. */
static int resize_begin(struct resize *r, struct node *node,
			struct error **err)
{
	struct node *image = node;
	int ret;

	r->nodes.owner = "resize";
	while (has_childs_size(image))
		image = node_filtered_child(image);
	if (r->storage && !image->driver->resize)
		return error_set(err, ENOTSUP, image->file ?
				 "Cannot resize fixed-size raw disks" :
				 "Image format driver does not support resize");
	if (r->storage && (node->read_only || image->read_only))
		return error_set(err, EACCES, "Image is read-only");
	list_followers(&r->nodes, image);
	ret = resize_check_nodes(r, err);
	if (ret < 0) {
		node_list_free(&r->nodes);
		return ret;
	}
	for (unsigned i = 0; i < r->nodes.count; i++)
		r->nodes.list[i]->resizing = true;
	r->from = image->size;
	r->root = root_new(&resize_root_ops, NULL, "command 'block_resize'",
			   node, r->storage ? PERM_RESIZE : 0, PERM_ALL, 1,
			   UINT64_C(1) << MAIN_THREAD, err);
	if (r->root)
		return 0;
	resize_end(r);
	return -EPERM;
}

/* ---- the steps ---- */

/* Both ways: what was behind the smaller end is zeroes afterwards. */
static int co_resize_storage(struct resize *r, uint64_t from, uint64_t to,
			     struct error **err)
{
	struct node *image = image_of(r);
	int ret;

	if (!r->storage)
		return 0;
	co_node_busy(image);
	ret = image->driver->resize(image, from, to, err);
	node_idle(image);
	return ret;
}

/* Filters may have come or gone since. */
static int resize_graph(struct resize *r, uint64_t to,
			struct change_stats *stats, struct error **err)
{
	struct node_list now = { .owner = "resize" };
	struct transaction *t = transaction_begin();
	int ret;

	transaction_set_kind(t, DRAIN_FOR_RESIZE);
	list_followers(&now, image_of(r));
	for (unsigned i = 0; i < now.count; i++)
		transaction_resize(t, now.list[i], to);
	ret = transaction_commit(t, stats, err);
	node_list_free(&now);
	return ret;
}

static bool export_shows_it(const struct resize *r, const struct export *exp)
{
	struct node_list now = { .owner = "resize" };
	struct resize all = { .nodes = now };
	bool shows;

	if (exp->life != EXPORT_RUNNING || !exp->root)
		return false;
	list_followers(&all.nodes, image_of(r));
	shows = shows_it(&all, exp->root->edge.child);
	node_list_free(&all.nodes);
	return shows;
}

static int check_exports(const struct resize *r, struct error **err)
{
	struct export **list = export_get_all("resize");
	int ret = 0;

	for (unsigned i = 0; list[i] && ret == 0; i++) {
		struct export *exp = list[i];

		if (!export_shows_it(r, exp))
			continue;
		if (!exp->type->resize)
			ret = error_set(err, ENOTSUP, "Export '%s' cannot"
					" change its size: its type is '%s'",
					exp->id, exp->type->name);
		else if (exp->type->resizable)
			ret = exp->type->resizable(exp, err);
	}
	export_put_all(list, "resize");
	return ret;
}

/* Where one fails those before it are set back to `from`. */
static int co_resize_exports(const struct resize *r, uint64_t from,
			     uint64_t to, struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct export **list = export_get_all("resize");
	unsigned i;
	int ret = 0;

	for (i = 0; list[i]; i++) {
		if (!export_shows_it(r, list[i]))
			continue;
		ret = list[i]->type->resize(list[i], to, err);
		if (ret < 0)
			break;
	}
	while (ret < 0 && i-- > 0) {
		if (export_shows_it(r, list[i]) &&
		    list[i]->type->resize(list[i], from, &ignored) < 0)
			error_clear(&ignored);
	}
	export_put_all(list, "resize");
	return ret;
}

/* ---- up, and down ---- */

/* What is not taken back either is said behind why. */
static void say_kept(const struct error *why, uint64_t size,
		     struct error **err)
{
	if (why)
		error_add(err, "; the image keeps %" PRIu64 " bytes all the"
			  " same: %s", size, why->text);
}

static void co_grow_undo(struct resize *r, bool graph, struct error **err)
{
	struct error *why CLEANUP_ERROR = NULL;
	int ret = graph ? resize_graph(r, r->from, NULL, &why) : 0;

	if (ret == 0)
		ret = co_resize_storage(r, r->to, r->from, &why);
	say_kept(ret < 0 ? why : NULL, r->to, err);
}

static int co_grow(struct resize *r, struct error **err)
{
	int ret = co_resize_storage(r, r->from, r->to, err);

	if (ret < 0)
		return ret;
	ret = resize_graph(r, r->to, r->stats, err);
	if (ret < 0) {
		co_grow_undo(r, false, err);
		return ret;
	}
	ret = co_resize_exports(r, r->from, r->to, err);
	if (ret < 0)
		co_grow_undo(r, true, err);
	return ret;
}

static int co_shrink(struct resize *r, struct error **err)
{
	struct error *why CLEANUP_ERROR = NULL;
	int ret = co_resize_exports(r, r->from, r->to, err);

	if (ret < 0)
		return ret;
	ret = resize_graph(r, r->to, r->stats, err);
	if (ret == 0) {
		ret = co_resize_storage(r, r->from, r->to, err);
		if (ret == 0)
			return 0;
		if (resize_graph(r, r->from, NULL, &why) < 0) {
			say_kept(why, r->from, err);
			return ret;
		}
	}
	if (co_resize_exports(r, r->to, r->from, &why) < 0)
		error_add(err, "; its exports stay smaller: %s", why->text);
	return ret;
}

static int co_resize(struct resize *r, struct error **err)
{
	const struct node *image = image_of(r);
	uint32_t align = image->limits.align;
	int ret;

	if (r->to == r->from)
		return 0;
	if (!is_aligned(r->to, align) && is_aligned(r->from, align))
		return error_set(err, EINVAL, "Size %" PRIu64 " of node '%s'"
				 " is no multiple of its blocks of %u bytes",
				 r->to, image->name, align);
	ret = check_exports(r, err);
	/* what hangs in there would hold up the file's size, and us */
	if (ret == 0 && r->storage)
		ret = co_flush_before(image_of(r), err);
	if (ret < 0)
		return ret;
	return r->to > r->from ? co_grow(r, err) : co_shrink(r, err);
}

int graph_resize(struct node *node, uint64_t size, struct change_stats *stats,
		 struct error **err)
{
	struct resize r = { .to = size, .storage = true, .stats = stats };
	int ret;

	assert(thread_is_main());
	memset(stats, 0, sizeof(*stats));
	ret = resize_begin(&r, node, err);
	if (ret < 0)
		return ret;
	ret = co_resize(&r, err);
	resize_end(&r);
	return ret;
}

int graph_take_size(struct node *node, struct change_stats *stats,
		    struct error **err)
{
	struct resize r = { .stats = stats };
	const char *name, *format;
	struct file_info info;
	struct node *image;
	int ret;

	assert(thread_is_main());
	memset(stats, 0, sizeof(*stats));
	ret = resize_begin(&r, node, err);
	if (ret < 0)
		return ret;
	image = image_of(&r);
	name = backing_name_of(image, &format);
	if (!image->driver->identify)
		ret = error_set(err, EINVAL, "'%s' says itself how large its"
				" disk is: a size must be given",
				name ? name : node->name);
	else if ((ret = image->driver->identify(image, &info)) < 0)
		error_set(err, -ret, "Could not get the size of '%s': %s",
			  image->filename, strerror(-ret));
	r.to = ret == 0 ? info.size : 0;
	if (ret == 0 && r.to < r.from)
		ret = error_set(err, EINVAL, "'%s' has lost its end: it has"
				" %" PRIu64 " bytes, and had %" PRIu64,
				image->filename, r.to, r.from);
	if (ret == 0)
		ret = co_resize(&r, err);
	resize_end(&r);
	return ret;
}
