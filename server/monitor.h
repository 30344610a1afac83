/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - the control socket and its clients (A21).
 *
 * Main thread. Each connection is a coroutine that runs its commands one after
 * the other, as the protocol has it; a command that waits holds up nobody
 * else's. Replies and events are queued per client and sent as it reads; one
 * that does not read is dropped.
 */
#ifndef SERVER_MONITOR_H
#define SERVER_MONITOR_H

#include "server/command.h"

/*
 * Binds the socket, mode 0600. Before the runtime starts; may block. The
 * caller holds the lock that says that nobody else serves path. Returns the
 * descriptor.
 */
int monitor_listen(const char *path, struct error **err) MUST_CHECK;
/* Accepts clients on fd from now on, running commands of the table. Coroutine,
 * takes over fd. */
int monitor_start(int fd, const struct command *commands, struct error **err)
	MUST_CHECK;
/* No new clients; returns when the commands of those there have ended and
 * their replies are sent, or are not being read. Coroutine. */
void co_monitor_stop(void);

/* Sends an event to every client that has negotiated; takes over data. */
void monitor_event(const char *name, json_t *data);

#endif
