/* SPDX-License-Identifier: MIT */
/*
 * protocol.h - what the kernel's requests mean for a node that is shown as one
 * file, and what they are answered with. Plain functions of their arguments,
 * any thread.
 */
#ifndef FUSE_PROTOCOL_H
#define FUSE_PROTOCOL_H

#include <linux/fuse.h>
#include <stdbool.h>

#include "graph/request.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)	/* uapi of Linux 6.2 */
#endif

#define FUSE_IO_MAX (1u << 20)		/* bytes of one READ or WRITE */
#define FUSE_PIECE_MAX (1u << 30)	/* bytes of one request of the graph */

/* What the file is, for as long as it is shown. */
struct fuse_shape {
	uint64_t size;		/* bytes; atomic: fuse_size */
	uint64_t allocated;	/* bytes of its images when it was opened */
	bool writable;
	bool allow_other;
};

/* Any thread. */
static inline uint64_t fuse_size(const struct fuse_shape *shape)
{
	return __atomic_load_n(&shape->size, __ATOMIC_RELAXED);
}

/* What users may change of it. */
struct fuse_owner {
	uint32_t mode, uid, gid;
};

/* One request as it is read: the longest arguments that we look at. */
struct fuse_input {
	struct fuse_in_header head;
	union {
		struct fuse_init_in init;
		struct fuse_open_in open;
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_setattr_in setattr;
		struct fuse_fallocate_in fallocate;
		struct fuse_lseek_in lseek;
	} arg;
};

/* The part of it in front of a WRITE's bytes. */
#define FUSE_INPUT_HEAD (sizeof(struct fuse_in_header) + \
			 sizeof(struct fuse_write_in))

/* False: this kernel speaks another major version. depth: requests at once. */
bool fuse_fill_init(const struct fuse_init_in *in, uint32_t depth,
		    struct fuse_init_out *out) MUST_CHECK;
/* written: bytes since it is shown. */
void fuse_fill_attr(const struct fuse_shape *shape,
		    const struct fuse_owner *owner, uint64_t written,
		    struct fuse_attr_out *out);
void fuse_fill_statfs(const struct fuse_shape *shape,
		      struct fuse_statfs_out *out);
/* Takes over what may change. 0 or a negative errno; then nothing changed. */
int fuse_set_owner(const struct fuse_shape *shape,
		   const struct fuse_setattr_in *in, struct fuse_owner *owner)
	MUST_CHECK;

/*
 * How much of a READ or WRITE lies inside the file: bytes, 0 at its end; or a
 * negative errno. A file does not grow, so a WRITE at its end finds no space.
 */
int64_t fuse_clip(const struct fuse_shape *shape, bool write, uint64_t offset,
		  uint32_t len) MUST_CHECK;

/* What an fallocate asks of the graph; len 0: nothing. */
struct fuse_range {
	uint8_t op, flags;	/* of a struct request */
	uint64_t offset, len;
};

/* 0 or a negative errno. */
int fuse_map_fallocate(const struct fuse_shape *shape,
		       const struct fuse_fallocate_in *in,
		       struct fuse_range *out) MUST_CHECK;

/*
 * One step of SEEK_DATA or SEEK_HOLE: from `at` on, `len` bytes are zeroes or
 * not. True: at is the answer; false: the next step begins there, or the file
 * ends before.
 */
bool fuse_seek_step(const struct fuse_shape *shape, bool want_data,
		    bool zeroes, uint64_t len, uint64_t *at) MUST_CHECK;

#endif
