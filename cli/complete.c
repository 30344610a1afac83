/* SPDX-License-Identifier: MIT */
/*
 * complete.c - blkgraph --complete [WORD]...: what could stand for the last of
 * the words that follow `blkgraph` on a command line. The scripts in
 * completion/ ask it for bash, zsh and fish.
 *
 * All of it comes from the table that the parser and --help go by: what an
 * operand or an option's value may be is told by what help calls it. A line is
 * a word, a tab and what the word means; an empty line stands for the names of
 * files. Which of the words fit what has been typed is the shell's to see. No
 * daemon is started to be asked.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/column.h"

/* What is completed, and how far the words before it were understood. */
struct typed {
	struct args args;
	const char *word;	/* the piece of it that is completed */
	const char *front;	/* the piece before, which stays */
};

static void candidate(const struct typed *typed, const char *word,
		  const char *help)
{
	printf("%s%s\t%s\n", typed->front, word, help);
}

static void offer_words(const struct typed *typed, const char *words)
{
	char *copy = checked(strdup(words)), *rest, *word;

	for (word = strtok_r(copy, "|", &rest); word;
	     word = strtok_r(NULL, "|", &rest))
		candidate(typed, word, "");
	free(copy);
}

/* --- what help calls an operand or a value ------------------------------ */

static void offer_files(struct typed *typed)
{
	(void)typed;
	printf("\n");
}

static json_t *live(const char *command)
{
	return client_connect(CONNECT_IF_THERE) ?
		client_call(command, NULL, NULL) : json_array();
}

static void offer_devices(struct typed *typed)
{
	json_t *exports, *exp;
	size_t i;

	/* any link to a device will do */
	if (typed->word[0] == '/')
		offer_files(typed);
	exports = live("query-block-exports");
	json_array_foreach(exports, i, exp) {
		const char *device = get_string(exp, "device");
		const char *name = get_string(exp, "id");

		candidate(typed, printable(name), device);
		if (*device)
			candidate(typed, device, printable(name));
	}
}

static void offer_filters(struct typed *typed)
{
	offer_words(typed, FILTERS);
}

static void offer_filter_nodes(struct typed *typed)
{
	json_t *nodes, *node;
	size_t i;

	if (!client_connect(CONNECT_IF_THERE))
		return;
	nodes = nodes_below(device_name(typed->args.operands[0]));
	json_array_foreach(nodes, i, node) {
		const char *name = get_string(node, "node-name");
		const char *driver = get_string(node, "drv");

		if (driver_is_filter(driver))
			candidate(typed, printable(name), driver);
	}
}

static void offer_groups(struct typed *typed)
{
	json_t *objects, *object;
	size_t i;

	if (!client_connect(CONNECT_IF_THERE))
		return;
	objects = client_call("qom-list", json_pack("{s:s}", "path",
						    "/objects"), NULL);
	json_array_foreach(objects, i, object)
		if (!strcmp(get_string(object, "type"),
			    "child<throttle-group>"))
			candidate(typed, get_string(object, "name"), "");
}

static void offer_commands(struct typed *typed)
{
	json_t *commands = live("query-commands"), *command;
	size_t i;

	json_array_foreach(commands, i, command)
		candidate(typed, get_string(command, "name"), "");
}

static void offer_verbs(struct typed *typed)
{
	for (const struct verb *v = verbs; v->name; v++)
		candidate(typed, v->name, v->summary);
}

/* Of several with commas between them the last one. */
static void split_at_comma(struct typed *typed)
{
	const char *comma = strrchr(typed->word, ',');

	if (!comma)
		return;
	typed->front = format("%s%.*s", typed->front,
			      (int)(comma + 1 - typed->word), typed->word);
	typed->word = comma + 1;
}

static void offer_columns(struct typed *typed)
{
	if (typed->word[0] == '+') {
		typed->front = format("%s+", typed->front);
		typed->word++;
	}
	split_at_comma(typed);
	for (const struct column *c = typed->args.verb->columns; c->name; c++)
		candidate(typed, c->name, c->help);
}

static void offer_keys(struct typed *typed)
{
	const char *fmt = args_value(&typed->args, "format");
	const struct image_option *o;
	const char *equals;
	bool qcow2 = fmt && !strcmp(fmt, "qcow2");

	for (int i = 0; !fmt && i < typed->args.count; i++)
		qcow2 |= strstr(typed->args.operands[i], ".qcow2") != NULL;
	split_at_comma(typed);
	equals = strchr(typed->word, '=');
	for (o = image_options; o->name; o++) {
		if (strcmp(o->fmt, qcow2 ? "qcow2" : "raw"))
			continue;
		if (!equals) {
			candidate(typed, format("%s=", o->name), o->help);
		} else if (o->words &&
			   !strncmp(typed->word, format("%s=", o->name),
				    (size_t)(equals + 1 - typed->word))) {
			typed->front = format("%s%s=", typed->front, o->name);
			offer_words(typed, o->words);
			return;
		}
	}
}

static const struct {
	const char *name;
	void (*offer)(struct typed *typed);
} kinds[] = {
	{ "FILE", offer_files },
	{ "DEV", offer_devices },
	/* one that is to be made may have its place already */
	{ "DEVICE", offer_files },
	{ "FILTER", offer_filters },
	{ "FILTER-NODE", offer_filter_nodes },
	{ "GROUP", offer_groups },
	{ "COMMAND", offer_commands },
	{ "VERB", offer_verbs },
	{ "COLS", offer_columns },
	{ "KEY=VALUE,...", offer_keys },
};

/* what: "FILE|DEV", "auto|on|off"; of a number or a name there is nothing to
 * offer. */
static void offer_kind(struct typed *typed, const char *what)
{
	char *copy, *rest, *word;

	if (!isupper((unsigned char)*what)) {
		offer_words(typed, what);
		return;
	}
	copy = checked(strdup(what));
	for (word = strtok_r(copy, "|", &rest); word;
	     word = strtok_r(NULL, "|", &rest))
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (!strcmp(kinds[i].name, word))
				kinds[i].offer(typed);
	free(copy);
}

/* --- what stands where the word is -------------------------------------- */

/* Operands of a verb are "FILE [SIZE]", "DEV FILTER [KEY=VALUE]...". */
static void offer_operand(struct typed *typed)
{
	const struct verb *verb = typed->args.verb;
	char *copy = checked(strdup(verb->operands)), *rest, *what;
	int i = typed->args.count;

	if (verb->highest >= 0 && i >= verb->highest)
		return;
	what = strtok_r(copy, " ", &rest);
	while (what && i-- > 0 && !strstr(what, "..."))
		what = strtok_r(NULL, " ", &rest);
	if (!what)
		return;
	what += *what == '[';
	what[strcspn(what, "].")] = 0;
	offer_kind(typed, what);
}

static void offer_options(struct typed *typed)
{
	const struct cli_option *o = typed->args.verb->options;

	for (int i = 0; o[i].name; i++)
		if (!typed->args.value[i])
			candidate(typed, format("--%s", o[i].name), o[i].help);
	candidate(typed, "--help", "show the options");
}

/* "--format=q": a value behind its option. */
static void offer_joined(struct typed *typed)
{
	const struct cli_option *o = typed->args.verb->options;
	const char *value = strchr(typed->word, '=') + 1;

	typed->front = format("%.*s", (int)(value - typed->word), typed->word);
	for (; o->name; o++) {
		if (!o->arg || strcmp(format("--%s=", o->name), typed->front))
			continue;
		typed->word = value;
		offer_kind(typed, o->arg);
	}
}

static void offer_for_verb(struct typed *typed, const struct verb *verb,
			   int argc, char **argv)
{
	const struct cli_option *begun;

	begun = args_begun(&typed->args, verb, argc, argv);
	if (begun)
		offer_kind(typed, begun->arg);
	else if (typed->word[0] != '-' || typed->args.ended)
		offer_operand(typed);
	else if (strchr(typed->word, '='))
		offer_joined(typed);
	else
		offer_options(typed);
}

static void offer_first(struct typed *typed)
{
	if (typed->word[0] != '-') {
		offer_verbs(typed);
		return;
	}
	candidate(typed, "--socket", "the daemon's control socket");
	candidate(typed, "--help", "show the verbs");
	candidate(typed, "--version", "show the version");
}

int complete(int count, char **words)
{
	static const char socket_equals[] = "--socket=";
	struct typed typed = { .front = "" };
	const struct verb *verb;
	int last = count - 1, i = 0;

	if (count == 0)
		return EXIT_DONE;
	typed.word = words[last];
	for (; i < last && words[i][0] == '-'; i++) {
		if (!strncmp(words[i], socket_equals, strlen(socket_equals))) {
			setenv("BLKGRAPH_SOCKET", strchr(words[i], '=') + 1,
			       1);
		} else if (!strcmp(words[i], "--socket")) {
			if (++i == last) {
				offer_files(&typed);
				return EXIT_DONE;
			}
			setenv("BLKGRAPH_SOCKET", words[i], 1);
		}
	}
	if (i == last && !strncmp(typed.word, socket_equals,
				  strlen(socket_equals))) {
		offer_files(&typed);
	} else if (i == last) {
		offer_first(&typed);
	} else {
		verb = verb_find(words[i]);
		if (verb)
			offer_for_verb(&typed, verb, last - i, words + i);
	}
	return EXIT_DONE;
}
