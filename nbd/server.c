/* SPDX-License-Identifier: MIT */
/*
 * server.c - listening, and the handshake of each client: on the main thread,
 * which knows the exports. When it is over the connection goes to an I/O
 * thread; it is counted here until it ends.
 */
#include "nbd/server.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/co.h"
#include "runtime/ring.h"
#include "runtime/storage.h"
#include "runtime/wait.h"

#define NS_PER_S 1000000000ull
#define NAME_SHOWN 64	/* bytes of a client's text in the log */
/* Silent for this long in its handshake, a client is idle: one at work says
 * something every round trip. */
#define IDLE_NS NS_PER_S

struct listener {
	int fd;
	struct wait_event room;	/* a client has left, or may be idle by now */
	bool running;
};

/* A client from accept to the end of its connection. */
struct client {
	struct nbd_stream stream;
	struct timer deadline;
	bool late;
	bool displaced;		/* its place is another's */
	bool serving;		/* the stream is an I/O thread's */
	uint64_t heard_ns;	/* when it last said something, without TLS */
	struct client *next;
};

static struct {
	bool running, stopping;
	struct listener listeners[ADDRESS_SOCKETS_MAX];
	unsigned listener_count, listening;
	char *path;		/* to be unlinked; or NULL */
	const struct nbd_creds *creds;
	uint32_t max_connections, handshake_s;
	void (*report)(const char *text);
	struct client *clients;
	unsigned count;
	struct wait_event ended;
	bool late;		/* stopping has not come to its end */
} server;

bool nbd_server_running(void)
{
	return server.running && !server.stopping;
}

/* ---- clients ---- */

static void wake_listeners(void)
{
	for (unsigned i = 0; i < server.listener_count; i++)
		wait_event_set(&server.listeners[i].room);
}

static void nbd_wake_stopper(void)
{
	if (server.stopping && !server.clients && !server.listening)
		wait_event_set(&server.ended);
}

static void client_free(struct client *client)
{
	struct client **at = &server.clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	server.count--;
	free(client);
	wake_listeners();
	nbd_wake_stopper();
}

static void client_ended(void *arg)
{
	client_free(arg);
}

static void client_late(struct timer *timer)
{
	struct client *client = container_of(timer, struct client, deadline);

	client->late = true;
	nbd_stream_shutdown(&client->stream);
}

/* A client's text, fit for a log. */
static const char *printable(const char *text, char out[NAME_SHOWN])
{
	size_t i;

	for (i = 0; text[i] && i < NAME_SHOWN - 1; i++)
		out[i] = isprint((unsigned char)text[i]) ? text[i] : '?';
	out[i] = 0;
	return out;
}

static void client_report(const struct client *client,
			  const struct nbd_negotiation *n, const char *why)
{
	char line[256], name[NAME_SHOWN];

	if (server.stopping || !server.report)
		return;
	if (client->late)
		why = "the handshake took too long";
	if (client->displaced)
		why = "silent in its handshake while others want its place";
	if (!why)
		return;
	snprintf(line, sizeof(line), "NBD client refused: %s%s%s%s", why,
		 *n->name ? " (export '" : "", printable(n->name, name),
		 *n->name ? "')" : "");
	server.report(line);
}

/* ---- the handshake ---- */

static int co_client_tls(struct client *client, struct nbd_negotiation *n)
{
	struct nbd_tls *tls;

	client->heard_ns = NBD_AT_WORK;
	tls = co_nbd_tls_new(server.creds, client->stream.fd);
	n->why = "no memory for TLS";
	if (!tls)
		return -ENOMEM;
	client->stream.tls = tls;
	if (co_nbd_tls_handshake(tls, &n->why) < 0)
		return -EPROTO;
	nbd_negotiate_secured(n);
	n->why = NULL;
	return 0;
}

/* Hands the connection over: the last reply goes out with the first one of an
 * I/O thread, so that nothing can change between choice and service. */
static int client_serve(struct client *client, struct nbd_negotiation *n)
{
	struct nbd_service service = {
		.stream = client->stream,
		.terms = n->terms,
		.first = n->out.data,
		.first_len = n->out.len,
		.ended = client_ended,
		.arg = client,
	};
	struct error *err CLEANUP_ERROR = NULL;

	n->why = "no room for its connection";
	if (nbd_target_serve(nbd_export_target(n->chosen), &service,
			     &err) < 0)
		return -ENOMEM;
	n->out.data = NULL;
	client->serving = true;
	return 0;
}

static int co_client_send(struct client *client, struct nbd_negotiation *n)
{
	int rc = co_stream_send(&client->stream, n->out.data, n->out.len);

	n->out.len = 0;
	return rc;
}

/* One option; the step after it. *rc: a negative errno, the client is gone. */
static enum nbd_step co_client_option(struct client *client,
				      struct nbd_negotiation *n,
				      uint8_t *data, int *rc)
{
	uint8_t head[sizeof(struct nbd_option_head)];
	enum nbd_step step;

	*rc = co_stream_recv_all(&client->stream, head, sizeof(head));
	if (*rc < 0)
		return NBD_STEP_END;
	client->heard_ns = clock_ns();
	step = nbd_negotiate_option(n, head);
	if (step != NBD_STEP_OPTION)
		return step;
	*rc = co_stream_recv_all(&client->stream, data, n->length);
	if (*rc < 0)
		return NBD_STEP_END;
	client->heard_ns = clock_ns();
	step = nbd_negotiate_data(n, data);
	if (step != NBD_STEP_SERVE)
		*rc = co_client_send(client, n);
	return step;
}

static int co_client_options(struct client *client, struct nbd_negotiation *n,
			     uint8_t *data)
{
	for (;;) {
		int rc;
		enum nbd_step step = co_client_option(client, n, data, &rc);

		if (rc < 0 || server.stopping)
			return rc;
		switch (step) {
		case NBD_STEP_OPTION:
			break;
		case NBD_STEP_TLS:
			rc = co_client_tls(client, n);
			if (rc < 0)
				return rc;
			break;
		case NBD_STEP_SERVE:
			return client_serve(client, n);
		case NBD_STEP_END:
		case NBD_STEP_REFUSE:
			return -EPROTO;
		}
	}
}

static void co_client_negotiate(struct client *client,
				struct nbd_negotiation *n)
{
	uint8_t *data = malloc(NBD_OPTION_MAX);
	uint8_t flags[4];

	nbd_negotiate_begin(n, &nbd_exports, server.creds);
	if (data && co_client_send(client, n) == 0 &&
	    co_stream_recv_all(&client->stream, flags, 4) == 0 &&
	    nbd_negotiate_flags(n, flags) == NBD_STEP_OPTION)
		co_client_options(client, n, data);
	free(data);
}

static void nbd_client_run(void *arg)
{
	struct client *client = arg;
	struct nbd_negotiation *n = calloc(1, sizeof(*n));

	if (server.handshake_s)
		timer_start(&client->deadline, server.handshake_s * NS_PER_S,
			    client_late);
	if (n)
		co_client_negotiate(client, n);
	timer_stop(&client->deadline);
	if (n && !client->serving)
		client_report(client, n, n->why);
	if (n)
		nbd_negotiate_end(n);
	free(n);
	if (client->serving)
		return;
	nbd_stream_close(&client->stream);
	client_free(client);
}

/* ---- listening ---- */

static void set_up_socket(int fd)
{
	int on = 1, size = 1 << 20;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	/* Replies come in bursts. TCP's buffer grows by itself until it is
	 * told a size; what is no TCP is told, and gets what is allowed. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void admit(int fd)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return;
	}
	set_up_socket(fd);
	client->stream.fd = fd;
	client->heard_ns = clock_ns();
	client->next = server.clients;
	server.clients = client;
	server.count++;
	if (!co_spawn(nbd_client_run, client)) {
		close(fd);
		client_free(client);
	}
}

static bool is_full(void)
{
	return server.max_connections &&
	       server.count >= server.max_connections;
}

static uint64_t client_silent_since(const struct client *c)
{
	if (c->serving || c->displaced)
		return NBD_AT_WORK;
	return c->stream.tls ? nbd_tls_silent_since(c->stream.tls) :
			       c->heard_ns;
}

/*
 * Somebody waits in the kernel's queue. Of those in their handshake the one
 * that has been silent longest goes, if it is idle; who is served never does.
 * Returns when a client has left, or after a time when one may be idle.
 */
static void co_make_room(struct listener *l)
{
	uint64_t since = NBD_AT_WORK, wait = WAIT_FOREVER, now = clock_ns();
	struct client *longest = NULL;
	bool ignored;

	for (struct client *c = server.clients; c; c = c->next) {
		/* one that TLS works for may be silent afterwards */
		if (!c->serving && !c->displaced)
			wait = IDLE_NS;
		if (client_silent_since(c) < since) {
			since = client_silent_since(c);
			longest = c;
		}
	}
	if (longest && now - since >= IDLE_NS) {
		longest->displaced = true;
		nbd_stream_shutdown(&longest->stream);
		wait = WAIT_FOREVER;
	} else if (longest) {
		wait = since + IDLE_NS - now;
	}
	l->room = (struct wait_event){ .set = false };
	ignored = co_wait_event(&l->room, wait);
	(void)ignored;
}

/* False: it cannot accept any more. */
static bool co_accept(struct listener *l)
{
	int fd;

	if (is_full()) {
		/* who comes stays there until there is a place */
		co_poll(l->fd, POLLIN, 0);
		if (is_full() && !server.stopping)
			co_make_room(l);
		return true;
	}
	/* without O_NONBLOCK: the ring waits for it */
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		admit(fd);
	else if (errno == EAGAIN)
		co_poll(l->fd, POLLIN, 0);
	else if (errno == EMFILE || errno == ENFILE)
		co_sleep(NS_PER_S / 10);
	else
		return errno == EINTR || errno == ECONNABORTED;
	return true;
}

static void listener_run(void *arg)
{
	struct listener *l = arg;

	/* however many come, the control plane has its turn (A42) */
	while (!server.stopping && co_accept(l))
		co_yield();
	close(l->fd);
	l->running = false;
	server.listening--;
	nbd_wake_stopper();
}

static void listener_start(int fd)
{
	struct listener *l = &server.listeners[server.listener_count++];

	l->fd = fd;
	l->room = (struct wait_event){ .set = false };
	l->running = true;
	server.listening++;
	if (co_spawn(listener_run, l))
		return;
	close(fd);
	l->running = false;
	server.listening--;
}

static void fill_server(const struct nbd_server_options *opts)
{
	const struct address *a = &opts->address;

	server.creds = opts->creds;
	server.max_connections = opts->max_connections;
	server.handshake_s = opts->handshake_s;
	server.report = opts->report;
	server.path = a->type == ADDRESS_UNIX && !a->abstract ?
		      strdup(a->path) : NULL;
	server.listener_count = 0;
}

int co_nbd_server_start(const struct nbd_server_options *opts,
			struct error **err)
{
	int fds[ADDRESS_SOCKETS_MAX], count;

	if (server.running)
		return error_set(err, EEXIST, "NBD server already running");
	server.running = true;
	/* none may add an export before it listens */
	server.stopping = true;
	count = co_address_listen(&opts->address, fds, err);
	server.stopping = false;
	if (count < 0) {
		server.running = false;
		return count;
	}
	fill_server(opts);
	for (int i = 0; i < count; i++)
		listener_start(fds[i]);
	return 0;
}

int nbd_server_stopping(struct error **err)
{
	if (!nbd_server_running() && !server.late)
		return error_set(err, ENOTCONN, "NBD server not running");
	server.late = false;
	server.stopping = true;
	return 0;
}

static void unlink_path(void *arg)
{
	unlink(arg);
}

static void co_socket_unlink(void)
{
	struct storage *silent = co_storage_call_at(server.path, unlink_path,
						    server.path);

	/* the next server of that path takes its place */
	(void)silent;
}

int co_nbd_server_stop(uint64_t timeout_ns, struct error **err)
{
	assert(server.running && server.stopping);
	for (unsigned i = 0; i < server.listener_count; i++)
		if (server.listeners[i].running)
			shutdown(server.listeners[i].fd, SHUT_RDWR);
	wake_listeners();
	for (struct client *c = server.clients; c; c = c->next)
		if (!c->serving)
			nbd_stream_shutdown(&c->stream);
	if (server.path)
		co_socket_unlink();
	free(server.path);
	server.path = NULL;
	server.ended = (struct wait_event) { 0 };
	server.late = (server.clients || server.listening) &&
		      !co_wait_event(&server.ended, timeout_ns);
	if (server.late)
		return error_set(err, ETIMEDOUT, "The NBD server has %u "
				 "clients whose requests do not end",
				 server.count);
	server.running = server.stopping = false;
	return 0;
}
