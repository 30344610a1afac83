/* SPDX-License-Identifier: MIT */
/*
 * qmp.h - messages of the control protocol (A21).
 *
 *	client -> {"execute": NAME, "arguments": {...}, "id": ANY}
 *	daemon -> {"return": ...} or {"error": {"class", "desc"}}, with "id" as
 *		  the client gave it; in an error "errno" and "more" for whom
 *		  asked for them: they are ours (A21)
 *
 * "exec-oob" is understood by whom negotiated it, but there is no command that
 * it could run: none of ours needs to overtake another on one connection, and
 * connections do not wait for each other.
 *
 * Main thread, coroutine; knows no sockets.
 */
#ifndef SERVER_QMP_H
#define SERVER_QMP_H

#include "server/command.h"

struct qmp_session {
	const struct command *commands;
	bool negotiated;	/* qmp_capabilities was there: events follow */
	bool oob;		/* the client wants "exec-oob" understood */
	bool explain;		/* ... and "errno" and "more" in errors */
	/* A command that changes something begins; or NULL. */
	void (*begins)(void *arg, const char *command);
	void *arg;
};

/* New references all. */
json_t *qmp_greeting(void);
json_t *qmp_version(void);
/* Handles one message and returns the reply; runs the command. Takes over
 * msg. */
json_t *qmp_handle(struct qmp_session *session, json_t *msg);
/* Takes over data (NULL: no "data" member). */
json_t *qmp_event(const char *name, json_t *data);
/* The reply to input that is no message; takes over *err. */
json_t *qmp_error(const struct qmp_session *session, struct error **err);
/*
 * Of an error: its text as the protocol has it; to an object, what ours has
 * besides: "errno" where one fits, "more" where people are told more.
 */
json_t *qmp_error_text(const struct error *err);
void qmp_error_explain(json_t *object, const struct error *err);

#endif
