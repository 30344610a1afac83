/* SPDX-License-Identifier: MIT */
/*
 * payload.h - memory that the bytes of requests pass through (A7): taken when a
 * request is delivered, or when the graph asks for the bytes of a zero-copy
 * request, and put back before the request is answered.
 *
 * Requests that wait at a closed gate hold such memory, and what they hold must
 * never be what a request in flight waits for, or the drain would not end. So
 * of a thread's memory delivered requests get half at most, those in flight
 * another quarter; the rest is for the graph's own copies. Each share is given
 * out in order.
 *
 * I/O threads; each has shares of its own.
 */
#ifndef EXPORT_PAYLOAD_H
#define EXPORT_PAYLOAD_H

#include "runtime/buffer.h"

enum payload_share {
	PAYLOAD_DELIVERED,	/* half: held before and while in flight */
	PAYLOAD_IN_FLIGHT,	/* a quarter: taken by a counted request */
	PAYLOAD_SHARES
};

struct payload {
	void *buf;		/* NULL: has none */
	uint32_t size;
	uint8_t share;
	void (*fn)(struct payload *p);
	struct payload *next;
	struct buffer_waiter waiter;
};

/* Calls fn when buf is there, perhaps before it returns. */
void payload_get(struct payload *p, enum payload_share share, uint32_t size,
		 void (*fn)(struct payload *p));
/* The same without waiting: false when there is none at once. */
bool payload_try(struct payload *p, enum payload_share share, uint32_t size)
	MUST_CHECK;
/* The memory changes hands. */
void payload_move(struct payload *to, struct payload *from);
/* Who waits for it gets it in a later turn of the thread's loop. */
void payload_put(struct payload *p);

/* The calling thread's, for tests and queries: bytes now and at most. */
uint64_t payload_used(enum payload_share share);
uint64_t payload_limit(enum payload_share share);

#endif
