/* SPDX-License-Identifier: MIT */
/*
 * payload.c - see payload.h.
 *
 * A waiter is first in the line of its share; when the share has room it takes
 * memory, and where even that is not there (others have it) waits once more in
 * the runtime's line.
 */
#include "export/payload.h"

static struct share {
	uint64_t used, limit;
	struct payload *first, **last;
	bool granting;
} shares[THREADS_MAX][PAYLOAD_SHARES];

/* What the runtime takes for it. */
static uint64_t rounded(uint32_t size)
{
	uint64_t bytes = 4096;

	while (bytes < size)
		bytes *= 2;
	return bytes;
}

static struct share *share_of(enum payload_share which)
{
	struct share *s = &shares[thread_index(thread_self())][which];

	if (unlikely(!s->limit)) {
		s->limit = buffer_budget() / (2u << which);
		s->last = &s->first;
		assert(s->limit >= 1024 * 1024);
	}
	return s;
}

static void memory_came(struct buffer_waiter *waiter, void *buf)
{
	struct payload *p = container_of(waiter, struct payload, waiter);

	p->buf = buf;
	p->fn(p);
}

static void payload_grant(struct share *s, struct payload *p)
{
	s->used += rounded(p->size);
	p->buf = buffer_get(p->size);
	if (likely(p->buf))
		p->fn(p);
	else
		buffer_wait(&p->waiter, p->size, memory_came);
}

void payload_get(struct payload *p, enum payload_share share, uint32_t size,
		 void (*fn)(struct payload *p))
{
	struct share *s = share_of(share);

	p->size = size;
	p->share = (uint8_t)share;
	p->fn = fn;
	p->buf = NULL;
	if (likely(!s->first && s->used + rounded(size) <= s->limit)) {
		payload_grant(s, p);
		return;
	}
	p->next = NULL;
	*s->last = p;
	s->last = &p->next;
}

bool payload_try(struct payload *p, enum payload_share share, uint32_t size)
{
	struct share *s = share_of(share);

	if (s->first || s->used + rounded(size) > s->limit)
		return false;
	p->buf = buffer_get(size);
	if (!p->buf)
		return false;
	p->size = size;
	p->share = (uint8_t)share;
	s->used += rounded(size);
	return true;
}

void payload_move(struct payload *to, struct payload *from)
{
	to->buf = from->buf;
	to->size = from->size;
	to->share = from->share;
	from->buf = NULL;
}

void payload_put(struct payload *p)
{
	struct share *s = share_of(p->share);

	buffer_put(p->buf, p->size);
	p->buf = NULL;
	s->used -= rounded(p->size);
	/*
	 * Whoever gets memory may be done with it before his fn returns and
	 * come here again: the outermost call serves them all.
	 */
	if (s->granting)
		return;
	s->granting = true;
	while (s->first && s->used + rounded(s->first->size) <= s->limit) {
		struct payload *next = s->first;

		s->first = next->next;
		if (!s->first)
			s->last = &s->first;
		payload_grant(s, next);
	}
	s->granting = false;
}

uint64_t payload_used(enum payload_share share)
{
	return share_of(share)->used;
}

uint64_t payload_limit(enum payload_share share)
{
	return share_of(share)->limit;
}
