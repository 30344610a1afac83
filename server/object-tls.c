/* SPDX-License-Identifier: MIT */
/*
 * object-tls.c - see object-tls.h. Options and file names are the storage
 * daemon's. Only servers are known here.
 */
#include "server/object-tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum endpoint { ENDPOINT_CLIENT, ENDPOINT_SERVER };

struct tls_options {
	char *dir, *priority, *password_id, *username;
	int endpoint;
	bool verify_peer, sanity_check;
};

struct tls_state {
	struct nbd_creds *creds;
};

#define OPT(field) offsetof(struct tls_options, field)

static const char *const endpoints[] = { "client", "server", NULL };

#define TLS_COMMON \
	{ .name = "dir", .type = OPT_STRING, .offset = OPT(dir), \
	  .help = "directory of the files" }, \
	{ .name = "endpoint", .type = OPT_ENUM, .offset = OPT(endpoint), \
	  .def = "client", .values = endpoints, .help = "server" }, \
	{ .name = "priority", .type = OPT_STRING, .offset = OPT(priority), \
	  .help = "ciphers and versions, in GnuTLS's words" }, \
	{ .name = "verify-peer", .type = OPT_BOOL, .def = "on", \
	  .offset = OPT(verify_peer), \
	  .help = "clients need a certificate of the same authority" }

static const struct option x509_option_table[] = {
	TLS_COMMON,
	{ .name = "passwordid", .type = OPT_STRING,
	  .offset = OPT(password_id),
	  .help = "secret that the server's key is encrypted with" },
	{ .name = "sanity-check", .type = OPT_BOOL, .def = "on",
	  .offset = OPT(sanity_check),
	  .help = "has no effect: they are checked when they are used" },
	{ .name = NULL },
};

static const struct option psk_option_table[] = {
	TLS_COMMON,
	{ .name = "username", .type = OPT_STRING, .offset = OPT(username),
	  .help = "has no effect on a server" },
	{ .name = NULL },
};

static int tls_open(struct object *obj, struct error **err)
{
	const struct tls_options *opts = obj->opts;
	struct tls_state *state = obj->state;
	struct nbd_creds_options creds = {
		.dir = opts->dir,
		.priority = opts->priority,
		.psk = obj->type == &object_tls_psk,
		.verify_peer = opts->verify_peer,
	};
	struct object *secret = NULL;
	const void *bytes;
	size_t len;

	if (!opts->dir)
		return error_set(err, EINVAL, "Missing 'dir' property value");
	if (opts->endpoint != ENDPOINT_SERVER)
		return error_set(err, ENOTSUP, "Object '%s': credentials are "
				 "for endpoint 'server' only", obj->id);
	if (opts->password_id) {
		secret = object_secret_find(opts->password_id, &bytes, &len,
					    err);
		if (!secret)
			return -EINVAL;
		creds.password = bytes;
		object_get(secret, "credentials");
	}
	state->creds = co_nbd_creds_load(&creds, err);
	if (secret)
		object_put(secret, "credentials");
	return state->creds ? 0 : -EINVAL;
}

static void tls_close(struct object *obj)
{
	const struct tls_state *state = obj->state;

	nbd_creds_free(state->creds);
}

const struct object_type object_tls_x509 = {
	.name = "tls-creds-x509",
	.options = x509_option_table,
	.options_size = sizeof(struct tls_options),
	.state_size = sizeof(struct tls_state),
	.open = tls_open,
	.close = tls_close,
};

const struct object_type object_tls_psk = {
	.name = "tls-creds-psk",
	.options = psk_option_table,
	.options_size = sizeof(struct tls_options),
	.state_size = sizeof(struct tls_state),
	.open = tls_open,
	.close = tls_close,
};

struct object *object_tls_creds(const char *id,
				const struct nbd_creds **creds,
				struct error **err)
{
	struct object *obj = object_find(id);
	const struct tls_state *state;

	if (!obj) {
		error_set(err, ENOENT, "No TLS credentials with id '%s'", id);
		return NULL;
	}
	if (obj->type != &object_tls_x509 && obj->type != &object_tls_psk) {
		error_set(err, EINVAL, "Object with id '%s' is not TLS "
			  "credentials", id);
		return NULL;
	}
	state = obj->state;
	*creds = state->creds;
	return obj;
}
