/* SPDX-License-Identifier: MIT */
/*
 * tsc-khz.c - print how many thousand times a second this machine's time stamp
 * counter counts. Nothing where it has none.
 *
 * A guest under software emulation reads the same counter. On a busy machine
 * its kernel measures it wrongly against an emulated timer, by a factor, and
 * all its clocks run that much too fast.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>

#define WAIT_NS 200000000u

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int main(void)
{
	uint64_t ns = now_ns(), ticks = __rdtsc(), end;

	while ((end = now_ns()) - ns < WAIT_NS)
		;
	ticks = __rdtsc() - ticks;
	printf("%.0f\n", (double)ticks * 1e6 / (double)(end - ns));
	return 0;
}
#else
int main(void)
{
	return 0;
}
#endif
