/* SPDX-License-Identifier: MIT */
/*
 * file-create.c - makes a file of a size, with or without its space. What was
 * in a file of that name is gone. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "drivers/protocol/file.h"
#include "runtime/buffer.h"
#include "runtime/late.h"

#define CREATE_MODE 0644u
#define ALLOCATE_BYTES (1u << 30)
#define WRITE_BYTES (256u << 10)

enum { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL };

static const char *const file_prealloc_values[] = {
	"off", "metadata", "falloc", "full", NULL,
};

const struct option file_create_options[] = {
	{
		.name = "filename",
		.type = OPT_STRING,
		.offset = offsetof(struct file_create, filename),
		.required = true,
		.help = "path of the file",
	}, {
		.name = "size",
		.type = OPT_UINT64,
		.offset = offsetof(struct file_create, size),
		.required = true,
		.help = "bytes",
	}, {
		.name = "preallocation",
		.type = OPT_ENUM,
		.offset = offsetof(struct file_create, preallocation),
		.def = "off",
		.values = file_prealloc_values,
		.help = "off: one hole; falloc: space reserved; full: zeroes"
			" written",
	}, {
		.name = "nocow",
		.type = OPT_BOOL,
		.offset = offsetof(struct file_create, nocow),
		.def = "off",
		.help = "accepted for compatibility, without effect",
	},
	{ .name = NULL },
};

static int create_error(const char *doing, const struct file_create *o,
			int ret, struct error **err)
{
	return error_set(err, -ret, "Could not %s '%s': %s", doing,
			 o->filename, strerror(-ret));
}

/* Operations of `step` bytes at most, one after the other. */
static int co_fill(struct file *f, uint64_t size, enum io_op op, void *buf,
		   uint32_t step)
{
	for (uint64_t at = 0; at < size; at += step) {
		struct io io = {
			.file = f,
			.buf = buf,
			.offset = at,
			.len = (uint32_t)min(size - at, (uint64_t)step),
			.fixed = IO_NOT_FIXED,
			.op = (uint8_t)op,
		};
		int ret = late_unwanted() ? -ECANCELED : co_io(&io);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int co_fill_zeroes(struct file *f, uint64_t size)
{
	void *zeroes = co_buffer_get(WRITE_BYTES);
	int ret;

	memset(zeroes, 0, WRITE_BYTES);
	ret = co_fill(f, size, IO_WRITE, zeroes, WRITE_BYTES);
	buffer_put(zeroes, WRITE_BYTES);
	return ret;
}

static int co_make(struct file *f, const struct file_create *o,
		   struct error **err)
{
	/* twice: nothing of the old contents stays */
	int ret = co_file_truncate(f, 0);

	if (ret == 0)
		/* EFBIG is what ftruncate says below 2^63 */
		ret = o->size > INT64_MAX ? -EINVAL :
			co_file_truncate(f, o->size);
	if (ret < 0) {
		error_set(err, -ret, "Could not resize file: %s",
			  strerror(-ret));
		return error_add(err, " ('%s', %" PRIu64 " bytes)",
				 o->filename, o->size);
	}
	if (o->preallocation == PREALLOC_FALLOC)
		ret = co_fill(f, o->size, IO_ALLOCATE, NULL, ALLOCATE_BYTES);
	else if (o->preallocation == PREALLOC_FULL)
		ret = co_fill_zeroes(f, o->size);
	if (ret == 0)
		ret = co_file_sync(f);
	return ret < 0 ? create_error("allocate space for", o, ret, err) : 0;
}

static int create_wrong_kind(const struct file_create *o, struct error **err)
{
	return error_set(err, EINVAL, "'file' driver requires '%s' to be a"
			 " regular file", o->filename);
}

static int co_check_target(struct file *f, const struct file_create *o,
			   struct error **err)
{
	struct file_info info;
	int ret = co_file_info(f, &info);

	if (ret < 0)
		return create_error("create", o, ret, err);
	if (info.kind != FILE_REGULAR)
		return create_wrong_kind(o, err);
	return file_lock_alone(f, err);
}

int file_create(const void *opts, struct edge *edge, struct error **err)
{
	const struct file_create *o = opts;
	struct file *f;
	int ret;

	(void)edge;
	if (o->preallocation == PREALLOC_METADATA)
		return error_set(err, ENOTSUP,
				 "Unsupported preallocation mode: metadata");
	ret = co_file_open(o->filename, O_RDWR | O_CREAT, CREATE_MODE, &f);
	if (ret == -ENOTBLK)
		return create_wrong_kind(o, err);
	if (ret < 0)
		return create_error("create", o, ret, err);
	ret = co_check_target(f, o, err);
	if (ret == 0)
		ret = co_make(f, o, err);
	co_file_close(f);
	return ret;
}
