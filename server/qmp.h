/* SPDX-License-Identifier: MIT */
/*
 * qmp.h - messages of the control protocol (A21): text in, JSON out.
 *
 *	client -> {"execute": NAME, "arguments": {...}, "id": ANY}
 *	daemon -> {"return": ...} or {"error": {"class", "desc", "errno"}},
 *		  with "id" as the client gave it
 *
 * Main thread, coroutine; knows no sockets.
 */
#ifndef SERVER_QMP_H
#define SERVER_QMP_H

#include "server/command.h"

struct qmp_session {
	const struct command *commands;
	bool negotiated;	/* qmp_capabilities was there: events follow */
};

/* New references all. */
json_t *qmp_greeting(void);
json_t *qmp_version(void);
/* Handles one complete value and returns the reply; runs the command. */
json_t *qmp_handle(struct qmp_session *session, const char *text, size_t len);
/* Takes over data (NULL: no "data" member). */
json_t *qmp_event(const char *name, json_t *data);
/* The reply to input that is no message; takes over *err. */
json_t *qmp_error(struct error **err);

#endif
