/* SPDX-License-Identifier: MIT */
/*
 * creds.c - TLS credentials from the files that the storage daemon's users
 * have: ca-cert.pem, server-cert.pem, server-key.pem, and where it is there
 * ca-crl.pem; or keys.psk. A dh-params.pem is not looked at: groups that GnuTLS
 * knows are as good as any that it could name.
 *
 * They are read once, on a helper thread.
 */
#include "nbd/creds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/storage.h"

#define PSK_LINE_MAX 1024

struct load {
	const struct nbd_creds_options *opts;
	struct nbd_creds *creds;
	struct error *error;
	int rc;
};

/* Its name, if it is there to be read. */
static char *file_in(struct load *l, const char *name, bool required)
{
	char *path;

	if (asprintf(&path, "%s/%s", l->opts->dir, name) < 0)
		abort();
	if (access(path, R_OK) == 0)
		return path;
	if (required)
		l->rc = error_set(&l->error, errno, "Unable to access "
				  "credentials %s: %s", path,
				  strerror(errno));
	free(path);
	return NULL;
}

/* rc: GnuTLS's; negative is an error. */
static void loaded(struct load *l, int rc, const char *what, const char *path)
{
	if (rc < 0)
		l->rc = error_set(&l->error, EINVAL, "Cannot load %s '%s': %s",
				  what, path, gnutls_strerror(rc));
}

/* ---- certificates ---- */

static void load_ca(struct load *l)
{
	char *ca = file_in(l, "ca-cert.pem", true);
	char *crl = ca ? file_in(l, "ca-crl.pem", false) : NULL;

	if (ca) {
		int count = gnutls_certificate_set_x509_trust_file(
			l->creds->x509, ca, GNUTLS_X509_FMT_PEM);

		/* a file without any would trust nobody */
		loaded(l, count ? count : GNUTLS_E_NO_CERTIFICATE_FOUND,
		       "CA certificate", ca);
	}
	if (crl && !l->rc)
		loaded(l, gnutls_certificate_set_x509_crl_file(
			       l->creds->x509, crl, GNUTLS_X509_FMT_PEM),
		       "CRL", crl);
	free(ca);
	free(crl);
}

static void load_own(struct load *l)
{
	char *cert = file_in(l, "server-cert.pem", true);
	char *key = cert ? file_in(l, "server-key.pem", true) : NULL;

	if (key)
		loaded(l, gnutls_certificate_set_x509_key_file2(
			       l->creds->x509, cert, key, GNUTLS_X509_FMT_PEM,
			       l->opts->password, 0),
		       "server certificate and key", cert);
	free(cert);
	free(key);
}

static void load_x509(struct load *l)
{
	struct nbd_creds *creds = l->creds;

	if (gnutls_certificate_allocate_credentials(&creds->x509) < 0)
		abort();
	load_ca(l);
	if (!l->rc)
		load_own(l);
	if (l->rc)
		return;
	gnutls_certificate_set_known_dh_params(creds->x509,
					       GNUTLS_SEC_PARAM_MEDIUM);
}

/* ---- pre-shared keys ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_decode(const char *text, gnutls_datum_t *out)
{
	size_t len = strlen(text);

	if (!len || len % 2)
		return false;
	out->data = malloc(len / 2);
	out->size = (unsigned)(len / 2);
	if (!out->data)
		abort();
	for (size_t i = 0; i < len / 2; i++) {
		int high = hex_digit(text[2 * i]);
		int low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out->data[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

/* "user:hexadecimal key" */
static bool add_key(struct nbd_creds *creds, char *line)
{
	struct nbd_psk_key *key = calloc(1, sizeof(*key));
	char *colon = strchr(line, ':');

	if (!key)
		abort();
	key->next = creds->keys;
	creds->keys = key;
	line[strcspn(line, "\r\n")] = 0;
	if (!colon || colon == line)
		return false;
	*colon = 0;
	key->user = strdup(line);
	return key->user && hex_decode(colon + 1, &key->key);
}

static void load_keys(struct load *l, const char *path)
{
	FILE *file = fopen(path, "re");
	char line[PSK_LINE_MAX];
	unsigned number = 0;

	if (!file) {
		l->rc = error_set(&l->error, errno, "Unable to access "
				  "credentials %s: %s", path, strerror(errno));
		return;
	}
	while (!l->rc && fgets(line, sizeof(line), file)) {
		number++;
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (!add_key(l->creds, line))
			l->rc = error_set(&l->error, EINVAL, "Line %u of '%s' "
					  "is no user and key", number, path);
	}
	explicit_bzero(line, sizeof(line));
	if (!l->rc && !l->creds->keys)
		l->rc = error_set(&l->error, EINVAL, "No key in '%s'", path);
	fclose(file);
}

static int find_key(gnutls_session_t session, const char *user,
		    gnutls_datum_t *out)
{
	const struct nbd_creds *creds = gnutls_session_get_ptr(session);
	const struct nbd_psk_key *key = creds->keys;

	while (key && strcmp(key->user, user))
		key = key->next;
	if (!key)
		return -1;
	out->data = gnutls_malloc(key->key.size);
	if (!out->data)
		return -1;
	memcpy(out->data, key->key.data, key->key.size);
	out->size = key->key.size;
	return 0;
}

static void load_psk(struct load *l)
{
	char *path = file_in(l, "keys.psk", true);

	if (path)
		load_keys(l, path);
	free(path);
	if (l->rc)
		return;
	if (gnutls_psk_allocate_server_credentials(&l->creds->psk) < 0)
		abort();
	gnutls_psk_set_server_credentials_function(l->creds->psk, find_key);
	gnutls_psk_set_server_known_dh_params(l->creds->psk,
					      GNUTLS_SEC_PARAM_MEDIUM);
}

/* ---- both ---- */

static void check_priority(struct load *l)
{
	gnutls_priority_t parsed;

	if (gnutls_priority_init(&parsed, l->creds->priority, NULL) < 0)
		l->rc = error_set(&l->error, EINVAL, "Unable to set TLS "
				  "session priority %s", l->creds->priority);
	else
		gnutls_priority_deinit(parsed);
}

static void load_run(void *arg)
{
	struct load *l = arg;

	check_priority(l);
	if (l->rc)
		return;
	if (l->opts->psk)
		load_psk(l);
	else
		load_x509(l);
}

/* PSK is not in GnuTLS's normal set. */
static char *priority_of(const struct nbd_creds_options *opts)
{
	char *text;

	if (asprintf(&text, "%s%s", opts->priority ? opts->priority : "NORMAL",
		     opts->psk ? ":+ECDHE-PSK:+DHE-PSK:+PSK" : "") < 0)
		abort();
	return text;
}

struct nbd_creds *co_nbd_creds_load(const struct nbd_creds_options *opts,
				    struct error **err)
{
	struct load l = { .opts = opts };
	char text[STORAGE_TEXT_MAX];

	l.creds = calloc(1, sizeof(*l.creds));
	if (!l.creds)
		abort();
	l.creds->verify_peer = opts->verify_peer;
	l.creds->priority = priority_of(opts);
	if (co_storage_call_at(opts->dir, load_run, &l))
		l.rc = error_set(&l.error, ETIMEDOUT, "'%s': %s", opts->dir,
				 storage_why(-ETIMEDOUT, text));
	if (!l.rc)
		return l.creds;
	error_propagate(err, &l.error);
	nbd_creds_free(l.creds);
	return NULL;
}

void nbd_creds_free(struct nbd_creds *creds)
{
	struct nbd_psk_key *key;

	if (creds->x509)
		gnutls_certificate_free_credentials(creds->x509);
	if (creds->psk)
		gnutls_psk_free_server_credentials(creds->psk);
	while ((key = creds->keys) != NULL) {
		creds->keys = key->next;
		if (key->key.data)
			explicit_bzero(key->key.data, key->key.size);
		free(key->key.data);
		free(key->user);
		free(key);
	}
	free(creds->priority);
	free(creds);
}
