/* SPDX-License-Identifier: MIT */
/*
 * place.c - see place.h.
 */
#include "ublk/place.h"

#include <assert.h>
#include <stdbool.h>

void ublk_place(uint32_t *load, unsigned threads, unsigned queues,
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
