/* SPDX-License-Identifier: MIT */
/*
 * partition.c - see partition.h. Main thread, coroutines.
 *
 * What the tables say is what Linux takes from them, so a partition has the
 * number that it has when the whole disk is a device.
 */
#include "server/partition.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "graph/io.h"
#include "graph/root.h"

#define BLOCK_MAX 4096u

#define GPT_HEADER_MIN 92u
#define GPT_ENTRY_MIN 128u
/* 128 entries of 128 bytes are usual. */
#define GPT_TABLE_MAX (1u << 20)

#define MBR_ENTRIES 446u
#define MBR_ENTRY 16u
#define MBR_SIGNATURE 510u
#define MBR_PRIMARY 4u
#define MBR_GPT 0xee
/* Links of a chain that may be a circle. */
#define MBR_LOGICAL_MAX 100u

struct search {
	struct root *root;
	uint64_t blocks;	/* of the disk */
	uint32_t block;
	unsigned number;
	const char *what;
	struct error **err;

	uint64_t first, count;	/* of the partition; count 0: not found */
	uint8_t *buf;		/* BLOCK_MAX bytes: the last block read */
	/* the numbers there are, for people */
	char there[160];
	unsigned found;
	uint64_t last_end;	/* block; of partition last_number */
	unsigned last_number;
};

static uint32_t le32_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t le64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static int co_search_read(const struct search *s, uint64_t block,
			  uint32_t bytes, void *buf)
{
	int ret = co_edge_read(&s->root->edge, block * s->block, bytes, buf);

	if (ret == 0)
		return 0;
	return error_set(s->err, -ret, "Could not read the partition table of "
			 "'%s': %s", s->what, strerror(-ret));
}

static void search_found(struct search *s, unsigned number, uint64_t first,
			 uint64_t count)
{
	size_t at = strlen(s->there);

	if (at + 16 < sizeof(s->there))
		snprintf(s->there + at, sizeof(s->there) - at, "%s%u",
			 s->found ? ", " : "", number);
	else if (at && s->there[at - 1] != '.')
		strcat(s->there, ", ...");
	s->found++;
	if (first < s->blocks && count <= UINT64_MAX - first &&
	    first + count > s->last_end) {
		s->last_end = first + count;
		s->last_number = number;
	}
	if (number != s->number)
		return;
	s->first = first;
	s->count = count;
}

/* --- GPT ------------------------------------------------------------------ */

static bool gpt_is_header(const struct search *s, uint8_t *header,
			  uint64_t block)
{
	uint32_t size = le32_at(header + 12), sum = le32_at(header + 16);

	if (memcmp(header, "EFI PART", 8) || size < GPT_HEADER_MIN ||
	    size > s->block || le64_at(header + 24) != block)
		return false;
	memset(header + 16, 0, 4);
	return crc32_z(0, header, size) == sum;
}

static void gpt_entries(struct search *s, const uint8_t *entries,
			uint32_t count, uint32_t size)
{
	static const uint8_t unused[16];

	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *e = entries + (size_t)i * size;
		uint64_t first = le64_at(e + 32), last = le64_at(e + 40);

		if (memcmp(e, unused, sizeof(unused)) && first <= last &&
		    last != UINT64_MAX)
			search_found(s, i + 1, first, last - first + 1);
	}
}

/* 1: there is a sound table, 0: none. */
static int co_gpt_read(struct search *s, uint64_t at)
{
	uint8_t *header = s->buf, *entries;
	uint32_t count, size, sum;
	uint64_t first, bytes;
	int ret = co_search_read(s, at, s->block, header);

	if (ret < 0 || !gpt_is_header(s, header, at))
		return ret;
	first = le64_at(header + 72);
	count = le32_at(header + 80);
	size = le32_at(header + 84);
	sum = le32_at(header + 88);
	bytes = (uint64_t)count * size;
	if (size < GPT_ENTRY_MIN || !bytes || bytes > GPT_TABLE_MAX ||
	    first >= s->blocks ||
	    div_up(bytes, s->block) > s->blocks - first)
		return 0;
	entries = xcalloc(bytes);
	ret = co_search_read(s, first, (uint32_t)bytes, entries);
	if (ret == 0 && crc32_z(0, entries, bytes) == sum) {
		gpt_entries(s, entries, count, size);
		ret = 1;
	}
	free(entries);
	return ret;
}

/* The table at the start, or the copy at the end. */
static int co_gpt_find(struct search *s)
{
	int ret;

	if (s->blocks < 3)
		return 0;
	ret = co_gpt_read(s, 1);
	return ret ? ret : co_gpt_read(s, s->blocks - 1);
}

/* --- MBR ------------------------------------------------------------------ */

struct mbr_entry {
	uint8_t type;
	uint32_t first, count;
};

static struct mbr_entry mbr_entry(const uint8_t *block, unsigned i)
{
	const uint8_t *e = block + MBR_ENTRIES + i * MBR_ENTRY;

	return (struct mbr_entry){ e[4], le32_at(e + 8), le32_at(e + 12) };
}

static bool mbr_is_extended(struct mbr_entry e)
{
	return e.count && (e.type == 0x05 || e.type == 0x0f || e.type == 0x85);
}

static bool mbr_is_signed(const uint8_t *block)
{
	return block[MBR_SIGNATURE] == 0x55 &&
	       block[MBR_SIGNATURE + 1] == 0xaa;
}

/* A boot sector of a file system is signed too. */
static bool mbr_is_table(const uint8_t *block)
{
	for (unsigned i = 0; i < MBR_PRIMARY; i++)
		if (block[MBR_ENTRIES + i * MBR_ENTRY] & 0x7f)
			return false;
	return mbr_is_signed(block);
}

/* The partitions in an extended one: a list, a block each. */
static int co_mbr_logical(struct search *s, uint64_t extended)
{
	const uint8_t *block = s->buf;
	uint64_t at = extended;
	unsigned number = MBR_PRIMARY;

	for (unsigned i = 0; i < MBR_LOGICAL_MAX; i++) {
		struct mbr_entry own, next;
		int ret;

		if (at >= s->blocks)
			return 0;
		ret = co_search_read(s, at, s->block, s->buf);
		if (ret < 0 || !mbr_is_signed(block))
			return ret;
		own = mbr_entry(block, 0);
		next = mbr_entry(block, 1);
		if (own.count && !mbr_is_extended(own))
			search_found(s, ++number, at + own.first, own.count);
		if (!mbr_is_extended(next))
			return 0;
		at = extended + next.first;
	}
	return 0;
}

/* 1: there is a table, 0: none. */
static int co_mbr_find(struct search *s)
{
	const uint8_t *block = s->buf;
	uint64_t extended = 0;
	int ret = s->blocks ? co_search_read(s, 0, s->block, s->buf) : 0;

	if (ret < 0 || !s->blocks || !mbr_is_table(block))
		return ret;
	for (unsigned i = 0; i < MBR_PRIMARY; i++) {
		struct mbr_entry e = mbr_entry(block, i);

		if (e.count && e.type == MBR_GPT)
			return error_set(s->err, EUCLEAN, "The GPT of '%s' is "
					 "damaged, and so is its copy",
					 s->what);
		if (mbr_is_extended(e) && !extended)
			extended = e.first;
		else if (e.count && !mbr_is_extended(e))
			search_found(s, i + 1, e.first, e.count);
	}
	ret = extended ? co_mbr_logical(s, extended) : 0;
	return ret < 0 ? ret : 1;
}

/* -------------------------------------------------------------------------- */

static int co_table_find(struct search *s, uint64_t size, uint32_t block)
{
	const uint32_t blocks[] = { block, block == 512 ? 4096 : 512 };
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(blocks) && !ret; i++) {
		s->block = blocks[i];
		s->blocks = size / s->block;
		ret = co_gpt_find(s);
	}
	if (ret)
		return ret;
	s->block = block;
	s->blocks = size / block;
	return co_mbr_find(s);
}

int co_partition_find(struct root *root, unsigned number, uint32_t block,
		      const char *what, struct partition *out,
		      struct error **err)
{
	struct search s = { .root = root, .number = number, .what = what,
			    .err = err, .buf = xcalloc(BLOCK_MAX) };
	int ret = co_table_find(&s, root->edge.child->size, block);

	free(s.buf);
	if (ret < 0)
		return ret;
	if (!ret)
		return error_set(err, ENOENT, "'%s' has no partition table, "
				 "neither GPT nor MBR", what);
	if (!s.found)
		return error_set(err, ENOENT, "'%s' has no partition %u: its "
				 "partition table is empty", what, number);
	if (!s.count)
		return error_set(err, ENOENT, "'%s' has no partition %u, only "
				 "%s", what, number, s.there);
	if (s.first >= s.blocks || s.count > s.blocks - s.first)
		return error_set(err, EUCLEAN, "Partition %u of '%s' reaches "
				 "past the end of the disk, which has %" PRIu64
				 " bytes", number, what,
				 root->edge.child->size);
	*out = (struct partition){ s.first * s.block, s.count * s.block };
	return 0;
}

int co_partition_last(struct root *root, const char *what, unsigned *number,
		      uint64_t *end, struct error **err)
{
	struct search s = { .root = root, .what = what, .err = err,
			    .buf = xcalloc(BLOCK_MAX) };
	uint64_t size = root->edge.child->size;
	int ret = co_table_find(&s, size, 512);

	free(s.buf);
	if (ret < 0)
		return ret;
	*number = s.last_number;
	*end = s.last_end > size / s.block ? size : s.last_end * s.block;
	return 0;
}
