/* SPDX-License-Identifier: MIT */
/*
 * control.c - what may come from the control socket: the stream is cut into
 * values, and each gets one reply (A27).
 *
 * The first byte says in pieces of which size the stream comes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/json.h"
#include "server/change.h"
#include "server/json-stream.h"
#include "server/qmp.h"

/* A reply costs more than all before it; a session has no more states than
 * these few show. */
#define REPLIES_MAX 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int co_change_begin(struct change *change, const char *command, json_t *args,
		    enum change_use use, struct error **err)
{
	(void)change;
	(void)args;
	return use != CHANGE_SHOWS ? 0 :
		error_set(err, EBUSY, "no %s", command);
}

void co_change_note(void)
{
}

void co_change_end(struct change *change)
{
	(void)change;
}

static json_t *run_echo(json_t *args, struct error **err)
{
	if (arg_bool(args, "fail", false)) {
		error_set(err, ENOENT, "%s", arg_string(args, "name", ""));
		return NULL;
	}
	return json_incref(args);
}

static const struct command table[] = {
	{ .name = "qmp_capabilities", .takes = "enable?:[Capability]" },
	{
		.name = "all",
		.takes = "name:str mode?:Mode fail?:bool number?:int "
			"options?:Tree list?:[Tree] size?:size",
		.run = run_echo,
	},
	{ .name = "add", .kind = COMMAND_CHANGE, .takes = "Tree",
	  .run = run_echo },
	{ .name = "show", .kind = COMMAND_SHOW, .run = run_echo },
	{ .name = NULL }
};

static void make_types(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	type_add_value(type_named("Capability"), "oob");
	type_add_value(type_named("Mode"), "safe");
	type_add_value(type_named("Mode"), "hard");
	type_add_members(type_named("TreeOrName"), "tree:Tree name:str");
	type_named("TreeOrName")->kind = TYPE_ALTERNATE;
	type_named("Tree")->tag = "mode";
	type_add_members(type_named("Tree"), "mode?:Mode file?:TreeOrName "
			 "on?:bool n?:int");
	type_add_members(type_named("TreeHard"), "list?:[TreeOrName]");
	type_add_variant(type_named("Tree"), "hard", type_named("TreeHard"));
}

static void check_reply(json_t *reply)
{
	char *text;

	/* exactly one of the two, and it can be sent */
	assert(!json_object_get(reply, "return") !=
	       !json_object_get(reply, "error"));
	text = json_write(reply, JSON_COMPACT);
	assert(text);
	free(text);
	json_decref(reply);
}

static void feed(const char *data, size_t size, size_t step)
{
	struct qmp_session session = { .commands = table };
	enum json_stream_result got = JSON_STREAM_MORE;
	unsigned replies = 0;
	struct json_stream s;

	make_types();
	json_stream_init(&s);
	while (size && got != JSON_STREAM_LOST && replies < REPLIES_MAX) {
		size_t piece = min(step, size), rest = piece;
		const char *at = data;
		struct error *err = NULL;
		json_t *msg = NULL;

		while ((got = json_stream_feed(&s, &at, &rest, &msg, &err)) !=
		       JSON_STREAM_MORE) {
			check_reply(got == JSON_STREAM_VALUE ?
				    qmp_handle(&session, msg) :
				    qmp_error(&session, &err));
			replies++;
			if (got == JSON_STREAM_LOST)
				break;
		}
		data += piece;
		size -= piece;
	}
	json_stream_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0])
		feed((const char *)data + 1, size - 1, data[0]);
	return 0;
}
