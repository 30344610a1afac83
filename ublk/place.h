/* SPDX-License-Identifier: MIT */
/*
 * place.h - which I/O thread serves a queue. Main thread.
 *
 * The rule: a queue goes to the I/O thread that serves the fewest tags, the
 * lowest index among equals; the queues of one device to different threads as
 * long as there are any. Threads are not tied to CPUs: the scheduler keeps
 * them away from whoever submits, which a fixed CPU cannot.
 */
#ifndef UBLK_PLACE_H
#define UBLK_PLACE_H

#include <stdint.h>

/*
 * load[1..threads]: tags that each I/O thread serves; grows by depth where a
 * queue is put. out[0..queues - 1]: thread indices, from 1.
 */
void ublk_place(uint32_t *load, unsigned threads, unsigned queues,
		unsigned depth, unsigned *out);

#endif
