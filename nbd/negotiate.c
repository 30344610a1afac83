/* SPDX-License-Identifier: MIT */
/*
 * negotiate.c - see negotiate.h. Newstyle only; who does not say that its is
 * the fixed one cannot be told that an option failed, so it may ask for nothing
 * but an export. Any thread; waits for nothing.
 */
#include "nbd/negotiate.h"

#include <stdlib.h>
#include <string.h>

static const char context_base[] = "base:allocation";
static const char context_depth[] = "qemu:allocation-depth";

/* ---- bytes out ---- */

static void *out_room(struct nbd_out *out, size_t len)
{
	char *at;

	if (out->room - out->len < len) {
		out->room = max(out->len + len, out->room * 2);
		out->data = realloc(out->data, out->room);
		if (!out->data)
			abort();
	}
	at = out->data + out->len;
	out->len += len;
	return at;
}

static void out_bytes(struct nbd_out *out, const void *bytes, size_t len)
{
	if (len)
		memcpy(out_room(out, len), bytes, len);
}

static void out_16(struct nbd_out *out, uint16_t value)
{
	value = htobe16(value);
	out_bytes(out, &value, sizeof(value));
}

static void out_32(struct nbd_out *out, uint32_t value)
{
	value = htobe32(value);
	out_bytes(out, &value, sizeof(value));
}

static void out_64(struct nbd_out *out, uint64_t value)
{
	value = htobe64(value);
	out_bytes(out, &value, sizeof(value));
}

/* The head of a reply to the option at hand; length bytes are to follow. */
static void reply(struct nbd_negotiation *n, uint32_t type, size_t length)
{
	struct nbd_option_reply_head head = {
		.magic = htobe64(NBD_OPTION_REPLY_MAGIC),
		.option = htobe32(n->option),
		.type = htobe32(type),
		.length = htobe32((uint32_t)length),
	};

	out_bytes(&n->out, &head, sizeof(head));
}

static enum nbd_step acknowledge(struct nbd_negotiation *n)
{
	reply(n, NBD_REP_ACK, 0);
	return NBD_STEP_OPTION;
}

/* The client hears why and may go on. */
static enum nbd_step nack(struct nbd_negotiation *n, enum nbd_option_error why,
			  const char *text)
{
	reply(n, NBD_REP_ERROR | why, strlen(text));
	out_bytes(&n->out, text, strlen(text));
	return NBD_STEP_OPTION;
}

static enum nbd_step refuse(struct nbd_negotiation *n, const char *why)
{
	n->why = why;
	return NBD_STEP_REFUSE;
}

/* ---- bytes in ---- */

/* What is left of an option's data; `bad` once something did not fit. */
struct input {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static const uint8_t *in_bytes(struct input *in, size_t len)
{
	const uint8_t *at = in->at;

	if (in->bad || in->left < len) {
		in->bad = true;
		return NULL;
	}
	in->at += len;
	in->left -= len;
	return at;
}

static uint16_t in_16(struct input *in)
{
	const uint8_t *at = in_bytes(in, 2);

	return (uint16_t)(at ? at[0] << 8 | at[1] : 0);
}

static uint32_t in_32(struct input *in)
{
	const uint8_t *at = in_bytes(in, 4);
	uint32_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

/* Bytes of a string with its length before it; NULL and bad: too long. */
static const char *in_string(struct input *in, uint32_t *len)
{
	*len = in_32(in);
	if (*len > NBD_STRING_MAX)
		in->bad = true;
	return (const char *)in_bytes(in, *len);
}

/* To n->name as text; one with a zero byte is nobody's name, so it is bad. */
static bool take_name(struct nbd_negotiation *n, const char *at, size_t len)
{
	if (!at || len > NBD_STRING_MAX || memchr(at, 0, len))
		return false;
	memcpy(n->name, at, len);
	n->name[len] = 0;
	return true;
}

static bool in_name(struct nbd_negotiation *n, struct input *in)
{
	uint32_t len;
	const char *at = in_string(in, &len);

	return take_name(n, at, len);
}

static bool is_text(const char *at, uint32_t len, const char *text)
{
	return len == strlen(text) && !memcmp(at, text, len);
}

/* ---- exports ---- */

static uint16_t offer_flags(const struct nbd_offer *offer,
			    const struct nbd_terms *terms)
{
	/* a flush through any connection covers the writes of all (A29) */
	unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
			 NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE |
			 NBD_FLAG_CAN_MULTI_CONN;

	if (offer->writable)
		flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
			 NBD_FLAG_SEND_FAST_ZERO;
	else
		flags |= NBD_FLAG_READ_ONLY;
	if (offer->rotational)
		flags |= NBD_FLAG_ROTATIONAL;
	if (terms->structured)
		flags |= NBD_FLAG_SEND_DF;
	return (uint16_t)flags;
}

static const struct nbd_offer *find(const struct nbd_negotiation *n)
{
	return n->catalogue->find(n->catalogue->arg, n->name);
}

/* Contexts count only for the export that they were asked for. */
static enum nbd_step grant(struct nbd_negotiation *n,
			   const struct nbd_offer *offer)
{
	if (strcmp(n->context_name, offer->name))
		n->terms.base = n->terms.depth = false;
	if (!offer->depth)
		n->terms.depth = false;
	n->chosen = offer;
	return NBD_STEP_SERVE;
}

static enum nbd_step option_export_name(struct nbd_negotiation *n,
					struct input *in)
{
	const struct nbd_offer *offer;

	if (!take_name(n, (const char *)in->at, in->left))
		return refuse(n, "a bad export name");
	offer = find(n);
	if (!offer)
		return refuse(n, "no such export");
	out_64(&n->out, offer->size);
	out_16(&n->out, offer_flags(offer, &n->terms));
	if (!n->no_zeroes)
		memset(out_room(&n->out, 124), 0, 124);
	return grant(n, offer);
}

static enum nbd_step option_list(struct nbd_negotiation *n, struct input *in)
{
	const struct nbd_catalogue *all = n->catalogue;
	const struct nbd_offer *offer = NULL;

	if (in->left)
		return nack(n, NBD_REP_ERR_INVALID, "data with a list");
	while ((offer = all->next(all->arg, offer)) != NULL) {
		const char *more = offer->description ? offer->description :
				   "";
		size_t len = strlen(offer->name);

		reply(n, NBD_REP_SERVER, 4 + len + strlen(more));
		out_32(&n->out, (uint32_t)len);
		out_bytes(&n->out, offer->name, len);
		out_bytes(&n->out, more, strlen(more));
	}
	return acknowledge(n);
}

static void info_text(struct nbd_negotiation *n, enum nbd_info info,
		      const char *text)
{
	reply(n, NBD_REP_INFO, 2 + strlen(text));
	out_16(&n->out, (uint16_t)info);
	out_bytes(&n->out, text, strlen(text));
}

static void info_export(struct nbd_negotiation *n,
			const struct nbd_offer *offer)
{
	reply(n, NBD_REP_INFO, 12);
	out_16(&n->out, NBD_INFO_EXPORT);
	out_64(&n->out, offer->size);
	out_16(&n->out, offer_flags(offer, &n->terms));
}

static void info_block_size(struct nbd_negotiation *n,
			    const struct nbd_offer *offer)
{
	reply(n, NBD_REP_INFO, 14);
	out_16(&n->out, NBD_INFO_BLOCK_SIZE);
	out_32(&n->out, offer->min_block);
	out_32(&n->out, offer->preferred_block);
	out_32(&n->out, NBD_PAYLOAD_MAX);
}

static enum nbd_step option_info(struct nbd_negotiation *n, struct input *in)
{
	const struct nbd_offer *offer;
	bool want[4] = { false };
	unsigned count;

	if (!in_name(n, in))
		return nack(n, NBD_REP_ERR_INVALID, "a bad export name");
	count = in_16(in);
	if (in->bad || in->left != count * 2u)
		return nack(n, NBD_REP_ERR_INVALID, "not the length it says");
	while (count--) {
		unsigned info = in_16(in);

		if (info < ARRAY_SIZE(want))
			want[info] = true;
	}
	offer = find(n);
	if (!offer)
		return nack(n, NBD_REP_ERR_UNKNOWN, "no such export");
	if (want[NBD_INFO_NAME])
		info_text(n, NBD_INFO_NAME, offer->name);
	if (want[NBD_INFO_DESCRIPTION] && offer->description)
		info_text(n, NBD_INFO_DESCRIPTION, offer->description);
	if (want[NBD_INFO_BLOCK_SIZE])
		info_block_size(n, offer);
	info_export(n, offer);
	acknowledge(n);
	return n->option == NBD_OPT_GO ? grant(n, offer) : NBD_STEP_OPTION;
}

/* ---- contexts ---- */

static void reply_context(struct nbd_negotiation *n, unsigned id,
			  const char *name)
{
	reply(n, NBD_REP_META_CONTEXT, 4 + strlen(name));
	/* of a list the id has no meaning */
	out_32(&n->out, n->option == NBD_OPT_SET_META_CONTEXT ? id : 0);
	out_bytes(&n->out, name, strlen(name));
}

/* A list's query may be a name space alone. */
static bool query_matches(const struct nbd_negotiation *n, const char *at,
			  uint32_t len, const char *name)
{
	uint32_t space = (uint32_t)(strchr(name, ':') - name) + 1;

	if (n->option == NBD_OPT_LIST_META_CONTEXT && len == space &&
	    !memcmp(at, name, space))
		return true;
	return is_text(at, len, name);
}

static enum nbd_step reply_contexts(struct nbd_negotiation *n, bool base,
				    bool depth)
{
	if (base)
		reply_context(n, NBD_CONTEXT_BASE, context_base);
	if (depth)
		reply_context(n, NBD_CONTEXT_DEPTH, context_depth);
	if (n->option == NBD_OPT_SET_META_CONTEXT) {
		n->terms.base = base;
		n->terms.depth = depth;
	}
	return acknowledge(n);
}

static enum nbd_step option_contexts(struct nbd_negotiation *n,
				     struct input *in)
{
	bool base = false, depth = false;
	const struct nbd_offer *offer;
	uint32_t count, len;

	/* a failed choice is no choice */
	if (n->option == NBD_OPT_SET_META_CONTEXT)
		n->terms.base = n->terms.depth = false;
	if (!n->terms.structured)
		return nack(n, NBD_REP_ERR_INVALID,
			    "structured replies come first");
	if (!in_name(n, in))
		return nack(n, NBD_REP_ERR_INVALID, "a bad export name");
	offer = find(n);
	count = in_32(in);
	if (count == 0 && n->option == NBD_OPT_LIST_META_CONTEXT)
		base = depth = true;
	while (count-- && !in->bad) {
		const char *at = in_string(in, &len);

		if (!at)
			break;
		base |= query_matches(n, at, len, context_base);
		depth |= query_matches(n, at, len, context_depth);
	}
	if (in->bad || in->left)
		return nack(n, NBD_REP_ERR_INVALID, "not the length it says");
	if (!offer)
		return nack(n, NBD_REP_ERR_UNKNOWN, "no such export");
	if (n->option == NBD_OPT_SET_META_CONTEXT)
		strcpy(n->context_name, n->name);
	return reply_contexts(n, base, depth && offer->depth);
}

/* ---- options without data ---- */

static enum nbd_step option_starttls(struct nbd_negotiation *n)
{
	if (!n->tls_offered)
		return nack(n, NBD_REP_ERR_POLICY, "TLS is not configured");
	if (n->tls)
		return nack(n, NBD_REP_ERR_INVALID, "TLS is there already");
	acknowledge(n);
	return NBD_STEP_TLS;
}

static enum nbd_step option_structured(struct nbd_negotiation *n)
{
	if (n->terms.extended)
		return nack(n, NBD_REP_ERR_EXT_HEADER_REQD,
			    "extended headers have been agreed on");
	n->terms.structured = true;
	return acknowledge(n);
}

static enum nbd_step option_extended(struct nbd_negotiation *n)
{
	n->terms.structured = n->terms.extended = true;
	return acknowledge(n);
}

static enum nbd_step option_plain(struct nbd_negotiation *n,
				  const struct input *in)
{
	if (in->left)
		return nack(n, NBD_REP_ERR_INVALID, "data where none belongs");
	if (n->option == NBD_OPT_STARTTLS)
		return option_starttls(n);
	if (n->option == NBD_OPT_STRUCTURED_REPLY)
		return option_structured(n);
	return option_extended(n);
}

/* ---- the machine ---- */

void nbd_negotiate_begin(struct nbd_negotiation *n,
			 const struct nbd_catalogue *catalogue, bool tls)
{
	struct nbd_greeting greeting = {
		.magic = htobe64(NBD_MAGIC),
		.option_magic = htobe64(NBD_OPTION_MAGIC),
		.flags = htobe16(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES),
	};

	memset(n, 0, sizeof(*n));
	n->catalogue = catalogue;
	n->tls_offered = tls;
	out_bytes(&n->out, &greeting, sizeof(greeting));
}

void nbd_negotiate_end(struct nbd_negotiation *n)
{
	free(n->out.data);
	n->out = (struct nbd_out){ .data = NULL };
}

enum nbd_step nbd_negotiate_flags(struct nbd_negotiation *n,
				  const uint8_t flags[4])
{
	uint32_t value;

	memcpy(&value, flags, sizeof(value));
	value = be32toh(value);
	if (value & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
		return refuse(n, "flags that nobody knows");
	n->fixed = value & NBD_FIXED_NEWSTYLE;
	n->no_zeroes = value & NBD_NO_ZEROES;
	return NBD_STEP_OPTION;
}

enum nbd_step nbd_negotiate_option(struct nbd_negotiation *n,
				   const uint8_t bytes[16])
{
	struct nbd_option_head head;

	memcpy(&head, bytes, sizeof(head));
	if (head.magic != htobe64(NBD_OPTION_MAGIC))
		return refuse(n, "no option where one should be");
	n->option = be32toh(head.option);
	n->length = be32toh(head.length);
	if (n->length > NBD_OPTION_MAX)
		return refuse(n, "an option longer than 64 KiB");
	return NBD_STEP_OPTION;
}

static enum nbd_step without_tls(struct nbd_negotiation *n)
{
	if (n->option == NBD_OPT_EXPORT_NAME)
		return refuse(n, "an export asked for without TLS");
	return nack(n, NBD_REP_ERR_TLS_REQD, "STARTTLS comes first");
}

enum nbd_step nbd_negotiate_data(struct nbd_negotiation *n,
				 const uint8_t *data)
{
	struct input in = { .at = data, .left = n->length };

	n->out.len = 0;
	if (!n->fixed && n->option != NBD_OPT_EXPORT_NAME)
		return refuse(n, "an option without fixed newstyle "
			      "negotiation");
	if (n->option == NBD_OPT_ABORT) {
		acknowledge(n);
		return NBD_STEP_END;
	}
	if (n->tls_offered && !n->tls && n->option != NBD_OPT_STARTTLS)
		return without_tls(n);
	switch (n->option) {
	case NBD_OPT_EXPORT_NAME:
		return option_export_name(n, &in);
	case NBD_OPT_LIST:
		return option_list(n, &in);
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		return option_info(n, &in);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		return option_contexts(n, &in);
	case NBD_OPT_STARTTLS:
	case NBD_OPT_STRUCTURED_REPLY:
	case NBD_OPT_EXTENDED_HEADERS:
		return option_plain(n, &in);
	default:
		return nack(n, NBD_REP_ERR_UNSUP, "unknown option");
	}
}

void nbd_negotiate_secured(struct nbd_negotiation *n)
{
	n->tls = true;
	n->terms = (struct nbd_terms){ .structured = false };
	n->context_name[0] = 0;
}
