/* SPDX-License-Identifier: MIT */
/*
 * qcow2-header.c - the header's parser on good headers, and on one bad value
 * at a time (A26): refused with the value or the feature named.
 */
#include <errno.h>
#include <stdlib.h>

#include "drivers/format/qcow2/header.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/random.h"
#include "tests/lib/suite.h"

#define MAX_CLUSTER (1u << 21)

struct image {
	uint8_t *bytes;
	uint64_t size;
};

/* A good image, its first cluster readable in full. */
static struct image make(unsigned version, unsigned bits, const char *backing)
{
	struct image_spec spec = {
		.version = version,
		.cluster_bits = bits,
		.refcount_order = 4,
		.size = 1 << 20,
		.backing = backing,
		.backing_format = backing ? "raw" : NULL,
	};
	struct image img;
	void *data;

	img.size = image_build(&spec, &data);
	img.bytes = calloc(1, img.size + MAX_CLUSTER);
	CU_ASSERT_PTR_NOT_NULL_FATAL(img.bytes);
	memcpy(img.bytes, data, img.size);
	free(data);
	return img;
}

static int parse(const struct image *img, struct qcow2_header *h, char *text)
{
	struct error *err = NULL;
	int ret = qcow2_header_parse(img->bytes, img->size, h, &err);

	CU_ASSERT_EQUAL(ret < 0, err != NULL);
	*text = 0;
	if (err) {
		CU_ASSERT_EQUAL(err->code, -ret);
		strncpy(text, err->text, 199);
		text[199] = 0;
		error_clear(&err);
	}
	return ret;
}

static void good_headers(void)
{
	for (unsigned version = 2; version <= 3; version++) {
		for (unsigned bits = 9; bits <= 21; bits += 4) {
			struct image img = make(version, bits, "some/base");
			struct qcow2_header h;
			char text[200];

			CU_ASSERT_EQUAL(parse(&img, &h, text), 0);
			CU_ASSERT_EQUAL(h.version, version);
			CU_ASSERT_EQUAL(h.geo.cluster_bits, bits);
			CU_ASSERT_EQUAL(h.geo.refcount_order, 4);
			CU_ASSERT_EQUAL(h.size, 1 << 20);
			CU_ASSERT_STRING_EQUAL(h.backing, "some/base");
			CU_ASSERT_STRING_EQUAL(h.backing_format, "raw");
			CU_ASSERT_EQUAL(qcow2_header_writable(&h, NULL), 0);
			free(img.bytes);
		}
	}
}

/* One field of a version 3 image with 64 KiB clusters set to a bad value. */
static const struct {
	unsigned at, width;	/* bytes */
	uint64_t value;
	int err;
	const char *says;
} bad[] = {
	{ 0, 4, 0x514649fa, EINVAL, "not in qcow2 format" },
	{ 4, 4, 1, ENOTSUP, "version 1" },
	{ 4, 4, 4, ENOTSUP, "version 4" },
	{ 20, 4, 8, EUCLEAN, "cluster bits 8" },
	{ 20, 4, 22, EUCLEAN, "cluster bits 22" },
	{ 20, 4, 0xffffffff, EUCLEAN, "cluster bits 4294967295" },
	{ 24, 8, UINT64_MAX, EUCLEAN, "disk size" },
	{ 24, 8, UINT64_C(1) << 40, EUCLEAN, "too small" },
	{ 32, 4, 1, ENOTSUP, "encryption (AES)" },
	{ 32, 4, 2, ENOTSUP, "encryption (LUKS)" },
	{ 32, 4, 3, EUCLEAN, "encryption method 3" },
	{ 36, 4, 0, EUCLEAN, "too small" },
	{ 36, 4, 0x400001, EUCLEAN, "L1 table size" },
	{ 36, 4, 0xffffffff, EUCLEAN, "L1 table size" },
	{ 40, 8, 0x10200, EUCLEAN, "L1 table offset" },
	{ 40, 8, 0, EUCLEAN, "L1 table offset" },
	{ 40, 8, UINT64_C(1) << 56, EUCLEAN, "L1 table offset" },
	{ 40, 8, UINT64_C(0xffffffffffff0000), EUCLEAN, "L1 table offset" },
	{ 40, 8, UINT64_C(1) << 40, EUCLEAN, "L1 table offset" },
	{ 48, 8, 0, EUCLEAN, "refcount table offset" },
	{ 48, 8, 0x20001, EUCLEAN, "refcount table offset" },
	{ 48, 8, UINT64_C(0x7fffffffffff0000), EUCLEAN,
	  "refcount table offset" },
	{ 56, 4, 0, EUCLEAN, "refcount table size" },
	{ 56, 4, 129, EUCLEAN, "refcount table size" },
	{ 56, 4, 0xffffffff, EUCLEAN, "refcount table size" },
	{ 60, 4, 65537, EUCLEAN, "number of snapshots" },
	{ 72, 8, 1 << 2, ENOTSUP, "external data file" },
	{ 72, 8, 1 << 4, ENOTSUP, "extended L2" },
	{ 72, 8, UINT64_C(1) << 63, ENOTSUP, "bit 63" },
	{ 96, 4, 7, EUCLEAN, "refcount order 7" },
	{ 96, 4, 0xffffffff, EUCLEAN, "refcount order" },
	{ 100, 4, 0xffffffff, EUCLEAN, "header length" },
	{ 100, 4, 72, EUCLEAN, "header length" },
	{ 100, 4, 105, EUCLEAN, "header length" },
	{ 100, 4, 65544, EUCLEAN, "header length" },
	{ 8, 8, 8, EUCLEAN, "backing file name offset" },
	{ 8, 8, 65537, EUCLEAN, "backing file name offset" },
	{ 8, 8, UINT64_MAX, EUCLEAN, "backing file name offset" },
	{ 8, 8, 65530, EUCLEAN, "backing file name length" },
	{ 16, 4, 1024, EUCLEAN, "backing file name length" },
	{ 16, 4, 0xffffffff, EUCLEAN, "backing file name length" },
	/* the first extension: its length */
	{ 108, 4, 0x7fffffff, EUCLEAN, "extension length" },
	{ 108, 4, 0xffffffff, EUCLEAN, "extension length" },
};

static void put(uint8_t *p, unsigned width, uint64_t v)
{
	if (width == 4)
		be32_put(p, (uint32_t)v);
	else
		be64_put(p, v);
}

static void bad_values(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct image img = make(3, 16, "some/base/of/more/letters");
		struct qcow2_header h;
		char text[200];
		int ret;

		put(img.bytes + bad[i].at, bad[i].width, bad[i].value);
		ret = parse(&img, &h, text);
		if (ret != -bad[i].err || !strstr(text, bad[i].says))
			printf("\ncase %zu: %d, %s\n", i, ret, text);
		CU_ASSERT_EQUAL(ret, -bad[i].err);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, bad[i].says));
		free(img.bytes);
	}
}

static void unknown_feature_by_its_name(void)
{
	struct image img = make(3, 16, NULL);
	uint8_t *ext = img.bytes + 104;
	struct qcow2_header h;
	char text[200];

	be64_put(img.bytes + 72, UINT64_C(1) << 9);
	be32_put(ext, 0x6803f857);
	be32_put(ext + 4, 96);
	ext[8] = 1;		/* compatible: not this one */
	ext[9] = 9;
	memcpy(ext + 10, "wrong", 5);
	ext[56] = 0;
	ext[57] = 9;
	memcpy(ext + 58, "flux\033 capacitor", 15);
	CU_ASSERT_EQUAL(parse(&img, &h, text), -ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "'flux? capacitor'"));
	/* a table of odd length is no table, but no harm either */
	be32_put(ext + 4, 95);
	CU_ASSERT_EQUAL(parse(&img, &h, text), -ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "bit 9"));
	free(img.bytes);
}

static void compression_types(void)
{
	struct image img = make(3, 16, NULL);
	struct qcow2_header h;
	char text[200];

	be32_put(img.bytes + 100, 112);
	img.bytes[104] = 1;
	CU_ASSERT_EQUAL(parse(&img, &h, text), -EUCLEAN);
	be64_put(img.bytes + 72, 1 << 3);
	CU_ASSERT_EQUAL(parse(&img, &h, text), 0);
	CU_ASSERT_EQUAL(h.compression, QCOW2_ZSTD);
	img.bytes[104] = 2;
	CU_ASSERT_EQUAL(parse(&img, &h, text), -ENOTSUP);
	free(img.bytes);
}

static void refused_for_writing(void)
{
	struct image img = make(3, 16, NULL);
	struct qcow2_header h;
	struct error *err = NULL;
	char text[200];

	be64_put(img.bytes + 72, 1 << 1);
	CU_ASSERT_EQUAL(parse(&img, &h, text), 0);
	CU_ASSERT_EQUAL(qcow2_header_writable(&h, &err), -EUCLEAN);
	error_clear(&err);
	be64_put(img.bytes + 72, 0);
	be32_put(img.bytes + 60, 2);
	be64_put(img.bytes + 64, 0x10000);
	CU_ASSERT_EQUAL(parse(&img, &h, text), 0);
	CU_ASSERT_EQUAL(qcow2_header_writable(&h, &err), -ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(err->text, "2 internal snapshots"));
	error_clear(&err);
	be32_put(img.bytes + 60, 0);
	be32_put(img.bytes + 104, 0x23852875);
	be32_put(img.bytes + 108, 24);
	be32_put(img.bytes + 112, 3);
	be64_put(img.bytes + 120, 96);
	be64_put(img.bytes + 128, 0x20000);
	CU_ASSERT_EQUAL(parse(&img, &h, text), 0);
	/* stale without the bit that vouches for them */
	CU_ASSERT_EQUAL(qcow2_header_writable(&h, &err), 0);
	be64_put(img.bytes + 88, 1);
	CU_ASSERT_EQUAL(parse(&img, &h, text), 0);
	CU_ASSERT_EQUAL(qcow2_header_writable(&h, &err), -ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(err->text, "3 persistent bitmaps"));
	error_clear(&err);

	be64_put(img.bytes + 128, 0x20200);
	CU_ASSERT_EQUAL(parse(&img, &h, text), -EUCLEAN);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "bitmap directory offset 131584"));
	be64_put(img.bytes + 120, (64 << 20) + 8);
	CU_ASSERT_EQUAL(parse(&img, &h, text), -EUCLEAN);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "bitmap directory size"));
	be32_put(img.bytes + 112, 65536);
	CU_ASSERT_EQUAL(parse(&img, &h, text), -EUCLEAN);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "number of bitmaps 65536"));
	free(img.bytes);
}

/* Any bytes: an error or a header within its bounds, under the sanitizers. The
 * fuzz target does this for longer. */
static void random_bytes(void)
{
	uint64_t r = 5;

	for (unsigned i = 0; i < 4000; i++) {
		struct image img = make(2 + i % 2, 9 + i % 8, "base");
		uint64_t changes = 1 + random_next(&r, 8);
		struct qcow2_header h;
		char text[200];

		while (changes--)
			img.bytes[random_next(&r, changes & 1 ? 136 : 512)] =
				(uint8_t)random_next(&r, 256);
		if (parse(&img, &h, text) == 0) {
			CU_ASSERT(h.l1_entries * UINT64_C(8) <= 32 << 20);
			CU_ASSERT(h.l1_offset + h.l1_entries * UINT64_C(8) <=
				  img.size || !h.l1_entries);
			CU_ASSERT(h.backing_len <= 1023);
			CU_ASSERT(h.geo.cluster_bits >= 9 &&
				  h.geo.cluster_bits <= 21);
		}
		free(img.bytes);
	}
}

/* What a header names after a cut that left sector 0 of the one and the rest of
 * the other; asserts that it can be read. */
static void names(const struct image *img, const uint8_t *sector,
		  const uint8_t *rest, const char *backing, const char *format)
{
	struct image mix = { .size = img->size };
	struct qcow2_header h;
	char text[200];

	mix.bytes = calloc(1, img->size + MAX_CLUSTER);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mix.bytes);
	memcpy(mix.bytes, rest, MAX_CLUSTER);
	memcpy(mix.bytes, sector, QCOW2_HEADER_BYTES);
	CU_ASSERT_EQUAL(parse(&mix, &h, text), 0);
	CU_ASSERT_STRING_EQUAL(h.backing, backing);
	CU_ASSERT_STRING_EQUAL(h.backing_format, format);
	free(mix.bytes);
}

/* What other tools put there: a table of names that reaches to byte 504. */
static void add_feature_names(struct image *img)
{
	uint8_t *at = img->bytes + 112;

	be32_put(img->bytes + QCOW2_H_LEN, 112);
	memset(at, 0, 512 - 112);
	be32_put(at, QCOW2_EXT_FEATURE_NAMES);
	be32_put(at + 4, 384);
	memset(at + 8, 'x', 384);
}

/* Renames it; false: that does not fit. last: what it names. */
static bool rename_once(struct image *img, char *last, const char *name,
			const char *format, uint8_t *to)
{
	struct qcow2_header h;
	char text[200];

	CU_ASSERT_EQUAL(parse(img, &h, text), 0);
	if (qcow2_header_rename(&h, img->bytes, *name ? name : NULL,
				*format ? format : NULL, to) < 0)
		return false;
	names(img, img->bytes, to, last, h.backing_format);
	names(img, to, to, name, format);
	memcpy(img->bytes, to, h.geo.cluster_size);
	strcpy(last, name);
	return true;
}

static unsigned rename_often(struct image *img, uint64_t *r, uint64_t longest,
			     char *last, uint8_t *to)
{
	static const char *const formats[] = {
		"", "raw", "qcow2", "of-many-letters",
	};
	unsigned done = 0;

	memset(to, 0, MAX_CLUSTER);
	for (int k = 0; k < 12; k++) {
		char name[1024];

		memset(name, 'a' + k, sizeof(name));
		name[random_next(r, longest + 1)] = 0;
		done += rename_once(img, last, name,
				    formats[random_next(r, 4)], to);
	}
	return done;
}

/* Q10: renamed again and again, the header names the old one or the new one,
 * whichever part of it a cut has kept. */
static void renamed(void)
{
	uint8_t *to = malloc(MAX_CLUSTER);
	uint64_t r = 7;

	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	for (unsigned i = 0; i < 40; i++) {
		unsigned bits = 9 + i % 5 * 3;
		struct image img = make(2 + i % 2, bits, i % 3 ? "b" : NULL);
		char last[1024];
		unsigned done;

		strcpy(last, i % 3 ? "b" : "");
		if (i % 2 && i % 3 == 0 && bits > 9)
			add_feature_names(&img);
		done = rename_often(&img, &r, bits > 9 ? 1023 : 300, last, to);
		/* larger ones have room for any name */
		CU_ASSERT(bits > 9 ? done == 12 : done > 6);
		free(img.bytes);
	}
	free(to);
}

TEST_MAIN("qcow2-header",
	  TEST(renamed),
	  TEST(good_headers),
	  TEST(bad_values),
	  TEST(unknown_feature_by_its_name),
	  TEST(compression_types),
	  TEST(refused_for_writing),
	  TEST(random_bytes))
