/* SPDX-License-Identifier: MIT */
/*
 * reports.h - what drivers find wrong with images while requests go on
 * (graph/report.h) becomes a line of the log: the first at once, then of each
 * node and kind the last of each second, and how many others there were.
 *
 * Main thread, nothing waits.
 */
#ifndef SERVER_REPORTS_H
#define SERVER_REPORTS_H

void reports_start(void);
/* Nothing is heard any more. */
void reports_stop(void);

#endif
