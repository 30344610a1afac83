/* SPDX-License-Identifier: MIT */
/*
 * Files on the real runtime: every operation, ends of files, alignment, locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <poll.h>

#include "runtime/buffer.h"
#include "runtime/co.h"
#include "runtime/io.h"
#include "runtime/real/real.h"
#include "runtime/ring.h"
#include "tests/lib/suite.h"

#define SIZE (1024 * 1024)

static char path[64], other[72];

static void in_run(void (*fn)(void *))
{
	struct runtime_options opts = { .io_threads = 1 };
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(fn, NULL);
	runtime_stop();
}

static void make_path(void)
{
	int fd;

	snprintf(path, sizeof(path), "runtime-file-XXXXXX");
	fd = mkstemp(path);
	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
}

static struct file *open_file(int flags)
{
	struct file *f = NULL;
	int rc = co_file_open(path, flags, 0600, &f);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return f;
}

static int do_io(struct file *f, enum io_op op, uint64_t offset, void *buf,
		 uint32_t len)
{
	struct io io = {
		.file = f, .op = (uint8_t)op, .offset = offset, .buf = buf,
		.len = len, .fixed = IO_NOT_FIXED,
	};

	return co_io(&io);
}

static bool all(const char *buf, size_t len, char c)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != c)
			return false;
	return true;
}

/* Preallocated space may count as either. */
static void expect_extent(struct file *f, uint64_t offset, uint64_t len,
			  bool data)
{
	uint64_t n = 1 << 20;
	bool got;

	CU_ASSERT_EQUAL(co_file_extent(f, offset, &n, &got), 0);
	CU_ASSERT_EQUAL(got, data);
	CU_ASSERT(data ? n >= len : n == len);
}

static void operations_body(void *arg)
{
	char *buf = co_buffer_get(65536);
	struct file *f = open_file(O_RDWR);
	struct file_info info;
	uint64_t n = 4096;
	bool data;

	(void)arg;
	CU_ASSERT_STRING_EQUAL(file_path(f), path);
	memset(buf, 'x', 65536);
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 0, buf, 65536), 65536);
	CU_ASSERT_EQUAL(co_file_sync(f), 0);
	CU_ASSERT_EQUAL(do_io(f, IO_PUNCH, 4096, NULL, 4096), 0);
	CU_ASSERT_EQUAL(do_io(f, IO_ALLOCATE, 65536, NULL, 65536), 0);
	CU_ASSERT_EQUAL(co_file_read(f, 0, buf, 65536), 0);
	CU_ASSERT(all(buf, 4096, 'x'));
	CU_ASSERT(all(buf + 4096, 4096, 0));
	CU_ASSERT(all(buf + 8192, 65536 - 8192, 'x'));
	expect_extent(f, 0, 4096, true);
	expect_extent(f, 4096, 4096, false);
	expect_extent(f, 5000, 3192, false);
	expect_extent(f, 8192, 57344, true);
	CU_ASSERT_EQUAL(co_file_extent(f, 131072, &n, &data), -ENXIO);
	CU_ASSERT_EQUAL(co_file_info(f, &info), 0);
	CU_ASSERT_EQUAL(info.kind, FILE_REGULAR);
	CU_ASSERT_EQUAL(info.size, 131072);
	CU_ASSERT_EQUAL(info.io_align, 1);
	CU_ASSERT_EQUAL(co_file_truncate(f, 1000), 0);
	/* short only at the end */
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 500, buf, 4096), 500);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 1000, buf, 4096), 0);
	memset(buf, 'y', 4096);
	CU_ASSERT_EQUAL(co_file_read(f, 900, buf, 4096), 0);
	CU_ASSERT(all(buf, 100, 'x'));
	CU_ASSERT(all(buf + 100, 3996, 0));
	co_file_close(f);
	buffer_put(buf, 65536);
	runtime_quit();
}

static void every_operation_works(void)
{
	make_path();
	in_run(operations_body);
	unlink(path);
}

static void errors_body(void *arg)
{
	struct file *f = NULL;
	char byte = 1;

	(void)arg;
	CU_ASSERT_EQUAL(co_file_open("/nonexistent/file", O_RDWR, 0, &f),
			-ENOENT);
	CU_ASSERT_EQUAL(co_file_open("/", O_RDONLY, 0, &f), -EISDIR);
	CU_ASSERT_EQUAL(co_file_open(path, O_RDWR | O_CREAT | O_EXCL, 0600,
				     &f), -EEXIST);
	CU_ASSERT_PTR_NULL(f);
	f = open_file(O_RDONLY);
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 0, &byte, 1), -EBADF);
	co_file_close(f);
	runtime_quit();
}

/* Opening one would be seen: a FIFO has a reader then, a socket and a device
 * without a driver give errors of their own. */
static void quiet_body(void *arg)
{
	struct file *f = NULL;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	(void)arg;
	CU_ASSERT_EQUAL_FATAL(mkfifo(other, 0600), 0);
	CU_ASSERT_EQUAL(co_file_open(other, O_RDONLY, 0, &f), -ENOTBLK);
	CU_ASSERT_EQUAL(co_file_open(other, O_RDWR | O_CREAT, 0600, &f),
			-ENOTBLK);
	unlink(other);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", other);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&addr,
				   sizeof(addr)), 0);
	CU_ASSERT_EQUAL(co_file_open(other, O_RDONLY, 0, &f), -ENOTBLK);
	close(fd);
	unlink(other);
	/* nobody has this number: ENXIO is what opening it gives */
	if (mknod(other, S_IFCHR | 0600, makedev(240, 77)) == 0)
		CU_ASSERT_EQUAL(co_file_open(other, O_RDONLY, 0, &f),
				-ENOTBLK);
	unlink(other);
	CU_ASSERT_EQUAL_FATAL(symlink(path, other), 0);
	CU_ASSERT_EQUAL(co_file_open(other, O_RDONLY | O_NOFOLLOW, 0, &f),
			-ELOOP);
	CU_ASSERT_EQUAL(co_file_open(other, O_RDONLY, 0, &f), 0);
	co_file_close(f);
	unlink(other);
	runtime_quit();
}

static void what_is_no_file_is_not_opened(void)
{
	make_path();
	snprintf(other, sizeof(other), "%s.other", path);
	in_run(quiet_body);
	unlink(path);
}

static void errors_are_errnos(void)
{
	make_path();
	in_run(errors_body);
	unlink(path);
}

static void direct_body(void *arg)
{
	struct file *f = NULL;
	struct file_info info;
	char *buf = co_buffer_get(65536);
	int rc = co_file_open(path, O_RDWR | O_DIRECT, 0, &f);

	(void)arg;
	if (rc == -EINVAL) {
		/* a file system without O_DIRECT: nothing to see */
		fprintf(stderr, "skipped: no O_DIRECT here\n");
		goto out;
	}
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_EQUAL(co_file_info(f, &info), 0);
	CU_ASSERT(info.io_align >= 512 && is_pow2(info.io_align));
	CU_ASSERT(info.mem_align >= 1 && info.mem_align <= 4096);
	memset(buf, 'd', 65536);
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 0, buf, 65536), 65536);
	/* a file whose end is not aligned reads short, without an error */
	CU_ASSERT_EQUAL(co_file_truncate(f, 5000), 0);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 0, buf, 65536), 5000);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 4096, buf, 4096), 904);
	co_file_close(f);
out:
	buffer_put(buf, 65536);
	runtime_quit();
}

static void direct_reads_end_with_the_file(void)
{
	make_path();
	in_run(direct_body);
	unlink(path);
}

static void limit_body(void *arg)
{
	struct file *f = open_file(O_RDWR);
	struct rlimit old, small;
	static char buf[8192];

	(void)arg;
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 5000;
	setrlimit(RLIMIT_FSIZE, &small);
	/* the kernel writes 5000 bytes, the rest is refused */
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 0, buf, sizeof(buf)), -EFBIG);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 0, buf, sizeof(buf)), 5000);
	setrlimit(RLIMIT_FSIZE, &old);
	co_file_close(f);
	runtime_quit();
}

static void short_write_is_not_success(void)
{
	signal(SIGXFSZ, SIG_IGN);
	make_path();
	in_run(limit_body);
	unlink(path);
}

static int pipe_fds[2];

static void feed(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		co_sleep(1000000);
		CU_ASSERT_EQUAL(write(pipe_fds[1], &"abcde"[i], 3), 3);
	}
	close(pipe_fds[1]);
}

static void pieces_body(void *arg)
{
	struct file *f = file_from_fd(pipe_fds[0], "pipe");
	char buf[16] = "";

	(void)arg;
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_TRUE(co_spawn(feed, NULL));
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 0, buf, 7), 7);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 0, buf + 7, 9), 2);
	CU_ASSERT_STRING_EQUAL(buf, "abcbcdcde");
	co_file_close(f);
	runtime_quit();
}

static void short_reads_go_on_to_the_end(void)
{
	CU_ASSERT_EQUAL_FATAL(pipe(pipe_fds), 0);
	in_run(pieces_body);
}

static int fixed_io(struct file *f, enum io_op op, uint64_t offset, int slot,
		    uint32_t slot_offset, uint32_t len)
{
	struct io io = {
		.file = f, .op = (uint8_t)op, .offset = offset, .len = len,
		.fixed = slot, .fixed_offset = slot_offset,
	};

	return co_io(&io);
}

/*
 * Memory that a process registers is named by its addresses, a device's request
 * by offsets from 0. So low memory stands in for a request here.
 */
static void fixed_body(void *arg)
{
	char *at = (char *)0x20000000;
	char *mem = mmap(at, 16384, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			 -1, 0);
	uint32_t first = (uint32_t)(uintptr_t)mem;
	struct iovec iov = { .iov_base = mem, .iov_len = 16384 };
	struct file *f = open_file(O_RDWR);
	__u64 tag = 0;
	int slot = ring_buffers_get(4);

	(void)arg;
	CU_ASSERT_PTR_EQUAL_FATAL(mem, at);
	CU_ASSERT_FATAL(slot >= 0);
	CU_ASSERT_EQUAL(io_uring_register_buffers_update_tag(
				&real_self->ring, (unsigned)slot + 2, &iov,
				&tag, 1), 1);
	memset(mem, 'a', 4096);
	memset(mem + 4096, 'b', 4096);
	CU_ASSERT_EQUAL(fixed_io(f, IO_WRITE, 100, slot + 2, first + 4000,
				 1000), 1000);
	CU_ASSERT_EQUAL(fixed_io(f, IO_READ, 100, slot + 2, first + 8192,
				 4096), 1000);
	CU_ASSERT(all(mem + 8192, 96, 'a'));
	CU_ASSERT(all(mem + 8192 + 96, 904, 'b'));
	CU_ASSERT(all(mem + 8192 + 1000, 3096, 0));
	CU_ASSERT_EQUAL(fixed_io(f, IO_READ, 100, slot + 1, first, 1),
			-EFAULT);
	ring_buffers_put(slot, 4);
	co_file_close(f);
	munmap(mem, 16384);
	runtime_quit();
}

static void registered_buffers(void)
{
	make_path();
	in_run(fixed_body);
	unlink(path);
}

/* More in flight than the submission queue holds. */
#define MANY 3000

static struct io many[MANY];
static unsigned many_done;
static struct co *many_co;
static uint32_t words[MANY];

static void many_io_done(struct io *io, int res)
{
	CU_ASSERT_EQUAL(res, (int)io->len);
	if (++many_done == MANY)
		co_wake(many_co);
}

static void many_run(struct file *f, enum io_op op)
{
	many_done = 0;
	many_co = co_self();
	for (unsigned i = 0; i < MANY; i++) {
		many[i] = (struct io){
			.file = f, .op = (uint8_t)op, .offset = i * 4,
			.buf = &words[i], .len = 4, .fixed = IO_NOT_FIXED,
			.done = many_io_done,
		};
		io_submit(&many[i]);
	}
	CU_ASSERT_EQUAL(many_done, 0);	/* never inside io_submit */
	co_wait();
}

static void many_body(void *arg)
{
	struct file *f = open_file(O_RDWR);

	(void)arg;
	for (uint32_t i = 0; i < MANY; i++)
		words[i] = i * 7;
	many_run(f, IO_WRITE);
	memset(words, 0, sizeof(words));
	many_run(f, IO_READ);
	for (uint32_t i = 0; i < MANY; i++)
		if (words[i] != i * 7)
			CU_FAIL("a word was lost");
	co_file_close(f);
	runtime_quit();
}

static void many_in_flight(void)
{
	make_path();
	in_run(many_body);
	unlink(path);
}

static int lock_call(struct file *f, uint64_t byte, uint64_t len,
		     enum file_lock_type type, bool test)
{
	const struct file_lock lock = { byte, len, type, test };
	unsigned done;
	int rc = co_file_lock(f, &lock, 1, &done);

	CU_ASSERT_EQUAL(done, rc == 0);
	return rc;
}

static int lock_set(struct file *f, uint64_t byte, uint64_t len,
		    enum file_lock_type type)
{
	return lock_call(f, byte, len, type, false);
}

static int lock_test(struct file *f, uint64_t byte, uint64_t len,
		     enum file_lock_type type)
{
	return lock_call(f, byte, len, type, true);
}

static void locks_body(void *arg)
{
	struct file *a = open_file(O_RDWR), *b = open_file(O_RDWR);

	(void)arg;
	CU_ASSERT_EQUAL(lock_set(a, 100, 2, FILE_LOCK_SHARED), 0);
	CU_ASSERT_EQUAL(lock_set(b, 100, 1, FILE_LOCK_SHARED), 0);
	CU_ASSERT_EQUAL(lock_set(b, 100, 1, FILE_LOCK_EXCLUSIVE), -EAGAIN);
	CU_ASSERT_EQUAL(lock_test(b, 101, 1, FILE_LOCK_EXCLUSIVE),
			-EAGAIN);
	CU_ASSERT_EQUAL(lock_test(b, 101, 1, FILE_LOCK_SHARED), 0);
	CU_ASSERT_EQUAL(lock_test(b, 102, 5, FILE_LOCK_EXCLUSIVE), 0);
	CU_ASSERT_EQUAL(lock_set(a, 100, 2, FILE_UNLOCK), 0);
	CU_ASSERT_EQUAL(lock_set(b, 100, 1, FILE_LOCK_EXCLUSIVE), 0);
	co_file_close(b);
	CU_ASSERT_EQUAL(lock_set(a, 0, 200, FILE_LOCK_EXCLUSIVE), 0);
	co_file_close(a);
	runtime_quit();
}

static void locks_conflict_between_open_files(void)
{
	make_path();
	in_run(locks_body);
	unlink(path);
}

static int pair[2];

static void write_later(void *arg)
{
	(void)arg;
	co_sleep(1000000);
	CU_ASSERT_EQUAL(write(pair[1], "x", 1), 1);
}

static void poll_body(void *arg)
{
	(void)arg;
	CU_ASSERT_EQUAL(co_poll(pair[0], POLLIN, 2000000), -ETIMEDOUT);
	CU_ASSERT_TRUE(co_spawn(write_later, NULL));
	CU_ASSERT_EQUAL(co_poll(pair[0], POLLIN, 0), POLLIN);
	CU_ASSERT_EQUAL(co_poll(pair[0], POLLIN, 60000000000), POLLIN);
	runtime_quit();
}

static void poll_waits_and_times_out(void)
{
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	in_run(poll_body);
	close(pair[0]);
	close(pair[1]);
}

static void slots_body(void *arg)
{
	int a, b;

	(void)arg;
	if (ring_has_buffer_table()) {
		a = ring_buffers_get(16000);
		b = ring_buffers_get(384);
		CU_ASSERT_EQUAL(a, 0);
		CU_ASSERT_EQUAL(b, 16000);
		CU_ASSERT_EQUAL(ring_buffers_get(1), -1);
		ring_buffers_put(100, 10);
		CU_ASSERT_EQUAL(ring_buffers_get(11), -1);
		CU_ASSERT_EQUAL(ring_buffers_get(10), 100);
		ring_buffers_put(a, 16384);
	}
	CU_ASSERT_TRUE(ring_reserve(60000));
	CU_ASSERT_FALSE(ring_reserve(60000));
	ring_release(60000);
	CU_ASSERT_TRUE(ring_reserve(60000));
	ring_release(60000);
	runtime_quit();
}

static void budgets_are_kept(void)
{
	in_run(slots_body);
}

TEST_MAIN("runtime-file", TEST(every_operation_works),
	  TEST(errors_are_errnos), TEST(what_is_no_file_is_not_opened),
	  TEST(direct_reads_end_with_the_file),
	  TEST(short_write_is_not_success),
	  TEST(short_reads_go_on_to_the_end), TEST(registered_buffers),
	  TEST(many_in_flight),
	  TEST(locks_conflict_between_open_files),
	  TEST(poll_waits_and_times_out), TEST(budgets_are_kept))
