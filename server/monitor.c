/* SPDX-License-Identifier: MIT */
/*
 * monitor.c - where clients of the control protocol come from, and the clients.
 *
 * Main thread. A client is freed by its own coroutine, when its reader has
 * seen the end of the connection, its command is over and its writer has left.
 */
#include "server/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/json.h"
#include "runtime/wait.h"
#include "runtime/co.h"
#include "runtime/ring.h"
#include "server/chardev.h"
#include "server/command.h"
#include "server/json-stream.h"
#include "server/log.h"
#include "server/qmp.h"

#define CLIENTS_MAX 64u
/* Bytes not yet read by the client at which it is dropped. */
#define BACKLOG_MAX (1024u * 1024)
/* How long a client that does not read keeps the daemon from leaving. */
#define LEAVE_TIMEOUT_NS 1000000000ull
#define STALL_NS 10000000ull

/* Where clients come from. */
struct point {
	int fd;			/* listened on; -1: the chardev has or makes
				 * the one connection */
	struct chardev *chardev;	/* or NULL: our own socket */
	/* fd is the one client's; called when it has gone. NULL: it is not */
	void (*ended)(void);
	bool pretty;
	unsigned clients;
	struct wait_event changed;	/* its client left, or we leave */
	struct point *next;
};

struct client {
	struct point *from;
	int in, out;
	bool socket;
	int in_flags, out_flags;	/* as they were: no socket is ours */
	struct qmp_session session;
	struct json_stream in_stream;
	char *queue;
	size_t out_len, out_sent;
	bool writing;		/* client_write is at work */
	bool closing;
	uint64_t silent_since;	/* its input is waited for; 0: it is not */
	struct poll *input;	/* this wait; or NULL */
	unsigned stalls;	/* in a row, STALL_NS each */
	struct co *reader;	/* waits for client_write to leave; or NULL */
	struct client *next;
};

static struct {
	struct point *points;
	struct client *clients;
	unsigned count;
	unsigned accepting;	/* points */
	bool shut;		/* nobody comes in */
	bool stopping;
	struct wait_event ended;
} monitor;

static void client_drop(struct client *c)
{
	c->closing = true;
	/* wakes whoever waits for this descriptor; who writes to what is no
	 * socket has a deadline */
	if (c->socket)
		shutdown(c->in, SHUT_RDWR);
	else
		poll_cancel(c->input);
}

static ssize_t client_put(const struct client *c, const char *data, size_t len)
{
	return c->socket ? send(c->out, data, len, MSG_NOSIGNAL) :
		write(c->out, data, len);
}

/* Sends what the socket takes at once. False: it would wait, or is dead. */
static bool client_send_some(struct client *c)
{
	while (c->out_sent < c->out_len) {
		ssize_t n = client_put(c, c->queue + c->out_sent,
				       c->out_len - c->out_sent);

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
	int ready = co_poll(c->out, POLLOUT, LEAVE_TIMEOUT_NS);

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
	char *text = json_write(msg, c->from->pretty ? JSON_INDENT(4) :
				JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;
	char *queue;

	json_decref(msg);
	if (c->closing || c->out_len - c->out_sent > BACKLOG_MAX) {
		free(text);
		client_drop(c);
		return;
	}
	if (c->out_sent) {
		c->out_len -= c->out_sent;
		memmove(c->queue, c->queue + c->out_sent, c->out_len);
		c->out_sent = 0;
	}
	queue = realloc(c->queue, c->out_len + len + 1);
	if (!text || !queue) {
		free(text);
		client_drop(c);
		return;
	}
	memcpy(queue + c->out_len, text, len);
	queue[c->out_len + len] = '\n';
	free(text);
	c->queue = queue;
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

static void client_input(struct client *c, const char *data, size_t len)
{
	while (!c->closing && !monitor.stopping) {
		struct error *err CLEANUP_ERROR = NULL;
		json_t *msg = NULL;
		enum json_stream_result got =
			json_stream_feed(&c->in_stream, &data, &len, &msg,
					 &err);

		if (got == JSON_STREAM_MORE)
			return;
		client_send(c, got == JSON_STREAM_VALUE ?
			    qmp_handle(&c->session, msg) :
			    qmp_error(&c->session, &err));
		/* who does not read replies gives no more commands */
		client_wait_sent(c);
		if (got == JSON_STREAM_LOST)
			client_drop(c);
	}
}

struct blocking_read {
	int fd;
	char *data;
	size_t size;
	ssize_t got;
	int code;
};

static void blocking_read(void *arg)
{
	struct blocking_read *r = arg;

	r->got = read(r->fd, r->data, r->size);
	r->code = errno;
}

/* As read(2): standard input may be a file. */
static ssize_t co_client_get(struct client *c, char *data, size_t size)
{
	struct blocking_read r = { c->in, data, size, 0, 0 };

	if (c->socket)
		return recv(c->in, data, size, 0);
	if (c->in_flags >= 0)
		return read(c->in, data, size);
	co_blocking(blocking_read, &r);
	errno = r.code;
	return r.got;
}

static void co_client_wait_input(struct client *c)
{
	c->silent_since = clock_ns();
	co_poll_until_cancelled(c->in, POLLIN, &c->input);
	c->silent_since = 0;
}

static void co_client_read(struct client *c)
{
	char data[2048];

	while (!c->closing) {
		ssize_t n = co_client_get(c, data, sizeof(data));

		if (n > 0)
			client_input(c, data, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return;
		else if (monitor.stopping)
			return;
		else
			co_client_wait_input(c);
	}
}

static void client_unlink(struct client *c)
{
	struct client **at = &monitor.clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	monitor.count--;
	c->from->clients--;
	wait_event_set(&c->from->changed);
}

/* Files are never waited for; others are set so that they do not wait, and set
 * back at the end: who started us has them too. -1: nothing was changed. */
static int set_nonblocking(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0 || S_ISREG(st.st_mode))
		return -1;
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	return flags;
}

static void client_close(struct client *c)
{
	if (c->socket) {
		close(c->in);
		return;
	}
	if (c->in_flags >= 0)
		fcntl(c->in, F_SETFL, c->in_flags);
	if (c->out_flags >= 0)
		fcntl(c->out, F_SETFL, c->out_flags);
}

static void wake_stopper(void)
{
	if (monitor.stopping && !monitor.clients && !monitor.accepting)
		wait_event_set(&monitor.ended);
}

static void client_run(void *arg)
{
	struct client *c = arg;
	void (*ended)(void) = c->from->ended;

	client_send(c, qmp_greeting());
	co_client_read(c);
	/* what was asked before the end of input is still answered */
	client_wait_sent(c);
	client_unlink(c);
	client_close(c);
	json_stream_free(&c->in_stream);
	free(c->queue);
	free(c);
	wake_stopper();
	if (ended)
		ended();
}

/* Who looks on is not worth a line; who changes something is. */
static void client_begins(void *arg, const char *command)
{
	const struct client *c = arg;
	socklen_t len = sizeof(struct ucred);
	struct ucred peer = { 0 };

	if (getsockopt(c->in, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	    peer.pid)
		log_write(LOG_INFO, "%s by process %ld, user %ld", command,
			  (long)peer.pid, (long)peer.uid);
	else
		log_write(LOG_INFO, "%s by chardev '%s'", command,
			  c->from->chardev ? c->from->chardev->id : "");
}

/* Nothing of it is being done, and it could come again: it has connected to
 * where we listen. What it has sent meanwhile is work. */
static bool client_is_idle(const struct client *c)
{
	char byte;

	return c->silent_since && !c->writing && !c->closing &&
	       c->from->fd >= 0 &&
	       recv(c->in, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* The idle one that has been silent longest gives its place to who comes.
 * False: all have something to do. Its place is free a turn later. */
static bool monitor_make_room(void)
{
	struct client *longest = NULL;
	uint64_t silent;

	for (struct client *c = monitor.clients; c; c = c->next)
		if ((!longest || c->silent_since < longest->silent_since) &&
		    client_is_idle(c))
			longest = c;
	if (!longest)
		return false;
	silent = (clock_ns() - longest->silent_since) / SECONDS(1);
	log_write(LOG_WARNING, "More than %u clients: the one that has been "
		  "silent longest, for %" PRIu64 " s, is disconnected",
		  CLIENTS_MAX, silent);
	client_drop(longest);
	return true;
}

/* Takes over the descriptors of a socket; others stay who started us'. */
static void monitor_admit(struct point *from, int in, int out)
{
	bool room = monitor.count < CLIENTS_MAX || monitor_make_room();
	struct client *c = room ? calloc(1, sizeof(*c)) : NULL;
	int on = 1;

	if (!c) {
		log_write(LOG_WARNING, "More than %u clients, and all have "
			  "something to do: one refused", CLIENTS_MAX);
		if (in == out)
			close(in);
		return;
	}
	/* of TCP: small messages are not held back; refused by others */
	setsockopt(in, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->from = from;
	c->in = in;
	c->out = out;
	c->socket = in == out;
	if (!c->socket) {
		c->in_flags = set_nonblocking(in);
		c->out_flags = set_nonblocking(out);
	}
	c->session.commands = command_table;
	c->session.begins = client_begins;
	c->session.arg = c;
	json_stream_init(&c->in_stream);
	c->next = monitor.clients;
	monitor.clients = c;
	monitor.count++;
	from->clients++;
	if (!co_spawn(client_run, c)) {
		client_unlink(c);
		client_close(c);
		free(c);
	}
}

static void monitor_accept(void *arg)
{
	struct point *p = arg;

	while (!monitor.stopping) {
		int fd = accept4(p->fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0 && monitor.shut) {
			close(fd);
		} else if (fd >= 0) {
			monitor_admit(p, fd, fd);
			/* whose place it got leaves before the next comes */
			co_yield();
		} else if (errno == EAGAIN)
			co_poll(p->fd, POLLIN, 0);
		else if (errno == EMFILE || errno == ENFILE)
			/* the connection stays pending: no busy loop */
			co_sleep(100 * 1000 * 1000);
		else if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
	if (!p->chardev)
		close(p->fd);
	monitor.accepting--;
	wake_stopper();
}

/* Until its client has left, we leave, or its time to connect has come. */
static void point_wait(struct point *p)
{
	bool ignored;

	if (monitor.stopping)
		return;
	p->changed = (struct wait_event){ 0 };
	ignored = co_wait_event(&p->changed, SECONDS(p->chardev->reconnect_s));
	(void)ignored;
}

/* One connection, to its end. */
static void point_connect(struct point *p, bool *failed)
{
	struct error *err CLEANUP_ERROR = NULL;
	int fd = co_chardev_connect(p->chardev, &err);

	if (fd < 0 && !*failed)
		log_error(LOG_WARNING, &err);
	*failed = fd < 0;
	if (fd < 0)
		return;
	if (monitor.stopping)
		close(fd);
	else
		monitor_admit(p, fd, fd);
	while (p->clients && !monitor.stopping)
		point_wait(p);
}

static void monitor_connect(void *arg)
{
	struct point *p = arg;
	bool failed = false;

	while (!monitor.stopping) {
		point_connect(p, &failed);
		point_wait(p);
	}
	monitor.accepting--;
	wake_stopper();
}

static void point_add(int fd, struct chardev *chardev, bool pretty)
{
	struct point *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->fd = fd;
	p->chardev = chardev;
	p->pretty = pretty;
	p->next = monitor.points;
	monitor.points = p;
}

void monitor_add(int fd)
{
	point_add(fd, NULL, false);
}

void monitor_add_client(int fd, void (*ended)(void))
{
	set_nonblocking(fd);
	point_add(fd, NULL, false);
	monitor.points->ended = ended;
}

void monitor_add_chardev(struct chardev *chardev, bool pretty)
{
	for (unsigned i = 0; i < chardev->listener_count; i++)
		point_add(chardev->listeners[i], chardev, pretty);
	if (!chardev->listener_count)
		point_add(-1, chardev, pretty);
}

static int point_start(struct point *p, struct error **err)
{
	int in, out;

	if (p->ended) {
		monitor_admit(p, p->fd, p->fd);
		p->fd = -1;
		return 0;
	}
	if (p->fd < 0 && !p->chardev->reconnect_s) {
		if (chardev_connection(p->chardev, &in, &out))
			monitor_admit(p, in, out);
		return 0;
	}
	monitor.accepting++;
	if (co_spawn(p->fd < 0 ? monitor_connect : monitor_accept, p))
		return 0;
	monitor.accepting--;
	return error_set(err, ENOMEM, "No stack for a monitor");
}

int monitor_start(struct error **err)
{
	int rc = 0;

	for (struct point *p = monitor.points; p && rc == 0; p = p->next)
		rc = point_start(p, err);
	return rc;
}

static void points_free(void)
{
	struct point *p;

	while ((p = monitor.points) != NULL) {
		monitor.points = p->next;
		free(p);
	}
}

bool co_monitor_stop(uint64_t timeout_ns)
{
	monitor.stopping = true;
	chardevs_stop_waiting();
	for (struct point *p = monitor.points; p; p = p->next) {
		if (p->fd >= 0)
			shutdown(p->fd, SHUT_RDWR);
		wait_event_set(&p->changed);
	}
	for (struct client *c = monitor.clients; c; c = c->next)
		if (c->socket)
			shutdown(c->in, SHUT_RD);
		else
			poll_cancel(c->input);
	if ((monitor.clients || monitor.accepting) &&
	    !co_wait_event(&monitor.ended, timeout_ns)) {
		for (struct client *c = monitor.clients; c; c = c->next)
			client_drop(c);
		return false;
	}
	points_free();
	return true;
}

static bool point_is_asked(const struct point *p)
{
	struct pollfd asked = { .fd = p->fd, .events = POLLIN };

	return p->fd >= 0 && poll(&asked, 1, 0) != 0;
}

bool monitor_shut_door(void)
{
	for (const struct point *p = monitor.points; p; p = p->next)
		if (point_is_asked(p))
			return false;
	monitor.shut = monitor.count == 1;
	return monitor.shut;
}

void monitor_open_door(void)
{
	monitor.shut = false;
}

int monitor_client_socket(const struct chardev *chardev)
{
	for (const struct client *c = monitor.clients; c; c = c->next)
		if (c->from->chardev == chardev && c->socket)
			return c->in;
	return -1;
}

void monitor_event(const char *name, json_t *data)
{
	json_t *event = qmp_event(name, data);

	for (struct client *c = monitor.clients; c; c = c->next)
		if (c->session.negotiated)
			client_send(c, json_incref(event));
	json_decref(event);
}
