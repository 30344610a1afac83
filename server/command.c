/* SPDX-License-Identifier: MIT */
/*
 * command.c - finds commands, checks their arguments, runs them. Main thread.
 */
#include "server/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/change.h"
#include "server/running.h"

const struct command *command_find(const struct command *table,
				   const char *name)
{
	for (; table->name; table++)
		if (!strcmp(table->name, name))
			return table;
	return NULL;
}

json_t *command_names(const struct command *table)
{
	json_t *list = json_array();

	for (; table->name; table++)
		json_array_append_new(list, json_pack("{s:s}", "name",
						      table->name));
	return list;
}

const struct type *command_takes(const struct command *cmd)
{
	char name[80];
	struct type *type;

	if (cmd->takes && !strchr(cmd->takes, ':'))
		return type_named(cmd->takes);
	snprintf(name, sizeof(name), "%s-arg", cmd->name);
	type = type_named(name);
	if (cmd->takes && !type->member_count)
		type_add_members(type, cmd->takes);
	return type;
}

const struct type *command_gives(const struct command *cmd)
{
	return type_parse(cmd->gives ? cmd->gives : "Empty");
}

bool command_check_args(const struct command *cmd, json_t *args,
			enum type_source source, struct error **err)
{
	json_t *whole = json_incref(args);
	bool ok = type_check(command_takes(cmd), NULL, &whole, source, err);

	json_decref(whole);
	return ok;
}

static json_t *run_change(const struct command *cmd, json_t *args,
			  struct error **err)
{
	struct change change;
	json_t *result;

	if (cmd->kind == COMMAND_NOTE) {
		result = cmd->run(args, err);
		co_change_note();
		return result;
	}
	if (co_change_begin(&change, cmd->name, args,
			    cmd->kind == COMMAND_SHOW ? CHANGE_SHOWS :
			    cmd->kind == COMMAND_REMOVE ? CHANGE_REMOVES :
			    CHANGE_ADDS, err) < 0)
		return NULL;
	result = cmd->run(args, err);
	co_change_end(&change);
	return result;
}

json_t *command_run(const struct command *cmd, json_t *args,
		    struct error **err)
{
	bool changes = cmd->kind != COMMAND_QUERY;
	struct running self;
	json_t *result;

	if (running_begin(&self, cmd->name, changes, err) < 0)
		return NULL;
	result = changes ? run_change(cmd, args, err) : cmd->run(args, err);
	running_end(&self);
	return result;
}

int arg_check_id(const char *id, struct error **err)
{
	const char *c = id;

	while (isalpha((unsigned char)*id) &&
	       (isalnum((unsigned char)*c) || (*c && strchr("-._", *c))))
		c++;
	if (c == id || *c)
		return error_set(err, EINVAL,
				 "Parameter 'id' expects an identifier");
	return 0;
}

const char *arg_string(json_t *args, const char *name, const char *def)
{
	const char *value = json_string_value(json_object_get(args, name));

	return value ? value : def;
}

bool arg_bool(json_t *args, const char *name, bool def)
{
	json_t *value = json_object_get(args, name);

	return value ? json_is_true(value) : def;
}
