/* SPDX-License-Identifier: MIT */
/*
 * negotiate.h - the handshake as a machine: bytes in, bytes out. No socket, no
 * waiting; whoever drives it reads and writes.
 *
 *	out = greeting
 *	in  4 bytes	nbd_negotiate_flags
 *	in  16 bytes	nbd_negotiate_option: how many bytes follow
 *	in  those	nbd_negotiate_data: what comes after out was sent
 *
 * Every length is bounded before a byte of it is read (A27). What an option
 * answers is made in one go, so the exports it tells of are of one moment.
 */
#ifndef NBD_NEGOTIATE_H
#define NBD_NEGOTIATE_H

#include <stdbool.h>

#include "nbd/protocol.h"

/* bytes of an option's data: a longer one ends the connection */
#define NBD_OPTION_MAX (64u * 1024)

/* One export as clients are told of it. */
struct nbd_offer {
	const char *name, *description;	/* description may be NULL */
	uint64_t size;			/* bytes */
	uint32_t min_block, preferred_block;	/* bytes, powers of two */
	bool writable, rotational;
	bool depth;		/* has qemu:allocation-depth */
};

/* What client and server agreed on. */
struct nbd_terms {
	bool structured, extended;	/* replies; extended implies it */
	bool base, depth;		/* contexts of block status */
};

enum { NBD_CONTEXT_BASE, NBD_CONTEXT_DEPTH };

/* Where exports are looked up. */
struct nbd_catalogue {
	/* NULL: there is no such one. */
	const struct nbd_offer *(*find)(void *arg, const char *name);
	/* The one after prev, the first for NULL; NULL: no more. */
	const struct nbd_offer *(*next)(void *arg,
					const struct nbd_offer *prev);
	void *arg;
};

/* Bytes to be sent. */
struct nbd_out {
	char *data;
	size_t len, room;
};

enum nbd_step {
	NBD_STEP_OPTION,	/* the next option */
	NBD_STEP_TLS,		/* the TLS handshake, then the next option */
	NBD_STEP_SERVE,		/* transmission of `chosen` */
	NBD_STEP_END,		/* close, without error */
	NBD_STEP_REFUSE,	/* close: `why` */
};

struct nbd_negotiation {
	const struct nbd_catalogue *catalogue;
	bool tls_offered;	/* and then required */
	struct nbd_out out;
	const struct nbd_offer *chosen;
	const char *why;	/* static sentence */
	/* agreed on; begins anew when TLS begins */
	struct nbd_terms terms;
	char context_name[NBD_STRING_MAX + 1];	/* export of the contexts */
	bool tls;
	bool fixed, no_zeroes;	/* the client's flags */
	uint32_t option, length;	/* the one that is being read */
	char name[NBD_STRING_MAX + 1];	/* of the export it speaks of */
};

/* Puts the greeting into out. */
void nbd_negotiate_begin(struct nbd_negotiation *n,
			 const struct nbd_catalogue *catalogue, bool tls);
void nbd_negotiate_end(struct nbd_negotiation *n);
enum nbd_step nbd_negotiate_flags(struct nbd_negotiation *n,
				  const uint8_t flags[4]) MUST_CHECK;
/* NBD_STEP_OPTION: n->length bytes follow. */
enum nbd_step nbd_negotiate_option(struct nbd_negotiation *n,
				   const uint8_t head[16]) MUST_CHECK;
enum nbd_step nbd_negotiate_data(struct nbd_negotiation *n,
				 const uint8_t *data) MUST_CHECK;
/* The TLS handshake is over: nothing said in the clear counts any more. */
void nbd_negotiate_secured(struct nbd_negotiation *n);

#endif
