/* SPDX-License-Identifier: MIT */
/*
 * seeds.c - writes the inputs that fuzzing starts from.
 *
 *	seeds DIR	makes DIR/qcow2-open, DIR/qcow2-header, DIR/options,
 *			DIR/control, DIR/keyval, DIR/nbd
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/compiler.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/qcow2-image.h"

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
static const char control_log[] = "\0"
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

/* Every kind of cluster, in turn. */
static enum image_cluster kind(void *arg, uint64_t n)
{
	const struct image_spec *spec = arg;

	return (enum image_cluster)(spec->version == 3 ? n % 5 :
				    n % 2 ? IMAGE_DATA : IMAGE_PACKED);
}

static void fill(void *arg, uint64_t offset, void *buf, uint32_t len)
{
	(void)arg;
	for (uint32_t i = 0; i < len; i += 512)
		model_fill((offset + i) / 512, 1, (char *)buf + i);
}

static void make_images(void)
{
	static const struct {
		unsigned version, bits, order, clusters;
		bool lazy, shared, backing;
	} shapes[] = {
		{ 3, 9, 4, 20, false, false, false },
		{ 2, 9, 4, 100, false, false, true },
		{ 3, 9, 6, 70, true, false, false },
		{ 3, 9, 0, 10, false, false, false },
		{ 3, 9, 2, 30, false, true, false },
		{ 3, 12, 4, 8, false, false, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct image_spec spec = {
			.version = shapes[i].version,
			.cluster_bits = shapes[i].bits,
			.refcount_order = shapes[i].order,
			.size = (uint64_t)shapes[i].clusters << shapes[i].bits,
			.lazy_refcounts = shapes[i].lazy,
			.l2_not_copied = shapes[i].shared,
			.backing = shapes[i].backing ? "/a" : NULL,
			.backing_format = shapes[i].backing ? "raw" : NULL,
			.kind = kind,
			.fill = fill,
			.arg = &spec,
		};
		void *data;
		uint64_t size = image_build(&spec, &data);

		put("qcow2-open", i, data, size);
		put("qcow2-header", i, data, 1024);
		free(data);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	dir = argv[1];
	mkdir(dir, 0777);
	make_dir("qcow2-open");
	make_dir("qcow2-header");
	make_dir("options");
	make_dir("control");
	put("control", 0, control_all, sizeof(control_all) - 1);
	put("control", 1, control_add, sizeof(control_add) - 1);
	put("control", 2, control_log, sizeof(control_log) - 1);
	make_dir("nbd");
	put("nbd", 0, nbd_plain, sizeof(nbd_plain) - 1);
	put("nbd", 1, nbd_tls, sizeof(nbd_tls) - 1);
	make_dir("keyval");
	for (unsigned i = 0; i < ARRAY_SIZE(keyvals); i++)
		put("keyval", i, keyvals[i], strlen(keyvals[i]));
	make_images();
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		put("options", i, options[i], strlen(options[i]));
	return 0;
}
