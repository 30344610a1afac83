/* SPDX-License-Identifier: MIT */
/*
 * file.c - opening, describing, locking and closing files. Main thread, but
 * for co_file_extent; what may block runs on a helper thread (A3).
 *
 * Descriptors are plain, not registered with the ring (A30).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "runtime/late.h"
#include "runtime/real/real.h"
#include "runtime/storage.h"

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000u
#endif

#define PROBE_BYTES 4096u
#define STATFS_RDONLY 1		/* the kernel's ST_RDONLY */
#define CLOSE_POLL_NS 10000000ull

const char *file_path(const struct file *f)
{
	return f->path;
}

/* The kernel knows by heart, also where the storage is silent. */
bool file_is_deleted(const struct file *f)
{
	static const char mark[] = " (deleted)";
	size_t size = PATH_MAX + sizeof(mark), len;
	char link[40], *path = calloc(1, size);
	bool deleted = false;

	if (!path)
		abort();
	snprintf(link, sizeof(link), "/proc/self/fd/%d", f->fd);
	if (readlink(link, path, size - 1) > 0) {
		len = strlen(path);
		/* a file may be called so */
		deleted = len >= strlen(mark) && strcmp(path, f->path) != 0 &&
			!strcmp(path + len - strlen(mark), mark);
	}
	free(path);
	return deleted;
}

static enum file_kind kind_of(mode_t mode)
{
	if (S_ISBLK(mode))
		return FILE_BLOCK;
	return S_ISREG(mode) ? FILE_REGULAR : FILE_CHAR;
}

/* A number of the block device's queue; its own or, of a partition, the
 * whole device's. */
static bool queue_limit(dev_t dev, const char *name, uint64_t *out)
{
	static const char *const dirs[] = { "queue", "../queue" };
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		FILE *f;
		int n;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s",
			 major(dev), minor(dev), dirs[i], name);
		f = fopen(path, "re");
		if (!f)
			continue;
		n = fscanf(f, "%" SCNu64, out);
		fclose(f);
		return n == 1;
	}
	return false;
}

/* Whether the file system takes O_DIRECT reads in pieces of 512 bytes. */
static bool direct_takes_512(int fd)
{
	void *buf = aligned_alloc(PROBE_BYTES, PROBE_BYTES);
	bool ok = buf && (pread(fd, buf, 512, 0) >= 0 || errno != EINVAL);

	free(buf);
	return ok;
}

static void probe_align(struct file *f)
{
	struct statx stx;
	int sector;

	f->io_align = 1;
	f->mem_align = 1;
	if (!(f->flags & O_DIRECT) || f->kind == FILE_CHAR)
		return;
	if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_offset_align) {
		f->io_align = stx.stx_dio_offset_align;
		f->mem_align = max(stx.stx_dio_mem_align, 1u);
		return;
	}
	if (f->kind == FILE_BLOCK && ioctl(f->fd, BLKSSZGET, &sector) == 0)
		f->io_align = (uint32_t)sector;
	else
		f->io_align = direct_takes_512(f->fd) ? 512 : PROBE_BYTES;
	f->mem_align = f->io_align;
}

/*
 * Where the file system may wait in the call that submits, as FUSE does when it
 * asks its server whether a file is ready, requests begin on the ring's own
 * threads. These were measured not to.
 */
static uint8_t entry_flags(int fd, enum file_kind kind)
{
	struct statfs fs;

	if (kind != FILE_REGULAR)
		return 0;
	if (fstatfs(fd, &fs))
		return IOSQE_ASYNC;
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC ||
	       fs.f_type == TMPFS_MAGIC ? 0 : IOSQE_ASYNC;
}

/* Negative errno; takes fd over only on success. */
static int file_new(int fd, int flags, const char *path, struct file **out)
{
	size_t len = strlen(path) + 1;
	struct file *f;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	f = calloc(1, sizeof(*f) + len);
	if (!f)
		return -ENOMEM;
	f->fd = fd;
	f->flags = flags;
	f->kind = kind_of(st.st_mode);
	f->storage = storage_of_fd(fd);
	f->entry_flags = entry_flags(fd, f->kind);
	memcpy(f->path, path, len);
	probe_align(f);
	*out = f;
	return 0;
}

struct file *file_from_fd(int fd, const char *path)
{
	struct file *f = NULL;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || file_new(fd, flags, path, &f) < 0)
		return NULL;
	return f;
}

struct open_job {
	const char *path;
	int flags;
	unsigned mode;
	struct file *file;
	int rc;
};

/* Those of memory, /dev/zero and such. */
#define MEMORY_MAJOR 1

/* Whether opening it does nothing to it; what else it is, its user judges. */
static bool opens_quietly(const struct stat *st)
{
	return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) ||
	       S_ISDIR(st->st_mode) ||
	       (S_ISCHR(st->st_mode) && major(st->st_rdev) == MEMORY_MAJOR);
}

/*
 * A tape rewinds when it is closed, a watchdog starts when it is opened, a
 * FIFO's writer goes on: what such a name stands for is looked at first, and
 * it is that which is opened, whatever the name stands for by then.
 */
static int open_quietly(const struct open_job *j)
{
	int how = j->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int look = open(j->path, O_PATH | O_CLOEXEC |
			(j->flags & O_NOFOLLOW));
	char self[40];
	struct stat st;
	int fd;

	if (look < 0 && !(j->flags & O_CREAT))
		return -errno;
	if (look < 0) {
		fd = open(j->path, how, j->mode);
		return fd < 0 ? -errno : fd;
	}
	if (fstat(look, &st) < 0) {
		fd = -errno;
	} else if (j->flags & O_CREAT && j->flags & O_EXCL) {
		fd = -EEXIST;
	} else if (S_ISLNK(st.st_mode)) {
		fd = -ELOOP;
	} else if (!opens_quietly(&st)) {
		fd = -ENOTBLK;
	} else {
		how &= ~(O_CREAT | O_NOFOLLOW);
		snprintf(self, sizeof(self), "/proc/self/fd/%d", look);
		fd = open(self, how);
		/* where nobody mounted /proc there is the name only */
		if (fd < 0 && errno == ENOENT)
			fd = open(j->path, how);
		if (fd < 0)
			fd = -errno;
	}
	close(look);
	return fd;
}

static void open_run(void *arg)
{
	struct open_job *j = arg;
	int fd = open_quietly(j);

	if (fd < 0) {
		j->rc = fd;
		return;
	}
	if (fcntl(fd, F_SETFL, j->flags & O_DIRECT) < 0)
		j->rc = -errno;
	else
		j->rc = file_new(fd, j->flags, j->path, &j->file);
	if (j->rc < 0)
		close(fd);
}

int co_file_open(const char *path, int flags, unsigned mode, struct file **out)
{
	struct open_job j = { .path = path, .flags = flags, .mode = mode };

	assert(!(flags & ~(O_ACCMODE | O_DIRECT | O_CREAT | O_EXCL |
			   O_NOFOLLOW | O_CLOEXEC)));
	if (co_storage_call_at(path, open_run, &j))
		return -ETIMEDOUT;
	if (j.rc == 0)
		*out = j.file;
	return j.rc;
}

/* Where the file system has no files without a name one loses it at once. */
static int open_nameless(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	char *path;

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd < 0 ? -errno : fd;
	if (asprintf(&path, "%s/blkgraph-XXXXXX", dir) < 0)
		abort();
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	else
		unlink(path);
	free(path);
	return fd;
}

static void temporary_run(void *arg)
{
	struct open_job *j = arg;
	int fd = open_nameless(j->path);

	j->rc = fd < 0 ? fd : file_new(fd, j->flags, j->path, &j->file);
	if (fd >= 0 && j->rc < 0)
		close(fd);
}

int co_file_temporary(const char *dir, struct file **out)
{
	struct open_job j = { .path = dir, .flags = O_RDWR };

	if (co_storage_call_at(dir, temporary_run, &j))
		return -ETIMEDOUT;
	if (j.rc == 0)
		*out = j.file;
	return j.rc;
}

/* ---- locks ---- */

static short lock_type(enum file_lock_type type)
{
	if (type == FILE_UNLOCK)
		return F_UNLCK;
	return type == FILE_LOCK_SHARED ? F_RDLCK : F_WRLCK;
}

static int lock_one(int fd, const struct file_lock *lock)
{
	struct flock fl = {
		.l_type = lock_type(lock->type),
		.l_whence = SEEK_SET,
		.l_start = (off_t)lock->byte,
		.l_len = (off_t)lock->len,
	};
	int cmd = lock->test ? F_OFD_GETLK : F_OFD_SETLK;

	if (fcntl(fd, cmd, &fl))
		/* POSIX allows either for a lock that another holds */
		return errno == EACCES ? -EAGAIN : -errno;
	return lock->test && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

struct locks_job {
	struct file *file;
	const struct file_lock *list;
	unsigned count, done;
	int rc;
};

static void locks_run(void *arg)
{
	struct locks_job *j = arg;

	for (; j->done < j->count && !j->rc; j->done += !j->rc)
		j->rc = lock_one(j->file->fd, &j->list[j->done]);
}

int co_file_lock(struct file *f, const struct file_lock *list, unsigned count,
		 unsigned *done)
{
	struct locks_job j = { .file = f, .list = list, .count = count };

	f->calls++;
	if (co_storage_call(f->storage, locks_run, &j))
		j.rc = -ETIMEDOUT;
	f->calls--;
	*done = j.done;
	return j.rc;
}

/* ---- closing ---- */

struct closing {
	struct late work;
	struct file *file;
};

static void close_run(void *arg)
{
	struct file *f = arg;
	/* length 0: to the end. The descriptor may live on in the kernel for a
	 * while, the locks must not. */
	const struct file_lock all = { .type = FILE_UNLOCK };

	(void)lock_one(f->fd, &all);
	close(f->fd);
}

static void closing_run(struct late *work)
{
	struct file *f = container_of(work, struct closing, work)->file;

	/* what still asks it of its locks was given up on */
	while (f->calls)
		co_sleep(CLOSE_POLL_NS);
	co_storage_call_always(f->storage, close_run, f);
}

static void closing_undo(struct late *work)
{
	struct closing *c = container_of(work, struct closing, work);

	free(c->file);
	free(c);
}

void co_file_close(struct file *f)
{
	struct closing *c = calloc(1, sizeof(*c));
	struct error *late CLEANUP_ERROR = NULL;

	if (!c)
		abort();
	c->work.run = closing_run;
	c->work.undo = closing_undo;
	c->file = f;
	/* else it says so itself when the daemon leaves */
	if (co_late(&c->work, storage_silence_ns, &late, "Closing '%s'",
		    f->path))
		closing_undo(&c->work);
}

struct info_job {
	struct file *file;
	struct file_info *info;
	int rc;
};

static int info_block(struct file *f, struct file_info *info)
{
	dev_t dev = (dev_t)info->dev;
	uint64_t v;

	if (ioctl(f->fd, BLKGETSIZE64, &info->size))
		return -errno;
	info->allocated = info->size;
	info->can_discard = queue_limit(dev, "discard_max_bytes", &v) && v;
	info->can_zero = queue_limit(dev, "write_zeroes_max_bytes", &v) && v;
	info->can_punch = info->can_zero;
	info->rotational = queue_limit(dev, "rotational", &v) && v;
	return 0;
}

/* What no permission changes. */
static bool is_write_protected(const struct file *f)
{
	struct statfs fs;
	int protected = 0;

	if (f->kind == FILE_BLOCK)
		return ioctl(f->fd, BLKROGET, &protected) == 0 && protected;
	return fstatfs(f->fd, &fs) == 0 && fs.f_flags & STATFS_RDONLY;
}

static void info_run(void *arg)
{
	struct info_job *j = arg;
	struct file_info *info = j->info;
	struct file *f = j->file;
	struct stat st;
	uint64_t v;

	if (fstat(f->fd, &st)) {
		j->rc = -errno;
		return;
	}
	memset(info, 0, sizeof(*info));
	info->kind = f->kind;
	info->io_align = f->io_align;
	info->mem_align = f->mem_align;
	info->ino = st.st_ino;
	info->dev = st.st_dev;
	info->write_protected = is_write_protected(f);
	if (f->kind == FILE_BLOCK) {
		/* the node may exist twice: the device is what counts */
		info->dev = st.st_rdev;
		info->ino = 0;
		j->rc = info_block(f, info);
	} else if (f->kind == FILE_REGULAR) {
		info->size = (uint64_t)st.st_size;
		info->allocated = (uint64_t)st.st_blocks * 512;
		/* file systems without them answer each try -EOPNOTSUPP */
		info->can_punch = true;
		info->can_zero = true;
		info->can_discard = true;
		info->rotational = queue_limit(st.st_dev, "rotational", &v) &&
				   v;
	}
}

int co_file_info(struct file *f, struct file_info *out)
{
	struct file_info info;
	struct info_job j = { .file = f, .info = &info };

	if (co_storage_call(f->storage, info_run, &j))
		return -ETIMEDOUT;
	if (j.rc == 0)
		*out = info;
	return j.rc;
}

struct truncate_job {
	struct file *file;
	uint64_t size;
	int rc;
};

static void truncate_run(void *arg)
{
	struct truncate_job *j = arg;

	j->rc = ftruncate(j->file->fd, (off_t)j->size) ? -errno : 0;
}

int co_file_truncate(struct file *f, uint64_t size)
{
	struct truncate_job j = { .file = f, .size = size };

	if (size > INT64_MAX)
		return -EFBIG;
	if (co_storage_call(f->storage, truncate_run, &j))
		return -ETIMEDOUT;
	return j.rc;
}

struct discard_job {
	struct file *file;
	uint64_t range[2];
	int rc;
};

static void discard_run(void *arg)
{
	struct discard_job *j = arg;

	j->rc = ioctl(j->file->fd, BLKDISCARD, j->range) ? -errno : 0;
}

int co_file_discard(struct file *f, uint64_t offset, uint64_t len)
{
	struct discard_job j = { .file = f, .range = { offset, len } };

	assert(f->kind == FILE_BLOCK);
	if (co_storage_call(f->storage, discard_run, &j))
		return -ETIMEDOUT;
	return j.rc;
}

struct extent_job {
	struct file *file;
	uint64_t offset, len;
	bool data;
	int rc;
};

static void extent_run(void *arg)
{
	struct extent_job *j = arg;
	off_t at = (off_t)j->offset, data, hole;

	data = lseek(j->file->fd, at, SEEK_DATA);
	/* ENXIO: no data from here on */
	j->data = data < 0 ? errno != ENXIO : data <= at;
	if (data < 0 && !j->data) {
		data = lseek(j->file->fd, 0, SEEK_END);
		j->rc = data > at ? 0 : -ENXIO;
		if (j->rc)
			j->len = (uint64_t)max(data, (off_t)0);
	}
	if (!j->data && data > at)
		j->len = min(j->len, (uint64_t)(data - at));
	if (data != at)
		return;
	hole = lseek(j->file->fd, at, SEEK_HOLE);
	if (hole > at)
		j->len = min(j->len, (uint64_t)(hole - at));
}

int co_file_extent(struct file *f, uint64_t offset, uint64_t *len, bool *data)
{
	struct extent_job j = { .file = f, .offset = offset, .len = *len };

	assert(offset <= INT64_MAX);
	if (co_storage_call(f->storage, extent_run, &j))
		return -ETIMEDOUT;
	*len = j.len;
	*data = j.data;
	return j.rc;
}
