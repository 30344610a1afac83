/* SPDX-License-Identifier: MIT */
/*
 * arrival.c - see arrival.h. Helper threads only.
 *
 * The name of an export reaches the udev rule by a file that the rule imports:
 * /run/blkgraph/udev/DISK. It is there before the disk is, so the first
 * event already finds it.
 */
#include "export/arrival.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libudev.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "runtime/thread.h"

#define NAMES "/run/blkgraph/udev"
#define UDEV_TIMEOUT_NS 10000000000ull
#define NODE_TIMEOUT_NS 3000000000ull

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* A name as the rule may use it. */
static void name_clean(char to[64], const char *name)
{
	size_t i;

	for (i = 0; name[i] && i < 63; i++)
		to[i] = name_char(name[i]) ? name[i] : '_';
	to[i] = '\0';
	/* a name of dots would leave the folder */
	if (to[0] == '.')
		to[0] = '_';
}

static void name_file(char *path, size_t size, const char *disk)
{
	snprintf(path, size, NAMES "/%s", disk);
}

static bool name_write(const struct arrival *s)
{
	char path[64], line[128];
	int fd, len;
	bool ok;

	mkdir("/run/blkgraph", 0755);
	mkdir(NAMES, 0755);
	name_file(path, sizeof(path), s->disk);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		  0644);
	if (fd < 0)
		return false;
	len = snprintf(line, sizeof(line), "BLKGRAPH_NAME=%s\n", s->name);
	ok = write(fd, line, (size_t)len) == len;
	close(fd);
	return ok;
}

void arrival_forget(const char *disk)
{
	char path[64];

	name_file(path, sizeof(path), disk);
	unlink(path);
}

void arrival_lost(const char *disk, const char *name)
{
	char path[64], clean[64], line[128] = "", wanted[128];
	FILE *f;
	int fd;

	name_clean(clean, name);
	snprintf(wanted, sizeof(wanted), "BLKGRAPH_NAME=%s\n", clean);
	name_file(path, sizeof(path), disk);
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	if (strcmp(line, wanted) != 0)
		return;
	arrival_forget(disk);
	snprintf(path, sizeof(path), "/sys/block/%s/uevent", disk);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* a disk that is no more needs no look */
	(void)!write(fd, "change", 6);
	close(fd);
}

void arrival_begin(struct arrival *s, const char *disk, const char *name)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->disk, sizeof(s->disk), "%s", disk);
	name_clean(s->name, name);
	s->udevd = access("/run/udev/control", F_OK) == 0;
	if (!s->udevd)
		return;
	if (!name_write(s)) {
		s->name[0] = '\0';
		s->note = NAMES " cannot be written, so there is no "
			  "/dev/blkgraph link";
	}
	s->udev = udev_new();
	if (s->udev)
		s->monitor = udev_monitor_new_from_netlink(s->udev, "udev");
	if (s->monitor &&
	    (udev_monitor_filter_add_match_subsystem_devtype(
		     s->monitor, "block", NULL) < 0 ||
	     udev_monitor_enable_receiving(s->monitor) < 0)) {
		udev_monitor_unref(s->monitor);
		s->monitor = NULL;
	}
}

void arrival_end(struct arrival *s)
{
	if (s->monitor)
		udev_monitor_unref(s->monitor);
	if (s->udev)
		udev_unref(s->udev);
	s->monitor = NULL;
	s->udev = NULL;
}

/* The kernel's number of the disk, 0 if there is none. */
static dev_t disk_number(const char *disk)
{
	char path[64], text[32] = "";
	unsigned maj, min_;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/dev", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0 || sscanf(text, "%u:%u", &maj, &min_) != 2)
		return 0;
	return makedev(maj, min_);
}

/* The number of the disk's partition of that name; 0: the disk; or -1. */
static int partition_of(const char *disk, const char *name)
{
	size_t len = strlen(disk);
	char *end = NULL;
	long n;

	if (strncmp(name, disk, len) != 0)
		return -1;
	name += len;
	if (!*name)
		return 0;
	n = *name == 'p' ? strtol(name + 1, &end, 10) : -1;
	return n > 0 && n < PARTITIONS_MAX && !*end ? (int)n : -1;
}

/* Whether udev is done with the disk and each partition that it has now. */
static bool udev_is_done(const struct arrival *s)
{
	char path[64];
	struct dirent *e;
	bool done = s->seen[0];
	DIR *dir;

	if (!done)
		return false;
	snprintf(path, sizeof(path), "/sys/block/%s", s->disk);
	dir = opendir(path);
	if (!dir)
		return true;
	while (done && (e = readdir(dir))) {
		int n = partition_of(s->disk, e->d_name);

		done = n <= 0 || s->seen[n];
	}
	closedir(dir);
	return done;
}

static void udev_see(struct arrival *s, struct udev_device *dev)
{
	const char *action = udev_device_get_action(dev);
	int n = partition_of(s->disk, udev_device_get_sysname(dev));

	if (n >= 0 && action)
		s->seen[n] = strcmp(action, "remove") != 0;
}

/* Whether the events of this disk and its partitions, which the kernel has
 * announced, came before the time, and before it went. */
static bool udev_wait(struct arrival *s, uint64_t end)
{
	struct pollfd pfd = { .events = POLLIN };

	pfd.fd = udev_monitor_get_fd(s->monitor);
	while (!udev_is_done(s)) {
		struct udev_device *dev;
		uint64_t now = clock_ns();
		int rc;

		if (now >= end)
			return false;
		rc = poll(&pfd, 1, (int)((end - now) / 1000000) + 1);
		if (rc < 0 && errno != EINTR)
			return false;
		dev = udev_monitor_receive_device(s->monitor);
		if (!dev)
			continue;
		udev_see(s, dev);
		udev_device_unref(dev);
		/* one that says so may be of the last disk of this name */
		if (!s->seen[0] && !disk_number(s->disk))
			return false;
	}
	return true;
}

static bool node_is_there(const char *disk)
{
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/dev/%s", disk);
	return !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       st.st_rdev == disk_number(disk);
}

/* devtmpfs has the node at once; where udev makes it, it takes a moment. */
static bool node_wait(const char *disk)
{
	uint64_t end = clock_ns() + NODE_TIMEOUT_NS;

	while (!node_is_there(disk)) {
		if (!disk_number(disk) || clock_ns() >= end)
			return false;
		usleep(5000);
	}
	return true;
}

static bool link_is_there(const struct arrival *s)
{
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "/dev/blkgraph/%s", s->name);
	return !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       st.st_rdev == disk_number(s->disk);
}

int arrival_wait(struct arrival *s, struct error **err)
{
	bool done = s->monitor &&
		       udev_wait(s, clock_ns() + UDEV_TIMEOUT_NS);

	if (!node_wait(s->disk) && !disk_number(s->disk))
		return error_set(err, ENODEV, "%s was taken away by another"
				 " program while it started", s->disk);
	if (!node_is_there(s->disk))
		return error_set(err, ENOENT,
				 "the kernel has the disk, but /dev/%s did "
				 "not appear: /dev is no devtmpfs%s", s->disk,
				 s->udevd ? "" : " and udevd does not run");
	if (!s->udevd)
		s->note = ARRIVAL_NO_UDEVD;
	else if (!done)
		s->note = "udevd did not say that it is done with the device";
	else if (s->name[0] && !link_is_there(s))
		s->note = "no /dev/blkgraph link: blkgraph's udev rules are "
			  "not installed, or the name is taken";
	return 0;
}
