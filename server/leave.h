/* SPDX-License-Identifier: MIT */
/*
 * leave.h - how the daemon ends (C9, A39): by quit or a signal, refused while a
 * device is in use, naming it. Main thread.
 */
#ifndef SERVER_LEAVE_H
#define SERVER_LEAVE_H

#include <stdbool.h>

#include "runtime/error.h"

struct statelog;

/* From co_leave to the end of co_leave_rest, at most. */
#define LEAVE_NS SECONDS(110)

/* Before all else: nobody has asked for it. */
void leave_start(void);
/*
 * Ends commands, jobs and exports, closes every node and lets co_leave_wait
 * return; or refuses. Either all exports were idle, or none was touched; one
 * that is opened in between stays, and the others are gone. What does not end
 * in time is left behind, and the log names it. Coroutine.
 */
int co_leave(struct error **err) MUST_CHECK;
/* Waits until somebody's co_leave has succeeded. Coroutine. */
void co_leave_wait(void);

/* Whether somebody's co_leave has succeeded. */
bool leave_asked(void);
/*
 * Then: ends what is not the graph's, at last the state log; NULL: there is
 * none. False: something is left behind, nothing may be freed, and the process
 * is to end with a status that says so. Coroutine.
 */
bool co_leave_rest(struct statelog *log) MUST_CHECK;
/* What was acknowledged may not be in its image: the state log stays. */
void leave_note_loss(void);

/*
 * SIGTERM and SIGINT: as quit, but that without a block device FUSE files that
 * somebody has open end too; from the second one on the process ends also when
 * that is refused or takes time, and leaves the devices to the next daemon.
 * What comes within a second of one is that one. SIGHUP does nothing.
 * Coroutine.
 */
void co_leave_signal(int signo);

#endif
