/* SPDX-License-Identifier: MIT */
/*
 * Error objects (A20).
 */
#include <errno.h>
#include <string.h>

#include "runtime/error.h"
#include "tests/lib/suite.h"

static void set_describes(void)
{
	struct error *err = NULL;

	CU_ASSERT_EQUAL(error_set(&err, EINVAL, "offset %d is odd", 5),
			-EINVAL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_EQUAL(err->cls, ERROR_GENERIC);
	CU_ASSERT_EQUAL(err->code, EINVAL);
	CU_ASSERT_STRING_EQUAL(err->text, "offset 5 is odd");
	error_prefix(&err, "node '%s'", "disk");
	CU_ASSERT_STRING_EQUAL(err->text, "node 'disk': offset 5 is odd");
	error_clear(&err);
	CU_ASSERT_PTR_NULL(err);
	error_clear(&err);	/* harmless */
}

static void classes_are_kept(void)
{
	struct error *inner = NULL, *err = NULL;

	error_set_class(&inner, ERROR_DEVICE_NOT_FOUND, ENODEV, "no 'x'");
	error_propagate(&err, &inner);
	CU_ASSERT_PTR_NULL(inner);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_EQUAL(err->cls, ERROR_DEVICE_NOT_FOUND);
	CU_ASSERT_EQUAL(err->code, ENODEV);
	error_clear(&err);
}

/* What is for people alone can be told from the rest. */
static void additions_are_counted(void)
{
	struct error *err = NULL;

	error_set(&err, EINVAL, "size is odd");
	CU_ASSERT_EQUAL(err->added, 0);
	CU_ASSERT_EQUAL(error_add(&err, ", not %d", 5), -EINVAL);
	CU_ASSERT_EQUAL(error_add(&err, " of '%s'", "x"), -EINVAL);
	error_prefix(&err, "file");
	CU_ASSERT_STRING_EQUAL(err->text, "file: size is odd, not 5 of 'x'");
	CU_ASSERT_EQUAL(err->added, strlen(", not 5 of 'x'"));
	error_clear(&err);
}

TEST_MAIN("runtime-error", TEST(set_describes), TEST(classes_are_kept),
	  TEST(additions_are_counted))
