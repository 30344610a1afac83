/* SPDX-License-Identifier: MIT */
/*
 * io.c - operations as coroutines see them. The submitting thread only.
 */
#include "runtime/io.h"

#include <errno.h>
#include <string.h>

#include "runtime/loop.h"

static void co_io_done(struct io *io, int res)
{
	io->waiter->result = res;
	co_enter(io->waiter);
}

int co_io(struct io *io)
{
	struct co *co = co_self();

	assert(co);
	io->waiter = co;
	io->done = co_io_done;
	io_submit(io);
	co_park("co_io");
	return co->result;
}

int co_file_read(struct file *f, uint64_t offset, void *buf, uint32_t len)
{
	struct io io = {
		.file = f,
		.op = IO_READ,
		.offset = offset,
		.buf = buf,
		.len = len,
		.fixed = IO_NOT_FIXED,
	};
	int res = co_io(&io);

	if (res < 0)
		return res;
	memset((char *)buf + res, 0, len - (uint32_t)res);
	return 0;
}

int co_file_write(struct file *f, uint64_t offset, const void *buf,
		  uint32_t len)
{
	struct io io = {
		.file = f,
		.op = IO_WRITE,
		.offset = offset,
		/* only read from: the type serves both directions */
		.buf = (void *)(uintptr_t)buf,
		.len = len,
		.fixed = IO_NOT_FIXED,
	};
	int res = co_io(&io);

	if (res < 0)
		return res;
	return (uint32_t)res == len ? 0 : -EIO;
}

int co_file_sync(struct file *f)
{
	struct io io = {
		.file = f,
		.op = IO_SYNC,
		.fixed = IO_NOT_FIXED,
	};

	return co_io(&io);
}
