/* SPDX-License-Identifier: MIT */
/*
 * file-driver.c - the file driver on a real file, cached and with O_DIRECT:
 * data, holes, FUA, the end of the file, and what opening refuses.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/root.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"

#define SIZE (1u << 20)
#define PIECE 65536u

static unsigned passed, failed, skipped;
static char path[200];

static void expect(bool ok, const char *mode, const char *what)
{
	ok ? passed++ : failed++;
	if (!ok)
		printf("failed, %s: %s\n", mode, what);
}

static bool all_are(const unsigned char *p, size_t len, unsigned char byte)
{
	while (len && p[len - 1] == byte)
		len--;
	return !len;
}

/* Reads the file past the driver. */
static bool file_is(uint64_t offset, size_t len, unsigned char byte)
{
	unsigned char *buf = malloc(len);
	FILE *f = fopen(path, "r");
	bool ok = buf && f && fseeko(f, (off_t)offset, SEEK_SET) == 0 &&
		  fread(buf, 1, len, f) == len && all_are(buf, len, byte);

	if (f)
		fclose(f);
	free(buf);
	return ok;
}

static uint64_t blocks(void)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static void requests(struct disk *d, const char *mode, unsigned char *buf)
{
	uint64_t before;

	memset(buf, 0x5a, PIECE);
	expect(disk_request(d, REQ_WRITE, 0, 0, PIECE, buf) == 0 &&
	       disk_request(d, REQ_WRITE, REQ_FUA, PIECE, PIECE, buf) == 0 &&
	       disk_request(d, REQ_FLUSH, 0, 0, 0, NULL) == 0 &&
	       file_is(0, 2 * PIECE, 0x5a), mode, "write, FUA and flush");
	/* memory and offset that O_DIRECT does not take */
	expect(disk_request(d, REQ_WRITE, 0, 512 + PIECE, 512, buf + 24) == 0 &&
	       file_is(PIECE, PIECE, 0x5a), mode, "an unaligned write");
	memset(buf, 0, PIECE);
	expect(disk_request(d, REQ_READ, 0, 512, 1024, buf + 8) == 0 &&
	       all_are(buf + 8, 1024, 0x5a), mode, "an unaligned read");
	before = blocks();
	expect(disk_request(d, REQ_DISCARD, 0, 0, PIECE, NULL) == 0 &&
	       disk_request(d, REQ_READ, 0, 0, PIECE, buf) == 0, mode,
	       "discard");
	if (file_is(0, PIECE, 0))
		expect(blocks() < before, mode, "discard makes a hole");
	else
		skipped++;	/* a file system without holes */
	memset(buf, 0x5a, PIECE);
	expect(disk_request(d, REQ_ZEROES, REQ_NO_UNMAP, PIECE, PIECE,
			    NULL) == 0 && file_is(PIECE, PIECE, 0), mode,
	       "zeroes that keep their space");
	expect(disk_request(d, REQ_WRITE, 0, SIZE - 512, 512, buf) == 0 &&
	       disk_request(d, REQ_READ, 0, SIZE - 4096, 4096, buf) == 0 &&
	       all_are(buf + 3584, 512, 0x5a), mode, "the last sector");
	expect(disk_request(d, REQ_WRITE, 0, SIZE, 512, buf) < 0, mode,
	       "nothing past the end");
}

static void run(const char *mode, const char *cache, bool may_skip)
{
	unsigned char *buf = aligned_alloc(4096, 2 * PIECE);
	struct error *err = NULL;
	char o[400];
	struct disk d;

	snprintf(o, sizeof(o), "{\"driver\": \"file\", \"discard\": \"unmap\","
		 " \"cache\": {\"direct\": %s}, \"filename\": \"%s\"}", cache,
		 path);
	if (buf && truncate(path, 0) == 0 && truncate(path, SIZE) == 0 &&
	    disk_open(&d, o, DISK_WRITABLE, 0, &err) == 0) {
		requests(&d, mode, buf);
		disk_close(&d);
	} else if (may_skip && err && err->code == EINVAL) {
		printf("skipped, %s: %s\n", mode, err->text);
		skipped++;
	} else {
		expect(false, mode, err ? err->text : "no file");
	}
	error_clear(&err);
	free(buf);
}

static void refusal(const char *what, const char *file, const char *part)
{
	char o[400], *text;

	snprintf(o, sizeof(o), "{\"driver\": \"file\", \"filename\": \"%s\"}",
		 file);
	text = disk_open_error(o, DISK_WRITABLE);
	expect(text && strstr(text, part) && strstr(text, file), "refused",
	       what);
	if (text && !strstr(text, part))
		printf("\tsaid: %s\n", text);
	free(text);
}

static void not_writable(void)
{
	struct error *err = NULL;
	struct disk d;
	char o[400];

	expect(chmod(path, 0400) == 0, "no permission", "chmod");
	refusal("no permission", path, "Permission denied");
	snprintf(o, sizeof(o), "{\"driver\": \"file\", \"auto-read-only\":"
		 " true, \"filename\": \"%s\"}", path);
	expect(disk_open(&d, o, PERM_CONSISTENT_READ, 0, &err) == 0 &&
	       d.node->read_only, "auto-read-only", "opens to read");
	if (err)
		error_clear(&err);
	else
		disk_close(&d);
}

static void body(void *arg)
{
	(void)arg;
	run("cached", "false", false);
	run("O_DIRECT", "true", true);
	refusal("a missing file", "/nowhere/at/all", "No such file");
	refusal("a directory", "/", "Could not open '/'");
	refusal("a character device", "/dev/null", "to be a regular file");
	not_writable();
}

/* Only who is not root is refused by a file's mode. */
static bool become_nobody(void)
{
	return geteuid() != 0 ||
	       (setresgid(65534, 65534, 65534) == 0 &&
		setresuid(65534, 65534, 65534) == 0);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	int fd;

	if (!become_nobody())
		return 1;
	snprintf(path, sizeof(path), "%s/file-driver-XXXXXX",
		 tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	test_run(1, 1, body, NULL);
	unlink(path);
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}
