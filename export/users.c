/* SPDX-License-Identifier: MIT */
/*
 * users.c - see users.h. Helper threads only.
 *
 * The kernel tells paths from the root of who asks, so one looks from where
 * users are: our mounts are not in the daemon's own namespace.
 *
 * All of it is a look at one moment: whoever comes later is kept out by the
 * exclusive open, or by TRY_STOP_DEV (stop.c); this is for naming them.
 */
#include "export/users.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "export/host-mounts.h"
#include "export/served.h"

#define NUMBERS_MAX 64
#define NAMESPACES_MAX 256

struct search {
	struct users *out;
	const char *file;		/* its path; NULL: it is a disk */
	char name[32];			/* "ublkb0" */
	char number[NUMBERS_MAX][16];	/* "259:3", of disk and partitions */
	const char *numbers[NUMBERS_MAX];
	unsigned n;
	ino_t namespaces[NAMESPACES_MAX];
	unsigned seen;
	int skip_fd;
	bool holders;			/* descriptors do not count */
	bool writers;			/* nor does who only reads */
};

void users_name(struct users *out, const char *fmt, ...)
{
	size_t len = strlen(out->text), room = sizeof(out->text) - len;
	char one[200];
	va_list ap;

	out->count++;
	va_start(ap, fmt);
	vsnprintf(one, sizeof(one), fmt, ap);
	va_end(ap);
	if (strstr(out->text, one))
		return;
	if (strlen(one) + 8 < room)
		snprintf(out->text + len, room, "%s%s", len ? ", " : "", one);
	else if (room > 6 && strcmp(out->text + len - 3, "...") != 0)
		snprintf(out->text + len, room, ", ...");
}

/* Who cannot look has not seen nobody. The first such place is enough. */
static void unseen(struct search *s, const char *where, int error)
{
	if (!s->out->unseen[0])
		snprintf(s->out->unseen, sizeof(s->out->unseen), "%s: %s",
			 where, strerror(error));
}

/* Whether it is only that a process, or a disk, went meanwhile. */
static bool has_gone(int error)
{
	return error == ENOENT || error == ESRCH || error == ENODEV;
}

/* Reads a small file, without the line's end. False when there is none. */
static bool read_line(const char *path, char *to, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, to, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	to[n] = '\0';
	to[strcspn(to, "\n")] = '\0';
	return true;
}

static void add_number(struct search *s, const char *sys_dir)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/dev", sys_dir);
	if (s->n < NUMBERS_MAX &&
	    read_line(path, s->number[s->n], sizeof(s->number[0]))) {
		s->numbers[s->n] = s->number[s->n];
		s->n++;
	}
}

/* A device on top: none that is read-only writes to what is below it. */
static void found_device(struct search *s, const char *name)
{
	char path[320], ro[16];

	snprintf(path, sizeof(path), "/sys/class/block/%.255s/ro", name);
	if (s->writers && read_line(path, ro, sizeof(ro)) && !strcmp(ro, "1"))
		s->out->readers++;
	else
		users_name(s->out, "used by %s", name);
}

static void find_holders(struct search *s, const char *sys_dir)
{
	char path[320];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/holders", sys_dir);
	dir = opendir(path);
	if (!dir)
		return;
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			found_device(s, e->d_name);
	closedir(dir);
}

/* Whether text is the disk's name, or that of a partition of it. */
static bool is_disk_or_partition(const char *text, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(text, name, len) != 0)
		return false;
	text += len;
	if (!*text)
		return true;
	/* sda1, but ublkb0p1: a digit would be one of the number before it */
	if (isdigit((unsigned char)name[len - 1]) && *text++ != 'p')
		return false;
	return *text && !text[strspn(text, "0123456789")];
}

/* A loop device is no holder: what it is on tells it. */
static void find_loops_on(struct search *s)
{
	char path[320], file[USERS_PATH_MAX];
	DIR *dir = opendir("/sys/block");
	struct dirent *e;

	while (dir && (e = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file",
			 e->d_name);
		if (read_line(path, file, sizeof(file)) &&
		    !strncmp(file, "/dev/", 5) &&
		    is_disk_or_partition(file + 5, s->name))
			found_device(s, e->d_name);
	}
	if (dir)
		closedir(dir);
}

static void look_at_disk(struct search *s)
{
	char path[64], part[320];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/class/block/%s", s->name);
	dir = opendir(path);
	if (!dir) {
		unseen(s, path, errno);
		return;
	}
	add_number(s, path);
	find_holders(s, path);
	while ((e = readdir(dir))) {
		if (strncmp(e->d_name, s->name, strlen(s->name)) != 0)
			continue;
		snprintf(part, sizeof(part), "%s/%s", path, e->d_name);
		add_number(s, part);
		find_holders(s, part);
	}
	closedir(dir);
}

void mountinfo_unescape(char *to, size_t size, const char *from, size_t len)
{
	size_t i = 0, o = 0;

	while (i < len && o + 1 < size) {
		if (from[i] == '\\' && i + 3 < len) {
			to[o++] = (char)((from[i + 1] - '0') * 64 +
					 (from[i + 2] - '0') * 8 +
					 (from[i + 3] - '0'));
			i += 4;
		} else {
			to[o++] = from[i++];
		}
	}
	to[o] = '\0';
}

const char *mountinfo_field(const char *line, unsigned n, size_t *len)
{
	while (n--) {
		line += strcspn(line, " ");
		if (*line)
			line++;
	}
	*len = strcspn(line, " \n");
	return line;
}

bool mountinfo_match(const char *line, const char *const *numbers, unsigned n,
		     const char *name, char *point, size_t size)
{
	const char *number, *source, *dash;
	char path[64];
	size_t len;
	bool hit = false;
	unsigned i;

	number = mountinfo_field(line, 2, &len);
	for (i = 0; i < n; i++)
		hit |= strlen(numbers[i]) == len &&
		       !strncmp(numbers[i], number, len);
	/* btrfs shows a number of its own, but its source */
	dash = strstr(line, " - ");
	if (!hit && dash) {
		source = mountinfo_field(dash + 1, 2, &len);
		if (len < sizeof(path) && !strncmp(source, "/dev/", 5)) {
			mountinfo_unescape(path, sizeof(path), source + 5,
					   len - 5);
			hit = is_disk_or_partition(path, name);
		}
	}
	if (!hit)
		return false;
	number = mountinfo_field(line, 4, &len);
	mountinfo_unescape(point, size, number, len);
	return true;
}

/* Whether the line's file system is mounted read-only, wherever it is shown:
 * its own options come last. */
static bool mountinfo_is_read_only(const char *line)
{
	const char *dash = strstr(line, " - "), *options;
	size_t len;

	if (!dash)
		return false;
	options = mountinfo_field(dash + 1, 3, &len);
	return len >= 2 && !strncmp(options, "ro", 2) &&
	       (len == 2 || options[2] == ',');
}

static void found_mount(struct search *s, const char *line, const char *point)
{
	if (s->writers && mountinfo_is_read_only(line))
		s->out->readers++;
	else
		users_name(s->out, "mounted on %s", point);
}

/* The mounts that a process sees, once for each namespace. */
static void find_mounts(struct search *s, const char *pid)
{
	char path[64], point[160], *line = NULL;
	size_t size = 0;
	struct stat st;
	unsigned i;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", pid);
	if (stat(path, &st)) {
		if (!has_gone(errno))
			unseen(s, path, errno);
		return;
	}
	for (i = 0; i < s->seen; i++)
		if (s->namespaces[i] == st.st_ino)
			return;
	if (s->seen < NAMESPACES_MAX)
		s->namespaces[s->seen++] = st.st_ino;
	snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", pid);
	f = fopen(path, "re");
	if (!f) {
		/* EINVAL: it has ended, and nobody waited for it yet */
		if (!has_gone(errno) && errno != EINVAL)
			unseen(s, path, errno);
		return;
	}
	while (getline(&line, &size, f) > 0)
		if (mountinfo_match(line, s->numbers, s->n, s->name,
					 point, sizeof(point)))
			found_mount(s, line, point);
	free(line);
	fclose(f);
}

static bool is_our_device(const struct search *s, dev_t dev)
{
	char number[32];
	unsigned i;

	snprintf(number, sizeof(number), "%u:%u", major(dev), minor(dev));
	for (i = 0; i < s->n; i++)
		if (!strcmp(number, s->numbers[i]))
			return true;
	return false;
}

static void found_process(struct search *s, const char *pid)
{
	char path[64], comm[64] = "a process", disks[100];

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	read_line(path, comm, sizeof(comm));
	served_by_process("", atoi(pid), disks, sizeof(disks));
	s->out->opens += !*disks;
	users_name(s->out, "open in %s (pid %.20s%s%s)", comm, pid,
		   *disks ? ", which serves " : "", disks);
}

/* Whether an open file of a process is the disk, or the file, looked for. */
static bool is_looked_for(struct search *s, const char *where, int dir,
			  const char *fd)
{
	char link[USERS_PATH_MAX];
	struct stat st;
	ssize_t n = readlinkat(dir, fd, link, sizeof(link) - 1);

	if (n < 0 && !has_gone(errno))
		unseen(s, where, errno);
	if (n < 0)
		return false;
	link[n] = '\0';
	if (s->file)
		return !strcmp(link, s->file);
	/* a stat of any file may hang: only what is below /dev */
	return !strncmp(link, "/dev/", 5) && !fstatat(dir, fd, &st, 0) &&
	       S_ISBLK(st.st_mode) && is_our_device(s, st.st_rdev);
}

/* Which node it is the main thread knows. */
static void found_own(struct search *s, int dir, const char *fd)
{
	struct stat st;

	if (!fstatat(dir, fd, &st, 0))
		s->out->own = st.st_rdev;
}

static void find_open_files(struct search *s, const char *pid)
{
	bool own = atoi(pid) == getpid();
	char path[64];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (!dir) {
		if (!has_gone(errno))
			unseen(s, path, errno);
		return;
	}
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' ||
		    (own && (s->file || atoi(e->d_name) == s->skip_fd)) ||
		    !is_looked_for(s, path, dirfd(dir), e->d_name))
			continue;
		if (own)
			found_own(s, dirfd(dir), e->d_name);
		else
			found_process(s, pid);
		break;
	}
	closedir(dir);
}

static void find_processes(struct search *s)
{
	DIR *proc = opendir("/proc");
	bool hidden = true;
	struct dirent *e;

	if (!proc) {
		unseen(s, "/proc", errno);
		return;
	}
	while ((e = readdir(proc))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		hidden &= strcmp(e->d_name, "1") != 0;
		if (!s->file)
			find_mounts(s, e->d_name);
		if (!s->holders)
			find_open_files(s, e->d_name);
	}
	closedir(proc);
	/* the first process is always there, unless others' are not shown */
	if (hidden)
		unseen(s, "/proc/1", EACCES);
}

static void find_swaps(struct search *s)
{
	char *line = NULL, path[64];
	size_t size = 0, len;
	FILE *f = fopen("/proc/swaps", "re");

	/* a kernel without swap has no such file */
	if (!f && !has_gone(errno))
		unseen(s, "/proc/swaps", errno);
	if (!f)
		return;
	while (getline(&line, &size, f) > 0) {
		len = strcspn(line, " \t\n");
		if (len < 5 || len >= sizeof(path) ||
		    strncmp(line, "/dev/", 5) != 0)
			continue;
		mountinfo_unescape(path, sizeof(path), line + 5, len - 5);
		if (is_disk_or_partition(path, s->name))
			users_name(s->out, "swap on /dev/%s", path);
	}
	free(line);
	fclose(f);
}

static void find_disk_there(void *arg)
{
	struct search *s = arg;

	look_at_disk(s);
	find_loops_on(s);
	find_processes(s);
	find_swaps(s);
}

/* What did not run at all has seen nothing. */
static void search_there(struct search *s, void (*fn)(void *arg), void *arg)
{
	int rc = host_mounts_run(fn, arg);

	if (rc)
		unseen(s, "the mount namespace of users", rc);
}

static struct search *search_new(struct users *out)
{
	struct search *s = calloc(1, sizeof(*s));

	assert(s);
	memset(out, 0, sizeof(*out));
	s->out = out;
	return s;
}

void users_find_disk(const char *disk, int skip_fd, struct users *out)
{
	struct search *s = search_new(out);

	s->skip_fd = skip_fd;
	snprintf(s->name, sizeof(s->name), "%s", disk);
	search_there(s, find_disk_there, s);
	free(s);
}

static void find_holders_of(const char *disk, bool writers, struct users *out)
{
	struct search *s = search_new(out);

	s->holders = true;
	s->writers = writers;
	s->skip_fd = -1;
	snprintf(s->name, sizeof(s->name), "%s", disk);
	search_there(s, find_disk_there, s);
	free(s);
}

void users_find_holders(const char *disk, struct users *out)
{
	find_holders_of(disk, false, out);
}

void users_find_writers(const char *disk, struct users *out)
{
	find_holders_of(disk, true, out);
}

struct file_question {
	const char *path;
	char *disk;
	struct search *search;
	int hit;	/* as users_find_loop */
};

static int find_loop(const char *path, char disk[16])
{
	char sys[320], file[USERS_PATH_MAX];
	DIR *dir = opendir("/sys/block");
	struct dirent *e;
	bool hit = false;

	if (!dir)
		return -errno;
	while (!hit && (e = readdir(dir))) {
		if (strncmp(e->d_name, "loop", 4) != 0)
			continue;
		snprintf(sys, sizeof(sys), "/sys/block/%s/loop/backing_file",
			 e->d_name);
		hit = read_line(sys, file, sizeof(file)) && !strcmp(file, path);
		if (hit)
			snprintf(disk, 16, "%.15s", e->d_name);
	}
	closedir(dir);
	return hit;
}

static void find_loop_there(void *arg)
{
	struct file_question *q = arg;

	q->hit = find_loop(q->path, q->disk);
}

int users_find_loop(const char *path, char disk[16])
{
	struct file_question q = { .path = path, .disk = disk };
	int rc = host_mounts_run(find_loop_there, &q);

	return rc ? -rc : q.hit;
}

static void find_file_there(void *arg)
{
	struct file_question *q = arg;
	char disk[16];
	int hit = find_loop(q->path, disk);

	if (hit < 0)
		unseen(q->search, "/sys/block", -hit);
	else if (hit)
		users_name(q->search->out, "used by %s", disk);
	find_processes(q->search);
}

void users_find_file(const char *path, struct users *out)
{
	struct search *s = search_new(out);
	struct file_question q = { .path = path, .search = s };

	s->file = path;
	s->skip_fd = -1;
	search_there(s, find_file_there, &q);
	free(s);
}
