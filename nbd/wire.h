/* SPDX-License-Identifier: MIT */
/*
 * wire.h - requests and replies of the transmission phase as bytes: decoding,
 * what is wrong with a request, heads of replies, errors. No side effects.
 */
#ifndef NBD_WIRE_H
#define NBD_WIRE_H

#include "nbd/negotiate.h"

struct nbd_request {
	uint64_t cookie, offset, length;
	uint16_t type;		/* enum nbd_command, or anything */
	uint16_t flags;
};

static inline size_t nbd_request_size(const struct nbd_terms *terms)
{
	return terms->extended ? sizeof(struct nbd_extended_head) :
				 sizeof(struct nbd_request_head);
}

/* False: these bytes are no request, and nothing after them can be one. */
bool nbd_request_decode(const void *bytes, const struct nbd_terms *terms,
			struct nbd_request *out) MUST_CHECK;
/* Bytes that follow the request; more than NBD_PAYLOAD_MAX: too many. */
uint64_t nbd_request_payload(const struct nbd_request *r,
			     const struct nbd_terms *terms);
/* NBD_OK: it can be tried. */
enum nbd_error nbd_request_check(const struct nbd_request *r,
				 const struct nbd_terms *terms,
				 uint64_t size, bool writable);
/* Of 0 or a negative errno. */
enum nbd_error nbd_error_from(int res);

/* What stands before the bytes of a reply. */
#define NBD_REPLY_HEAD_MAX 40

/*
 * The head of the whole reply, or of its last chunk; returns its bytes. data:
 * how many bytes follow (READ only). Of an error no data follows.
 */
size_t nbd_reply_head(void *out, const struct nbd_request *r,
		      const struct nbd_terms *terms, enum nbd_error error,
		      uint32_t data);
/*
 * The head of one context's chunk of a block status with count extents. They
 * follow as nbd_extent_put wrote them, nbd_extent_size bytes each.
 */
size_t nbd_status_head(void *out, const struct nbd_request *r,
		       const struct nbd_terms *terms, unsigned context,
		       uint32_t count, bool last);
size_t nbd_extent_size(const struct nbd_terms *terms);
/* Without extended headers len is below 4 GiB. */
void nbd_extent_put(void *at, const struct nbd_terms *terms, uint64_t len,
		    uint32_t flags);

#endif
