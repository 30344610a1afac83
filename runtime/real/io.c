/* SPDX-License-Identifier: MIT */
/*
 * io.c - operations on files become entries of the ring (A9). Own thread only.
 *
 * io_submit fills one entry: no allocation, no system call. The kernel may
 * move less than asked; the rest is submitted again from the completion.
 *
 * Syncs and allocations, and all of a file whose file system may wait where
 * requests are submitted, are done by the ring's own threads, of which there
 * are so many. One storage has LANE_OPS_MAX of them at most, the others of its
 * operations wait in line, so that storage which is dead holds up no other. The
 * main thread makes no entries for such files: helpers do it (A38).
 */
#include "runtime/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

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

static void io_enter(struct io *io)
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

static bool io_has_lane(const struct io *io)
{
	return (io->file->entry_flags || io->op > IO_WRITE) &&
	       io->file->storage;
}

static void lane_enter(struct io *io)
{
	struct lane *lane = &real_self->lanes[io->file->storage->index];

	if (unlikely(!lane->last)) {
		lane->last = &lane->first;
		ring_add_lane(real_self);
	}
	if (lane->ops < LANE_OPS_MAX) {
		lane->ops++;
		io_enter(io);
		return;
	}
	io->next = NULL;
	*lane->last = io;
	lane->last = &io->next;
}

static void lane_leave(const struct io *io)
{
	struct lane *lane = &real_self->lanes[io->file->storage->index];
	struct io *next = lane->first;

	lane->ops--;
	if (!next)
		return;
	lane->first = next->next;
	if (!lane->first)
		lane->last = &lane->first;
	lane->ops++;
	io_enter(next);
}

/* ---- on a helper, for the main thread ---- */

struct helper_io {
	struct job job;
	struct io *io;
	int res;
};

static ssize_t helper_do(const struct io *io)
{
	struct iovec iov = { (char *)io->buf + io->moved,
			     io->len - io->moved };
	off_t at = (off_t)(io->offset + io->moved);
	int fd = io->file->fd, mode = 0;

	switch ((enum io_op)io->op) {
	case IO_READ:
		return preadv(fd, &iov, 1, at);
	case IO_WRITE:
		return pwritev2(fd, &iov, 1, at,
				io->flags & IO_DSYNC ? RWF_DSYNC : 0);
	case IO_SYNC:
		return fdatasync(fd);
	case IO_PUNCH:
		mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case IO_ZERO:
		mode = FALLOC_FL_ZERO_RANGE;
		break;
	case IO_ALLOCATE:
		break;
	}
	return fallocate(fd, mode, at, io->len);
}

static void helper_run(void *arg)
{
	struct helper_io *h = arg;
	ssize_t n;

	do
		n = helper_do(h->io);
	while (n < 0 && errno == EINTR);
	h->res = n < 0 ? -errno : (int)n;
}

static void helper_over(struct message *msg)
{
	struct helper_io *h = container_of(msg, struct helper_io, job.over);
	struct io *io = h->io;
	int res = h->res;

	free(h);
	io_complete(io, res);
}

static void helper_submit(struct io *io)
{
	struct helper_io *h = calloc(1, sizeof(*h));

	if (!h)
		abort();
	assert(io->fixed == IO_NOT_FIXED);
	h->io = io;
	h->job.fn = helper_run;
	h->job.arg = h;
	h->job.storage = io->file->storage;
	h->job.thread = thread_self();
	h->job.over.fn = helper_over;
	job_submit(&h->job);
}

/* ---- both ---- */

static bool io_is_helpers(const struct io *io)
{
	return io->file->entry_flags && real_self->base.index == MAIN_THREAD;
}

/* What it waits for has not changed: it keeps its place in its lane. */
static void io_again(struct io *io)
{
	if (unlikely(io_is_helpers(io)))
		helper_submit(io);
	else
		io_enter(io);
}

void io_submit(struct io *io)
{
	assert(io->len <= INT32_MAX);
	io->moved = 0;
	if (unlikely(io_is_helpers(io)))
		helper_submit(io);
	else if (io_has_lane(io))
		lane_enter(io);
	else
		io_enter(io);
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
	if (io_has_lane(io) && !io_is_helpers(io))
		lane_leave(io);
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
		io_again(io);
}

void io_complete(struct io *io, int res)
{
	if (unlikely(res == -EINTR || res == -EAGAIN)) {
		io_again(io);
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
