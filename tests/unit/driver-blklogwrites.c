/* SPDX-License-Identifier: MIT */
/*
 * driver-blklogwrites.c - what the log says is what the disk had: all of it
 * when it is closed, whatever was in flight together, and at each flush where
 * the power was cut, at any write of the disk or the log.
 */
#include <endian.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define DISK "/sim/disk"
#define LOG "/sim/log"
#define SIZE 32768u
#define STEPS 24u
#define WRITERS 20u

static char sector_option[64];

static int open_logged(struct disk *d, const char *more, struct error **err)
{
	char text[512];

	snprintf(text, sizeof(text), "{\"driver\":\"blklogwrites\","
		 "\"node-name\":\"b\",\"discard\":\"unmap\",%s\"file\":{"
		 "\"driver\":\"file\",\"filename\":\"" DISK "\",\"discard\":"
		 "\"unmap\"},\"log\":{\"driver\":\"file\",\"node-name\":"
		 "\"l\",\"filename\":\"" LOG "\"}}", more);
	return disk_open(d, text, DISK_WRITABLE, 0, err);
}

/* ---- reading a log ---- */

struct replay {
	uint64_t entries, flushes, discards;
	uint32_t sector;
	char disk[SIZE];
	bool is_bad;
};

static uint64_t le(const char *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return le64toh(v);
}

/* What the log makes of an empty disk, up to this many flushes. */
static void replay_log(struct replay *r, uint64_t flushes)
{
	void *data;
	uint64_t size = sim_file_get(LOG, &data), at, count;
	const char *log = data;

	memset(r, 0, sizeof(*r));
	r->is_bad = size < 32 || le(log) != UINT64_C(0x6a736677736872) ||
		    le(log + 8) != 1;
	count = r->is_bad ? 0 : le(log + 16);
	r->sector = r->is_bad ? 512 : (uint32_t)le(log + 24);
	for (at = r->sector; r->entries < count && r->flushes < flushes;
	     r->entries++) {
		uint64_t offset, len, flags;

		if (at + 32 > size) {
			r->is_bad = true;
			break;
		}
		offset = le(log + at) * r->sector;
		len = le(log + at + 8) * r->sector;
		flags = le(log + at + 16);
		at += r->sector;
		r->is_bad |= offset + len > SIZE || flags & ~UINT64_C(5);
		if (r->is_bad)
			break;
		r->flushes += flags & 1;
		if (flags & 4) {
			memset(r->disk + offset, 0, len);
			r->discards++;
			continue;
		}
		r->is_bad |= at + len > size;
		if (r->is_bad)
			break;
		memcpy(r->disk + offset, log + at, len);
		at += len;
	}
	free(data);
}

/* ---- cuts ---- */

static struct trial {
	uint64_t cut_at;
	/* what it had at each flush that was acknowledged */
	char at_flush[STEPS][SIZE];
	unsigned flushes, acknowledged;
	int base;		/* of the bytes that it writes */
} trial;

static void body_cut(void *arg)
{
	static char model[SIZE], buf[4096];
	struct error *err = NULL;
	struct disk d;
	bool over = false;

	(void)arg;
	memset(model, 0, sizeof(model));
	trial.flushes = trial.acknowledged = 0;
	CU_ASSERT_EQUAL(open_logged(&d, sector_option, &err), 0);
	sim_power_cut_at(trial.cut_at);
	for (unsigned i = 0; i < STEPS && !over; i++) {
		uint64_t at = 512 * (i * 7 % 50), len = 512 * (1 + i % 8);
		enum req_op op = i % 5 == 4 ? REQ_FLUSH : i % 7 == 3 ?
			REQ_ZEROES : i % 11 == 6 ? REQ_DISCARD : REQ_WRITE;

		at = align_down(at, 4096);
		len = align_up(len, 4096);
		if (op == REQ_FLUSH) {
			over = disk_request(&d, op, 0, 0, 0, NULL) < 0;
			if (!over)
				memcpy(trial.at_flush[trial.flushes++], model,
				       SIZE);
			continue;
		}
		memset(buf, trial.base + (int)i, sizeof(buf));
		over = disk_request(&d, op, 0, at, (uint32_t)len,
				    op == REQ_WRITE ? buf : NULL) < 0;
		trial.acknowledged += !over;
		memset(model + at, op == REQ_WRITE ? trial.base + (int)i : 0,
		       len);
	}
	disk_close(&d);
}

static void cut_at(uint64_t n)
{
	static struct replay r;

	sim_file_create(DISK, SIZE);
	sim_file_create(LOG, 0);
	/* a log that was there before */
	trial.cut_at = 0;
	trial.base = 1;
	test_run(1, 1, body_cut, NULL);
	sim_file_create(DISK, SIZE);
	trial.cut_at = n;
	trial.base = 100;
	test_run(1, n + 1, body_cut, NULL);
	replay_log(&r, UINT64_MAX);
	CU_ASSERT(!r.is_bad);
	CU_ASSERT(r.flushes >= trial.flushes);
	for (unsigned i = 0; i < SIZE && trial.acknowledged; i++)
		if (r.disk[i] && r.disk[i] < 100) {
			CU_FAIL("an entry of the log before");
			break;
		}
	for (unsigned f = 0; f < trial.flushes; f++) {
		replay_log(&r, f + 1);
		CU_ASSERT(!memcmp(r.disk, trial.at_flush[f], SIZE));
	}
}

static void cut_everywhere(void)
{
	static const char *const sizes[] = { "", "\"log-sector-size\":4096,",
		"\"log-super-update-interval\":3," };
	uint64_t end;

	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
		strcpy(sector_option, sizes[s]);
		cut_at(0);
		CU_ASSERT_EQUAL(trial.flushes, 4);
		end = sim_write_count();
		CU_ASSERT(end > 60);
		for (uint64_t n = 1; n <= end; n++)
			cut_at(n);
	}
}

/* ---- in flight together ---- */

struct log_writer {
	struct crew_member member;
	struct root *root;
	char buf[2048];
};

static void write_some(void *arg)
{
	struct log_writer *w = arg;

	for (unsigned i = 0; i < 4; i++) {
		enum req_op op = sim_random_below(8) ? REQ_WRITE :
			sim_random_below(2) ? REQ_FLUSH : REQ_ZEROES;

		memset(w->buf, 1 + (int)sim_random_below(255),
		       sizeof(w->buf));
		CU_ASSERT_EQUAL(toy_request(w->root, op, op == REQ_FLUSH ? 0 :
			512 * sim_random_below(8), op == REQ_FLUSH ? 0 : 2048,
			op == REQ_WRITE ? w->buf : NULL, 0), 0);
	}
}

static void body_together(void *arg)
{
	static struct log_writer writers[WRITERS];
	struct crew crew = { 0 };
	struct root *root;

	(void)arg;
	toy_start();
	root = toy_root("export 'b'", toy_open("{'driver':'blklogwrites',"
		"'node-name':'b','file':{'driver':'file','filename':'" DISK
		"'},'log':{'driver':'file','filename':'" LOG "'}}"), true,
		512);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].root = root;
		crew_start(&crew, &writers[i].member, 1 + i % 2, write_some,
			   &writers[i]);
	}
	crew_wait(&crew);
	root_free(root);
}

static void together(void)
{
	static struct replay r;

	for (uint64_t seed = 0; seed < 300; seed++) {
		void *disk;

		sim_file_create(DISK, SIZE);
		sim_file_create(LOG, 0);
		test_run(2, seed, body_together, NULL);
		replay_log(&r, UINT64_MAX);
		CU_ASSERT(!r.is_bad);
		/* closing counts what no flush did */
		CU_ASSERT_EQUAL(r.entries, 4 * WRITERS);
		CU_ASSERT_EQUAL(sim_file_get(DISK, &disk), SIZE);
		CU_ASSERT(!memcmp(disk, r.disk, SIZE));
		free(disk);
	}
}

/* ---- what fails, and what is wrong ---- */

static int fail_log(void *arg, const struct io *io)
{
	const bool *fails = arg;

	return *fails && io->op == IO_WRITE && io->offset >= 512 ? -ENOSPC : 0;
}

/* What is not in the log is not acknowledged; the next entry takes its place.
 */
static void body_log_fails(void *arg)
{
	static char buf[4096];
	struct error *err = NULL;
	bool fails = false;
	struct disk d;

	(void)arg;
	CU_ASSERT_EQUAL(open_logged(&d, "", &err), 0);
	CU_ASSERT_EQUAL(d.node->limits.align, 512);
	memset(buf, 1, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 0, 4096, buf), 0);
	sim_set_fault(fail_log, &fails);
	fails = true;
	memset(buf, 2, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 4096, 4096, buf),
			-ENOSPC);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), -ENOSPC);
	fails = false;
	memset(buf, 3, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 8192, 4096, buf), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 8192, 4096, buf), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	sim_set_fault(NULL, NULL);
	disk_close(&d);
}

static void log_fails(void)
{
	static struct replay r;

	sim_file_create(DISK, SIZE);
	sim_file_create(LOG, 0);
	test_run(1, 1, body_log_fails, NULL);
	replay_log(&r, UINT64_MAX);
	CU_ASSERT(!r.is_bad);
	CU_ASSERT_EQUAL(r.entries, 3);
	CU_ASSERT(r.disk[0] == 1 && r.disk[4096] == 0 && r.disk[8192] == 3);
}

/* A log goes on; another begins anew, and does not count what was there. */
static void body_go_on(void *arg)
{
	static char buf[512];
	struct error *err = NULL;
	struct disk d;

	CU_ASSERT_EQUAL(open_logged(&d, arg, &err), 0);
	if (err)
		fprintf(stderr, "%s\n", err->text);
	memset(buf, 5, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 1024, 512, buf), 0);
	disk_close(&d);
}

static void go_on(void)
{
	static struct replay r;
	char append[] = "\"log-append\":true,", anew[] = "";

	sim_file_create(DISK, SIZE);
	sim_file_create(LOG, 0);
	for (unsigned i = 1; i <= 3; i++) {
		test_run(1, i, body_go_on, append);
		replay_log(&r, UINT64_MAX);
		CU_ASSERT(!r.is_bad && r.entries == i);
	}
	test_run(1, 1, body_go_on, anew);
	replay_log(&r, UINT64_MAX);
	CU_ASSERT(!r.is_bad && r.entries == 1);
}

static void is_refused(const char *more, const char *text)
{
	struct error *err = NULL;
	struct disk d;

	CU_ASSERT(open_logged(&d, more, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->text, text);
	error_clear(&err);
}

#define APPEND "\"log-append\":true,"

static void body_bad(void *arg)
{
	uint64_t log[1024 / 8] = { 0 };

	(void)arg;
	is_refused("\"log-sector-size\":500,", "Invalid log sector size 500 of"
		   " node 'b': a power of two from 32 to 65536 is none");
	is_refused("\"log-sector-size\":131072,", "Invalid log sector size"
		   " 131072 of node 'b': a power of two from 32 to 65536 is"
		   " none");
	is_refused("\"log-super-update-interval\":0,", "Invalid log superblock"
		   " update interval 0");
	is_refused(APPEND "\"log-sector-size\":512,", "log-append and"
		   " log-sector-size are mutually exclusive");
	log[0] = 1;
	sim_file_set(LOG, log, sizeof(log));
	is_refused(APPEND, "Invalid log superblock magic in the log 'l' of"
		   " node 'b'");
	log[0] = htole64(UINT64_C(0x6a736677736872));
	log[1] = htole64(2);
	sim_file_set(LOG, log, sizeof(log));
	is_refused(APPEND, "Unsupported log version 2 in the log 'l' of node"
		   " 'b'");
	log[1] = htole64(1);
	log[2] = htole64(2);
	log[3] = htole64(512);
	sim_file_set(LOG, log, sizeof(log));
	is_refused(APPEND, "Only 1 of 2 entries are there in the log 'l' of"
		   " node 'b'");
	log[65] = htole64(UINT64_MAX / 512);
	sim_file_set(LOG, log, sizeof(log));
	is_refused(APPEND, "Log entry 0 ends behind the log in the log 'l' of"
		   " node 'b'");
	log[66] = htole64(32);
	sim_file_set(LOG, log, sizeof(log));
	is_refused(APPEND, "Invalid flags 0x20 in log entry 0 in the log 'l'"
		   " of node 'b'");
	CU_ASSERT_EQUAL(sim_files_open(), 0);
}

static void bad(void)
{
	sim_file_create(DISK, SIZE);
	sim_file_create(LOG, 0);
	test_run(1, 1, body_bad, NULL);
}

TEST_MAIN("blklogwrites",
	  TEST(cut_everywhere),
	  TEST(together),
	  TEST(log_fails),
	  TEST(go_on),
	  TEST(bad))
