/* SPDX-License-Identifier: MIT */
/*
 * command.h - control commands: what they are called, what they take.
 *
 * One table (command-table.c) drives dispatch, the check of arguments,
 * query-commands and query-qmp-schema (A21).
 */
#ifndef SERVER_COMMAND_H
#define SERVER_COMMAND_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/error.h"
#include "server/types.h"

enum command_kind {
	COMMAND_QUERY,		/* changes nothing that the state log keeps */
	COMMAND_CHANGE,
	COMMAND_NOTE,		/* a change, no word of which may be in the
				 * log before it is made: its secrets */
	COMMAND_SHOW,		/* a change that shows an export (A23) */
	COMMAND_REMOVE,		/* a change that only takes away */
};

struct command {
	const char *name;	/* NULL ends the table */
	enum command_kind kind;
	/* "node-name:str mode?:BlockExportRemoveMode": the members of its
	 * arguments, with types of types.h; or the name of a type, which has
	 * them all. NULL: none. */
	const char *takes;
	const char *gives;	/* type of what it returns; NULL: {} */
	/*
	 * Main thread, a coroutine of the client's connection; may wait as
	 * long as it takes: other connections go on. args is the command's to
	 * read, never NULL. New reference, or NULL with *err set. NULL: the
	 * connection's own matter (qmp_capabilities).
	 */
	json_t *(*run)(json_t *args, struct error **err);
};

/* In command-table.c. */
extern const struct command command_table[];

const struct command *command_find(const struct command *table,
				   const char *name);
/* Names in the order of the table; new reference. */
json_t *command_names(const struct command *table);
/* The types of a command's arguments and of what it returns. */
const struct type *command_takes(const struct command *cmd);
const struct type *command_gives(const struct command *cmd);
/* May replace members of args, which came from a command line as text. */
bool command_check_args(const struct command *cmd, json_t *args,
			enum type_source source, struct error **err)
	MUST_CHECK;

/* Runs it with checked arguments: a change is logged before and after. */
json_t *command_run(const struct command *cmd, json_t *args,
		    struct error **err) MUST_CHECK;

/* Ids of what clients make: a letter, then letters, digits and "-._". */
int arg_check_id(const char *id, struct error **err) MUST_CHECK;
/* Readers of checked arguments; what is absent gives the default. */
const char *arg_string(json_t *args, const char *name, const char *def);
bool arg_bool(json_t *args, const char *name, bool def);

#endif
