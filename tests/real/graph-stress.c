/* SPDX-License-Identifier: MIT */
/*
 * Filters come and go on real threads while two of them do I/O: over the toy
 * disk, whose memory shows what was lost, over a file, and over null-co; and a
 * file is reopened (A37). Under TSan this is what finds a shape that I/O reads
 * while it changes (A5).
 *
 *	graph-stress [quick|check|soak]	how many changes
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/io.h"
#include "graph/reopen.h"
#include "tests/lib/crew.h"
#include "tests/lib/mode.h"
#include "tests/lib/random.h"
#include "tests/lib/suite.h"
#include "tests/lib/toy.h"

#define THREADS 2
#define WORKERS 8u		/* on each thread */
#define REGION 65536u		/* bytes of one worker */
#define SIZE (THREADS * WORKERS * REGION)

static unsigned rounds;

struct load {
	struct root *root;
	bool checks;		/* the disk remembers */
	bool reads;		/* and does no more */
	unsigned requests, errors;	/* atomic */
	bool stop;		/* atomic */
};

struct worker {
	struct crew_member member;
	struct load *load;
	unsigned number;
	uint64_t seed;
	char *model, *got;
};

static int one_request(struct worker *w)
{
	uint64_t base = (uint64_t)w->number * REGION;
	uint32_t len = 512 * (1 + (uint32_t)random_next(&w->seed, 16));
	uint64_t at = 512 * random_next(&w->seed, (REGION - len) / 512);
	struct root *root = w->load->root;
	int ret;

	switch (w->load->reads ? 8 : random_next(&w->seed, 16)) {
	case 0:
		return toy_request(root, REQ_FLUSH, 0, 0, NULL, 0);
	case 1:
		memset(w->model + at, 0, len);
		return toy_request(root, REQ_ZEROES, base + at, len, NULL, 0);
	case 2: case 3: case 4: case 5: case 6: case 7:
		memset(w->model + at, (int)random_next(&w->seed, 256), len);
		return toy_request(root, REQ_WRITE, base + at, len,
				   w->model + at, 0);
	default:
		ret = toy_request(root, REQ_READ, base + at, len, w->got, 0);
		if (!ret && w->load->checks &&
		    memcmp(w->got, w->model + at, len))
			ret = -EBADMSG;
		return ret;
	}
}

static void work(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(&w->load->stop, __ATOMIC_RELAXED)) {
		if (one_request(w))
			__atomic_add_fetch(&w->load->errors, 1,
					   __ATOMIC_RELAXED);
		__atomic_add_fetch(&w->load->requests, 1, __ATOMIC_RELAXED);
		/* null-co would never give the thread up */
		co_yield();
	}
}

static struct worker *start_workers(struct load *load, struct crew *crew)
{
	struct worker *workers = calloc(THREADS * WORKERS, sizeof(*workers));

	for (unsigned i = 0; i < THREADS * WORKERS; i++) {
		struct worker *w = &workers[i];

		w->load = load;
		w->number = i;
		w->seed = i;
		w->model = calloc(1, REGION);
		w->got = aligned_alloc(4096, REGION);
		crew_start(crew, &w->member, 1 + i % THREADS, work, w);
	}
	return workers;
}

static void free_workers(struct worker *workers)
{
	for (unsigned i = 0; i < THREADS * WORKERS; i++) {
		free(workers[i].model);
		free(workers[i].got);
	}
	free(workers);
}

/* Some requests pass between two changes, so that there is load to stop. */
static void co_some_pass(struct load *load)
{
	unsigned from = __atomic_load_n(&load->requests, __ATOMIC_RELAXED);

	while (__atomic_load_n(&load->requests, __ATOMIC_RELAXED) - from < 50)
		co_yield();
}

static void change_under_load(struct load *load, struct node *top)
{
	static const char *const filters[] = {
		"nop", "toy-filter", "toy-writes",
	};
	struct node *filter[3];
	struct error *err = NULL;
	unsigned depth = 0;
	uint64_t seed = 1, in_flight = 0;

	for (unsigned i = 0; i < rounds; i++) {
		struct change_stats stats;

		co_some_pass(load);
		if (depth < 3 && (!depth || random_next(&seed, 2))) {
			json_t *options = json_pack("{s:s}", "driver",
						    filters[i % 3]);

			filter[depth] = graph_insert(depth ? filter[depth - 1]
						     : top, NULL, options,
						     &stats, &err);
			json_decref(options);
			CU_ASSERT_PTR_NOT_NULL_FATAL(filter[depth]);
			depth++;
		} else {
			depth--;
			CU_ASSERT_EQUAL_FATAL(graph_remove(filter[depth], NULL,
							   &stats, &err), 0);
			toy_let_go(filter[depth]);
		}
		in_flight += stats.in_flight;
	}
	while (depth)
		toy_let_go(filter[--depth]);
	CU_ASSERT(load->root->drains.count == rounds);
	printf("%u changes, %.1f requests in flight at gate closing, mean"
	       " pause %.0f us, longest %.0f us, %u requests\n", rounds,
	       (double)in_flight / rounds,
	       (double)load->root->drains.total_ns / rounds / 1e3,
	       (double)load->root->drains.max_ns / 1e3,
	       __atomic_load_n(&load->requests, __ATOMIC_RELAXED));
}

struct stress {
	const char *json;
	bool checks;
};

static void body_stress(void *arg)
{
	const struct stress *s = arg;
	struct load load = { .checks = s->checks };
	struct crew crew = { 0 };
	struct worker *workers;
	struct node *top;

	toy_start();
	top = toy_open(s->json);
	load.root = toy_root("export 'd0'", top, true, 512);
	workers = start_workers(&load, &crew);
	change_under_load(&load, top);
	__atomic_store_n(&load.stop, true, __ATOMIC_RELAXED);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(load.errors, 0);
	root_free(load.root);
	free_workers(workers);
}

static void test_toy(void)
{
	struct stress s = {
		.json = "{\"driver\":\"toy-format\",\"file\":{\"driver\":"
			"\"toy\",\"size\":1048576,\"align\":4096},"
			"\"backing\":{\"driver\":\"toy\",\"size\":1048576}}",
		.checks = true,
	};

	static_assert(SIZE == 1048576, "the size above");
	test_run(THREADS, 1, body_stress, &s);
}

static void test_file(void)
{
	char path[] = "/tmp/graph-stress-XXXXXX", json[256];
	struct stress s = { .json = json, .checks = true };
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, SIZE) == 0);
	close(fd);
	snprintf(json, sizeof(json), "{\"driver\":\"raw\",\"discard\":"
		 "\"unmap\",\"file\":{\"driver\":\"file\",\"filename\":"
		 "\"%s\"}}", path);
	test_run(THREADS, 1, body_stress, &s);
	unlink(path);
}

static void test_null(void)
{
	struct stress s = {
		.json = "{\"driver\":\"null-co\",\"size\":1048576,"
			"\"read-zeroes\":true}",
	};

	test_run(THREADS, 1, body_stress, &s);
}

/* ---- reopening ---- */

/* What a reopening may change, of a node and the file below it. */
struct shape {
	bool read_only[2], direct[2], unmap[2], owes[2];
};

static struct shape shape_of(const struct node *top)
{
	const struct node *nodes[2] = { top, top->file->child };
	struct shape s = { { false }, { false }, { false }, { false } };

	for (unsigned i = 0; i < 2; i++) {
		s.read_only[i] = nodes[i]->read_only;
		s.direct[i] = nodes[i]->cache_direct;
		s.unmap[i] = nodes[i]->discard_unmap;
		s.owes[i] = nodes[i]->owes;
	}
	return s;
}

static int co_reopen_both(struct node *top, bool read_only, bool direct,
			  bool unmap)
{
	struct shape before = shape_of(top), after;
	struct error *err = NULL;
	struct reopen *r = reopen_new(top->file->child, &err);
	int ret;

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	r->next = reopen_new(top, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->next);
	r->read_only = r->next->read_only = read_only;
	r->cache_direct = direct;
	r->discard_unmap = unmap;
	ret = graph_reopen(r, NULL, &err);
	CU_ASSERT_EQUAL(!ret, !err);
	error_clear(&err);
	after = shape_of(top);
	if (ret < 0) {
		CU_ASSERT(!memcmp(&before, &after, sizeof(before)));
		return ret;
	}
	CU_ASSERT(after.read_only[0] == read_only &&
		  after.read_only[1] == read_only);
	CU_ASSERT(after.direct[1] == direct && after.unmap[1] == unmap);
	CU_ASSERT(!after.owes[0] && !after.owes[1]);
	return ret;
}

/* The file's bytes of locks, as others see them: that somebody writes, and that
 * somebody shares no writing (P3). */
#define LOCK_WRITES 101
#define LOCK_UNSHARED_WRITE 201

static bool lock_is_held(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			      .l_start = byte, .l_len = 1 };

	CU_ASSERT_EQUAL(fcntl(fd, F_OFD_GETLK, &lock), 0);
	return lock.l_type != F_UNLCK;
}

static void lock_set(int fd, short type, off_t byte)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET,
			      .l_start = byte, .l_len = 1 };

	CU_ASSERT_EQUAL(fcntl(fd, F_OFD_SETLK, &lock), 0);
}

static struct root *writer_new(struct node *top)
{
	static const struct root_ops ops = { .kind = "control" };
	struct error *err = NULL;
	struct root *root = root_new(&ops, NULL, "a writer", top, PERM_WRITE,
				     PERM_ALL, 512, 1, &err);

	CU_ASSERT_EQUAL(!root, !!err);
	error_clear(&err);
	return root;
}

/* Cache and discard, while all write; read-only is refused then. */
static void reopen_under_writes(struct load *load, struct node *top)
{
	bool can = co_reopen_both(top, false, true, true) == 0;
	uint64_t seed = 1;

	for (unsigned i = 0; i < rounds; i++) {
		co_some_pass(load);
		CU_ASSERT_EQUAL_FATAL(co_reopen_both(
			top, false, can && random_next(&seed, 2),
			random_next(&seed, 2)), 0);
		if (i % 8 == 0)
			CU_ASSERT(co_reopen_both(top, true, false, true) < 0);
	}
}

/* Read-only and back while all read, and with it the file's locks; another
 * program, which lets nobody write, refuses the way up. */
static void reopen_under_reads(struct load *load, struct node *top, int fd)
{
	for (unsigned i = 0; i < rounds / 4; i++) {
		struct root *writer = writer_new(top);

		CU_ASSERT_PTR_NOT_NULL_FATAL(writer);
		CU_ASSERT(lock_is_held(fd, LOCK_WRITES));
		co_some_pass(load);
		CU_ASSERT(co_reopen_both(top, true, false, true) < 0);
		CU_ASSERT(lock_is_held(fd, LOCK_WRITES));
		root_free(writer);
		CU_ASSERT_EQUAL(co_reopen_both(top, true, false, i % 2), 0);
		CU_ASSERT(!lock_is_held(fd, LOCK_WRITES));
		co_some_pass(load);
		CU_ASSERT_PTR_NULL(writer_new(top));
		lock_set(fd, F_RDLCK, LOCK_UNSHARED_WRITE);
		/* it may be opened for writing, while nobody does */
		(void)co_reopen_both(top, false, false, i % 2);
		CU_ASSERT_PTR_NULL(writer_new(top));
		CU_ASSERT(!lock_is_held(fd, LOCK_WRITES));
		co_some_pass(load);
		lock_set(fd, F_UNLCK, LOCK_UNSHARED_WRITE);
		CU_ASSERT_EQUAL(co_reopen_both(top, false, false, true), 0);
	}
}

struct reopening {
	const char *json;
	int fd;
};

static void body_reopen(void *arg)
{
	static const struct root_ops ops = { .kind = "export", .gated = true };
	const struct reopening *reopening = arg;
	struct load load = { .checks = true };
	struct crew crew = { 0 };
	struct worker *workers;
	struct error *err = NULL;
	struct node *top;

	toy_start();
	top = toy_open(reopening->json);
	toy_hold(top);
	load.root = toy_root("export 'd0'", top, true, 512);
	workers = start_workers(&load, &crew);
	reopen_under_writes(&load, top);
	__atomic_store_n(&load.stop, true, __ATOMIC_RELAXED);
	crew_wait(&crew);
	root_free(load.root);
	load.root = root_new(&ops, NULL, "export 'd1'", top,
			     PERM_CONSISTENT_READ, PERM_ALL, 512,
			     ((UINT64_C(1) << THREADS) - 1) << 1, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(load.root);
	load.stop = false;
	load.reads = true;
	for (unsigned i = 0; i < THREADS * WORKERS; i++)
		crew_start(&crew, &workers[i].member, 1 + i % THREADS, work,
			   &workers[i]);
	reopen_under_reads(&load, top, reopening->fd);
	__atomic_store_n(&load.stop, true, __ATOMIC_RELAXED);
	crew_wait(&crew);
	CU_ASSERT_EQUAL(load.errors, 0);
	root_free(load.root);
	toy_let_go(top);
	free_workers(workers);
}

static void test_reopen(void)
{
	char path[] = "/tmp/graph-stress-XXXXXX", json[256];
	int fd = mkstemp(path);
	struct reopening reopening = { json, fd };

	CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, SIZE) == 0);
	snprintf(json, sizeof(json), "{\"driver\":\"raw\",\"file\":{"
		 "\"driver\":\"file\",\"filename\":\"%s\"}}", path);
	test_run(THREADS, 1, body_reopen, &reopening);
	close(fd);
	unlink(path);
}

int main(int argc, char **argv)
{
	static const struct suite_test tests[] = {
		TEST(test_toy), TEST(test_file), TEST(test_null),
		TEST(test_reopen),
	};

	static const unsigned many[] = {
		[MODE_QUICK] = 40, [MODE_CHECK] = 150, [MODE_SOAK] = 10000,
	};

	rounds = many[test_mode(&argc, argv)];
	return suite_run("graph-stress", tests, ARRAY_SIZE(tests));
}
