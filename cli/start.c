/* SPDX-License-Identifier: MIT */
/*
 * start.c - starts blkgraphd when there is none: blkgraph start, and the verbs
 * that need one, or one that is ours alone; blkgraph stop.
 *
 * The daemon lies beside this program or on the PATH. It is started by one
 * process at a time (a lock file beside the socket); whoever waited finds it
 * running. It goes to the background itself and lets us go when the socket
 * answers, so there is nothing to poll.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

/* Where one of our own finds the socket of its client. */
#define CLIENT_FD (STDERR_FILENO + 1)

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

/* In the child; client: the socket that it serves, -1: none. */
static void __attribute__((noreturn))
exec_daemon(char **argv, int client, int output)
{
	char *beside = daemon_beside();
	int null = open("/dev/null", O_RDWR);
	int kept = STDERR_FILENO;

	/* below what is kept there may be holes */
	output = fcntl(output, F_DUPFD_CLOEXEC, CLIENT_FD + 1);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (client >= 0) {
		client = fcntl(client, F_DUPFD_CLOEXEC, CLIENT_FD + 1);
		dup2(client, CLIENT_FD);
		kept = CLIENT_FD;
	}
	dup2(output, STDERR_FILENO);
	/* locks and pipes of our caller are not the daemon's to keep */
	close_range((unsigned)kept + 1, ~0u, CLOSE_RANGE_CLOEXEC);
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

/* Starts it; gives where it says what hinders it. */
static int fork_daemon(char **argv, int client, pid_t *child)
{
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0 || (*child = fork()) < 0)
		die(EXIT_ERROR, "cannot start blkgraphd: %s", strerror(errno));
	if (*child == 0) {
		/* one of our own ends with us, whatever ends us */
		if (client >= 0 && (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 ||
				    getppid() != parent))
			_exit(EXIT_NO_DAEMON);
		exec_daemon(argv, client, ends[1]);
	}
	close(ends[1]);
	return ends[0];
}

/* Reads what it says to the end. Dies unless it exits with 0. */
static void reap_daemon(pid_t child, int output, const char *doing)
{
	char *said = read_output(output);
	int status;

	close(output);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status))
		die(EXIT_NO_DAEMON, "blkgraphd died%s: %s", doing,
		    strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status))
		die(WEXITSTATUS(status), "%s", last_line(said));
}

static void run_daemon(const char *socket)
{
	char *argv[] = {
		format("blkgraphd"), format("--daemonize"), format("--socket"),
		format("%s", socket), NULL,
	};
	pid_t child;
	int output = fork_daemon(argv, -1, &child);

	reap_daemon(child, output, " while starting");
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

static bool started_here;

void start_daemon(const char *path)
{
	char *socket = path[0] == '/' ? checked(strdup(path)) :
		format("%s/%s", (char *)checked(getcwd(NULL, 0)), path);
	int lock = lock_start(socket);
	int fd = client_socket(socket);

	/* somebody else was faster: the caller connects anew */
	if (fd >= 0) {
		close(fd);
	} else {
		take_over(socket);
		started_here = true;
	}
	close(lock);
	free(socket);
}

void end_started_daemon(void)
{
	json_t *in_use;

	if (started_here &&
	    client_call("blkgraph-quit-if-unused", NULL, &in_use))
		client_wait_gone();
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

/* --- one of our own ------------------------------------------------------ */

/* It ends as soon as it hears that we do; storage that does not answer is not
 * waited for. */
#define OWN_END_MS 5000

static struct {
	pid_t pid;	/* 0: there is none */
	int socket, output;
} own;

/* When we exit no daemon is left, and no lock that it has. */
static void end_own_daemon(void)
{
	struct pollfd end = { .events = POLLIN };

	if (!own.pid)
		return;
	shutdown(own.socket, SHUT_RDWR);
	end.fd = pidfd_open(own.pid, 0);
	if (end.fd < 0 || poll(&end, 1, OWN_END_MS) != 1)
		kill(own.pid, SIGKILL);
	while (waitpid(own.pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int start_own_daemon(void)
{
	char *argv[] = {
		format("blkgraphd"), format("--client-fd"),
		format("%d", CLIENT_FD), format("--threads"), format("1"),
		NULL,
	};
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		die(EXIT_ERROR, "cannot start blkgraphd: %s", strerror(errno));
	own.output = fork_daemon(argv, ends[1], &own.pid);
	own.socket = ends[0];
	close(ends[1]);
	atexit(end_own_daemon);
	return own.socket;
}

void own_daemon_died(void)
{
	pid_t pid = own.pid;

	own.pid = 0;
	if (pid)
		reap_daemon(pid, own.output, "");
}
