/* SPDX-License-Identifier: MIT */
/*
 * commands-nbd.c - the NBD server's start and stop. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/export.h"
#include "nbd/nbd.h"
#include "runtime/wait.h"
#include "server/address.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/log.h"
#include "server/object-tls.h"

#define MAX_CONNECTIONS 100
#define HANDSHAKE_S 10

static struct {
	struct object *creds;	/* held while it runs; or NULL */
	json_t *args;		/* of its start, for the state log */
} running;

static uint32_t number_of(json_t *args, const char *name, uint32_t def)
{
	json_t *value = json_object_get(args, name);

	return value ? (uint32_t)json_integer_value(value) : def;
}

static void report(const char *text)
{
	log_write(LOG_WARNING, "%s", text);
}

static int co_start(json_t *args, struct error **err)
{
	struct nbd_server_options opts = {
		.max_connections = number_of(args, "max-connections",
					     MAX_CONNECTIONS),
		.handshake_s = number_of(args, "handshake-max-seconds",
					 HANDSHAKE_S),
		.report = report,
	};
	const char *creds = arg_string(args, "tls-creds", NULL);
	struct object *obj = NULL;
	int rc = address_from_json(json_object_get(args, "addr"),
				   &opts.address, err);

	if (rc == 0 && json_object_get(args, "tls-authz"))
		rc = error_set(err, ENOTSUP, "Parameter 'tls-authz': "
			       "authorisation objects are not supported");
	if (rc == 0 && nbd_server_running())
		rc = error_set(err, EEXIST, "NBD server already running");
	if (rc == 0 && creds) {
		obj = object_tls_creds(creds, &opts.creds, err);
		rc = obj ? 0 : -EINVAL;
	}
	if (rc)
		return rc;
	if (obj)
		object_get(obj, "server");
	rc = co_nbd_server_start(&opts, err);
	if (rc && obj)
		object_put(obj, "server");
	if (rc)
		return rc;
	running.creds = obj;
	running.args = json_deep_copy(args);
	return 0;
}

/* One that clients of the server are shown, and that is not on its way out:
 * what is being started refuses, and then fails to start. */
static struct export *next_export(const struct export *refused, bool leaving)
{
	struct export *exp = export_next(refused);

	/* who leaves has tried those that are stuck */
	while (exp && (strcmp(exp->type->name, "nbd") ||
		       exp->life == EXPORT_STOPPING ||
		       (leaving && exp->life == EXPORT_STUCK)))
		exp = export_next(exp);
	return exp;
}

/* From the end of its exports to that of its clients. */
#define STOP_NS SECONDS(10)

static int co_stop(uint64_t timeout_ns, bool leaving, struct error **err)
{
	struct export *exp;
	int rc = nbd_server_stopping(err);

	if (rc)
		return rc;
	exp = next_export(NULL, leaving);
	while (exp) {
		struct error *ignored CLEANUP_ERROR = NULL;

		/* it is gone, or the list may be another */
		exp = co_export_end(exp, true, NULL, &ignored) < 0 ?
		      next_export(exp, leaving) : next_export(NULL, leaving);
	}
	rc = co_nbd_server_stop(timeout_ns, err);
	if (rc)
		return rc;
	if (running.creds)
		object_put(running.creds, "server");
	running.creds = NULL;
	json_decref(running.args);
	running.args = NULL;
	return 0;
}

json_t *cmd_nbd_server_start(json_t *args, struct error **err)
{
	return co_start(args, err) < 0 ? NULL : json_object();
}

json_t *cmd_nbd_server_stop(json_t *args, struct error **err)
{
	(void)args;
	return co_stop(STOP_NS, false, err) < 0 ? NULL : json_object();
}

int co_nbd_leave(uint64_t timeout_ns, struct error **err)
{
	return running.args ? co_stop(timeout_ns, true, err) : 0;
}

const json_t *nbd_server_args(void)
{
	return running.args;
}
