/* SPDX-License-Identifier: MIT */
/*
 * address.c - sockets by address. What may block runs on a helper thread, where
 * there is a coroutine that asks.
 */
#include "runtime/address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/passed.h"
#include "runtime/storage.h"

#define BACKLOG 128
/* How long the other end may take to be connected to. */
#define CONNECT_S 10

/* One call's work, for a helper thread. */
struct work {
	const struct address *address;
	int *fds;
	int count;
	struct error *error;
};

static int make_socket(int family)
{
	return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* A connected socket; or -1 and errno. */
static int connect_to(const struct sockaddr *addr, socklen_t len)
{
	const struct timeval timeout = { .tv_sec = CONNECT_S };
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int saved;

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (fd >= 0 && connect(fd, addr, len) == 0) {
		fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
		return fd;
	}
	/* what the kernel says when that time is over */
	saved = errno == EINPROGRESS ? ETIMEDOUT : errno;
	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

/* ---- unix ---- */

/* The file of a server that died goes; whatever answers, or is no socket,
 * stays and makes bind fail. */
static void remove_stale(const struct sockaddr_un *addr, socklen_t len)
{
	struct stat st;
	int fd;

	if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = make_socket(AF_UNIX);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)addr, len) < 0 &&
	    errno == ECONNREFUSED)
		unlink(addr->sun_path);
	close(fd);
}

static int unix_address(const struct address *a, struct sockaddr_un *addr,
			socklen_t *len, struct error **err)
{
	size_t name = strlen(a->path), first = a->abstract ? 1 : 0;

	if (!name)
		return error_set(err, EINVAL, "UNIX socket path is empty");
	if (name + first >= sizeof(addr->sun_path))
		return error_set(err, ENAMETOOLONG, "UNIX socket path '%s' is "
				 "too long", a->path);
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path + first, a->path, name);
	*len = a->abstract && a->padded ? sizeof(*addr) : (socklen_t)
		(offsetof(struct sockaddr_un, sun_path) + first + name);
	return 0;
}

static int listen_unix(struct work *w)
{
	const struct address *a = w->address;
	struct sockaddr_un addr;
	socklen_t len;
	int rc = unix_address(a, &addr, &len, &w->error), fd;

	if (rc < 0)
		return rc;
	if (!a->abstract)
		remove_stale(&addr, len);
	fd = make_socket(AF_UNIX);
	if (fd < 0)
		return error_set(&w->error, errno, "Failed to create socket: "
				 "%s", strerror(errno));
	fchmod(fd, 0600);
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		error_set(&w->error, errno, "Failed to bind socket to %s: %s",
			  a->path, strerror(errno));
		close(fd);
		return -w->error->code;
	}
	w->fds[w->count++] = fd;
	return 0;
}

static int connect_unix(struct work *w)
{
	struct sockaddr_un addr;
	socklen_t len;
	int rc = unix_address(w->address, &addr, &len, &w->error), fd;

	if (rc < 0)
		return rc;
	fd = connect_to((struct sockaddr *)&addr, len);
	if (fd < 0)
		return error_set(&w->error, errno, "Failed to connect to '%s':"
				 " %s", w->address->path, strerror(errno));
	w->fds[w->count++] = fd;
	return 0;
}

/* ---- inet ---- */

static void set_port(struct sockaddr *addr, uint16_t port)
{
	if (addr->sa_family == AF_INET)
		((struct sockaddr_in *)(void *)addr)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)(void *)addr)->sin6_port = htons(port);
}

static uint16_t get_port(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)
			      (const void *)addr)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)
		      (const void *)addr)->sin6_port);
}

/* A socket at one port; or -1 and errno. */
static int bind_port(const struct addrinfo *info)
{
	int fd = make_socket(info->ai_family), on = 1, saved;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* what listens to both would take the other family's port */
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 &&
	    listen(fd, BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int bind_one(const struct address *a, struct addrinfo *info)
{
	unsigned port = get_port(info->ai_addr);
	unsigned last = max(port, (unsigned)a->to);
	int fd = -1;

	for (; fd < 0 && port <= last; port++) {
		set_port(info->ai_addr, (uint16_t)port);
		fd = bind_port(info);
		if (fd < 0 && errno != EADDRINUSE)
			break;
	}
	return fd;
}

/* A number that is none of a port: getaddrinfo takes its low bits. */
static bool is_no_port(const char *port)
{
	char *end;
	long n = strtol(port, &end, 10);

	return end != port && !*end && (n < 0 || n > UINT16_MAX);
}

static int look_up(struct work *w, int flags, struct addrinfo **list)
{
	const struct address *a = w->address;
	struct addrinfo hints = {
		.ai_flags = flags,
		.ai_socktype = SOCK_STREAM,
		.ai_family = a->only_4 ? AF_INET : a->only_6 ? AF_INET6 :
			     AF_UNSPEC,
	};
	int rc;

	if (is_no_port(a->port))
		return error_set(&w->error, EINVAL, "Port '%s' is not from 0 to"
				 " %d", a->port, UINT16_MAX);
	rc = getaddrinfo(*a->host ? a->host : NULL, a->port, &hints, list);
	return !rc ? 0 :
		error_set(&w->error, ENOENT, "address resolution failed for "
			  "%s:%s: %s", a->host, a->port, gai_strerror(rc));
}

static int listen_inet(struct work *w)
{
	int rc, saved = EADDRNOTAVAIL;
	struct addrinfo *list, *info;

	rc = look_up(w, AI_PASSIVE, &list);
	if (rc < 0)
		return rc;
	for (info = list; info && w->count < (int)ADDRESS_SOCKETS_MAX;
	     info = info->ai_next) {
		int fd = bind_one(w->address, info);

		if (fd >= 0)
			w->fds[w->count++] = fd;
		else
			saved = errno;
	}
	freeaddrinfo(list);
	if (w->count)
		return 0;
	return error_set(&w->error, saved, "Failed to find an available port: "
			 "%s", strerror(saved));
}

static int connect_inet(struct work *w)
{
	struct addrinfo *list, *info;
	int rc = look_up(w, 0, &list), fd = -1;

	if (rc < 0)
		return rc;
	for (info = list; info && fd < 0; info = info->ai_next)
		fd = connect_to(info->ai_addr, info->ai_addrlen);
	if (fd < 0)
		rc = error_set(&w->error, errno, "Failed to connect to "
			       "'%s:%s': %s", w->address->host,
			       w->address->port, strerror(errno));
	else
		w->fds[w->count++] = fd;
	freeaddrinfo(list);
	return rc;
}

/* ---- a descriptor ---- */

static int take_fd(struct work *w, bool listening)
{
	int fd = w->address->fd, listens = 0, flags, rc;
	socklen_t len = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		return error_set(&w->error, EINVAL, "File descriptor '%d' is "
				 "not a socket", fd);
	if (listening != !!listens)
		return error_set(&w->error, EINVAL, "File descriptor '%d' is "
				 "%sa listening socket", fd,
				 listening ? "not " : "");
	rc = passed_take(fd, &w->error);
	if (rc < 0)
		return rc;
	flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	w->fds[w->count++] = fd;
	return 0;
}

/* ---- calls ---- */

static void listen_run(void *arg)
{
	struct work *w = arg;
	int rc = 0;

	switch (w->address->type) {
	case ADDRESS_UNIX:
		rc = listen_unix(w);
		break;
	case ADDRESS_INET:
		rc = listen_inet(w);
		break;
	case ADDRESS_FD:
		rc = take_fd(w, true);
		break;
	}
	assert((rc < 0) == (w->error != NULL));
}

static void connect_run(void *arg)
{
	struct work *w = arg;
	int rc = 0;

	switch (w->address->type) {
	case ADDRESS_UNIX:
		rc = connect_unix(w);
		break;
	case ADDRESS_INET:
		rc = connect_inet(w);
		break;
	case ADDRESS_FD:
		rc = take_fd(w, false);
		break;
	}
	assert((rc < 0) == (w->error != NULL));
}

/* A name is looked up on a network, a socket's file lies on storage. */
static void co_work(struct work *w, void (*run)(void *arg))
{
	bool file = w->address->type == ADDRESS_UNIX && !w->address->abstract;
	char text[STORAGE_TEXT_MAX];

	if (!file)
		co_blocking(run, w);
	else if (co_storage_call_at(w->address->path, run, w))
		error_set(&w->error, ETIMEDOUT, "Cannot use socket '%s': %s",
			  w->address->path, storage_why(-ETIMEDOUT, text));
}

static int work_result(struct work *w, struct error **err)
{
	int rc = w->error ? -w->error->code : w->count;

	if (w->error)
		error_propagate(err, &w->error);
	return rc;
}

int address_listen(const struct address *a, int fds[ADDRESS_SOCKETS_MAX],
		   struct error **err)
{
	struct work w = { .address = a, .fds = fds };

	listen_run(&w);
	return work_result(&w, err);
}

int co_address_listen(const struct address *a, int fds[ADDRESS_SOCKETS_MAX],
		      struct error **err)
{
	struct work w = { .address = a, .fds = fds };

	co_work(&w, listen_run);
	return work_result(&w, err);
}

int co_address_connect(const struct address *a, struct error **err)
{
	int fd;
	struct work w = { .address = a, .fds = &fd };
	int rc;

	co_work(&w, connect_run);
	rc = work_result(&w, err);
	return rc < 0 ? rc : fd;
}
