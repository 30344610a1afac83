/* SPDX-License-Identifier: MIT */
/*
 * creds.h - what tls.c sees of credentials.
 */
#ifndef NBD_CREDS_H
#define NBD_CREDS_H

#include <gnutls/gnutls.h>

#include "nbd/tls.h"

struct nbd_psk_key {
	char *user;
	gnutls_datum_t key;
	struct nbd_psk_key *next;
};

struct nbd_creds {
	gnutls_certificate_credentials_t x509;	/* or NULL */
	gnutls_psk_server_credentials_t psk;	/* or NULL */
	struct nbd_psk_key *keys;		/* of psk */
	char *priority;
	bool verify_peer;
};

#endif
