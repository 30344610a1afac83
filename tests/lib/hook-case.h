/* SPDX-License-Identifier: MIT */
/*
 * hook-case.h - counters by hooks over a graph under load: each sector that
 * was written, zeroed or discarded n times is counted n times, neither more nor
 * less. For the simulation and for real threads.
 */
#ifndef TESTS_LIB_HOOK_CASE_H
#define TESTS_LIB_HOOK_CASE_H

#include <stdint.h>

#define HOOK_CASE_SIZE 1048576u	/* bytes of the disk */

struct hook_case {
	unsigned threads, rounds;	/* I/O threads; requests of a worker */
	uint64_t seed;
	const char *below;	/* options of what is counted, as toy_open's */
	unsigned counters;	/* of them above each other */
};

/* Runs on a runtime of its own; what is wrong is a failed CUnit assertion. */
void hook_case_run(const struct hook_case *c);
/* The bytes of an empty qcow2 image of that size; the caller frees them. */
uint64_t hook_case_image(void **data);

#endif
