/* SPDX-License-Identifier: MIT */
/*
 * crew.h - runs a test's body on a runtime with a graph, and functions side by
 * side on its I/O threads.
 */
#ifndef TESTS_LIB_CREW_H
#define TESTS_LIB_CREW_H

#include "runtime/co.h"
#include "runtime/thread.h"

/*
 * Starts runtime and graph, runs fn(arg) as a coroutine of the main thread,
 * stops both. seed: of the simulation.
 */
void test_run(unsigned io_threads, uint64_t seed, void (*fn)(void *arg),
	      void *arg);

/* A test in the simulation with one I/O thread, its body in braces behind. */
#define SIM_TEST(name) \
	static void name##_body(void *arg); \
\
	static void name(void) \
	{ \
		test_run(1, 1, name##_body, NULL); \
	} \
\
	static void name##_body(void *arg __attribute__((unused)))

/* Coroutines on any threads, waited for on the main thread. */
struct crew {
	unsigned working;
	struct co *waiter;
};

struct crew_member {
	struct message msg;
	struct crew *crew;
	void (*fn)(void *arg);
	void *arg;
};

/* Runs fn(arg) as a coroutine on an I/O thread; member lives until it ends. */
void crew_start(struct crew *crew, struct crew_member *member,
		unsigned thread, void (*fn)(void *arg), void *arg);
void crew_wait(struct crew *crew);

#endif
