/* SPDX-License-Identifier: MIT */
/*
 * tls.c - see tls.h. A session belongs to the thread that its connection
 * belongs to: main during the handshake, an I/O thread after it.
 *
 * The handshake's arithmetic takes milliseconds a client, so it is done on a
 * helper thread while main's coroutine waits; for one client at a time, so that
 * many who come at once take neither all helpers nor all CPUs (A42).
 */
#include "nbd/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/creds.h"
#include "runtime/co.h"
#include "runtime/socket.h"

#define RECORD_MAX 16384u
#define RECORD_ROOM (RECORD_MAX + 1024)	/* with what TLS adds to it */
#define IN_SIZE (64u << 10)
#define OUT_SIZE (256u << 10)

struct nbd_tls {
	gnutls_session_t session;
	int fd;
	bool ended;		/* no more input */
	uint64_t heard_ns;	/* the last input came; NBD_AT_WORK */
	size_t in_at, in_len, out_len, plain_len;
	char in[IN_SIZE];	/* received, still encrypted */
	char out[OUT_SIZE];	/* encrypted, not yet sent */
	char plain[RECORD_MAX];	/* the record that is being filled */
};

static ssize_t tls_push(gnutls_transport_ptr_t arg, const void *data,
			size_t len)
{
	struct nbd_tls *tls = arg;

	len = min(len, OUT_SIZE - tls->out_len);
	if (!len) {
		gnutls_transport_set_errno(tls->session, EAGAIN);
		return -1;
	}
	memcpy(tls->out + tls->out_len, data, len);
	tls->out_len += len;
	return (ssize_t)len;
}

static ssize_t tls_pull(gnutls_transport_ptr_t arg, void *data, size_t len)
{
	struct nbd_tls *tls = arg;

	len = min(len, tls->in_len - tls->in_at);
	if (!len && !tls->ended) {
		gnutls_transport_set_errno(tls->session, EAGAIN);
		return -1;
	}
	memcpy(data, tls->in + tls->in_at, len);
	tls->in_at += len;
	return (ssize_t)len;
}

static int tls_pull_ready(gnutls_transport_ptr_t arg, unsigned ms)
{
	const struct nbd_tls *tls = arg;

	(void)ms;
	return tls->ended || tls->in_at < tls->in_len;
}

static bool tls_set_up(struct nbd_tls *tls, const struct nbd_creds *creds)
{
	gnutls_session_t session = tls->session;
	int rc;

	if (gnutls_priority_set_direct(session, creds->priority, NULL) < 0)
		return false;
	if (creds->psk)
		rc = gnutls_credentials_set(session, GNUTLS_CRD_PSK,
					    creds->psk);
	else
		rc = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
					    creds->x509);
	if (rc < 0)
		return false;
	if (creds->x509 && creds->verify_peer) {
		gnutls_certificate_server_set_request(session,
						      GNUTLS_CERT_REQUIRE);
		gnutls_session_set_verify_cert(session, NULL, 0);
	}
	/* only ever looked at by find_key of creds.c */
	gnutls_session_set_ptr(session, (void *)(uintptr_t)creds);
	gnutls_transport_set_ptr(session, tls);
	gnutls_transport_set_push_function(session, tls_push);
	gnutls_transport_set_pull_function(session, tls_pull);
	gnutls_transport_set_pull_timeout_function(session, tls_pull_ready);
	return true;
}

static struct nbd_tls *tls_new(const struct nbd_creds *creds, int fd)
{
	struct nbd_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return NULL;
	tls->fd = fd;
	if (gnutls_init(&tls->session, GNUTLS_SERVER | GNUTLS_NONBLOCK |
			GNUTLS_NO_SIGNAL) < 0) {
		free(tls);
		return NULL;
	}
	if (tls_set_up(tls, creds))
		return tls;
	nbd_tls_free(tls);
	return NULL;
}

void nbd_tls_free(struct nbd_tls *tls)
{
	gnutls_deinit(tls->session);
	explicit_bzero(tls->plain, sizeof(tls->plain));
	free(tls);
}

/* More input; what is there has been used up. */
static int co_tls_fill(struct nbd_tls *tls)
{
	ssize_t n = co_recv(tls->fd, tls->in, IN_SIZE);

	tls->in_at = 0;
	tls->in_len = n > 0 ? (size_t)n : 0;
	tls->ended = n <= 0;
	tls->heard_ns = clock_turn_ns();
	return n < 0 ? (int)n : 0;
}

static int co_tls_flush(struct nbd_tls *tls)
{
	size_t len = tls->out_len;
	struct iovec iov = { .iov_base = tls->out, .iov_len = len };
	int rc = co_sendv(tls->fd, &iov, 1);

	/* whoever received may have had to answer meanwhile */
	tls->out_len -= len;
	memmove(tls->out, tls->out + len, tls->out_len);
	return rc;
}

static bool would_wait(ssize_t rc)
{
	return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

/* What is done on a helper thread. */
struct tls_work {
	const struct nbd_creds *creds;
	int fd;
	struct nbd_tls *tls;
	int rc;
};

static void tls_new_run(void *arg)
{
	struct tls_work *work = arg;

	work->tls = tls_new(work->creds, work->fd);
}

static void tls_handshake_run(void *arg)
{
	struct tls_work *work = arg;

	work->rc = gnutls_handshake(work->tls->session);
}

/* In order of arrival, one after the other. */
static void co_tls_work(void (*fn)(void *arg), struct tls_work *work)
{
	static struct co_mutex one_at_a_time;
	static bool made;

	assert(thread_is_main());
	if (!made)
		co_mutex_init(&one_at_a_time);
	made = true;
	co_lock(&one_at_a_time);
	co_blocking(fn, work);
	co_unlock(&one_at_a_time);
}

struct nbd_tls *co_nbd_tls_new(const struct nbd_creds *creds, int fd)
{
	struct tls_work work = { .creds = creds, .fd = fd };

	co_tls_work(tls_new_run, &work);
	return work.tls;
}

int co_nbd_tls_handshake(struct nbd_tls *tls, const char **why)
{
	for (;;) {
		struct tls_work work = { .tls = tls };
		int rc;

		tls->heard_ns = NBD_AT_WORK;
		co_tls_work(tls_handshake_run, &work);
		tls->heard_ns = clock_ns();
		rc = work.rc;
		/* an alert too goes out */
		if (tls->out_len && co_tls_flush(tls) < 0) {
			*why = "the client left";
			return -1;
		}
		if (rc == 0)
			return 0;
		if (rc < 0 && gnutls_error_is_fatal(rc)) {
			*why = gnutls_strerror(rc);
			return -1;
		}
		if (would_wait(rc) && tls->in_at == tls->in_len &&
		    co_tls_fill(tls) < 0) {
			*why = "the client left";
			return -1;
		}
	}
}

uint64_t nbd_tls_silent_since(const struct nbd_tls *tls)
{
	return tls->heard_ns;
}

ssize_t co_nbd_tls_recv(struct nbd_tls *tls, void *buf, size_t len)
{
	for (;;) {
		ssize_t n = gnutls_record_recv(tls->session, buf, len);

		if (n >= 0)
			return n;
		if (!would_wait(n))
			return n == GNUTLS_E_PREMATURE_TERMINATION ? 0 : -EIO;
		if (tls->in_at == tls->in_len && co_tls_fill(tls) < 0)
			return -EIO;
	}
}

/* One record, at most RECORD_MAX. */
static int co_record(struct nbd_tls *tls, const char *at, size_t len)
{
	ssize_t n;

	if (OUT_SIZE - tls->out_len < RECORD_ROOM && co_tls_flush(tls) < 0)
		return -EIO;
	n = gnutls_record_send(tls->session, at, len);
	return n == (ssize_t)len ? 0 : -EIO;
}

/* What is in plain. */
static int co_record_plain(struct nbd_tls *tls)
{
	size_t len = tls->plain_len;

	tls->plain_len = 0;
	return len ? co_record(tls, tls->plain, len) : 0;
}

/* Small parts share a record; one that fills records is not copied first. */
static int co_add(struct nbd_tls *tls, const char *at, size_t len)
{
	while (len) {
		size_t n = min(len, RECORD_MAX - tls->plain_len);
		int rc = 0;

		if (n == RECORD_MAX) {
			rc = co_record(tls, at, n);
		} else {
			memcpy(tls->plain + tls->plain_len, at, n);
			tls->plain_len += n;
			if (tls->plain_len == RECORD_MAX)
				rc = co_record_plain(tls);
		}
		if (rc < 0)
			return rc;
		at += n;
		len -= n;
	}
	return 0;
}

int co_nbd_tls_sendv(struct nbd_tls *tls, struct iovec *iov, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (co_add(tls, iov[i].iov_base, iov[i].iov_len) < 0)
			return -EIO;
	if (co_record_plain(tls) < 0)
		return -EIO;
	return tls->out_len ? co_tls_flush(tls) : 0;
}
