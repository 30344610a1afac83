/* SPDX-License-Identifier: MIT */
/*
 * suite.h - the main function of a CUnit test program: TEST_MAIN(test, ...)
 * runs the functions in order; the exit status says whether all was well.
 */
#ifndef TESTS_LIB_SUITE_H
#define TESTS_LIB_SUITE_H

#undef NDEBUG
#include <CUnit/Basic.h>
#include <stdio.h>

#include "runtime/compiler.h"

struct suite_test {
	const char *name;
	void (*fn)(void);
};

static inline int suite_run(const char *name, const struct suite_test *tests,
			    size_t count)
{
	CU_pSuite suite;
	unsigned failed, run;
	size_t i;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite(name, NULL, NULL);
	for (i = 0; suite && i < count; i++)
		if (!CU_add_test(suite, tests[i].name, tests[i].fn))
			suite = NULL;
	if (!suite || CU_basic_run_tests() != CUE_SUCCESS)
		return 1;
	run = CU_get_number_of_tests_run();
	failed = CU_get_number_of_tests_failed();
	if (run != count || CU_get_number_of_failures() ||
	    CU_get_number_of_suites_failed())
		failed = max(failed, 1u);
	CU_cleanup_registry();
	printf("%u passed, %u failed, 0 skipped\n", run - min(run, failed),
	       failed);
	return failed ? 1 : 0;
}

#define TEST(fn) { #fn, fn }
#define TEST_MAIN(name, ...) \
	int main(void) \
	{ \
		static const struct suite_test tests[] = { __VA_ARGS__ }; \
\
		return suite_run(name, tests, ARRAY_SIZE(tests)); \
	}

#endif
