/* SPDX-License-Identifier: MIT */
/*
 * qcow2-image-check.c - image_check of qcow2-image.h: counts the references to
 * each host cluster and compares.
 */
#include <assert.h>
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/qcow2-image.h"

#define COPIED (UINT64_C(1) << 63)
#define PACKED (UINT64_C(1) << 62)
#define HOST UINT64_C(0x00fffffffffffe00)

struct check {
	const unsigned char *data;
	uint64_t size;
	struct image_report *report;
	uint64_t cluster_size;
	unsigned cluster_bits, order, version;
	uint64_t clusters;	/* of the file, a partial one included */
	/* found; those of compressed data, which may share, in high bits */
	uint64_t *refs;
};

#define REF_PACKED (UINT64_C(1) << 32)

static uint32_t get32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static uint64_t get64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

__attribute__((format(printf, 2, 3)))
static void error(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (c->report->errors++)
		return;
	va_start(ap, fmt);
	vsnprintf(c->report->text, sizeof(c->report->text), fmt, ap);
	va_end(ap);
}

/* False: it lies outside the file. */
static bool count_as(struct check *c, uint64_t offset, uint64_t len,
		     uint64_t ref, const char *what)
{
	uint64_t last = (offset + len - 1) >> c->cluster_bits;

	for (uint64_t i = offset >> c->cluster_bits; i <= last; i++) {
		if (i >= c->clusters) {
			error(c, "%s at %#llx is outside of the file", what,
			      (unsigned long long)offset);
			return false;
		}
		c->refs[i] += ref;
	}
	return true;
}

static bool count(struct check *c, uint64_t offset, uint64_t len,
		  const char *what)
{
	return count_as(c, offset, len, 1, what);
}

static uint64_t refcount(const struct check *c, uint64_t cluster)
{
	uint64_t per_block = c->cluster_size * 8 >> c->order;
	uint64_t table = get64(c->data + 48), index = cluster % per_block;
	uint64_t table_len = get32(c->data + 56) * c->cluster_size / 8, block;
	const unsigned char *p;
	uint64_t v = 0;

	if (cluster / per_block >= table_len)
		return 0;
	block = get64(c->data + table + cluster / per_block * 8);
	if (!block || block + c->cluster_size > c->size)
		return 0;
	p = c->data + block;
	if (c->order < 3)
		return p[(index << c->order) >> 3] >>
		       ((index << c->order) & 7) & ((1u << (1 << c->order)) -
						    1);
	for (unsigned i = 0; i < 1u << (c->order - 3); i++)
		v = v << 8 | p[(index << (c->order - 3)) + i];
	return v;
}

static void check_copied(struct check *c, uint64_t entry, const char *what)
{
	uint64_t refs = refcount(c, (entry & HOST) >> c->cluster_bits);

	if (c->report->dirty)
		return;
	if (!!(entry & COPIED) != (refs == 1))
		error(c, "%s entry %#llx has refcount %llu", what,
		      (unsigned long long)entry, (unsigned long long)refs);
}

static void check_l2_entry(struct check *c, uint64_t entry)
{
	if (entry & PACKED) {
		unsigned bits = 62 - (c->cluster_bits - 8);
		uint64_t offset = entry & ((UINT64_C(1) << bits) - 1);
		uint64_t sectors = (entry & (PACKED - 1)) >> bits;

		count_as(c, offset, (sectors + 1) * 512 - offset % 512,
			 REF_PACKED, "compressed data");
		if (entry & COPIED)
			error(c, "compressed entry %#llx is marked copied",
			      (unsigned long long)entry);
		return;
	}
	if (entry & 1 && c->version == 2)
		error(c, "zero cluster in version 2");
	if (!(entry & HOST))
		return;
	if ((entry & HOST) % c->cluster_size)
		error(c, "data at %#llx is not aligned",
		      (unsigned long long)(entry & HOST));
	if (count(c, entry & HOST, c->cluster_size, "data"))
		check_copied(c, entry, "L2");
}

static void check_l1(struct check *c)
{
	uint64_t entries = get32(c->data + 36), l1 = get64(c->data + 40);

	if (l1 % c->cluster_size || l1 + entries * 8 > c->size) {
		error(c, "L1 table is outside of the file");
		return;
	}
	count(c, l1, entries * 8, "L1 table");
	for (uint64_t i = 0; i < entries; i++) {
		uint64_t entry = get64(c->data + l1 + i * 8);
		uint64_t l2 = entry & HOST;

		if (!l2)
			continue;
		if (l2 % c->cluster_size || l2 + c->cluster_size > c->size) {
			error(c, "L2 table at %#llx is outside of the file",
			      (unsigned long long)l2);
			continue;
		}
		count(c, l2, c->cluster_size, "L2 table");
		check_copied(c, entry, "L1");
		for (uint64_t j = 0; j < c->cluster_size / 8; j++)
			check_l2_entry(c, get64(c->data + l2 + j * 8));
	}
}

static void check_reftable(struct check *c)
{
	uint64_t table = get64(c->data + 48);
	uint64_t len = get32(c->data + 56) * c->cluster_size;

	if (table % c->cluster_size || table + len > c->size) {
		error(c, "refcount table is outside of the file");
		return;
	}
	count(c, table, len, "refcount table");
	for (uint64_t i = 0; i < len / 8; i++) {
		uint64_t block = get64(c->data + table + i * 8);

		if (!block)
			continue;
		if (block % c->cluster_size ||
		    block + c->cluster_size > c->size)
			error(c, "refcount block at %#llx is outside of the"
			      " file", (unsigned long long)block);
		else
			count(c, block, c->cluster_size, "refcount block");
	}
}

static void compare(struct check *c)
{
	for (uint64_t i = 0; i < c->clusters; i++) {
		uint64_t refs = refcount(c, i);
		uint64_t plain = c->refs[i] & (REF_PACKED - 1);
		uint64_t found = plain + (c->refs[i] / REF_PACKED);

		if (refs > found)
			c->report->leaks++;
		else if (refs < found && !c->report->dirty)
			error(c, "cluster %llu has refcount %llu and %llu"
			      " references", (unsigned long long)i,
			      (unsigned long long)refs,
			      (unsigned long long)found);
		/* nobody here makes snapshots, so only compressed data share */
		if (plain && found > 1)
			error(c, "cluster %llu is used %llu times",
			      (unsigned long long)i,
			      (unsigned long long)found);
	}
}

/* Reads past the end give zeroes, so a table may lie there in part. */
static unsigned char *pad(const void *data, uint64_t size, uint64_t cluster,
			  uint64_t *padded)
{
	unsigned char *copy;

	*padded = (size + cluster - 1) / cluster * cluster;
	copy = calloc(1, *padded);
	assert(copy);
	memcpy(copy, data, size);
	return copy;
}

uint64_t image_check(const void *data, uint64_t size,
		     struct image_report *report)
{
	struct check c = { .size = size, .report = report };
	unsigned char *copy;

	*report = (struct image_report){ .errors = 0 };
	if (size < 512 || memcmp(data, "QFI\xfb", 4)) {
		error(&c, "no qcow2 header");
		return 1;
	}
	copy = pad(data, size, UINT64_C(1) << ((const unsigned char *)data)[23],
		   &c.size);
	c.data = copy;
	size = c.size;
	c.version = get32(c.data + 4);
	c.cluster_bits = get32(c.data + 20);
	c.cluster_size = UINT64_C(1) << c.cluster_bits;
	c.order = c.version == 2 ? 4 : get32(c.data + 96);
	report->dirty = c.version == 2 ? 0 : get64(c.data + 72) & 1;
	/* data of the last cluster need not be there at all */
	c.clusters = (size >> c.cluster_bits) + 1;
	c.refs = calloc(c.clusters, sizeof(*c.refs));
	assert(c.refs);
	count(&c, 0, 1, "header");
	check_reftable(&c);
	check_l1(&c);
	if (get64(c.data + 48) + get32(c.data + 56) * c.cluster_size <= size)
		compare(&c);
	free(c.refs);
	free(copy);
	return report->errors;
}
