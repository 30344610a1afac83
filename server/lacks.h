/* SPDX-License-Identifier: MIT */
/*
 * lacks.h - what this process was refused, and who has a disk of ours should
 * know of. To who has none it would say nothing, so it waits for the first.
 *
 * Main thread.
 */
#ifndef SERVER_LACKS_H
#define SERVER_LACKS_H

#include "runtime/compiler.h"

void lacks_note(const char *fmt, ...) PRINTF(1, 2);
/* There is a disk, or a file that this machine's kernel caches: what was noted
 * is logged as warnings, once. */
void lacks_tell(void);

#endif
