/* SPDX-License-Identifier: MIT */
/*
 * address.c - from an address to listening sockets. On a helper thread: names
 * are looked up, and a socket's file is made.
 */
#include "nbd/server.h"

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

#include "runtime/thread.h"

#define BACKLOG 128

struct listening {
	const struct nbd_address *address;
	int *fds;
	int count;
	struct error *error;
};

static int make_socket(int family)
{
	return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
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

static int listen_unix(struct listening *l)
{
	const struct nbd_address *a = l->address;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t name = strlen(a->path), first = a->abstract ? 1 : 0;
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				    first + name);
	int fd;

	if (!name || name + first >= sizeof(addr.sun_path))
		return error_set(&l->error, ENAMETOOLONG, "UNIX socket path "
				 "'%s' is empty or too long", a->path);
	memcpy(addr.sun_path + first, a->path, name);
	if (!a->abstract)
		remove_stale(&addr, len);
	fd = make_socket(AF_UNIX);
	if (fd < 0)
		return error_set(&l->error, errno, "Failed to create socket: "
				 "%s", strerror(errno));
	fchmod(fd, 0600);
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		error_set(&l->error, errno, "Failed to bind socket to %s: %s",
			  a->path, strerror(errno));
		close(fd);
		return -l->error->code;
	}
	l->fds[l->count++] = fd;
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

static int bind_one(const struct nbd_address *a, struct addrinfo *info)
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

static int listen_inet(struct listening *l)
{
	const struct nbd_address *a = l->address;
	struct addrinfo hints = {
		.ai_flags = AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
		.ai_family = a->only_4 ? AF_INET : a->only_6 ? AF_INET6 :
			     AF_UNSPEC,
	}, *list, *info;
	int rc = getaddrinfo(*a->host ? a->host : NULL, a->port, &hints,
			     &list);
	int saved = EADDRNOTAVAIL;

	if (rc)
		return error_set(&l->error, ENOENT, "address resolution failed "
				 "for %s:%s: %s", a->host, a->port,
				 gai_strerror(rc));
	for (info = list; info && l->count < (int)NBD_LISTENERS_MAX;
	     info = info->ai_next) {
		int fd = bind_one(a, info);

		if (fd >= 0)
			l->fds[l->count++] = fd;
		else
			saved = errno;
	}
	freeaddrinfo(list);
	if (l->count)
		return 0;
	return error_set(&l->error, saved, "Failed to find an available port: "
			 "%s", strerror(saved));
}

/* ---- a descriptor ---- */

static int listen_fd(struct listening *l)
{
	int fd = l->address->fd, listens = 0, flags;
	socklen_t len = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 ||
	    !listens)
		return error_set(&l->error, EINVAL, "File descriptor '%d' is "
				 "not a listening socket", fd);
	flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	l->fds[l->count++] = fd;
	return 0;
}

static void listen_run(void *arg)
{
	struct listening *l = arg;

	switch (l->address->type) {
	case NBD_UNIX:
		l->count = listen_unix(l) ? -1 : l->count;
		return;
	case NBD_INET:
		l->count = listen_inet(l) ? -1 : l->count;
		return;
	case NBD_FD:
		l->count = listen_fd(l) ? -1 : l->count;
		return;
	}
}

int co_nbd_listen(const struct nbd_address *address,
		  int fds[NBD_LISTENERS_MAX], struct error **err)
{
	struct listening l = { .address = address, .fds = fds };

	co_blocking(listen_run, &l);
	if (!l.error)
		return l.count;
	error_propagate(err, &l.error);
	return -EINVAL;
}
