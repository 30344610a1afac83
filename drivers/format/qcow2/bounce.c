/* SPDX-License-Identifier: MIT */
/*
 * bounce.c - memory for copies: of the thread's budget while it lasts, else
 * the image's own piece, one user at a time.
 *
 * Waiting for the thread's budget could be for ever: all of it may be payload
 * of writes that wait here (A7). The holder of the image's piece only waits
 * for its own I/O, so the others get their turn.
 *
 * Coroutines of any thread.
 */
#include "drivers/format/qcow2/qcow2.h"
#include "runtime/buffer.h"

void qcow2_bounce_get(struct qcow2 *s, uint32_t len, struct bounce *b)
{
	assert(len <= SCRATCH_BYTES);
	b->len = len;
	b->mem = len <= BUFFER_MAX ? buffer_get(len) : NULL;
	b->scratch = !b->mem;
	if (b->mem)
		return;
	co_lock(&s->scratch_lock);
	b->mem = s->scratch;
}

void qcow2_bounce_put(struct qcow2 *s, struct bounce *b)
{
	if (b->scratch)
		co_unlock(&s->scratch_lock);
	else
		buffer_put(b->mem, b->len);
}
