/* SPDX-License-Identifier: MIT */
/*
 * Power cuts of the simulated runtime: for each sector what survives is a
 * version at least as new as the last one that a sync covered, and all that
 * may happen to the newer ones does happen (kept, lost, torn, in flight).
 *
 * Each writer has its own sectors and one operation in flight, so the versions
 * of a sector have an order.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sim.h"
#include "runtime/co.h"
#include "tests/lib/suite.h"

#define SECTOR 512
#define WRITERS 3
#define EACH 16			/* sectors of a writer */
#define SECTORS (WRITERS * EACH)
#define VERSIONS 64
#define SEEDS 1500

/* Of each sector. */
static unsigned submitted[SECTORS], completed[SECTORS], synced[SECTORS];
static bool zeroed[SECTORS][VERSIONS];

static struct file *file;
static unsigned running;
static struct co *main_co;

static struct {
	unsigned lost, kept, torn, in_flight, durable;
} seen;

static void fill(char *buf, unsigned sector, unsigned version)
{
	uint64_t *word = (uint64_t *)(void *)buf;

	for (unsigned i = 0; i < SECTOR / 8; i++)
		word[i] = (uint64_t)version << 32 | (sector + 1);
}

static void covered(unsigned sector, unsigned version)
{
	synced[sector] = max(synced[sector], version);
}

/* One write, punch or zeroing of some of the writer's sectors. */
static bool change_once(unsigned first, unsigned count)
{
	static char bufs[WRITERS][EACH * SECTOR];
	char *buf = bufs[first / EACH];
	unsigned kind = (unsigned)sim_random_below(8);
	struct io io = {
		.file = file, .op = IO_WRITE, .buf = buf,
		.offset = (uint64_t)first * SECTOR, .len = count * SECTOR,
		.fixed = IO_NOT_FIXED,
	};

	if (kind == 0) {
		io.op = IO_PUNCH;
	} else if (kind == 1) {
		io.op = IO_ZERO;
	} else if (kind == 2) {
		io.flags = IO_DSYNC;
	}
	for (unsigned s = first; s < first + count; s++) {
		unsigned version = ++submitted[s];

		zeroed[s][version] = io.op != IO_WRITE;
		fill(buf + (s - first) * SECTOR, s, version);
	}
	if (co_io(&io) < 0)
		return false;
	for (unsigned s = first; s < first + count; s++) {
		completed[s] = submitted[s];
		if (io.flags & IO_DSYNC)
			covered(s, completed[s]);
	}
	return true;
}

static bool sync_once(void)
{
	unsigned before[SECTORS];

	memcpy(before, completed, sizeof(before));
	if (co_file_sync(file) < 0)
		return false;
	for (unsigned s = 0; s < SECTORS; s++)
		covered(s, before[s]);
	return true;
}

static void writer(void *arg)
{
	unsigned mine = *(unsigned *)arg * EACH;

	for (unsigned i = 0; i < VERSIONS - 1; i++) {
		unsigned first = (unsigned)sim_random_below(EACH);
		unsigned count = 1 + (unsigned)sim_random_below(EACH - first);

		if (!change_once(mine + first, count))
			break;
		if (sim_random_below(8) == 0 && !sync_once())
			break;
	}
	if (__atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL) == 0)
		co_wake(main_co);
}

static unsigned numbers[WRITERS] = { 0, 1, 2 };
static struct message starts[WRITERS];

static void writer_start(struct message *msg)
{
	bool spawned = co_spawn(writer, &numbers[msg - starts]);

	assert(spawned);
}

static void body(void *arg)
{
	int rc = co_file_open("disk", O_RDWR, 0, &file);

	(void)arg;
	assert(rc == 0);
	main_co = co_self();
	running = WRITERS;
	for (unsigned i = 0; i < WRITERS; i++) {
		starts[i].fn = writer_start;
		thread_post(thread_by_index(i % thread_count()), &starts[i]);
	}
	co_wait();
	if (sim_write_count() % 2)
		sim_power_cut();
	co_file_close(file);
	runtime_quit();
}

/* The version in a sector; VERSIONS for zeroes. */
static unsigned version_in(const char *buf, unsigned sector)
{
	static const char zero[SECTOR];
	char expect[SECTOR];
	uint64_t word;

	if (memcmp(buf, zero, SECTOR) == 0)
		return VERSIONS;
	memcpy(&word, buf, sizeof(word));
	fill(expect, sector, (unsigned)(word >> 32));
	CU_ASSERT_FATAL(memcmp(buf, expect, SECTOR) == 0);
	return (unsigned)(word >> 32);
}

static bool zeroes_allowed(unsigned s)
{
	for (unsigned v = synced[s]; v <= submitted[s]; v++)
		if (v == 0 || zeroed[s][v])
			return true;
	return false;
}

static void check_sector(const char *buf, unsigned s)
{
	unsigned v = version_in(buf, s);

	if (v == VERSIONS) {
		CU_ASSERT_FATAL(zeroes_allowed(s));
		return;
	}
	CU_ASSERT_FATAL(v >= synced[s] && v <= submitted[s]);
	CU_ASSERT_FATAL(!zeroed[s][v]);
	seen.lost += v < completed[s];
	seen.kept += v > synced[s] && v == completed[s];
	seen.durable += v == synced[s] && v;
	seen.in_flight += v > completed[s];
}

static void check_image(bool cut)
{
	static char image[SECTORS * SECTOR];
	void *data;
	uint64_t size = sim_file_get("disk", &data);

	CU_ASSERT_FATAL(size <= sizeof(image));
	memset(image, 0, sizeof(image));
	memcpy(image, data, size);
	free(data);
	for (unsigned s = 0; s < SECTORS; s++) {
		check_sector(image + s * SECTOR, s);
		if (!cut && submitted[s] && !zeroed[s][submitted[s]])
			CU_ASSERT_FATAL(version_in(image + s * SECTOR, s) ==
					submitted[s]);
		/* neighbours that were written together but differ */
		if (s && submitted[s] == submitted[s - 1] &&
		    version_in(image + s * SECTOR, s) !=
			    version_in(image + (s - 1) * SECTOR, s - 1))
			seen.torn++;
	}
}

static void run_once(uint64_t seed, uint64_t cut_at)
{
	struct runtime_options opts = { .io_threads = 2, .seed = seed };
	struct error *err = NULL;
	uint64_t writes;
	int rc;

	memset(submitted, 0, sizeof(submitted));
	memset(completed, 0, sizeof(completed));
	memset(synced, 0, sizeof(synced));
	memset(zeroed, 0, sizeof(zeroed));
	sim_file_create("disk", 0);
	sim_power_cut_at(cut_at);
	rc = runtime_start(&opts, NULL, &err);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	runtime_run(body, NULL);
	writes = sim_write_count();
	runtime_stop();
	sim_power_cut_at(0);
	check_image(cut_at <= writes || writes % 2);
}

static void what_was_synced_survives(void)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		run_once(seed, 1 + seed % 150);
	CU_ASSERT(seen.lost > SEEDS);
	CU_ASSERT(seen.kept > SEEDS);
	CU_ASSERT(seen.durable > SEEDS);
	CU_ASSERT(seen.in_flight > SEEDS / 10);
	CU_ASSERT(seen.torn > SEEDS / 10);
}

static unsigned syncs;

static int fail_first_sync(void *arg, const struct io *io)
{
	(void)arg;
	return io->op == IO_SYNC && syncs++ == 0 ? -EIO : 0;
}

static void failed_sync_body(void *arg)
{
	static char buf[EACH * SECTOR];

	(void)arg;
	memset(buf, 'x', sizeof(buf));
	CU_ASSERT_EQUAL(co_file_open("disk", O_RDWR, 0, &file), 0);
	CU_ASSERT_EQUAL(co_file_write(file, 0, buf, sizeof(buf)), 0);
	CU_ASSERT_EQUAL(co_file_sync(file), -EIO);
	CU_ASSERT_EQUAL(co_file_sync(file), 0);
	/* the cache still has it */
	CU_ASSERT_EQUAL(co_file_read(file, 0, buf, sizeof(buf)), 0);
	CU_ASSERT_EQUAL(buf[0], 'x');
	sim_power_cut();
	co_file_close(file);
	runtime_quit();
}

/* After a failed sync a later good one promises nothing for what it missed. */
static void failed_sync_loses_data(void)
{
	unsigned lost = 0;

	sim_set_fault(fail_first_sync, NULL);
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct runtime_options opts = { .seed = seed };
		struct error *err = NULL;
		char *data;
		void *got;

		syncs = 0;
		sim_file_create("disk", EACH * SECTOR);
		CU_ASSERT_EQUAL_FATAL(runtime_start(&opts, NULL, &err), 0);
		runtime_run(failed_sync_body, NULL);
		runtime_stop();
		sim_file_get("disk", &got);
		data = got;
		for (unsigned s = 0; s < EACH; s++)
			lost += data[s * SECTOR] == 0;
		free(data);
	}
	sim_set_fault(NULL, NULL);
	CU_ASSERT(lost > 100);
	CU_ASSERT(lost < 100 * EACH);
}

static int hold_all(void *arg, const struct io *io)
{
	(void)arg;
	return io->op == IO_WRITE ? SIM_KEEP : 0;
}

static char held_buf[2][EACH * SECTOR];

static void held_write(void *arg)
{
	unsigned i = *(unsigned *)arg;

	CU_ASSERT_EQUAL(co_file_write(file, i * sizeof(held_buf[0]),
				      held_buf[i], sizeof(held_buf[0])), -EIO);
	if (__atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL) == 0)
		co_wake(main_co);
}

static void held_body(void *arg)
{
	(void)arg;
	CU_ASSERT_EQUAL(co_file_open("disk", O_RDWR, 0, &file), 0);
	main_co = co_self();
	running = 2;
	memset(held_buf, 'x', sizeof(held_buf));
	CU_ASSERT_TRUE(co_spawn(held_write, &numbers[0]));
	CU_ASSERT_TRUE(co_spawn(held_write, &numbers[1]));
	co_sleep(1);	/* both are held now */
	sim_power_cut();
	co_wait();
	co_file_close(file);
	runtime_quit();
}

static unsigned count_sectors(const char *data)
{
	unsigned n = 0;

	for (unsigned s = 0; s < EACH; s++)
		n += data[s * SECTOR] == 'x';
	return n;
}

/* What never took effect may still be on the disk, each write on its own. */
static void in_flight_writes_may_survive(void)
{
	unsigned fates[3][3] = { 0 };

	sim_set_fault(hold_all, NULL);
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct runtime_options opts = { .seed = seed };
		struct error *err = NULL;
		unsigned kept[2];
		char *data;
		void *got;

		sim_file_create("disk", 2 * EACH * SECTOR);
		CU_ASSERT_EQUAL_FATAL(runtime_start(&opts, NULL, &err), 0);
		runtime_run(held_body, NULL);
		runtime_stop();
		sim_file_get("disk", &got);
		data = got;
		for (unsigned i = 0; i < 2; i++) {
			kept[i] = count_sectors(data + i * EACH * SECTOR);
			kept[i] = kept[i] == EACH ? 2 : kept[i] != 0;
		}
		fates[kept[0]][kept[1]]++;
		free(data);
	}
	sim_set_fault(NULL, NULL);
	for (unsigned a = 0; a < 3; a++)
		for (unsigned b = 0; b < 3; b++)
			CU_ASSERT(fates[a][b] > 5);
}

static int rc_after[5];

static void after_cut_body(void *arg)
{
	struct file_info info;
	struct file *other = NULL;
	char buf[SECTOR] = { 1 };

	(void)arg;
	rc_after[0] = co_file_open("disk", O_RDWR, 0, &file);
	sim_power_cut();
	rc_after[0] = co_file_write(file, 0, buf, SECTOR);
	rc_after[1] = co_file_read(file, 0, buf, SECTOR);
	rc_after[2] = co_file_sync(file);
	rc_after[3] = co_file_open("disk", O_RDWR, 0, &other);
	rc_after[4] = co_file_info(file, &info);
	co_file_close(file);
	runtime_quit();
}

static void after_a_cut_everything_fails(void)
{
	struct runtime_options opts = { .io_threads = 1 };
	struct error *err = NULL;
	void *data;

	sim_file_create("disk", SECTOR);
	CU_ASSERT_EQUAL_FATAL(runtime_start(&opts, NULL, &err), 0);
	runtime_run(after_cut_body, NULL);
	runtime_stop();
	for (size_t i = 0; i < ARRAY_SIZE(rc_after); i++)
		CU_ASSERT_EQUAL(rc_after[i], -EIO);
	CU_ASSERT_EQUAL(sim_file_get("disk", &data), SECTOR);
	CU_ASSERT_EQUAL(*(char *)data, 0);
	free(data);
}

TEST_MAIN("runtime-cut", TEST(what_was_synced_survives),
	  TEST(failed_sync_loses_data), TEST(in_flight_writes_may_survive),
	  TEST(after_a_cut_everything_fails))
