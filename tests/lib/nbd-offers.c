/* SPDX-License-Identifier: MIT */
/*
 * nbd-offers.c - see nbd-offers.h.
 */
#include "tests/lib/nbd-offers.h"

#include <string.h>

static const struct nbd_offer *find(void *arg, const char *name)
{
	const struct nbd_offers *offers = arg;

	for (size_t i = 0; i < offers->count; i++)
		if (!strcmp(offers->all[i].name, name))
			return &offers->all[i];
	return NULL;
}

static const struct nbd_offer *next(void *arg, const struct nbd_offer *prev)
{
	const struct nbd_offers *offers = arg;
	const struct nbd_offer *at = prev ? prev + 1 : offers->all;

	return at < offers->all + offers->count ? at : NULL;
}

struct nbd_catalogue nbd_offers_catalogue(struct nbd_offers *offers)
{
	return (struct nbd_catalogue){
		.find = find, .next = next, .arg = offers,
	};
}

bool nbd_next_reply(const struct nbd_negotiation *n, size_t *at,
		    struct nbd_option_reply_head *out)
{
	size_t left = n->out.len - *at;

	if (left < sizeof(*out))
		return false;
	memcpy(out, n->out.data + *at, sizeof(*out));
	if (be64toh(out->magic) != NBD_OPTION_REPLY_MAGIC ||
	    be32toh(out->option) != n->option ||
	    be32toh(out->length) > left - sizeof(*out))
		return false;
	*at += sizeof(*out) + be32toh(out->length);
	return true;
}
