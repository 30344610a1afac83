/* SPDX-License-Identifier: MIT */
/*
 * monitor.c - the control socket and its clients.
 *
 * Main thread. A client is freed by its own coroutine, when its reader has
 * seen the end of the connection, its command is over and its writer has left.
 */
#include "server/monitor.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/ring.h"
#include "server/json-stream.h"
#include "server/log.h"
#include "server/qmp.h"

#define CLIENTS_MAX 64u
/* Bytes not yet read by the client at which it is dropped. */
#define BACKLOG_MAX (1024u * 1024)
/* How long a client that does not read keeps the daemon from leaving. */
#define LEAVE_TIMEOUT_NS 1000000000ull
#define STALL_NS 10000000ull

struct client {
	int fd;
	struct qmp_session session;
	struct json_stream in;
	char *out;
	size_t out_len, out_sent;
	bool writing;		/* client_write is at work */
	bool closing;
	unsigned stalls;	/* in a row, STALL_NS each */
	struct co *reader;	/* waits for client_write to leave; or NULL */
	struct client *next;
};

static struct {
	int fd;
	const struct command *commands;
	struct client *clients;
	unsigned count;
	bool accepting, stopping;
	struct co *stopper;
} monitor = { .fd = -1 };

static void client_drop(struct client *c)
{
	c->closing = true;
	/* wakes whoever waits for this descriptor */
	shutdown(c->fd, SHUT_RDWR);
}

/* Sends what the socket takes at once. False: it would wait, or is dead. */
static bool client_send_some(struct client *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_sent,
				 c->out_len - c->out_sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		c->out_sent += (size_t)n;
	}
	c->out_sent = 0;
	c->out_len = 0;
	return true;
}

/* Waits until more can be sent. False: that will not be. */
static bool client_wait_writable(struct client *c)
{
	int ready = co_poll(c->fd, POLLOUT, LEAVE_TIMEOUT_NS);

	if (ready == -ETIMEDOUT)
		return !c->closing && !monitor.stopping;
	if (ready < 0 || ready & (POLLERR | POLLHUP))
		return false;
	if (ready & POLLOUT) {
		c->stalls = 0;
		return true;
	}
	/* When input has ended io_uring reports that and nothing else, at
	 * once. Whoever asked and then closed its side still gets answers,
	 * as long as it reads. */
	co_sleep(STALL_NS);
	return ++c->stalls < LEAVE_TIMEOUT_NS / STALL_NS;
}

static void client_write(void *arg)
{
	struct client *c = arg;

	do {
		if (!client_wait_writable(c)) {
			client_drop(c);
			break;
		}
	} while (!client_send_some(c) && errno == EAGAIN);
	c->writing = false;
	if (c->reader)
		co_wake(c->reader);
}

/* Takes over msg. Any coroutine of the main thread; does not wait. */
static void client_send(struct client *c, json_t *msg)
{
	char *text = json_dumps(msg, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;
	char *out;

	json_decref(msg);
	if (c->closing || c->out_len - c->out_sent > BACKLOG_MAX) {
		free(text);
		client_drop(c);
		return;
	}
	if (c->out_sent) {
		c->out_len -= c->out_sent;
		memmove(c->out, c->out + c->out_sent, c->out_len);
		c->out_sent = 0;
	}
	out = realloc(c->out, c->out_len + len + 1);
	if (!text || !out) {
		free(text);
		client_drop(c);
		return;
	}
	memcpy(out + c->out_len, text, len);
	out[c->out_len + len] = '\n';
	free(text);
	c->out = out;
	c->out_len += len + 1;
	if (c->writing || client_send_some(c))
		return;
	c->writing = errno == EAGAIN && co_spawn(client_write, c);
	if (!c->writing)
		client_drop(c);
}

/* Waits until everything sent is with the kernel, or the client is gone. */
static void client_wait_sent(struct client *c)
{
	if (!c->writing)
		return;
	c->reader = co_self();
	co_wait();
	c->reader = NULL;
}

/* After this the stream cannot be followed any more. */
static void client_refuse(struct client *c, enum json_stream_result why)
{
	struct error *err CLEANUP_ERROR = NULL;

	if (why == JSON_STREAM_TOO_DEEP)
		error_set(&err, E2BIG, "JSON nested deeper than %u levels",
			  JSON_STREAM_DEPTH);
	else
		error_set(&err, E2BIG, "JSON longer than %u bytes",
			  JSON_STREAM_MAX);
	client_send(c, qmp_error(&err));
	client_wait_sent(c);
	client_drop(c);
}

static void client_input(struct client *c, const char *data, size_t len)
{
	while (!c->closing && !monitor.stopping) {
		enum json_stream_result got =
			json_stream_feed(&c->in, &data, &len);

		if (got == JSON_STREAM_MORE)
			return;
		if (got != JSON_STREAM_VALUE) {
			client_refuse(c, got);
			return;
		}
		client_send(c, qmp_handle(&c->session, c->in.text, c->in.len));
		/* who does not read replies gives no more commands */
		client_wait_sent(c);
	}
}

static void client_read(struct client *c)
{
	char data[2048];

	while (!c->closing) {
		ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

		if (n > 0)
			client_input(c, data, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return;
		else if (monitor.stopping)
			return;
		else
			co_poll(c->fd, POLLIN, 0);
	}
}

static void client_unlink(struct client *c)
{
	struct client **at = &monitor.clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	monitor.count--;
}

static void client_run(void *arg)
{
	struct client *c = arg;

	client_send(c, qmp_greeting());
	client_read(c);
	/* what was asked before the end of input is still answered */
	client_wait_sent(c);
	client_unlink(c);
	close(c->fd);
	json_stream_free(&c->in);
	free(c->out);
	free(c);
	if (monitor.stopper && !monitor.clients && !monitor.accepting)
		co_wake(monitor.stopper);
}

static void monitor_log_peer(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		log_write(LOG_INFO, "Client: process %ld, user %ld",
			  (long)peer.pid, (long)peer.uid);
}

static void monitor_admit(int fd)
{
	struct client *c = monitor.count < CLIENTS_MAX ?
		calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		log_write(LOG_WARNING, "More than %u clients: one refused",
			  CLIENTS_MAX);
		close(fd);
		return;
	}
	monitor_log_peer(fd);
	c->fd = fd;
	c->session.commands = monitor.commands;
	json_stream_init(&c->in);
	c->next = monitor.clients;
	monitor.clients = c;
	monitor.count++;
	if (!co_spawn(client_run, c)) {
		client_unlink(c);
		close(fd);
		free(c);
	}
}

static void monitor_accept(void *arg)
{
	(void)arg;
	while (!monitor.stopping) {
		int fd = accept4(monitor.fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			monitor_admit(fd);
		else if (errno == EAGAIN)
			co_poll(monitor.fd, POLLIN, 0);
		else if (errno == EMFILE || errno == ENFILE)
			/* the connection stays pending: no busy loop */
			co_sleep(100 * 1000 * 1000);
		else if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
	close(monitor.fd);
	monitor.accepting = false;
	if (monitor.stopper && !monitor.clients)
		co_wake(monitor.stopper);
}

int monitor_listen(const char *path, struct error **err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, ENAMETOOLONG,
				 "Socket path '%s' is longer than %zu bytes",
				 path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, errno, "Cannot make a socket: %s",
				 strerror(errno));
	/* left by a daemon that died: the caller has its lock */
	unlink(path);
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (rc < 0 || listen(fd, 64) < 0) {
		rc = error_set(err, errno, "Cannot listen on '%s': %s", path,
			       strerror(errno));
		close(fd);
		return rc;
	}
	return fd;
}

int monitor_start(int fd, const struct command *commands, struct error **err)
{
	monitor.fd = fd;
	monitor.commands = commands;
	monitor.accepting = true;
	if (co_spawn(monitor_accept, NULL))
		return 0;
	monitor.accepting = false;
	close(fd);
	return error_set(err, ENOMEM, "No stack for the control socket");
}

void co_monitor_stop(void)
{
	monitor.stopping = true;
	if (monitor.accepting)
		shutdown(monitor.fd, SHUT_RDWR);
	for (struct client *c = monitor.clients; c; c = c->next)
		shutdown(c->fd, SHUT_RD);
	if (!monitor.clients && !monitor.accepting)
		return;
	monitor.stopper = co_self();
	co_wait();
	monitor.stopper = NULL;
}

void monitor_event(const char *name, json_t *data)
{
	json_t *event = qmp_event(name, data);

	for (struct client *c = monitor.clients; c; c = c->next)
		if (c->session.negotiated)
			client_send(c, json_incref(event));
	json_decref(event);
}
