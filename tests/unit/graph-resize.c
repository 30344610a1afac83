/* SPDX-License-Identifier: MIT */
/*
 * Resizing files and images (C8, Q19): with each call that it makes failed in
 * turn, after which all is as it was or as it shall be; and with the power cut
 * at each of its writes, after which the image has the old size or the new one,
 * no error, and every byte that both sizes have.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "graph/reopen.h"
#include "graph/resize.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/picture.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define PATH "/sim/disk"
#define KIB UINT64_C(1024)
#define PIECE 4096u
#define OPTIONS "{\"driver\":\"%s\",\"node-name\":\"d\"," \
	"\"discard\":\"unmap\",\"file\":{\"driver\":\"file\"," \
	"\"filename\":\"" PATH "\",\"discard\":\"unmap\"}}"

struct way {
	const char *format;
	unsigned version, cluster_bits;
	bool lazy;
};

/* Clusters of 512 bytes: L1 of more than 2 MiB has more than one. */
static const struct way ways[] = {
	{ "raw", 0, 0, false }, { "qcow2", 3, 9, false },
	{ "qcow2", 2, 9, false }, { "qcow2", 3, 12, true },
};

static const struct step {
	uint64_t from, to;
} steps[] = {
	{ 1024 * KIB, 3072 * KIB }, { 3072 * KIB, 1024 * KIB },
	{ 1024 * KIB, 1024 * KIB + 512 }, { 1024 * KIB + 512, 512 * KIB },
	{ 5120 * KIB, 2560 * KIB + 1024 },
};

struct trial {
	struct way way;
	struct step step;
	unsigned fail_at, count;
	uint64_t cut_at;
	bool fired, lost_data;
	uint64_t size;		/* of the node, in the end */
};

/* What runs failed, so that a suite that fails nothing is seen. */
static unsigned failures, cuts, old_sizes, new_sizes;

static int fail_nth(void *arg, const struct io *io)
{
	struct trial *t = arg;

	if (++t->count != t->fail_at)
		return 0;
	t->fired = true;
	/* what was written is perhaps not there: flushes say so from now on */
	t->lost_data = io->op == IO_WRITE || io->op == IO_SYNC;
	return -EIO;
}

static void make_image(const struct trial *t)
{
	struct image_spec spec = {
		.version = t->way.version,
		.cluster_bits = t->way.cluster_bits,
		.refcount_order = 4,
		.size = t->step.from,
		.lazy_refcounts = t->way.lazy,
	};
	void *data = NULL;
	uint64_t bytes;

	sim_file_create(PATH, t->step.from);
	if (!t->way.version)
		return;
	bytes = image_build(&spec, &data);
	sim_file_set(PATH, data, bytes);
	free(data);
}

static bool open_disk(const struct trial *t, struct disk *d)
{
	struct error *err = NULL;
	char text[300];
	int ret;

	snprintf(text, sizeof(text), OPTIONS, t->way.format);
	ret = disk_open(d, text, DISK_WRITABLE, 0, &err);
	if (err)
		fprintf(stderr, "%s\n", err->text);
	error_clear(&err);
	CU_ASSERT_EQUAL(ret, 0);
	return ret == 0;
}

/* The start, and the end that every size of the step has; then the old end. */
static uint64_t place(const struct step *s, unsigned i)
{
	uint64_t both = align_down(min(s->from, s->to), PIECE);

	return i == 0 ? 0 : i == 1 ? both - PIECE :
	       align_down(s->from, PIECE) - PIECE;
}

static void write_pieces(const struct trial *t, struct disk *d)
{
	char *buf = aligned_alloc(PIECE, PIECE);

	for (unsigned i = 0; i < 3; i++) {
		memset(buf, 0x11 * (int)(i + 1), PIECE);
		CU_ASSERT_EQUAL(disk_request(d, REQ_WRITE, 0, place(&t->step,
				i), PIECE, buf), 0);
	}
	CU_ASSERT_EQUAL(disk_request(d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	free(buf);
}

static bool is_all(const char *buf, char byte, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != byte)
			return false;
	return true;
}

/* The pieces that both sizes have; zeroes behind the old end. */
static void check_bytes(const struct trial *t, struct disk *d)
{
	const struct step *s = &t->step;
	char *buf = aligned_alloc(PIECE, PIECE);
	uint64_t size = d->node->size;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = place(s, i);
		/* the last one written there counts */
		char byte = (char)(at == place(s, 2) ? 0x33 : 0x11 * (i + 1));

		if (at + PIECE > size)
			continue;
		CU_ASSERT_EQUAL(disk_request(d, REQ_READ, 0, at, PIECE, buf),
				0);
		CU_ASSERT(is_all(buf, byte, PIECE));
	}
	for (uint64_t at = s->from; at < size;) {
		uint32_t len = (uint32_t)min(size - at, (uint64_t)PIECE -
					     (at & (PIECE - 1)));

		CU_ASSERT_EQUAL_FATAL(disk_request(d, REQ_READ, 0, at, len,
						   buf), 0);
		CU_ASSERT(is_all(buf, 0, len));
		at += len;
	}
	CU_ASSERT(disk_request(d, REQ_READ, 0, align_up(size, 512), 512,
			       buf) < 0);
	free(buf);
}

static void check_image(const struct trial *t, bool exact)
{
	struct image_report report;
	void *data;
	uint64_t size = sim_file_get(PATH, &data);

	if (!t->way.version) {
		CU_ASSERT(!exact || size == t->size);
	} else {
		CU_ASSERT(image_check(data, size, &report) == 0 ||
			  report.dirty);
		if (report.errors && !report.dirty)
			fprintf(stderr, "%s\n", report.text);
	}
	free(data);
}

static void try_it(void *arg)
{
	struct change_stats stats;
	struct error *err = NULL;
	struct trial *t = arg;
	json_t *before, *now;
	struct disk d;
	int ret;

	make_image(t);
	if (!open_disk(t, &d))
		return;
	write_pieces(t, &d);
	before = picture_take();
	sim_fault_calls(true);
	if (t->cut_at)
		sim_power_cut_at(t->cut_at);
	else
		sim_set_fault(fail_nth, t);
	ret = graph_resize(d.node, t->step.to, &stats, &err);
	sim_set_fault(NULL, NULL);
	sim_fault_calls(false);
	t->size = d.node->size;
	CU_ASSERT_EQUAL(!ret, !err);
	if (!t->cut_at) {
		CU_ASSERT_EQUAL(t->size, ret ? t->step.from : t->step.to);
		CU_ASSERT(ret == 0 || t->fired);
		check_bytes(t, &d);
	}
	if (ret < 0 && !t->cut_at) {
		now = picture_take();
		CU_ASSERT(json_equal(before, now));
		json_decref(now);
		failures++;
	}
	error_clear(&err);
	/* what failed once works when it is asked for again */
	if (ret < 0 && !t->cut_at && !t->lost_data) {
		ret = graph_resize(d.node, t->step.to, &stats, &err);
		CU_ASSERT_EQUAL(ret, 0);
		error_clear(&err);
		t->size = d.node->size;
		check_bytes(t, &d);
	}
	json_decref(before);
	disk_close(&d);
	CU_ASSERT_EQUAL(sim_files_open(), 0);
}

/* Of what was cut off nothing is seen, whether or not its space was given
 * back. */
static void check_comes_back_as_zeroes(const struct trial *t, struct disk *d)
{
	struct change_stats stats;
	struct error *err = NULL;
	char *buf = aligned_alloc(PIECE, PIECE);

	CU_ASSERT_EQUAL(graph_resize(d->node, t->step.from, &stats, &err), 0);
	error_clear(&err);
	for (uint64_t at = t->step.to; at < t->step.from; at += 512) {
		CU_ASSERT_EQUAL_FATAL(disk_request(d, REQ_READ, 0, at, 512,
						   buf), 0);
		CU_ASSERT(is_all(buf, 0, 512));
	}
	free(buf);
}

static void look_again(void *arg)
{
	struct trial *t = arg;
	struct disk d;

	if (!open_disk(t, &d))
		return;
	CU_ASSERT(d.node->size == t->step.from || d.node->size == t->step.to);
	old_sizes += d.node->size == t->step.from;
	new_sizes += d.node->size == t->step.to;
	check_bytes(t, &d);
	if (d.node->size == t->step.to && t->step.to < t->step.from)
		check_comes_back_as_zeroes(t, &d);
	disk_close(&d);
	check_image(t, false);
}

/* The number of writes and flushes before the resizing, to cut behind. */
static uint64_t writes_before;

static void count_body(void *arg)
{
	struct trial *t = arg;
	struct disk d;

	make_image(t);
	if (!open_disk(t, &d))
		return;
	write_pieces(t, &d);
	writes_before = sim_write_count();
	disk_close(&d);
}

static void for_each(void (*fn)(const struct way *, const struct step *))
{
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++)
		for (unsigned s = 0; s < ARRAY_SIZE(steps); s++)
			fn(&ways[w], &steps[s]);
}

static void fail_each(const struct way *way, const struct step *step)
{
	struct trial t = { .fired = true };

	for (unsigned n = 1; t.fired; n++) {
		t = (struct trial){ .way = *way, .step = *step,
				    .fail_at = n };
		test_run(1, n, try_it, &t);
		check_image(&t, !t.fired);
		test_run(1, n, look_again, &t);
	}
}

static void each_call_fails(void)
{
	for_each(fail_each);
	CU_ASSERT(failures > 50);
}

static void cut_each(const struct way *way, const struct step *step)
{
	struct trial t = { .way = *way, .step = *step };
	uint64_t end;

	test_run(1, 1, count_body, &t);
	t.fail_at = 0;
	test_run(1, 1, try_it, &t);
	end = sim_write_count();
	for (uint64_t k = writes_before + 1; k <= end; k++, cuts++) {
		t = (struct trial){ .way = *way, .step = *step,
				    .cut_at = k };
		test_run(1, k, try_it, &t);
		check_image(&t, false);
		test_run(1, k, look_again, &t);
	}
}

static void a_cut_at_each_write(void)
{
	old_sizes = new_sizes = 0;
	for_each(cut_each);
	CU_ASSERT(cuts > 50 && old_sizes > 10 && new_sizes > 10);
}

/* One change of an image at a time, whichever came first. */
SIM_TEST(reopening_and_resizing_keep_apart)
{
	struct trial t = { .way = ways[0], .step = steps[0] };
	struct change_stats stats;
	struct error *err = NULL;
	struct reopen *r;
	struct disk d;

	make_image(&t);
	if (!open_disk(&t, &d))
		return;
	r = reopen_new(d.node, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(graph_resize(d.node, t.step.to, &stats, &err), -EBUSY);
	CU_ASSERT_STRING_EQUAL(err->text, "Node 'd' is being reopened");
	error_clear(&err);
	CU_ASSERT_EQUAL(graph_reopen(r, NULL, &err), 0);
	d.node->resizing = true;
	CU_ASSERT_PTR_NULL(reopen_new(d.node, &err));
	CU_ASSERT_STRING_EQUAL(err->text, "Node 'd' is being resized");
	error_clear(&err);
	d.node->resizing = false;
	CU_ASSERT_EQUAL(graph_resize(d.node, t.step.to, &stats, &err), 0);
	disk_close(&d);
}

TEST_MAIN("resize", TEST(each_call_fails), TEST(a_cut_at_each_write),
	  TEST(reopening_and_resizing_keep_apart))
