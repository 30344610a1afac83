/* SPDX-License-Identifier: MIT */
/*
 * protocol.c - see protocol.h.
 */
#include "fuse/protocol.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_SIZE 4096u
#define SECTOR_SIZE 512u

/* Attributes are asked for anew each time: their owner may change them. */

bool fuse_fill_init(const struct fuse_init_in *in, uint32_t depth,
		    struct fuse_init_out *out)
{
	memset(out, 0, sizeof(*out));
	out->major = FUSE_KERNEL_VERSION;
	out->minor = FUSE_KERNEL_MINOR_VERSION;
	if (in->major != FUSE_KERNEL_VERSION)
		return false;
	out->flags = in->flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES |
				  FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
	out->max_readahead = in->max_readahead;
	out->max_write = FUSE_IO_MAX;
	out->max_pages = (uint16_t)(FUSE_IO_MAX /
				    (uint64_t)sysconf(_SC_PAGESIZE));
	out->max_background = (uint16_t)min(depth, 65535u);
	out->congestion_threshold = out->max_background;
	out->time_gran = 1;
	return true;
}

/*
 * Space is what the images had and what was written since, however often: to
 * look again could wait for storage that does not answer. Never none of it:
 * there are tools that take a file without blocks for one without data.
 */
static uint64_t attr_blocks(const struct fuse_shape *shape, uint64_t written)
{
	uint64_t size = fuse_size(shape);
	uint64_t most = div_up(size, SECTOR_SIZE);
	uint64_t used = div_up(min(shape->allocated, size) +
			       min(written, size), SECTOR_SIZE);

	return min(max(used, UINT64_C(1)), most);
}

void fuse_fill_attr(const struct fuse_shape *shape,
		    const struct fuse_owner *owner, uint64_t written,
		    struct fuse_attr_out *out)
{
	memset(out, 0, sizeof(*out));
	out->attr.ino = FUSE_ROOT_ID;
	out->attr.size = fuse_size(shape);
	out->attr.blocks = attr_blocks(shape, written);
	out->attr.mode = S_IFREG | owner->mode;
	out->attr.nlink = 1;
	out->attr.uid = owner->uid;
	out->attr.gid = owner->gid;
	out->attr.blksize = BLOCK_SIZE;
}

void fuse_fill_statfs(const struct fuse_shape *shape,
		      struct fuse_statfs_out *out)
{
	memset(out, 0, sizeof(*out));
	out->st.bsize = BLOCK_SIZE;
	out->st.frsize = BLOCK_SIZE;
	out->st.blocks = div_up(fuse_size(shape), BLOCK_SIZE);
	out->st.files = 1;
	out->st.namelen = 255;
}

int fuse_set_owner(const struct fuse_shape *shape,
		   const struct fuse_setattr_in *in, struct fuse_owner *owner)
{
	/* how the kernel found the file, not what it wants of it */
	uint32_t what = in->valid & ~(uint32_t)(FATTR_FH | FATTR_LOCKOWNER |
						FATTR_KILL_SUIDGID |
						FATTR_CTIME);
	uint32_t may = FATTR_SIZE;

	if (shape->allow_other)
		may |= FATTR_MODE | FATTR_UID | FATTR_GID;
	if (what & ~may)
		return -EOPNOTSUPP;
	if (what & FATTR_SIZE && in->size != fuse_size(shape))
		return -EOPNOTSUPP;
	if (what & FATTR_MODE && !shape->writable && in->mode & 0222)
		return -EROFS;
	if (what & FATTR_MODE)
		owner->mode = in->mode & 07777;
	if (what & FATTR_UID)
		owner->uid = in->uid;
	if (what & FATTR_GID)
		owner->gid = in->gid;
	return 0;
}

int64_t fuse_clip(const struct fuse_shape *shape, bool write, uint64_t offset,
		  uint32_t len)
{
	uint64_t size = fuse_size(shape);

	if (write && !shape->writable)
		return -EROFS;
	if (len > FUSE_IO_MAX)
		return -EINVAL;
	if (offset >= size)
		return write && len ? -ENOSPC : 0;
	return (int64_t)min(len, size - offset);
}

int fuse_map_fallocate(const struct fuse_shape *shape,
		       const struct fuse_fallocate_in *in,
		       struct fuse_range *out)
{
	uint32_t mode = in->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE;
	bool keep = in->mode & FALLOC_FL_KEEP_SIZE;
	uint64_t size = fuse_size(shape);

	if (!shape->writable)
		return -EROFS;
	if (in->offset + in->length < in->offset)
		return -EINVAL;
	if (mode == FALLOC_FL_PUNCH_HOLE && keep)
		out->flags = 0;
	else if (mode == FALLOC_FL_ZERO_RANGE)
		out->flags = REQ_NO_UNMAP;
	else
		return -EOPNOTSUPP;
	if (!keep && in->offset + in->length > size)
		return -ENOSPC;
	out->op = REQ_ZEROES;
	out->offset = min(in->offset, size);
	out->len = min(in->length, size - out->offset);
	return 0;
}

bool fuse_seek_step(const struct fuse_shape *shape, bool want_data,
		    bool zeroes, uint64_t len, uint64_t *at)
{
	uint64_t size = fuse_size(shape);

	if (want_data != zeroes)
		return true;
	*at = min(*at + len, size);
	/* the end of the file is a hole */
	return !want_data && *at == size;
}
