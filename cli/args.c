/* SPDX-License-Identifier: MIT */
/*
 * args.c - options and operands of one verb, by the table of verbs.c.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define HELP_INDEX OPTIONS_MAX
#define LONG_ONLY 256

/* What getopt wants, made of our table. Words come in the order that they were
 * given in, so that it is known which one is at fault. */
static void args_tables(const struct verb *verb, struct option *longs,
			char *shorts)
{
	const struct cli_option *o = verb->options;

	*shorts++ = '-';
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

/* Of an option that there is. */
static int args_index(const struct verb *verb, int got)
{
	int i = 0;

	if (got >= LONG_ONLY)
		return got - LONG_ONLY;
	if (got == 'h')
		return HELP_INDEX;
	while (verb->options[i].letter != got)
		i++;
	return i;
}

/* An option as it was given: by its letter or by its name. */
static char *args_shown(const struct verb *verb, int got)
{
	if (got < LONG_ONLY)
		return format("-%c", got);
	if (got == LONG_ONLY + HELP_INDEX)
		return format("--help");
	return format("--%s", verb->options[got - LONG_ONLY].name);
}

/* taken: what may have been meant as one, "; 'x' is the value of -n". */
static void args_check_count(const struct args *args, const char *taken)
{
	const struct verb *verb = args->verb;

	if (args->count < verb->lowest)
		die(EXIT_USAGE, "%s: an operand is missing: blkgraph %s %s%s",
		    verb->name, verb->name, verb->operands, taken);
	if (verb->highest == 0 && args->count)
		die(EXIT_USAGE, "%s: '%s' is too much: %s takes no operand",
		    verb->name, args->operands[0], verb->name);
	if (verb->highest > 0 && args->count > verb->highest)
		die(EXIT_USAGE, "%s: '%s' is too much: blkgraph %s %s",
		    verb->name, args->operands[verb->highest], verb->name,
		    verb->operands);
}

/* Options may be cut short: "'--form' may be ...", or NULL. */
static char *args_several(const struct verb *verb, const char *name)
{
	char *known = NULL;

	for (const struct cli_option *o = verb->options; o->name; o++)
		if (!strncmp(o->name, name + 2, strlen(name + 2)))
			known = known ? format("%s or '--%s'", known, o->name)
				      : format("'--%s'", o->name);
	return known;
}

static void __attribute__((noreturn))
args_unknown(const struct verb *verb, const char *name, const char *whole)
{
	struct guess guess = { NULL, 0 };

	for (const struct cli_option *o = verb->options; o->name; o++)
		guess_try(&guess, whole, format("--%s", o->name));
	if (guess.name)
		die(EXIT_USAGE, "%s: there is no option '%s'; did you mean "
		    "'%s'?", verb->name, whole, guess.name);
	die(EXIT_USAGE, "%s: there is no option '%s' (try 'blkgraph help %s')",
	    verb->name, name, verb->name);
}

/* got: what getopt gave for the word. */
static void __attribute__((noreturn))
args_refuse(const struct verb *verb, int got, const char *word)
{
	char *name = format("%.*s", (int)strcspn(word, "="), word), *known;

	if (got == ':')
		die(EXIT_USAGE, "%s: %s needs a value", verb->name,
		    args_shown(verb, optopt));
	if (optopt >= LONG_ONLY)
		die(EXIT_USAGE, "%s: %s takes no value, not '%s'", verb->name,
		    args_shown(verb, optopt), word + strlen(name) + 1);
	if (optopt && isgraph(optopt))
		args_unknown(verb, format("-%c", optopt), name);
	known = word[1] == '-' ? args_several(verb, name) : NULL;
	if (known)
		die(EXIT_USAGE, "%s: '%s' may be %s", verb->name, name, known);
	args_unknown(verb, name, name);
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

/* No option is a number: "-1G" is a wrong size, not a wrong option. */
static bool is_operand(int got, const char *word)
{
	bool number = word[0] == '-' && isdigit((unsigned char)word[1]);

	return got == 1 || (got == '?' && number);
}

void args_parse(struct args *args, const struct verb *verb, int argc,
		char **argv)
{
	struct option longs[OPTIONS_MAX + 2] = { 0 };
	char shorts[2 * OPTIONS_MAX + 4];
	const char *taken = "";
	int got, at = 1;

	memset(args, 0, sizeof(*args));
	args->verb = verb;
	args->operands = checked(calloc((size_t)argc, sizeof(char *)));
	args_tables(verb, longs, shorts);
	opterr = 0;
	while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		int index;

		if (is_operand(got, argv[at])) {
			args->operands[args->count++] = argv[at];
			/* the rest of the word is skipped by a new start */
			argc -= at;
			argv += at;
			optind = 0;
			at = 1;
			continue;
		}
		if (got == ':' || got == '?')
			args_refuse(verb, got, argv[at]);
		index = args_index(verb, got);
		if (index == HELP_INDEX) {
			verb_help(verb);
			exit(EXIT_DONE);
		}
		args->value[index] = optarg ? optarg : "";
		if (optarg && optarg == argv[optind - 1])
			taken = format("; '%s' is the value of %s", optarg,
				       args_shown(verb, got));
		at = optind;
	}
	for (int i = optind; i < argc; i++)
		args->operands[args->count++] = argv[i];
	args_check_words(args);
	args_check_count(args, taken);
}

const struct cli_option *args_begun(struct args *args, const struct verb *verb,
				    int argc, char **argv)
{
	struct option longs[OPTIONS_MAX + 2] = { 0 };
	char shorts[2 * OPTIONS_MAX + 4];
	int got, begun = -1;

	memset(args, 0, sizeof(*args));
	args->verb = verb;
	args_tables(verb, longs, shorts);
	opterr = 0;
	/* without the '-': operands come last */
	while ((got = getopt_long(argc, argv, shorts + 1, longs, NULL)) != -1) {
		int index;

		if (got == '?')
			continue;
		index = args_index(verb, got == ':' ? optopt : got);
		if (got == ':')
			begun = index;
		else if (index != HELP_INDEX)
			args->value[index] = optarg ? optarg : "";
	}
	args->operands = argv + optind;
	args->count = argc - optind;
	args->ended = begun < 0 && !strcmp(argv[optind - 1], "--");
	return begun < 0 ? NULL : &verb->options[begun];
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

uint64_t args_size(const struct args *args, const char *name, uint64_t lowest)
{
	const char *text = args_value(args, name);
	uint64_t size;

	if (!size_parse(text, &size))
		die(EXIT_USAGE, "%s: --%s: '%s' is no size: " SIZE_WORDS,
		    args->verb->name, name, text);
	if (size < lowest)
		die(EXIT_USAGE, "%s: --%s is at least %llu bytes, not '%s'",
		    args->verb->name, name, (unsigned long long)lowest, text);
	return size;
}
