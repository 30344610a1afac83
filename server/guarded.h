/* SPDX-License-Identifier: MIT */
/*
 * guarded.h - our files where others may make files too: symbolic links, files
 * of another user and links to ours in a directory that others write to are
 * not followed, read or written.
 *
 * Nothing here looks above the directory itself: whoever names one vouches for
 * the way to it. May block.
 */
#ifndef SERVER_GUARDED_H
#define SERVER_GUARDED_H

#include <sys/types.h>

#include "runtime/error.h"

/*
 * Whether names in the directory stay what we make them: it is ours or root's,
 * and who else may write to it cannot take ours away (the sticky bit). what:
 * for the error, "State directory".
 */
int guarded_dir_check(const char *path, const char *what, struct error **err)
	MUST_CHECK;
/*
 * As open(2), close-on-exec, flags without O_TRUNC; or -errno, errno set. Where
 * others may write to the directory, the file is a regular one of our own with
 * no other name: EPERM; and no symbolic link: ELOOP.
 */
int guarded_open(const char *path, int flags, mode_t mode) MUST_CHECK;

#endif
