/* SPDX-License-Identifier: MIT */
/*
 * driver-nop.c - the filter that does nothing does it in the same submission.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/suite.h"

#define PATH "/sim/nop.img"

static const char options[] =
	"{\"driver\": \"nop\", \"discard\": \"unmap\", \"file\":"
	" {\"driver\": \"nop\", \"discard\": \"unmap\", \"file\":"
	" {\"driver\": \"file\", \"filename\": \"" PATH "\","
	" \"discard\": \"unmap\"}}}";

static unsigned asked[IO_ALLOCATE + 1];

static int watch(void *arg, const struct io *io)
{
	(void)arg;
	if (io->op <= IO_ALLOCATE)
		asked[io->op]++;
	return 0;
}

static void body(void *arg)
{
	static unsigned char buf[4096];
	struct error *err = NULL;
	struct disk d;
	int ret = disk_open(&d, options, DISK_WRITABLE, 0, &err);

	(void)arg;
	CU_ASSERT_EQUAL(ret, 0);
	if (ret < 0)
		return;
	CU_ASSERT_EQUAL(d.node->size, 65536);
	CU_ASSERT_EQUAL(d.node->limits.discard, SUPPORT_NATIVE);
	memset(buf, 0x44, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_WRITE, 0, 4096, 4096, buf), 0);
	memset(buf, 0, sizeof(buf));
	CU_ASSERT_EQUAL(disk_request(&d, REQ_READ, 0, 4096, 4096, buf), 0);
	CU_ASSERT(buf[0] == 0x44 && buf[4095] == 0x44);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_DISCARD, 0, 4096, 4096, NULL), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_ZEROES, REQ_NO_UNMAP, 0, 4096,
				     NULL), 0);
	CU_ASSERT_EQUAL(disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL), 0);
	for (unsigned op = IO_READ; op <= IO_ZERO; op++)
		CU_ASSERT_EQUAL(asked[op], 1);
	disk_close(&d);
}

static void requests_pass_as_they_are(void)
{
	sim_file_create(PATH, 65536);
	sim_set_fault(watch, NULL);
	test_run(1, 1, body, NULL);
	sim_set_fault(NULL, NULL);
	sim_file_remove(PATH);
}

TEST_MAIN("nop", TEST(requests_pass_as_they_are))
