/* SPDX-License-Identifier: MIT */
/*
 * socket.h - connected stream sockets over the thread's ring: no system call
 * of their own. Coroutines of any thread. Not in the simulation.
 *
 * The sockets block (without O_NONBLOCK): the ring waits, not the thread.
 * shutdown(2) ends whatever waits here. No call raises SIGPIPE.
 */
#ifndef RUNTIME_SOCKET_H
#define RUNTIME_SOCKET_H

#include <sys/types.h>
#include <sys/uio.h>

#include "runtime/compiler.h"

/* At least one byte, as many as are there; 0 at the end of input; or a
 * negative errno. */
ssize_t co_recv(int fd, void *buf, size_t len) MUST_CHECK;
/* Everything: 0 or a negative errno. Changes iov. */
int co_sendv(int fd, struct iovec *iov, size_t count) MUST_CHECK;

#endif
