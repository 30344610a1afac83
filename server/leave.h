/* SPDX-License-Identifier: MIT */
/*
 * leave.h - how the daemon ends (C9): by quit or a signal, refused while a
 * device is in use, naming it. Main thread.
 */
#ifndef SERVER_LEAVE_H
#define SERVER_LEAVE_H

#include <stdbool.h>

#include "runtime/error.h"

/*
 * Stops every export, closes every node and lets co_leave_wait return; or
 * refuses. Either all exports were idle, or none was touched; one that is
 * opened in between stays, with those after it. Exports that are stuck are
 * left, and their nodes. Coroutine.
 */
int co_leave(struct error **err) MUST_CHECK;
/* Waits until somebody's co_leave has succeeded. Coroutine. */
void co_leave_wait(void);

/* Whether somebody's co_leave has succeeded. */
bool leave_asked(void);

/*
 * SIGTERM and SIGINT: as quit; from the second one on the process ends also
 * when that is refused or takes time, and leaves the devices to the next
 * daemon. SIGHUP does nothing. Coroutine.
 */
void co_leave_signal(int signo);

#endif
