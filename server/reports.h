/* SPDX-License-Identifier: MIT */
/*
 * reports.h - what drivers find wrong with images while requests go on
 * (graph/report.h) becomes a line of the log, and an event where there is one
 * for it: the first at once, then of each node, child and kind the last of each
 * second; the log says how many others there were.
 *
 * Main thread, nothing waits.
 */
#ifndef SERVER_REPORTS_H
#define SERVER_REPORTS_H

void reports_start(void);
/* Nothing is heard any more. */
void reports_stop(void);

#endif
