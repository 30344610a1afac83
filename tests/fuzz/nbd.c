/* SPDX-License-Identifier: MIT */
/*
 * nbd.c - what an NBD client may send: a handshake, and when that has come to
 * an end the requests of the transmission phase (A27). All that is answered is
 * well formed, and every length was bounded before it was believed.
 *
 * The first byte says whether TLS is offered; its handshake is skipped.
 */
#include <stdlib.h>
#include <string.h>

#include "nbd/wire.h"
#include "tests/lib/nbd-offers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct nbd_offer offers[] = {
	{ .name = "n", .description = "a disk", .size = 1 << 30,
	  .min_block = 512, .preferred_block = 4096, .writable = true,
	  .depth = true },
	{ .name = "", .size = 4096, .min_block = 1, .preferred_block = 4096 },
};

static struct nbd_offers two = { offers, ARRAY_SIZE(offers) };

struct input {
	const uint8_t *at;
	size_t left;
};

static const uint8_t *take(struct input *in, size_t len)
{
	const uint8_t *at = in->at;

	if (in->left < len)
		return NULL;
	in->at += len;
	in->left -= len;
	return at;
}

/* Of one option: any number of heads, each with its data. */
static void check_replies(const struct nbd_negotiation *n)
{
	struct nbd_option_reply_head head;
	size_t at = 0;

	if (n->option == NBD_OPT_EXPORT_NAME && n->chosen)
		return;
	while (nbd_next_reply(n, &at, &head))
		;
	assert(at == n->out.len);
}

static enum nbd_step option(struct nbd_negotiation *n, struct input *in)
{
	const uint8_t *head = take(in, 16), *data;
	enum nbd_step step;

	if (!head)
		return NBD_STEP_END;
	step = nbd_negotiate_option(n, head);
	if (step != NBD_STEP_OPTION)
		return step;
	assert(n->length <= NBD_OPTION_MAX);
	data = take(in, n->length);
	if (!data)
		return NBD_STEP_END;
	step = nbd_negotiate_data(n, data);
	assert((step == NBD_STEP_SERVE) == (n->chosen != NULL));
	assert(step != NBD_STEP_SERVE || !n->tls_offered || n->tls);
	check_replies(n);
	return step;
}

static void answer(const struct nbd_request *r, const struct nbd_terms *terms,
		   enum nbd_error error)
{
	char head[NBD_REPLY_HEAD_MAX];
	uint32_t bytes = !error && r->type == NBD_CMD_READ ?
			 (uint32_t)r->length : 0;

	assert(bytes <= NBD_PAYLOAD_MAX);
	assert(nbd_reply_head(head, r, terms, error, bytes) <= sizeof(head));
	assert(nbd_status_head(head, r, terms, 0, 1, true) <= sizeof(head));
}

static void serve(const struct nbd_negotiation *n, struct input *in)
{
	const struct nbd_terms *terms = &n->terms;
	const struct nbd_offer *offer = n->chosen;
	struct nbd_request r;
	const uint8_t *head;

	while ((head = take(in, nbd_request_size(terms))) != NULL) {
		enum nbd_error error;
		uint64_t payload;

		if (!nbd_request_decode(head, terms, &r))
			return;
		payload = nbd_request_payload(&r, terms);
		if (payload > NBD_PAYLOAD_MAX || !take(in, payload))
			return;
		error = nbd_request_check(&r, terms, offer->size,
					  offer->writable);
		if (!error && r.type != NBD_CMD_FLUSH &&
		    r.type != NBD_CMD_DISC)
			assert(r.length <= offer->size &&
			       r.offset <= offer->size - r.length);
		answer(&r, terms, error);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nbd_catalogue exports = nbd_offers_catalogue(&two);
	struct input in = { .at = data, .left = size };
	struct nbd_negotiation *n = malloc(sizeof(*n));
	const uint8_t *tls = take(&in, 1), *flags = take(&in, 4);
	enum nbd_step step = NBD_STEP_END;

	if (!n)
		abort();
	nbd_negotiate_begin(n, &exports, tls && *tls & 1);
	if (flags)
		step = nbd_negotiate_flags(n, flags);
	while (step == NBD_STEP_OPTION) {
		step = option(n, &in);
		if (step == NBD_STEP_TLS) {
			nbd_negotiate_secured(n);
			step = NBD_STEP_OPTION;
		}
	}
	if (step == NBD_STEP_SERVE)
		serve(n, &in);
	nbd_negotiate_end(n);
	free(n);
	return 0;
}
