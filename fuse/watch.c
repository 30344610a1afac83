/* SPDX-License-Identifier: MIT */
/*
 * watch.c - see watch.h. Main thread; the table is read on helper threads.
 *
 * The coroutine that waits for changes has the table open. It ends with the
 * first change after the last mount that was watched.
 */
#include "fuse/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "export/host-mounts.h"
#include "export/served.h"
#include "export/users.h"
#include "runtime/co.h"
#include "runtime/ring.h"

/* Mounts come and go in bursts, and a look reads the whole table. */
#define BURST_NS 50000000ull

static struct {
	struct watch *first;
	uint64_t looks;
	bool waits;		/* for changes */
} watching;

struct look {
	dev_t *dev;		/* of our mounts */
	size_t count;
	bool whole;		/* all of the table was read */
};

/* In the users' namespace; the descriptor stays with that. */
static void table_open(void *arg)
{
	int *fd = arg;

	*fd = open("/proc/thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
}

static void table_run(void *arg)
{
	int *fd = arg;

	if (host_mounts_run(table_open, fd))
		*fd = -1;
}

static void look_add(struct look *look, const char *line)
{
	unsigned maj, min_;
	size_t len;
	dev_t *more;

	if (sscanf(mountinfo_field(line, 2, &len), "%u:%u", &maj, &min_) != 2)
		return;
	more = realloc(look->dev, (look->count + 1) * sizeof(*more));
	if (!more)
		abort();
	look->dev = more;
	look->dev[look->count++] = makedev(maj, min_);
}

static void look_run(void *arg)
{
	char *line = NULL, point[USERS_PATH_MAX];
	struct look *look = arg;
	int fd = -1, pid;
	size_t size = 0;
	FILE *f;

	table_run(&fd);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	while (f && getline(&line, &size, f) > 0)
		if (served_mount(line, &pid, point, sizeof(point)) &&
		    pid == getpid())
			look_add(look, line);
	look->whole = f && !ferror(f);
	free(line);
	if (f)
		fclose(f);
}

static bool look_has(const struct look *look, dev_t dev)
{
	for (size_t i = 0; i < look->count; i++)
		if (look->dev[i] == dev)
			return true;
	return false;
}

static void co_watch_look(void)
{
	uint64_t number = ++watching.looks;
	struct look look = { 0 };
	struct watch *w, *next;

	co_blocking(look_run, &look);
	for (w = look.whole ? watching.first : NULL; w; w = next) {
		next = w->next;
		if (w->since >= number || look_has(&look, w->dev))
			continue;
		watch_end(w);
		w->vanished(w);
	}
	free(look.dev);
}

static void co_look_once(void *arg)
{
	(void)arg;
	co_watch_look();
}

static void co_wait_for_changes(void *arg)
{
	int table = -1;

	(void)arg;
	co_blocking(table_run, &table);
	while (table >= 0 && watching.first) {
		co_watch_look();
		if (co_poll(table, POLLPRI, 0) < 0)
			break;
		co_sleep(BURST_NS);
	}
	if (table >= 0)
		close(table);
	watching.waits = false;
}

void watch_begin(struct watch *w)
{
	w->since = watching.looks;
	w->next = watching.first;
	watching.first = w;
	if (watching.waits) {
		/* it may have gone before it was watched: no matter if not */
		(void)!co_spawn(co_look_once, NULL);
		return;
	}
	watching.waits = true;
	if (!co_spawn(co_wait_for_changes, NULL))
		watching.waits = false;
}

void watch_end(struct watch *w)
{
	struct watch **at = &watching.first;

	while (*at && *at != w)
		at = &(*at)->next;
	if (*at)
		*at = w->next;
	w->next = NULL;
}
