/* SPDX-License-Identifier: MIT */
/*
 * main.c - blkgraph: finds the verb and runs it.
 *
 *	blkgraph [--socket PATH] VERB [OPTION]... [OPERAND]...
 *	blkgraph --complete [WORD]...
 */
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char *socket_option;

static void __attribute__((format(printf, 1, 0)))
complain_with(const char *fmt, va_list args)
{
	char text[2048];

	vsnprintf(text, sizeof(text), fmt, args);
	/* what a name holds must not become terminal commands or lines */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	fflush(stdout);
	fprintf(stderr, "blkgraph: %s\n", text);
}

void complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	complain_with(fmt, args);
	va_end(args);
}

void die(int status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	complain_with(fmt, args);
	va_end(args);
	exit(status);
}

void *checked(void *pointer)
{
	if (!pointer)
		die(EXIT_ERROR, "out of memory");
	return pointer;
}

char *format(const char *fmt, ...)
{
	char *text;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	return checked(len < 0 ? NULL : text);
}

const char *socket_path(void)
{
	const char *env = getenv("BLKGRAPH_SOCKET");

	if (socket_option)
		return socket_option;
	return env && *env ? env : "/run/blkgraph/blkgraph.sock";
}

static void print_help(void)
{
	printf("Usage: blkgraph [--socket PATH] VERB [OPTION]... "
	       "[OPERAND]...\n"
	       "Disk images as block devices; see blkgraph(8).\n\n");
	for (const struct verb *v = verbs; v->name; v++)
		printf("  %-10s %s\n", v->name, v->summary);
	printf("\n'blkgraph help VERB' shows a verb's options.\n");
}

int verb_show_help(const struct args *args)
{
	const struct verb *verb;

	if (args->count == 0) {
		print_help();
		return EXIT_DONE;
	}
	verb = verb_find(args->operands[0]);
	if (!verb)
		verb_unknown(args->operands[0]);
	verb_help(verb);
	return EXIT_DONE;
}

int verb_version(const struct args *args)
{
	(void)args;
	printf("blkgraph " BLKGRAPH_VERSION "\n");
	return EXIT_DONE;
}

static void __attribute__((noreturn)) global_unknown(const char *arg)
{
	static const char *const known[] = { "--socket", "--help",
					     "--version" };
	char *name = format("%.*s", (int)strcspn(arg, "="), arg);
	struct guess guess = { NULL, 0 };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		guess_try(&guess, name, known[i]);
	if (guess.name && !strcmp(guess.name, name))
		die(EXIT_USAGE, "%s takes no value, not '%s'", name,
		    arg + strlen(name) + 1);
	if (guess.name)
		die(EXIT_USAGE, "there is no option '%s' before a verb; did "
		    "you mean '%s'?", name, guess.name);
	die(EXIT_USAGE, "there is no option '%s' before a verb (try 'blkgraph "
	    "help')", name);
}

/* Options before the verb; gives the index of the verb. */
static int parse_global(int argc, char **argv)
{
	static const char socket_equals[] = "--socket=";
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		const char *arg = argv[i];

		if (!strcmp(arg, "-h") || !strcmp(arg, "--help")) {
			print_help();
			exit(EXIT_DONE);
		}
		if (!strcmp(arg, "-V") || !strcmp(arg, "--version"))
			exit(verb_version(NULL));
		if (!strcmp(arg, "--socket"))
			socket_option = i + 1 < argc ? argv[++i] : "";
		else if (!strncmp(arg, socket_equals, strlen(socket_equals)))
			socket_option = arg + strlen(socket_equals);
		else
			global_unknown(arg);
		if (!*socket_option)
			die(EXIT_USAGE, "--socket needs a value");
	}
	return i;
}

int main(int argc, char **argv)
{
	const struct verb *verb;
	struct args args;
	int first, status;

	setlocale(LC_CTYPE, "");
	if (argc > 1 && !strcmp(argv[1], "--complete"))
		return complete(argc - 2, argv + 2);
	first = parse_global(argc, argv);
	if (first == argc)
		die(EXIT_USAGE, "a verb is missing (try 'blkgraph help')");
	verb = verb_find(argv[first]);
	if (!verb)
		verb_unknown(argv[first]);
	args_parse(&args, verb, argc - first, argv + first);
	status = verb->run(&args);
	if (fflush(stdout) || ferror(stdout))
		die(EXIT_IO, "cannot write the output");
	return status;
}
