/* SPDX-License-Identifier: MIT */
/*
 * address.h - addresses of sockets as the control protocol has them.
 */
#ifndef SERVER_ADDRESS_H
#define SERVER_ADDRESS_H

#include <jansson.h>

#include "runtime/address.h"

/*
 * addr: of the type "SocketAddressLegacy", checked, whose texts *out then
 * names. Main thread.
 */
int address_from_json(json_t *addr, struct address *out, struct error **err)
	MUST_CHECK;

#endif
