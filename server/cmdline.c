/* SPDX-License-Identifier: MIT */
/*
 * cmdline.c - what blkgraphd is told on its command line.
 *
 * One table drives parser and --help; the check of the manual page reads the
 * latter. Nothing else runs yet.
 */
#include "server/cmdline.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/compiler.h"
#include "runtime/thread.h"

#define EXIT_USAGE 2
#define OPEN_DEADLINE_S 120

enum {
	CMD_SOCKET, CMD_STATE_DIR, CMD_DAEMONIZE, CMD_PIDFILE, CMD_LOG,
	CMD_CLIENT_FD, CMD_THREADS, CMD_DRAIN_DEADLINE, CMD_OPEN_DEADLINE,
	CMD_BLOCKDEV, CMD_EXPORT, CMD_NBD_SERVER, CMD_OBJECT, CMD_CHARDEV,
	CMD_MONITOR, CMD_TRACE, CMD_HELP, CMD_VERSION, CMD_COUNT,
};

static const struct cmdline_option {
	const char *name;
	char letter;		/* or 0 */
	const char *arg, *help;
} cmdline_options[CMD_COUNT] = {
	[CMD_SOCKET] = { "socket", 0, "PATH",
		"control socket; default: $BLKGRAPH_SOCKET or\n"
		DEFAULT_SOCKET },
	[CMD_STATE_DIR] = { "state-dir", 0, "DIR",
		"where the state log is kept; default:\n"
		DEFAULT_STATE_DIR ", or beside another socket" },
	[CMD_DAEMONIZE] = { "daemonize", 0, NULL,
		"go to the background when the socket answers" },
	[CMD_PIDFILE] = { "pidfile", 0, "PATH",
		"write the process id there" },
	[CMD_LOG] = { "log", 0, "PATH",
		"append messages there; default: stderr,\n"
		"in the background SOCKET.log" },
	[CMD_CLIENT_FD] = { "client-fd", 0, "N",
		"serve the client at this socket, and end with it" },
	[CMD_THREADS] = { "threads", 0, "N",
		"I/O threads; default: by the number of CPUs" },
	[CMD_DRAIN_DEADLINE] = { "drain-deadline", 0, "SECONDS",
		"undo a change whose drain takes longer: 10" },
	[CMD_OPEN_DEADLINE] = { "open-deadline", 0, "SECONDS",
		"give up opening what takes longer: 120" },
	[CMD_BLOCKDEV] = { "blockdev", 0, "OPTIONS",
		"open a node: [driver=]DRIVER,node-name=NAME,...\n"
		"('help', 'DRIVER,help' show more)" },
	[CMD_EXPORT] = { "export", 0, "OPTIONS",
		"show a node: [type=]TYPE,id=ID,node-name=NAME" },
	[CMD_NBD_SERVER] = { "nbd-server", 0, "OPTIONS",
		"listen: addr.type=unix,addr.path=PATH,..." },
	[CMD_OBJECT] = { "object", 0, "OPTIONS",
		"make an object: [qom-type=]TYPE,id=ID,..." },
	[CMD_CHARDEV] = { "chardev", 0, "OPTIONS",
		"make an end to talk on: [backend=]socket,id=ID,\n"
		"path=PATH,server=on,wait=off; or stdio,id=ID" },
	[CMD_MONITOR] = { "monitor", 0, "OPTIONS",
		"speak the control protocol there:\n"
		"[chardev=]ID[,pretty=on]" },
	[CMD_TRACE] = { "trace", 'T', "PATTERN",
		"there are no trace events: a warning" },
	[CMD_HELP] = { "help", 'h', NULL, "show this" },
	[CMD_VERSION] = { "version", 'V', NULL, "show the version" },
};

static void cmdline_print_help(void)
{
	printf("Usage: blkgraphd [OPTION]...\n"
	       "Serves disk images as block devices; see blkgraphd(8).\n\n");
	for (int i = 0; i < CMD_COUNT; i++) {
		const struct cmdline_option *o = &cmdline_options[i];
		const char *line = o->help, *end;
		char left[40];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s",
			 o->letter ? "-" : "   ", o->letter ? o->letter : ' ',
			 o->letter ? ", " : "", o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		while ((end = strchr(line, '\n')) != NULL) {
			printf("  %-29s %.*s\n", left, (int)(end - line), line);
			line = end + 1;
			left[0] = 0;
		}
		printf("  %-29s %s\n", left, line);
	}
}

static void PRINTF(1, 2) __attribute__((noreturn))
cmdline_wrong(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "blkgraphd: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(EXIT_USAGE);
}

static void *checked(void *pointer)
{
	if (!pointer) {
		fprintf(stderr, "blkgraphd: out of memory\n");
		exit(EXIT_FAILURE);
	}
	return pointer;
}

static char *join(const char *a, const char *b, const char *c)
{
	char *text;

	if (asprintf(&text, "%s%s%s", a, b, c) < 0)
		text = NULL;
	return checked(text);
}

static char *absolute(const char *path)
{
	char *here, *all;

	if (path[0] == '/')
		return checked(strdup(path));
	here = checked(getcwd(NULL, 0));
	all = join(here, "/", path);
	free(here);
	return all;
}

static void set_path(char **to, const char *path)
{
	free(*to);
	*to = absolute(path);
}

static unsigned number(const struct cmdline_option *o, const char *text,
		       unsigned lowest, unsigned highest)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || end == text || value < lowest ||
	    value > highest)
		cmdline_wrong("--%s takes a number from %u to %u, not '%s'",
			      o->name, lowest, highest, text);
	return (unsigned)value;
}

static void add_step(struct cmdline *cmd, int which, const char *text)
{
	struct cmdline_step *step;

	cmd->steps = checked(reallocarray(cmd->steps, cmd->step_count + 1,
					  sizeof(*cmd->steps)));
	step = &cmd->steps[cmd->step_count++];
	step->option = cmdline_options[which].name;
	step->text = checked(strdup(text));
}

static void cmdline_option_apply(struct cmdline *cmd, int which,
				 const char *arg)
{
	const struct cmdline_option *o = &cmdline_options[which];

	if (arg && !*arg)
		cmdline_wrong("--%s needs a value", o->name);
	switch (which) {
	case CMD_SOCKET:
		set_path(&cmd->socket, arg);
		break;
	case CMD_STATE_DIR:
		set_path(&cmd->state_dir, arg);
		break;
	case CMD_DAEMONIZE:
		cmd->daemonize = true;
		break;
	case CMD_PIDFILE:
		set_path(&cmd->pid_file, arg);
		break;
	case CMD_LOG:
		set_path(&cmd->log_file, arg);
		break;
	case CMD_CLIENT_FD:
		cmd->client_fd = (int)number(o, arg, 3, INT_MAX);
		break;
	case CMD_THREADS:
		cmd->threads = number(o, arg, 1, THREADS_MAX - 1);
		break;
	case CMD_DRAIN_DEADLINE:
		cmd->drain_deadline_s = number(o, arg, 1, 3600);
		break;
	case CMD_OPEN_DEADLINE:
		cmd->open_deadline_s = number(o, arg, 1, 86400);
		break;
	case CMD_BLOCKDEV:
	case CMD_EXPORT:
	case CMD_NBD_SERVER:
	case CMD_OBJECT:
	case CMD_CHARDEV:
	case CMD_MONITOR:
		add_step(cmd, which, arg);
		break;
	case CMD_TRACE:
		fprintf(stderr, "blkgraphd: warning: trace event '%s' does "
			"not exist\n", arg);
		break;
	case CMD_HELP:
		cmdline_print_help();
		exit(EXIT_SUCCESS);
	case CMD_VERSION:
		printf("blkgraphd " BLKGRAPH_VERSION "\n");
		exit(EXIT_SUCCESS);
	}
}

/* What follows from the rest. */
static void cmdline_complete(struct cmdline *cmd)
{
	const char *env = getenv("BLKGRAPH_SOCKET"), *base;

	if (cmd->client_fd >= 0 && (cmd->socket || cmd->state_dir ||
				    cmd->daemonize))
		cmdline_wrong("--client-fd goes without --%s", cmd->socket ?
			      "socket" : cmd->state_dir ? "state-dir" :
			      "daemonize");
	if (!cmd->socket && cmd->state_dir && cmd->step_count)
		cmdline_wrong("--state-dir needs --socket where --%s is given",
			      cmd->steps[0].option);
	if (!cmd->socket && (cmd->step_count || cmd->client_fd >= 0)) {
		set_path(&cmd->mount_dir, DEFAULT_MOUNT_DIR);
		return;
	}
	if (!cmd->socket)
		set_path(&cmd->socket, env && *env ? env : DEFAULT_SOCKET);
	base = strrchr(cmd->socket, '/');
	if (!cmd->state_dir && !strcmp(cmd->socket, DEFAULT_SOCKET))
		set_path(&cmd->state_dir, DEFAULT_STATE_DIR);
	else if (!cmd->state_dir)
		cmd->state_dir = checked(strndup(cmd->socket, (size_t)
			(base == cmd->socket ? 1 : base - cmd->socket)));
	if (!strcmp(cmd->socket, DEFAULT_SOCKET))
		set_path(&cmd->mount_dir, DEFAULT_MOUNT_DIR);
	else
		cmd->mount_dir = join(cmd->socket, "", ".fuse");
	cmd->lock = join(cmd->socket, "", ".lock");
	if (cmd->daemonize && !cmd->log_file)
		cmd->log_file = join(cmd->socket, "", ".log");
	cmd->state_log = join(cmd->state_dir, base, ".state");
}

/* Of a word that getopt refuses, for which it gave `got`. */
static void __attribute__((noreturn)) cmdline_refuse(int got, const char *word)
{
	int len = (int)strcspn(word, "=");
	const char *known = NULL;

	if (got == 1)
		cmdline_wrong("'%s' is too much: blkgraphd takes no operand",
			      word);
	if (got == ':' && optopt < 256)
		cmdline_wrong("-%c needs a value", optopt);
	if (got == ':')
		cmdline_wrong("--%s needs a value",
			      cmdline_options[optopt - 256].name);
	if (optopt >= 256)
		cmdline_wrong("--%s takes no value, not '%s'",
			      cmdline_options[optopt - 256].name,
			      word + len + 1);
	if (optopt && isgraph(optopt))
		cmdline_wrong("there is no option '-%c' (try 'blkgraphd "
			      "--help')", optopt);
	/* it is short for several, or for none */
	for (int i = 0; i < CMD_COUNT; i++) {
		const char *name = cmdline_options[i].name;

		if (len <= 2 || strncmp(name, word + 2, (size_t)len - 2))
			continue;
		if (known)
			cmdline_wrong("'%.*s' may be '--%s' or '--%s'", len,
				      word, known, name);
		known = name;
	}
	cmdline_wrong("there is no option '%.*s' (try 'blkgraphd --help')",
		      len, word);
}

void cmdline_parse(struct cmdline *cmd, int argc, char **argv)
{
	struct option longs[CMD_COUNT + 1] = { 0 };
	int which, at;

	memset(cmd, 0, sizeof(*cmd));
	cmd->open_deadline_s = OPEN_DEADLINE_S;
	cmd->client_fd = -1;
	for (int i = 0; i < CMD_COUNT; i++) {
		longs[i].name = cmdline_options[i].name;
		longs[i].has_arg = cmdline_options[i].arg ?
			required_argument : no_argument;
		longs[i].val = 256 + i;
	}
	opterr = 0;
	/* words in their order: what is refused is the one at `at` */
	for (at = optind; (which = getopt_long(argc, argv, "-:hVT:", longs,
					       NULL)) != -1; at = optind) {
		if (which == 'h')
			which = 256 + CMD_HELP;
		else if (which == 'V')
			which = 256 + CMD_VERSION;
		else if (which == 'T')
			which = 256 + CMD_TRACE;
		else if (which < 256)
			cmdline_refuse(which, argv[at]);
		cmdline_option_apply(cmd, which - 256, optarg);
	}
	if (optind < argc)
		cmdline_refuse(1, argv[optind]);
	cmdline_complete(cmd);
}

void cmdline_free(struct cmdline *cmd)
{
	for (unsigned i = 0; i < cmd->step_count; i++)
		free(cmd->steps[i].text);
	free(cmd->steps);
	free(cmd->socket);
	free(cmd->lock);
	free(cmd->state_dir);
	free(cmd->mount_dir);
	free(cmd->state_log);
	free(cmd->pid_file);
	free(cmd->log_file);
}
