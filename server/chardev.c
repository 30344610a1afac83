/* SPDX-License-Identifier: MIT */
/*
 * chardev.c - the ends that monitors listen and talk on. Main thread.
 */
#include "server/chardev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/json.h"
#include "runtime/ring.h"
#include "runtime/storage.h"
#include "server/address.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/guarded.h"
#include "server/leave.h"
#include "server/log.h"
#include "server/monitor.h"

static struct chardev *chardevs;
static bool stdio_forbidden;

void chardev_forbid_stdio(void)
{
	stdio_forbidden = true;
}

static struct chardev *chardev_find(const char *id)
{
	struct chardev *c = chardevs;

	while (c && strcmp(c->id, id))
		c = c->next;
	return c;
}

/* ---- sockets ---- */

static bool is_inet(const struct chardev *c)
{
	return !strcmp(arg_string(c->addr, "type", ""), "inet");
}

/* The first client is there before whatever comes next is done. */
static int co_wait_client(struct chardev *c, struct error **err)
{
	log_write(LOG_WARNING, "Waiting for a client on chardev '%s'", c->id);
	if (leave_asked() ||
	    co_poll_until_cancelled(c->listeners[0], POLLIN, &c->awaited) < 0)
		return error_set(err, ECANCELED, "No client came");
	return 0;
}

void chardevs_stop_waiting(void)
{
	for (struct chardev *c = chardevs; c; c = c->next)
		poll_cancel(c->awaited);
}

/* The directory is resolved and the name is kept: somebody may put a link to
 * another file there. */
static char *socket_place(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash + 1 - path)) :
		strdup(".");
	char *real = dir ? realpath(dir, NULL) : NULL, *place = NULL;

	if (real && asprintf(&place, "%s/%s", real, slash ? slash + 1 : path)
	    < 0)
		place = NULL;
	free(real);
	free(dir);
	return place;
}

static int co_listen(struct chardev *c, const struct address *a,
		     struct error **err)
{
	int count = co_address_listen(a, c->listeners, err);

	if (count < 0)
		return count;
	c->listener_count = (unsigned)count;
	if (a->type == ADDRESS_INET)
		log_write(LOG_WARNING, "Whoever can connect to chardev '%s' "
			  "can open any file here", c->id);
	if (a->type != ADDRESS_UNIX || a->abstract)
		return 0;
	/* removed at our end, when we may be elsewhere */
	c->path = socket_place(a->path);
	return c->path ? 0 :
		error_set(err, errno, "Cannot find socket '%s' again: %s",
			  a->path, strerror(errno));
}

static int take_reconnect(struct chardev *c, json_t *data, struct error **err)
{
	json_int_t s = json_integer_value(json_object_get(data, "reconnect"));

	if (s < 0 || s > INT32_MAX)
		return error_set(err, EINVAL, "Parameter 'reconnect' expects "
				 "a number of seconds");
	c->reconnect_s = (unsigned)s;
	return 0;
}

int co_chardev_connect(const struct chardev *c, struct error **err)
{
	struct address a = { 0 };
	int rc = address_from_json(c->addr, &a, err);

	return rc < 0 ? rc : co_address_connect(&a, err);
}

/* With reconnect the monitor connects, as often as it takes. */
static int co_open_client(struct chardev *c, struct error **err)
{
	struct address a = { 0 };
	int rc = address_from_json(c->addr, &a, err);

	if (rc == 0 && !c->reconnect_s)
		rc = c->in = c->out = co_address_connect(&a, err);
	return min(rc, 0);
}

static int co_open_server(struct chardev *c, bool wait, struct error **err)
{
	struct address a = { 0 };
	int rc = address_from_json(c->addr, &a, err);

	if (rc == 0)
		rc = co_listen(c, &a, err);
	return rc == 0 && wait ? co_wait_client(c, err) : rc;
}

static int co_open_socket(struct chardev *c, json_t *data, struct error **err)
{
	bool server = arg_bool(data, "server", true);
	int rc = take_reconnect(c, data, err);

	if (rc < 0)
		return rc;
	if (json_object_get(data, "tls-creds"))
		return error_set(err, ENOTSUP, "Parameter 'tls-creds': a "
				 "monitor on a socket with TLS is not "
				 "supported");
	if (server && c->reconnect_s)
		return error_set(err, EINVAL, "'reconnect' option is "
				 "incompatible with socket in server listen "
				 "mode");
	if (!server && json_object_get(data, "wait"))
		return error_set(err, EINVAL, "'wait' option is incompatible "
				 "with socket in client connect mode");
	c->addr = json_deep_copy(json_object_get(data, "addr"));
	return server ? co_open_server(c, arg_bool(data, "wait", false), err) :
			co_open_client(c, err);
}

/* ---- others ---- */

static int open_stdio(struct chardev *c, json_t *data, struct error **err)
{
	(void)data;
	if (stdio_forbidden)
		return error_set(err, EINVAL,
				 "cannot use stdio with -daemonize");
	for (struct chardev *other = chardevs; other; other = other->next)
		if (other != c && !strcmp(other->kind, "stdio"))
			return error_set(err, EBUSY, "cannot use stdio by "
					 "multiple character devices");
	c->in = STDIN_FILENO;
	c->out = STDOUT_FILENO;
	return 0;
}

struct open_job {
	const char *path;
	bool others;	/* it may be another's, as a pipe is */
	int flags, fd, error;
};

static void chardev_open_run(void *arg)
{
	struct open_job *job = arg;

	int flags = (job->flags & ~O_TRUNC) | O_NOCTTY | O_NONBLOCK;

	/* never waits for a pipe's other end */
	job->fd = job->others ? open(job->path, flags | O_CLOEXEC) :
		guarded_open(job->path, flags, 0666);
	job->error = errno;
	/* a device has no length, and is as good */
	if (job->fd >= 0 && job->flags & O_TRUNC)
		(void)!ftruncate(job->fd, 0);
}

static int co_open(const char *path, int flags, bool others, int *out,
		   struct error **err)
{
	struct open_job job = {
		.path = path, .flags = flags, .others = others,
	};
	char text[STORAGE_TEXT_MAX];

	if (co_storage_call_at(path, chardev_open_run, &job))
		return error_set(err, ETIMEDOUT, "Could not open '%s': %s",
				 path, storage_why(-ETIMEDOUT, text));
	if (job.fd < 0)
		return error_set(err, job.error, "Could not open '%s': %s",
				 path, strerror(job.error));
	*out = job.fd;
	return 0;
}

/* What is said goes to one file, commands come from another, or from none. */
static int co_open_file(struct chardev *c, json_t *data, struct error **err)
{
	int how = arg_bool(data, "append", false) ? O_APPEND : O_TRUNC;
	int rc = co_open(arg_string(data, "out", ""),
			 O_WRONLY | O_CREAT | how, false, &c->out, err);

	return rc < 0 ? rc : co_open(arg_string(data, "in", "/dev/null"),
				     O_RDONLY, true, &c->in, err);
}

/* PATH.in and PATH.out, or PATH both ways; writable too, so that the end of
 * one who wrote is no end of input. */
static int co_open_pipe(struct chardev *c, json_t *data, struct error **err)
{
	const char *path = arg_string(data, "device", "");
	struct error *none CLEANUP_ERROR = NULL;
	char *in, *out;
	int rc;

	if (asprintf(&in, "%s.in", path) < 0 ||
	    asprintf(&out, "%s.out", path) < 0)
		abort();
	if (co_open(in, O_RDWR, true, &c->in, &none) < 0) {
		rc = co_open(path, O_RDWR, true, &c->in, err);
		if (rc == 0)
			rc = co_open(path, O_RDWR, true, &c->out, err);
	} else {
		rc = co_open(out, O_RDWR, true, &c->out, err);
	}
	free(in);
	free(out);
	return rc;
}

static int open_null(struct chardev *c, json_t *data, struct error **err)
{
	(void)c;
	(void)data;
	(void)err;
	return 0;
}

static const struct backend {
	const char *name;
	int (*co_open)(struct chardev *c, json_t *data, struct error **err);
} backends[] = {
	{ "socket", co_open_socket },
	{ "file", co_open_file },
	{ "pipe", co_open_pipe },
	{ "stdio", open_stdio },
	{ "null", open_null },
};

/* ---- life ---- */

static bool owns_descriptors(const struct chardev *c)
{
	return c->in > STDERR_FILENO;
}

static void chardev_free(struct chardev *c)
{
	for (unsigned i = 0; i < c->listener_count; i++)
		close(c->listeners[i]);
	if (owns_descriptors(c))
		close(c->in);
	if (owns_descriptors(c) && c->out >= 0 && c->out != c->in)
		close(c->out);
	if (c->path)
		unlink(c->path);
	free(c->path);
	json_decref(c->addr);
	free(c->id);
	free(c);
}

static struct chardev *chardev_new(const char *id, const char *kind)
{
	struct chardev *c = calloc(1, sizeof(*c));

	if (!c || !(c->id = strdup(id)))
		abort();
	c->kind = kind;
	c->in = c->out = -1;
	return c;
}

static void chardev_forget(struct chardev *c)
{
	struct chardev **at = &chardevs;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	chardev_free(c);
}

int co_chardev_add(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", "");
	json_t *backend = json_object_get(args, "backend");
	const char *type = arg_string(backend, "type", "");
	const struct backend *b = backends;
	struct chardev *c;
	int rc;

	if (chardev_find(id))
		return error_set(err, EEXIST, "Chardev with id '%s' already "
				 "exists", id);
	while (strcmp(b->name, type))
		b++;
	/* others may ask for the id while we wait */
	c = chardev_new(id, b->name);
	c->taken = true;
	c->next = chardevs;
	chardevs = c;
	rc = b->co_open(c, json_object_get(backend, "data"), err);
	c->taken = false;
	if (rc < 0)
		chardev_forget(c);
	return rc;
}

json_t *cmd_chardev_add(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", "");
	int rc = co_chardev_add(args, err);

	if (rc == 0)
		return json_object();
	if (rc != -EEXIST)
		error_prefix(err, "Failed to add chardev '%s'", id);
	return NULL;
}

json_t *cmd_chardev_remove(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", "");
	struct chardev *c = chardev_find(id);

	if (!c)
		error_set(err, ENOENT, "Chardev '%s' not found", id);
	else if (c->taken)
		error_set(err, EBUSY, "Chardev '%s' is busy", id);
	else
		chardev_forget(c);
	return *err ? NULL : json_object();
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

bool chardev_connection(struct chardev *c, int *in, int *out)
{
	*in = c->in;
	*out = c->out;
	if (c->in >= 0 && c->in == c->out)
		c->in = c->out = -1;
	return *in >= 0;
}

void chardev_close_all(void)
{
	while (chardevs)
		chardev_forget(chardevs);
}

/* ---- as clients see them ---- */

/* "127.0.0.1:4444", "[::1]:4444" */
static void inet_text(const struct sockaddr *addr, socklen_t len, char *text,
		      size_t size)
{
	char host[INET6_ADDRSTRLEN + 20], port[8];
	bool v6 = addr->sa_family == AF_INET6;

	text[0] = 0;
	if (getnameinfo(addr, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(text, size, "%s%s%s:%s", v6 ? "[" : "", host,
			 v6 ? "]" : "", port);
}

static void socket_text(int fd, bool peer, char *text, size_t size)
{
	struct sockaddr_storage addr = { 0 };
	struct sockaddr *any = (struct sockaddr *)&addr;
	socklen_t len = sizeof(addr);

	text[0] = 0;
	if (peer ? getpeername(fd, any, &len) : getsockname(fd, any, &len))
		return;
	if (any->sa_family == AF_UNIX)
		snprintf(text, size, "%.*s",
			 (int)sizeof(((struct sockaddr_un *)any)->sun_path),
			 ((struct sockaddr_un *)any)->sun_path);
	else
		inet_text(any, len, text, size);
}

/* What it was told to connect to, or listens on. */
static void address_text(const struct chardev *c, char *text, size_t size)
{
	json_t *data = json_object_get(c->addr, "data");
	char at[200];

	if (is_inet(c) && c->listener_count)
		socket_text(c->listeners[0], false, at, sizeof(at));
	else if (is_inet(c))
		snprintf(at, sizeof(at), "%s:%s", arg_string(data, "host", ""),
			 arg_string(data, "port", ""));
	else
		snprintf(at, sizeof(at), "%s", arg_string(data, "path",
			 arg_string(data, "str", "")));
	snprintf(text, size, "disconnected:%s:%s%s", is_inet(c) ? "tcp" :
		 arg_string(c->addr, "type", ""), at,
		 !arg_bool(data, "abstract", false) ? "" :
		 arg_bool(data, "tight", true) ? ",abstract=on,tight=on" :
		 ",abstract=on");
}

static json_t *chardev_name(const struct chardev *c)
{
	const char *server = c->listener_count ? ",server=on" : "";
	char text[500], here[200], there[200];
	int fd = monitor_client_socket(c);

	if (!c->addr)
		return json_string(c->kind);
	if (fd < 0)
		fd = c->in;
	if (fd < 0) {
		address_text(c, text, sizeof(text) - sizeof(",server=on"));
		strcat(text, server);
		return json_text(text);
	}
	socket_text(fd, false, here, sizeof(here));
	socket_text(fd, true, there, sizeof(there));
	if (is_inet(c))
		snprintf(text, sizeof(text), "tcp:%s%s <-> %s", here, server,
			 there);
	else
		snprintf(text, sizeof(text), "unix:%s%s", here, server);
	return json_text(text);
}

json_t *cmd_query_chardev(json_t *args, struct error **err)
{
	json_t *list = json_array();

	(void)args;
	(void)err;
	for (const struct chardev *c = chardevs; c; c = c->next)
		json_array_append_new(list, json_pack("{s:s,s:o,s:b}",
			"label", c->id, "filename", chardev_name(c),
			"frontend-open", c->taken));
	return list;
}

json_t *cmd_query_chardev_backends(json_t *args, struct error **err)
{
	json_t *list = json_array();

	(void)args;
	(void)err;
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++)
		json_array_append_new(list, json_pack("{s:s}", "name",
						      backends[i].name));
	return list;
}

/* ---- the command line's options ---- */

/* Moves what is given under a name to another object, under its name there. */
static void move(json_t *from, const char *name, json_t *to, const char *as)
{
	json_t *value = json_object_get(from, name);

	if (value)
		json_object_set(to, as, value);
	json_object_del(from, name);
}

static const struct {
	const char *type, *members[6];	/* the first says that it is this one */
} address_kinds[] = {
	{ "unix", { "path", "abstract", "tight" } },
	{ "inet", { "host", "port", "to", "ipv4", "ipv6" } },
	{ "fd", { "fd" } },
};

static json_t *take_address(json_t *options)
{
	json_t *data = json_object();
	const char *type = "";

	for (size_t i = 0; i < ARRAY_SIZE(address_kinds); i++) {
		const char *const *m = address_kinds[i].members;

		if (!json_object_get(options, *m))
			continue;
		type = address_kinds[i].type;
		for (; *m; m++)
			move(options, *m, data, strcmp(*m, "fd") ? *m : "str");
	}
	return json_pack("{s:s,s:o}", "type", type, "data", data);
}

static int set_socket(json_t *options, struct error **err)
{
	bool server = arg_bool(options, "server", false);
	unsigned given = 0;

	for (size_t i = 0; i < ARRAY_SIZE(address_kinds); i++)
		given += json_object_get(options,
					 address_kinds[i].members[0]) != NULL;
	if (given != 1)
		return error_set(err, EINVAL, "One of 'path', 'fd' or 'host' "
				 "option required");
	json_object_set_new(options, "addr", take_address(options));
	json_object_set_new(options, "server", json_boolean(server));
	if (server && !json_object_get(options, "wait"))
		json_object_set_new(options, "wait", json_true());
	/* small messages are never held back */
	json_object_del(options, "nodelay");
	json_object_del(options, "delay");
	return 0;
}

json_t *chardev_from_options(json_t *options, struct error **err)
{
	const char *type = arg_string(options, "backend", "");
	json_t *data, *args;

	if (arg_check_id(arg_string(options, "id", ""), err) < 0)
		return NULL;
	data = json_copy(options);
	args = json_pack("{s:O,s:{s:o,s:o}}",
			 "id", json_object_get(options, "id"),
			 "backend", "type", json_text(type), "data", data);
	json_object_del(data, "id");
	json_object_del(data, "backend");
	if (!strcmp(type, "socket") && set_socket(data, err) < 0) {
		json_decref(args);
		return NULL;
	}
	move(data, "path", data, strcmp(type, "pipe") ? "out" : "device");
	move(data, "input-path", data, "in");
	return args;
}
