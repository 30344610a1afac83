/* SPDX-License-Identifier: MIT */
/*
 * leftovers.c - devices of a daemon that died (U9, U10).
 *
 * Added without recovery flags, a device whose server dies loses its disk at
 * once; what stays is an id and /dev/ublkcN, until somebody deletes them. Ours
 * carry a mark with the daemon's pid. One is deleted when it is marked, dead,
 * its daemon is not alive, and nobody else has its ublkcN open.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ublk/control.h"
#include "ublk/params.h"
#include "export/arrival.h"
#include "export/served.h"
#include "ublk/ublk.h"
#include "runtime/wait.h"

#define CHAR_CLASS "/sys/class/ublk-char"
#define LEFTOVERS_MAX 1024

/* The kernel stops the disk of a server that died by itself. */
#define DYING_NS SECONDS(5)

struct scan {
	uint32_t id[LEFTOVERS_MAX];
	unsigned n;
};

static void scan_run(void *arg)
{
	struct scan *s = arg;
	struct dirent *e;
	DIR *dir = opendir(CHAR_CLASS);

	if (!dir)
		return;
	while (s->n < LEFTOVERS_MAX && (e = readdir(dir)))
		if (!strncmp(e->d_name, "ublkc", 5) &&
		    isdigit((unsigned char)e->d_name[5]))
			s->id[s->n++] = (uint32_t)atoi(e->d_name + 5);
	closedir(dir);
}

struct claim {
	uint32_t id;
	bool free;
};

/* ublkcN opens once at a time: whoever serves the device has it. */
static void claim_run(void *arg)
{
	struct claim *c = arg;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/ublkc%u", c->id);
	fd = open(path, O_RDWR | O_CLOEXEC);
	c->free = fd >= 0 || errno != EBUSY;
	if (fd >= 0)
		close(fd);
}

static void forget_run(void *arg)
{
	char disk[16];

	snprintf(disk, sizeof(disk), "ublkb%u", *(uint32_t *)arg);
	arrival_forget(disk);
}

/* 1: gone; 0: not ours, or alive; or a negative errno. */
static int co_remove_one(uint32_t id, struct error **err)
{
	struct ublksrv_ctrl_dev_info info;
	struct claim claim = { .id = id };
	uint64_t end = clock_ns() + DYING_NS;
	struct error *gone CLEANUP_ERROR = NULL;
	int rc, pid;

	for (;;) {
		rc = co_ublk_get_info(id, &info, &gone);
		if (rc)
			return rc == -ENODEV ? 0 : rc;
		pid = ublk_mark_pid(info.ublksrv_flags);
		if (!pid || served_by_other(pid))
			return 0;
		if (info.state == UBLK_S_DEV_DEAD)
			break;
		if (clock_ns() >= end)
			return error_set(err, EBUSY,
					 "ublk device %u of a dead blkgraphd "
					 "is still being stopped by the kernel",
					 id);
		co_sleep(50000000);
	}
	co_blocking(claim_run, &claim);
	if (!claim.free)
		return 0;
	/* its disk may be mounted still: that must not keep us waiting */
	rc = co_ublk_del(id, false, err);
	co_blocking(forget_run, &id);
	return rc ? rc : 1;
}

unsigned co_ublk_remove_leftovers(struct error **err)
{
	struct scan *s = calloc(1, sizeof(*s));
	struct error *first = NULL;
	unsigned i, removed = 0;

	if (!s)
		return 0;
	co_blocking(scan_run, s);
	if (s->n && !co_ublk_control_open(false, &first)) {
		for (i = 0; i < s->n; i++) {
			struct error *one = NULL;
			int rc = co_remove_one(s->id[i], &one);

			removed += rc > 0;
			if (one && !first)
				error_propagate(&first, &one);
			error_clear(&one);
		}
	}
	if (first)
		error_propagate(err, &first);
	free(s);
	return removed;
}
