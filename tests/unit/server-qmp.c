/* SPDX-License-Identifier: MIT */
/*
 * server-qmp.c - messages and arguments of the control protocol, with a table
 * of commands of its own (A21).
 */
#include "tests/lib/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "server/change.h"
#include "server/qmp.h"

/* What changes do around a command is tested with the daemon; here it is only
 * counted. */
static unsigned begun, ended;
static bool shown;

int co_change_begin(struct change *change, const char *command, json_t *args,
		    enum change_use use, struct error **err)
{
	(void)change;
	(void)args;
	shown = use == CHANGE_SHOWS;
	if (begun++ == 0 && !strcmp(command, "change"))
		return 0;
	return error_set(err, ESHUTDOWN, "no more changes");
}

void co_change_note(void)
{
}

void co_change_end(struct change *change)
{
	(void)change;
	ended++;
}

static json_t *run_echo(json_t *args, struct error **err)
{
	(void)err;
	return json_incref(args);
}

static json_t *run_fail_long(json_t *args, struct error **err)
{
	(void)args;
	error_set(err, EBUSY, "busy");
	error_add(err, " with %s", "it");
	error_prefix(err, "so");
	return NULL;
}

static json_t *run_fail(json_t *args, struct error **err)
{
	error_set_class(err, ERROR_DEVICE_NOT_FOUND, ENOENT, "no %s",
			arg_string(args, "s", "thing"));
	return NULL;
}

static const struct command table[] = {
	{ .name = "qmp_capabilities", .takes = "enable?:[Capability]" },
	{
		.name = "echo",
		.takes = "s:str b?:bool i?:int o?:Object colour?:Colour",
		.run = run_echo,
	},
	{ .name = "open", .takes = "x?:any", .run = run_echo },
	{ .name = "fail", .run = run_fail },
	{ .name = "fail-long", .run = run_fail_long },
	{ .name = "change", .kind = COMMAND_CHANGE, .run = run_echo },
	{ .name = NULL }
};

static void make_types(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	type_add_value(type_named("Capability"), "oob");
	type_add_value(type_named("Capability"), "errno");
	type_add_value(type_named("Colour"), "red");
	type_add_value(type_named("Colour"), "blue");
}

/* The reply, as text with sorted members; freed by the next call. */
static const char *reply(struct qmp_session *session, const char *text)
{
	static char *last;
	json_t *msg = json_loads(text, JSON_DECODE_ANY, NULL);

	make_types();
	CU_ASSERT_PTR_NOT_NULL_FATAL(msg);
	msg = qmp_handle(session, msg);
	free(last);
	last = json_dumps(msg, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(msg);
	return last;
}

#define IS(text, wanted) CU_ASSERT_STRING_EQUAL(reply(&session, text), wanted)
#define GENERIC(text) "{\"error\":{\"class\":\"GenericError\",\"desc\":\"" \
	text "\",\"errno\":\"EINVAL\"}}"

static void negotiation_comes_first_and_once(void)
{
	struct qmp_session session = { .commands = table, .explain = true };
	static const char expecting[] = "{\"error\":{\"class\":"
		"\"CommandNotFound\",\"desc\":\"Expecting capabilities "
		"negotiation with 'qmp_capabilities'\",\"errno\":\"EPERM\"}}";

	IS("{\"execute\":\"echo\",\"arguments\":{\"s\":\"x\"}}", expecting);
	IS("{\"execute\":\"nosuch\"}", expecting);
	IS("{\"execute\":\"qmp_capabilities\",\"arguments\":"
	   "{\"enable\":[\"x\"]}}",
	   GENERIC("Parameter 'null' does not accept value 'x'"));
	CU_ASSERT_FALSE(session.negotiated);
	IS("{\"execute\":\"qmp_capabilities\",\"arguments\":"
	   "{\"enable\":[\"errno\"]}}", "{\"return\":{}}");
	CU_ASSERT_TRUE(session.negotiated);
	IS("{\"execute\":\"qmp_capabilities\"}",
	   "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Capabilities "
	   "negotiation is already complete, command ignored\","
	   "\"errno\":\"EALREADY\"}}");
}

static void messages_are_checked(void)
{
	struct qmp_session session = { .commands = table, .negotiated = true,
				       .explain = true };

	IS("[1]", GENERIC("QMP input must be a JSON object"));
	IS("5", GENERIC("QMP input must be a JSON object"));
	IS("{}", GENERIC("QMP input lacks member 'execute'"));
	IS("{\"execute\":5}",
	   GENERIC("QMP input member 'execute' must be a string"));
	IS("{\"execute\":\"echo\",\"arguments\":[]}",
	   GENERIC("QMP input member 'arguments' must be an object"));
	IS("{\"execute\":\"echo\",\"x\":1}",
	   GENERIC("QMP input member 'x' is unexpected"));
}

static void out_of_band_is_asked_for(void)
{
	struct qmp_session session = { .commands = table, .explain = true };

	IS("{\"exec-oob\":\"qmp_capabilities\"}",
	   GENERIC("QMP input member 'exec-oob' is unexpected"));
	IS("{\"execute\":\"qmp_capabilities\",\"arguments\":"
	   "{\"enable\":[\"oob\",\"errno\"]}}", "{\"return\":{}}");
	IS("{\"exec-oob\":\"fail\"}",
	   GENERIC("The command fail does not support OOB"));
	IS("{\"exec-oob\":\"fail\",\"execute\":\"fail\"}",
	   GENERIC("QMP input member 'execute' clashes with 'exec-oob'"));
}

static void arguments_are_checked(void)
{
	struct qmp_session session = { .commands = table, .negotiated = true,
				       .explain = true };

	IS("{\"execute\":\"echo\"}", GENERIC("Parameter 's' is missing"));
	IS("{\"execute\":\"echo\",\"arguments\":{\"s\":1}}",
	   GENERIC("Invalid parameter type for 's', expected: string"));
	IS("{\"execute\":\"echo\",\"arguments\":{\"s\":\"\",\"b\":0}}",
	   GENERIC("Invalid parameter type for 'b', expected: boolean"));
	IS("{\"execute\":\"echo\",\"arguments\":{\"s\":\"\",\"i\":\"1\"}}",
	   GENERIC("Invalid parameter type for 'i', expected: integer"));
	IS("{\"execute\":\"echo\",\"arguments\":{\"s\":\"\",\"o\":[]}}",
	   GENERIC("Invalid parameter type for 'o', expected: object"));
	IS("{\"execute\":\"echo\",\"arguments\":"
	   "{\"s\":\"\",\"colour\":\"pink\"}}",
	   GENERIC("Parameter 'colour' does not accept value 'pink'"));
	IS("{\"execute\":\"echo\",\"arguments\":{\"s\":\"\",\"x\":1}}",
	   GENERIC("Parameter 'x' is unexpected"));
	IS("{\"execute\":\"echo\",\"arguments\":"
	   "{\"s\":\"\",\"colour\":\"blue\",\"o\":{},\"b\":true,\"i\":-1}}",
	   "{\"return\":{\"b\":true,\"colour\":\"blue\",\"i\":-1,\"o\":{},"
	   "\"s\":\"\"}}");
	IS("{\"execute\":\"open\",\"arguments\":{\"x\":1}}",
	   "{\"return\":{\"x\":1}}");
}

static void ids_come_back_as_given(void)
{
	struct qmp_session session = { .commands = table, .negotiated = true,
				       .explain = true };

	IS("{\"execute\":\"open\",\"id\":[1,{\"a\":null}]}",
	   "{\"id\":[1,{\"a\":null}],\"return\":{}}");
	IS("{\"execute\":\"nosuch\",\"id\":\"x\"}",
	   "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command "
	   "nosuch has not been found\",\"errno\":\"ENOSYS\"},\"id\":\"x\"}");
	IS("{\"execute\":\"fail\",\"id\":0}",
	   "{\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"no thing\","
	   "\"errno\":\"ENOENT\"},\"id\":0}");
}

static void changes_are_bracketed(void)
{
	struct qmp_session session = { .commands = table, .negotiated = true,
				       .explain = true };

	IS("{\"execute\":\"change\"}", "{\"return\":{}}");
	CU_ASSERT(begun == 1 && ended == 1 && !shown);
	IS("{\"execute\":\"change\"}",
	   "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no more "
	   "changes\",\"errno\":\"ESHUTDOWN\"}}");
	CU_ASSERT(begun == 2 && ended == 1);
	IS("{\"execute\":\"open\"}", "{\"return\":{}}");
	CU_ASSERT_EQUAL(begun, 2);
}

/* A44 */
static void errors_name_any_bytes(void)
{
	struct qmp_session session = { .negotiated = true };
	struct error *err = NULL;
	json_t *msg;
	char *text;

	error_set(&err, ENOENT, "no file '%s'", "\xc3\x28");
	msg = qmp_error(&session, &err);
	CU_ASSERT_PTR_NULL(err);
	text = json_write(msg, JSON_COMPACT);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"no file '\\udcc3('\""));
	free(text);
	json_decref(msg);
}

static void errors_have_what_is_ours_for_who_asks(void)
{
	struct qmp_session session = { .commands = table };
	static const char ask[] = "{\"execute\":\"fail-long\"}";

	IS("{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":"
	   "[\"oob\"]}}", "{\"return\":{}}");
	CU_ASSERT(session.oob && !session.explain);
	IS(ask, "{\"error\":{\"class\":\"GenericError\",\"desc\":"
	   "\"so: busy\"}}");
	session = (struct qmp_session){ .commands = table };
	IS("{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":"
	   "[\"errno\"]}}", "{\"return\":{}}");
	CU_ASSERT(!session.oob && session.explain);
	IS(ask, "{\"error\":{\"class\":\"GenericError\",\"desc\":"
	   "\"so: busy\",\"errno\":\"EBUSY\",\"more\":\" with it\"}}");
}

static void events_have_the_time(void)
{
	json_t *event = qmp_event("E", json_pack("{s:i}", "a", 1));
	json_t *when = json_object_get(event, "timestamp");

	CU_ASSERT(json_integer_value(json_object_get(when, "seconds")) > 0);
	CU_ASSERT(json_is_integer(json_object_get(when, "microseconds")));
	CU_ASSERT(json_is_object(json_object_get(event, "data")));
	json_decref(event);
}

TEST_MAIN("server-qmp",
	  TEST(negotiation_comes_first_and_once),
	  TEST(messages_are_checked),
	  TEST(out_of_band_is_asked_for),
	  TEST(arguments_are_checked),
	  TEST(ids_come_back_as_given),
	  TEST(changes_are_bracketed),
	  TEST(errors_name_any_bytes),
	  TEST(errors_have_what_is_ours_for_who_asks),
	  TEST(events_have_the_time))
