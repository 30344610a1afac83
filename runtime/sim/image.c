/* SPDX-License-Identifier: MIT */
/*
 * image.c - sparse bytes in memory. Freed pages are kept for the next run of
 * the process: tests run thousands of short simulations.
 */
#include "runtime/sim/image.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SHIFT 12
#define PAGE (1u << PAGE_SHIFT)
#define LEAF_PAGES 512u

struct leaf {
	char *page[LEAF_PAGES];
};

/* A free page's first bytes point to the next one. */
static char *free_pages;

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static char *page_new(void)
{
	char *page = free_pages;

	if (!page)
		return must(malloc(PAGE));
	memcpy(&free_pages, page, sizeof(free_pages));
	return page;
}

static void page_free(char *page)
{
	memcpy(page, &free_pages, sizeof(free_pages));
	free_pages = page;
}

/* NULL for a hole. */
static char *page_at(const struct image *im, uint64_t index)
{
	uint64_t leaf = index / LEAF_PAGES;

	if (leaf >= im->leaf_count || !im->leaves[leaf])
		return NULL;
	return im->leaves[leaf]->page[index % LEAF_PAGES];
}

static char **page_slot(struct image *im, uint64_t index)
{
	uint64_t leaf = index / LEAF_PAGES;

	if (leaf >= im->leaf_count) {
		uint64_t count = max(leaf + 1, im->leaf_count * 2);

		im->leaves = must(realloc(im->leaves,
					  count * sizeof(*im->leaves)));
		memset(im->leaves + im->leaf_count, 0,
		       (count - im->leaf_count) * sizeof(*im->leaves));
		im->leaf_count = count;
	}
	if (!im->leaves[leaf])
		im->leaves[leaf] = must(calloc(1, sizeof(struct leaf)));
	return &im->leaves[leaf]->page[index % LEAF_PAGES];
}

static void page_drop(struct image *im, uint64_t index)
{
	if (!page_at(im, index))
		return;
	page_free(*page_slot(im, index));
	*page_slot(im, index) = NULL;
	im->pages--;
}

/* The part of [offset, offset + len) in its first page. */
static uint64_t piece(uint64_t offset, uint64_t len)
{
	return min(len, PAGE - offset % PAGE);
}

void image_init(struct image *im, uint64_t size)
{
	memset(im, 0, sizeof(*im));
	im->size = size;
}

void image_clear(struct image *im)
{
	uint64_t leaf;
	unsigned i;

	for (leaf = 0; leaf < im->leaf_count; leaf++) {
		if (!im->leaves[leaf])
			continue;
		for (i = 0; i < LEAF_PAGES; i++)
			if (im->leaves[leaf]->page[i])
				page_free(im->leaves[leaf]->page[i]);
		free(im->leaves[leaf]);
	}
	free(im->leaves);
	image_init(im, 0);
}

void image_copy(struct image *to, const struct image *from)
{
	uint64_t leaf;
	unsigned i;

	image_init(to, from->size);
	for (leaf = 0; leaf < from->leaf_count; leaf++) {
		if (!from->leaves[leaf])
			continue;
		for (i = 0; i < LEAF_PAGES; i++) {
			const char *page = from->leaves[leaf]->page[i];
			char **slot;

			if (!page)
				continue;
			slot = page_slot(to, leaf * LEAF_PAGES + i);
			*slot = page_new();
			memcpy(*slot, page, PAGE);
			to->pages++;
		}
	}
}

void image_read(const struct image *im, uint64_t offset, void *buf,
		uint64_t len, bool skip_holes)
{
	char *at = buf;

	while (len) {
		uint64_t n = piece(offset, len);
		const char *page = page_at(im, offset >> PAGE_SHIFT);

		if (page)
			memcpy(at, page + offset % PAGE, n);
		else if (!skip_holes)
			memset(at, 0, n);
		at += n;
		offset += n;
		len -= n;
	}
}

void image_write(struct image *im, uint64_t offset, const void *buf,
		 uint64_t len)
{
	const char *at = buf;

	im->size = max(im->size, offset + len);
	while (len) {
		uint64_t n = piece(offset, len);
		char **slot = page_slot(im, offset >> PAGE_SHIFT);

		if (!*slot) {
			*slot = page_new();
			im->pages++;
			if (n < PAGE)
				memset(*slot, 0, PAGE);
		}
		memcpy(*slot + offset % PAGE, at, n);
		at += n;
		offset += n;
		len -= n;
	}
}

void image_zero(struct image *im, uint64_t offset, uint64_t len)
{
	uint64_t bytes = im->leaf_count * LEAF_PAGES << PAGE_SHIFT;

	/* past the last page that could exist all is zero already */
	if (offset >= bytes)
		return;
	len = min(len, bytes - offset);
	while (len) {
		uint64_t index = offset >> PAGE_SHIFT;
		uint64_t n = piece(offset, len);
		char *page = page_at(im, index);

		if (n == PAGE)
			page_drop(im, index);
		else if (page)
			memset(page + offset % PAGE, 0, n);
		offset += n;
		len -= n;
	}
}

bool image_extent(const struct image *im, uint64_t offset, uint64_t *len)
{
	uint64_t index = offset >> PAGE_SHIFT;
	uint64_t end = im->leaf_count * LEAF_PAGES;
	bool data = page_at(im, index);

	/* past the last page that could exist there is one hole */
	do
		index++;
	while (index < end && !page_at(im, index) == !data);
	if (data || index < end)
		*len = min(*len, (index << PAGE_SHIFT) - offset);
	return data;
}

void image_resize(struct image *im, uint64_t size)
{
	/* the end of the last page too: growing later shows zeroes */
	if (size < im->size)
		image_zero(im, size, align_up(im->size, PAGE) - size);
	im->size = size;
}
