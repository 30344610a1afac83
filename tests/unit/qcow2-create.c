/* SPDX-License-Identifier: MIT */
/*
 * qcow2-create.c - power cuts and errors while an image is made: afterwards the
 * file is what it was, no image, or the new one, whole.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/create.h"
#include "graph/job.h"
#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/suite.h"

#define PATH "/sim/new.qcow2"
#define OLD_SIZE (1u << 20)
#define NEW_SIZE (256u << 10)

struct run {
	const char *more;	/* options, each with a comma before it */
	char *error;		/* of the job, or NULL */
};

static void body(void *arg)
{
	struct run *run = arg;
	struct error *err = NULL;
	struct job *job;
	json_t *options;
	char *text;

	if (asprintf(&text, "{\"driver\": \"qcow2\", \"size\": %u,"
		     " \"cluster-size\": 4096, \"file\": {\"driver\": \"file\","
		     " \"filename\": \"" PATH "\"}%s}", NEW_SIZE,
		     run->more) < 0)
		abort();
	options = json_loads(text, 0, NULL);
	CU_ASSERT_EQUAL_FATAL(create_start("j", options, &err), 0);
	json_decref(options);
	free(text);
	job = job_find("j", &err);
	while (job->status != JOB_CONCLUDED)
		co_sleep(1000);
	if (job->err)
		run->error = strdup(job->err->text);
	CU_ASSERT_TRUE(co_job_end_all(1000000000));
}

/* What the file holds before: a whole image, with data. */
static enum image_cluster kind(void *arg, uint64_t n)
{
	(void)arg;
	return n % 3 ? IMAGE_DATA : IMAGE_HOLE;
}

static void fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)arg;
	memset(buf, (int)(offset >> 12) | 1, len);
}

static uint64_t make_old(void **data)
{
	struct image_spec spec = {
		.version = 3, .cluster_bits = 12, .refcount_order = 4,
		.size = OLD_SIZE, .kind = kind, .fill = fill,
	};
	uint64_t size = image_build(&spec, data);

	sim_file_create(PATH, 0);
	sim_file_set(PATH, *data, size);
	return size;
}

static uint64_t header_size(const unsigned char *data)
{
	uint64_t size = 0;

	for (unsigned i = 24; i < 32; i++)
		size = size << 8 | data[i];
	return size;
}

/* Returns what is left: 'o'ld, 'n'ew, or no image: 0. */
static char judge(const void *old, uint64_t old_size)
{
	struct image_report report;
	unsigned char *data;
	void *bytes;
	uint64_t size = sim_file_get(PATH, &bytes);
	char result = 0;

	data = bytes;
	if (size >= 512 && !memcmp(data, "QFI\xfb", 4)) {
		result = header_size(data) == OLD_SIZE ? 'o' : 'n';
		CU_ASSERT_EQUAL(image_check(data, size, &report), 0);
		CU_ASSERT_EQUAL(report.leaks, 0);
		if (result == 'o') {
			CU_ASSERT_EQUAL(size, old_size);
			CU_ASSERT(!memcmp(data, old, old_size));
		} else {
			CU_ASSERT_EQUAL(header_size(data), NEW_SIZE);
		}
	}
	free(bytes);
	return result;
}

static void cut_everywhere(const char *more)
{
	unsigned seen[3] = { 0 };
	bool cut = true;

	for (uint64_t at = 1; cut; at++) {
		struct run run = { .more = more };
		uint64_t old_size;
		char left;
		void *old;

		old_size = make_old(&old);
		sim_power_cut_at(at);
		test_run(1, at, body, &run);
		sim_power_cut_at(0);
		left = judge(old, old_size);
		seen[left == 'o' ? 0 : left == 'n' ? 2 : 1]++;
		cut = run.error;
		CU_ASSERT(cut || left == 'n');
		free(run.error);
		free(old);
		sim_file_remove(PATH);
	}
	CU_ASSERT(seen[1] > 3 && seen[2] > 0);
}

static void a_cut_leaves_old_none_or_new(void)
{
	cut_everywhere("");
	cut_everywhere(", \"preallocation\": \"metadata\"");
	cut_everywhere(", \"preallocation\": \"full\","
		       " \"refcount-bits\": 64");
}

static uint64_t fail_at, op_count;

static int fault(void *arg, const struct io *io)
{
	(void)arg;
	if (io->op == IO_READ)
		return 0;
	return ++op_count == fail_at ? -ENOSPC : 0;
}

static void errors_leave_no_image(void)
{
	struct run run = { .more = ", \"preallocation\": \"metadata\"" };
	bool failed = true;

	for (fail_at = 1; failed; fail_at++) {
		uint64_t old_size;
		char left;
		void *old;

		run.error = NULL;
		op_count = 0;
		old_size = make_old(&old);
		sim_set_fault(fault, NULL);
		test_run(1, fail_at, body, &run);
		sim_set_fault(NULL, NULL);
		left = judge(old, old_size);
		failed = run.error;
		CU_ASSERT(!failed || strstr(run.error, "No space left"));
		CU_ASSERT(failed || left == 'n');
		free(run.error);
		free(old);
		sim_file_remove(PATH);
	}
	CU_ASSERT(fail_at > 8);
}

TEST_MAIN("qcow2-create", TEST(a_cut_leaves_old_none_or_new),
	  TEST(errors_leave_no_image))
