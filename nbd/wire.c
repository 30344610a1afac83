/* SPDX-License-Identifier: MIT */
/*
 * wire.c - see wire.h. Any thread.
 */
#include "nbd/wire.h"

#include <errno.h>
#include <string.h>

bool nbd_request_decode(const void *bytes, const struct nbd_terms *terms,
			struct nbd_request *out)
{
	struct nbd_extended_head head;
	struct nbd_request_head small;
	uint32_t magic = NBD_EXTENDED_REQUEST_MAGIC;

	if (terms->extended) {
		memcpy(&head, bytes, sizeof(head));
		out->length = be64toh(head.length);
	} else {
		memcpy(&small, bytes, sizeof(small));
		/* up to the length they are alike */
		memcpy(&head, bytes, offsetof(struct nbd_extended_head,
					      length));
		out->length = be32toh(small.length);
		magic = NBD_REQUEST_MAGIC;
	}
	out->flags = be16toh(head.flags);
	out->type = be16toh(head.type);
	out->cookie = head.cookie;	/* only ever sent back */
	out->offset = be64toh(head.offset);
	return head.magic == htobe32(magic);
}

uint64_t nbd_request_payload(const struct nbd_request *r,
			     const struct nbd_terms *terms)
{
	if (r->type == NBD_CMD_WRITE)
		return r->length;
	if (terms->extended && r->flags & NBD_CMD_FLAG_PAYLOAD_LEN)
		return r->length;
	return 0;
}

/* FUA may stand with any command. */
static unsigned allowed_flags(const struct nbd_request *r,
			      const struct nbd_terms *terms)
{
	switch (r->type) {
	case NBD_CMD_READ:
		return NBD_CMD_FLAG_FUA |
		       (terms->structured ? NBD_CMD_FLAG_DF : 0);
	case NBD_CMD_WRITE:
		return NBD_CMD_FLAG_FUA |
		       (terms->extended ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE |
		       NBD_CMD_FLAG_FAST_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
	default:
		return NBD_CMD_FLAG_FUA;
	}
}

static bool changes(const struct nbd_request *r)
{
	return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_TRIM ||
	       r->type == NBD_CMD_WRITE_ZEROES;
}

enum nbd_error nbd_request_check(const struct nbd_request *r,
				 const struct nbd_terms *terms,
				 uint64_t size, bool writable)
{
	if (r->type > NBD_CMD_BLOCK_STATUS ||
	    r->flags & ~allowed_flags(r, terms))
		return NBD_EINVAL;
	if (r->type == NBD_CMD_FLUSH)
		return NBD_OK;
	if (changes(r) && !writable)
		return NBD_EPERM;
	if (r->length > size || r->offset > size - r->length)
		return r->type == NBD_CMD_WRITE ||
		       r->type == NBD_CMD_WRITE_ZEROES ?
		       NBD_ENOSPC : NBD_EINVAL;
	if (r->type == NBD_CMD_READ && r->length > NBD_PAYLOAD_MAX)
		return NBD_EINVAL;
	if (r->type == NBD_CMD_BLOCK_STATUS &&
	    (!r->length || !(terms->base || terms->depth)))
		return NBD_EINVAL;
	return NBD_OK;
}

enum nbd_error nbd_error_from(int res)
{
	switch (-res) {
	case 0:
		return NBD_OK;
	case EPERM:
	case EROFS:
	case EACCES:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case EOVERFLOW:
		return NBD_EOVERFLOW;
	case ENOTSUP:
		return NBD_ENOTSUP;
	case ESHUTDOWN:
		return NBD_ESHUTDOWN;
	default:
		return NBD_EIO;
	}
}

static size_t put_simple(void *out, const struct nbd_request *r,
			 enum nbd_error error)
{
	struct nbd_simple_reply reply = {
		.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
		.error = htobe32((uint32_t)error),
		.cookie = r->cookie,
	};

	memcpy(out, &reply, sizeof(reply));
	return sizeof(reply);
}

static size_t put_chunk(void *out, const struct nbd_request *r,
			const struct nbd_terms *terms, unsigned type,
			uint32_t length, bool last)
{
	struct nbd_structured_reply reply = {
		.magic = htobe32(NBD_STRUCTURED_REPLY_MAGIC),
		.flags = htobe16(last ? NBD_CHUNK_DONE : 0),
		.type = htobe16((uint16_t)type),
		.cookie = r->cookie,
		.length = htobe32(length),
	};
	struct nbd_extended_head extended = {
		.magic = htobe32(NBD_EXTENDED_REPLY_MAGIC),
		.flags = reply.flags,
		.type = reply.type,
		.cookie = r->cookie,
		.offset = htobe64(r->offset),
		.length = htobe64(length),
	};

	if (terms->extended) {
		memcpy(out, &extended, sizeof(extended));
		return sizeof(extended);
	}
	memcpy(out, &reply, sizeof(reply));
	return sizeof(reply);
}

static size_t put_error(char *out, const struct nbd_request *r,
			const struct nbd_terms *terms, enum nbd_error error)
{
	uint32_t code = htobe32((uint32_t)error);
	size_t len = put_chunk(out, r, terms, NBD_CHUNK_ERROR, 6, true);

	memcpy(out + len, &code, 4);
	memset(out + len + 4, 0, 2);	/* no text */
	return len + 6;
}

size_t nbd_reply_head(void *out, const struct nbd_request *r,
		      const struct nbd_terms *terms, enum nbd_error error,
		      uint32_t data)
{
	bool chunked = terms->extended ||
		       (terms->structured && (r->type == NBD_CMD_READ ||
					      r->type == NBD_CMD_BLOCK_STATUS));
	uint64_t offset = htobe64(r->offset);
	size_t len;

	if (!chunked)
		return put_simple(out, r, error);
	if (error)
		return put_error(out, r, terms, error);
	if (!data)
		return put_chunk(out, r, terms, NBD_CHUNK_NONE, 0, true);
	len = put_chunk(out, r, terms, NBD_CHUNK_OFFSET_DATA, data + 8, true);
	memcpy((char *)out + len, &offset, sizeof(offset));
	return len + sizeof(offset);
}

size_t nbd_extent_size(const struct nbd_terms *terms)
{
	return terms->extended ? 16 : 8;
}

size_t nbd_status_head(void *out, const struct nbd_request *r,
		       const struct nbd_terms *terms, unsigned context,
		       uint32_t count, bool last)
{
	uint32_t length = 4 + count * (uint32_t)nbd_extent_size(terms);
	uint32_t id = htobe32(context), n = htobe32(count);
	size_t len;

	if (!terms->extended) {
		len = put_chunk(out, r, terms, NBD_CHUNK_BLOCK_STATUS, length,
				last);
		memcpy((char *)out + len, &id, 4);
		return len + 4;
	}
	len = put_chunk(out, r, terms, NBD_CHUNK_BLOCK_STATUS_EXT, length + 4,
			last);
	memcpy((char *)out + len, &id, 4);
	memcpy((char *)out + len + 4, &n, 4);
	return len + 8;
}

void nbd_extent_put(void *at, const struct nbd_terms *terms, uint64_t len,
		    uint32_t flags)
{
	uint64_t wide[2] = { htobe64(len), htobe64(flags) };
	uint32_t narrow[2] = { htobe32((uint32_t)len), htobe32(flags) };

	if (terms->extended)
		memcpy(at, wide, sizeof(wide));
	else
		memcpy(at, narrow, sizeof(narrow));
}
