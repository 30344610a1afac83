/* SPDX-License-Identifier: MIT */
/*
 * limbo-stress.c - overwriting through the fast path against discard, zeroes,
 * reallocation and flush, on real threads and an image with 16 free clusters
 * (A28).
 *
 *	limbo-stress [quick|check|soak] [-t SECONDS] [-s SEED] [-m on|off]
 *
 * Data requests below qcow2 are held back at random, long enough for a cluster
 * to be unlinked, freed and used for something else meanwhile. Every sector is
 * tagged with the guest sector that owns it and a generation. -m on: nothing
 * foreign or stale is ever read, for all of the time. -m off: with limbo
 * switched off the same stress must see it, within 60 seconds. Default: both.
 *
 * Half of the guest clusters are private: one coroutine reads and writes each,
 * and reads exactly its last generation. The others are shared: coroutines of
 * different threads write, discard and read them at once; what is read is
 * generations of this very sector, or zeroes.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drivers/format/qcow2/qcow2.h"
#include "graph/graph.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/mode.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/random.h"

#define CLUSTER_BITS 12u
#define CLUSTER (1u << CLUSTER_BITS)
#define SECTORS (CLUSTER / 512u)	/* in a cluster */
#define GUEST_CLUSTERS 96u
#define PRIVATE 48u			/* clusters below this */
#define FREE_CLUSTERS 16u
#define THREADS 3u
#define WORKERS 8u			/* of a thread */
#define HOLD_NS_MAX 3000000u
#define OFF_SECONDS 60u

static const struct root_ops stress_root_ops = {
	.kind = "export",
	.gated = true,
};

struct stress {
	uint64_t seed, deadline_ns;
	char path[200];
	struct root *root;
	/* atomic */
	uint64_t requests;
	bool violated;
	char text[200];		/* written by who set violated */
	/* of private clusters: its worker's; 0 zeroes */
	uint32_t generation[PRIVATE];
};

/* ---- a filter that holds data requests back ---- */

static uint64_t slow_state;

static uint64_t slow_random(uint64_t n)
{
	uint64_t state = __atomic_add_fetch(&slow_state,
					    UINT64_C(0x9e3779b97f4a7c15),
					    __ATOMIC_RELAXED);

	return random_next(&state, n);
}

static void slow_map(struct node *node, struct map *map)
{
	if (map->op == REQ_FLUSH || slow_random(3) == 0) {
		map->kind = MAP_FORWARD;
		map->child = node->file;
	} else {
		map->kind = MAP_SLOW;
	}
}

static void slow_hold(void)
{
	if (slow_random(2))
		co_sleep(slow_random(HOLD_NS_MAX));
}

static int64_t slow_read(struct node *node, uint64_t offset, uint32_t len,
			 void *buf)
{
	int64_t ret;

	slow_hold();
	ret = co_edge_read(node->file, offset, len, buf);
	return ret < 0 ? ret : len;
}

static int64_t slow_write(struct node *node, uint64_t offset, uint32_t len,
			  const void *buf, unsigned flags)
{
	int64_t ret;

	slow_hold();
	ret = co_edge_write(node->file, offset, len, buf, flags);
	return ret < 0 ? ret : len;
}

static int64_t slow_zeroes(struct node *node, uint64_t offset, uint32_t len,
			   unsigned flags)
{
	int64_t ret;

	slow_hold();
	ret = co_edge_zeroes(node->file, offset, len, flags);
	return ret < 0 ? ret : len;
}

static int64_t slow_discard(struct node *node, uint64_t offset, uint32_t len)
{
	int64_t ret;

	slow_hold();
	ret = co_edge_discard(node->file, offset, len);
	return ret < 0 ? ret : len;
}

static const struct child_decl slow_children[] = {
	{ .name = "file", .role = ROLE_FILTERED | ROLE_PRIMARY },
	{ .name = NULL },
};

static const struct driver slow_driver = {
	.name = "slow",
	.kind = DRIVER_FILTER,
	.children = slow_children,
	.map = slow_map,
	.read = slow_read,
	.write = slow_write,
	.zeroes = slow_zeroes,
	.discard = slow_discard,
};

/* ---- what the workers do ---- */

struct worker {
	struct crew_member member;
	struct stress *s;
	unsigned index;
	uint64_t random;
	uint32_t generation;	/* the last one used */
	unsigned char *buf;	/* a cluster */
};

__attribute__((format(printf, 2, 3)))
static void violation(struct stress *s, const char *fmt, ...)
{
	va_list ap;

	if (__atomic_exchange_n(&s->violated, true, __ATOMIC_ACQ_REL))
		return;
	va_start(ap, fmt);
	vsnprintf(s->text, sizeof(s->text), fmt, ap);
	va_end(ap);
}

static bool submit(struct worker *w, enum req_op op, uint64_t sector,
		   uint64_t count)
{
	struct request req = {
		.op = (uint8_t)op,
		.offset = sector * 512,
		.len = (uint32_t)(count * 512),
		.buf = op == REQ_READ || op == REQ_WRITE ? w->buf : NULL,
		.fixed = IO_NOT_FIXED,
	};
	int ret = co_root_submit(w->s->root, &req);

	__atomic_add_fetch(&w->s->requests, 1, __ATOMIC_RELAXED);
	if (ret < 0)
		violation(w->s, "request %d at sector %" PRIu64 " failed: %s",
			  op, sector, strerror(-ret));
	return ret >= 0;
}

static bool write_sectors(struct worker *w, uint64_t sector, unsigned count)
{
	w->generation++;
	for (unsigned i = 0; i < count; i++)
		model_fill(sector + i, w->generation, w->buf + i * 512);
	return submit(w, REQ_WRITE, sector, count);
}

static void read_private(struct worker *w, uint64_t cluster)
{
	uint64_t sector = cluster * SECTORS;
	uint32_t want = w->s->generation[cluster];

	if (!submit(w, REQ_READ, sector, SECTORS))
		return;
	for (unsigned i = 0; i < SECTORS; i++) {
		int64_t got = model_value(sector + i, w->buf + i * 512);

		if (got != want)
			violation(w->s, "private sector %" PRIu64 " holds "
				  "generation %u and reads as %" PRId64,
				  sector + i, want, got);
	}
}

/*
 * Word by word: the page cache copies a sector to one reader while another
 * request writes it, so generations may mix, owners may not.
 */
static void read_shared(struct worker *w, uint64_t cluster)
{
	uint64_t first = cluster * SECTORS, word;

	if (!submit(w, REQ_READ, first, SECTORS))
		return;
	for (unsigned i = 0; i < CLUSTER; i += sizeof(word)) {
		uint64_t sector = first + i / 512;

		memcpy(&word, w->buf + i, sizeof(word));
		if (word && word >> 32 != sector)
			violation(w->s, "shared sector %" PRIu64 " holds %#"
				  PRIx64 ", of sector %" PRIu64, sector, word,
				  word >> 32);
	}
}

/* A discard may keep what was there, so zeroes go where one has to know. */
static void step_private(struct worker *w)
{
	uint64_t each = PRIVATE / (THREADS * WORKERS);
	uint64_t cluster = w->index * each + random_next(&w->random, each);

	switch (random_next(&w->random, 6)) {
	case 0:
		if (submit(w, REQ_DISCARD, cluster * SECTORS, SECTORS) &&
		    submit(w, REQ_ZEROES, cluster * SECTORS, SECTORS))
			w->s->generation[cluster] = 0;
		break;
	case 1:
	case 2:
		if (write_sectors(w, cluster * SECTORS, SECTORS))
			w->s->generation[cluster] = w->generation;
		break;
	default:
		read_private(w, cluster);
		break;
	}
}

static void step_shared(struct worker *w)
{
	uint64_t cluster = PRIVATE + random_next(&w->random, GUEST_CLUSTERS -
						 PRIVATE);
	unsigned first = (unsigned)random_next(&w->random, SECTORS);

	switch (random_next(&w->random, 8)) {
	case 0:
	case 1:
		submit(w, REQ_DISCARD, cluster * SECTORS, SECTORS);
		break;
	case 2:
		submit(w, REQ_ZEROES, cluster * SECTORS, SECTORS);
		break;
	case 3:
		read_shared(w, cluster);
		break;
	case 4:
		/* part of a cluster: the rest is copied, or zeroed */
		write_sectors(w, cluster * SECTORS + first, SECTORS - first);
		break;
	default:
		write_sectors(w, cluster * SECTORS, SECTORS);
		break;
	}
}

static void worker_run(void *arg)
{
	struct worker *w = arg;

	while (clock_ns() < w->s->deadline_ns &&
	       !__atomic_load_n(&w->s->violated, __ATOMIC_ACQUIRE)) {
		if (random_next(&w->random, 16) == 0)
			submit(w, REQ_FLUSH, 0, 0);
		else if (random_next(&w->random, 2))
			step_private(w);
		else
			step_shared(w);
	}
}

/* ---- the image ---- */

static enum image_cluster kind(void *arg, uint64_t n)
{
	(void)arg;
	(void)n;
	return IMAGE_DATA;
}

/* All zeroes, all allocated, and after it FREE_CLUSTERS that are free. */
static uint64_t make_image(const char *path)
{
	const struct image_spec spec = {
		.version = 3,
		.cluster_bits = CLUSTER_BITS,
		.refcount_order = 4,
		.size = GUEST_CLUSTERS * CLUSTER,
		.kind = kind,
	};
	void *data;
	uint64_t size = image_build(&spec, &data);
	FILE *f = fopen(path, "w");
	bool ok = f && fwrite(data, 1, size, f) == size && fclose(f) == 0;

	free(data);
	size += FREE_CLUSTERS * CLUSTER;
	if (!ok || truncate(path, (off_t)size) < 0) {
		perror(path);
		exit(1);
	}
	return size;
}

static bool check_image(struct stress *s, uint64_t size)
{
	void *data = malloc(size);
	struct image_report report;
	FILE *f = fopen(s->path, "r");

	assert(data && f && fread(data, 1, size, f) == size);
	fclose(f);
	image_check(data, size, &report);
	free(data);
	if (report.errors)
		violation(s, "%" PRIu64 " errors in the closed image: %s",
			  report.errors, report.text);
	else if (report.leaks)
		violation(s, "%" PRIu64 " clusters leaked", report.leaks);
	return !report.errors && !report.leaks;
}

/* ---- one run ---- */

static struct node *open_image(struct stress *s, uint64_t size)
{
	struct error *err = NULL;
	struct node *node;
	json_t *o = json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:{s:s, s:I, s:s,"
			      " s:{s:s, s:s, s:s}}}}",
			      "driver", "qcow2", "node-name", "disk",
			      "discard", "unmap",
			      "file", "driver", "slow", "discard", "unmap",
			      "file", "driver", "raw", "size", (json_int_t)size,
			      "discard", "unmap",
			      "file", "driver", "file", "filename", s->path,
			      "discard", "unmap");

	assert(o);
	node = node_open(o, 0, &err);
	json_decref(o);
	if (!node) {
		fprintf(stderr, "open: %s\n", err->text);
		exit(1);
	}
	return node;
}

static void stress_body(void *arg)
{
	static struct worker workers[THREADS * WORKERS];
	struct stress *s = arg;
	struct crew crew = { .working = 0 };
	struct error *err = NULL;
	uint64_t size = make_image(s->path);
	struct node *node;

	driver_register(&slow_driver);
	node = open_image(s, size);
	s->root = root_new(&stress_root_ops, s, "the test", node,
			   PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, 512,
			   ((1u << THREADS) - 1) << 1, &err);
	assert(s->root);
	node_put(node, "opener");
	for (unsigned i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i].s = s;
		workers[i].index = i;
		workers[i].random = s->seed * 1000 + i;
		workers[i].buf = aligned_alloc(4096, CLUSTER);
		crew_start(&crew, &workers[i].member, 1 + i % THREADS,
			   worker_run, &workers[i]);
	}
	crew_wait(&crew);
	for (unsigned i = 0; i < ARRAY_SIZE(workers); i++)
		free(workers[i].buf);
	root_free(s->root);
	if (!s->violated)
		check_image(s, size);
}

static int run_one(bool limbo, uint64_t seconds, uint64_t seed)
{
	static struct stress s;
	const char *tmp = getenv("TMPDIR");
	int fd;

	s.seed = slow_state = seed;
	s.deadline_ns = clock_ns() + seconds * 1000000000;
	snprintf(s.path, sizeof(s.path), "%s/limbo-stress-XXXXXX",
		 tmp ? tmp : "/tmp");
	fd = mkstemp(s.path);
	if (fd < 0) {
		perror(s.path);
		return 2;
	}
	close(fd);
	qcow2_test_no_limbo = !limbo;
	test_run(THREADS, seed, stress_body, &s);
	unlink(s.path);
	printf("limbo %s: %" PRIu64 " requests; %s\n", limbo ? "on" : "off",
	       s.requests, s.violated ? s.text : "all right");
	fflush(stdout);
	return s.violated;
}

/* The real runtime starts once a process; and without limbo it may die of an
 * assertion as well, which counts as having seen it. */
static bool run_child(bool limbo, uint64_t seconds, uint64_t seed)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(run_one(limbo, seconds, seed));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	if (limbo)
		return WIFEXITED(status) && WEXITSTATUS(status) == 0;
	return WIFSIGNALED(status) ||
	       (WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

int main(int argc, char **argv)
{
	static const uint64_t seconds_of[] = { 3, 10, 3600 };
	enum test_mode run = test_mode(&argc, argv);
	uint64_t seconds = seconds_of[run], seed = 1;
	const char *mode = "both";
	unsigned failed = 0;
	int opt;

	while ((opt = getopt(argc, argv, "t:s:m:")) != -1) {
		switch (opt) {
		case 't': seconds = strtoull(optarg, NULL, 0); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'm': mode = optarg; break;
		default: return 2;
		}
	}
	if (strcmp(mode, "both"))
		return run_one(!strcmp(mode, "on"), seconds, seed);
	if (!run_child(false, OFF_SECONDS, seed)) {
		printf("limbo switched off went unnoticed\n");
		failed++;
	}
	if (!run_child(true, seconds, seed))
		failed++;
	printf("%u passed, %u failed, 0 skipped\n", 2 - failed, failed);
	return failed ? 1 : 0;
}
