/* SPDX-License-Identifier: MIT */
/*
 * driver-raw.c - raw as a filter, as a window, and guessed (G2, A26).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/status.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/suite.h"

#define PATH "/sim/raw.img"
#define SIZE 65536u

#define RAW(more) \
	"{\"driver\": \"raw\", \"node-name\": \"r\"" more ", \"file\":" \
	" {\"driver\": \"file\", \"node-name\": \"f\", \"filename\":" \
	" \"" PATH "\"}}"

static void make_file(void)
{
	static unsigned char bytes[SIZE];

	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (unsigned char)(i / 512);
	sim_file_create(PATH, 0);
	sim_file_set(PATH, bytes, SIZE);
}

static unsigned char file_byte(uint64_t offset)
{
	void *data;
	unsigned char byte;

	CU_ASSERT(sim_file_get(PATH, &data) > offset);
	byte = ((unsigned char *)data)[offset];
	free(data);
	return byte;
}

static void run(void (*body)(void *arg))
{
	make_file();
	test_run(1, 1, body, NULL);
	sim_file_remove(PATH);
}

static bool open_raw(struct disk *d, const char *options, unsigned flags)
{
	struct error *err = NULL;
	int ret = disk_open(d, options, DISK_WRITABLE, flags, &err);

	CU_ASSERT_EQUAL(ret, 0);
	if (ret < 0)
		error_clear(&err);
	return ret == 0;
}

static void body_filter(void *arg)
{
	unsigned char buf[512];
	struct disk d;

	(void)arg;
	if (!open_raw(&d, RAW(""), 0))
		return;
	CU_ASSERT_EQUAL(d.node->size, SIZE);
	CU_ASSERT_PTR_NOT_NULL(node_filtered_child(d.node));
	CU_ASSERT_PTR_EQUAL(node_skip_filters(d.node), node_find("f"));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 5 * 512, 512, buf), 0);
	CU_ASSERT_EQUAL(buf[0], 5);
	disk_close(&d);
}

static void body_window(void *arg)
{
	unsigned char buf[512];
	struct disk d;

	(void)arg;
	if (!open_raw(&d, RAW(", \"offset\": 4096, \"size\": 8192"), 0))
		return;
	CU_ASSERT_EQUAL(d.node->size, 8192);
	CU_ASSERT_PTR_NULL(node_filtered_child(d.node));
	CU_ASSERT_PTR_EQUAL(node_skip_filters(d.node), d.node);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 512, 512, buf), 0);
	CU_ASSERT_EQUAL(buf[0], 9);
	memset(buf, 0xee, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 7680, 512, buf), 0);
	CU_ASSERT(disk_request(&d, REQ_READ, 0, 8192, 512, buf) < 0);
	CU_ASSERT_EQUAL(file_byte(4096 + 7680), 0xee);
	CU_ASSERT_EQUAL(file_byte(4096 + 7679), (4096 + 7679) / 512);
	CU_ASSERT_EQUAL(file_byte(4096 + 8192), (4096 + 8192) / 512);
	disk_close(&d);
}

/* The window starts in the middle of what O_DIRECT can write. */
static void body_crooked(void *arg)
{
	unsigned char buf[512];
	struct disk d;

	(void)arg;
	sim_file_align(PATH, 4096);
	if (!open_raw(&d, "{\"driver\": \"raw\", \"offset\": 1000, \"file\":"
		      " {\"driver\": \"file\", \"filename\": \"" PATH "\","
		      " \"cache\": {\"direct\": true}}}", 0))
		return;
	memset(buf, 0xee, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 512, 512, buf), 0);
	memset(buf, 0, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 512, 512, buf), 0);
	CU_ASSERT(buf[0] == 0xee && buf[511] == 0xee);
	CU_ASSERT_EQUAL(file_byte(1511), 1511 / 512);
	CU_ASSERT_EQUAL(file_byte(1512), 0xee);
	CU_ASSERT_EQUAL(file_byte(2023), 0xee);
	CU_ASSERT_EQUAL(file_byte(2024), 2024 / 512);
	disk_close(&d);
}

static void expect_refused(const char *options, const char *part)
{
	char *text = disk_open_error(options, DISK_WRITABLE);

	CU_ASSERT_PTR_NOT_NULL(text);
	CU_ASSERT(text && strstr(text, part));
	free(text);
}

static void body_refused(void *arg)
{
	(void)arg;
	expect_refused(RAW(", \"offset\": 65537"), "65537");
	expect_refused(RAW(", \"offset\": 512, \"size\": 65536"), "65536");
	expect_refused(RAW(", \"size\": 1000"), "1000");
}

static int write_magic(struct disk *d, uint32_t len, const char *magic,
		       unsigned at)
{
	static unsigned char buf[8192];

	memset(buf, 0, sizeof(buf));
	memcpy(buf + at, magic, strlen(magic));
	return disk_request(d, REQ_WRITE, 0, 0, len, buf);
}

static void body_guessed(void *arg)
{
	unsigned char buf[1024] = "QFI\xfb";
	struct disk d;

	(void)arg;
	if (!open_raw(&d, RAW(""), NODE_GUESSED))
		return;
	CU_ASSERT_EQUAL(write_magic(&d, 512, "QFI\xfb", 0), -EPERM);
	CU_ASSERT_EQUAL(write_magic(&d, 8192, "QFI\xfb", 0), -EPERM);
	CU_ASSERT_EQUAL(write_magic(&d, 512, "KDMV", 0), -EPERM);
	CU_ASSERT_EQUAL(write_magic(&d, 512, "\x7f\x10\xda\xbe", 64), -EPERM);
	CU_ASSERT_EQUAL(file_byte(0), 0);
	/* elsewhere, and anything else there, is the guest's own business */
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 512, 1024, buf), 0);
	CU_ASSERT_EQUAL(write_magic(&d, 8192, "mine", 0), 0);
	CU_ASSERT_EQUAL(file_byte(0), 'm');
	CU_ASSERT_EQUAL(file_byte(8191), 0);
	disk_close(&d);
}

static void body_given(void *arg)
{
	struct disk d;

	(void)arg;
	if (!open_raw(&d, RAW(""), 0))
		return;
	CU_ASSERT_EQUAL(write_magic(&d, 512, "QFI\xfb", 0), 0);
	CU_ASSERT_EQUAL(file_byte(0), 'Q');
	disk_close(&d);
}

static void body_status(void *arg)
{
	unsigned char buf[512] = { 1 };
	struct status st = {};
	struct disk d;

	(void)arg;
	sim_file_create(PATH, SIZE);
	if (!open_raw(&d, RAW(", \"offset\": 512, \"size\": 32768"), 0))
		return;
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 512, 512, buf), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_STATUS, REQ_OFFSETS, 0, 32768,
				     &st), 0);
	CU_ASSERT_EQUAL(st.flags, STATUS_DATA | STATUS_OFFSET);
	CU_ASSERT_EQUAL(st.len, 3584);
	CU_ASSERT_EQUAL(st.host_offset, 512);
	CU_ASSERT_EQUAL(st.depth, 1);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_STATUS, 0, 3584, 29184, &st), 0);
	CU_ASSERT_EQUAL(st.flags, STATUS_ZERO);
	CU_ASSERT_EQUAL(st.len, 29184);
	disk_close(&d);
}

static void raw_is_a_filter_without_a_window(void)
{
	run(body_filter);
}

static void a_window_shows_its_part_only(void)
{
	run(body_window);
}

static void a_window_may_start_anywhere(void)
{
	run(body_crooked);
}

static void windows_past_the_end_are_refused(void)
{
	run(body_refused);
}

static void a_guessed_raw_refuses_magics(void)
{
	run(body_guessed);
}

static void a_raw_that_was_asked_for_takes_them(void)
{
	run(body_given);
}

static void status_is_that_of_the_file(void)
{
	run(body_status);
}

TEST_MAIN("raw", TEST(raw_is_a_filter_without_a_window),
	  TEST(a_window_shows_its_part_only),
	  TEST(a_window_may_start_anywhere),
	  TEST(windows_past_the_end_are_refused),
	  TEST(a_guessed_raw_refuses_magics),
	  TEST(a_raw_that_was_asked_for_takes_them),
	  TEST(status_is_that_of_the_file))
