/* SPDX-License-Identifier: MIT */
/*
 * image.h - sparse bytes in memory: pages found through two levels.
 */
#ifndef RUNTIME_SIM_IMAGE_H
#define RUNTIME_SIM_IMAGE_H

#include <stdbool.h>

#include "runtime/compiler.h"

struct leaf;

struct image {
	uint64_t size;		/* bytes; nothing is kept past it */
	uint64_t pages;		/* that exist */
	struct leaf **leaves;
	uint64_t leaf_count;
};

void image_init(struct image *im, uint64_t size);
void image_clear(struct image *im);
void image_copy(struct image *to, const struct image *from);
/* Zeroes past the end; skip_holes: buf is zeroed already. */
void image_read(const struct image *im, uint64_t offset, void *buf,
		uint64_t len, bool skip_holes);
/* Grows the image where it must. */
void image_write(struct image *im, uint64_t offset, const void *buf,
		 uint64_t len);
/* Within the image only. */
void image_zero(struct image *im, uint64_t offset, uint64_t len);
/* Whether a page exists at offset; *len shortened to where that changes. */
bool image_extent(const struct image *im, uint64_t offset, uint64_t *len);
void image_resize(struct image *im, uint64_t size);

#endif
