/* SPDX-License-Identifier: MIT */
/*
 * disk-model.c - see disk-model.h.
 */
#include "tests/lib/disk-model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void model_init(struct disk_model *m, uint64_t bytes)
{
	assert(bytes % MODEL_SECTOR == 0);
	*m = (struct disk_model){ .sectors = bytes / MODEL_SECTOR,
				  .next_value = 1 };
	m->at = calloc(m->sectors, sizeof(*m->at));
	assert(m->at);
	for (uint64_t i = 0; i < m->sectors; i++) {
		m->at[i].changes = calloc(1, sizeof(struct model_change));
		assert(m->at[i].changes);
		m->at[i].count = 1;
	}
}

void model_free(struct disk_model *m)
{
	for (uint64_t i = 0; i < m->sectors; i++)
		free(m->at[i].changes);
	free(m->at);
	*m = (struct disk_model){ .sectors = 0 };
}

void model_set(struct disk_model *m, uint64_t sector, uint32_t value)
{
	struct model_sector *s = &m->at[sector];

	s->count = 1;
	s->changes[0] = (struct model_change){ .value = value };
}

bool model_claim(struct disk_model *m, uint64_t sector, uint64_t count)
{
	assert(sector + count <= m->sectors);
	for (uint64_t i = sector; i < sector + count; i++)
		if (m->at[i].claimed)
			return false;
	for (uint64_t i = sector; i < sector + count; i++)
		m->at[i].claimed = true;
	return true;
}

void model_unclaim(struct disk_model *m, uint64_t sector, uint64_t count)
{
	for (uint64_t i = sector; i < sector + count; i++)
		m->at[i].claimed = false;
}

uint32_t model_new_value(struct disk_model *m)
{
	return m->next_value++;
}

void model_start(struct disk_model *m, uint64_t sector, uint64_t count,
		 uint32_t value, bool discard)
{
	for (uint64_t i = sector; i < sector + count; i++) {
		struct model_sector *s = &m->at[i];
		size_t size = (s->count + 1) * sizeof(*s->changes);

		assert(s->claimed && !s->changes[s->count - 1].in_flight);
		s->changes = realloc(s->changes, size);
		assert(s->changes);
		s->changes[s->count++] = (struct model_change){
			.value = value,
			.doubtful = discard,
			.in_flight = true,
		};
	}
}

/* Changes before the one at `from` no longer matter. */
static void sector_drop(struct model_sector *s, unsigned from)
{
	s->count -= from;
	memmove(s->changes, s->changes + from, s->count * sizeof(*s->changes));
}

/* Everything acknowledged up to `at` is durable. */
static void sector_durable(struct model_sector *s, uint64_t at)
{
	for (unsigned i = s->count; i-- > 1;) {
		const struct model_change *c = &s->changes[i];

		if (c->in_flight || c->doubtful || c->done_at > at)
			continue;
		sector_drop(s, i);
		return;
	}
}

void model_end(struct disk_model *m, uint64_t sector, uint64_t count,
	       bool ok, bool durable)
{
	m->now++;
	for (uint64_t i = sector; i < sector + count; i++) {
		struct model_sector *s = &m->at[i];
		struct model_change *c = &s->changes[s->count - 1];

		assert(s->claimed && c->in_flight);
		c->in_flight = false;
		c->doubtful |= !ok;
		c->done_at = m->now;
		if (ok && durable)
			sector_durable(s, m->now);
	}
}

uint64_t model_flush_start(const struct disk_model *m)
{
	return m->now;
}

void model_flush_end(struct disk_model *m, uint64_t at)
{
	for (uint64_t i = 0; i < m->sectors; i++)
		sector_durable(&m->at[i], at);
}

bool model_allows_now(const struct disk_model *m, uint64_t sector,
		      const void *bytes)
{
	const struct model_sector *s = &m->at[sector];
	int64_t value = model_value(sector, bytes);

	/* the last certain change, or a doubtful one after it */
	for (unsigned i = s->count; i-- > 0;) {
		if (s->changes[i].value == value)
			return true;
		if (!s->changes[i].doubtful && !s->changes[i].in_flight)
			return false;
	}
	return false;
}

bool model_allows_cut(const struct disk_model *m, uint64_t sector,
		      const void *bytes)
{
	const struct model_sector *s = &m->at[sector];
	int64_t value = model_value(sector, bytes);

	for (unsigned i = 0; i < s->count; i++)
		if (s->changes[i].value == value)
			return true;
	return false;
}

void model_fill(uint64_t sector, uint32_t value, void *bytes)
{
	uint64_t words[MODEL_SECTOR / 8];

	for (unsigned i = 0; i < MODEL_SECTOR / 8; i++)
		words[i] = value ? sector << 32 | value : 0;
	memcpy(bytes, words, sizeof(words));
}

int64_t model_value(uint64_t sector, const void *bytes)
{
	uint64_t words[MODEL_SECTOR / 8];

	memcpy(words, bytes, sizeof(words));
	for (unsigned i = 1; i < MODEL_SECTOR / 8; i++)
		if (words[i] != words[0])
			return -1;
	if (!words[0])
		return 0;
	return words[0] >> 32 == sector ? (int64_t)(uint32_t)words[0] : -1;
}

void model_describe(const struct disk_model *m, uint64_t sector, char *text,
		    uint64_t len)
{
	const struct model_sector *s = &m->at[sector];
	int n = snprintf(text, len, "sector %llu may hold",
			 (unsigned long long)sector);

	for (unsigned i = 0; i < s->count && n > 0 && (uint64_t)n < len; i++)
		n += snprintf(text + n, len - (uint64_t)n, " %u%s%s",
			      s->changes[i].value,
			      s->changes[i].doubtful ? "?" : "",
			      s->changes[i].in_flight ? "~" : "");
}
