/* SPDX-License-Identifier: MIT */
/*
 * disk-case-qemu.c - qemu-img's opinion of an image in the simulation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/sim.h"
#include "tests/lib/disk-case.h"

static bool dump(const char *sim_path, const char *dir, const char *name)
{
	char path[300];
	void *data;
	uint64_t size = sim_file_get(sim_path, &data);
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ok = f && fwrite(data, 1, size, f) == size;
	if (f)
		ok = fclose(f) == 0 && ok;
	free(data);
	return ok;
}

bool qemu_img_exists(void)
{
	return system("qemu-img --version >/dev/null 2>&1") == 0;
}

/* 0 or 3 (leaks); anything else and what it said. */
static int run_check(const char *dir, char *text, size_t len)
{
	char command[400];
	size_t n;
	FILE *f;
	int status;

	snprintf(command, sizeof(command),
		 "qemu-img check -q -f qcow2 %s/disk.qcow2 2>&1", dir);
	f = popen(command, "r");
	if (!f)
		return -1;
	n = fread(text, 1, len - 1, f);
	text[n] = '\0';
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool disk_case_qemu_check(struct disk_case *c)
{
	const char *tmp = getenv("TMPDIR");
	char dir[200], path[300], said[300] = "";
	int status = -1;

	snprintf(dir, sizeof(dir), "%s/blkgraph-case-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		snprintf(c->text, sizeof(c->text), "cannot make %s", dir);
		return false;
	}
	if (dump(CASE_IMAGE, dir, "disk.qcow2") &&
	    (!c->spec.backing || dump(CASE_BASE, dir, "base.raw")))
		status = run_check(dir, said, sizeof(said));
	snprintf(path, sizeof(path), "%s/disk.qcow2", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/base.raw", dir);
	unlink(path);
	rmdir(dir);
	if (status == 0 || status == 3)
		return true;
	c->bad = true;
	snprintf(c->text, sizeof(c->text), "qemu-img check: exit %d: %s",
		 status, said);
	return false;
}
