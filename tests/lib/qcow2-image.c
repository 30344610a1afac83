/* SPDX-License-Identifier: MIT */
/*
 * qcow2-image.c - see qcow2-image.h. Clusters are handed out in order; the
 * refcount blocks and their table come last, when all others are known.
 */
#include "tests/lib/qcow2-image.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct build {
	const struct image_spec *spec;
	uint64_t cluster_size;
	uint64_t clusters;	/* handed out */
	uint64_t capacity;	/* clusters that bytes and refs have room for */
	unsigned char *bytes;
	uint64_t *refs;		/* refcount of each cluster */
	/* the cluster that packed ones are put in */
	uint64_t pack, pack_used;
};

static void put32(unsigned char *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(unsigned char *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

static uint64_t take(struct build *b, uint64_t n)
{
	uint64_t first = b->clusters;

	b->clusters += n;
	if (b->clusters > b->capacity) {
		uint64_t old = b->capacity;

		b->capacity = b->clusters * 2;
		b->bytes = realloc(b->bytes, b->capacity * b->cluster_size);
		b->refs = realloc(b->refs, b->capacity * sizeof(*b->refs));
		assert(b->bytes && b->refs);
		memset(b->bytes + old * b->cluster_size, 0,
		       (b->capacity - old) * b->cluster_size);
		memset(b->refs + old, 0,
		       (b->capacity - old) * sizeof(*b->refs));
	}
	for (uint64_t i = first; i < b->clusters; i++)
		b->refs[i] = 1;
	return first;
}

static uint64_t take_bytes(struct build *b, uint64_t bytes)
{
	return take(b, (bytes + b->cluster_size - 1) / b->cluster_size);
}

static unsigned char *at(struct build *b, uint64_t cluster)
{
	return b->bytes + cluster * b->cluster_size;
}

static void fill(struct build *b, uint64_t guest, unsigned char *out)
{
	const struct image_spec *spec = b->spec;
	uint64_t offset = guest * b->cluster_size;
	uint64_t len = spec->size - offset < b->cluster_size ?
		       spec->size - offset : b->cluster_size;

	if (spec->fill)
		spec->fill(spec->arg, offset, out, (uint32_t)len);
}

static uint64_t deflate_cluster(const unsigned char *in, uint64_t len,
				unsigned char *out)
{
	z_stream z = { .next_in = NULL };
	int ret = deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);

	assert(ret == Z_OK);
	z.avail_in = (unsigned)len;
	z.next_in = (unsigned char *)(uintptr_t)in;
	z.avail_out = (unsigned)len;
	z.next_out = out;
	ret = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return ret == Z_STREAM_END ? len - z.avail_out : len;
}

/* The entry of a compressed cluster, or 0 when it does not get smaller. */
static uint64_t pack(struct build *b, uint64_t guest)
{
	unsigned offset_bits = 62 - (b->spec->cluster_bits - 8);
	bool share = b->spec->refcount_order >= 2;
	unsigned char *in = calloc(2, b->cluster_size);
	unsigned char *out = in + b->cluster_size;
	uint64_t len, host, sectors;

	assert(in);
	fill(b, guest, in);
	len = deflate_cluster(in, b->cluster_size, out);
	if (len >= b->cluster_size) {
		free(in);
		return 0;
	}
	if (b->pack && share && b->pack_used + len <= b->cluster_size &&
	    b->refs[b->pack] < 3) {
		b->refs[b->pack]++;
	} else {
		b->pack = take(b, 1);
		b->pack_used = 0;
	}
	host = b->pack * b->cluster_size + b->pack_used;
	memcpy(b->bytes + host, out, len);
	free(in);
	b->pack_used += len;
	sectors = ((host + len - 1) >> 9) - (host >> 9);
	return UINT64_C(1) << 62 | sectors << offset_bits | host;
}

static uint64_t l2_entry(struct build *b, uint64_t guest)
{
	const struct image_spec *spec = b->spec;
	enum image_cluster kind = spec->kind ? spec->kind(spec->arg, guest)
					     : IMAGE_HOLE;
	uint64_t host, entry;

	if (kind == IMAGE_HOLE)
		return 0;
	if (kind == IMAGE_ZERO)
		return 1;
	if (kind == IMAGE_PACKED) {
		entry = pack(b, guest);
		if (entry)
			return entry;
		kind = IMAGE_DATA;
	}
	host = take(b, 1);
	entry = UINT64_C(1) << 63 | host * b->cluster_size;
	if (kind == IMAGE_ZERO_ALLOCATED) {
		memset(at(b, host), 0xa5, b->cluster_size);
		return entry | 1;
	}
	fill(b, guest, at(b, host));
	return entry;
}

static uint64_t build_tables(struct build *b, uint64_t *l1_entries)
{
	const struct image_spec *spec = b->spec;
	uint64_t per_l2 = b->cluster_size / 8;
	uint64_t guests = (spec->size + b->cluster_size - 1) / b->cluster_size;
	uint64_t l1;

	*l1_entries = (guests + per_l2 - 1) / per_l2;
	l1 = take_bytes(b, *l1_entries * 8);
	for (uint64_t i = 0; i < guests; i++) {
		unsigned char *slot;
		uint64_t entry = l2_entry(b, i), l2;

		if (!entry)
			continue;
		slot = at(b, l1) + i / per_l2 * 8;
		memcpy(&l2, slot, 8);
		l2 = be64toh(l2) & UINT64_C(0x00fffffffffffe00);
		if (!l2) {
			l2 = take(b, 1);
			b->refs[l2] += spec->l2_not_copied;
			l2 *= b->cluster_size;
			slot = at(b, l1) + i / per_l2 * 8;
			put64(slot, spec->l2_not_copied ? l2 :
			      l2 | UINT64_C(1) << 63);
		}
		put64(b->bytes + l2 + i % per_l2 * 8, entry);
	}
	return l1 * b->cluster_size;
}

static void put_refcount(unsigned char *block, unsigned order, uint64_t index,
			 uint64_t v)
{
	if (order < 3) {
		unsigned shift = (unsigned)((index << order) & 7);

		block[(index << order) >> 3] |= (unsigned char)(v << shift);
		return;
	}
	for (unsigned i = 0; i < 1u << (order - 3); i++)
		block[((index + 1) << (order - 3)) - 1 - i] =
			(unsigned char)(v >> 8 * i);
}

static uint64_t build_refcounts(struct build *b, uint64_t *table_clusters)
{
	unsigned order = b->spec->refcount_order;
	uint64_t per_block = b->cluster_size * 8 >> order;
	uint64_t blocks = 0, table = 0, first;

	/* the blocks count themselves and the table too */
	for (;;) {
		uint64_t all = b->clusters + blocks + table;
		uint64_t want = (all + per_block - 1) / per_block;
		uint64_t want_table = (want * 8 + b->cluster_size - 1) /
				      b->cluster_size;

		if (want == blocks && want_table == table)
			break;
		blocks = want;
		table = want_table;
	}
	first = take(b, table + blocks);
	for (uint64_t i = 0; i < blocks; i++)
		put64(at(b, first) + 8 * i,
		      (first + table + i) * b->cluster_size);
	for (uint64_t i = 0; i < b->clusters; i++)
		put_refcount(at(b, first + table + i / per_block), order,
			     i % per_block, b->refs[i]);
	*table_clusters = table;
	return first * b->cluster_size;
}

static void build_header(struct build *b, uint64_t l1, uint64_t l1_entries,
			 uint64_t table, uint64_t table_clusters)
{
	const struct image_spec *spec = b->spec;
	unsigned char *h = b->bytes, *p = h + (spec->version == 2 ? 72 : 104);

	memcpy(h, "QFI\xfb", 4);
	put32(h + 4, spec->version);
	put32(h + 20, spec->cluster_bits);
	put64(h + 24, spec->size);
	put32(h + 36, (uint32_t)l1_entries);
	put64(h + 40, l1);
	put64(h + 48, table);
	put32(h + 56, (uint32_t)table_clusters);
	if (spec->version == 3) {
		put64(h + 80, spec->lazy_refcounts);
		put32(h + 96, spec->refcount_order);
		put32(h + 100, 104);
	}
	if (spec->backing_format) {
		uint32_t len = (uint32_t)strlen(spec->backing_format);

		put32(p, 0xe2792aca);
		put32(p + 4, len);
		memcpy(p + 8, spec->backing_format, len);
		p += 8 + (len + 7) / 8 * 8;
	}
	p += 8;		/* the end of the extensions: zeroes */
	if (spec->backing) {
		uint32_t len = (uint32_t)strlen(spec->backing);

		put64(h + 8, (uint64_t)(p - h));
		put32(h + 16, len);
		memcpy(p, spec->backing, len);
	}
}

uint64_t image_build(const struct image_spec *spec, void **data)
{
	struct build b = {
		.spec = spec,
		.cluster_size = UINT64_C(1) << spec->cluster_bits,
	};
	uint64_t l1, l1_entries, table, table_clusters;

	assert(spec->version == 3 || spec->refcount_order == 4);
	take(&b, 1);
	l1 = build_tables(&b, &l1_entries);
	table = build_refcounts(&b, &table_clusters);
	build_header(&b, l1, l1_entries, table, table_clusters);
	free(b.refs);
	*data = b.bytes;
	return b.clusters * b.cluster_size;
}
