/* SPDX-License-Identifier: MIT */
/*
 * log.h - the daemon's messages: to stderr, the journal or a file.
 *
 * Logging never blocks (A7): while the ring runs, text goes into a bounded
 * buffer that one asynchronous write at a time empties; what does not fit is
 * dropped and counted. Before and after it is written at once.
 *
 * Main thread only: other threads hand errors back, they do not print (A20).
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include "runtime/compiler.h"
#include "runtime/error.h"

/* The levels of syslog, as the journal reads them before a line. */
enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_INFO = 6 };

/* fd: where messages go from now on; not taken over. */
void log_open(int fd);
/* What matters less is not said from now on. */
void log_only(enum log_level least);
/* The ring runs from here on. */
void log_start_async(void);
/* Back to writing at once; waits a second at most for what is in flight.
 * Coroutine. */
void co_log_stop_async(void);

void log_write(enum log_level level, const char *fmt, ...) PRINTF(2, 3);
/* Logs the error and clears it. */
void log_error(enum log_level level, struct error **err);

#endif
