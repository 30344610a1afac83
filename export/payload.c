/* SPDX-License-Identifier: MIT */
/*
 * payload.c - see payload.h.
 *
 * A waiter is first in the line of its share; when the share has room it takes
 * memory, and where even that is not there (others have it) waits once more in
 * the runtime's line. Who waited is served by a message of the share's own, so
 * giving memory back runs nobody else's request, and many who wait do not keep
 * the thread from others (A42).
 */
#include "export/payload.h"

/* Waiters served in one turn of the loop. */
#define GRANTS_MAX 32u

static struct share {
	uint64_t used, limit;
	struct payload *first, **last;
	struct message serve;
	bool serving;		/* the message is on its way */
} shares[THREADS_MAX][PAYLOAD_SHARES];

/* What the runtime takes for it. */
static uint64_t rounded(uint32_t size)
{
	uint64_t bytes = 4096;

	while (bytes < size)
		bytes *= 2;
	return bytes;
}

static bool share_has_room(const struct share *s, uint32_t size)
{
	return s->used + rounded(size) <= s->limit;
}

static void share_serve(struct message *msg);

/* Somebody waits, and there is room for him. */
static void share_look(struct share *s)
{
	if (!s->first || s->serving || !share_has_room(s, s->first->size))
		return;
	s->serving = true;
	s->serve.fn = share_serve;
	thread_post(thread_self(), &s->serve);
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

static void share_serve(struct message *msg)
{
	struct share *s = container_of(msg, struct share, serve);
	unsigned n;

	s->serving = false;
	for (n = 0; n < GRANTS_MAX && s->first &&
		    share_has_room(s, s->first->size); n++) {
		struct payload *p = s->first;

		s->first = p->next;
		if (!s->first)
			s->last = &s->first;
		payload_grant(s, p);
	}
	share_look(s);
}

void payload_get(struct payload *p, enum payload_share share, uint32_t size,
		 void (*fn)(struct payload *p))
{
	struct share *s = share_of(share);

	p->size = size;
	p->share = (uint8_t)share;
	p->fn = fn;
	p->buf = NULL;
	if (likely(!s->first && share_has_room(s, size))) {
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

	if (s->first || !share_has_room(s, size))
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
	share_look(s);
}

uint64_t payload_used(enum payload_share share)
{
	return share_of(share)->used;
}

uint64_t payload_limit(enum payload_share share)
{
	return share_of(share)->limit;
}
