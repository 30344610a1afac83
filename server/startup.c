/* SPDX-License-Identifier: MIT */
/*
 * startup.c - what the command line says is to be done. Main thread.
 */
#include "server/startup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/driver.h"
#include "server/chardev.h"
#include "server/command.h"
#include "server/json-stream.h"
#include "server/keyval.h"
#include "server/monitor.h"
#include "server/schema.h"

struct step_kind {
	const char *option, *implied;
	const char *command;	/* of the protocol; or NULL and what is next */
	const char *type;
	int (*run)(json_t *args, struct error **err);
	bool flags;		/* names need no value */
};

static int run_command(const char *name, json_t *args, enum type_source source,
		       struct error **err)
{
	const struct command *cmd = command_find(command_table, name);
	json_t *result;

	if (!command_check_args(cmd, args, source, err))
		return -EINVAL;
	result = command_run(cmd, args, err);
	json_decref(result);
	return result ? 0 : -EINVAL;
}

static int run_chardev(json_t *options, struct error **err)
{
	const struct command *cmd = command_find(command_table, "chardev-add");
	json_auto_t *args = chardev_from_options(options, err);

	return args && command_check_args(cmd, args, FROM_JSON, err) ?
	       co_chardev_add(args, err) : -EINVAL;
}

static int run_monitor(json_t *args, struct error **err)
{
	struct chardev *chardev;

	if (strcmp(arg_string(args, "mode", "control"), "control"))
		return error_set(err, ENOTSUP, "Only mode=control is there");
	chardev = chardev_take(arg_string(args, "chardev", ""), err);
	if (!chardev)
		return -EINVAL;
	monitor_add_chardev(chardev, arg_bool(args, "pretty", false));
	return 0;
}

static const struct step_kind kinds[] = {
	{ .option = "blockdev", .implied = "driver",
	  .command = "blockdev-add" },
	{ .option = "export", .implied = "type",
	  .command = "block-export-add" },
	{ .option = "nbd-server", .command = "nbd-server-start" },
	{ .option = "object", .implied = "qom-type", .command = "object-add" },
	{ .option = "chardev", .implied = "backend",
	  .type = "ChardevOptions", .run = run_chardev, .flags = true },
	{ .option = "monitor", .implied = "chardev",
	  .type = "MonitorOptions", .run = run_monitor },
	{ .option = NULL }
};

static const struct step_kind *kind_find(const char *option)
{
	const struct step_kind *kind = kinds;

	while (strcmp(kind->option, option))
		kind++;
	return kind;
}

/* The command line has addresses flat, the command has what depends on the
 * type in an object of its own. */
static void fold_address(json_t *args)
{
	json_t *addr = json_object_get(args, "addr"), *type, *folded;

	if (!json_is_object(addr))
		return;
	folded = json_object();
	type = json_object_get(addr, "type");
	if (type)
		json_object_set(folded, "type", type);
	json_object_del(addr, "type");
	json_object_set(folded, "data", addr);
	json_object_set_new(args, "addr", folded);
}

static int run_step(const struct step_kind *kind,
		    const struct cmdline_step *step, struct error **err)
{
	enum type_source source = step->text[0] == '{' ? FROM_JSON : FROM_TEXT;
	json_t *args = source == FROM_JSON ? json_from_text(step->text, err) :
		keyval_parse(step->text, kind->implied, kind->flags, err);
	int rc = -EINVAL;

	if (!args)
		return -EINVAL;
	if (!strcmp(kind->option, "nbd-server"))
		fold_address(args);
	if (kind->command)
		rc = run_command(kind->command, args, source, err);
	else if (type_check(type_named(kind->type), NULL, &args, source, err))
		rc = kind->run(args, err);
	json_decref(args);
	return rc;
}

int co_startup_run(const struct cmdline *cmd, struct error **err)
{
	for (unsigned i = 0; i < cmd->step_count; i++) {
		const struct cmdline_step *step = &cmd->steps[i];

		if (run_step(kind_find(step->option), step, err) == 0)
			continue;
		/* secrets may stand in the text */
		if (strcmp(step->option, "object"))
			error_prefix(err, "--%s %s", step->option, step->text);
		else
			error_prefix(err, "--%s", step->option);
		return -(*err)->code;
	}
	return 0;
}

/* --- help ---------------------------------------------------------------- */

static void help_members(const struct type *type)
{
	for (unsigned i = 0; i < type->member_count; i++) {
		const struct member *m = &type->members[i];

		printf("  %s=<%s>%s%s%s\n", m->name, m->type->name,
		       m->optional ? "" : " (required)",
		       m->help ? " - " : "", m->help ? m->help : "");
	}
}

static const struct type *variant_of(const struct type *type, const char *name)
{
	for (unsigned i = 0; i < type->variant_count; i++)
		if (!strcmp(type->variants[i].value, name))
			return type->variants[i].type;
	return NULL;
}

static void help_type(const struct type *type, const char *variant)
{
	const struct type *more = variant_of(type, variant);

	if (type->variant_count && !more) {
		printf("Possible values of %s:\n", type->tag);
		for (unsigned i = 0; i < type->variant_count; i++)
			printf("  %s\n", type->variants[i].value);
		exit(EXIT_SUCCESS);
	}
	help_members(type);
	if (more)
		help_members(more);
	exit(EXIT_SUCCESS);
}

/* "help" and "qcow2,help": the latter's first word in *variant. */
static bool asks_for_help(const char *text, char *variant, size_t size)
{
	size_t first = strcspn(text, ",");
	const char *rest = text[first] ? text + first + 1 : "";

	variant[0] = 0;
	if (!strcmp(text, "help") || !strcmp(text, "?"))
		return true;
	if (first >= size || (strcmp(rest, "help") && strcmp(rest, "?")))
		return false;
	memcpy(variant, text, first);
	variant[first] = 0;
	return true;
}

void startup_help(const struct cmdline *cmd)
{
	for (unsigned i = 0; i < cmd->step_count; i++) {
		const struct step_kind *kind = kind_find(cmd->steps[i].option);
		const struct command *command;
		char variant[64];

		if (!asks_for_help(cmd->steps[i].text, variant,
				   sizeof(variant)))
			continue;
		command = kind->command ?
			command_find(command_table, kind->command) : NULL;
		if (command)
			help_type(command_takes(command), variant);
		if (kind->type)
			help_type(type_named(kind->type), variant);
	}
}
