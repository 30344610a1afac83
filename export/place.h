/* SPDX-License-Identifier: MIT */
/*
 * place.h - which I/O thread serves a queue. Main thread.
 *
 * The rule: a queue goes to the I/O thread that serves the fewest requests at a
 * time, the lowest index among equals; the queues of one export to different
 * threads as long as there are any. Threads are not tied to CPUs: the scheduler
 * keeps them away from whoever submits, which a fixed CPU cannot.
 */
#ifndef EXPORT_PLACE_H
#define EXPORT_PLACE_H

#include <stdint.h>

/*
 * load[1..threads]: requests that each I/O thread may have at a time; grows by
 * depth where a queue is put. out[0..queues - 1]: thread indices, from 1.
 */
void place_queues(uint32_t *load, unsigned threads, unsigned queues,
		  unsigned depth, unsigned *out);

/* The same with the load of all exports together. */
void place_take(unsigned queues, unsigned depth, unsigned *out);
void place_give_back(unsigned thread, unsigned depth);

#endif
