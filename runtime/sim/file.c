/* SPDX-License-Identifier: MIT */
/*
 * file.c - the simulated file system: names, open files, what tests put there.
 *
 * Files outlive the run: after runtime_stop the next run finds them again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/late.h"
#include "runtime/sim/lock.h"
#include "runtime/sim/world.h"

#define ALIGN_DEFAULT 512u
#define DEVICE_FIRST 0x10000u
#define CLOSE_POLL_NS 10000000ull
#define CLOSE_NS SECONDS(10)

static struct inode *inode_find(const char *path)
{
	struct inode *inode;

	for (inode = world.inodes; inode; inode = inode->next)
		if (strcmp(inode->path, path) == 0)
			return inode;
	return NULL;
}

static struct inode *inode_named(const char *path)
{
	struct inode *inode = inode_find(path);

	assert(inode);
	return inode;
}

static struct inode *inode_new(const char *path, uint64_t size)
{
	size_t len = strlen(path) + 1;
	struct inode *inode = calloc(1, sizeof(*inode) + len);

	if (!inode)
		abort();
	memcpy(inode->path, path, len);
	inode->store = store_new(size);
	inode->number = ++world.inode_number;
	inode->limit = UINT64_MAX;
	inode->space = UINT64_MAX;
	inode->align = ALIGN_DEFAULT;
	inode->kind = FILE_REGULAR;
	inode->refs = 1;
	inode->next = world.inodes;
	world.inodes = inode;
	return inode;
}

static void inode_put(struct inode *inode)
{
	if (--inode->refs)
		return;
	assert(!inode->locks);
	store_free(inode->store);
	free(inode);
}

void sim_file_remove(const char *path)
{
	struct inode **at = &world.inodes;

	while (*at && strcmp((*at)->path, path) != 0)
		at = &(*at)->next;
	if (*at) {
		struct inode *inode = *at;

		*at = inode->next;
		inode_put(inode);
	}
}

void sim_file_create(const char *path, uint64_t size)
{
	sim_file_remove(path);
	inode_new(path, size);
}

void sim_file_set(const char *path, const void *data, uint64_t size)
{
	struct inode *inode = inode_find(path);
	struct effect e = { .n = 0 };

	if (!inode)
		inode = inode_new(path, 0);
	store_resize(inode->store, 0, &e);
	store_complete(inode->store, &e, true);
	store_write(inode->store, 0, data, size, &e);
	store_complete(inode->store, &e, true);
}

uint64_t sim_file_get(const char *path, void **data)
{
	const struct inode *inode = inode_named(path);
	uint64_t size = store_size(inode->store);

	*data = calloc(1, size ? size : 1);
	if (!*data)
		abort();
	store_read(inode->store, 0, *data, size, true);
	return size;
}

void sim_file_limit(const char *path, uint64_t bytes)
{
	inode_named(path)->limit = bytes;
}

void sim_file_space(const char *path, uint64_t bytes)
{
	inode_named(path)->space = bytes;
}

uint64_t sim_file_allocated(const char *path)
{
	return store_allocated(inode_named(path)->store);
}

void sim_file_block_device(const char *path)
{
	inode_named(path)->kind = FILE_BLOCK;
}

void sim_file_align(const char *path, uint32_t io_align)
{
	assert(is_pow2(io_align));
	inode_named(path)->align = io_align;
}

/* The control plane's calls take a random while. */
static void take_time(void)
{
	assert(co_self());
	do
		co_yield();
	while (random_below(2));
}

unsigned sim_files_open(void)
{
	unsigned n = 0;

	for (const struct file *f = world.files; f; f = f->next)
		n++;
	return n;
}

/* For calls that are no operations: what the test wants of it. */
static int call_fault(struct file *f, unsigned op)
{
	const struct io io = { .file = f, .op = (uint8_t)op };
	int fault = 0;

	if (world.fault_calls && world.fault)
		fault = world.fault(world.fault_arg, &io);
	assert(fault <= 0);
	return fault;
}

static struct file *file_of_inode(struct inode *inode, int flags)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		abort();
	inode->refs++;
	f->inode = inode;
	f->flags = flags;
	f->next = world.files;
	world.files = f;
	return f;
}

int co_file_open(const char *path, int flags, unsigned mode, struct file **out)
{
	struct inode *inode;
	int fault;

	(void)mode;
	assert(!(flags & ~(O_ACCMODE | O_DIRECT | O_CREAT | O_EXCL |
			   O_NOFOLLOW | O_CLOEXEC)));
	take_time();
	fault = call_fault(NULL, SIM_IO_OPEN);
	if (world.cut)
		return -EIO;
	if (fault)
		return fault;
	inode = inode_find(path);
	if (inode && flags & O_CREAT && flags & O_EXCL)
		return -EEXIST;
	if (!inode && !(flags & O_CREAT))
		return -ENOENT;
	if (!inode)
		inode = inode_new(path, 0);
	*out = file_of_inode(inode, flags);
	return 0;
}

/* Every directory is there. */
int co_file_temporary(const char *dir, struct file **out)
{
	int fault;

	take_time();
	fault = call_fault(NULL, SIM_IO_OPEN);
	if (world.cut)
		return -EIO;
	if (fault)
		return fault;
	assert(!inode_find(dir));
	*out = file_of_inode(inode_new(dir, 0), O_RDWR);
	sim_file_remove(dir);
	return 0;
}

static bool file_busy_in(const struct op_set *set, const struct file *f)
{
	unsigned i;

	for (i = 0; i < set->count; i++)
		if (set->op[i]->io->file == f)
			return true;
	return false;
}

static void file_free(struct file *f)
{
	struct file **at = &world.files;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	lock_drop_all(f);
	inode_put(f->inode);
	free(f);
}

struct closing {
	struct late work;
	struct file *file;
};

static void closing_run(struct late *work)
{
	struct file *f = container_of(work, struct closing, work)->file;

	take_time();
	while (f->calls)
		co_sleep(CLOSE_POLL_NS);
	file_free(f);
}

static void closing_undo(struct late *work)
{
	free(container_of(work, struct closing, work));
}

void co_file_close(struct file *f)
{
	struct closing *c = calloc(1, sizeof(*c));
	struct error *late CLEANUP_ERROR = NULL;

	assert(!file_busy_in(&world.ready, f) && !file_busy_in(&world.slow, f)
	       && (f->calls || !file_busy_in(&world.held, f)));
	if (!c)
		abort();
	c->work.run = closing_run;
	c->work.undo = closing_undo;
	c->file = f;
	if (co_late(&c->work, CLOSE_NS, &late, "Closing '%s'", file_path(f)))
		closing_undo(&c->work);
}

void file_discard_all(void)
{
	while (world.files)
		file_free(world.files);
}

int co_file_info(struct file *f, struct file_info *out)
{
	const struct inode *inode = f->inode;
	bool direct = f->flags & O_DIRECT;
	bool block = inode->kind == FILE_BLOCK;
	int fault;

	take_time();
	fault = call_fault(f, SIM_IO_INFO);
	if (world.cut)
		return -EIO;
	if (fault)
		return fault;
	*out = (struct file_info){
		.kind = inode->kind,
		.size = store_size(inode->store),
		.allocated = store_allocated(inode->store),
		.dev = block ? DEVICE_FIRST + inode->number : 1,
		.ino = block ? 0 : inode->number,
		.io_align = direct ? inode->align : 1,
		.mem_align = direct ? inode->align : 1,
		.can_punch = true,
		.can_zero = true,
		.can_discard = true,
	};
	return 0;
}

int co_file_truncate(struct file *f, uint64_t size)
{
	struct io io = {
		.file = f,
		.op = SIM_IO_TRUNCATE,
		.offset = size,
		.fixed = IO_NOT_FIXED,
	};

	return co_io(&io);
}

int co_file_discard(struct file *f, uint64_t offset, uint64_t len)
{
	struct io io = {
		.file = f,
		.op = SIM_IO_DISCARD,
		.offset = offset,
		.len = (uint32_t)len,
		.fixed = IO_NOT_FIXED,
	};

	return co_io(&io);
}

int co_file_extent(struct file *f, uint64_t offset, uint64_t *len, bool *data)
{
	uint64_t size = store_size(f->inode->store);

	take_time();
	if (offset >= size) {
		*len = size;
		return -ENXIO;
	}
	*len = min(*len, size - offset);
	*data = store_extent(f->inode->store, offset, len);
	return 0;
}

const char *file_path(const struct file *f)
{
	return f->inode->path;
}

bool file_is_deleted(const struct file *f)
{
	return inode_find(f->inode->path) != f->inode;
}
