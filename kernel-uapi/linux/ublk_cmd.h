/* SPDX-License-Identifier: MIT */
/*
 * ublk_cmd.h - the kernel ABI of ublk (userspace block driver), written down
 * in our own words. It covers the kernels up to 7.3, feature bit 20; what a
 * running kernel has of it is asked by UBLK_U_CMD_GET_FEATURES, never guessed.
 *
 * It hides the system's <linux/ublk_cmd.h>, which on the distributions we
 * support is older than the ioctl-encoded commands. Only what a privileged
 * server may use is here; names are the kernel's, so that its documentation
 * can be read beside this. Sizes and offsets are asserted at the end.
 *
 * A sector is 512 bytes everywhere, whatever the device's block size is.
 */
#ifndef KERNEL_UAPI_UBLK_CMD_H
#define KERNEL_UAPI_UBLK_CMD_H

#include <assert.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stddef.h>

/*
 * Control commands: IORING_OP_URING_CMD on /dev/ublk-control, in a ring made
 * with IORING_SETUP_SQE128; sqe->cmd holds struct ublksrv_ctrl_cmd.
 */
struct ublksrv_ctrl_cmd {
	__u32 dev_id;
	__u16 queue_id;		/* 0xffff: the command is not about a queue */
	__u16 len;		/* bytes at addr */
	__u64 addr;
	__u64 data[1];		/* the argument of commands that take one */
	__u16 dev_path_len;	/* unprivileged devices only */
	__u16 pad;
	__u32 reserved;
};

#define UBLK_CTRL_R(nr)		_IOR('u', nr, struct ublksrv_ctrl_cmd)
#define UBLK_CTRL_WR(nr)	_IOWR('u', nr, struct ublksrv_ctrl_cmd)

#define UBLK_U_CMD_GET_QUEUE_AFFINITY	UBLK_CTRL_R(0x01)
#define UBLK_U_CMD_GET_DEV_INFO		UBLK_CTRL_R(0x02)
#define UBLK_U_CMD_ADD_DEV		UBLK_CTRL_WR(0x04)
#define UBLK_U_CMD_DEL_DEV		UBLK_CTRL_WR(0x05)
#define UBLK_U_CMD_START_DEV		UBLK_CTRL_WR(0x06)
#define UBLK_U_CMD_STOP_DEV		UBLK_CTRL_WR(0x07)
#define UBLK_U_CMD_SET_PARAMS		UBLK_CTRL_WR(0x08)
#define UBLK_U_CMD_GET_PARAMS		UBLK_CTRL_R(0x09)
#define UBLK_U_CMD_START_USER_RECOVERY	UBLK_CTRL_WR(0x10)
#define UBLK_U_CMD_END_USER_RECOVERY	UBLK_CTRL_WR(0x11)
#define UBLK_U_CMD_GET_DEV_INFO2	UBLK_CTRL_R(0x12)
#define UBLK_U_CMD_GET_FEATURES		UBLK_CTRL_R(0x13)
#define UBLK_U_CMD_DEL_DEV_ASYNC	UBLK_CTRL_R(0x14)
#define UBLK_U_CMD_UPDATE_SIZE		UBLK_CTRL_WR(0x15)
#define UBLK_U_CMD_QUIESCE_DEV		UBLK_CTRL_WR(0x16)
#define UBLK_U_CMD_TRY_STOP_DEV		UBLK_CTRL_WR(0x17)
#define UBLK_U_CMD_REG_BUF		UBLK_CTRL_WR(0x18)
#define UBLK_U_CMD_UNREG_BUF		UBLK_CTRL_WR(0x19)

/* GET_FEATURES writes one __u64 of UBLK_F_ bits to addr. */
#define UBLK_FEATURES_LEN		8

/* ublksrv_ctrl_dev_info.flags, and what GET_FEATURES reports */
#define UBLK_F_SUPPORT_ZERO_COPY	(1ULL << 0)
#define UBLK_F_URING_CMD_COMP_IN_TASK	(1ULL << 1)
#define UBLK_F_NEED_GET_DATA		(1ULL << 2)
#define UBLK_F_USER_RECOVERY		(1ULL << 3)
#define UBLK_F_USER_RECOVERY_REISSUE	(1ULL << 4)
#define UBLK_F_UNPRIVILEGED_DEV		(1ULL << 5)
#define UBLK_F_CMD_IOCTL_ENCODE		(1ULL << 6)
#define UBLK_F_USER_COPY		(1ULL << 7)
#define UBLK_F_ZONED			(1ULL << 8)
#define UBLK_F_USER_RECOVERY_FAIL_IO	(1ULL << 9)
#define UBLK_F_UPDATE_SIZE		(1ULL << 10)
#define UBLK_F_AUTO_BUF_REG		(1ULL << 11)
#define UBLK_F_QUIESCE			(1ULL << 12)
#define UBLK_F_PER_IO_DAEMON		(1ULL << 13)
#define UBLK_F_BUF_REG_OFF_DAEMON	(1ULL << 14)
#define UBLK_F_BATCH_IO			(1ULL << 15)
#define UBLK_F_INTEGRITY		(1ULL << 16)
#define UBLK_F_SAFE_STOP_DEV		(1ULL << 17)
#define UBLK_F_NO_AUTO_PART_SCAN	(1ULL << 18)
#define UBLK_F_SHMEM_ZC			(1ULL << 19)
#define UBLK_F_IO_DESC_SIZE		(1ULL << 20)

/* ublksrv_ctrl_dev_info.state */
#define UBLK_S_DEV_DEAD			0
#define UBLK_S_DEV_LIVE			1
#define UBLK_S_DEV_QUIESCED		2
#define UBLK_S_DEV_FAIL_IO		3

#define UBLK_MAX_QUEUE_DEPTH		4096
#define UBLK_MAX_NR_QUEUES		4096
#define UBLK_DEV_ID_ANY			0xffffffffu
#define UBLK_QUEUE_ID_NONE		0xffffu

/* At addr of ADD_DEV (in and out) and GET_DEV_INFO (out). */
struct ublksrv_ctrl_dev_info {
	__u16 nr_hw_queues;
	__u16 queue_depth;
	__u16 state;
	__u16 io_desc_size;	/* with IO_DESC_SIZE; else padding */
	__u32 max_io_buf_bytes;
	__u32 dev_id;
	__s32 ublksrv_pid;
	__u32 pad1;
	__u64 flags;		/* unknown bits are cleared without a word */
	__u64 ublksrv_flags;	/* the server's own; the kernel keeps it */
	__u32 owner_uid;
	__u32 owner_gid;
	__u64 reserved1;
	__u64 reserved2;
};

/* ublk_params.types */
#define UBLK_PARAM_TYPE_BASIC		(1u << 0)	/* always needed */
#define UBLK_PARAM_TYPE_DISCARD		(1u << 1)
#define UBLK_PARAM_TYPE_DEVT		(1u << 2)	/* GET_PARAMS only */
#define UBLK_PARAM_TYPE_ZONED		(1u << 3)
#define UBLK_PARAM_TYPE_DMA_ALIGN	(1u << 4)
#define UBLK_PARAM_TYPE_SEGMENT		(1u << 5)
#define UBLK_PARAM_TYPE_INTEGRITY	(1u << 6)

/* ublk_param_basic.attrs */
#define UBLK_ATTR_READ_ONLY		(1u << 0)
#define UBLK_ATTR_ROTATIONAL		(1u << 1)
#define UBLK_ATTR_VOLATILE_CACHE	(1u << 2)
#define UBLK_ATTR_FUA			(1u << 3)	/* needs the former */

struct ublk_param_basic {
	__u32 attrs;
	__u8 logical_bs_shift;
	__u8 physical_bs_shift;
	__u8 io_opt_shift;
	__u8 io_min_shift;
	__u32 max_sectors;
	__u32 chunk_sectors;
	__u64 dev_sectors;
	__u64 virt_boundary_mask;
};

struct ublk_param_discard {
	__u32 discard_alignment;
	__u32 discard_granularity;	/* bytes, not 0 */
	__u32 max_discard_sectors;
	__u32 max_write_zeroes_sectors;
	__u16 max_discard_segments;	/* 1 */
	__u16 reserved0;
};

struct ublk_param_devt {
	__u32 char_major;
	__u32 char_minor;
	__u32 disk_major;
	__u32 disk_minor;
};

struct ublk_param_zoned {
	__u32 max_open_zones;
	__u32 max_active_zones;
	__u32 max_zone_append_sectors;
	__u8 reserved[20];
};

struct ublk_param_dma_align {
	__u32 alignment;	/* a mask: power of two minus one */
	__u8 pad[4];
};

struct ublk_param_segment {
	__u64 seg_boundary_mask;
	__u32 max_segment_size;
	__u16 max_segments;
	__u8 pad[2];
};

struct ublk_param_integrity {
	__u32 flags;
	__u16 max_integrity_segments;
	__u8 interval_exp;
	__u8 metadata_size;
	__u8 pi_offset;
	__u8 csum_type;
	__u8 tag_size;
	__u8 pad[5];
};

/*
 * At addr of SET_PARAMS and GET_PARAMS. A kernel takes and gives as many bytes
 * as the smaller of len and its own size: 112 in 6.12, 152 in 7.x.
 */
struct ublk_params {
	__u32 len;
	__u32 types;
	struct ublk_param_basic basic;
	struct ublk_param_discard discard;
	struct ublk_param_devt devt;
	struct ublk_param_zoned zoned;
	struct ublk_param_dma_align dma;
	struct ublk_param_segment seg;
	struct ublk_param_integrity integrity;
};

/*
 * I/O commands: IORING_OP_URING_CMD on /dev/ublkcN; sqe->cmd holds struct
 * ublksrv_io_cmd, for which an entry of 64 bytes is enough.
 */
struct ublksrv_io_cmd {
	__u16 q_id;
	__u16 tag;
	__s32 result;		/* COMMIT_AND_FETCH: bytes or negative errno */
	union {
		__u64 addr;	/* buffer; 0 with USER_COPY or zero copy */
		__u64 zone_append_lba;
	};
};

#define UBLK_U_IO_FETCH_REQ		_IOWR('u', 0x20, struct ublksrv_io_cmd)
#define UBLK_U_IO_COMMIT_AND_FETCH_REQ	_IOWR('u', 0x21, struct ublksrv_io_cmd)
#define UBLK_U_IO_NEED_GET_DATA		_IOWR('u', 0x22, struct ublksrv_io_cmd)
#define UBLK_U_IO_REGISTER_IO_BUF	_IOWR('u', 0x23, struct ublksrv_io_cmd)
#define UBLK_U_IO_UNREGISTER_IO_BUF	_IOWR('u', 0x24, struct ublksrv_io_cmd)

/* res of a completed fetch */
#define UBLK_IO_RES_OK			0
#define UBLK_IO_RES_NEED_GET_DATA	1
#define UBLK_IO_RES_ABORT		(-19)	/* -ENODEV: it is over */

/*
 * With AUTO_BUF_REG sqe->addr of FETCH and COMMIT_AND_FETCH says where in the
 * ring's buffer table the next request's pages go: index in bits 0-15, flags
 * in bits 16-23.
 */
#define UBLK_AUTO_BUF_REG_FALLBACK	(1u << 0)

static inline __u64 ublk_auto_buf_addr(__u16 index, __u8 flags)
{
	return (__u64)index | (__u64)flags << 16;
}

/* One request as the kernel describes it, in the mapping of its queue. */
struct ublksrv_io_desc {
	__u32 op_flags;		/* op in bits 0-7, UBLK_IO_F_ in place above */
	union {
		__u32 nr_sectors;
		__u32 nr_zones;
	};
	__u64 start_sector;
	__u64 addr;
};

#define UBLK_IO_OP_READ			0
#define UBLK_IO_OP_WRITE		1
#define UBLK_IO_OP_FLUSH		2
#define UBLK_IO_OP_DISCARD		3
#define UBLK_IO_OP_WRITE_SAME		4
#define UBLK_IO_OP_WRITE_ZEROES		5
#define UBLK_IO_OP_MASK			0xffu

/* Tested against op_flags itself. A shifted copy never matches them. */
#define UBLK_IO_F_FAILFAST_DEV		(1u << 8)
#define UBLK_IO_F_FAILFAST_TRANSPORT	(1u << 9)
#define UBLK_IO_F_FAILFAST_DRIVER	(1u << 10)
#define UBLK_IO_F_META			(1u << 11)
#define UBLK_IO_F_FUA			(1u << 13)
#define UBLK_IO_F_NOUNMAP		(1u << 15)
#define UBLK_IO_F_SWAP			(1u << 16)
#define UBLK_IO_F_NEED_REG_BUF		(1u << 17)
#define UBLK_IO_F_INTEGRITY		(1u << 18)
#define UBLK_IO_F_SHMEM_ZC		(1u << 19)

/*
 * Offsets on /dev/ublkcN. mmap, read only: the descriptors of queue q, each
 * queue at a stride that does not depend on the depth. pread and pwrite
 * (USER_COPY): the bytes of one request.
 */
#define UBLKSRV_CMD_BUF_OFFSET		0
#define UBLKSRV_IO_BUF_OFFSET		0x80000000ULL
#define UBLK_IO_BUF_BITS		25
#define UBLK_TAG_BITS			16
#define UBLK_TAG_OFF			UBLK_IO_BUF_BITS
#define UBLK_QID_OFF			(UBLK_TAG_OFF + UBLK_TAG_BITS)

static inline __u64 ublk_desc_offset(__u16 q_id, __u64 page_size)
{
	__u64 queue = UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc);

	return q_id * ((queue + page_size - 1) / page_size * page_size);
}

static inline __u64 ublk_data_offset(__u16 q_id, __u16 tag)
{
	return UBLKSRV_IO_BUF_OFFSET + ((__u64)q_id << UBLK_QID_OFF |
					(__u64)tag << UBLK_TAG_OFF);
}

/* BATCH_IO */
#define UBLK_U_IO_PREP_IO_CMDS		_IOWR('u', 0x25, struct ublk_batch_io)
#define UBLK_U_IO_COMMIT_IO_CMDS	_IOWR('u', 0x26, struct ublk_batch_io)
#define UBLK_U_IO_FETCH_IO_CMDS		_IOWR('u', 0x27, struct ublk_batch_io)

#define UBLK_BATCH_F_HAS_ZONE_LBA	(1u << 0)
#define UBLK_BATCH_F_HAS_BUF_ADDR	(1u << 1)
#define UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK (1u << 2)

struct ublk_batch_io {
	__u16 q_id;
	__u16 flags;
	__u16 nr_elem;
	__u8 elem_bytes;
	__u8 reserved;
	__u64 reserved2;
};

struct ublk_elem_header {
	__u16 tag;
	__u16 buf_index;
	__s32 result;
};

/* SHMEM_ZC, at addr of REG_BUF */
#define UBLK_SHMEM_BUF_READ_ONLY	(1u << 0)

struct ublk_shmem_buf_reg {
	__u64 addr;
	__u64 len;
	__u32 flags;
	__u32 reserved;
};

#define UBLK_ABI(type, member, at) \
	static_assert(offsetof(struct type, member) == (at), #type "." #member)
#define UBLK_SIZE(type, size) \
	static_assert(sizeof(struct type) == (size), #type)

UBLK_SIZE(ublksrv_ctrl_cmd, 32);
UBLK_ABI(ublksrv_ctrl_cmd, dev_id, 0);
UBLK_ABI(ublksrv_ctrl_cmd, queue_id, 4);
UBLK_ABI(ublksrv_ctrl_cmd, len, 6);
UBLK_ABI(ublksrv_ctrl_cmd, addr, 8);
UBLK_ABI(ublksrv_ctrl_cmd, data, 16);
UBLK_ABI(ublksrv_ctrl_cmd, dev_path_len, 24);
UBLK_ABI(ublksrv_ctrl_cmd, reserved, 28);

UBLK_SIZE(ublksrv_ctrl_dev_info, 64);
UBLK_ABI(ublksrv_ctrl_dev_info, nr_hw_queues, 0);
UBLK_ABI(ublksrv_ctrl_dev_info, queue_depth, 2);
UBLK_ABI(ublksrv_ctrl_dev_info, state, 4);
UBLK_ABI(ublksrv_ctrl_dev_info, io_desc_size, 6);
UBLK_ABI(ublksrv_ctrl_dev_info, max_io_buf_bytes, 8);
UBLK_ABI(ublksrv_ctrl_dev_info, dev_id, 12);
UBLK_ABI(ublksrv_ctrl_dev_info, ublksrv_pid, 16);
UBLK_ABI(ublksrv_ctrl_dev_info, flags, 24);
UBLK_ABI(ublksrv_ctrl_dev_info, ublksrv_flags, 32);
UBLK_ABI(ublksrv_ctrl_dev_info, owner_uid, 40);
UBLK_ABI(ublksrv_ctrl_dev_info, owner_gid, 44);
UBLK_ABI(ublksrv_ctrl_dev_info, reserved1, 48);
UBLK_ABI(ublksrv_ctrl_dev_info, reserved2, 56);

UBLK_SIZE(ublk_param_basic, 32);
UBLK_ABI(ublk_param_basic, attrs, 0);
UBLK_ABI(ublk_param_basic, logical_bs_shift, 4);
UBLK_ABI(ublk_param_basic, physical_bs_shift, 5);
UBLK_ABI(ublk_param_basic, io_opt_shift, 6);
UBLK_ABI(ublk_param_basic, io_min_shift, 7);
UBLK_ABI(ublk_param_basic, max_sectors, 8);
UBLK_ABI(ublk_param_basic, chunk_sectors, 12);
UBLK_ABI(ublk_param_basic, dev_sectors, 16);
UBLK_ABI(ublk_param_basic, virt_boundary_mask, 24);

UBLK_SIZE(ublk_param_discard, 20);
UBLK_ABI(ublk_param_discard, discard_granularity, 4);
UBLK_ABI(ublk_param_discard, max_discard_sectors, 8);
UBLK_ABI(ublk_param_discard, max_write_zeroes_sectors, 12);
UBLK_ABI(ublk_param_discard, max_discard_segments, 16);

UBLK_SIZE(ublk_param_devt, 16);
UBLK_SIZE(ublk_param_zoned, 32);
UBLK_SIZE(ublk_param_dma_align, 8);
UBLK_SIZE(ublk_param_segment, 16);
UBLK_ABI(ublk_param_segment, max_segment_size, 8);
UBLK_ABI(ublk_param_segment, max_segments, 12);
UBLK_SIZE(ublk_param_integrity, 16);
UBLK_ABI(ublk_param_integrity, max_integrity_segments, 4);
UBLK_ABI(ublk_param_integrity, interval_exp, 6);
UBLK_ABI(ublk_param_integrity, metadata_size, 7);
UBLK_ABI(ublk_param_integrity, pi_offset, 8);
UBLK_ABI(ublk_param_integrity, csum_type, 9);
UBLK_ABI(ublk_param_integrity, tag_size, 10);

UBLK_SIZE(ublk_params, 152);
UBLK_ABI(ublk_params, len, 0);
UBLK_ABI(ublk_params, types, 4);
UBLK_ABI(ublk_params, basic, 8);
UBLK_ABI(ublk_params, discard, 40);
UBLK_ABI(ublk_params, devt, 60);
UBLK_ABI(ublk_params, zoned, 76);
UBLK_ABI(ublk_params, dma, 108);
UBLK_ABI(ublk_params, seg, 120);
UBLK_ABI(ublk_params, integrity, 136);

UBLK_SIZE(ublksrv_io_cmd, 16);
UBLK_ABI(ublksrv_io_cmd, q_id, 0);
UBLK_ABI(ublksrv_io_cmd, tag, 2);
UBLK_ABI(ublksrv_io_cmd, result, 4);
UBLK_ABI(ublksrv_io_cmd, addr, 8);

UBLK_SIZE(ublksrv_io_desc, 24);
UBLK_ABI(ublksrv_io_desc, op_flags, 0);
UBLK_ABI(ublksrv_io_desc, nr_sectors, 4);
UBLK_ABI(ublksrv_io_desc, start_sector, 8);
UBLK_ABI(ublksrv_io_desc, addr, 16);

UBLK_SIZE(ublk_batch_io, 16);
UBLK_ABI(ublk_batch_io, q_id, 0);
UBLK_ABI(ublk_batch_io, flags, 2);
UBLK_ABI(ublk_batch_io, nr_elem, 4);
UBLK_ABI(ublk_batch_io, elem_bytes, 6);
UBLK_SIZE(ublk_elem_header, 8);
UBLK_SIZE(ublk_shmem_buf_reg, 24);

/* the encodings as numbers */
static_assert(UBLK_U_CMD_GET_QUEUE_AFFINITY == 0x80207501u, "opcode");
static_assert(UBLK_U_CMD_GET_DEV_INFO == 0x80207502u, "opcode");
static_assert(UBLK_U_CMD_GET_DEV_INFO2 == 0x80207512u, "opcode");
static_assert(UBLK_U_CMD_ADD_DEV == 0xc0207504u, "opcode");
static_assert(UBLK_U_CMD_DEL_DEV == 0xc0207505u, "opcode");
static_assert(UBLK_U_CMD_DEL_DEV_ASYNC == 0x80207514u, "opcode");
static_assert(UBLK_U_CMD_START_DEV == 0xc0207506u, "opcode");
static_assert(UBLK_U_CMD_STOP_DEV == 0xc0207507u, "opcode");
static_assert(UBLK_U_CMD_TRY_STOP_DEV == 0xc0207517u, "opcode");
static_assert(UBLK_U_CMD_SET_PARAMS == 0xc0207508u, "opcode");
static_assert(UBLK_U_CMD_GET_PARAMS == 0x80207509u, "opcode");
static_assert(UBLK_U_CMD_START_USER_RECOVERY == 0xc0207510u, "opcode");
static_assert(UBLK_U_CMD_END_USER_RECOVERY == 0xc0207511u, "opcode");
static_assert(UBLK_U_CMD_GET_FEATURES == 0x80207513u, "opcode");
static_assert(UBLK_U_CMD_UPDATE_SIZE == 0xc0207515u, "opcode");
static_assert(UBLK_U_CMD_QUIESCE_DEV == 0xc0207516u, "opcode");
static_assert(UBLK_U_CMD_REG_BUF == 0xc0207518u, "opcode");
static_assert(UBLK_U_CMD_UNREG_BUF == 0xc0207519u, "opcode");
static_assert(UBLK_U_IO_FETCH_REQ == 0xc0107520u, "opcode");
static_assert(UBLK_U_IO_COMMIT_AND_FETCH_REQ == 0xc0107521u, "opcode");
static_assert(UBLK_U_IO_NEED_GET_DATA == 0xc0107522u, "opcode");
static_assert(UBLK_U_IO_REGISTER_IO_BUF == 0xc0107523u, "opcode");
static_assert(UBLK_U_IO_UNREGISTER_IO_BUF == 0xc0107524u, "opcode");
static_assert(UBLK_U_IO_PREP_IO_CMDS == 0xc0107525u, "opcode");
static_assert(UBLK_U_IO_COMMIT_IO_CMDS == 0xc0107526u, "opcode");
static_assert(UBLK_U_IO_FETCH_IO_CMDS == 0xc0107527u, "opcode");

#undef UBLK_ABI
#undef UBLK_SIZE

#endif
