/* SPDX-License-Identifier: MIT */
/*
 * commands-server.c - commands about the daemon itself. Main thread.
 */
#include "server/command.h"
#include "server/commands.h"
#include "server/leave.h"
#include "server/qmp.h"
#include "server/schema.h"

json_t *cmd_query_version(json_t *args, struct error **err)
{
	(void)args;
	(void)err;
	return qmp_version();
}

json_t *cmd_query_commands(json_t *args, struct error **err)
{
	(void)args;
	(void)err;
	return command_names(command_table);
}

json_t *cmd_query_qmp_schema(json_t *args, struct error **err)
{
	(void)args;
	(void)err;
	return schema_query(command_table);
}

json_t *cmd_quit(json_t *args, struct error **err)
{
	(void)args;
	return co_leave(err) < 0 ? NULL : json_object();
}
