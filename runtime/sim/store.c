/* SPDX-License-Identifier: MIT */
/*
 * store.c - page cache, log and disk of one simulated file.
 *
 * (S1) Reads see the cache: every change that took effect.
 * (S2) The log holds the changes in order of effect, each as what whole sectors
 *      looked like after it: a page cache writes back sectors, never the bytes
 *      of one write without those of an earlier one beside them.
 * (S3) A sync makes durable what was complete when it was submitted.
 * (S4) The durable head of the log is folded into the disk image. Behind the
 *      first change that is not durable everything waits, so that an older
 *      change never comes back over a newer, durable one.
 * (S5) A cut applies the log in order: durable changes whole, others whole, not
 *      at all or by random sectors. Changes of the size alone are kept up to a
 *      random one: file systems do not reorder them.
 */
#include "runtime/sim/store.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/sim.h"
#include "runtime/sim/image.h"

enum record_kind { RECORD_DATA, RECORD_ZERO, RECORD_SIZE };

struct record {
	struct record *next;
	enum record_kind kind;
	bool durable;
	bool grows;		/* with it the file reaches at least to `end` */
	uint64_t completed;	/* number of its completion; 0: not yet */
	uint64_t offset, len;	/* whole sectors */
	uint64_t end;		/* bytes; RECORD_SIZE: the size */
	char *data;		/* what RECORD_DATA left there */
	uint8_t *keep;		/* one a sector: a failed sync's choice */
};

struct store {
	struct image cache, disk;
	struct record *first, **last;
	uint64_t completions;
};

struct store *store_new(uint64_t size)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	image_init(&s->cache, size);
	image_init(&s->disk, size);
	s->last = &s->first;
	return s;
}

static void record_free(struct record *r)
{
	free(r->keep);
	free(r);
}

static void log_pop(struct store *s)
{
	struct record *r = s->first;

	s->first = r->next;
	if (!s->first)
		s->last = &s->first;
	record_free(r);
}

void store_free(struct store *s)
{
	while (s->first)
		log_pop(s);
	image_clear(&s->cache);
	image_clear(&s->disk);
	free(s);
}

uint64_t store_size(const struct store *s)
{
	return s->cache.size;
}

uint64_t store_allocated(const struct store *s)
{
	return s->cache.pages * STORE_PAGE;
}

bool store_extent(const struct store *s, uint64_t offset, uint64_t *len)
{
	return image_extent(&s->cache, offset, len);
}

void store_read(const struct store *s, uint64_t offset, void *buf,
		uint64_t len, bool skip_holes)
{
	image_read(&s->cache, offset, buf, len, skip_holes);
}

static struct record *log_add(struct store *s, enum record_kind kind,
			      uint64_t data_len, struct effect *e)
{
	struct record *r = malloc(sizeof(*r) + data_len);

	if (!r)
		abort();
	memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->data = (char *)(r + 1);
	*s->last = r;
	s->last = &r->next;
	assert(e->n < ARRAY_SIZE(e->rec));
	e->rec[e->n++] = r;
	return r;
}

/* Records what [offset, end) looks like now; the change is in the cache. */
static void log_data(struct store *s, uint64_t offset, uint64_t end,
		     bool grows, struct effect *e)
{
	uint64_t from = align_down(offset, SECTOR);
	uint64_t len = align_up(end, SECTOR) - from;
	struct record *r = log_add(s, RECORD_DATA, len, e);

	r->offset = from;
	r->len = len;
	r->end = end;
	r->grows = grows;
	image_read(&s->cache, from, r->data, len, false);
}

void store_write(struct store *s, uint64_t offset, const void *buf,
		 uint64_t len, struct effect *e)
{
	if (!len)
		return;
	image_write(&s->cache, offset, buf, len);
	/*
	 * Also where it did not grow the cache: what grew it may be lost, and
	 * a durable write behind it must not be.
	 */
	log_data(s, offset, offset + len, true, e);
}

/* Sectors that are zeroed whole need no data in the log. */
static void log_zero(struct store *s, uint64_t offset, uint64_t end,
		     bool grows, struct effect *e)
{
	uint64_t from = align_up(offset, SECTOR);
	uint64_t to = align_down(end, SECTOR);
	struct record *r;

	if (from >= to) {
		log_data(s, offset, end, grows, e);
		return;
	}
	if (offset < from)
		log_data(s, offset, from, grows, e);
	r = log_add(s, RECORD_ZERO, 0, e);
	r->offset = from;
	r->len = to - from;
	r->end = to;
	r->grows = grows;
	if (to < end)
		log_data(s, to, end, grows, e);
}

void store_zero(struct store *s, uint64_t offset, uint64_t len, bool grow,
		struct effect *e)
{
	uint64_t end = offset + len;

	if (!grow)
		end = min(end, s->cache.size);
	if (offset >= end)
		return;
	image_zero(&s->cache, offset, end - offset);
	if (end > s->cache.size)
		image_resize(&s->cache, end);
	log_zero(s, offset, end, grow, e);
}

void store_resize(struct store *s, uint64_t size, struct effect *e)
{
	struct record *r;

	if (size == s->cache.size)
		return;
	image_resize(&s->cache, size);
	r = log_add(s, RECORD_SIZE, 0, e);
	r->end = size;
}

/* Puts one sector, or more, of a change on the disk. */
static void apply_part(struct store *s, const struct record *r, uint64_t at,
		       uint64_t len)
{
	uint64_t end = min(at + len, r->end);

	if (r->grows && end > s->disk.size)
		image_resize(&s->disk, end);
	/* what lies past the end is not part of the file */
	end = min(at + len, s->disk.size);
	if (at >= end)
		return;
	if (r->kind == RECORD_ZERO)
		image_zero(&s->disk, at, end - at);
	else
		image_write(&s->disk, at, r->data + (at - r->offset),
			    end - at);
}

static void apply(struct store *s, const struct record *r)
{
	uint64_t i;

	if (r->kind == RECORD_SIZE) {
		image_resize(&s->disk, r->end);
		return;
	}
	if (!r->keep) {
		apply_part(s, r, r->offset, r->len);
		return;
	}
	for (i = 0; i < r->len / SECTOR; i++)
		if (r->keep[i])
			apply_part(s, r, r->offset + i * SECTOR, SECTOR);
}

static void log_fold(struct store *s)
{
	while (s->first && s->first->durable) {
		apply(s, s->first);
		log_pop(s);
	}
}

void store_complete(struct store *s, struct effect *e, bool durable)
{
	unsigned i;

	s->completions++;
	for (i = 0; i < e->n; i++) {
		e->rec[i]->completed = s->completions;
		e->rec[i]->durable |= durable;
	}
	e->n = 0;
	if (durable)
		log_fold(s);
}

uint64_t store_mark(struct store *s)
{
	return s->completions;
}

void store_sync(struct store *s, uint64_t mark)
{
	struct record *r;

	for (r = s->first; r; r = r->next)
		if (r->completed && r->completed <= mark)
			r->durable = true;
	log_fold(s);
}

enum fate { FATE_ALL, FATE_NOTHING, FATE_SOME };

static enum fate fate(void)
{
	return (enum fate)sim_random_below(3);
}

/* Decides for each sector of a change whether the disk has it. */
static void choose_sectors(struct record *r)
{
	enum fate f = fate();
	uint64_t i, n = r->len / SECTOR;

	if (f == FATE_ALL || r->kind == RECORD_SIZE)
		return;
	r->keep = calloc(n, 1);
	if (!r->keep)
		abort();
	for (i = 0; f == FATE_SOME && i < n; i++)
		r->keep[i] = sim_random() & 1;
}

void store_sync_failed(struct store *s, uint64_t mark)
{
	struct record *r;

	for (r = s->first; r; r = r->next) {
		if (r->durable || !r->completed || r->completed > mark)
			continue;
		choose_sectors(r);
		r->durable = true;
	}
	log_fold(s);
}

void store_cut(struct store *s)
{
	bool sizes_kept = true;

	while (s->first) {
		struct record *r = s->first;

		if (r->kind == RECORD_SIZE && !r->durable) {
			sizes_kept = sizes_kept && sim_random_below(2);
			if (sizes_kept)
				apply(s, r);
		} else {
			if (!r->durable)
				choose_sectors(r);
			apply(s, r);
		}
		log_pop(s);
	}
}

void store_tear(struct store *s, uint64_t offset, const void *buf,
		uint64_t len, bool grow)
{
	enum fate f = fate();
	const char *from = buf;

	while (len && f != FATE_NOTHING) {
		uint64_t n = min(len, SECTOR - offset % SECTOR);
		bool inside = grow || offset + n <= s->disk.size;

		if (inside && (f == FATE_ALL || sim_random() & 1)) {
			if (offset + n > s->disk.size)
				image_resize(&s->disk, offset + n);
			if (from)
				image_write(&s->disk, offset, from, n);
			else
				image_zero(&s->disk, offset, n);
		}
		if (from)
			from += n;
		offset += n;
		len -= n;
	}
}

void store_cut_end(struct store *s)
{
	assert(!s->first);
	image_clear(&s->cache);
	image_copy(&s->cache, &s->disk);
}
