/* SPDX-License-Identifier: MIT */
/*
 * tls.h - TLS on a connection, by GnuTLS: credentials and sessions.
 *
 * GnuTLS never waits: it reads from and writes to memory, and the coroutine
 * moves those bytes over the thread's ring. So no coroutine is left inside it,
 * and the reader and the writer of a connection may use one session.
 */
#ifndef NBD_TLS_H
#define NBD_TLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "runtime/error.h"

struct nbd_creds;
struct nbd_tls;

/* What a client must have. Strings are copied. */
struct nbd_creds_options {
	const char *dir;	/* of the files, whose names are fixed */
	const char *priority;	/* GnuTLS's words; NULL: the default */
	const char *password;	/* of the server's key; NULL: none */
	bool psk;		/* keys.psk instead of certificates */
	bool verify_peer;	/* certificates: the client needs one too */
};

/* Loads the files. Coroutine of the main thread. NULL and *err. */
struct nbd_creds *co_nbd_creds_load(const struct nbd_creds_options *opts,
				    struct error **err) MUST_CHECK;
/* No session uses it any more. */
void nbd_creds_free(struct nbd_creds *creds);

/* NULL: no memory, or a bad priority. Coroutine of the main thread. */
struct nbd_tls *co_nbd_tls_new(const struct nbd_creds *creds, int fd);
void nbd_tls_free(struct nbd_tls *tls);
/* 0, or -1 and *why, a static sentence. Coroutine of the main thread, which
 * serves others meanwhile. */
int co_nbd_tls_handshake(struct nbd_tls *tls, const char **why) MUST_CHECK;
/* Since when it is the client's turn and it has said nothing, as clock_ns; or
 * NBD_AT_WORK. Main thread, while the session is main's. */
#define NBD_AT_WORK UINT64_MAX
uint64_t nbd_tls_silent_since(const struct nbd_tls *tls);
/* As co_recv and co_sendv. One coroutine receives and one sends, at most. */
ssize_t co_nbd_tls_recv(struct nbd_tls *tls, void *buf, size_t len)
	MUST_CHECK;
int co_nbd_tls_sendv(struct nbd_tls *tls, struct iovec *iov, size_t count)
	MUST_CHECK;

#endif
