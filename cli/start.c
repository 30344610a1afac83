/* SPDX-License-Identifier: MIT */
/*
 * start.c - starts blkgraphd when there is none: blkgraph start, and the verbs
 * that need one; blkgraph stop.
 *
 * The daemon lies beside this program or on the PATH. It is started by one
 * process at a time (a lock file beside the socket); whoever waited finds it
 * running. It goes to the background itself and lets us go when the socket
 * answers, so there is nothing to poll.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/close_range.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

static int lock_start(const char *socket)
{
	char *dir = format("%.*s", (int)(strrchr(socket, '/') - socket),
			   socket);
	char *path = format("%s.start", socket);
	int fd;

	/* the daemon would make it, but the lock lies in it */
	if (*dir && mkdir(dir, 0700) < 0 && errno != EEXIST)
		die(errno == EACCES ? EXIT_DENIED : EXIT_NO_DAEMON,
		    "cannot make directory '%s': %s", dir, strerror(errno));
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		die(errno == EACCES ? EXIT_DENIED : EXIT_NO_DAEMON,
		    "cannot lock '%s': %s", path, strerror(errno));
	free(dir);
	free(path);
	return fd;
}

/* Beside this program, or NULL. */
static char *daemon_beside(void)
{
	char *self = realpath("/proc/self/exe", NULL), *path;

	if (!self)
		return NULL;
	path = format("%.*s/blkgraphd", (int)(strrchr(self, '/') - self),
		      self);
	free(self);
	if (access(path, X_OK) == 0)
		return path;
	free(path);
	return NULL;
}

/* In the child. */
static void exec_daemon(const char *socket, int output)
{
	char *beside = daemon_beside();
	char *argv[] = {
		format("blkgraphd"), format("--daemonize"), format("--socket"),
		format("%s", socket), NULL,
	};
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	/* locks and pipes of our caller are not the daemon's to keep */
	close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	if (beside)
		execv(beside, argv);
	else
		execvp("blkgraphd", argv);
	dprintf(STDERR_FILENO, "blkgraphd: cannot be started: %s\n",
		strerror(errno));
	_exit(EXIT_NO_DAEMON);
}

/* What the daemon says until it goes to the background, or gives up. */
static char *read_output(int fd)
{
	static char text[2048];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	while (len && text[len - 1] == '\n')
		len--;
	text[len] = 0;
	return text;
}

/* The last line, without the daemon's name. */
static const char *last_line(const char *text)
{
	static const char prefix[] = "blkgraphd: ";
	const char *line = strrchr(text, '\n');

	line = line ? line + 1 : text;
	if (!strncmp(line, prefix, strlen(prefix)))
		line += strlen(prefix);
	return *line ? line : "blkgraphd did not start";
}

static void run_daemon(const char *socket)
{
	int ends[2], status;
	char *said;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0 || (child = fork()) < 0)
		die(EXIT_ERROR, "cannot start blkgraphd: %s", strerror(errno));
	if (child == 0)
		exec_daemon(socket, ends[1]);
	close(ends[1]);
	said = read_output(ends[0]);
	close(ends[0]);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status))
		die(EXIT_NO_DAEMON, "blkgraphd died while starting: %s",
		    strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status))
		die(WEXITSTATUS(status), "%s", last_line(said));
}

/* Users of a dead one's devices had errors since; now these are gone. */
static void take_over(const char *socket)
{
	bool one;
	char *dead = dead_daemon(socket, &one);

	run_daemon(socket);
	if (dead)
		complain("%s: %s taken away", dead, one ? "it is" :
			 "they are");
}

void start_daemon(const char *path)
{
	char *socket = path[0] == '/' ? checked(strdup(path)) :
		format("%s/%s", (char *)checked(getcwd(NULL, 0)), path);
	int lock = lock_start(socket);
	int fd = client_socket(socket);

	/* somebody else was faster: the caller connects anew */
	if (fd >= 0)
		close(fd);
	else
		take_over(socket);
	close(lock);
	free(socket);
}

int verb_start(const struct args *args)
{
	(void)args;
	client_connect(CONNECT_OR_START);
	return EXIT_DONE;
}

int verb_stop(const struct args *args)
{
	bool one;

	(void)args;
	if (!client_connect(CONNECT_IF_THERE))
		return EXIT_DONE;
	client_call("quit", NULL, NULL);
	client_wait_gone();
	if (dead_daemon(socket_path(), &one))
		die(EXIT_IO, "blkgraphd has ended, but left something behind "
		    "(see 'blkgraph log')");
	return EXIT_DONE;
}
