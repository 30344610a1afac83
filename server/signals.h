/* SPDX-License-Identifier: MIT */
/*
 * signals.h - signals as events of the main ring: no handler runs anywhere.
 */
#ifndef SERVER_SIGNALS_H
#define SERVER_SIGNALS_H

/* Blocks what signals_watch reads and ignores SIGPIPE; before any thread. */
void signals_block(void);
/*
 * Calls fn with each SIGTERM, SIGINT or SIGHUP, in a coroutine of its own;
 * main thread, coroutine. signals_stop: fn is not called any more.
 */
void signals_watch(void (*fn)(int signo));
void co_signals_stop(void);

#endif
