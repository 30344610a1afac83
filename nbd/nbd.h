/* SPDX-License-Identifier: MIT */
/*
 * nbd.h - the map of this folder, and what the daemon calls.
 *
 *	protocol.h	numbers and wire formats
 *	negotiate.h	the handshake, bytes in and bytes out
 *	wire.h		requests and replies as bytes
 *	target.h	a root and its connections; what to call with a socket
 *			that speaks the transmission phase already
 *	conn.h		one connection; conn.c reads and writes, request.c
 *			does what was asked
 *	stream.h	plain or TLS; tls.h, creds.c
 *	export.c	the export type "nbd"
 *	server.c	listening, handshakes
 *
 * The invariants N1... are in Documentation/nbd.md. Main thread, coroutines.
 */
#ifndef NBD_NBD_H
#define NBD_NBD_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/tls.h"
#include "runtime/address.h"

struct nbd_server_options {
	struct address address;
	const struct nbd_creds *creds;	/* NULL: no TLS; stays the caller's */
	uint32_t max_connections;	/* at a time; 0: any number */
	uint32_t handshake_s;		/* 0: no limit */
	/* Hears of what clients did wrong, a sentence; main thread. */
	void (*report)(const char *text);
};

/* Makes the export type "nbd" known. */
void nbd_register(void);
/* There is one server at a time. */
int co_nbd_server_start(const struct nbd_server_options *opts,
			struct error **err) MUST_CHECK;
/* Refuses new exports from here on; then the caller ends those there are. */
int nbd_server_stopping(struct error **err) MUST_CHECK;
/*
 * All exports are gone, or stuck. Returns when nothing of it is left; past the
 * time -ETIMEDOUT: clients of stuck exports are, which nobody listens to any
 * more, and it may be called again.
 */
int co_nbd_server_stop(uint64_t timeout_ns, struct error **err) MUST_CHECK;
bool nbd_server_running(void);

#endif
