/* SPDX-License-Identifier: MIT */
/*
 * trace.c - what a daemon leaves behind it that is there when it is not: the
 * lock file beside the socket, which names the two others; its state log; its
 * messages.
 *
 * A state log stays where a daemon died, or left something behind. It knows
 * when it was written last, which is not when that happened.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "server/statelog-format.h"

#define NAMED_MAX 10	/* devices that one sentence names */

/* The lines of the lock file, or NULL where they cannot be read. */
static FILE *lock_file_open(const char *socket)
{
	char *path = format("%s.lock", socket);
	FILE *file = fopen(path, "re");

	free(path);
	return file;
}

/* Its n-th line, from 0; NULL: there is none, or it is empty. */
static char *lock_file_line(FILE *file, unsigned n)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len = 0;

	rewind(file);
	for (unsigned i = 0; i <= n && len >= 0; i++)
		len = getline(&line, &size, file);
	if (len > 0 && line[len - 1] == '\n')
		line[--len] = 0;
	return len > 0 ? line : NULL;
}

/* Whoever has the lock lives, though he may not answer. */
static bool lock_is_free(FILE *file)
{
	return flock(fileno(file), LOCK_SH | LOCK_NB) == 0;
}

/* Devices are not there any more once the machine has started anew. */
static bool written_since_boot(const json_t *head)
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	char now[40] = "";

	if (file) {
		(void)!fgets(now, sizeof(now), file);
		fclose(file);
	}
	now[strcspn(now, "\n")] = 0;
	return !strcmp(get_string(head, "boot"), now);
}

/* What the state log says, if it is of this boot, and when it last changed;
 * NULL: nothing. */
static json_t *read_state(const char *path, time_t *changed)
{
	json_t *state = checked(json_object()), *head = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	size_t len = 0;
	char *data;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	*changed = st.st_mtime;
	data = checked(malloc((size_t)st.st_size + 1));
	while ((n = read(fd, data + len, (size_t)st.st_size - len)) > 0)
		len += (size_t)n;
	close(fd);
	statelog_replay(state, data, len, &head);
	free(data);
	return head && written_since_boot(head) ? state : NULL;
}

/* "3 devices (/dev/loop0, /dev/loop1, web)": what has no device is named;
 * NULL: none. */
static char *exports_of(json_t *state, size_t *count)
{
	const char *key, *prefix = "exports/";
	char *names = checked(strdup(""));
	json_t *value;

	*count = 0;
	json_object_foreach(state, key, value) {
		const char *name = get_string(value, "device");

		if (strncmp(key, prefix, strlen(prefix)) != 0)
			continue;
		if (!*name)
			name = key + strlen(prefix);
		if (++*count <= NAMED_MAX)
			names = format("%s%s%s", names, *names ? ", " : "",
				       name);
	}
	return *count ? format("%zu device%s (%s%s)", *count,
			       *count == 1 ? "" : "s", names,
			       *count > NAMED_MAX ? ", ..." : "") : NULL;
}

char *dead_daemon(const char *socket, bool *one)
{
	FILE *lock = lock_file_open(socket);
	char *path, *names, text[32];
	json_t *state = NULL;
	time_t changed = 0;
	size_t count = 0;

	if (!lock)
		return NULL;
	path = lock_is_free(lock) ? lock_file_line(lock, 1) : NULL;
	fclose(lock);
	if (path)
		state = read_state(path, &changed);
	names = state ? exports_of(state, &count) : NULL;
	if (!names)
		return NULL;
	*one = count == 1;
	return format("blkgraphd died after %s with %s",
		      local_time(text, changed), names);
}

static char *messages_path(void)
{
	FILE *lock = lock_file_open(socket_path());
	char *path;

	if (!lock && errno == ENOENT)
		die(EXIT_NOT_FOUND, "there is no log: no blkgraphd has served "
		    "'%s'", socket_path());
	if (!lock)
		die(errno_status(errno), "cannot read '%s.lock': %s",
		    socket_path(), strerror(errno));
	/* one that could not even write its lock has logged nothing */
	if (!lock_file_line(lock, 0))
		die(EXIT_NOT_FOUND, "there is no log: no blkgraphd has served "
		    "'%s'", socket_path());
	path = lock_file_line(lock, 2);
	if (!path)
		die(EXIT_NOT_FOUND, "blkgraphd writes its log to standard "
		    "error, not to a file (by systemd: journalctl -u "
		    "blkgraphd)");
	fclose(lock);
	return path;
}

int verb_log(const struct args *args)
{
	char *path = messages_path();
	/* tail is quiet about none of this, but knows not our exit statuses */
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *argv[] = {
		format("tail"), format("-n"), format("+1"), format("--"), path,
		NULL, NULL,
	};

	if (fd < 0)
		die(errno_status(errno), "cannot read log '%s': %s", path,
		    strerror(errno));
	close(fd);
	if (args_given(args, "lines"))
		argv[2] = format("%llu", (unsigned long long)
				 args_number(args, "lines", 1000000000));
	if (args_given(args, "follow")) {
		/* also into the next file, where this one is moved away */
		argv[3] = format("-F");
		argv[4] = format("--");
		argv[5] = path;
	}
	execvp(argv[0], argv);
	die(EXIT_ERROR, "cannot run tail: %s", strerror(errno));
}
