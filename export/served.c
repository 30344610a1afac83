/* SPDX-License-Identifier: MIT */
/*
 * served.c - see served.h.
 *
 * Whose a device is: an ublk device of this process is one whose ublkcN it has
 * open; an NBD device and a mount carry the pid. Loop devices are looked
 * through, not at: theirs is the file that they are on.
 */
#include "export/served.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "export/users.h"

#define STACK_MAX 16	/* devices on devices on devices ... */

struct served_search {
	const char *root;
	enum served_by by;
	int pid;		/* of SERVED_BY_US */
	unsigned depth;		/* how much further down */
	char *path;		/* out: what was found */
	size_t size;
};

static bool served_at(struct served_search *s, const char *sys);

bool served_mount(const char *line, int *pid, char *point, size_t size)
{
	const char *dash = strstr(line, " - "), *at;
	char *end;
	size_t len;

	if (!dash)
		return false;
	at = mountinfo_field(dash + 3, 0, &len);
	if (len != strlen(SERVED_MOUNT_TYPE) ||
	    strncmp(at, SERVED_MOUNT_TYPE, len) != 0)
		return false;
	at = mountinfo_field(dash + 3, 1, &len);
	if (strncmp(at, SERVED_MOUNT_SOURCE, strlen(SERVED_MOUNT_SOURCE)) != 0)
		return false;
	*pid = (int)strtol(at + strlen(SERVED_MOUNT_SOURCE), &end, 10);
	if (*pid <= 0 || *end != ':')
		return false;
	at = mountinfo_field(line, 4, &len);
	mountinfo_unescape(point, size, at, len);
	return true;
}

/* The first line of a file of a directory; false: there is none. */
static bool sysfs_line(const char *dir, const char *name, char *line,
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

/*
 * A mount of ours, by its number ("0:45") or its mount point; the other is
 * NULL. Only the mounts of the calling thread's namespace are seen.
 */
static bool served_mounted(struct served_search *s, const char *number,
			   const char *file)
{
	char *line = NULL, *table, point[USERS_PATH_MAX];
	bool found = false;
	size_t size = 0;
	FILE *f = NULL;
	int pid;

	if (asprintf(&table, "%s/proc/thread-self/mountinfo", s->root) >= 0) {
		f = fopen(table, "re");
		free(table);
	}
	while (f && !found && getline(&line, &size, f) > 0) {
		size_t len;
		const char *at = mountinfo_field(line, 2, &len);

		found = served_mount(line, &pid, point, sizeof(point)) &&
			(s->by == SERVED_BY_ANY || pid == s->pid) &&
			(file ? !strcmp(point, file) :
				len == strlen(number) &&
				!strncmp(at, number, len));
	}
	if (found)
		snprintf(s->path, s->size, "%s", point);
	free(line);
	if (f)
		fclose(f);
	return found;
}

static bool served_file_system(struct served_search *s, dev_t dev)
{
	char number[32], *sys;
	bool found;

	snprintf(number, sizeof(number), "%u:%u", major(dev), minor(dev));
	if (asprintf(&sys, "%s/sys/dev/block/%s", s->root, number) < 0)
		return false;
	found = served_at(s, sys) || served_mounted(s, number, NULL);
	free(sys);
	return found;
}

/* What a loop device is on: a file of ours, or one that lies on what is. */
static bool served_loop_file(struct served_search *s, const char *file,
			     const char *disk)
{
	struct stat st;

	if (!served_mounted(s, NULL, file))
		return !stat(file, &st) &&
		       served_file_system(s, S_ISBLK(st.st_mode) ? st.st_rdev :
								  st.st_dev);
	snprintf(s->path, s->size, "/dev/%s", disk);
	return true;
}

/* Whether the process has the other side of an ublk device open. */
static bool is_its_ublk(const struct served_search *s, const char *number)
{
	char *folder, link[64], device[32];
	struct dirent *entry;
	bool found = false;
	DIR *dir = NULL;

	snprintf(device, sizeof(device), "/dev/ublkc%.16s", number);
	if (asprintf(&folder, "%s/proc/%d/fd", s->root, s->pid) >= 0) {
		dir = opendir(folder);
		free(folder);
	}
	while (dir && !found && (entry = readdir(dir)) != NULL) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link,
				       sizeof(link) - 1);

		if (n < 0)
			continue;
		link[n] = '\0';
		found = !strcmp(link, device);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Whether an ublk or an NBD device is, by its directory in sysfs. */
static bool is_served(const struct served_search *s, const char *disk)
{
	const char *name = strrchr(disk, '/') + 1;
	char text[64];

	if (!strncmp(name, "ublkb", 5))
		return s->by == SERVED_BY_ANY || is_its_ublk(s, name + 5);
	return sysfs_line(disk, "backend", text, sizeof(text)) &&
	       !strncmp(text, SERVED_MOUNT_SOURCE,
			strlen(SERVED_MOUNT_SOURCE)) &&
	       (s->by == SERVED_BY_ANY ||
		atoi(text + strlen(SERVED_MOUNT_SOURCE)) == s->pid);
}

/* A whole disk by its directory in sysfs. */
static bool served_disk(struct served_search *s, const char *disk)
{
	const char *name = strrchr(disk, '/') + 1;
	char file[USERS_PATH_MAX];

	if (sysfs_line(disk, "loop/backing_file", file, sizeof(file)))
		return served_loop_file(s, file, name);
	if (!is_served(s, disk))
		return false;
	snprintf(s->path, s->size, "/dev/%s", name);
	return true;
}

/* The devices that a mapped device lies on. */
static bool served_slaves(struct served_search *s, const char *disk)
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
static bool served_at(struct served_search *s, const char *sys)
{
	char *disk = realpath(sys, NULL), number[16];
	bool found = false;

	if (disk && s->depth) {
		s->depth--;
		if (sysfs_line(disk, "partition", number, sizeof(number)))
			*strrchr(disk, '/') = '\0';
		found = served_disk(s, disk) || served_slaves(s, disk);
		s->depth++;
	}
	free(disk);
	return found;
}

/*
 * Whether a process serves no more: killed, or exiting, or a zombie that nobody
 * has asked for. It keeps its number until then, and its locks may go earlier.
 */
static bool process_ends(int pid)
{
	enum { EXITING = 0x4, KILLED = 1 << (SIGKILL - 1) };
	char path[32], text[1024], state = 0;
	unsigned long pending = 0;
	unsigned flags = 0;
	const char *rest;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	/* its name may hold anything, also parentheses */
	rest = strrchr(text, ')');
	if (!rest || sscanf(rest, ") %c %*d %*d %*d %*d %*d %u %*s %*s %*s "
			    "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			    "%*s %*s %*s %*s %*s %*s %lu", &state, &flags,
			    &pending) < 2)
		return false;
	return state == 'Z' || state == 'X' || flags & EXITING ||
	       pending & KILLED;
}

bool served_by_other(int pid)
{
	if (pid == getpid() || (kill(pid, 0) && errno == ESRCH))
		return false;
	return !process_ends(pid);
}

bool served_below(const char *root, dev_t dev, enum served_by by, char *path,
		  size_t size)
{
	struct served_search s = {
		.root = root, .by = by, .pid = getpid(), .depth = STACK_MAX,
		.path = path, .size = size,
	};

	return served_file_system(&s, dev);
}

void served_by_process(const char *root, int pid, char *text, size_t size)
{
	char file[USERS_PATH_MAX], point[USERS_PATH_MAX], folder[256];
	struct served_search s = {
		.root = root, .by = SERVED_BY_US, .pid = pid,
		.path = point, .size = sizeof(point),
	};
	struct dirent *entry;
	size_t len = 0;
	DIR *dir;

	*text = '\0';
	snprintf(folder, sizeof(folder), "%s/sys/block", root);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir)) != NULL) {
		char disk[512];
		bool hit;

		snprintf(disk, sizeof(disk), "%s/%s", folder, entry->d_name);
		/* what else a file is on is not asked: it is not touched */
		if (sysfs_line(disk, "loop/backing_file", file, sizeof(file)))
			hit = served_mounted(&s, NULL, file);
		else
			hit = is_served(&s, disk);
		if (!hit)
			continue;
		if (len + strlen(entry->d_name) + 13 > size) {
			snprintf(text + len, size - len, ", ...");
			break;
		}
		len += (size_t)snprintf(text + len, size - len, "%s/dev/%s",
					len ? ", " : "", entry->d_name);
	}
	if (dir)
		closedir(dir);
}
