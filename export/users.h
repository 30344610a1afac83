/* SPDX-License-Identifier: MIT */
/*
 * users.h - who has a disk or a file of ours open (C9). Blocking, for helpers.
 */
#ifndef EXPORT_USERS_H
#define EXPORT_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/compiler.h"

struct users {
	unsigned count;
	unsigned opens;	/* of these, processes that may close it soon */
	unsigned readers;	/* not counted: they cannot write to it */
	/* the device number of what this process has open of it, which is not
	 * counted; or 0 */
	uint64_t own;
	char text[400];	/* "mounted on /mnt, open in fio (pid 7)"; "..." */
	/* "/proc/7/fd: Permission denied": there may be more than was seen;
	 * empty: all was looked at */
	char unseen[120];
};

/* One more who uses it. */
void users_name(struct users *out, const char *fmt, ...) PRINTF(2, 3);

/*
 * Looks at mounts of every namespace, open descriptors of every process,
 * devices on top, swaps; partitions included. skip_fd: a descriptor of this
 * process that does not count, or -1.
 */
void users_find_disk(const char *disk, int skip_fd, struct users *out);
/* Of these all but open descriptors: whoever has it for himself, but a program
 * that opened it exclusively. */
void users_find_holders(const char *disk, struct users *out);
/* Of these only who may write to it. */
void users_find_writers(const char *disk, struct users *out);
/* Longer paths of files are not found. */
#define USERS_PATH_MAX 1024

/*
 * The same for a file that is a mount of ours: its path as processes see it.
 * This process does not count. Touches no file, so it cannot hang on one.
 */
void users_find_file(const char *path, struct users *out);
/* The loop device that is on the file, "loop3": 1; 0: none is; or a negative
 * errno where that cannot be seen. */
int users_find_loop(const char *path, char disk[16]);

/*
 * One line of a mountinfo file: whether it mounts one of the n devices (pairs
 * "8:1"), or by its source /dev/NAME or a partition of it. Writes the mount
 * point, unescaped.
 */
bool mountinfo_match(const char *line, const char *const *numbers, unsigned n,
		     const char *name, char *point, size_t size);
/* Octal escapes of mountinfo and swaps: \040 and such. */
void mountinfo_unescape(char *to, size_t size, const char *from, size_t len);
/* The field behind n blanks; its length in *len. */
const char *mountinfo_field(const char *line, unsigned n, size_t *len);

#endif
