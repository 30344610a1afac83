/* SPDX-License-Identifier: MIT */
/*
 * address.h - sockets by address: listened on, or connected.
 *
 * Sockets are nonblocking and closed on exec. The file of a Unix socket has
 * mode 0600; one that a dead server left is replaced, and anything else that
 * is there is in the way. Removing it at the end is the caller's matter.
 */
#ifndef RUNTIME_ADDRESS_H
#define RUNTIME_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/error.h"

/* A name may stand for several: localhost, on IPv4 and IPv6. */
#define ADDRESS_SOCKETS_MAX 8u

enum address_type { ADDRESS_UNIX, ADDRESS_INET, ADDRESS_FD };

/* Its texts are the caller's. */
struct address {
	enum address_type type;
	const char *path;	/* unix */
	bool abstract;		/* of Linux' name space without files */
	bool padded;		/* an abstract name filled up with zeroes */
	const char *host, *port;	/* inet; host "": every address */
	uint16_t to;		/* last port to be tried; 0: only port */
	bool only_4, only_6;
	int fd;			/* a socket that we were started with */
};

/*
 * Their number, or a negative errno. address_listen may block, for names are
 * looked up; co_address_listen is for coroutines, and has a helper thread do
 * it.
 */
int address_listen(const struct address *a, int fds[ADDRESS_SOCKETS_MAX],
		   struct error **err) MUST_CHECK;
int co_address_listen(const struct address *a, int fds[ADDRESS_SOCKETS_MAX],
		      struct error **err) MUST_CHECK;
/* A connected socket, or a negative errno. Coroutine; each address that a name
 * stands for may take 10 s. */
int co_address_connect(const struct address *a, struct error **err)
	MUST_CHECK;

#endif
