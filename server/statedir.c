/* SPDX-License-Identifier: MIT */
/*
 * statedir.c - the state log lies on no device we serve, and is nobody else's.
 *
 * Before the runtime starts. What counts is the kind of device, not whether
 * its server lives (SERVED_BY_ANY). The directory stays the one that is
 * looked at here: paths below it are opened in a mount namespace of our own,
 * and a file system that is mounted over it later on one of our devices is
 * found by the next start.
 */
#include "server/statedir.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "export/served.h"
#include "export/users.h"
#include "server/guarded.h"
#include "server/process.h"

int statedir_prepare(const char *path, struct error **err)
{
	char device[USERS_PATH_MAX];
	struct stat st;
	int rc = process_make_dir(path, err);

	if (rc < 0)
		return rc;
	rc = guarded_dir_check(path, "state directory", err);
	if (rc < 0)
		return rc;
	if (stat(path, &st) < 0)
		return error_set(err, errno, "Cannot use state directory "
				 "'%s': %s", path, strerror(errno));
	if (served_below("", st.st_dev, SERVED_BY_ANY, device, sizeof(device)))
		return error_set(err, EBUSY, "State directory '%s' lies on "
				 "%s, which is served from user space: "
				 "choose another one (--state-dir)", path,
				 device);
	return 0;
}
