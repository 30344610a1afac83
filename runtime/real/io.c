/* SPDX-License-Identifier: MIT */
/*
 * io.c - operations on files become entries of the ring (A9). Own thread only.
 *
 * io_submit fills one entry: no allocation, no system call. The kernel may
 * move less than asked; the rest is submitted again from the completion.
 */
#include "runtime/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>

#include "runtime/real/real.h"

static void fill_transfer(struct io_uring_sqe *sqe, const struct io *io)
{
	bool write = io->op == IO_WRITE;

	sqe->off = io->offset + io->moved;
	sqe->len = io->len - io->moved;
	if (io->fixed >= 0) {
		sqe->opcode = write ? IORING_OP_WRITE_FIXED :
				      IORING_OP_READ_FIXED;
		sqe->addr = io->fixed_offset + io->moved;
		sqe->buf_index = (uint16_t)io->fixed;
	} else {
		sqe->opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
		sqe->addr = (uintptr_t)io->buf + io->moved;
	}
	if (write && io->flags & IO_DSYNC)
		sqe->rw_flags = RWF_DSYNC;
}

/* fallocate's mode rides in len, its length in addr. */
static void fill_fallocate(struct io_uring_sqe *sqe, const struct io *io,
			   unsigned mode)
{
	sqe->opcode = IORING_OP_FALLOCATE;
	sqe->off = io->offset;
	sqe->addr = io->len;
	sqe->len = mode;
}

static void io_start(struct io *io)
{
	struct io_uring_sqe *sqe = ring_entry(real_self);

	memset(sqe, 0, sizeof(*sqe));
	sqe->fd = io->file->fd;
	sqe->flags = io->file->entry_flags;
	sqe->user_data = (uintptr_t)io;
	switch ((enum io_op)io->op) {
	case IO_READ:
	case IO_WRITE:
		fill_transfer(sqe, io);
		break;
	case IO_SYNC:
		sqe->opcode = IORING_OP_FSYNC;
		sqe->fsync_flags = IORING_FSYNC_DATASYNC;
		break;
	case IO_PUNCH:
		fill_fallocate(sqe, io,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
		break;
	case IO_ZERO:
		fill_fallocate(sqe, io, FALLOC_FL_ZERO_RANGE);
		break;
	case IO_ALLOCATE:
		fill_fallocate(sqe, io, 0);
		break;
	}
}

void io_submit(struct io *io)
{
	assert(io->len <= INT32_MAX);
	io->moved = 0;
	io_start(io);
}

/*
 * An O_DIRECT read that stops between two blocks stopped at the end of the
 * file; asking for the rest would fail for its alignment.
 */
static bool read_at_end(const struct io *io, int res)
{
	return res == 0 || !is_aligned((unsigned)res, io->file->io_align);
}

static void io_done(struct io *io, int res)
{
	io->done(io, res);
}

/* A transfer moved less than what was asked. */
static void io_continue(struct io *io, int res)
{
	io->moved += (uint32_t)res;
	if (io->op == IO_READ && read_at_end(io, res))
		io_done(io, (int)io->moved);
	else if (io->op == IO_WRITE && res == 0)
		io_done(io, -EIO);
	else
		io_start(io);
}

void io_complete(struct io *io, int res)
{
	if (unlikely(res == -EINTR || res == -EAGAIN)) {
		io_start(io);
		return;
	}
	if (io->op > IO_WRITE || res < 0) {
		io_done(io, res);
		return;
	}
	if (likely((uint32_t)res == io->len - io->moved))
		io_done(io, (int)io->len);
	else
		io_continue(io, res);
}
