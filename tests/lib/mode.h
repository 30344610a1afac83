/* SPDX-License-Identifier: MIT */
/*
 * mode.h - how much a test program does: its first argument, as tests/check
 * gives it.
 */
#ifndef TESTS_LIB_MODE_H
#define TESTS_LIB_MODE_H

#include <string.h>

enum test_mode { MODE_QUICK, MODE_CHECK, MODE_SOAK };

/* Takes the word out of argv, so that getopt does not meet it. */
static inline enum test_mode test_mode(int *argc, char **argv)
{
	static const char *const words[] = { "quick", "check", "soak" };

	for (int i = 0; *argc > 1 && i < 3; i++) {
		if (strcmp(argv[1], words[i]))
			continue;
		argv[1] = argv[0];
		memmove(argv, argv + 1, (size_t)--*argc * sizeof(*argv));
		argv[*argc] = NULL;
		return (enum test_mode)i;
	}
	return MODE_CHECK;
}

#endif
