/* SPDX-License-Identifier: MIT */
/*
 * object-secret.c - the objects "secret" (bytes that others refer to by id, so
 * that they stand in no command line or log) and "iothread". Main thread.
 */
#include "server/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/storage.h"

#define SECRET_MAX (64u * 1024)	/* bytes */

enum secret_format { SECRET_RAW, SECRET_BASE64 };

struct secret_options {
	char *data, *file;
	int format;
};

struct secret {
	unsigned char *bytes;	/* and a zero byte */
	size_t len;
};

#define OPT(field) offsetof(struct secret_options, field)

static const char *const formats[] = { "raw", "base64", NULL };

static const struct option secret_option_table[] = {
	{ .name = "data", .type = OPT_STRING, .offset = OPT(data),
	  .secret = true, .help = "the secret itself" },
	{ .name = "file", .type = OPT_STRING, .offset = OPT(file),
	  .help = "name of a file that holds it" },
	{ .name = "format", .type = OPT_ENUM, .offset = OPT(format),
	  .def = "raw", .values = formats, .help = "how it is written" },
	{ .name = NULL },
};

static void secret_wipe(void *at, size_t len)
{
	if (at)
		explicit_bzero(at, len);
	free(at);
}

struct secret_read {
	const char *path;
	unsigned char *bytes;	/* of SECRET_MAX + 1 */
	size_t len;
	int error;		/* positive errno */
};

static void secret_read(void *arg)
{
	struct secret_read *r = arg;
	int fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n = 1;

	if (fd < 0) {
		r->error = errno;
		return;
	}
	while (n > 0 && r->len <= SECRET_MAX) {
		n = read(fd, r->bytes + r->len, SECRET_MAX + 1 - r->len);
		if (n > 0)
			r->len += (size_t)n;
		else if (n < 0)
			r->error = errno;
	}
	close(fd);
}

static int co_secret_from_file(struct secret *s, const char *path,
			       struct error **err)
{
	struct secret_read r = {
		.path = path,
		.bytes = calloc(1, SECRET_MAX + 2),
	};
	char text[STORAGE_TEXT_MAX];

	if (!r.bytes)
		abort();
	if (co_storage_call_at(path, secret_read, &r))
		r.error = ETIMEDOUT;
	s->bytes = r.bytes;
	s->len = r.len;
	if (r.error)
		return error_set(err, r.error, "Unable to read %s: %s", path,
				 storage_why(-r.error, text));
	if (r.len > SECRET_MAX)
		return error_set(err, EFBIG, "Unable to read %s: longer than "
				 "%u bytes", path, SECRET_MAX);
	return 0;
}

static int base64_digit(unsigned char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* In place; false where it is no base64. White space is skipped. */
static bool base64_decode(unsigned char *bytes, size_t *len)
{
	size_t in, out = 0, padding = 0, digits = 0;
	uint32_t bits = 0;

	for (in = 0; in < *len; in++) {
		int digit = base64_digit(bytes[in]);

		if (bytes[in] && strchr(" \t\r\n", bytes[in]))
			continue;
		if (bytes[in] == '=' && digits % 4 >= 2) {
			padding++;
			digits++;
			continue;
		}
		if (digit < 0 || padding)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		if (digits++ % 4)
			bytes[out++] = (unsigned char)
				(bits >> (6 - 2 * ((digits - 1) % 4)));
	}
	*len = out;
	bytes[out] = 0;
	return digits % 4 == 0;
}

static int secret_load(struct secret *s, const struct secret_options *opts,
		       struct error **err)
{
	if (opts->data && opts->file)
		return error_set(err, EINVAL,
				 "'file' and 'data' are mutually exclusive");
	if (!opts->data && !opts->file)
		return error_set(err, EINVAL,
				 "Either 'file' or 'data' must be provided");
	if (opts->file)
		return co_secret_from_file(s, opts->file, err);
	s->bytes = (unsigned char *)strdup(opts->data);
	if (!s->bytes)
		abort();
	s->len = strlen(opts->data);
	return 0;
}

static int secret_open(struct object *obj, struct error **err)
{
	const struct secret_options *opts = obj->opts;
	struct secret *s = obj->state;
	int rc = secret_load(s, opts, err);

	if (rc == 0 && opts->format == SECRET_BASE64 &&
	    !base64_decode(s->bytes, &s->len))
		rc = error_set(err, EINVAL,
			       "Base64 data contains invalid characters");
	if (rc < 0)
		secret_wipe(s->bytes, s->len);
	return rc;
}

static void secret_close(struct object *obj)
{
	const struct secret_options *opts = obj->opts;
	struct secret *s = obj->state;

	if (opts->data)
		explicit_bzero(opts->data, strlen(opts->data));
	secret_wipe(s->bytes, s->len);
}

const struct object_type object_secret = {
	.name = "secret",
	.options = secret_option_table,
	.options_size = sizeof(struct secret_options),
	.state_size = sizeof(struct secret),
	.open = secret_open,
	.close = secret_close,
};

struct object *object_secret_find(const char *id, const void **bytes,
				  size_t *len, struct error **err)
{
	struct object *obj = object_find(id);
	const struct secret *s;

	if (!obj) {
		error_set(err, ENOENT, "No secret with id '%s'", id);
		return NULL;
	}
	if (obj->type != &object_secret) {
		error_set(err, EINVAL, "Object with id '%s' is not a secret",
			  id);
		return NULL;
	}
	s = obj->state;
	*len = s->len;
	*bytes = s->bytes;
	return obj;
}

/* A name that exports may give: which threads serve what is our own matter,
 * and what tunes one is taken and has no effect. */
struct iothread_options {
	uint64_t poll_max_ns, poll_grow, poll_shrink, aio_max_batch;
	uint64_t pool_min, pool_max;
};

#define IOTHREAD(option, field, value) { \
	.name = option, .type = OPT_SIZE, .def = value, \
	.offset = offsetof(struct iothread_options, field), \
	.help = "has no effect" }

static const struct option iothread_option_table[] = {
	IOTHREAD("poll-max-ns", poll_max_ns, "32768"),
	IOTHREAD("poll-grow", poll_grow, "0"),
	IOTHREAD("poll-shrink", poll_shrink, "0"),
	IOTHREAD("aio-max-batch", aio_max_batch, "0"),
	IOTHREAD("thread-pool-min", pool_min, "0"),
	IOTHREAD("thread-pool-max", pool_max, "64"),
	{ .name = NULL },
};

const struct object_type object_iothread = {
	.name = "iothread",
	.options = iothread_option_table,
	.options_size = sizeof(struct iothread_options),
};
