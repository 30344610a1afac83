/* SPDX-License-Identifier: MIT */
/*
 * notify.h - tells systemd how far we are, if it asked ($NOTIFY_SOCKET).
 */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

/* "READY=1", "STOPPING=1". One datagram, never waits. */
void notify_systemd(const char *state);

#endif
