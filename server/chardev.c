/* SPDX-License-Identifier: MIT */
/*
 * chardev.c - the ends that monitors listen and talk on. Main thread.
 */
#include "server/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/ring.h"
#include "server/command.h"
#include "server/leave.h"
#include "server/log.h"
#include "server/monitor.h"

/* How often one that waits for a client looks whether we are to leave. */
#define WAIT_NS 100000000ull

static struct chardev *chardevs;

static struct chardev *chardev_find(const char *id)
{
	struct chardev *c = chardevs;

	while (c && strcmp(c->id, id))
		c = c->next;
	return c;
}

static int check_id(const char *id, struct error **err)
{
	int rc = arg_check_id(id, err);

	if (rc < 0)
		return rc;
	if (chardev_find(id))
		return error_set(err, EEXIST, "attempt to add duplicate "
				 "property '%s' to object (type 'container')",
				 id);
	return 0;
}

static int use_descriptor(struct chardev *c, const char *text, bool server,
			  struct error **err)
{
	char *end;
	long fd = strtol(text, &end, 10);
	int listening = 0;
	socklen_t len = sizeof(listening);

	if (end == text || *end || fd < 0 ||
	    getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening,
		       &len) < 0)
		return error_set(err, EINVAL, "'%s' is no descriptor of a "
				 "socket", text);
	if (server != !!listening)
		return error_set(err, EINVAL, "Socket descriptor %ld is %s",
				 fd, listening ? "listening: server=on" :
				 "not listening: server=off");
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	fcntl((int)fd, F_SETFL, fcntl((int)fd, F_GETFL) | O_NONBLOCK);
	if (server)
		c->listener = (int)fd;
	else
		c->in = c->out = (int)fd;
	return 0;
}

static int connect_path(struct chardev *c, const char *path,
			struct error **err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, rc = 0;

	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, ENAMETOOLONG, "UNIX socket path '%s' is "
				 "too long", path);
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		rc = error_set(err, errno, "Failed to connect to '%s': %s",
			       path, strerror(errno));
	if (rc == 0)
		c->in = c->out = fd;
	else if (fd >= 0)
		close(fd);
	return rc;
}

static int listen_path(struct chardev *c, const char *path,
		       struct error **err)
{
	struct stat st;

	c->listener = monitor_listen(path, err);
	if (c->listener < 0)
		return c->listener;
	/* removed at our end, when we may be elsewhere */
	c->path = realpath(path, NULL);
	return c->path && stat(c->path, &st) == 0 ? 0 :
		error_set(err, errno, "Cannot find socket '%s' again: %s",
			  path, strerror(errno));
}

/* The first client is there before whatever comes next is done. */
static int co_wait_client(struct chardev *c, struct error **err)
{
	int ready;

	log_write(LOG_WARNING, "Waiting for a client on chardev '%s'", c->id);
	do {
		ready = co_poll(c->listener, POLLIN, WAIT_NS);
		if (leave_asked())
			return error_set(err, ECANCELED, "No client came");
	} while (ready == -ETIMEDOUT);
	return 0;
}

static int co_open_socket(struct chardev *c, json_t *options,
			  struct error **err)
{
	const char *path = arg_string(options, "path", NULL);
	const char *fd = arg_string(options, "fd", NULL);
	const char *host = arg_string(options, "host", NULL);
	bool server = arg_bool(options, "server", false);
	int rc;

	c->kind = "unix";
	if (!!path + !!fd + !!host != 1)
		return error_set(err, EINVAL, "One of 'path', 'fd' or 'host' "
				 "option required");
	if (host || json_object_get(options, "port"))
		return error_set(err, ENOTSUP, "A monitor on a TCP socket "
				 "would let anybody open files here: use a "
				 "Unix socket (path=)");
	if (fd)
		rc = use_descriptor(c, fd, server, err);
	else if (server)
		rc = listen_path(c, path, err);
	else
		rc = connect_path(c, path, err);
	if (rc == 0 && server && arg_bool(options, "wait", true))
		rc = co_wait_client(c, err);
	return rc;
}

static int open_stdio(struct chardev *c, bool daemonized, struct error **err)
{
	c->kind = "stdio";
	if (daemonized)
		return error_set(err, EINVAL,
				 "cannot use stdio with -daemonize");
	for (struct chardev *other = chardevs; other; other = other->next)
		if (!strcmp(other->kind, "stdio"))
			return error_set(err, EBUSY, "cannot use stdio by "
					 "multiple character devices");
	c->in = STDIN_FILENO;
	c->out = STDOUT_FILENO;
	return 0;
}

static void chardev_free(struct chardev *c)
{
	if (c->listener >= 0)
		close(c->listener);
	if (c->path)
		unlink(c->path);
	free(c->path);
	free(c->id);
	free(c);
}

static struct chardev *chardev_new(const char *id)
{
	struct chardev *c = calloc(1, sizeof(*c));

	if (!c || !(c->id = strdup(id)))
		abort();
	c->kind = "null";
	c->listener = -1;
	c->in = c->out = -1;
	return c;
}

int co_chardev_add(json_t *options, bool daemonized, struct error **err)
{
	const char *backend = arg_string(options, "backend", "");
	const char *id = arg_string(options, "id", "");
	struct chardev *c;
	int rc = check_id(id, err);

	if (rc < 0)
		return rc;
	c = chardev_new(id);
	if (!strcmp(backend, "socket"))
		rc = co_open_socket(c, options, err);
	else if (!strcmp(backend, "stdio"))
		rc = open_stdio(c, daemonized, err);
	if (rc < 0) {
		chardev_free(c);
		return rc;
	}
	c->next = chardevs;
	chardevs = c;
	return 0;
}

struct chardev *chardev_take(const char *id, struct error **err)
{
	struct chardev *c = chardev_find(id);

	if (c && !c->taken) {
		c->taken = true;
		return c;
	}
	if (c)
		error_set(err, EBUSY, "Device '%s' is in use", id);
	else
		error_set(err, ENOENT, "chardev \"%s\" not found", id);
	return NULL;
}

static json_t *chardev_name(const struct chardev *c, bool open)
{
	char text[200];

	if (c->listener < 0 && strcmp(c->kind, "unix"))
		return json_string(c->kind);
	snprintf(text, sizeof(text), "%s%s:%s%s",
		 c->listener >= 0 && !open ? "disconnected:" : "", c->kind,
		 c->path ? c->path : "", c->listener >= 0 ? ",server=on" : "");
	return json_text(text);
}

json_t *chardev_list(void)
{
	json_t *list = json_array();

	for (const struct chardev *c = chardevs; c; c = c->next) {
		bool open = monitor_has_client(c);

		json_array_append_new(list, json_pack("{s:s,s:o,s:b}",
			"label", c->id, "filename", chardev_name(c, open),
			"frontend-open", c->taken));
	}
	return list;
}

void chardev_close_all(void)
{
	struct chardev *c;

	while ((c = chardevs) != NULL) {
		chardevs = c->next;
		chardev_free(c);
	}
}
