/* SPDX-License-Identifier: MIT */
/*
 * object-tls.h - credentials of TLS as objects. Main thread.
 */
#ifndef SERVER_OBJECT_TLS_H
#define SERVER_OBJECT_TLS_H

#include "nbd/tls.h"
#include "server/object.h"

extern const struct object_type object_tls_x509, object_tls_psk;

/* The credentials of that id, for a server; NULL and *err: no such ones. They
 * are there while the object is held. */
struct object *object_tls_creds(const char *id,
				const struct nbd_creds **creds,
				struct error **err);

#endif
