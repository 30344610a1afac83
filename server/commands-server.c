/* SPDX-License-Identifier: MIT */
/*
 * commands-server.c - commands about the daemon itself. Main thread.
 */
#include <errno.h>

#include "graph/export.h"
#include "graph/graph.h"
#include "graph/job.h"
#include "nbd/nbd.h"
#include "runtime/late.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/gone.h"
#include "server/leave.h"
#include "server/monitor.h"
#include "server/object.h"
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

/* Of all that a client can have made, or begun, and that outlives it. */
static bool server_has_something(void)
{
	return export_each(NULL) || gone_is_any() || node_each(NULL) ||
	       job_first() || object_first() || nbd_server_running() ||
	       late_count();
}

json_t *cmd_quit_if_unused(json_t *args, struct error **err)
{
	(void)args;
	/* nothing waits between the look and the end */
	if (server_has_something() || !monitor_shut_door()) {
		error_set(err, EBUSY, "blkgraphd is in use");
		return NULL;
	}
	if (co_leave(err) == 0)
		return json_object();
	monitor_open_door();
	return NULL;
}
