/* SPDX-License-Identifier: MIT */
/*
 * stream.c - see stream.h.
 */
#include "nbd/stream.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

int co_stream_recv_all(struct nbd_stream *s, void *buf, size_t len)
{
	char *at = buf;

	while (len) {
		ssize_t n = co_stream_recv(s, at, len);

		if (n <= 0)
			return n ? (int)n : -ENODATA;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int co_stream_send(struct nbd_stream *s, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return len ? co_stream_sendv(s, &iov, 1) : 0;
}

void nbd_stream_shutdown(const struct nbd_stream *s)
{
	shutdown(s->fd, SHUT_RDWR);
}

void nbd_stream_close(struct nbd_stream *s)
{
	if (s->tls)
		nbd_tls_free(s->tls);
	close(s->fd);
	s->tls = NULL;
	s->fd = -1;
}
