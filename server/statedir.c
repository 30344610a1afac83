/* SPDX-License-Identifier: MIT */
/*
 * statedir.c - the state log never lies on a device we serve.
 *
 * Before the runtime starts. Any ublk device is refused, whoever serves it:
 * after a crash one of ours has no server either. The directory stays the one
 * that is looked at here: paths below it are opened in a mount namespace of
 * our own, and a file system that is mounted over it later on one of our
 * devices is found by the next start.
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

#include "server/process.h"

#define STACK_MAX 8	/* devices on devices on devices ... */

static bool on_ublk(const char *sys, unsigned depth, char *name, size_t size);

static bool slave_on_ublk(const char *sys, const char *slave, unsigned depth,
			  char *name, size_t size)
{
	bool found;
	char *path;

	if (slave[0] == '.' || asprintf(&path, "%s/%s", sys, slave) < 0)
		return false;
	found = on_ublk(path, depth, name, size);
	free(path);
	return found;
}

/* The devices that a mapped device lies on. */
static bool slaves_on_ublk(const char *sys, unsigned depth, char *name,
			   size_t size)
{
	struct dirent *entry;
	bool found = false;
	char *path;
	DIR *dir;

	if (asprintf(&path, "%s/slaves", sys) < 0)
		return false;
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)) != NULL)
		found = slave_on_ublk(path, entry->d_name, depth, name, size);
	if (dir)
		closedir(dir);
	free(path);
	return found;
}

/* sys: a block device's directory in sysfs. Gives the ublk device's name. */
static bool on_ublk(const char *sys, unsigned depth, char *name, size_t size)
{
	char *real = realpath(sys, NULL);
	const char *disk = real ? strstr(real, "/ublkb") : NULL;
	bool found = false;

	if (disk) {
		snprintf(name, size, "%.*s", (int)strcspn(disk + 1, "/"),
			 disk + 1);
		found = true;
	} else if (real && depth) {
		found = slaves_on_ublk(real, depth - 1, name, size);
	}
	free(real);
	return found;
}

int statedir_prepare(const char *path, struct error **err)
{
	char sys[64], name[32];
	struct stat st;
	int rc = process_make_dir(path, err);

	if (rc < 0)
		return rc;
	if (stat(path, &st) < 0)
		return error_set(err, errno, "Cannot use state directory "
				 "'%s': %s", path, strerror(errno));
	snprintf(sys, sizeof(sys), "/sys/dev/block/%u:%u", major(st.st_dev),
		 minor(st.st_dev));
	if (on_ublk(sys, STACK_MAX, name, sizeof(name)))
		return error_set(err, EBUSY, "State directory '%s' lies on "
				 "/dev/%s, which is served from user space: "
				 "choose another one (--state-dir)", path,
				 name);
	return 0;
}
