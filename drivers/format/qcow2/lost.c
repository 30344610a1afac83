/* SPDX-License-Identifier: MIT */
/*
 * lost.c - what an image names behind the end of its file (Q16): somebody cut
 * the file off, or copied a part of it.
 *
 * In open, main thread, coroutine. To walk all L2 tables of every image would
 * cost too much, so that is done only where the refcounts say that something
 * behind the end is in use. Who is wrong then is most often a crash, which left
 * refcounts of clusters that nothing names.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "drivers/format/qcow2/qcow2.h"
#include "drivers/format/qcow2/refcount.h"
#include "runtime/late.h"

#define PIECE_BYTES 65536u
/* Of refcounts, before the tables are walked for certainty. */
#define REFCOUNT_BYTES_MAX (4u << 20)

struct look {
	struct qcow2 *s;
	uint64_t size;		/* of the file */
	uint8_t *piece;		/* PIECE_BYTES */
	uint64_t refcounts;	/* bytes of them read */
};

/* Whether one of the refcounts in a block, from `index` on, is not zero. */
static int counts_any(struct look *l, uint64_t host, uint64_t index)
{
	const struct qcow2_geometry *g = &l->s->geo;
	uint64_t bits = UINT64_C(1) << g->refcount_order;
	uint64_t at = align_down(index * bits / 8, QCOW2_SECTOR);
	int ret = 0;

	for (; at < g->cluster_size && !ret; at += PIECE_BYTES) {
		uint32_t n = (uint32_t)min(g->cluster_size - at,
					   (uint64_t)PIECE_BYTES);
		uint64_t first = at * 8 / bits;

		if (l->refcounts > REFCOUNT_BYTES_MAX)
			return 1;
		l->refcounts += n;
		ret = co_edge_read(qcow2_file(l->s), host + at, n, l->piece);
		for (uint64_t i = max(first, index);
		     ret == 0 && i < first + n * UINT64_C(8) / bits; i++)
			ret = refcount_get(l->piece, g->refcount_order,
					   i - first) != 0;
	}
	return ret;
}

/* Whether the refcounts have anything behind the end. */
static int is_suspect(struct look *l)
{
	const struct qcow2_header *h = &l->s->header;
	const struct qcow2_geometry *g = &l->s->geo;
	uint64_t end = div_up(l->size, g->cluster_size);
	uint64_t entries = (uint64_t)h->reftable_clusters <<
			   (g->cluster_bits - 3);
	uint8_t some[512];	/* of the table, which is whole clusters */
	int ret = 0;

	/* they say nothing */
	if (h->incompatible & QCOW2_INCOMPAT_DIRTY)
		return 1;
	for (uint64_t i = end >> g->block_bits; i < entries && !ret; i++) {
		uint64_t host, first = align_down(i, sizeof(some) / 8);

		if (i == first || i == end >> g->block_bits)
			ret = late_unwanted() ? -ECANCELED :
				co_edge_read(qcow2_file(l->s),
					     h->reftable_offset + first * 8,
					     sizeof(some), some);
		host = be64_at(some + (i - first) * 8) & QCOW2_HOST_MASK;
		if (ret < 0 || !host)
			continue;
		if (host >= l->size)
			return 1;
		ret = counts_any(l, host, i == end >> g->block_bits ?
				 end & ((UINT64_C(1) << g->block_bits) - 1) :
				 0);
	}
	return ret;
}

static bool is_behind(const struct look *l, uint64_t entry)
{
	const struct qcow2_geometry *g = &l->s->geo;

	switch (qcow2_entry_kind(g, l->s->v3, entry)) {
	case QCOW2_NORMAL:
		return qcow2_entry_host(entry) >= l->size;
	case QCOW2_PACKED:
		return qcow2_entry_packed(g, entry).offset >= l->size;
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
	case QCOW2_ZERO_ALLOCATED:
	case QCOW2_BAD:
		break;
	}
	return false;
}

/* Finds the first such entry of the table at host. *guest: where its range
 * begins; then the entry's. */
static int walk_table(struct look *l, uint64_t host, uint64_t *guest)
{
	uint32_t bytes = min(l->s->geo.cluster_size, PIECE_BYTES);
	int ret = 0;

	for (uint64_t at = 0; at < l->s->geo.cluster_size; at += bytes) {
		ret = co_edge_read(qcow2_file(l->s), host + at, bytes,
				   l->piece);
		for (uint32_t i = 0; ret == 0 && i < bytes; i += 8) {
			if (*guest >= l->s->header.size)
				return 0;
			if (is_behind(l, be64_at(l->piece + i)))
				return 1;
			*guest += l->s->geo.cluster_size;
		}
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* tables: L2 tables too, not only what L1 itself names. */
static int walk(struct look *l, bool tables, uint64_t *guest)
{
	const struct qcow2_geometry *g = &l->s->geo;
	uint64_t left = div_up(l->size, g->cluster_size);
	int ret = 0;

	for (uint32_t i = 0; i < l->s->header.l1_entries && ret == 0; i++) {
		uint64_t host = qcow2_entry_host(be64_get(l->s->l1[i]));

		*guest = (uint64_t)i << (g->l2_bits + g->cluster_bits);
		if (host >= l->size)
			return 1;
		/* an image without a table twice has no more of them */
		if (tables && host && left && left--)
			ret = walk_table(l, host, guest);
	}
	return ret;
}

int qcow2_find_lost(struct qcow2 *s, uint64_t *guest)
{
	struct look l = { .s = s, .size = s->end };
	int ret = walk(&l, false, guest);

	if (ret)
		return ret;
	l.piece = malloc(PIECE_BYTES);
	if (!l.piece)
		return -ENOMEM;
	ret = is_suspect(&l);
	if (ret > 0)
		ret = walk(&l, true, guest);
	free(l.piece);
	return ret;
}
