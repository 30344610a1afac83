/* SPDX-License-Identifier: MIT */
/*
 * Files of the simulated runtime: limits, kinds, names, and their locks against
 * a model that keeps every byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/co.h"
#include "runtime/sim.h"
#include "tests/lib/suite.h"

static void in_run(void (*fn)(void *), uint64_t seed)
{
	struct runtime_options opts = { .seed = seed };
	struct error *err = NULL;
	int rc = runtime_start(&opts, NULL, &err);

	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(fn, NULL);
	runtime_stop();
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

static void operations_body(void *arg)
{
	struct file *f = NULL;
	struct file_info info;
	char buf[1024];

	(void)arg;
	CU_ASSERT_EQUAL(co_file_open("none", O_RDWR, 0, &f), -ENOENT);
	CU_ASSERT_EQUAL(co_file_open("f", O_RDWR | O_CREAT | O_EXCL, 0, &f),
			-EEXIST);
	CU_ASSERT_PTR_NULL(f);
	CU_ASSERT_EQUAL_FATAL(co_file_open("f", O_RDWR, 0, &f), 0);
	CU_ASSERT_STRING_EQUAL(file_path(f), "f");
	memset(buf, 'x', sizeof(buf));
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 3000, buf, 1000), 1000);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 3900, buf, 1000), 100);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 4000, buf, 1000), 0);
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 7999, buf, 2), -ENOSPC);
	CU_ASSERT_EQUAL(do_io(f, IO_ALLOCATE, 4000, NULL, 4001), -ENOSPC);
	CU_ASSERT_EQUAL(do_io(f, IO_ALLOCATE, 0, NULL, 5000), 0);
	CU_ASSERT_EQUAL(do_io(f, IO_PUNCH, 3100, NULL, 100000), 0);
	CU_ASSERT_EQUAL(do_io(f, IO_ZERO, 5000, NULL, 1000), 0);
	CU_ASSERT_EQUAL(co_file_info(f, &info), 0);
	CU_ASSERT_EQUAL(info.size, 6000);
	CU_ASSERT_EQUAL(info.kind, FILE_REGULAR);
	CU_ASSERT_EQUAL(co_file_read(f, 2990, buf, 1000), 0);
	CU_ASSERT(buf[9] == 0 && buf[10] == 'x' && buf[109] == 'x' &&
		  buf[110] == 0);
	/* shrinking forgets, growing shows zeroes */
	CU_ASSERT_EQUAL(co_file_truncate(f, 3050), 0);
	CU_ASSERT_EQUAL(co_file_truncate(f, 6000), 0);
	CU_ASSERT_EQUAL(co_file_truncate(f, 9000), -ENOSPC);
	CU_ASSERT_EQUAL(co_file_read(f, 2990, buf, 1000), 0);
	CU_ASSERT(buf[59] == 'x' && buf[60] == 0);
	co_file_close(f);
	CU_ASSERT_EQUAL_FATAL(co_file_open("f", O_RDONLY, 0, &f), 0);
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 0, buf, 1), -EBADF);
	CU_ASSERT_EQUAL(do_io(f, IO_PUNCH, 0, NULL, 1), -EBADF);
	CU_ASSERT_EQUAL(co_file_truncate(f, 1), -EBADF);
	co_file_close(f);
	runtime_quit();
}

static void operations_keep_limits(void)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		sim_file_create("f", 0);
		sim_file_limit("f", 8000);
		in_run(operations_body, seed);
	}
}

static void device_body(void *arg)
{
	struct file *f = NULL;
	struct file_info info;
	_Alignas(4096) static char buf[8192];

	(void)arg;
	CU_ASSERT_EQUAL_FATAL(co_file_open("d", O_RDWR | O_DIRECT, 0, &f), 0);
	CU_ASSERT_EQUAL(co_file_info(f, &info), 0);
	CU_ASSERT_EQUAL(info.kind, FILE_BLOCK);
	CU_ASSERT_EQUAL(info.size, 65536);
	CU_ASSERT_EQUAL(info.io_align, 4096);
	CU_ASSERT_EQUAL(info.mem_align, 4096);
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 61440, buf, 4096), 4096);
	CU_ASSERT_EQUAL(do_io(f, IO_WRITE, 61440, buf, 8192), -ENOSPC);
	CU_ASSERT_EQUAL(do_io(f, IO_READ, 61440, buf, 8192), 4096);
	CU_ASSERT_EQUAL(co_file_truncate(f, 4096), -EINVAL);
	co_file_close(f);
	runtime_quit();
}

static void block_device_keeps_its_size(void)
{
	sim_file_create("d", 65536);
	sim_file_block_device("d");
	sim_file_align("d", 4096);
	in_run(device_body, 1);
	sim_file_remove("d");
}

static void removed_body(void *arg)
{
	struct file *f = NULL, *g = NULL;
	char buf[4];

	(void)arg;
	CU_ASSERT_EQUAL_FATAL(co_file_open("f", O_RDWR, 0, &f), 0);
	CU_ASSERT_EQUAL(co_file_write(f, 0, "abc", 4), 0);
	sim_file_create("f", 100);
	CU_ASSERT_EQUAL_FATAL(co_file_open("f", O_RDWR, 0, &g), 0);
	CU_ASSERT_EQUAL(co_file_read(f, 0, buf, 4), 0);
	CU_ASSERT_STRING_EQUAL(buf, "abc");
	CU_ASSERT_EQUAL(co_file_read(g, 0, buf, 4), 0);
	CU_ASSERT_STRING_EQUAL(buf, "");
	co_file_close(f);
	co_file_close(g);
	runtime_quit();
}

static void open_files_outlive_their_name(void)
{
	sim_file_create("f", 0);
	in_run(removed_body, 1);
}

static void set_and_get(void)
{
	void *data;

	sim_file_set("s", "hello", 5);
	CU_ASSERT_EQUAL(sim_file_get("s", &data), 5);
	CU_ASSERT_EQUAL(memcmp(data, "hello", 5), 0);
	free(data);
	sim_file_set("s", "ab", 2);
	CU_ASSERT_EQUAL(sim_file_get("s", &data), 2);
	free(data);
	sim_file_remove("s");
}

#define FILES 3
#define BYTES 24

static enum file_lock_type model[FILES][BYTES];

static bool model_conflict(unsigned self, unsigned first, unsigned len,
			   enum file_lock_type type)
{
	for (unsigned f = 0; f < FILES; f++) {
		for (unsigned b = first; b < first + len && f != self; b++) {
			if (model[f][b] == FILE_UNLOCK)
				continue;
			if (type == FILE_LOCK_EXCLUSIVE ||
			    model[f][b] == FILE_LOCK_EXCLUSIVE)
				return true;
		}
	}
	return false;
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

static void lock_once(struct file **files)
{
	unsigned self = (unsigned)sim_random_below(FILES);
	unsigned first = (unsigned)sim_random_below(BYTES);
	unsigned len = 1 + (unsigned)sim_random_below(BYTES - first);
	enum file_lock_type type = (enum file_lock_type)sim_random_below(3);
	bool conflict = type != FILE_UNLOCK &&
			model_conflict(self, first, len, type);

	if (type != FILE_UNLOCK)
		CU_ASSERT_EQUAL_FATAL(lock_test(files[self], first, len,
						     type),
				      conflict ? -EAGAIN : 0);
	CU_ASSERT_EQUAL_FATAL(lock_set(files[self], first, len, type),
			      conflict ? -EAGAIN : 0);
	for (unsigned b = first; b < first + len && !conflict; b++)
		model[self][b] = type;
}

static void locks_body(void *arg)
{
	struct file *files[FILES];

	(void)arg;
	for (unsigned i = 0; i < FILES; i++)
		CU_ASSERT_EQUAL_FATAL(co_file_open("f", O_RDWR, 0, &files[i]),
				      0);
	memset(model, 0, sizeof(model));
	for (unsigned round = 0; round < 20000; round++)
		lock_once(files);
	/* closing drops a file's locks */
	co_file_close(files[0]);
	co_file_close(files[1]);
	CU_ASSERT_EQUAL(lock_set(files[2], 0, BYTES, FILE_LOCK_EXCLUSIVE), 0);
	co_file_close(files[2]);
	runtime_quit();
}

static void locks_are_as_the_model_says(void)
{
	sim_file_create("f", 0);
	in_run(locks_body, 7);
}

TEST_MAIN("runtime-file", TEST(operations_keep_limits),
	  TEST(block_device_keeps_its_size),
	  TEST(open_files_outlive_their_name), TEST(set_and_get),
	  TEST(locks_are_as_the_model_says))
