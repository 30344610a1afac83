/* SPDX-License-Identifier: MIT */
/*
 * protocol.h - the NBD protocol's numbers and what goes over the wire, from
 * the protocol's document (doc/proto.md of the NBD project). All of it is big
 * endian, and packed by the order of its fields.
 */
#ifndef NBD_PROTOCOL_H
#define NBD_PROTOCOL_H

#include <endian.h>

#include "runtime/compiler.h"

#define NBD_MAGIC 0x4e42444d41474943ull		/* "NBDMAGIC" */
#define NBD_OPTION_MAGIC 0x49484156454f5054ull	/* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC 0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71u
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu
#define NBD_EXTENDED_REPLY_MAGIC 0x6e8a278cu

#define NBD_STRING_MAX 4096u		/* bytes of a name */
#define NBD_PAYLOAD_MAX (32u << 20)	/* bytes of one READ or WRITE */

/* of the handshake: the server's and the client's are the same bits */
enum {
	NBD_FIXED_NEWSTYLE = 1,
	NBD_NO_ZEROES = 2,
};

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
	NBD_OPT_EXTENDED_HEADERS = 11,
};

#define NBD_REP_ERROR 0x80000000u

enum nbd_option_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};

enum nbd_option_error {
	NBD_REP_ERR_UNSUP = 1,
	NBD_REP_ERR_POLICY = 2,
	NBD_REP_ERR_INVALID = 3,
	NBD_REP_ERR_TLS_REQD = 5,
	NBD_REP_ERR_UNKNOWN = 6,
	NBD_REP_ERR_TOO_BIG = 9,
	NBD_REP_ERR_EXT_HEADER_REQD = 10,
};

enum nbd_info {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_DESCRIPTION = 2,
	NBD_INFO_BLOCK_SIZE = 3,
};

/* transmission flags: what an export can do */
enum {
	NBD_FLAG_HAS_FLAGS = 1 << 0,
	NBD_FLAG_READ_ONLY = 1 << 1,
	NBD_FLAG_SEND_FLUSH = 1 << 2,
	NBD_FLAG_SEND_FUA = 1 << 3,
	NBD_FLAG_ROTATIONAL = 1 << 4,
	NBD_FLAG_SEND_TRIM = 1 << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
	NBD_FLAG_SEND_DF = 1 << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
	NBD_FLAG_SEND_CACHE = 1 << 10,
	NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

enum {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
	NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5,
};

#define NBD_CHUNK_DONE 1	/* flag of a reply: the last one */

enum nbd_chunk {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_OFFSET_DATA = 1,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_BLOCK_STATUS_EXT = 6,
	NBD_CHUNK_ERROR = 0x8001,
};

/* of base:allocation */
enum {
	NBD_STATE_HOLE = 1,
	NBD_STATE_ZERO = 2,
};

enum nbd_error {
	NBD_OK = 0,
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

#define NBD_WIRE __attribute__((packed))

struct nbd_greeting {
	uint64_t magic;
	uint64_t option_magic;
	uint16_t flags;
} NBD_WIRE;
static_assert(sizeof(struct nbd_greeting) == 18, "wire");

struct nbd_option_head {
	uint64_t magic;
	uint32_t option;
	uint32_t length;
} NBD_WIRE;
static_assert(sizeof(struct nbd_option_head) == 16, "wire");

struct nbd_option_reply_head {
	uint64_t magic;
	uint32_t option;
	uint32_t type;
	uint32_t length;
} NBD_WIRE;
static_assert(sizeof(struct nbd_option_reply_head) == 20, "wire");

struct nbd_request_head {
	uint32_t magic;
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
} NBD_WIRE;
static_assert(sizeof(struct nbd_request_head) == 28, "wire");

struct nbd_extended_head {
	uint32_t magic;
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint64_t length;
} NBD_WIRE;
static_assert(sizeof(struct nbd_extended_head) == 32, "wire");

struct nbd_simple_reply {
	uint32_t magic;
	uint32_t error;
	uint64_t cookie;
} NBD_WIRE;
static_assert(sizeof(struct nbd_simple_reply) == 16, "wire");

struct nbd_structured_reply {
	uint32_t magic;
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint32_t length;
} NBD_WIRE;
static_assert(sizeof(struct nbd_structured_reply) == 20, "wire");

/* A reply with extended headers has the shape of such a request. */

#endif
