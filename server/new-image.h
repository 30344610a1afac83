/* SPDX-License-Identifier: MIT */
/*
 * new-image.h - files that the daemon makes for images, and takes away again
 * where nothing comes of them. Main thread, coroutines; storage that does not
 * answer is late (A38).
 */
#ifndef SERVER_NEW_IMAGE_H
#define SERVER_NEW_IMAGE_H

#include "runtime/error.h"

/*
 * An empty file where there was none, whose name is durable; -EEXIST where
 * there was. like: a file whose owner and mode it gets, as far as we may give
 * them; NULL: ours, 0644.
 */
int co_new_image(const char *path, const char *like, struct error **err)
	MUST_CHECK;
/* Stays where somebody has it open as an image: another command, or another
 * process, that found it there. */
void co_new_image_remove(const char *path);

#endif
