/* SPDX-License-Identifier: MIT */
/*
 * export-served.c - what a file lies on: a tree of the tests' own for /sys and
 * /proc, in which the devices are that no test machine has.
 */
#include "tests/lib/suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "export/served.h"

static char root[] = "/tmp/export-served-XXXXXX";

static char *PRINTF(1, 2) in_root(const char *fmt, ...)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];
	va_list ap;
	int n = snprintf(path, 512, "%s/", root);

	va_start(ap, fmt);
	vsnprintf(path + n, 512 - (size_t)n, fmt, ap);
	va_end(ap);
	return path;
}

static void make_folder(const char *path)
{
	char command[1100];

	snprintf(command, sizeof(command), "mkdir -p %s", path);
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static void make_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static void make_link(const char *to, const char *path)
{
	CU_ASSERT_EQUAL_FATAL(symlink(to, path), 0);
}

/* A disk with a number, as sysfs shows it. */
static void make_disk(const char *name, unsigned number)
{
	make_folder(in_root("sys/devices/virtual/block/%s/slaves", name));
	make_folder(in_root("sys/dev/block"));
	make_link(in_root("sys/devices/virtual/block/%s", name),
		  in_root("sys/dev/block/7:%u", number));
}

static void make_partition(const char *disk, const char *name, unsigned number)
{
	make_folder(in_root("sys/devices/virtual/block/%s/%s", disk, name));
	make_file(in_root("sys/devices/virtual/block/%s/%s/partition", disk,
			  name), "1\n");
	make_link(in_root("sys/devices/virtual/block/%s/%s", disk, name),
		  in_root("sys/dev/block/7:%u", number));
}

static void lies_on(const char *disk, const char *below, const char *parent)
{
	make_link(in_root("sys/devices/virtual/block/%s%s", parent, below),
		  in_root("sys/devices/virtual/block/%s/slaves/x", disk));
}

/* A loop device on a file. */
static void make_loop(const char *name, unsigned number, const char *file)
{
	make_disk(name, number);
	make_folder(in_root("sys/devices/virtual/block/%s/loop", name));
	make_file(in_root("sys/devices/virtual/block/%s/loop/backing_file",
			  name), file);
}

static void begin(void)
{
	strcpy(root + strlen(root) - 6, "XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
	make_folder(in_root("proc/%d/fd", getpid()));
	make_folder(in_root("proc/thread-self"));
	make_file(in_root("proc/thread-self/mountinfo"), "");
}

static void end(void)
{
	char command[600];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	CU_ASSERT_EQUAL(system(command), 0);
}

/* The served device below 7:number; "" where there is none. */
static const char *below(unsigned number, enum served_by by)
{
	static char path[256];

	path[0] = '\0';
	if (!served_below(root, makedev(7, number), by, path, sizeof(path)))
		CU_ASSERT_STRING_EQUAL(path, "");
	return path;
}

static void our_mounts_are_known(void)
{
	char point[64];
	int pid = 0;

	CU_ASSERT(served_mount(
		"36 35 0:45 / /run/b\\040x rw shared:5 - fuse.blkgraph "
		"blkgraph:4711:disk rw,user_id=0\n", &pid, point,
		sizeof(point)));
	CU_ASSERT_EQUAL(pid, 4711);
	CU_ASSERT_STRING_EQUAL(point, "/run/b x");
	CU_ASSERT(!served_mount(
		"36 35 0:45 / /a rw - fuse.sshfs blkgraph:4711:disk rw\n",
		&pid, point, sizeof(point)));
	CU_ASSERT(!served_mount(
		"36 35 0:45 / /a rw - fuse.blkgraph blkgraph:x:disk rw\n",
		&pid, point, sizeof(point)));
	CU_ASSERT(!served_mount(
		"36 35 0:45 / /a rw - fuse.blkgraph other rw\n", &pid, point,
		sizeof(point)));
	CU_ASSERT(!served_mount("36 35 0:45 / /a rw\n", &pid, point,
					sizeof(point)));
}

static void ublk_devices(void)
{
	begin();
	make_disk("sda", 1);
	make_disk("ublkb0", 2);
	make_disk("ublkb10", 3);
	make_link("/dev/ublkc1", in_root("proc/%d/fd/5", getpid()));
	CU_ASSERT_STRING_EQUAL(below(1, SERVED_BY_ANY), "");
	CU_ASSERT_STRING_EQUAL(below(2, SERVED_BY_ANY), "/dev/ublkb0");
	CU_ASSERT_STRING_EQUAL(below(3, SERVED_BY_ANY), "/dev/ublkb10");
	/* ours is whose other side we have open */
	CU_ASSERT_STRING_EQUAL(below(2, SERVED_BY_US), "");
	CU_ASSERT_STRING_EQUAL(below(3, SERVED_BY_US), "");
	make_link("/dev/ublkc10", in_root("proc/%d/fd/6", getpid()));
	CU_ASSERT_STRING_EQUAL(below(2, SERVED_BY_US), "");
	CU_ASSERT_STRING_EQUAL(below(3, SERVED_BY_US), "/dev/ublkb10");
	end();
}

static void nbd_devices(void)
{
	char backend[64];

	begin();
	make_disk("nbd0", 1);
	make_disk("nbd1", 2);
	make_disk("nbd2", 3);
	make_file(in_root("sys/devices/virtual/block/nbd1/backend"),
		  "blkgraph:1:other\n");
	snprintf(backend, sizeof(backend), "blkgraph:%d:ours\n", getpid());
	make_file(in_root("sys/devices/virtual/block/nbd2/backend"), backend);
	CU_ASSERT_STRING_EQUAL(below(1, SERVED_BY_ANY), "");
	CU_ASSERT_STRING_EQUAL(below(2, SERVED_BY_ANY), "/dev/nbd1");
	CU_ASSERT_STRING_EQUAL(below(2, SERVED_BY_US), "");
	CU_ASSERT_STRING_EQUAL(below(3, SERVED_BY_US), "/dev/nbd2");
	end();
}

static void partitions_and_mapped_devices(void)
{
	begin();
	make_disk("ublkb0", 1);
	make_partition("ublkb0", "ublkb0p1", 2);
	make_disk("sda", 3);
	make_disk("dm-0", 4);
	lies_on("dm-0", "/ublkb0p1", "ublkb0");
	make_disk("dm-1", 5);
	lies_on("dm-1", "", "dm-0");
	make_disk("dm-2", 6);
	lies_on("dm-2", "", "sda");
	make_partition("dm-1", "dm-1p1", 7);
	for (unsigned n = 1; n <= 7; n++)
		CU_ASSERT_STRING_EQUAL(below(n, SERVED_BY_ANY),
				       n == 3 || n == 6 ? "" : "/dev/ublkb0");
	end();
}

/* A loop device on our mount is one of ours; one on a file is looked through,
 * again and again. */
static void loop_devices(void)
{
	char table[400], file[512], sys[64];
	struct stat st;

	begin();
	snprintf(table, sizeof(table),
		 "36 35 0:45 / /run/ours rw - fuse.blkgraph blkgraph:%d:a rw\n"
		 "37 35 0:46 / /run/other rw - fuse.blkgraph blkgraph:1:b rw\n"
		 "38 35 0:47 / /run/plain rw - ext4 /dev/sda rw\n", getpid());
	make_file(in_root("proc/thread-self/mountinfo"), table);
	make_loop("loop0", 1, "/run/ours\n");
	make_loop("loop1", 2, "/run/other\n");
	make_loop("loop2", 3, "/run/plain\n");
	CU_ASSERT_STRING_EQUAL(below(1, SERVED_BY_US), "/dev/loop0");
	CU_ASSERT_STRING_EQUAL(below(2, SERVED_BY_US), "");
	CU_ASSERT_STRING_EQUAL(below(2, SERVED_BY_ANY), "/dev/loop1");
	CU_ASSERT_STRING_EQUAL(below(3, SERVED_BY_ANY), "");
	/* a file that is on /tmp, which is on our loop device here */
	snprintf(file, sizeof(file), "%s", in_root("image"));
	make_file(file, "");
	CU_ASSERT_EQUAL_FATAL(stat(file, &st), 0);
	snprintf(sys, sizeof(sys), "sys/dev/block/%u:%u", major(st.st_dev),
		 minor(st.st_dev));
	make_link(in_root("sys/devices/virtual/block/loop0"),
		  in_root("%s", sys));
	make_loop("loop3", 4, file);
	make_disk("dm-0", 5);
	lies_on("dm-0", "", "loop3");
	CU_ASSERT_STRING_EQUAL(below(4, SERVED_BY_US), "/dev/loop0");
	CU_ASSERT_STRING_EQUAL(below(5, SERVED_BY_US), "/dev/loop0");
	end();
}

static void files_that_are_our_mounts(void)
{
	char table[200], path[64] = "";

	begin();
	snprintf(table, sizeof(table),
		 "36 35 0:45 / /run/ours rw - fuse.blkgraph blkgraph:%d:a rw\n",
		 getpid());
	make_file(in_root("proc/thread-self/mountinfo"), table);
	CU_ASSERT(served_below(root, makedev(0, 45), SERVED_BY_US, path,
			       sizeof(path)));
	CU_ASSERT_STRING_EQUAL(path, "/run/ours");
	CU_ASSERT(!served_below(root, makedev(0, 4), SERVED_BY_US, path,
				sizeof(path)));
	end();
}

/* All that one process serves, whatever lies on what. */
static void disks_of_a_process(void)
{
	char text[64], small[24], backend[64];

	begin();
	make_folder(in_root("proc/7/fd"));
	make_file(in_root("proc/thread-self/mountinfo"),
		  "36 35 0:45 / /run/a rw - fuse.blkgraph blkgraph:7:a rw\n"
		  "37 35 0:46 / /run/b rw - fuse.blkgraph blkgraph:8:b rw\n");
	make_loop("loop0", 1, "/run/a\n");
	make_loop("loop1", 2, "/run/b\n");
	make_loop("loop2", 3, "/dev/loop0\n");
	make_disk("sda", 4);
	make_link(in_root("sys/devices/virtual/block"),
		  in_root("sys/block"));
	served_by_process(root, 7, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "/dev/loop0");
	served_by_process(root, 9, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "");
	make_disk("ublkb3", 5);
	make_link("/dev/ublkc3", in_root("proc/7/fd/5"));
	make_disk("nbd1", 6);
	snprintf(backend, sizeof(backend), "blkgraph:%d:x\n", 7);
	make_file(in_root("sys/devices/virtual/block/nbd1/backend"), backend);
	served_by_process(root, 7, text, sizeof(text));
	CU_ASSERT(strstr(text, "/dev/loop0") && strstr(text, "/dev/ublkb3") &&
		  strstr(text, "/dev/nbd1"));
	served_by_process(root, 7, small, sizeof(small));
	CU_ASSERT_STRING_EQUAL(small + strlen(small) - 5, ", ...");
	end();
}

TEST_MAIN("export-served",
	  TEST(disks_of_a_process),
	  TEST(our_mounts_are_known),
	  TEST(ublk_devices),
	  TEST(nbd_devices),
	  TEST(partitions_and_mapped_devices),
	  TEST(loop_devices),
	  TEST(files_that_are_our_mounts))
