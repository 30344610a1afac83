/* SPDX-License-Identifier: MIT */
/*
 * statedir.c - the state log never lies on a device we serve.
 *
 * Before the runtime starts. What counts is the kind of device, not whether
 * its server lives: after a crash one of ours has none. So any ublk device is
 * refused, NBD devices whose backend is ours, and loop devices on a file that
 * is a mount of ours; and what lies on one of these: partitions, mapped
 * devices, loop devices on its files. The directory stays the one that is
 * looked at here: paths below it are opened in a mount namespace of our own,
 * and a file system that is mounted over it later on one of our devices is
 * found by the next start.
 */
#include "server/statedir.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "export/users.h"
#include "fuse/mount.h"
#include "server/process.h"

#define STACK_MAX 8	/* devices on devices on devices ... */

/* Looks for a device of ours at and below others. */
struct search {
	unsigned depth;		/* how much further down */
	char name[32];		/* out: what was found */
};

static bool served_at(struct search *s, const char *sys);

/* The first line of a file of a directory; false: there is none. */
static bool read_line(const char *dir, const char *name, char *line,
		      size_t size)
{
	FILE *f = NULL;
	char *path;
	bool ok;

	if (asprintf(&path, "%s/%s", dir, name) >= 0) {
		f = fopen(path, "re");
		free(path);
	}
	ok = f && fgets(line, (int)size, f);
	if (f)
		fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

static bool is_mount_of_ours(const char *file)
{
	char *line = NULL, point[USERS_PATH_MAX];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	size_t size = 0;
	int pid;

	while (f && !found && getline(&line, &size, f) > 0)
		found = fuse_mountinfo_match(line, &pid, point,
					     sizeof(point)) &&
			!strcmp(point, file);
	free(line);
	if (f)
		fclose(f);
	return found;
}

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* The device of a file system. */
static bool served_below(struct search *s, dev_t dev)
{
	char sys[64];

	snprintf(sys, sizeof(sys), "/sys/dev/block/%u:%u", major(dev),
		 minor(dev));
	return served_at(s, sys);
}

/* Whether a file of a loop device is ours, or lies on what is. */
static bool loop_served(struct search *s, const char *file, const char *name)
{
	struct stat st;

	if (!is_mount_of_ours(file))
		return !stat(file, &st) && served_below(s, st.st_dev);
	snprintf(s->name, sizeof(s->name), "%s", name);
	return true;
}

/* A whole disk by its directory in sysfs. */
static bool disk_served(struct search *s, const char *disk)
{
	const char *name = strrchr(disk, '/') + 1;
	char text[USERS_PATH_MAX];

	if (read_line(disk, "loop/backing_file", text, sizeof(text)))
		return loop_served(s, text, name);
	if (!starts(name, "ublkb") &&
	    (!read_line(disk, "backend", text, sizeof(text)) ||
	     !starts(text, "blkgraph:")))
		return false;
	snprintf(s->name, sizeof(s->name), "%s", name);
	return true;
}

/* The devices that a mapped device lies on. */
static bool slaves_served(struct search *s, const char *disk)
{
	struct dirent *entry;
	bool found = false;
	char *path, *slave;
	DIR *dir;

	if (asprintf(&path, "%s/slaves", disk) < 0)
		return false;
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    asprintf(&slave, "%s/%s", path, entry->d_name) < 0)
			continue;
		found = served_at(s, slave);
		free(slave);
	}
	if (dir)
		closedir(dir);
	free(path);
	return found;
}

/* sys: a block device's directory in sysfs, or a link to it. */
static bool served_at(struct search *s, const char *sys)
{
	char *disk = realpath(sys, NULL), number[16];
	bool found = false;

	if (disk && s->depth) {
		s->depth--;
		if (read_line(disk, "partition", number, sizeof(number)))
			*strrchr(disk, '/') = '\0';
		found = disk_served(s, disk) || slaves_served(s, disk);
		s->depth++;
	}
	free(disk);
	return found;
}

int statedir_prepare(const char *path, struct error **err)
{
	struct search s = { .depth = STACK_MAX };
	struct stat st;
	int rc = process_make_dir(path, err);

	if (rc < 0)
		return rc;
	if (stat(path, &st) < 0)
		return error_set(err, errno, "Cannot use state directory "
				 "'%s': %s", path, strerror(errno));
	if (served_below(&s, st.st_dev))
		return error_set(err, EBUSY, "State directory '%s' lies on "
				 "/dev/%s, which is served from user space: "
				 "choose another one (--state-dir)", path,
				 s.name);
	return 0;
}
