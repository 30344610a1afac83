/* SPDX-License-Identifier: MIT */
/*
 * qmp.c - messages of the control protocol.
 *
 * Main thread. Nothing a client sends may do more than give it an error, so
 * everything here is checked before it is used (A27).
 */
#include "server/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/json.h"

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
	return json_pack("{s:{s:o,s:[s,s]}}", "QMP", "version", qmp_version(),
			 "capabilities", "oob", "errno");
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

json_t *qmp_error_text(const struct error *err)
{
	char *text = strndup(err->text, strlen(err->text) - err->added);
	json_t *value;

	if (!text)
		abort();
	value = json_text(text);
	free(text);
	return value;
}

void qmp_error_explain(json_t *object, const struct error *err)
{
	const char *code = strerrorname_np(err->code);

	if (err->code && code)
		json_object_set_new(object, "errno", json_string(code));
	if (err->added)
		json_object_set_new(object, "more", json_text(err->text +
				    strlen(err->text) - err->added));
}

json_t *qmp_error(const struct qmp_session *session, struct error **err)
{
	json_t *error = json_pack("{s:s,s:o}", "class",
				  error_class_name((*err)->cls), "desc",
				  qmp_error_text(*err));

	if (session->explain)
		qmp_error_explain(error, *err);
	error_clear(err);
	return json_pack("{s:o}", "error", error);
}

/* "execute" or "exec-oob"; *name: what was there before, then this. */
static bool qmp_take_command(const char *key, json_t *value, const char **name,
			     struct error **err)
{
	if (!json_is_string(value))
		error_set(err, EINVAL, "QMP input member '%s' must be a "
			  "string", key);
	else if (*name)
		error_set(err, EINVAL, "QMP input member '%s' clashes with "
			  "'%s'", key, *name);
	else
		*name = key;
	return !*err;
}

static bool qmp_check_member(const struct qmp_session *session,
			     const char *key, json_t *value, const char **name,
			     struct error **err)
{
	if (!strcmp(key, "execute") ||
	    (session->oob && !strcmp(key, "exec-oob")))
		return qmp_take_command(key, value, name, err);
	if (!strcmp(key, "id"))
		return true;
	if (strcmp(key, "arguments"))
		error_set(err, EINVAL, "QMP input member '%s' is unexpected",
			  key);
	else if (!json_is_object(value))
		error_set(err, EINVAL, "QMP input member 'arguments' must be "
			  "an object");
	return !*err;
}

/* The member that names the command; NULL and *err: this is no message. */
static const char *qmp_check_message(const struct qmp_session *session,
				     json_t *msg, struct error **err)
{
	const char *key, *name = NULL;
	json_t *value;

	if (!json_is_object(msg)) {
		error_set(err, EINVAL, "QMP input must be a JSON object");
		return NULL;
	}
	json_object_foreach(msg, key, value)
		if (!qmp_check_member(session, key, value, &name, err))
			return NULL;
	if (!name)
		error_set(err, EINVAL, "QMP input lacks member 'execute'");
	return name;
}

static bool qmp_asks_for(json_t *args, const char *capability)
{
	json_t *name;
	size_t i;

	json_array_foreach(json_object_get(args, "enable"), i, name)
		if (!strcmp(json_string_value(name), capability))
			return true;
	return false;
}

static json_t *qmp_negotiate(struct qmp_session *session, json_t *args,
			     struct error **err)
{
	if (session->negotiated) {
		error_set_class(err, ERROR_COMMAND_NOT_FOUND, EALREADY,
				"Capabilities negotiation is already "
				"complete, command ignored");
		return NULL;
	}
	session->negotiated = true;
	session->oob = qmp_asks_for(args, "oob");
	session->explain = qmp_asks_for(args, "errno");
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
	else
		return cmd;
	return NULL;
}

static json_t *qmp_execute(struct qmp_session *session, json_t *msg,
			   const char *key, struct error **err)
{
	const char *name = json_string_value(json_object_get(msg, key));
	json_t *given = json_object_get(msg, "arguments");
	const struct command *cmd = qmp_find(session, name, err);
	json_auto_t *args = NULL;

	if (!cmd)
		return NULL;
	if (strcmp(key, "execute")) {
		error_set(err, EINVAL, "The command %s does not support OOB",
			  name);
		return NULL;
	}
	args = given ? json_incref(given) : json_object();
	if (!command_check_args(cmd, args, FROM_JSON, err))
		return NULL;
	if (!cmd->run)
		return qmp_negotiate(session, args, err);
	if (cmd->kind != COMMAND_QUERY && session->begins)
		session->begins(session->arg, name);
	return command_run(cmd, args, err);
}

json_t *qmp_handle(struct qmp_session *session, json_t *msg)
{
	struct error *err CLEANUP_ERROR = NULL;
	const char *key = qmp_check_message(session, msg, &err);
	json_t *result = NULL, *reply, *id;

	if (key)
		result = qmp_execute(session, msg, key, &err);
	assert(!result == !!err);
	reply = err ? qmp_error(session, &err) :
		json_pack("{s:o}", "return", result);
	id = json_object_get(msg, "id");
	if (id)
		json_object_set(reply, "id", id);
	json_decref(msg);
	return reply;
}
