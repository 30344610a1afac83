/* SPDX-License-Identifier: MIT */
/*
 * loss.h - what failed requests mean to whoever owns the image. Main thread.
 */
#ifndef EXPORT_LOSS_H
#define EXPORT_LOSS_H

#include <stdbool.h>
#include <stddef.h>

struct failure;
struct root;

/* Why: "the file system of '/a.img' is full (No space left on device)". */
void loss_why(const struct root *root, const struct failure *failure, char *to,
	      size_t size);
/*
 * What is held of it, and why: "3 requests are held (the file system of
 * '/a.img' is full (No space left on device))". False: nothing is.
 */
bool loss_of_holds(const struct root *root, char *to, size_t size);
/*
 * What writes to the root did not reach the image, why, and what becomes of
 * them when the disk goes. False where all did.
 */
bool loss_of_writes(const struct root *root, char *to, size_t size);

#endif
