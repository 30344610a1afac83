/* SPDX-License-Identifier: MIT */
/*
 * command.c - finds commands, checks their arguments, runs them. Main thread.
 */
#include "server/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/change.h"

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

static bool argument_has_type(const struct argument *arg, json_t *value)
{
	switch (arg->type) {
	case ARG_STRING:
		return json_is_string(value);
	case ARG_BOOL:
		return json_is_boolean(value);
	case ARG_INT:
		return json_is_integer(value);
	case ARG_OBJECT:
		return json_is_object(value);
	case ARG_ARRAY:
		return json_is_array(value);
	}
	return false;
}

static const char *argument_type_name(const struct argument *arg)
{
	static const char *const names[] = {
		[ARG_STRING] = "string", [ARG_BOOL] = "boolean",
		[ARG_INT] = "integer", [ARG_OBJECT] = "object",
		[ARG_ARRAY] = "array",
	};

	return names[arg->type];
}

static bool argument_allows(const struct argument *arg, json_t *value)
{
	const char *const *allowed;

	for (allowed = arg->values; allowed && *allowed; allowed++)
		if (!strcmp(*allowed, json_string_value(value)))
			return true;
	return !arg->values;
}

static bool argument_check(const struct argument *arg, json_t *args,
			   struct error **err)
{
	json_t *value = json_object_get(args, arg->name);

	if (!value && arg->required)
		error_set(err, EINVAL, "Parameter '%s' is missing", arg->name);
	else if (value && !argument_has_type(arg, value))
		error_set(err, EINVAL,
			  "Invalid parameter type for '%s', expected: %s",
			  arg->name, argument_type_name(arg));
	else if (value && !argument_allows(arg, value))
		error_set(err, EINVAL,
			  "Parameter '%s' does not accept value '%s'",
			  arg->name, json_string_value(value));
	else
		return true;
	return false;
}

static const struct argument *argument_find(const struct command *cmd,
					    const char *name)
{
	const struct argument *arg;

	for (arg = cmd->args; arg && arg->name; arg++)
		if (!strcmp(arg->name, name))
			return arg;
	return NULL;
}

bool command_check_args(const struct command *cmd, json_t *args,
			struct error **err)
{
	const struct argument *arg;
	const char *name;
	json_t *value;

	for (arg = cmd->args; arg && arg->name; arg++)
		if (!argument_check(arg, args, err))
			return false;
	if (cmd->open_args)
		return true;
	json_object_foreach(args, name, value) {
		if (argument_find(cmd, name))
			continue;
		error_set(err, EINVAL, "Parameter '%s' is unexpected", name);
		return false;
	}
	return true;
}

json_t *command_run(const struct command *cmd, json_t *args,
		    struct error **err)
{
	struct change change;
	json_t *result;

	if (cmd->kind == COMMAND_QUERY)
		return cmd->run(args, err);
	if (co_change_begin(&change, cmd->name, args,
			    cmd->kind == COMMAND_SHOW, err) < 0)
		return NULL;
	result = cmd->run(args, err);
	co_change_end(&change);
	return result;
}

json_t *json_text(const char *text)
{
	json_t *value = json_string(text);
	char *plain;

	if (value)
		return value;
	plain = strdup(text);
	for (char *c = plain; plain && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	value = json_string(plain ? plain : "?");
	free(plain);
	return value;
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
