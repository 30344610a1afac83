/* SPDX-License-Identifier: MIT */
/*
 * nbd-offers.h - for tests of the NBD handshake: a catalogue of exports that
 * are an array, and the replies to one option, one after the other.
 */
#ifndef TESTS_LIB_NBD_OFFERS_H
#define TESTS_LIB_NBD_OFFERS_H

#include "nbd/negotiate.h"

struct nbd_offers {
	const struct nbd_offer *all;
	size_t count;
};

/* offers stay the caller's. */
struct nbd_catalogue nbd_offers_catalogue(struct nbd_offers *offers);

/*
 * The head of the reply at *at of n->out, magic and option checked; *at moves
 * behind its data. False: there is none, or not a whole one. Start at 0; all
 * were well formed when *at ends up at n->out.len.
 */
bool nbd_next_reply(const struct nbd_negotiation *n, size_t *at,
		    struct nbd_option_reply_head *out);

#endif
