/* SPDX-License-Identifier: MIT */
/*
 * driver-file.c - file and host_device: requests, locks (P3), errors.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/reopen.h"
#include "graph/status.h"
#include "runtime/late.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/suite.h"

#define PATH "/sim/file.img"
#define SIZE 65536u

#define FILE_NODE(more) \
	"{\"driver\": \"file\", \"filename\": \"" PATH "\"" more "}"
#define UNMAP ", \"discard\": \"unmap\""

/* What the storage was asked, and what it refuses. */
static struct {
	unsigned ops[IO_ALLOCATE + 1], dsyncs, discards;
	unsigned refuse;	/* bit per op: -EOPNOTSUPP */
} seen;

static int watch(void *arg, const struct io *io)
{
	(void)arg;
	seen.discards += io->op == SIM_IO_DISCARD;
	if (io->op > IO_ALLOCATE)
		return 0;
	seen.ops[io->op]++;
	seen.dsyncs += io->op == IO_WRITE && io->flags & IO_DSYNC;
	return seen.refuse >> io->op & 1 ? -EOPNOTSUPP : 0;
}

static void run(void (*body)(void *arg))
{
	static unsigned char bytes[SIZE];

	memset(bytes, 0x11, SIZE);
	memset(&seen, 0, sizeof(seen));
	sim_file_create(PATH, 0);
	sim_file_set(PATH, bytes, SIZE);
	sim_set_fault(watch, NULL);
	test_run(1, 1, body, NULL);
	sim_set_fault(NULL, NULL);
	sim_file_remove(PATH);
}

static bool file_holds(uint64_t offset, uint64_t len, unsigned char byte)
{
	unsigned char *bytes;
	void *data;
	uint64_t size = sim_file_get(PATH, &data);
	bool same = offset + len <= size;

	bytes = data;
	for (uint64_t i = offset; same && i < offset + len; i++)
		same = bytes[i] == byte;
	free(data);
	return same;
}

static bool open_file(struct disk *d, const char *options, unsigned perm)
{
	struct error *err = NULL;
	int ret = disk_open(d, options, perm, 0, &err);

	CU_ASSERT_EQUAL(ret, 0);
	if (ret < 0)
		error_clear(&err);
	return ret == 0;
}

static void body_data(void *arg)
{
	unsigned char buf[1024];
	struct disk d;

	(void)arg;
	if (!open_file(&d, FILE_NODE(""), DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(d.node->size, SIZE);
	memset(buf, 0x22, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 512, 1024, buf), 0);
	memset(buf, 0, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 1024, 1024, buf), 0);
	CU_ASSERT(buf[0] == 0x22 && buf[511] == 0x22 && buf[512] == 0x11);
	CU_ASSERT(file_holds(512, 1024, 0x22));
	CU_ASSERT_EQUAL(seen.dsyncs, 0);
	CU_ASSERT_EQUAL(seen.ops[IO_SYNC], 0);
	disk_close(&d);
}

static void body_durable(void *arg)
{
	unsigned char buf[512] = { 0 };
	struct disk d;

	(void)arg;
	if (!open_file(&d, FILE_NODE(UNMAP), DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_SYNC], 0);	/* nothing was written */
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, REQ_FUA, 0, 512, buf), 0);
	CU_ASSERT_EQUAL(seen.dsyncs, 1);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 0, 512, buf), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_SYNC], 1);
	/* no fallocate is durable by itself */
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, REQ_FUA, 0, 4096, NULL),
			0);
	CU_ASSERT_EQUAL(seen.ops[IO_SYNC], 2);
	disk_close(&d);
}

static void body_space(void *arg)
{
	struct disk d;

	(void)arg;
	if (!open_file(&d, FILE_NODE(UNMAP), DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 0, 4096, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_PUNCH], 1);
	CU_ASSERT(file_holds(0, 4096, 0));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, 8192, 4096, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_PUNCH], 2);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, REQ_NO_UNMAP, 16384, 512,
				     NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_ZERO], 1);
	CU_ASSERT_EQUAL(seen.ops[IO_WRITE], 0);
	CU_ASSERT(file_holds(8192, 4096, 0) && file_holds(16384, 512, 0));
	CU_ASSERT(file_holds(4096, 4096, 0x11));
	disk_close(&d);
}

/* D6 */
static void body_cut_off(void *arg)
{
	unsigned char buf[1024];
	struct status status;
	struct file *other;
	struct disk d;

	(void)arg;
	if (!open_file(&d, FILE_NODE(""), DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL_FATAL(co_file_open(PATH, O_RDWR, 0, &other), 0);
	CU_ASSERT_EQUAL(co_file_truncate(other, 8192), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 7168, 1024, buf), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 7680, 1024, buf), -EIO);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 16384, 512, buf), -EIO);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_STATUS, 0, 4096, 4096, &status),
			0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_STATUS, 0, 8192, 4096, &status),
			-EIO);
	/* who makes it as long as it was brings nothing back */
	CU_ASSERT_EQUAL(co_file_truncate(other, SIZE), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 7168, 1024, buf), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 8192, 512, buf), -EIO);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 16384, 512, buf), -EIO);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_STATUS, 0, 8192, 4096, &status),
			-EIO);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_STATUS, 0, 0, 16384, &status), 0);
	CU_ASSERT(status.len <= 8192);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 4096, 512, buf), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, SIZE - 512, 512, buf),
			-EIO);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, 16384, 4096, NULL),
			-EIO);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	disk_close(&d);
	/* as it is now, it is another file */
	if (open_file(&d, FILE_NODE(""), DISK_WRITABLE)) {
		CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 16384, 512, buf),
				0);
		CU_ASSERT_EQUAL(co_file_truncate(other, 8192), 0);
		/* seen by who asks for holes, too */
		CU_ASSERT_EQUAL(disk_request(&d, REQ_STATUS, 0, 16384, 4096,
					     &status), -EIO);
		CU_ASSERT_EQUAL(co_file_truncate(other, SIZE), 0);
		CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 8192, 512, buf),
				-EIO);
		disk_close(&d);
	}
	co_file_close(other);
}

static void body_keeps_space(void *arg)
{
	struct disk d;

	(void)arg;
	if (!open_file(&d, FILE_NODE(", \"discard\": \"ignore\""),
		       DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 0, 4096, NULL), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, 8192, 4096, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_PUNCH], 0);
	CU_ASSERT(file_holds(0, 4096, 0x11) && file_holds(8192, 4096, 0));
	disk_close(&d);
}

static void body_refused_ops(void *arg)
{
	struct disk d;

	(void)arg;
	seen.refuse = 1u << IO_PUNCH | 1u << IO_ZERO;
	if (!open_file(&d, FILE_NODE(UNMAP), DISK_WRITABLE))
		return;
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, i * 8192, 4096,
					     NULL), 0);
		CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, REQ_NO_UNMAP,
					     i * 8192 + 4096, 512, NULL), 0);
		CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 32768, 4096,
					     NULL), 0);
		CU_ASSERT(file_holds(i * 8192, 4096 + 512, 0));
	}
	CU_ASSERT(seen.ops[IO_PUNCH] <= 1 && seen.ops[IO_ZERO] <= 1);
	CU_ASSERT(file_holds(32768, 4096, 0x11));
	disk_close(&d);
}

static void body_device(void *arg)
{
	struct disk d;
	char *text;

	(void)arg;
	text = disk_open_error("{\"driver\": \"host_device\", \"filename\":"
			       " \"" PATH "\"}", DISK_WRITABLE);
	CU_ASSERT(text && strstr(text, "'host_device' driver requires"));
	free(text);
	sim_file_block_device(PATH);
	text = disk_open_error(FILE_NODE(""), DISK_WRITABLE);
	CU_ASSERT(text && strstr(text, "to be a regular file"));
	free(text);
	if (!open_file(&d, "{\"driver\": \"host_device\", \"filename\": \""
		       PATH "\"" UNMAP "}", DISK_WRITABLE))
		return;
	/* what the device's blocks may not divide is written, or left */
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, 512, 512, NULL), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 1024, 512, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_PUNCH] + seen.ops[IO_ZERO], 0);
	CU_ASSERT(file_holds(512, 512, 0) && file_holds(1024, 512, 0x11));
	CU_ASSERT_EQUAL(seen.discards, 0);
	/* a device that can forget cannot always zero, which a punch would */
	CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 4096, 4096, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_PUNCH], 0);
	CU_ASSERT_EQUAL(seen.discards, 1);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, 0, 8192, 4096, NULL), 0);
	CU_ASSERT_EQUAL(seen.ops[IO_PUNCH], 1);
	CU_ASSERT(file_holds(8192, 4096, 0));
	disk_close(&d);
}

/* What lies above it would take what it does not have for zeroes (A41). */
static void body_no_medium(void *arg)
{
	char *text;

	(void)arg;
	sim_file_set(PATH, "", 0);
	sim_file_block_device(PATH);
	text = disk_open_error("{\"driver\": \"host_device\", \"filename\":"
			       " \"" PATH "\"}", DISK_WRITABLE);
	CU_ASSERT(text && strstr(text, "No medium found"));
	free(text);
}

static void body_missing(void *arg)
{
	char *text = disk_open_error("{\"driver\": \"file\", \"filename\":"
				     " \"/sim/none\"}", DISK_WRITABLE);

	(void)arg;
	CU_ASSERT(text && strstr(text, "Could not open '/sim/none': No such"
				 " file or directory"));
	free(text);
}

static void expect_locked(const char *options, unsigned perm, const char *what)
{
	char *text = disk_open_error(options, perm);

	CU_ASSERT(text && strstr(text, what));
	CU_ASSERT(text && strstr(text, PATH));
	free(text);
}

/* Two nodes on one file are two lock holders, as two processes are. */
static void body_locks(void *arg)
{
	static const char rdonly[] = FILE_NODE(", \"read-only\": true");
	static const char shared[] =
		FILE_NODE(", \"read-only\": true, \"force-share\": true");
	static const char unlocked[] = FILE_NODE(", \"locking\": \"off\"");
	struct disk a, b;

	(void)arg;
	/* raw and qcow2 do not share writing; a bare root does, so the file
	 * is put under one that does not */
	if (!open_file(&a, "{\"driver\": \"raw\", \"size\": 4096, \"file\": "
		       FILE_NODE("") "}", DISK_WRITABLE))
		return;
	expect_locked("{\"driver\": \"raw\", \"size\": 4096, \"file\": "
		      FILE_NODE("") "}", DISK_WRITABLE,
		      "Failed to get ");
	if (open_file(&b, shared, PERM_CONSISTENT_READ))
		disk_close(&b);
	if (open_file(&b, unlocked, DISK_WRITABLE))
		disk_close(&b);
	disk_close(&a);
	/* readers share, and the lock is free as soon as the node is gone */
	if (!open_file(&a, rdonly, PERM_CONSISTENT_READ))
		return;
	if (open_file(&b, rdonly, PERM_CONSISTENT_READ))
		disk_close(&b);
	disk_close(&a);
	if (open_file(&a, FILE_NODE(""), DISK_WRITABLE))
		disk_close(&a);
}

/* ---- locks that the file system does not answer for (A38) ---- */

static int hold_locks(void *arg, const struct io *io)
{
	(void)arg;
	return io->op == SIM_IO_LOCK ? SIM_KEEP : 0;
}

/* Whether others may have the byte of a permission. */
static bool byte_is_free(unsigned byte)
{
	const struct file_lock lock = { byte, 1, FILE_LOCK_EXCLUSIVE, true };
	struct file *f;
	unsigned done;
	int ret;

	CU_ASSERT_EQUAL_FATAL(co_file_open(PATH, O_RDWR, 0, &f), 0);
	ret = co_file_lock(f, &lock, 1, &done);
	co_file_close(f);
	return ret == 0;
}

#define WRITE_BYTE 101u

static const struct root_ops late_root_ops = { .kind = "export" };

static struct root *second_root(struct disk *d, unsigned perm,
				struct error **err)
{
	return root_new(&late_root_ops, NULL, "the second", d->node, perm,
			PERM_ALL, 512, 2, err);
}

struct attach_late {
	struct disk *disk;
	bool over;
};

static void attach_late(void *arg)
{
	struct attach_late *a = arg;
	struct error *err = NULL;

	CU_ASSERT_PTR_NULL(second_root(a->disk, DISK_WRITABLE, &err));
	CU_ASSERT_EQUAL(err->code, ETIMEDOUT);
	error_clear(&err);
	a->over = true;
}

/* Another disk waits for the change lock once, and for its deadline only. */
static void body_late_locks(void *arg)
{
	static const char other[] = "{\"driver\": \"null-co\", \"size\": 512}";
	struct error *err = NULL;
	struct attach_late attach;
	struct disk a, b;
	uint64_t begin;

	(void)arg;
	if (!open_file(&a, FILE_NODE(""), PERM_CONSISTENT_READ))
		return;
	attach = (struct attach_late){ .disk = &a };
	sim_fault_calls(true);
	sim_set_fault(hold_locks, NULL);
	CU_ASSERT_TRUE_FATAL(co_spawn(attach_late, &attach));
	begin = clock_ns();
	if (open_file(&b, other, DISK_WRITABLE))
		disk_close(&b);
	CU_ASSERT_TRUE(attach.over);
	CU_ASSERT(clock_ns() - begin <= 10100000000ull);
	CU_ASSERT_EQUAL(late_count(), 1);
	begin = clock_ns();
	CU_ASSERT_PTR_NULL(second_root(&a, DISK_WRITABLE, &err));
	CU_ASSERT(err && strstr(err->text, "has not answered for its locks"));
	CU_ASSERT(clock_ns() - begin < 1000000);
	error_clear(&err);
	/* it comes after all: what it took is not wanted any more */
	sim_fault_calls(false);
	sim_set_fault(watch, NULL);
	sim_release(NULL);
	co_sleep(1000000000);
	CU_ASSERT_EQUAL(late_count(), 0);
	CU_ASSERT(byte_is_free(WRITE_BYTE));
	CU_ASSERT(!byte_is_free(100));
	disk_close(&a);
	CU_ASSERT(byte_is_free(100));
}

/* A node whose locks are late is closed; its file is when they have come. */
static void body_closed_before_locks(void *arg)
{
	struct error *err = NULL;
	struct disk a;

	(void)arg;
	if (!open_file(&a, FILE_NODE(""), PERM_CONSISTENT_READ))
		return;
	sim_fault_calls(true);
	sim_set_fault(hold_locks, NULL);
	CU_ASSERT_PTR_NULL(second_root(&a, DISK_WRITABLE, &err));
	error_clear(&err);
	disk_close(&a);
	CU_ASSERT_PTR_NULL(node_next(NULL));
	CU_ASSERT_EQUAL(late_count(), 2);
	sim_fault_calls(false);
	sim_set_fault(watch, NULL);
	CU_ASSERT(!byte_is_free(100));
	sim_release(NULL);
	co_sleep(1000000000);
	CU_ASSERT_EQUAL(late_count(), 0);
	CU_ASSERT(byte_is_free(100));
	CU_ASSERT(byte_is_free(WRITE_BYTE));
}

/* What command gave up is free for others when it has its answer. */
static void body_settled(void *arg)
{
	struct error *err = NULL;
	struct root *root;
	struct disk a;

	(void)arg;
	if (!open_file(&a, FILE_NODE(""), PERM_CONSISTENT_READ))
		return;
	root = second_root(&a, DISK_WRITABLE, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT(!byte_is_free(WRITE_BYTE));
	root_free(root);
	CU_ASSERT(byte_is_free(WRITE_BYTE));
	disk_close(&a);
}

static void body_force_share(void *arg)
{
	char *text = disk_open_error(FILE_NODE(", \"force-share\": true"),
				     DISK_WRITABLE);

	(void)arg;
	CU_ASSERT(text && strstr(text, "force-share"));
	free(text);
}

/* What it was opened with changes while it is open (A37). */
static int reopen(struct node *node, bool read_only, bool direct)
{
	struct error *err = NULL;
	struct reopen *r = reopen_new(node, &err);
	int ret;

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	r->read_only = read_only;
	r->cache_direct = direct;
	ret = graph_reopen(r, NULL, &err);
	CU_ASSERT_EQUAL(!ret, !err);
	error_clear(&err);
	return ret;
}

static void body_becomes_writable(void *arg)
{
	unsigned char buf[512];
	struct disk d;

	(void)arg;
	if (!open_file(&d, FILE_NODE(", \"read-only\": true"),
		       PERM_CONSISTENT_READ))
		return;
	CU_ASSERT_EQUAL(reopen(d.node, false, false), 0);
	CU_ASSERT(!d.node->read_only);
	memset(buf, 0x33, sizeof(buf));
	CU_ASSERT_EQUAL(co_node_write(d.node, 0, 512, buf, 0), 0);
	CU_ASSERT(file_holds(0, 512, 0x33));
	CU_ASSERT_EQUAL(reopen(d.node, true, false), 0);
	CU_ASSERT(d.node->read_only && !d.node->owes);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 512, 512, buf), 0);
	CU_ASSERT_EQUAL(reopen(d.node, false, true), 0);
	memset(buf, 0x33, sizeof(buf));
	CU_ASSERT_EQUAL(co_node_write(d.node, 4096, 512, buf, 0), 0);
	CU_ASSERT(file_holds(4096, 512, 0x33));
	CU_ASSERT_EQUAL(reopen(d.node, false, false), 0);
	CU_ASSERT_EQUAL(reopen(d.node, true, true), 0);
	disk_close(&d);
}

#define TEMPORARY(more) \
	"{\"driver\": \"file\", \"filename\": \"/sim/dir\", " \
	"\"temporary\": true" more "}"

/* Written and read like any other, it has no name, and is gone when closed. */
static void body_temporary(void *arg)
{
	unsigned char buf[512];
	unsigned open = sim_files_open();
	struct disk d;
	char *text;

	(void)arg;
	if (!open_file(&d, TEMPORARY(""), DISK_WRITABLE | PERM_RESIZE))
		return;
	CU_ASSERT(d.node->temporary && !d.node->size);
	memset(buf, 0x44, sizeof(buf));
	CU_ASSERT_EQUAL(co_node_write(d.node, 0, 512, buf, 0), 0);
	memset(buf, 0, sizeof(buf));
	CU_ASSERT_EQUAL(co_node_read(d.node, 0, 512, buf), 0);
	CU_ASSERT(buf[0] == 0x44 && buf[511] == 0x44);
	CU_ASSERT_EQUAL(reopen(d.node, false, true), -ENOTSUP);
	disk_close(&d);
	CU_ASSERT_EQUAL(sim_files_open(), open);
	/* another one is another file */
	if (!open_file(&d, TEMPORARY(""), DISK_WRITABLE))
		return;
	CU_ASSERT_EQUAL(d.node->size, 0);
	disk_close(&d);
	text = disk_open_error(TEMPORARY(", \"read-only\": true"),
			       PERM_CONSISTENT_READ);
	CU_ASSERT(text && strstr(text, "is not read-only"));
	free(text);
	text = disk_open_error(TEMPORARY(", \"cache\": {\"direct\": true}"),
			       DISK_WRITABLE);
	CU_ASSERT(text && strstr(text, "is not opened with cache.direct"));
	free(text);
}

static void data_goes_to_the_file(void)
{
	run(body_data);
}

static void fua_and_flush_are_durable(void)
{
	run(body_durable);
}

static void discard_and_zeroes_make_holes(void)
{
	run(body_space);
}

static void discard_is_ignored_unless_asked_for(void)
{
	run(body_keeps_space);
}

static void refused_punches_are_emulated_and_not_asked_again(void)
{
	run(body_refused_ops);
}

static void devices_and_files_are_told_apart(void)
{
	run(body_device);
}

static void a_device_needs_a_medium(void)
{
	run(body_no_medium);
}

static void a_file_that_was_cut_off_is_an_error(void)
{
	run(body_cut_off);
}

static void a_missing_file_is_named(void)
{
	run(body_missing);
}

static void a_temporary_file_has_no_name(void)
{
	run(body_temporary);
}

static void nodes_exclude_each_other(void)
{
	run(body_locks);
}

static void late_locks_are_undone(void)
{
	run(body_late_locks);
}

static void a_node_closes_before_its_locks(void)
{
	run(body_closed_before_locks);
}

static void given_up_locks_are_free(void)
{
	run(body_settled);
}

static void force_share_is_for_readers(void)
{
	run(body_force_share);
}

static void a_reader_becomes_a_writer(void)
{
	run(body_becomes_writable);
}

TEST_MAIN("file", TEST(data_goes_to_the_file),
	  TEST(fua_and_flush_are_durable),
	  TEST(discard_and_zeroes_make_holes),
	  TEST(discard_is_ignored_unless_asked_for),
	  TEST(refused_punches_are_emulated_and_not_asked_again),
	  TEST(devices_and_files_are_told_apart),
	  TEST(a_device_needs_a_medium),
	  TEST(a_file_that_was_cut_off_is_an_error),
	  TEST(a_missing_file_is_named), TEST(a_temporary_file_has_no_name),
	  TEST(nodes_exclude_each_other),
	  TEST(late_locks_are_undone), TEST(a_node_closes_before_its_locks),
	  TEST(given_up_locks_are_free),
	  TEST(force_share_is_for_readers), TEST(a_reader_becomes_a_writer))
