/* SPDX-License-Identifier: MIT */
/*
 * file.c - file and host_device: a regular file, a block device.
 *
 * Any I/O thread runs map, life and permissions are the main thread's. Every
 * request becomes one submission; what the storage then refuses as unsupported
 * the graph emulates, and does not ask for again (A12). Reopening replaces io
 * under a drain, or waits for a grace period, so it is open as long as a
 * counted request can use it.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "drivers/protocol/file.h"
#include "graph/node-io.h"
#include "graph/reopen.h"
#include "graph/span.h"
#include "runtime/co.h"
#include "runtime/storage.h"

/* Punches and discards of block devices are aligned to this: devices of 4 KiB
 * blocks refuse less, and none has larger ones. */
#define FILE_BLOCK_ALIGN 4096u
#define FILE_MAX_TRANSFER (1u << 30)
#define FILE_NO_DIRECT \
	"Could not open '%s': the file system does not support O_DIRECT"

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
		.name = "temporary",
		.type = OPT_BOOL,
		.offset = offsetof(struct file_opts, temporary),
		.strong = true,
		.help = "filename is a directory: a new file in it, without a"
			" name",
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

static int file_flags(struct file_mode mode)
{
	return (mode.writable ? O_RDWR : O_RDONLY) |
	       (mode.direct ? O_DIRECT : 0);
}

/* Whether not being allowed to write may make the node read-only. */
static bool file_may_fall_back(int ret)
{
	return ret == -EACCES || ret == -EPERM || ret == -EROFS;
}

/* A file that is nowhere but here. */
static int file_open_temporary(struct node *node, struct error **err)
{
	const struct file_opts *opts = node->opts;
	struct file_state *s = node->state;
	char text[STORAGE_TEXT_MAX];
	int ret;

	if (node->read_only || node->cache_direct)
		return error_set(err, EINVAL, "A temporary file is written to, "
				 "through the page cache: node '%s' is not %s",
				 node->name, node->read_only ? "read-only" :
				 "opened with cache.direct");
	ret = co_file_temporary(opts->filename, &s->first);
	if (ret < 0)
		return error_set(err, -ret, "Could not make a temporary file "
				 "in '%s': %s", opts->filename,
				 storage_why(ret, text));
	s->first_mode = s->io_mode = (struct file_mode){ true, false };
	s->io = s->first;
	node->temporary = true;
	return 0;
}

static int file_open_first(struct node *node, struct error **err)
{
	const struct file_opts *opts = node->opts;
	struct file_state *s = node->state;
	struct file_mode mode;
	int ret;

	if (!*opts->filename)
		return error_set(err, ENOENT, "The '%s' block driver requires "
				 "a file name", node->driver->name);
	if (opts->temporary)
		return file_open_temporary(node, err);
	mode = (struct file_mode){ !node->read_only, node->cache_direct };
	ret = co_file_open(opts->filename, file_flags(mode), 0, &s->first);
	if (mode.writable && node->auto_read_only && file_may_fall_back(ret)) {
		node->read_only = true;
		mode.writable = false;
		ret = co_file_open(opts->filename, file_flags(mode), 0,
				   &s->first);
	}
	if (ret == -EINVAL && mode.direct)
		return error_set(err, EINVAL, FILE_NO_DIRECT, opts->filename);
	if (ret < 0)
		return file_open_error(node, opts->filename, ret, err);
	s->first_mode = s->io_mode = mode;
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
	if (s->io != s->first)
		co_file_close(s->io);
	co_file_close(s->first);
	(void)err;
	return 0;
}

/* ---- another size ---- */

/* A command of the main thread is in no epoch: reopening must not close what
 * it asks. */
static struct file *file_ask(struct node *node)
{
	struct file_state *s = node->state;

	s->asking++;
	return s->io;
}

static void file_asked(struct node *node)
{
	struct file_state *s = node->state;

	if (--s->asking == 0 && s->closer) {
		co_wake(s->closer);
		s->closer = NULL;
	}
}

static int file_resize(struct node *node, uint64_t from, uint64_t to,
		       struct error **err)
{
	struct file_state *s = node->state;
	struct file *f = file_ask(node);
	char text[STORAGE_TEXT_MAX];
	int ret = co_file_truncate(f, to), undone;

	/* what is cut off cannot come back: that is durable with a flush */
	if (ret == 0 && to > from && !node->no_flush) {
		ret = co_file_sync(f);
		undone = ret < 0 ? co_file_truncate(f, from) : 0;
		(void)undone;
	}
	if (ret == 0) {
		/* the drain before or behind it shows it to who maps */
		__atomic_store_n(&s->info.size, to, __ATOMIC_RELAXED);
		node_wrote(node, MAIN_THREAD);
	}
	file_asked(node);
	return ret == 0 ? 0 : error_set(err, -ret, "Failed to resize file"
					" '%s': %s", node->filename,
					storage_why(ret, text));
}

/* It is as large as it is; only what is above learns of it. */
static int device_resize(struct node *node, uint64_t from, uint64_t to,
			 struct error **err)
{
	struct file_info info;
	int ret = co_file_info(file_ask(node), &info);

	(void)from;
	file_asked(node);
	if (ret < 0)
		return error_set(err, -ret, "Could not get the size of '%s':"
				 " %s", node->filename, strerror(-ret));
	if (to == info.size || to == node->size)
		return 0;
	return error_set(err, to > info.size ? EINVAL : ENOTSUP,
			 to > info.size ? "Cannot grow device files" :
			 "Cannot resize device files");
}

/* ---- reopening ---- */

/* From prepare to end. */
struct file_reopen {
	struct file *next;	/* NULL: io stays */
	struct file_mode mode;
	struct file_info info;
	struct file *old;	/* io until the commit */
};

static bool file_modes_equal(struct file_mode a, struct file_mode b)
{
	return a.writable == b.writable && a.direct == b.direct;
}

/* The same file must be there; else what is written goes elsewhere. */
static int file_look_again(struct node *node, struct file_reopen *fr,
			   struct error **err)
{
	const struct file_opts *opts = node->opts;
	const struct file_state *s = node->state;
	int ret = co_file_info(fr->next, &fr->info);

	if (ret == 0 && (fr->info.dev != s->info.dev ||
			 fr->info.ino != s->info.ino))
		ret = -ESTALE;
	if (ret < 0)
		return error_set(err, -ret, "Could not open '%s' again: it is"
				 " no longer the file that is in use",
				 opts->filename);
	return 0;
}

static int file_open_again(struct node *node, struct reopen *r,
			   struct file_reopen *fr, struct error **err)
{
	const struct file_opts *opts = node->opts;
	int ret;

	if (opts->temporary)
		return error_set(err, ENOTSUP, "The temporary file of node "
				 "'%s' has no name to open it again by",
				 node->name);
	ret = co_file_open(opts->filename, file_flags(fr->mode), 0, &fr->next);
	if (ret == -EINVAL && fr->mode.direct)
		return error_set(err, EINVAL, FILE_NO_DIRECT, opts->filename);
	if (ret < 0)
		return file_open_error(node, opts->filename, ret, err);
	ret = file_look_again(node, fr, err);
	if (ret == 0 && !r->read_only &&
	    !is_aligned(node->size, fr->info.io_align) &&
	    node->perm & PERM_WRITE && !(node->perm & PERM_RESIZE))
		ret = error_set(err, EINVAL, "The size of '%s' is no multiple"
				" of the blocks that O_DIRECT asks for",
				opts->filename);
	if (ret < 0)
		co_file_close(fr->next);
	return ret;
}

/*
 * A node that goes read-only keeps a descriptor that writes: what is above it
 * has yet to write through it. The end of it comes when that is done.
 */
static int file_reopen_prepare(struct node *node, struct reopen *r,
			       struct error **err)
{
	const struct file_state *s = node->state;
	struct file_reopen *fr;
	int ret = 0;

	fr = calloc(1, sizeof(*fr));
	if (!fr)
		abort();
	fr->mode.writable = s->io_mode.writable || !r->read_only;
	fr->mode.direct = r->cache_direct;
	if (file_modes_equal(fr->mode, s->io_mode)) {
		fr->info = s->info;
	} else if (s->io != s->first &&
		   file_modes_equal(fr->mode, s->first_mode)) {
		fr->next = s->first;
		ret = file_look_again(node, fr, err);
	} else {
		ret = file_open_again(node, r, fr, err);
		if (ret < 0 && r->auto_read_only && node->read_only &&
		    !r->read_only && file_may_fall_back(ret)) {
			error_clear(err);
			r->read_only = true;
			free(fr);
			return file_reopen_prepare(node, r, err);
		}
	}
	if (ret < 0)
		free(fr);
	else
		r->state = fr;
	return ret;
}

static void file_reopen_commit(struct node *node, struct reopen *r)
{
	struct file_state *s = node->state;
	struct file_reopen *fr = r->state;

	if (!fr->next)
		return;
	fr->old = s->io;
	s->info = fr->info;
	s->io_mode = fr->mode;
	__atomic_store_n(&s->io, fr->next, __ATOMIC_RELEASE);
}

static void file_reopen_abort(struct node *node, struct reopen *r)
{
	const struct file_state *s = node->state;
	struct file_reopen *fr = r->state;

	if (fr->next && fr->next != s->first)
		co_file_close(fr->next);
	free(fr);
}

/* The kernel tells of lost pages the descriptor that they were written by. */
static int file_reopen_finish(struct node *node, struct reopen *r)
{
	const struct file_reopen *fr = r->state;

	return fr->old && !node->no_flush ? co_file_sync(fr->old) : 0;
}

/* No request uses it any more; a question may. */
static void co_let_go(struct file_state *s, struct file *f)
{
	if (s->asking) {
		s->closer = co_self();
		co_wait();
	}
	co_file_close(f);
}

static void file_reopen_end(struct node *node, struct reopen *r)
{
	struct file_state *s = node->state;
	struct file_reopen *fr = r->state;
	struct file_mode least = { false, s->io_mode.direct };
	struct file *writer = s->io;

	if (fr->old && fr->old != s->first)
		co_let_go(s, fr->old);
	free(fr);
	if (node_writes(node) || writer == s->first ||
	    !file_modes_equal(least, s->first_mode))
		return;
	s->io_mode = least;
	__atomic_store_n(&s->io, s->first, __ATOMIC_RELEASE);
	/* reads may be under way on the other */
	co_reopen_grace(node);
	co_let_go(s, writer);
}

static void file_limits(const struct node *node, struct limits *lim)
{
	const struct file_state *s = node->state;
	const struct reopen *r = node->reopen;
	const struct file_reopen *fr = r ? r->state : NULL;
	const struct file_info *info = fr ? &fr->info : &s->info;
	bool block = info->kind == FILE_BLOCK;
	bool discard = info->can_discard && (r ? r->discard_unmap
					       : node->discard_unmap);

	*lim = (struct limits){
		/* a device's page cache takes bytes, its zeroing sectors */
		.align = max(info->io_align, block ? 512u : 1u),
		.mem_align = info->mem_align,
		.max_transfer = FILE_MAX_TRANSFER,
		.discard_align = discard ? FILE_BLOCK_ALIGN : 0,
		.zeroes = info->can_zero ? SUPPORT_NATIVE
					   : SUPPORT_EMULATED,
		.discard = discard ? SUPPORT_NATIVE : SUPPORT_NONE,
		.rotational = info->rotational,
		.fixed_size = block,
	};
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
		     map->offset + map->len <=
		     __atomic_load_n(&s->info.size, __ATOMIC_RELAXED);

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
	uint64_t cut = node_uncut(node), span = node_span(node), len;
	bool data = false;
	int ret;

	if (e->offset >= cut)
		return -EIO;
	len = min((uint64_t)e->len, cut - e->offset);
	ret = co_file_extent(file_io(node), e->offset, &len, &data);
	if (ret == -ENXIO && e->offset < span)
		node_cut(node, len);
	if (ret < 0 && (ret != -ENXIO || e->offset < span))
		return -EIO;
	if (ret == 0)
		e->len = (uint32_t)len;
	e->flags = STATUS_OFFSET | (data ? STATUS_DATA : STATUS_ZERO);
	return 0;
}

static int file_identify(struct node *node, struct file_info *info)
{
	int ret;

	if (!thread_is_main())
		return co_file_info(file_io(node), info);
	ret = co_file_info(file_ask(node), info);
	file_asked(node);
	return ret;
}

static void file_describe(struct node *node, json_t *image)
{
	if (!node->temporary && file_is_deleted(file_io(node)))
		json_object_set_new(image, "deleted", json_true());
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
	.resize = file_resize,
	.reopen_prepare = file_reopen_prepare,
	.reopen_commit = file_reopen_commit,
	.reopen_abort = file_reopen_abort,
	.reopen_finish = file_reopen_finish,
	.reopen_end = file_reopen_end,
	.perm_check = file_perm_check,
	.perm_commit = file_perm_commit,
	.perm_abort = file_perm_abort,
	.perm_let_go = file_perm_let_go,
	.map = file_map,
	.flush = file_flush,
	.status = file_status,
	.identify = file_identify,
	.info = file_describe,
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
	.resize = device_resize,
	.reopen_prepare = file_reopen_prepare,
	.reopen_commit = file_reopen_commit,
	.reopen_abort = file_reopen_abort,
	.reopen_finish = file_reopen_finish,
	.reopen_end = file_reopen_end,
	.perm_check = file_perm_check,
	.perm_commit = file_perm_commit,
	.perm_abort = file_perm_abort,
	.perm_let_go = file_perm_let_go,
	.map = file_map,
	.discard = device_discard,
	.flush = file_flush,
	.status = file_status,
	.identify = file_identify,
	.info = file_describe,
};
