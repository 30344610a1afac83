/* SPDX-License-Identifier: MIT */
/*
 * export-users.c - finding a device in lines of mountinfo.
 */
#include "tests/lib/suite.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "export/users.h"

static const char *const numbers[] = { "259:7", "259:8" };
static char point[64];

static bool match(const char *line)
{
	point[0] = '\0';
	return mountinfo_match(line, numbers, 2, "ublkb1", point,
			       sizeof(point));
}

static void finds_disk_and_partition(void)
{
	CU_ASSERT(match("36 35 259:7 / /mnt rw - ext4 /dev/root rw\n"));
	CU_ASSERT_STRING_EQUAL(point, "/mnt");
	CU_ASSERT(match("36 35 259:8 / /b rw shared:1 - xfs /dev/x rw\n"));
	CU_ASSERT_STRING_EQUAL(point, "/b");
}

static void numbers_match_whole(void)
{
	CU_ASSERT(!match("36 35 259:77 / /mnt rw - ext4 /dev/vda rw\n"));
	CU_ASSERT(!match("36 35 59:7 / /mnt rw - ext4 /dev/vda rw\n"));
	CU_ASSERT(!match("259:7 259:7 8:1 / /mnt rw - ext4 /dev/vda rw\n"));
}

static void finds_by_source(void)
{
	CU_ASSERT(match("1 2 0:50 /s /m rw - btrfs /dev/ublkb1 rw\n"));
	CU_ASSERT(match("1 2 0:50 /s /m rw - btrfs /dev/ublkb1p12 rw\n"));
	CU_ASSERT(!match("1 2 0:50 /s /m rw - btrfs /dev/ublkb12 rw\n"));
	CU_ASSERT(!match("1 2 0:50 /s /m rw - btrfs /dev/ublkb1px rw\n"));
	CU_ASSERT(!match("1 2 0:50 /s /m rw - tmpfs ublkb1 rw\n"));
}

static bool match_disk(const char *line, const char *name)
{
	return mountinfo_match(line, NULL, 0, name, point, sizeof(point));
}

static void a_digit_of_a_name_is_no_partition(void)
{
	CU_ASSERT(match_disk("1 2 0:50 / /m rw - btrfs /dev/sdp rw\n", "sdp"));
	CU_ASSERT(match_disk("1 2 0:50 / /m rw - btrfs /dev/sda1 rw\n", "sda"));
	CU_ASSERT(match_disk("1 2 0:50 / /m rw - btrfs /dev/sda1 rw\n",
			     "sda1"));
	CU_ASSERT(!match_disk("1 2 0:50 / /m rw - btrfs /dev/sda rw\n",
			      "sda1"));
	CU_ASSERT(!match_disk("1 2 0:50 / /m rw - btrfs /dev/sdaa rw\n",
			      "sda"));
	CU_ASSERT(!match_disk("1 2 0:50 / /m rw - btrfs /dev/dm-10 rw\n",
			      "dm-1"));
	CU_ASSERT(!match_disk("1 2 0:50 / /m rw - btrfs /dev/sdap1 rw\n",
			      "sda"));
}

static void unescapes_the_mount_point(void)
{
	CU_ASSERT(match("1 2 259:7 / /my\\040disk\\134 rw - ext4 x rw\n"));
	CU_ASSERT_STRING_EQUAL(point, "/my disk\\");
}

static void survives_short_lines(void)
{
	CU_ASSERT(!match(""));
	CU_ASSERT(!match("\n"));
	CU_ASSERT(!match("1 2"));
	CU_ASSERT(!match("1 2 3:4 / - "));
}

/* As a user who may not look at what other users' processes have open. */
static void who_cannot_look_says_so(void)
{
	struct users users;
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		/* who is not root may not look in any case */
		int rc = geteuid() ? 0 : setresuid(65534, 65534, 65534);

		users_find_file("/nosuch/file", &users);
		_exit(rc == 0 && users.count == 0 &&
		      !strncmp(users.unseen, "/proc/", 6) ? 0 : 1);
	}
	CU_ASSERT_FATAL(child > 0);
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT_EQUAL(status, 0);
	users_find_disk("nosuchdisk", -1, &users);
	CU_ASSERT_STRING_EQUAL(users.unseen, "/sys/class/block/nosuchdisk: "
			       "No such file or directory");
}

TEST_MAIN("export-users",
	  TEST(who_cannot_look_says_so),
	  TEST(finds_disk_and_partition),
	  TEST(numbers_match_whole),
	  TEST(finds_by_source),
	  TEST(a_digit_of_a_name_is_no_partition),
	  TEST(unescapes_the_mount_point),
	  TEST(survives_short_lines))
