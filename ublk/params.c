/* SPDX-License-Identifier: MIT */
/*
 * params.c - see params.h.
 */
#include "ublk/params.h"

#include <errno.h>
#include <string.h>

#include "graph/request.h"

#define SECTOR_SHIFT 9
#define PAGE_SHIFT 12		/* the least that any kernel has */
#define MARK 0x626c6b67u	/* "blkg" */

static uint8_t log2_of(uint64_t v)
{
	return (uint8_t)(63 - __builtin_clzll(v | 1));
}

uint64_t ublk_flags(uint64_t features, const struct ublk_options *opts,
		    bool zero_copy)
{
	uint64_t want = UBLK_F_USER_COPY | UBLK_F_CMD_IOCTL_ENCODE |
			UBLK_F_UPDATE_SIZE;

	/* USER_COPY stays: some requests' bytes must be seen (A31) */
	if (zero_copy)
		want |= UBLK_F_AUTO_BUF_REG;
	if (!opts->partition_scan)
		want |= UBLK_F_NO_AUTO_PART_SCAN;
	return want & features;
}

static void fill_discard(struct ublk_params *p, const struct limits *lim,
			 uint32_t block)
{
	uint32_t granularity = max(block, lim->discard_align);
	uint64_t most = align_down(UBLK_MAX_DISCARD, granularity);

	p->types |= UBLK_PARAM_TYPE_DISCARD;
	p->discard.discard_granularity = granularity;
	p->discard.max_discard_segments = 1;
	/* zeroes are emulated where the node has none; discards are not */
	p->discard.max_write_zeroes_sectors =
		(uint32_t)(UBLK_MAX_DISCARD >> SECTOR_SHIFT);
	if (lim->discard != SUPPORT_NONE)
		p->discard.max_discard_sectors =
			(uint32_t)(most >> SECTOR_SHIFT);
}

void ublk_fill_params(struct ublk_params *p, const struct limits *lim,
		      uint64_t size, bool writable,
		      const struct ublk_options *opts, bool zero_copy)
{
	uint32_t block = opts->logical_block_size;
	uint64_t physical = max(block, min(lim->align, 1u << PAGE_SHIFT));
	uint64_t io = align_down(min(lim->max_transfer, UBLK_MAX_IO),
				 1u << PAGE_SHIFT);

	memset(p, 0, sizeof(*p));
	p->types = UBLK_PARAM_TYPE_BASIC;
	p->basic.logical_bs_shift = log2_of(block);
	p->basic.physical_bs_shift = log2_of(physical);
	p->basic.io_min_shift = p->basic.physical_bs_shift;
	p->basic.io_opt_shift = log2_of(max(physical,
					    (uint64_t)lim->optimal_io));
	p->basic.max_sectors = (uint32_t)
		(max(io, (uint64_t)1 << PAGE_SHIFT) >> SECTOR_SHIFT);
	p->basic.dev_sectors = align_down(size, block) >> SECTOR_SHIFT;
	/* FUA counts only where there is a cache to write through */
	p->basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
	if (!writable)
		p->basic.attrs |= UBLK_ATTR_READ_ONLY;
	if (lim->rotational)
		p->basic.attrs |= UBLK_ATTR_ROTATIONAL;
	if (writable)
		fill_discard(p, lim, block);
	/* the storage sees the client's own pages */
	if (zero_copy && lim->mem_align > 1) {
		p->types |= UBLK_PARAM_TYPE_DMA_ALIGN;
		p->dma.alignment = min(lim->mem_align, 1u << PAGE_SHIFT) - 1;
	}
}

int ublk_decode(const struct ublksrv_io_desc *desc, struct request *req)
{
	uint32_t op_flags = desc->op_flags;
	uint64_t len = (uint64_t)desc->nr_sectors << SECTOR_SHIFT;
	uint64_t most = UBLK_MAX_DISCARD;

	req->flags = op_flags & UBLK_IO_F_FUA ? REQ_FUA : 0;
	switch (op_flags & UBLK_IO_OP_MASK) {
	case UBLK_IO_OP_READ:
		req->op = REQ_READ;
		req->flags = 0;
		most = UBLK_MAX_IO;
		break;
	case UBLK_IO_OP_WRITE:
		req->op = REQ_WRITE;
		most = UBLK_MAX_IO;
		break;
	case UBLK_IO_OP_FLUSH:
		req->op = REQ_FLUSH;
		req->flags = 0;
		req->offset = 0;
		req->len = 0;
		return 0;
	case UBLK_IO_OP_DISCARD:
		req->op = REQ_DISCARD;
		req->flags = 0;
		break;
	case UBLK_IO_OP_WRITE_ZEROES:
		req->op = REQ_ZEROES;
		if (op_flags & UBLK_IO_F_NOUNMAP)
			req->flags |= REQ_NO_UNMAP;
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (!len || len > most)
		return -EIO;
	req->offset = desc->start_sector << SECTOR_SHIFT;
	req->len = (uint32_t)len;
	return 0;
}

uint64_t ublk_mark(int pid)
{
	return (uint64_t)MARK << 32 | (uint32_t)pid;
}

int ublk_mark_pid(uint64_t mark)
{
	return mark >> 32 == MARK ? (int)(uint32_t)mark : 0;
}
