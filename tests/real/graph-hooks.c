/* SPDX-License-Identifier: MIT */
/*
 * Hooks (A35) on real threads, for TSan: counters are exact over a toy disk,
 * over a file and over an image.
 *
 *	graph-hooks [quick|check|soak]	how many requests
 */
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/hook-case.h"
#include "tests/lib/mode.h"
#include "tests/lib/suite.h"

static unsigned rounds;

static void run(const char *below)
{
	struct hook_case c = {
		.threads = 3,
		.rounds = rounds,
		.seed = 1,
		.below = below,
		.counters = 2,
	};

	hook_case_run(&c);
}

static void test_toy(void)
{
	run("{'driver':'raw','file':{'driver':'toy','align':4096}}");
}

static void on_file(const void *data, size_t len, uint64_t size,
		    const char *options)
{
	char path[] = "/tmp/graph-hooks-XXXXXX", below[256];
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
			write(fd, data, len) == (ssize_t)len);
	close(fd);
	snprintf(below, sizeof(below), "%s'file':{'driver':'file','discard':"
		 "'unmap','filename':'%s'}}", options, path);
	run(below);
	unlink(path);
}

static void test_file(void)
{
	on_file("", 0, HOOK_CASE_SIZE, "{'driver':'raw','discard':'unmap',");
}

static void test_image(void)
{
	void *data;
	uint64_t size = hook_case_image(&data);

	on_file(data, size, size, "{'driver':'qcow2','discard':'unmap',");
	free(data);
}

int main(int argc, char **argv)
{
	static const struct suite_test tests[] = {
		TEST(test_toy), TEST(test_file), TEST(test_image),
	};
	static const unsigned many[] = {
		[MODE_QUICK] = 100, [MODE_CHECK] = 1000, [MODE_SOAK] = 100000,
	};

	rounds = many[test_mode(&argc, argv)];
	return suite_run("graph-hooks", tests, ARRAY_SIZE(tests));
}
