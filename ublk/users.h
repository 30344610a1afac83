/* SPDX-License-Identifier: MIT */
/*
 * users.h - who has a device open (C9). Blocking, for helper threads.
 */
#ifndef UBLK_USERS_H
#define UBLK_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ublk_users {
	unsigned count;
	unsigned udev;	/* of these, udev's own short looks */
	char text[400];	/* "mounted on /mnt, open in fio (pid 7)"; "..." */
};

/*
 * Looks at mounts of every namespace, open descriptors of every process,
 * devices on top, swaps; partitions included. skip_fd: a descriptor of this
 * process that does not count, or -1.
 */
void ublk_users_find(uint32_t id, int skip_fd, struct ublk_users *out);

/*
 * One line of a mountinfo file: whether it mounts one of the n devices (pairs
 * "8:1"), or by its source /dev/NAME or a partition of it. Writes the mount
 * point, unescaped.
 */
bool ublk_mountinfo_match(const char *line, const char *const *numbers,
			  unsigned n, const char *name, char *point,
			  size_t size);

#endif
