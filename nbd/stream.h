/* SPDX-License-Identifier: MIT */
/*
 * stream.h - a connection's bytes, plain or through TLS. Coroutines of the
 * thread that the connection belongs to at the time.
 */
#ifndef NBD_STREAM_H
#define NBD_STREAM_H

#include "nbd/tls.h"
#include "runtime/socket.h"

struct nbd_stream {
	int fd;			/* without O_NONBLOCK */
	struct nbd_tls *tls;	/* NULL: plain */
};

/* As co_recv, co_recv_all and co_sendv of runtime/socket.h. */
static inline ssize_t co_stream_recv(struct nbd_stream *s, void *buf,
				     size_t len)
{
	return s->tls ? co_nbd_tls_recv(s->tls, buf, len) :
			co_recv(s->fd, buf, len);
}

static inline int co_stream_sendv(struct nbd_stream *s, struct iovec *iov,
				  size_t count)
{
	return s->tls ? co_nbd_tls_sendv(s->tls, iov, count) :
			co_sendv(s->fd, iov, count);
}

int co_stream_recv_all(struct nbd_stream *s, void *buf, size_t len)
	MUST_CHECK;
int co_stream_send(struct nbd_stream *s, void *buf, size_t len) MUST_CHECK;
/* Ends all waiting on it, for good; any thread. */
void nbd_stream_shutdown(const struct nbd_stream *s);
/* Closes the socket and frees what TLS has. */
void nbd_stream_close(struct nbd_stream *s);

#endif
