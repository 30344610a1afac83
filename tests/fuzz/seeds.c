/* SPDX-License-Identifier: MIT */
/*
 * seeds.c - writes the inputs that fuzzing starts from.
 *
 *	seeds DIR	makes DIR/TARGET for every target
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "drivers/format/qcow2/disk.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/random.h"

static const char *const options[] = {
	"{\"driver\": \"file\", \"filename\": \"/a\"}",
	"{\"driver\": \"file\", \"filename\": \"/a\", \"read-only\": true,"
	" \"auto-read-only\": true, \"discard\": \"unmap\","
	" \"locking\": \"off\", \"aio\": \"native\","
	" \"cache\": {\"direct\": true, \"no-flush\": false}}",
	"{\"driver\": \"host_device\", \"filename\": \"/a\"}",
	"{\"driver\": \"raw\", \"node-name\": \"n\", \"offset\": 512,"
	" \"size\": \"4k\", \"file\": {\"driver\": \"file\","
	" \"filename\": \"/a\"}}",
	"{\"driver\": \"null-co\", \"size\": 65536, \"read-zeroes\": false,"
	" \"latency-ns\": 5}",
	"{\"driver\": \"qcow2\", \"lazy-refcounts\": true, \"cache-size\": 1,"
	" \"backing\": null, \"file\": {\"driver\": \"file\","
	" \"filename\": \"/a\", \"force-share\": true}}",
	"{\"driver\": \"nop\", \"file\": {\"driver\": \"nop\", \"file\":"
	" {\"driver\": \"null-co\", \"size\": 512}}}",
};

/* See tests/fuzz/control.c for the first byte. */
#define NEGOTIATE "{\"execute\":\"qmp_capabilities\"}"
static const char control_all[] = "\x05" NEGOTIATE
	"{\"execute\":\"all\",\"id\":[1],\"arguments\":{\"name\":\"a\","
	"\"mode\":\"hard\",\"fail\":false,\"number\":7,\"options\":{}}}";
static const char control_add[] = "\xff" NEGOTIATE
	" {\"execute\":\"add\",\"arguments\":{\"file\":{\"driver\":"
	"\"null-co\"}}}\n{\"execute\":\"show\"} 12 tru [\"\\\"]\"] ";
static const char control_zero[] = "\x05"
	"{\"execute\\u0000\":\"qmp_capabilities\"}{\"execute\":\"al\\u0000\"}";
/* See tests/fuzz/nbd.c for the first byte. */
#define NBD_FLAGS "\0\0\0\3"
#define NBD_GO "IHAVEOPT\0\0\0\7\0\0\0\x07\0\0\0\1n\0\0"
static const char nbd_plain[] = "\0" NBD_FLAGS
	"IHAVEOPT\0\0\0\x08\0\0\0\0"
	"IHAVEOPT\0\0\0\x0a\0\0\0\x1c\0\0\0\1n\0\0\0\1"
	"\0\0\0\x0f" "base:allocation" NBD_GO
	"\x25\x60\x95\x13\0\0\0\7AAAABBBB\0\0\0\0\0\0\0\0\0\1\0\0"
	"\x25\x60\x95\x13\0\0\0\1AAAABBBB\0\0\0\0\0\0\0\0\0\0\0\4data";
static const char nbd_tls[] = "\1" NBD_FLAGS
	"IHAVEOPT\0\0\0\5\0\0\0\0"
	"IHAVEOPT\0\0\0\x0b\0\0\0\0" NBD_GO
	"\x21\xe4\x1c\x71\0\0\0\4AAAABBBB\0\0\0\0\0\0\0\0"
	"\0\0\0\0\0\1\0\0";
static const char log_two[] =
	"00000014 7432ccbc {\"blkgraph-state\":1}\n"
	"0000001b faaa334a {\"del\":[\"a\"],\"set\":{\"b\":1}}\n";

/* See tests/fuzz/keyval.c for the first byte. */
static const char *const keyvals[] = {
	"1b,file.driver=a,file.cache.direct=on,size=64k,list.0=x,,y,list.1=z",
	"2driver=a,on,nocache,numbers.0=0x10,numbers.1=-5,any.b.c=",
};

static const char *dir;

static void put(const char *target, unsigned n, const void *data, size_t size)
{
	char path[400];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/seed%u", dir, target, n);
	f = fopen(path, "w");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void make_dir(const char *target)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", dir, target);
	mkdir(path, 0777);
}

/* Every kind of cluster, in turn, at the start of each L2 table: several
 * tables are worth more than much data. */
static enum image_cluster kind(void *arg, uint64_t n)
{
	const struct image_spec *spec = arg;

	if (n % 64 > 6)
		return IMAGE_HOLE;
	return (enum image_cluster)(spec->version == 3 ? n % 5 :
				    n % 2 ? IMAGE_DATA : IMAGE_PACKED);
}

static void fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)arg;
	for (uint32_t i = 0; i < len; i += 512)
		model_fill((offset + i) / 512, 1, (char *)buf + i);
}

#define REQUESTS_BYTES 64u
#define HOST_MASK UINT64_C(0x00fffffffffffe00)
#define PACKED (UINT64_C(1) << 62)

struct image {
	struct image_spec spec;
	uint8_t *data;
	uint64_t size;
};

/* Small ones: what takes long is tried less often. */
static void build(struct image *im, unsigned version, unsigned bits,
		  unsigned order, unsigned clusters)
{
	void *data;

	im->spec = (struct image_spec){
		.version = version,
		.cluster_bits = bits,
		.refcount_order = order,
		.size = (uint64_t)clusters << bits,
		.lazy_refcounts = im->spec.lazy_refcounts,
		.l2_not_copied = im->spec.l2_not_copied,
		.backing = im->spec.backing,
		.backing_format = im->spec.backing ? "raw" : NULL,
		.kind = kind,
		.fill = fill,
		.arg = &im->spec,
	};
	im->size = image_build(&im->spec, &data);
	im->data = data;
}

/* With a last part of a cluster that says what is done to it. */
static void put_image(struct image *im)
{
	static unsigned n;
	uint64_t random = n;

	im->data = realloc(im->data, im->size + REQUESTS_BYTES);
	for (unsigned i = 0; i < REQUESTS_BYTES; i++)
		im->data[im->size++] = (uint8_t)random_next(&random, 256);
	put("qcow2-read", n, im->data, im->size);
	put("qcow2-write", n, im->data, im->size);
	put("qcow2-header", n, im->data, min(im->size, UINT64_C(1024)));
	n++;
	free(im->data);
}

static void make_images(void)
{
	static const struct {
		unsigned version, bits, order, clusters;
		bool lazy, shared, backing;
	} shapes[] = {
		{ 3, 9, 4, 12, false, false, false },
		{ 2, 9, 4, 70, false, false, true },
		{ 3, 9, 6, 140, true, false, false },
		{ 3, 9, 0, 10, false, false, false },
		{ 3, 9, 2, 20, false, true, false },
		{ 3, 11, 4, 3, false, false, true },
		{ 3, 11, 1, 2, true, false, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct image im = { .spec = {
			.lazy_refcounts = shapes[i].lazy,
			.l2_not_copied = shapes[i].shared,
			.backing = shapes[i].backing ? "/a" : NULL,
		} };

		build(&im, shapes[i].version, shapes[i].bits, shapes[i].order,
		      shapes[i].clusters);
		put_image(&im);
	}
}

/* A snapshot whose L1 table is the disk's own. */
static void make_snapshot(void)
{
	struct image im = { .size = 0 };
	uint8_t *entry;

	build(&im, 3, 9, 4, 6);
	im.data = realloc(im.data, im.size + 512);
	entry = im.data + im.size;
	memset(entry, 0, 512);
	memcpy(entry, im.data + QCOW2_H_L1_OFFSET, 8);
	memcpy(entry + 8, im.data + QCOW2_H_L1_ENTRIES, 4);
	memcpy(entry + 12, "\0\1\0\3", 4);	/* lengths of id and name */
	be32_put(entry + 36, 24);		/* of the extra data */
	memcpy(entry + 64, "1one", 4);
	be32_put(im.data + QCOW2_H_SNAPSHOTS, 1);
	be64_put(im.data + QCOW2_H_SNAPSHOTS_OFFSET, im.size);
	im.size += 512;
	put_image(&im);
}

/* A table of feature names, a bitmap whose table is its own entry, and an
 * extension that nobody knows. */
static void make_extensions(void)
{
	struct image im = { .size = 0 };
	uint8_t *at;

	build(&im, 3, 9, 4, 4);
	im.data = realloc(im.data, im.size + 512);
	memset(im.data + im.size, 0, 512);
	at = im.data + im.size;
	be64_put(at + QCOW2_BITMAP_TABLE_OFFSET, im.size);
	be32_put(at + QCOW2_BITMAP_TABLE_ENTRIES, 1);
	at[QCOW2_BITMAP_TYPE] = QCOW2_BITMAP_TYPE_DIRTY;
	at[QCOW2_BITMAP_GRANULARITY] = 16;
	memcpy(at + QCOW2_BITMAP_NAME_LEN, "\0\4", 2);
	memcpy(at + QCOW2_BITMAP_BYTES, "bits", 4);
	be64_put(im.data + QCOW2_H_AUTOCLEAR, QCOW2_AUTOCLEAR_BITMAPS);
	at = im.data + QCOW2_H_V3_LEN;
	be32_put(at, QCOW2_EXT_FEATURE_NAMES);
	be32_put(at + 4, 48);
	memcpy(at + 8, "\0\5a feature", 12);
	at += 56;
	be32_put(at, QCOW2_EXT_BITMAPS);
	be32_put(at + 4, QCOW2_B_LEN);
	be32_put(at + 8 + QCOW2_B_COUNT, 1);
	be64_put(at + 8 + QCOW2_B_DIRECTORY_BYTES, 32);
	be64_put(at + 8 + QCOW2_B_DIRECTORY_OFFSET, im.size);
	im.size += 512;
	at += 32;
	be32_put(at, 0x11223344);
	be32_put(at + 4, 5);
	put_image(&im);
}

/* All compressed clusters, by zstd. */
static void make_zstd(void)
{
	struct image im = { .size = 0 };
	uint64_t l2;

	build(&im, 3, 9, 4, 10);
	be32_put(im.data + QCOW2_H_LEN, QCOW2_H_V3_LEN + 8);
	im.data[QCOW2_H_COMPRESSION] = QCOW2_ZSTD;
	be64_put(im.data + QCOW2_H_INCOMPATIBLE, QCOW2_INCOMPAT_COMPRESSION);
	l2 = be64_at(im.data + be64_at(im.data + QCOW2_H_L1_OFFSET));
	l2 &= HOST_MASK;
	for (unsigned i = 0; i < 10; i++) {
		uint64_t entry = be64_at(im.data + l2 + i * 8);
		uint8_t *stream = im.data + (entry & (PACKED - 1) & 0xffffff);
		char plain[512];

		if (!(entry & PACKED))
			continue;
		fill(NULL, i * UINT64_C(512), plain, 512);
		ZSTD_compress(stream, 512, plain, 512, 1);
	}
	put_image(&im);
}

static void make_streams(void)
{
	char in[4097], plain[4096];
	struct image im = { .size = 0 };

	fill(NULL, 0, plain, sizeof(plain));
	in[0] = 1 | 3 << 1;	/* zstd, 4096 */
	put("qcow2-inflate", 0, in, 1 + ZSTD_compress(in + 1, sizeof(in) - 1,
						     plain, sizeof(plain), 3));
	/* the first compressed cluster of an image of ours */
	build(&im, 3, 12, 4, 5);
	in[0] = 0 | 3 << 1;
	for (uint64_t at = 4096; at < im.size; at += 4096) {
		if (be64_at(im.data + at + 4 * 8) >> 62 != 1)
			continue;
		memcpy(in + 1, im.data + (be64_at(im.data + at + 4 * 8) &
					  0xfffff), 512);
		put("qcow2-inflate", 1, in, 513);
	}
	free(im.data);
}

int main(int argc, char **argv)
{
	static const char *const targets[] = {
		"qcow2-read", "qcow2-write", "qcow2-header", "qcow2-inflate",
		"options", "control", "statelog", "nbd", "keyval",
	};

	if (argc != 2)
		return 2;
	dir = argv[1];
	mkdir(dir, 0777);
	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++)
		make_dir(targets[i]);
	put("control", 0, control_all, sizeof(control_all) - 1);
	put("control", 1, control_add, sizeof(control_add) - 1);
	put("control", 2, control_zero, sizeof(control_zero) - 1);
	put("statelog", 0, log_two, sizeof(log_two) - 1);
	put("nbd", 0, nbd_plain, sizeof(nbd_plain) - 1);
	put("nbd", 1, nbd_tls, sizeof(nbd_tls) - 1);
	for (unsigned i = 0; i < ARRAY_SIZE(keyvals); i++)
		put("keyval", i, keyvals[i], strlen(keyvals[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		put("options", i, options[i], strlen(options[i]));
	make_images();
	make_snapshot();
	make_extensions();
	make_zstd();
	make_streams();
	return 0;
}
