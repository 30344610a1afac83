/* SPDX-License-Identifier: MIT */
/*
 * keyval.c - what may stand on a command line: keys and values become an
 * object or an error, and the object arguments of a union, or an error.
 *
 * The first byte says whether names need a value, and a key is implied.
 */
#include <stdlib.h>
#include <string.h>

#include "server/keyval.h"
#include "server/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_types(void)
{
	struct type *top = type_named("Options");

	if (top->member_count)
		return;
	type_add_value(type_named("Mode"), "a");
	type_add_value(type_named("Mode"), "b");
	type_add_members(type_named("Ref"), "options:Options name:str");
	type_named("Ref")->kind = TYPE_ALTERNATE;
	type_add_members(type_named("Cache"), "direct?:bool");
	type_add_members(type_named("Options-b"), "file:Ref list?:[Ref]");
	type_add_members(top, "driver:Mode on?:bool n?:int size?:size "
			 "cache?:Cache numbers?:[int] any?:any");
	top->tag = "driver";
	type_add_variant(top, "b", type_named("Options-b"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error *err CLEANUP_ERROR = NULL;
	json_t *args;
	char *text;

	if (!size)
		return 0;
	make_types();
	text = strndup((const char *)data + 1, size - 1);
	assert(text);
	args = keyval_parse(text, data[0] & 1 ? "driver" : NULL, data[0] & 2,
			    &err);
	assert(!args == !!err);
	if (args && !type_check(type_named("Options"), NULL, &args,
				FROM_TEXT, &err))
		assert(err);
	json_decref(args);
	free(text);
	return 0;
}
