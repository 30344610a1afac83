/* SPDX-License-Identifier: MIT */
/*
 * mountinfo.c - which mounts are ours; see mount.h. Any thread.
 */
#include <stdlib.h>
#include <string.h>

#include "export/users.h"
#include "fuse/mount.h"

bool fuse_mountinfo_match(const char *line, int *pid, char *point, size_t size)
{
	const char *dash = strstr(line, " - "), *at;
	char *end;
	size_t len;

	if (!dash)
		return false;
	at = mountinfo_field(dash + 3, 0, &len);
	if (len != strlen(FUSE_MOUNT_TYPE) ||
	    strncmp(at, FUSE_MOUNT_TYPE, len) != 0)
		return false;
	at = mountinfo_field(dash + 3, 1, &len);
	if (strncmp(at, FUSE_MOUNT_SOURCE, strlen(FUSE_MOUNT_SOURCE)) != 0)
		return false;
	*pid = (int)strtol(at + strlen(FUSE_MOUNT_SOURCE), &end, 10);
	if (*pid <= 0 || *end != ':')
		return false;
	at = mountinfo_field(line, 4, &len);
	mountinfo_unescape(point, size, at, len);
	return true;
}
