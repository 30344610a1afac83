/* SPDX-License-Identifier: MIT */
/*
 * qmp.c - blkgraph qmp: any command of the control protocol, as it is.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static json_t *parse_json(const struct verb *verb, const char *text)
{
	json_error_t where;
	json_t *value = json_read(text, strlen(text), JSON_REJECT_DUPLICATES |
				  JSON_DECODE_ANY, &where);

	if (!value)
		die(EXIT_USAGE, "%s: '%s' is no JSON: %s at byte %d",
		    verb->name, text, where.text, where.position);
	return value;
}

/* "true", "off", "12", "{...}", "[...]" or text, as JSON. */
static json_t *value_of(const struct verb *verb, const char *text)
{
	size_t sign = *text == '-', digits = strspn(text + sign, "0123456789");

	if (*text == '{' || *text == '[')
		return parse_json(verb, text);
	if (!strcmp(text, "true") || !strcmp(text, "on"))
		return json_true();
	if (!strcmp(text, "false") || !strcmp(text, "off"))
		return json_false();
	if (digits && digits < 19 && !text[sign + digits])
		return json_integer(strtoll(text, NULL, 10));
	return json_text(text);
}

/* Puts the value of "a.b.c" where it belongs; key is cut up, and UTF-8. */
static void put(json_t *object, char *key, json_t *value)
{
	char *dot;

	while ((dot = strchr(key, '.')) != NULL) {
		json_t *next;

		*dot = 0;
		next = json_object_get(object, key);
		if (!json_is_object(next)) {
			next = json_object();
			json_object_set_new(object, key, next);
		}
		object = next;
		key = dot + 1;
	}
	json_object_set_new(object, key, value);
}

void put_option(json_t *object, const struct verb *verb, const char *word)
{
	char *key = checked(strdup(word)), *equals = strchr(key, '=');

	if (*key == '{') {
		json_object_update_new(object, parse_json(verb, key));
	} else if (!equals || equals == key) {
		die(EXIT_USAGE, "%s: '%s' is neither KEY=VALUE nor JSON",
		    verb->name, key);
	} else {
		*equals = 0;
		if (!utf8_is_valid(key, strlen(key)))
			die(EXIT_USAGE, "%s: the name '%s' is not UTF-8",
			    verb->name, key);
		put(object, key, value_of(verb, equals + 1));
	}
	free(key);
}

static json_t *call_arguments(const struct args *args)
{
	json_t *call = json_object();

	for (int i = 1; i < args->count; i++)
		put_option(call, args->verb, args->operands[i]);
	return call;
}

static void print_value(json_t *value, bool on_lines)
{
	char *text = checked(json_write(value, JSON_ENCODE_ANY |
					(on_lines ? JSON_COMPACT :
						    JSON_INDENT(2))));

	puts(text);
	free(text);
	fflush(stdout);
}

int verb_qmp(const struct args *args)
{
	bool events = args_given(args, "events");
	json_t *result, *event;

	if (!events && !args->count)
		die(EXIT_USAGE, "qmp: an operand is missing: blkgraph qmp %s",
		    args->verb->operands);
	client_connect(CONNECT_ONLY);
	if (args->count) {
		result = client_call(args->operands[0], call_arguments(args),
				     NULL);
		print_value(result, args_given(args, "compact"));
	}
	while (events && (event = client_event()) != NULL)
		print_value(event, true);
	return EXIT_DONE;
}
