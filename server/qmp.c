/* SPDX-License-Identifier: MIT */
/*
 * qmp.c - messages of the control protocol.
 *
 * Main thread. Nothing a client sends may do more than give it an error, so
 * everything here is checked before it is used (A27).
 */
#include "server/qmp.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/*
 * The protocol's version: of the storage daemon whose commands, events and
 * texts these are. Clients decide by it; what we are is in "package".
 */
#define PROTOCOL_MAJOR 11
#define PROTOCOL_MINOR 1
#define PROTOCOL_MICRO 3

json_t *qmp_version(void)
{
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu",
			 "major", PROTOCOL_MAJOR, "minor", PROTOCOL_MINOR,
			 "micro", PROTOCOL_MICRO,
			 "package", "blkgraph " BLKGRAPH_VERSION);
}

json_t *qmp_greeting(void)
{
	return json_pack("{s:{s:o,s:[]}}", "QMP", "version", qmp_version(),
			 "capabilities");
}

json_t *qmp_event(const char *name, json_t *data)
{
	struct timespec now;
	json_t *event;

	clock_gettime(CLOCK_REALTIME, &now);
	event = json_pack("{s:s,s:{s:I,s:I}}", "event", name, "timestamp",
			  "seconds", (json_int_t)now.tv_sec,
			  "microseconds", (json_int_t)now.tv_nsec / 1000);
	if (data)
		json_object_set_new(event, "data", data);
	return event;
}

static const char *error_class_name(enum error_class cls)
{
	static const char *const names[] = {
		[ERROR_GENERIC] = "GenericError",
		[ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
		[ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
		[ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
	};

	return names[cls];
}

json_t *qmp_error(struct error **err)
{
	const char *code = strerrorname_np((*err)->code);
	json_t *error = json_pack("{s:s,s:o}", "class",
				  error_class_name((*err)->cls), "desc",
				  json_text((*err)->text));

	if ((*err)->code && code)
		json_object_set_new(error, "errno", json_string(code));
	error_clear(err);
	return json_pack("{s:o}", "error", error);
}

static json_t *qmp_parse(const char *text, size_t len, struct error **err)
{
	json_error_t where;
	json_t *msg = json_loadb(text, len,
				 JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
				 &where);

	if (!msg) {
		error_set(err, EINVAL, "JSON parse error, %s", where.text);
		return NULL;
	}
	if (!json_is_object(msg)) {
		json_decref(msg);
		error_set(err, EINVAL, "QMP input must be a JSON object");
		return NULL;
	}
	return msg;
}

static bool qmp_check_message(json_t *msg, struct error **err)
{
	const char *name;
	json_t *value;

	json_object_foreach(msg, name, value) {
		if (!strcmp(name, "execute") && json_is_string(value))
			continue;
		if (!strcmp(name, "arguments") && json_is_object(value))
			continue;
		if (!strcmp(name, "id"))
			continue;
		if (!strcmp(name, "execute"))
			error_set(err, EINVAL, "QMP input member 'execute' "
				  "must be a string");
		else if (!strcmp(name, "arguments"))
			error_set(err, EINVAL, "QMP input member 'arguments' "
				  "must be an object");
		else
			error_set(err, EINVAL,
				  "QMP input member '%s' is unexpected", name);
		return false;
	}
	if (json_object_get(msg, "execute"))
		return true;
	error_set(err, EINVAL, "QMP input lacks member 'execute'");
	return false;
}

static json_t *qmp_negotiate(struct qmp_session *session, json_t *args,
			     struct error **err)
{
	json_t *enable = json_object_get(args, "enable");
	const char *wanted = json_string_value(json_array_get(enable, 0));

	if (json_array_size(enable)) {
		error_set(err, EINVAL,
			  "Parameter 'enable' does not accept value '%s'",
			  wanted ? wanted : "null");
		return NULL;
	}
	session->negotiated = true;
	return json_object();
}

/* Which commands exist depends on the negotiation, as the protocol has it. */
static const struct command *qmp_find(const struct qmp_session *session,
				      const char *name, struct error **err)
{
	const struct command *cmd = command_find(session->commands, name);

	if (!session->negotiated && (!cmd || cmd->run))
		error_set_class(err, ERROR_COMMAND_NOT_FOUND, EPERM,
				"Expecting capabilities negotiation with "
				"'qmp_capabilities'");
	else if (!cmd)
		error_set_class(err, ERROR_COMMAND_NOT_FOUND, ENOSYS,
				"The command %s has not been found", name);
	else if (session->negotiated && !cmd->run)
		error_set_class(err, ERROR_COMMAND_NOT_FOUND, EALREADY,
				"Capabilities negotiation is already "
				"complete, command ignored");
	else
		return cmd;
	return NULL;
}

static json_t *qmp_execute(struct qmp_session *session, json_t *msg,
			   struct error **err)
{
	const char *name = json_string_value(json_object_get(msg, "execute"));
	json_t *given = json_object_get(msg, "arguments");
	const struct command *cmd = qmp_find(session, name, err);
	json_auto_t *args = NULL;

	if (!cmd)
		return NULL;
	args = given ? json_incref(given) : json_object();
	if (!command_check_args(cmd, args, err))
		return NULL;
	if (!cmd->run)
		return qmp_negotiate(session, args, err);
	return command_run(cmd, args, err);
}

json_t *qmp_handle(struct qmp_session *session, const char *text, size_t len)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_auto_t *msg = qmp_parse(text, len, &err);
	json_t *result = NULL, *reply, *id;

	if (msg && qmp_check_message(msg, &err))
		result = qmp_execute(session, msg, &err);
	assert(!result == !!err);
	reply = err ? qmp_error(&err) : json_pack("{s:o}", "return", result);
	id = json_object_get(msg, "id");
	if (id)
		json_object_set(reply, "id", id);
	return reply;
}
