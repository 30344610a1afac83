/* SPDX-License-Identifier: MIT */
/*
 * disk-case.c - see disk-case.h.
 */
#include "tests/lib/disk-case.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/format/qcow2/check.h"
#include "graph/graph.h"
#include "runtime/sim.h"
#include "tests/lib/random.h"

/* HIDDEN: zeroes, or the base's where it is attached and nothing was written
 * to the cluster. */
enum { VALUE_IMAGE = 1, VALUE_BASE = 2, VALUE_HIDDEN = 3 };

#define CASE_THREADS 2u

static const struct root_ops case_root_ops = {
	.kind = "export",
	.gated = true,
};

__attribute__((format(printf, 2, 3)))
static void case_fail(struct disk_case *c, const char *fmt, ...)
{
	va_list ap;

	if (c->bad)
		return;
	c->bad = true;
	va_start(ap, fmt);
	vsnprintf(c->text, sizeof(c->text), fmt, ap);
	va_end(ap);
}

/* ---- what the seed says ---- */

/* Sizes in clusters that reach second L2 tables and refcount blocks where
 * clusters are small, and stay cheap where they are large. */
static const struct {
	unsigned cluster_bits, weight, least, spread;
} shapes[] = {
	{ 9, 30, 100, 400 }, { 10, 12, 60, 150 }, { 11, 8, 60, 100 },
	{ 12, 16, 40, 60 }, { 14, 10, 20, 30 }, { 16, 20, 8, 12 },
	{ 17, 4, 4, 4 },
};

/* percent of holes, data, zeroes, allocated zeroes, compressed */
static const unsigned fillings[][5] = {
	{ 100, 0, 0, 0, 0 }, { 0, 100, 0, 0, 0 }, { 40, 30, 10, 10, 10 },
	{ 20, 20, 20, 20, 20 }, { 50, 50, 0, 0, 0 }, { 20, 0, 0, 0, 80 },
};

static void case_choose_size(struct disk_case *c, uint64_t *r)
{
	uint64_t pick = random_next(r, 100), bytes;
	size_t i = 0;

	while (pick >= shapes[i].weight)
		pick -= shapes[i++].weight;
	c->spec.cluster_bits = shapes[i].cluster_bits;
	bytes = (shapes[i].least + random_next(r, shapes[i].spread)) <<
		c->spec.cluster_bits;
	if (random_next(r, 3) == 0)
		bytes -= 512 * random_next(r, 1u << (c->spec.cluster_bits - 9));
	c->spec.size = bytes;
}

/* The refcount table is full but for a few clusters, and has to move. */
static void case_fill_reftable(struct disk_case *c, uint64_t *r)
{
	c->spec.cluster_bits = 9;
	c->spec.refcount_order = 6;
	c->spec.size = 4400 << 9;
	memcpy(c->odds, (const unsigned[5]){ 0, 100, 0, 0, 0 },
	       sizeof(c->odds));
	/* with its tables that makes 64 * 64 clusters, or a few less */
	c->holes_from = 3910 + random_next(r, 30);
	c->hot = c->holes_from;
	c->hot_count = 400;
}

/* An empty image that needs refcount blocks all the time. */
static void case_grow(struct disk_case *c)
{
	c->spec.cluster_bits = 9;
	c->spec.refcount_order = 6;
	c->spec.size = 800 << 9;
	memcpy(c->odds, (const unsigned[5]){ 100, 0, 0, 0, 0 },
	       sizeof(c->odds));
	c->hot = 0;
	c->hot_count = 800;
	c->ops = 40;
}

static void case_choose_hot(struct disk_case *c, uint64_t *r)
{
	uint64_t clusters = c->spec.size >> c->spec.cluster_bits;

	c->holes_from = UINT64_MAX;
	c->hot_count = min(4 + random_next(r, 8), clusters);
	c->hot = random_next(r, clusters - c->hot_count + 1);
	if (c->spec.version == 3 && random_next(r, 10) == 0)
		case_fill_reftable(c, r);
	else if (c->spec.version == 3 && random_next(r, 8) == 0)
		case_grow(c);
}

void disk_case_init(struct disk_case *c, uint64_t seed)
{
	uint64_t r = seed;

	*c = (struct disk_case){
		.seed = seed, .workers = 3, .ops = 24, .space = UINT64_MAX,
	};
	case_choose_size(c, &r);
	c->spec.version = random_next(&r, 5) ? 3 : 2;
	c->spec.refcount_order = 4;
	if (c->spec.version == 3 && random_next(&r, 2))
		c->spec.refcount_order = (unsigned)random_next(&r, 7);
	c->spec.lazy_refcounts = c->spec.version == 3 &&
				 random_next(&r, 4) == 0;
	memcpy(c->odds, fillings[random_next(&r, ARRAY_SIZE(fillings))],
	       sizeof(c->odds));
	case_choose_hot(c, &r);
	if (random_next(&r, 5) < 2) {
		c->spec.backing = "base.raw";
		c->spec.backing_format = "raw";
		c->base_size = c->spec.size;
		if (random_next(&r, 3) == 0)
			c->base_size = 512 * random_next(&r, c->spec.size /
							     512);
	}
	c->align = 1;
	if (random_next(&r, 4) == 0) {
		c->direct = true;
		c->align = random_next(&r, 3) ? 512 : 4096;
		c->spec.size = align_down(c->spec.size, c->align);
		c->base_size = align_down(c->base_size, c->align);
	}
	c->without_base = c->spec.backing && random_next(&r, 4) == 0;
}

void disk_case_describe(const struct disk_case *c, char *text, size_t len)
{
	snprintf(text, len, "seed %" PRIu64 ": v%u clusters %u refcount %u"
		 " size %" PRIu64 "%s%s%s align %u cut %" PRIu64, c->seed,
		 c->spec.version, 1u << c->spec.cluster_bits,
		 1u << c->spec.refcount_order, c->spec.size,
		 c->spec.lazy_refcounts ? " lazy" : "",
		 !c->spec.backing ? "" : c->without_base ? " without base" :
		 " backing",
		 c->direct ? " direct" : "", c->align, c->cut_at);
}

static enum image_cluster case_kind(void *arg, uint64_t n)
{
	const struct disk_case *c = arg;
	uint64_t r = c->seed * 7919 + n;
	uint64_t pick = random_next(&r, 100);
	unsigned i = 0;

	if (n >= c->holes_from)
		return IMAGE_HOLE;
	while (pick >= c->odds[i])
		pick -= c->odds[i++];
	if (c->spec.version == 2 &&
	    (i == IMAGE_ZERO || i == IMAGE_ZERO_ALLOCATED))
		i = IMAGE_DATA;
	return (enum image_cluster)i;
}

static void case_fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)arg;
	for (uint32_t i = 0; i < len; i += 512)
		model_fill((offset + i) / 512, VALUE_IMAGE, (char *)buf + i);
}

/* ---- files and model ---- */

static bool base_has_data(const struct disk_case *c, uint64_t sector)
{
	uint64_t r = c->seed * 104729 + sector / 8;

	return random_next(&r, 4) != 0;
}

static void case_make_base(struct disk_case *c)
{
	unsigned char *data = calloc(1, c->base_size + 512);

	assert(data);
	for (uint64_t i = 0; i < c->base_size / 512; i++)
		if (base_has_data(c, i))
			model_fill(i, VALUE_BASE, data + i * 512);
	sim_file_create(CASE_BASE, 0);
	sim_file_set(CASE_BASE, data, c->base_size);
	free(data);
}

static uint32_t case_first_value(struct disk_case *c, uint64_t sector)
{
	switch (case_kind(c, sector * 512 >> c->spec.cluster_bits)) {
	case IMAGE_DATA:
	case IMAGE_PACKED:
		return VALUE_IMAGE;
	case IMAGE_HOLE:
		if (sector >= c->base_size / 512 || !base_has_data(c, sector))
			return 0;
		return c->without_base ? VALUE_HIDDEN : VALUE_BASE;
	case IMAGE_ZERO:
	case IMAGE_ZERO_ALLOCATED:
		break;
	}
	return 0;
}

void disk_case_make(struct disk_case *c)
{
	uint64_t size;
	void *data;

	c->spec.kind = case_kind;
	c->spec.fill = case_fill;
	c->spec.arg = c;
	size = image_build(&c->spec, &data);
	if (c->device) {
		data = realloc(data, size + c->device);
		assert(data);
		memset((char *)data + size, 0xa5, c->device);
		size += c->device;
	}
	sim_file_create(CASE_IMAGE, 0);
	sim_file_set(CASE_IMAGE, data, size);
	if (c->device)
		sim_file_block_device(CASE_IMAGE);
	free(data);
	if (c->limit)
		sim_file_limit(CASE_IMAGE, size + c->limit);
	if (c->space != UINT64_MAX)
		sim_file_space(CASE_IMAGE, sim_file_allocated(CASE_IMAGE) +
					   (c->space << 12));
	if (c->direct)
		sim_file_align(CASE_IMAGE, c->align);
	if (c->spec.backing)
		case_make_base(c);
	model_init(&c->model, c->spec.size);
	c->model.next_value = VALUE_HIDDEN + 1;
	for (uint64_t i = 0; i < c->model.sectors; i++)
		model_set(&c->model, i, case_first_value(c, i));
}

void disk_case_free(struct disk_case *c)
{
	model_free(&c->model);
	sim_file_remove(CASE_IMAGE);
	if (c->spec.backing)
		sim_file_remove(CASE_BASE);
}

/* ---- requests ---- */

struct worker {
	struct crew_member member;
	struct disk_case *c;
	uint64_t random;
	unsigned char *buf;
	uint32_t buf_sectors;
	unsigned refused;	/* in a row */
};

/* Whether a request may fail now. */
static bool case_may_fail(const struct disk_case *c)
{
	return c->faults || c->limit || c->device ||
	       (c->cut_at && sim_write_count() >= c->cut_at);
}

/* On a full host what changes an image's size has no space, nothing else. */
static bool case_is_full(const struct disk_case *c, enum req_op op, int error)
{
	return c->space != UINT64_MAX && error == -ENOSPC &&
	       (op == REQ_WRITE || op == REQ_ZEROES);
}

static int worker_submit(struct worker *w, enum req_op op, unsigned flags,
			 uint64_t sector, uint64_t count)
{
	struct request req = {
		.op = (uint8_t)op,
		.flags = (uint8_t)flags,
		.offset = sector * 512,
		.len = (uint32_t)(count * 512),
		.buf = op == REQ_READ || op == REQ_WRITE ? w->buf : NULL,
		.fixed = IO_NOT_FIXED,
	};
	int ret = co_root_submit(w->c->root, &req);

	w->c->done++;
	w->refused = ret < 0 ? w->refused + 1 : 0;
	if (ret < 0) {
		w->c->errors++;
		if (!case_may_fail(w->c) && !case_is_full(w->c, op, ret))
			case_fail(w->c, "request %d of %" PRIu64 " sectors at "
				  "%" PRIu64 " failed: %s", op, count, sector,
				  strerror(-ret));
	}
	return ret;
}

/* exact: nothing was cut off, so what was acknowledged holds. */
static bool case_allows(const struct disk_case *c, uint64_t sector,
			const void *bytes, bool exact)
{
	bool (*allows)(const struct disk_model *m, uint64_t at,
		       const void *has) = exact ? model_allows_now
						: model_allows_cut;
	int64_t value = model_value(sector, bytes);
	unsigned char hidden[512];

	if (allows(&c->model, sector, bytes))
		return true;
	if (value != 0 && !(c->verifying && value == VALUE_BASE))
		return false;
	model_fill(sector, VALUE_HIDDEN, hidden);
	return allows(&c->model, sector, hidden);
}

/* Whether bytes are zeroes, or were written to this very sector. */
static bool is_own(const struct disk_model *m, uint64_t sector,
		   const void *bytes)
{
	int64_t value = model_value(sector, bytes);

	return value >= 0 && value < m->next_value;
}

static void worker_read(struct worker *w, uint64_t sector, uint64_t count)
{
	const struct disk_model *m = &w->c->model;
	char text[200];

	if (worker_submit(w, REQ_READ, 0, sector, count) < 0)
		return;
	for (uint64_t i = 0; i < count; i++) {
		const void *bytes = w->buf + i * 512;

		if (w->c->overlap ? is_own(m, sector + i, bytes)
				  : case_allows(w->c, sector + i, bytes, true))
			continue;
		model_describe(&w->c->model, sector + i, text, sizeof(text));
		case_fail(w->c, "live read: %s and reads as %" PRId64, text,
			  model_value(sector + i, bytes));
	}
}

static void case_start(struct disk_case *c, uint64_t sector, uint64_t count,
		       uint32_t value, bool discard)
{
	if (!c->overlap)
		model_start(&c->model, sector, count, value, discard);
}

static void case_end(struct disk_case *c, uint64_t sector, uint64_t count,
		     bool ok, bool durable)
{
	if (!c->overlap)
		model_end(&c->model, sector, count, ok, durable);
}

static void worker_write(struct worker *w, uint64_t sector, uint64_t count,
			 bool fua)
{
	struct disk_model *m = &w->c->model;
	uint32_t value = model_new_value(m);
	int ret;

	for (uint64_t i = 0; i < count; i++)
		model_fill(sector + i, value, w->buf + i * 512);
	case_start(w->c, sector, count, value, false);
	ret = worker_submit(w, REQ_WRITE, fua ? REQ_FUA : 0, sector, count);
	case_end(w->c, sector, count, ret >= 0, fua);
}

static void worker_zeroes(struct worker *w, uint64_t sector, uint64_t count,
			  unsigned flags)
{
	int ret;

	case_start(w->c, sector, count, 0, false);
	ret = worker_submit(w, REQ_ZEROES, flags, sector, count);
	case_end(w->c, sector, count, ret >= 0, flags & REQ_FUA);
}

static void worker_discard(struct worker *w, uint64_t sector, uint64_t count)
{
	int ret;

	case_start(w->c, sector, count, 0, true);
	ret = worker_submit(w, REQ_DISCARD, 0, sector, count);
	case_end(w->c, sector, count, ret >= 0, false);
}

static void worker_flush(struct worker *w)
{
	uint64_t at = model_flush_start(&w->c->model);

	if (worker_submit(w, REQ_FLUSH, 0, 0, 0) >= 0)
		model_flush_end(&w->c->model, at);
}

/* Ranges of a few sectors up to a few clusters, often whole clusters. */
static void worker_pick(struct worker *w, uint64_t *sector, uint64_t *count)
{
	const struct disk_case *c = w->c;
	uint64_t per_cluster = 1u << (c->spec.cluster_bits - 9);
	uint64_t all = c->model.sectors;

	if (random_next(&w->random, 3))
		*sector = (c->hot + random_next(&w->random, c->hot_count)) *
			  per_cluster + random_next(&w->random, per_cluster);
	else
		*sector = random_next(&w->random, all);
	*sector = min(*sector, all - 1);
	*count = 1 + random_next(&w->random, random_next(&w->random, 2) ?
				 2 * per_cluster : min(per_cluster, 8ul));
	if (random_next(&w->random, 3) == 0) {
		*sector -= *sector % per_cluster;
		*count = per_cluster * (1 + random_next(&w->random, 2));
	}
	*count = min(*count, (uint64_t)w->buf_sectors);
	*count = min(*count, all - *sector);
}

static void worker_step(struct worker *w)
{
	uint64_t dice = random_next(&w->random, 100), sector, count;
	uint64_t more = random_next(&w->random, 4);

	if (dice < 12) {
		worker_flush(w);
		return;
	}
	worker_pick(w, &sector, &count);
	if (!w->c->overlap && !model_claim(&w->c->model, sector, count)) {
		co_yield();
		return;
	}
	if (dice < 28)
		worker_read(w, sector, count);
	else if (dice < 72)
		worker_write(w, sector, count, more == 0);
	else if (dice < 84)
		worker_zeroes(w, sector, count, (more & 1 ? REQ_FUA : 0) |
			      (more & 2 ? REQ_NO_UNMAP : 0));
	else
		worker_discard(w, sector, count);
	if (!w->c->overlap)
		model_unclaim(&w->c->model, sector, count);
}

static void worker_run(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->c->ops && !w->c->bad; i++) {
		/* after a cut nothing works again */
		if (w->refused > 3 && w->c->cut_at)
			return;
		worker_step(w);
	}
	/* all that was acknowledged, however little space is left */
	if (w->c->space != UINT64_MAX)
		worker_flush(w);
}

/* ---- one run ---- */

static void buffer_take(struct worker *w)
{
	w->buf_sectors = 2 * max(1u << (w->c->spec.cluster_bits - 9), 8u);
	w->buf = aligned_alloc(4096, align_up(w->buf_sectors * 512, 4096));
	assert(w->buf);
}

struct node *disk_case_open(struct disk_case *c)
{
	struct error *err = NULL;
	struct node *node;
	json_t *o = json_pack("{s:s, s:s, s:s, s:{s:b}, s:{s:s, s:s, s:s,"
			      " s:{s:b}}}",
			      "driver", "qcow2", "node-name", "disk",
			      "discard", "unmap",
			      "cache", "direct", c->direct,
			      "file", "driver",
			      c->device ? "host_device" : "file",
			      "filename", CASE_IMAGE,
			      "discard", "unmap", "cache", "direct",
			      c->direct);

	assert(o);
	if (c->without_base && !c->verifying)
		json_object_set_new(o, "backing", json_null());
	if (c->l2_cache)
		json_object_set_new(o, "l2-cache-size",
				    json_integer((json_int_t)c->l2_cache));
	if (c->refcount_cache)
		json_object_set_new(o, "refcount-cache-size",
			json_integer((json_int_t)c->refcount_cache));
	if (c->copies && !c->verifying)
		o = json_pack("{s:s, s:s, s:s, s:o}", "driver", "copy-on-read",
			      "node-name", "copies", "discard", "unmap",
			      "file", o);
	node = node_open(o, 0, &err);
	json_decref(o);
	if (!node) {
		case_fail(c, "open: %s", err->text);
		error_clear(&err);
	}
	return node;
}

static struct root *case_root(struct disk_case *c, struct node *node)
{
	struct error *err = NULL;
	struct root *root = root_new(&case_root_ops, c, "the test", node,
				     PERM_CONSISTENT_READ | PERM_WRITE,
				     PERM_ALL, 512, 6, &err);

	if (!root) {
		case_fail(c, "root: %s", err->text);
		error_clear(&err);
	}
	return root;
}

/* Its root has a reference by now, or it closes; not for long at a cut. */
static void case_let_go(struct node *node)
{
	struct error *err = NULL;

	(void)!co_node_put(node, "opener", &err);
	error_clear(&err);
}

static void case_work_body(void *arg)
{
	struct disk_case *c = arg;
	unsigned count = CASE_THREADS * c->workers;
	struct worker *workers = calloc(count, sizeof(*workers));
	struct crew crew = { .working = 0 };
	struct node *node = disk_case_open(c);

	assert(workers);
	if (!node)
		goto out;
	c->opened = true;
	if (c->before)
		c->before(c, node);
	c->root = case_root(c, node);
	case_let_go(node);
	for (unsigned i = 0; c->root && i < count; i++) {
		workers[i].c = c;
		workers[i].random = c->seed * 1000 + i;
		buffer_take(&workers[i]);
		crew_start(&crew, &workers[i].member, 1 + i % CASE_THREADS,
			   worker_run, &workers[i]);
	}
	crew_wait(&crew);
	if (c->after)
		c->after(c);
	for (unsigned i = 0; i < count; i++)
		free(workers[i].buf);
	if (c->root)
		root_free(c->root);
out:
	free(workers);
}

/* A cut, or a fault, while the image is opened: that it fails is no fault. */
static void case_forgive_open(struct disk_case *c)
{
	if (c->bad && !c->opened && case_may_fail(c))
		c->bad = false;
}

bool disk_case_work(struct disk_case *c)
{
	sim_power_cut_at(c->cut_at);
	test_run(CASE_THREADS, c->seed, case_work_body, c);
	c->writes = sim_write_count();
	case_forgive_open(c);
	sim_power_cut_at(0);
	sim_set_fault(NULL, NULL);
	return !c->bad;
}

/* ---- what is left ---- */

static bool case_check_file(struct disk_case *c, const char *when,
			    bool leaks_allowed)
{
	struct image_report report;
	void *data;
	uint64_t size = sim_file_get(CASE_IMAGE, &data);

	image_check(data, size, &report);
	free(data);
	if (report.errors)
		case_fail(c, "%s: %" PRIu64 " errors, first: %s", when,
			  report.errors, report.text);
	else if (report.leaks && !leaks_allowed)
		case_fail(c, "%s: %" PRIu64 " leaked clusters", when,
			  report.leaks);
	return !c->bad;
}

static void reader_run(void *arg)
{
	struct worker *w = arg;
	struct disk_model *m = &w->c->model;
	char text[200];

	for (uint64_t s = 0; s < m->sectors && !w->c->bad;) {
		uint64_t n = min((uint64_t)w->buf_sectors, m->sectors - s);

		if (worker_submit(w, REQ_READ, 0, s, n) < 0)
			return;
		for (uint64_t i = 0; i < n; i++) {
			const void *bytes = w->buf + i * 512;

			if (w->c->overlap ? is_own(m, s + i, bytes)
					  : case_allows(w->c, s + i, bytes,
						!w->c->cut_off))
				continue;
			model_describe(m, s + i, text, sizeof(text));
			case_fail(w->c, "afterwards: %s and reads as %" PRId64,
				  text, model_value(s + i, bytes));
		}
		s += n;
	}
}

static void case_own_check(struct disk_case *c, struct node *node)
{
	struct qcow2_check check = { .errors = 0 };
	int ret = qcow2_check(node->file, NULL, &check);

	if (ret < 0)
		case_fail(c, "own check: %s", strerror(-ret));
	else if (check.errors)
		case_fail(c, "own check: %" PRIu64 " errors, first: %s",
			  check.errors, check.first_error);
}

static void case_verify_body(void *arg)
{
	struct disk_case *c = arg;
	struct worker reader = { .c = c };
	struct crew crew = { .working = 0 };
	struct node *node = disk_case_open(c);

	if (!node)
		return;
	case_own_check(c, node);
	c->root = case_root(c, node);
	case_let_go(node);
	if (!c->root)
		return;
	buffer_take(&reader);
	crew_start(&crew, &reader.member, 1, reader_run, &reader);
	crew_wait(&crew);
	free(reader.buf);
	root_free(c->root);
}

bool disk_case_verify(struct disk_case *c, bool clean)
{
	if (!case_check_file(c, "as it lies", !clean))
		return false;
	c->cut_off = case_may_fail(c);
	c->cut_at = 0;
	c->faults = false;
	c->limit = 0;
	c->verifying = true;
	sim_file_limit(CASE_IMAGE, UINT64_MAX);
	sim_file_space(CASE_IMAGE, UINT64_MAX);
	test_run(CASE_THREADS, c->seed + 1, case_verify_body, c);
	return !c->bad && case_check_file(c, "opened and closed", !clean);
}
