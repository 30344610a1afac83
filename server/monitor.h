/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - where clients of the control protocol come from, and the clients
 * (A21).
 *
 * Main thread. Each connection is a coroutine that runs its commands one after
 * the other, as the protocol has it; a command that waits holds up nobody
 * else's. Replies and events are queued per client and sent as it reads; one
 * that does not read is dropped.
 */
#ifndef SERVER_MONITOR_H
#define SERVER_MONITOR_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/error.h"

struct chardev;

/*
 * Clients are served from monitor_start on: those that connect to fd, or those
 * of a chardev, whose descriptors stay its own. pretty: replies on several
 * lines.
 */
void monitor_add(int fd);
void monitor_add_chardev(struct chardev *chardev, bool pretty);
/* The one client of a socket, which this takes over; ended: called when it has
 * gone, a coroutine. */
void monitor_add_client(int fd, void (*ended)(void));
int monitor_start(struct error **err) MUST_CHECK;
/* No new clients; returns when the commands of those there have ended and
 * their replies are sent, or are not being read: true. False: the time is over,
 * and their connections are shut. Coroutine. */
bool co_monitor_stop(uint64_t timeout_ns) MUST_CHECK;

/*
 * Whether there is one client, who asks, and no other is coming. If so, the
 * door is shut behind it: who comes from now on finds the connection closed
 * before a word, as when we have ended already, until the door is opened. Does
 * not wait.
 */
bool monitor_shut_door(void) MUST_CHECK;
void monitor_open_door(void);

/* The socket of a client that has come by it; -1: there is none. */
int monitor_client_socket(const struct chardev *chardev);

/* Sends an event to every client that has negotiated; takes over data. */
void monitor_event(const char *name, json_t *data);

#endif
