/* SPDX-License-Identifier: MIT */
/*
 * file.c - file and host_device: a regular file, a block device.
 *
 * Any I/O thread runs map, life and permissions are the main thread's. Every
 * request becomes one submission; what the storage then refuses as unsupported
 * the graph emulates, and does not ask for again (A12). A descriptor is closed
 * with the node only, so io is open as long as a counted request can use it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "drivers/protocol/file.h"
#include "graph/reach.h"
#include "runtime/storage.h"

/* Punches and discards of block devices are aligned to this: devices of 4 KiB blocks refuse
 * less, and none has larger ones. */
#define FILE_BLOCK_ALIGN 4096u
#define FILE_MAX_TRANSFER (1u << 30)

static const char *const locking_values[] = { "auto", "on", "off", NULL };
static const char *const aio_values[] = {
	"threads", "native", "io_uring", NULL,
};

static const struct option file_options[] = {
	{
		.name = "filename",
		.type = OPT_STRING,
		.offset = offsetof(struct file_opts, filename),
		.required = true,
		.help = "path of the file or device",
	}, {
		.name = "locking",
		.type = OPT_ENUM,
		.offset = offsetof(struct file_opts, locking),
		.def = "auto",
		.values = locking_values,
		.help = "whether to keep other processes out of the image",
	}, {
		.name = "aio",
		.type = OPT_ENUM,
		.offset = offsetof(struct file_opts, aio),
		.def = "io_uring",
		.values = aio_values,
		.help = "accepted for compatibility; always io_uring",
	},
	{ .name = NULL },
};

/* ---- life ---- */

static int file_wrong_kind(const struct node *node, const char *path,
			   struct error **err)
{
	return error_set(err, EINVAL, node->driver == &host_device_driver ?
			 "'host_device' driver requires '%s' to be a block"
			 " device" : "'file' driver requires '%s' to be a"
			 " regular file", path);
}

static int file_open_error(const struct node *node, const char *path, int ret,
			   struct error **err)
{
	char text[STORAGE_TEXT_MAX];

	if (ret == -ENOTBLK)
		return file_wrong_kind(node, path, err);
	return error_set(err, -ret, "Could not open '%s': %s", path,
			 storage_why(ret, text));
}

static int file_open_flags(const struct node *node, bool writable)
{
	return (writable ? O_RDWR : O_RDONLY) |
	       (node->cache_direct ? O_DIRECT : 0);
}

/* Whether not being allowed to write may make the node read-only. */
static bool file_may_fall_back(const struct node *node, int ret)
{
	return node->auto_read_only &&
	       (ret == -EACCES || ret == -EPERM || ret == -EROFS);
}

static int file_open_first(struct node *node, struct error **err)
{
	const struct file_opts *opts = node->opts;
	struct file_state *s = node->state;
	int ret;

	if (!*opts->filename)
		return error_set(err, ENOENT, "The '%s' block driver requires "
				 "a file name", node->driver->name);
	ret = co_file_open(opts->filename,
			   file_open_flags(node, !node->read_only), 0,
			   &s->first);
	if (ret < 0 && !node->read_only && file_may_fall_back(node, ret)) {
		node->read_only = true;
		ret = co_file_open(opts->filename,
				   file_open_flags(node, false), 0, &s->first);
	}
	if (ret == -EINVAL && node->cache_direct)
		return error_set(err, EINVAL, "Could not open '%s': the file"
				 " system does not support O_DIRECT",
				 opts->filename);
	if (ret < 0)
		return file_open_error(node, opts->filename, ret, err);
	s->opened_read_only = node->read_only;
	s->io = s->first;
	return 0;
}

/* The name as every directory sees it (A21, C7). */
static char *file_absolute(const char *name)
{
	char *cwd, *path;

	if (name[0] == '/')
		return strdup(name);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&path, "%s/%s", cwd, name) < 0)
		path = strdup(name);
	free(cwd);
	return path;
}

static int file_open_rest(struct node *node, struct error **err)
{
	const struct file_opts *opts = node->opts;
	struct file_state *s = node->state;
	char text[STORAGE_TEXT_MAX];
	int ret;

	ret = co_file_info(s->first, &s->info);
	if (ret < 0)
		return error_set(err, -ret, "Could not get the size of '%s':"
				 " %s", opts->filename, storage_why(ret, text));
	if (s->info.kind != (node->driver == &host_device_driver ?
			     FILE_BLOCK : FILE_REGULAR))
		return file_wrong_kind(node, opts->filename, err);
	/* what an image does not have itself would be read from it as zeroes */
	if (s->info.kind == FILE_BLOCK && !s->info.size)
		return file_open_error(node, opts->filename, -ENOMEDIUM,
				       err);
	ret = file_lock_open(node, err);
	if (ret < 0)
		return ret;
	node->size = s->info.size;
	node->allocated = s->info.allocated;
	node->dev = s->info.dev;
	node->ino = s->info.ino;
	if (!node->filename)
		node->filename = file_absolute(opts->filename);
	return 0;
}

static int file_open(struct node *node, struct error **err)
{
	struct file_state *s = node->state;
	int ret;

	ret = file_open_first(node, err);
	if (ret < 0)
		return ret;
	ret = file_open_rest(node, err);
	if (ret < 0)
		co_file_close(s->first);
	return ret;
}

static int file_close(struct node *node, struct error **err)
{
	struct file_state *s = node->state;

	file_lock_close(node);
	if (s->writer)
		co_file_close(s->writer);
	co_file_close(s->first);
	(void)err;
	return 0;
}

static void file_limits(const struct node *node, struct limits *lim)
{
	const struct file_state *s = node->state;
	bool block = s->info.kind == FILE_BLOCK;
	bool discard = s->info.can_discard && node->discard_unmap;

	*lim = (struct limits){
		/* a device's page cache takes bytes, its zeroing sectors */
		.align = max(s->info.io_align, block ? 512u : 1u),
		.mem_align = s->info.mem_align,
		.max_transfer = FILE_MAX_TRANSFER,
		.discard_align = discard ? FILE_BLOCK_ALIGN : 0,
		.zeroes = s->info.can_zero ? SUPPORT_NATIVE
					   : SUPPORT_EMULATED,
		.discard = discard ? SUPPORT_NATIVE : SUPPORT_NONE,
		.rotational = s->info.rotational,
		.fixed_size = block,
	};
}

/*
 * A node opened read-only gets a second descriptor to write; the first stays,
 * since it holds the locks. Going back keeps the writer: what was written
 * through it may still have to be flushed through it (A29), and its errors are
 * seen there only; the permissions no longer let a write through.
 */
static int file_set_writable(struct node *node, bool writable,
			     struct error **err)
{
	const struct file_opts *opts = node->opts;
	struct file_state *s = node->state;
	struct file_info info;
	struct file *f;
	int ret;

	if (!writable || !s->opened_read_only || s->writer)
		return 0;
	ret = co_file_open(opts->filename, file_open_flags(node, true), 0, &f);
	if (ret < 0)
		return file_open_error(node, opts->filename, ret, err);
	ret = co_file_info(f, &info);
	if (ret == 0 && (info.dev != s->info.dev || info.ino != s->info.ino))
		ret = -ESTALE;
	if (ret < 0) {
		co_file_close(f);
		return error_set(err, -ret, "Could not open '%s' for writing:"
				 " it is no longer the file that is in use",
				 opts->filename);
	}
	s->writer = f;
	__atomic_store_n(&s->io, f, __ATOMIC_RELEASE);
	return 0;
}

/* ---- requests ---- */

static struct file *file_io(struct node *node)
{
	struct file_state *s = node->state;

	return __atomic_load_n(&s->io, __ATOMIC_ACQUIRE);
}

static void file_submit(struct node *node, struct map *map, enum io_op op)
{
	map->kind = MAP_SUBMIT;
	map->io_op = (uint8_t)op;
	map->io_flags = 0;
	map->file = file_io(node);
}

static bool file_divides(const struct file_state *s, const struct map *map)
{
	return s->info.kind != FILE_BLOCK ||
	       is_aligned(map->offset | map->len, FILE_BLOCK_ALIGN);
}

/*
 * A hole where space may be given back. Past the end of the file a hole would
 * not make it grow, so there it is zeroed. MAP_SLOW: zeroes are written.
 */
static void file_map_zeroes(struct node *node, struct map *map)
{
	const struct file_state *s = node->state;
	bool unmap = !(map->flags & REQ_NO_UNMAP) && node->discard_unmap &&
		     map->offset + map->len <= s->info.size;

	/* fallocate has no FUA: asked again without it, then flushed */
	if (map->flags & REQ_FUA || !file_divides(s, map))
		map->kind = MAP_SLOW;
	else if (unmap && s->info.can_punch)
		file_submit(node, map, IO_PUNCH);
	else if (s->info.can_zero)
		file_submit(node, map, IO_ZERO);
	else
		map->kind = MAP_SLOW;
}

static void file_map_discard(struct node *node, struct map *map)
{
	const struct file_state *s = node->state;

	if (!node->discard_unmap || !s->info.can_discard ||
	    !file_divides(s, map))
		map->kind = MAP_DONE;
	else if (s->info.kind == FILE_BLOCK)
		map->kind = MAP_SLOW;
	else
		file_submit(node, map, IO_PUNCH);
}

static void file_map(struct node *node, struct map *map)
{
	switch ((enum req_op)map->op) {
	case REQ_READ:
		file_submit(node, map, IO_READ);
		break;
	case REQ_WRITE:
		file_submit(node, map, IO_WRITE);
		if (map->flags & REQ_FUA)
			map->io_flags = IO_DSYNC;
		break;
	case REQ_FLUSH:
		file_submit(node, map, IO_SYNC);
		break;
	case REQ_DISCARD:
		file_map_discard(node, map);
		break;
	case REQ_ZEROES:
		file_map_zeroes(node, map);
		break;
	case REQ_STATUS:
		break;	/* never asked here */
	}
}

static int64_t device_discard(struct node *node, uint64_t offset, uint32_t len)
{
	int ret = co_file_discard(file_io(node), offset, len);

	return ret < 0 ? ret : (int64_t)len;
}

static int file_flush(struct node *node)
{
	return co_file_sync(file_io(node));
}

/* Asked on a helper thread: seeking holes may read the file system's metadata,
 * on a slow disk or over a network. */
static int file_status(struct node *node, struct extent *e)
{
	uint64_t cut = node_uncut(node), reach = node_reach(node), len;
	bool data = false;
	int ret;

	if (e->offset >= cut)
		return -EIO;
	len = min((uint64_t)e->len, cut - e->offset);
	ret = co_file_extent(file_io(node), e->offset, &len, &data);
	if (ret == -ENXIO && e->offset < reach)
		node_cut(node, len);
	if (ret < 0 && (ret != -ENXIO || e->offset < reach))
		return -EIO;
	if (ret == 0)
		e->len = (uint32_t)len;
	e->flags = STATUS_OFFSET | (data ? STATUS_DATA : STATUS_ZERO);
	return 0;
}

const struct driver file_driver = {
	.name = "file",
	.kind = DRIVER_PROTOCOL,
	.state_size = sizeof(struct file_state),
	.options = file_options,
	.options_size = sizeof(struct file_opts),
	.create_options = file_create_options,
	.create_size = sizeof(struct file_create),
	.create = file_create,
	.open = file_open,
	.close = file_close,
	.limits = file_limits,
	.set_writable = file_set_writable,
	.perm_check = file_perm_check,
	.perm_commit = file_perm_commit,
	.perm_abort = file_perm_abort,
	.perm_settle = file_perm_settle,
	.map = file_map,
	.flush = file_flush,
	.status = file_status,
};

const struct driver host_device_driver = {
	.name = "host_device",
	.kind = DRIVER_PROTOCOL,
	.state_size = sizeof(struct file_state),
	.options = file_options,
	.options_size = sizeof(struct file_opts),
	.open = file_open,
	.close = file_close,
	.limits = file_limits,
	.set_writable = file_set_writable,
	.perm_check = file_perm_check,
	.perm_commit = file_perm_commit,
	.perm_abort = file_perm_abort,
	.perm_settle = file_perm_settle,
	.map = file_map,
	.discard = device_discard,
	.flush = file_flush,
	.status = file_status,
};
