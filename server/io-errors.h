/* SPDX-License-Identifier: MIT */
/*
 * io-errors.h - failed requests of exports leave a trace: an event, and a line
 * of the log for the first of each cause and for how many came after it.
 *
 * Main thread, nothing waits. However many fail, it is woken once a second.
 */
#ifndef SERVER_IO_ERRORS_H
#define SERVER_IO_ERRORS_H

#include <stdbool.h>

struct export;

/* As export_listener.failed. */
void io_errors_note(struct export *exp, bool ending);

#endif
