/* SPDX-License-Identifier: MIT */
/*
 * client.c - the control protocol, from the side of whoever types.
 *
 * One connection, commands one after the other. Events are kept for who asks.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"

/* A daemon that does not even greet is no daemon. Commands may take as long
 * as they take: the daemon has the deadlines. */
#define GREETING_TIMEOUT_S 10
/* It gives up what does not end within 110 s. */
#define LEAVE_TIMEOUT_S 120
#define STARTS_MOST 5
#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

#define CLOSED "blkgraphd closed the connection (see its log)"

static FILE *from_daemon, *to_daemon;

/* One that answers no more, or none that ever did. */
static void __attribute__((noreturn)) no_daemon(const char *otherwise)
{
	bool one;
	char *dead = dead_daemon(socket_path(), &one);

	if (dead)
		die(EXIT_NO_DAEMON, "%s: 'blkgraph start' takes %s away", dead,
		    one ? "it" : "them");
	die(EXIT_NO_DAEMON, "%s", otherwise);
}

/* Whoever listened on the other side has ended; false: he has not. */
static bool wait_for_end_of_peer(int fd, int seconds)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	struct pollfd end = { .events = POLLIN };
	bool ended;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    peer.pid <= 0)
		return false;
	end.fd = pidfd_open(peer.pid, 0);
	if (end.fd < 0)
		return errno == ESRCH;
	ended = poll(&end, 1, seconds * 1000) == 1;
	close(end.fd);
	return ended;
}

static void set_timeout(int fd, long seconds)
{
	struct timeval tv = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

/* A connected socket or -errno. */
int client_socket(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) > SOCKET_PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int code = errno;

		close(fd);
		return -code;
	}
	return fd;
}

/* The next message; NULL: the connection is closed. */
static json_t *client_next(void)
{
	static char *line;
	static size_t size;
	ssize_t len;
	json_t *msg;

	errno = 0;
	len = getline(&line, &size, from_daemon);
	if (len < 0) {
		if (errno == EAGAIN)
			die(EXIT_TIMEOUT, "blkgraphd does not answer on '%s'",
			    socket_path());
		return NULL;
	}
	msg = json_read(line, (size_t)len, JSON_ALLOW_NUL, NULL);
	if (!json_is_object(msg))
		die(EXIT_ERROR, "what answers on '%s' is no blkgraphd",
		    socket_path());
	return msg;
}

static void __attribute__((noreturn)) client_closed(void)
{
	own_daemon_died();
	(void)wait_for_end_of_peer(fileno(from_daemon), GREETING_TIMEOUT_S);
	no_daemon(CLOSED);
}

static json_t *client_receive(void)
{
	json_t *msg = client_next();

	if (!msg)
		client_closed();
	return msg;
}

/* Events that came while a reply was waited for. */
static json_t *client_events;

json_t *client_event(void)
{
	json_t *event = json_incref(json_array_get(client_events, 0));

	if (!event)
		return client_next();
	json_array_remove(client_events, 0);
	return event;
}

void client_wait(int milliseconds)
{
	struct pollfd next = { .fd = fileno(from_daemon), .events = POLLIN };

	if (client_events)
		json_array_clear(client_events);
	poll(&next, 1, milliseconds);
}

static json_t *client_reply(void)
{
	json_t *msg;

	if (!client_events)
		client_events = checked(json_array());
	while (json_object_get(msg = client_receive(), "event"))
		json_array_append_new(client_events, msg);
	return msg;
}

json_t *client_call(const char *command, json_t *arguments, json_t **error)
{
	json_t *msg = checked(json_pack("{s:o,s:o}", "execute",
					json_text(command),
					"arguments", arguments ? arguments :
					json_object()));
	char *text = checked(json_write(msg, JSON_COMPACT));
	json_t *reply;

	if (fprintf(to_daemon, "%s\n", text) < 0 || fflush(to_daemon)) {
		if (errno == EPIPE)
			client_closed();
		die(EXIT_NO_DAEMON, "cannot send to blkgraphd: %s",
		    strerror(errno));
	}
	free(text);
	json_decref(msg);
	reply = client_reply();
	if (json_object_get(reply, "return"))
		return json_incref(json_object_get(reply, "return"));
	reply = json_object_get(reply, "error");
	if (!error)
		die(error_status(reply), "%s", error_text(reply));
	*error = reply;
	return NULL;
}

/*
 * Takes over the socket. False: it was closed before a word. One that is being
 * killed, or leaves, accepts connections to its last moment; by now it is gone.
 */
static bool client_greet(int fd)
{
	json_t *greeting, *capability, *enable = NULL;
	size_t i;

	set_timeout(fd, GREETING_TIMEOUT_S);
	from_daemon = checked(fdopen(fd, "r"));
	to_daemon = checked(fdopen(dup(fd), "w"));
	greeting = client_next();
	if (!greeting) {
		(void)wait_for_end_of_peer(fd, GREETING_TIMEOUT_S);
		fclose(from_daemon);
		fclose(to_daemon);
		from_daemon = to_daemon = NULL;
		return false;
	}
	if (!json_object_get(greeting, "QMP"))
		die(EXIT_ERROR, "what answers on '%s' is no blkgraphd",
		    socket_path());
	/* one of an older blkgraphd gives them unasked */
	json_array_foreach(json_object_get(json_object_get(greeting, "QMP"),
					   "capabilities"), i, capability)
		if (!strcmp(json_string_value(capability), "errno"))
			enable = json_pack("{s:[s]}", "enable", "errno");
	client_call("qmp_capabilities", enable, NULL);
	set_timeout(fd, 0);
	return true;
}

static bool nobody_serves(int rc)
{
	return rc == -ENOENT || rc == -ECONNREFUSED;
}

/* The socket is another's. */
static bool is_denied(int rc)
{
	return rc == -EACCES || rc == -EPERM;
}

/* Who can do without its devices goes on. */
static void warn_of_dead(const char *path)
{
	bool one;
	char *dead = dead_daemon(path, &one);

	if (dead)
		complain("%s: 'blkgraph start' takes %s away", dead,
			 one ? "it" : "them");
}

bool client_connect(enum connect_mode mode)
{
	const char *path = socket_path();
	bool one, greeted = false;
	int fd, starts = 0;

	if (from_daemon)
		return true;
	signal(SIGPIPE, SIG_IGN);
	fd = client_socket(path);
	if (fd >= 0 && client_greet(fd))
		return true;
	if (fd >= 0)
		fd = client_socket(path);
	if (is_denied(fd) && mode == CONNECT_IF_MAY)
		return false;
	if ((nobody_serves(fd) || is_denied(fd)) && mode == CONNECT_OR_OWN) {
		warn_of_dead(path);
		fd = start_own_daemon();
	}
	/* another's, which that one started in vain, may end as we come */
	while (nobody_serves(fd) && mode == CONNECT_OR_START &&
	       starts++ < STARTS_MOST) {
		start_daemon(path);
		fd = client_socket(path);
		greeted = fd >= 0 && client_greet(fd);
		if (fd >= 0 && !greeted)
			fd = client_socket(path);
	}
	if (nobody_serves(fd)) {
		char *none = format("no blkgraphd serves '%s'", path);

		if ((mode != CONNECT_IF_THERE && mode != CONNECT_IF_MAY) ||
		    dead_daemon(path, &one))
			no_daemon(none);
		return false;
	}
	if (fd == -ENAMETOOLONG)
		die(EXIT_USAGE, "the socket's path '%s' is longer than %zu "
		    "bytes", path, SOCKET_PATH_MAX);
	if (fd < 0)
		die(errno_status(-fd), "cannot connect to '%s': %s", path,
		    strerror(-fd));
	if (!greeted && !client_greet(fd)) {
		own_daemon_died();
		no_daemon(CLOSED);
	}
	return true;
}

void client_wait_gone(void)
{
	if (!wait_for_end_of_peer(fileno(from_daemon), LEAVE_TIMEOUT_S))
		die(EXIT_TIMEOUT, "blkgraphd has not ended after %d s (see "
		    "its log)", LEAVE_TIMEOUT_S);
}

/* --- errors ------------------------------------------------------------ */

static const struct {
	int code, status;
} statuses[] = {
	{ ENOENT, EXIT_NOT_FOUND }, { ENXIO, EXIT_NOT_FOUND },
	{ ENOTDIR, EXIT_NOT_FOUND }, { EBUSY, EXIT_BUSY },
	{ EAGAIN, EXIT_BUSY }, { ETXTBSY, EXIT_BUSY },
	{ EACCES, EXIT_DENIED }, { EPERM, EXIT_DENIED },
	{ EROFS, EXIT_DENIED }, { EIO, EXIT_IO }, { ENOSPC, EXIT_IO },
	{ EDQUOT, EXIT_IO }, { EREMOTEIO, EXIT_IO },
	{ EUCLEAN, EXIT_CORRUPT }, { EBADMSG, EXIT_CORRUPT },
	{ ETIMEDOUT, EXIT_TIMEOUT }, { ETIME, EXIT_TIMEOUT },
};

#define STATUS_COUNT (sizeof(statuses) / sizeof(statuses[0]))

int errno_status(int code)
{
	for (size_t i = 0; i < STATUS_COUNT; i++)
		if (statuses[i].code == code)
			return statuses[i].status;
	return EXIT_ERROR;
}

int error_status(const json_t *error)
{
	const char *name = get_string(error, "errno");

	if (!strcmp(get_string(error, "class"), "DeviceNotFound"))
		return EXIT_NOT_FOUND;
	for (size_t i = 0; i < STATUS_COUNT; i++)
		if (!strcmp(strerrorname_np(statuses[i].code), name))
			return statuses[i].status;
	return EXIT_ERROR;
}

const char *error_text(const json_t *error)
{
	return format("%s%s", get_string(error, "desc"),
		      get_string(error, "more"));
}

char *renamed(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);

	if (!at)
		return checked(strdup(text));
	return format("%.*s%s%s", (int)(at - text), text, to,
		      at + strlen(from));
}

json_t *device_call(const char *command, json_t *arguments, const char *name,
		    json_t **error)
{
	json_t *why = NULL, *result = client_call(command, arguments, &why);

	if (result)
		return result;
	/* the protocol's word for it is another */
	if (!strcmp(error_text(why), format("Export '%s' is not found",
					    device_name(name))))
		json_object_set_new(why, "desc", json_text(
			format("there is no device '%s'", name)));
	if (!error)
		die(error_status(why), "%s", error_text(why));
	*error = why;
	return NULL;
}

/* --- members ------------------------------------------------- */

const char *get_string(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value ? value : "";
}

uint64_t get_uint(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

bool get_bool(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

json_t *find_by(json_t *array, const char *name, const char *value)
{
	json_t *member;
	size_t i;

	json_array_foreach(array, i, member)
		if (!strcmp(get_string(member, name), value))
			return member;
	return NULL;
}
