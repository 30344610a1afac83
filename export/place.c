/* SPDX-License-Identifier: MIT */
/*
 * place.c - see place.h.
 */
#include "export/place.h"

#include <stdbool.h>

#include "runtime/thread.h"

/* Requests at a time that each I/O thread was given (main thread). */
static uint32_t thread_load[THREADS_MAX];

void place_queues(uint32_t *load, unsigned threads, unsigned queues,
		  unsigned depth, unsigned *out)
{
	uint64_t used = 0;	/* bit per thread, of this round */
	unsigned q, t;

	assert(threads > 0 && threads < 64);
	for (q = 0; q < queues; q++) {
		unsigned best = 0;

		if (q % threads == 0)
			used = 0;
		for (t = 1; t <= threads; t++) {
			if (used >> t & 1)
				continue;
			if (!best || load[t] < load[best])
				best = t;
		}
		used |= 1ull << best;
		load[best] += depth;
		out[q] = best;
	}
}

void place_take(unsigned queues, unsigned depth, unsigned *out)
{
	place_queues(thread_load, thread_count() - 1, queues, depth, out);
}

void place_give_back(unsigned thread, unsigned depth)
{
	assert(thread_load[thread] >= depth);
	thread_load[thread] -= depth;
}
