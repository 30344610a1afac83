/* SPDX-License-Identifier: MIT */
/*
 * socket.c - see socket.h. Own thread only.
 */
#include "runtime/socket.h"

#include <errno.h>
#include <sys/socket.h>

#include "runtime/real/real.h"

/* of one call; more goes in several */
#define IOV_MOST 1024u

struct socket_op {
	struct ring_op op;
	struct co *co;
	int res;
};

static void socket_done(struct ring_op *op, int res, unsigned flags)
{
	struct socket_op *s = container_of(op, struct socket_op, op);

	(void)flags;
	s->res = res;
	co_enter(s->co);
}

static bool is_transient(int res)
{
	return res == -EINTR || res == -EAGAIN;
}

ssize_t co_recv(int fd, void *buf, size_t len)
{
	struct socket_op s = { .op = { .done = socket_done },
			       .co = co_self() };

	assert(s.co);
	do {
		struct io_uring_sqe *sqe = ring_sqe();

		io_uring_prep_recv(sqe, fd, buf, len, 0);
		ring_set_op(sqe, &s.op);
		co_park("co_recv");
	} while (is_transient(s.res));
	return s.res;
}

static int co_sendmsg(int fd, struct iovec *iov, size_t count)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
	struct socket_op s = { .op = { .done = socket_done },
			       .co = co_self() };
	struct io_uring_sqe *sqe = ring_sqe();

	assert(s.co);
	io_uring_prep_sendmsg(sqe, fd, &msg, MSG_NOSIGNAL);
	ring_set_op(sqe, &s.op);
	co_park("co_sendmsg");
	return s.res;
}

int co_sendv(int fd, struct iovec *iov, size_t count)
{
	while (count) {
		int res = co_sendmsg(fd, iov, min(count, IOV_MOST));
		size_t sent = res > 0 ? (size_t)res : 0;

		if (res < 0 && !is_transient(res))
			return res;
		while (count && sent >= iov->iov_len) {
			sent -= iov->iov_len;
			iov++;
			count--;
		}
		if (!count)
			break;
		iov->iov_base = (char *)iov->iov_base + sent;
		iov->iov_len -= sent;
	}
	return 0;
}
