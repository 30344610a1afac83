/* SPDX-License-Identifier: MIT */
/*
 * args.c - options and operands of one verb, by the table of verbs.c.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define HELP_INDEX OPTIONS_MAX
#define LONG_ONLY 256

/* What getopt wants, made of our table. */
static void args_tables(const struct verb *verb, struct option *longs,
			char *shorts)
{
	const struct cli_option *o = verb->options;

	*shorts++ = ':';	/* errors are said by us */
	for (; o->name; o++, longs++) {
		longs->name = o->name;
		longs->has_arg = o->arg ? required_argument : no_argument;
		longs->val = LONG_ONLY + (int)(o - verb->options);
		if (!o->letter)
			continue;
		*shorts++ = o->letter;
		if (o->arg)
			*shorts++ = ':';
	}
	longs->name = "help";
	longs->val = LONG_ONLY + HELP_INDEX;
	*shorts++ = 'h';
	*shorts = 0;
}

static int args_index(const struct verb *verb, int got)
{
	if (got >= LONG_ONLY)
		return got - LONG_ONLY;
	if (got == 'h')
		return HELP_INDEX;
	for (int i = 0; verb->options[i].name; i++)
		if (verb->options[i].letter == got)
			return i;
	return -1;
}

static void args_check_count(const struct args *args)
{
	const struct verb *verb = args->verb;

	if (args->count < verb->lowest)
		die(EXIT_USAGE, "%s: an operand is missing: blkgraph %s %s",
		    verb->name, verb->name, verb->operands);
	if (verb->highest >= 0 && args->count > verb->highest)
		die(EXIT_USAGE, "%s: '%s' is too much: blkgraph %s %s",
		    verb->name, args->operands[verb->highest], verb->name,
		    verb->operands);
}

static void __attribute__((noreturn))
args_unknown(const struct verb *verb, const char *given)
{
	struct guess guess = { NULL, 0 };
	char *word = format("%.*s", (int)strcspn(given, "="), given);

	for (const struct cli_option *o = verb->options; o->name; o++)
		guess_try(&guess, word, format("--%s", o->name));
	if (guess.name)
		die(EXIT_USAGE, "%s: there is no option '%s'; did you mean "
		    "'%s'?", verb->name, word, guess.name);
	die(EXIT_USAGE, "%s: '%s' is not understood (try 'blkgraph help %s')",
	    verb->name, given, verb->name);
}

void word_check(const char *what, const char *words, const char *value)
{
	char *copy = checked(strdup(words)), *rest, *word;
	struct guess guess = { NULL, 0 };
	char known[256] = "";
	size_t at = 0;

	for (word = strtok_r(copy, "|", &rest); word;
	     word = strtok_r(NULL, "|", &rest)) {
		if (!strcmp(word, value))
			break;
		guess_try(&guess, value, word);
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s",
				       !at ? "" : *rest ? ", " : " or ", word);
	}
	if (!word)
		die(EXIT_USAGE, "%s is %s, not '%s'%s", what, known, value,
		    guess.name ? format("; did you mean '%s'?", guess.name) :
		    "");
	free(copy);
}

/* Values that can be seen to be wrong without asking the daemon. */
static void args_check_words(const struct args *args)
{
	const struct cli_option *o = args->verb->options;

	for (int i = 0; o[i].name; i++)
		if (args->value[i] && o[i].arg && strchr(o[i].arg, '|'))
			word_check(format("%s: --%s", args->verb->name,
					  o[i].name), o[i].arg,
				   args->value[i]);
}

void args_parse(struct args *args, const struct verb *verb, int argc,
		char **argv)
{
	struct option longs[OPTIONS_MAX + 2] = { 0 };
	char shorts[2 * OPTIONS_MAX + 4];
	int got;

	memset(args, 0, sizeof(*args));
	args->verb = verb;
	args_tables(verb, longs, shorts);
	opterr = 0;
	while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		int index = args_index(verb, got);

		if (got == ':')
			die(EXIT_USAGE, "%s: '%s' needs a value", verb->name,
			    argv[optind - 1]);
		if (index < 0)
			args_unknown(verb, argv[optind - 1]);
		if (index == HELP_INDEX) {
			verb_help(verb);
			exit(EXIT_DONE);
		}
		args->value[index] = optarg ? optarg : "";
	}
	args->operands = argv + optind;
	args->count = argc - optind;
	args_check_words(args);
	args_check_count(args);
}

const char *args_value(const struct args *args, const char *name)
{
	for (int i = 0; args->verb->options[i].name; i++)
		if (!strcmp(args->verb->options[i].name, name))
			return args->value[i];
	abort();	/* no such option in the table */
}

bool args_given(const struct args *args, const char *name)
{
	return args_value(args, name) != NULL;
}

uint64_t args_number(const struct args *args, const char *name,
		     uint64_t highest)
{
	const char *text = args_value(args, name);
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || text[0] < '0' || text[0] > '9' ||
	    value > highest || value == 0)
		die(EXIT_USAGE, "%s: --%s takes a number from 1 to %llu, not "
		    "'%s'", args->verb->name, name,
		    (unsigned long long)highest, text);
	return value;
}
