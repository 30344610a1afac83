/* SPDX-License-Identifier: MIT */
/*
 * change.h - what every command that changes something goes through.
 *
 *	begin: intent into the state log
 *	... the command does its work ...
 *	end: graph and exports into the state log, the intent out of it
 *
 * The log begins with the first export (A23); before it, changes are only
 * counted. Main thread, coroutines.
 */
#ifndef SERVER_CHANGE_H
#define SERVER_CHANGE_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/error.h"

struct statelog;

struct change {
	char key[32];	/* of the intent */
};

/* The log that changes go to, or NULL: there is none. Once, before the first
 * change. */
void change_set_log(struct statelog *log);

enum change_use {
	CHANGE_ADDS,		/* or changes */
	CHANGE_SHOWS,		/* an export to the world: the log must begin */
	CHANGE_REMOVES,		/* not refused when the log cannot be written */
};

int co_change_begin(struct change *change, const char *command, json_t *args,
		    enum change_use use, struct error **err) MUST_CHECK;
void co_change_end(struct change *change);
/* What changed without having begun here goes into the log. */
void co_change_note(void);

#endif
