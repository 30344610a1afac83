/* SPDX-License-Identifier: MIT */
/*
 * map.c - what a disk consists of, image by image, in pages.
 *
 * Main thread. An image file is opened with its chain, read-only and shared
 * with whoever has it; an export's node is asked through a root of our own,
 * which may do nothing and lets everything.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/export.h"
#include "graph/graph.h"
#include "graph/status.h"
#include "runtime/json.h"
#include "runtime/late.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/deadline.h"

/* Of a page: extents, bytes of its text, and questions for it. */
#define PAGE_EXTENTS 1000u
#define PAGE_BYTES (256u << 10)
#define PAGE_QUESTIONS 4096u
#define EXTENT_BYTES 200u
#define QUESTION_BYTES (1u << 30)

static const struct root_ops map_root_ops = { .kind = "control" };

struct page {
	struct root *root;
	unsigned images;	/* of the chain */
	json_t *extents;
	size_t bytes;
	struct status last;	/* not yet in extents; len 0: none */
	uint64_t start;		/* of it */
};

/* ---- one extent ---- */

/* Where its bytes lie: the protocol node's file below the one that decides,
 * where it has a name. */
static const char *file_of(const struct node *node)
{
	if (node->temporary)
		return NULL;
	while (node && !node->filename)
		node = node_primary_child(node);
	return node ? node->filename : NULL;
}

/* 0: the topmost image. Where none has it, or the one that would ends before,
 * the image above counts, or the last. */
static unsigned extent_depth(const struct page *page)
{
	const struct status *st = &page->last;

	if (!st->depth)
		return page->images - 1;
	return st->depth - 1 - !!(st->flags & STATUS_PAST_END);
}

static void put_extent(struct page *page)
{
	const struct status *st = &page->last;
	bool present = st->depth && !(st->flags & STATUS_PAST_END);
	const char *file = present ? file_of(st->node) : NULL;
	json_t *extent;

	if (!st->len)
		return;
	extent = json_pack("{s:I,s:I,s:i,s:b,s:b,s:b,s:b}",
			   "start", (json_int_t)page->start,
			   "length", (json_int_t)st->len,
			   "depth", (int)extent_depth(page),
			   "present", present,
			   "zero", !!(st->flags & STATUS_ZERO),
			   "data", !!(st->flags & STATUS_DATA),
			   "compressed", !!(st->flags & STATUS_COMPRESSED));
	if (st->flags & STATUS_OFFSET)
		json_object_set_new(extent, "offset", json_integer(
				    (json_int_t)st->host_offset));
	if (file)
		json_object_set_new(extent, "filename", json_text(file));
	json_array_append_new(page->extents, extent);
	/* a byte of a name is six as \u00.. */
	page->bytes += EXTENT_BYTES + (file ? 6 * strlen(file) : 0);
	page->last.len = 0;
}

static bool page_is_full(const struct page *page)
{
	return json_array_size(page->extents) >= PAGE_EXTENTS ||
	       page->bytes >= PAGE_BYTES;
}

static bool row_continues(const struct status *a, const struct status *b)
{
	return a->len && a->flags == b->flags && a->depth == b->depth &&
	       a->node == b->node && (!(a->flags & STATUS_OFFSET) ||
				      a->host_offset + a->len ==
				      b->host_offset);
}

/* ---- a page ---- */

static int co_ask(struct root *root, uint64_t offset, uint64_t len,
		  struct status *st)
{
	struct request req = {
		.op = REQ_STATUS,
		.flags = REQ_OFFSETS,
		.offset = offset,
		.len = (uint32_t)min(len, (uint64_t)QUESTION_BYTES),
		.buf = st,
		.fixed = IO_NOT_FIXED,
	};

	return co_root_submit(root, &req);
}

/* The disk from *at on; *at is then where the page ends. */
static int co_fill_page(struct page *page, uint64_t size, uint64_t *at)
{
	struct status st = { 0 };
	int ret = 0;

	for (unsigned i = 0; i < PAGE_QUESTIONS && *at < size; i++) {
		ret = late_unwanted() ? -ESHUTDOWN :
			co_ask(page->root, *at, size - *at, &st);
		if (ret < 0)
			return ret;
		if (row_continues(&page->last, &st)) {
			page->last.len += st.len;
		} else {
			put_extent(page);
			if (page_is_full(page))
				return 0;
			page->last = st;
			page->start = *at;
		}
		*at += st.len;
	}
	put_extent(page);
	return 0;
}

static unsigned count_images(struct node *node)
{
	unsigned count = 0;

	for (node = node_skip_filters(node); node;
	     node = node_backing_next(node))
		count++;
	return count;
}

static json_t *co_page(struct root *root, uint64_t at, struct error **err)
{
	struct page page = { .root = root, .extents = json_array() };
	uint64_t size = root->edge.child->size;
	json_t *result;
	int ret;

	page.images = count_images(root->edge.child);
	/* busy: the nodes that answers name stay while they are looked at */
	co_root_busy(root);
	ret = co_fill_page(&page, size, &at);
	root_idle(root);
	if (ret < 0) {
		json_decref(page.extents);
		error_set(err, -ret, "Could not read the metadata of node '%s'"
			  " for offset %llu: %s", root->edge.child->name,
			  (unsigned long long)at, strerror(-ret));
		return NULL;
	}
	result = json_pack("{s:o}", "extents", page.extents);
	if (at < size)
		json_object_set_new(result, "next",
				    json_integer((json_int_t)at));
	return result;
}

static json_t *co_map_node(struct node *node, uint64_t at, struct error **err)
{
	struct root *root = root_new(&map_root_ops, NULL,
		"command 'blkgraph-map'", node, 0, PERM_ALL, 1,
		UINT64_C(1) << MAIN_THREAD, err);
	json_t *page;

	if (!root)
		return NULL;
	page = co_page(root, at, err);
	root_free(root);
	return page;
}

/* ---- whose ---- */

static json_t *co_map_file(json_t *args, uint64_t at, struct error **err)
{
	struct node *node = open_to_look(args, true, err);
	struct error *ignored CLEANUP_ERROR = NULL;
	json_t *page;

	if (!node)
		return NULL;
	page = co_map_node(node, at, err);
	(void)!co_node_put(node, "opener", &ignored);
	return page;
}

static json_t *co_map(json_t *args, uint64_t *progress, struct error **err)
{
	const char *id = arg_string(args, "id", NULL);
	json_int_t at = json_integer_value(json_object_get(args, "offset"));
	struct export *exp;

	(void)progress;
	if (!id)
		return co_map_file(args, (uint64_t)at, err);
	exp = export_by_name(id, err);
	return exp ? co_map_node(exp->root->edge.child, (uint64_t)at, err)
		   : NULL;
}

json_t *cmd_map(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", NULL);
	json_int_t at = json_integer_value(json_object_get(args, "offset"));

	if (!id == !json_object_get(args, "filename")) {
		error_set(err, EINVAL, "Either 'filename' or 'id' must say"
			  " what is mapped");
		return NULL;
	}
	if (at < 0) {
		error_set(err, EINVAL, "Offset %lld is negative",
			  (long long)at);
		return NULL;
	}
	return co_ask_by_deadline(co_map, args, id ? id :
				  arg_string(args, "filename", ""), err);
}
