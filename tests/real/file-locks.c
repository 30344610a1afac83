/* SPDX-License-Identifier: MIT */
/*
 * file-locks.c - QEMU's tools and we keep out of each other's images (P3).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/root.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"

static unsigned passed, failed;
static char path[200];

static void expect(bool ok, const char *what)
{
	ok ? passed++ : failed++;
	if (!ok)
		printf("failed: %s\n", what);
}

/* Whether the command on the image succeeds; what it said goes to text. */
static bool tool(const char *command, char *text, size_t len)
{
	char line[600];
	size_t n;
	FILE *f;

	snprintf(line, sizeof(line), "%s %s 2>&1 </dev/null", command, path);
	f = popen(line, "r");
	if (!f)
		return false;
	n = fread(text, 1, len - 1, f);
	text[n] = '\0';
	return pclose(f) == 0;
}

static void options(char *out, size_t len, const char *more)
{
	snprintf(out, len, "{\"driver\": \"qcow2\"%s, \"file\": {\"driver\":"
		 " \"file\"%s, \"filename\": \"%s\"}}", more, more, path);
}

/* A qemu-io that has the image open and says so, until its input ends. */
struct holder {
	FILE *in, *out;
	char ready[220];
};

static void hold(struct holder *h, const char *how)
{
	char line[700];

	snprintf(h->ready, sizeof(h->ready), "%s.fifo", path);
	expect(mkfifo(h->ready, 0600) == 0, "mkfifo");
	snprintf(line, sizeof(line), "qemu-io %s -f qcow2 %s > %s", how, path,
		 h->ready);
	h->in = popen(line, "w");
	if (h->in) {
		char byte;

		h->out = fopen(h->ready, "r");
		/* it answers only when the image is open */
		fprintf(h->in, "length\n");
		fflush(h->in);
		expect(h->out && fread(&byte, 1, 1, h->out) == 1,
		       "qemu-io opens");
	}
}

static void let_go(struct holder *h)
{
	if (h->in)
		pclose(h->in);
	if (h->out)
		fclose(h->out);
	unlink(h->ready);
}

static void we_first(void)
{
	char o[600], said[600];
	struct error *err = NULL;
	struct disk d;

	options(o, sizeof(o), "");
	if (disk_open(&d, o, DISK_WRITABLE, 0, &err) < 0) {
		expect(false, err->text);
		error_clear(&err);
		return;
	}
	expect(!tool("qemu-img info", said, sizeof(said)) &&
	       strstr(said, "Failed to get shared \"write\" lock"),
	       "qemu-img info of an image that we write is refused");
	expect(!tool("qemu-io -f qcow2 -c 'write 0 512'", said, sizeof(said)),
	       "qemu-io cannot write it");
	expect(tool("qemu-img info -U", said, sizeof(said)),
	       "qemu-img info -U may look");
	disk_close(&d);
	expect(tool("qemu-io -f qcow2 -c 'write 0 512'", said, sizeof(said)),
	       "qemu-io can right after we closed it");
	options(o, sizeof(o), ", \"read-only\": true");
	if (disk_open(&d, o, PERM_CONSISTENT_READ, 0, &err) < 0) {
		expect(false, err->text);
		error_clear(&err);
		return;
	}
	expect(tool("qemu-img info", said, sizeof(said)),
	       "readers share the image");
	expect(!tool("qemu-io -f qcow2 -c 'write 0 512'", said, sizeof(said)),
	       "but no writer while we read");
	disk_close(&d);
}

static void they_first(void)
{
	char o[600], *text;
	struct holder h = { .in = NULL };

	hold(&h, "");
	options(o, sizeof(o), "");
	text = disk_open_error(o, DISK_WRITABLE);
	expect(text && strstr(text, "Failed to get ") && strstr(text, path),
	       "an image that qemu-io writes is refused, and named");
	free(text);
	options(o, sizeof(o), ", \"read-only\": true");
	text = disk_open_error(o, PERM_CONSISTENT_READ);
	expect(text, "for reading too");
	free(text);
	options(o, sizeof(o), ", \"read-only\": true, \"force-share\": true");
	text = disk_open_error(o, PERM_CONSISTENT_READ);
	expect(!text, "but not with force-share");
	free(text);
	let_go(&h);
	hold(&h, "-r");
	options(o, sizeof(o), ", \"read-only\": true");
	text = disk_open_error(o, PERM_CONSISTENT_READ);
	expect(!text, "two readers");
	free(text);
	options(o, sizeof(o), "");
	text = disk_open_error(o, DISK_WRITABLE);
	expect(text, "no writer beside a reader");
	free(text);
	let_go(&h);
}

static void body(void *arg)
{
	(void)arg;
	we_first();
	they_first();
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	char said[300];
	int fd;

	snprintf(path, sizeof(path), "%s/file-locks-XXXXXX",
		 tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	if (!tool("qemu-img create -q -f qcow2 -o size=1M", said,
		  sizeof(said))) {
		printf("no qemu-img: %s\n", said);
		unlink(path);
		printf("0 passed, 0 failed, 1 skipped\n");
		return 77;
	}
	test_run(1, 1, body, NULL);
	unlink(path);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
