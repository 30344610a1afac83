/* SPDX-License-Identifier: MIT */
/*
 * io.h - files, and asynchronous operations on them.
 *
 * One struct io is one operation in flight on the thread that submitted it.
 * Everything an operation points to lives until its done is called. Payloads
 * are one contiguous piece: memory, or a buffer that the kernel registered in
 * this thread's ring (zero copy), whose bytes nobody here can see.
 */
#ifndef RUNTIME_IO_H
#define RUNTIME_IO_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/thread.h"

enum io_op {
	IO_READ,	/* res: bytes, short only at the end of the file */
	IO_WRITE,	/* res: bytes, completed in full or an error */
	IO_SYNC,	/* fdatasync; res 0 */
	IO_PUNCH,	/* deallocates [offset, len): reads as zeroes; res 0 */
	IO_ZERO,	/* zeroes [offset, len), allocated where possible */
	IO_ALLOCATE,	/* allocates [offset, len), contents kept, file grows */
};

enum {
	IO_DSYNC = 1,	/* IO_WRITE: durable before done (FUA) */
};

#define IO_NOT_FIXED (-1)

struct file;

struct io {
	struct file *file;
	void *buf;		/* NULL when fixed >= 0 */
	uint64_t offset;
	uint32_t len;		/* bytes; below 2 GiB */
	int32_t fixed;		/* registered buffer's index or IO_NOT_FIXED */
	uint32_t fixed_offset;	/* first byte in the registered buffer */
	uint8_t op;		/* enum io_op */
	uint8_t flags;
	/* Called once, on the submitting thread, from its loop, never inside
	 * io_submit. res: see enum io_op, or a negative errno. */
	void (*done)(struct io *io, int res);

	/* the runtime's own */
	uint32_t moved;		/* bytes of a short transfer, resubmitted */
	struct io *next;
	struct co *waiter;	/* of co_io */
};

/*
 * Starts the operation on the calling thread. Never fails, never waits; errors
 * come through done. A short read or write is continued by the runtime: a read
 * ends short only where the file ends, a write never.
 */
void io_submit(struct io *io);

/* The same from a coroutine: submits, waits, returns res. */
int co_io(struct io *io);

/* Shorthands over co_io for whole transfers; 0 or negative errno. A read past
 * the end of the file gives zeroes. */
int co_file_read(struct file *f, uint64_t offset, void *buf, uint32_t len);
int co_file_write(struct file *f, uint64_t offset, const void *buf,
		  uint32_t len);
int co_file_sync(struct file *f);

enum file_kind { FILE_REGULAR, FILE_BLOCK, FILE_CHAR };

struct file_info {
	enum file_kind kind;
	uint64_t size;		/* bytes; of block devices the capacity */
	uint64_t allocated;	/* bytes on disk */
	uint64_t dev, ino;	/* identity; rdev of a block device in dev */
	uint32_t io_align;	/* offset and length of O_DIRECT; else 1 */
	uint32_t mem_align;	/* memory address of O_DIRECT; else 1 */
	/* deallocate, reading as zeroes; zero; tell a device what to forget */
	bool can_punch, can_zero, can_discard;
	bool rotational;
	/* nobody may write: of its file system, or the device itself */
	bool write_protected;
};

/*
 * Coroutine calls for the control plane (main thread, A3; co_file_info: any
 * thread), on helper threads. -ETIMEDOUT: too many of the storage have not come
 * back (storage.h). Flags are open(2)'s O_RDONLY, O_RDWR, O_DIRECT, O_CREAT,
 * O_EXCL, O_NOFOLLOW; O_CLOEXEC is implied. Negative errno; *out is written
 * only on success. What is neither a file nor a block device is not opened,
 * since that alone may do something: -ENOTBLK. (/dev/zero and its like are,
 * and are FILE_CHAR.)
 */
int co_file_open(const char *path, int flags, unsigned mode, struct file **out)
	MUST_CHECK;
/* The same for a new file without a name, in that directory's file system: it
 * is gone when it is closed, and with the process. Read and written. */
int co_file_temporary(const char *dir, struct file **out) MUST_CHECK;
/*
 * Drops locks explicitly, then closes (A30). Nothing may be in flight. Waits
 * for it only as long as storage may be silent: the file is gone in any case,
 * for the kernel perhaps later.
 */
void co_file_close(struct file *f);
int co_file_info(struct file *f, struct file_info *out) MUST_CHECK;
int co_file_truncate(struct file *f, uint64_t size) MUST_CHECK;
/*
 * Any thread, coroutine: whether the file has data at offset or a hole, and for
 * how long at most *len: shortened, to its end too. What cannot tell is data.
 * 0, or -ENXIO: it ends at *len, which is offset or before.
 */
int co_file_extent(struct file *f, uint64_t offset, uint64_t *len, bool *data)
	MUST_CHECK;
/*
 * Any thread, coroutine: tells a block device that the bytes may be forgotten.
 * Until they are written again reading them gives anything. 0 or a negative
 * errno, -EOPNOTSUPP of what cannot.
 *
 * That is the BLKDISCARD ioctl, on a helper thread; a device has a few of them
 * at most (storage.h), and others wait in line. Punching a hole, which the
 * ring knows, writes zeroes on a device: one that can only forget (TRIM without
 * zeroing, dm-thin) refuses it, and no flag of fallocate that reaches devices
 * means discard. The ring has had a command for it since 6.12 only.
 */
int co_file_discard(struct file *f, uint64_t offset, uint64_t len) MUST_CHECK;
const char *file_path(const struct file *f);
/* Whether its name is gone, or another file's: any thread, asks no storage. */
bool file_is_deleted(const struct file *f);
/*
 * Open file description locks (P3): each byte shared, exclusive or free. In
 * order until one fails: then its negative errno; *done is how many were done
 * before. None waits for others: -EAGAIN when another holder conflicts. `test`
 * asks whether taking it would conflict, without taking it. Who is late with it
 * may close the file meanwhile. Main thread, coroutine.
 */
enum file_lock_type { FILE_UNLOCK, FILE_LOCK_SHARED, FILE_LOCK_EXCLUSIVE };
struct file_lock {
	uint64_t byte, len;
	enum file_lock_type type;
	bool test;
};
int co_file_lock(struct file *f, const struct file_lock *list, unsigned count,
		 unsigned *done) MUST_CHECK;

#endif
