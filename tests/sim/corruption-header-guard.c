/* SPDX-License-Identifier: MIT */
/*
 * corruption-header-guard.c - guest data never lands on metadata.
 *
 * Seen elsewhere: the first 64 KiB, the header, were overwritten with guest
 * data. Here an image lies: an L2 entry names the header, the L1 table, an L2
 * table, the refcount table or a refcount block as a guest's cluster, or their
 * refcounts say that they are free. A write then fails, or goes somewhere else;
 * the metadata keeps its bytes, but for what the driver itself puts there.
 */
#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sim.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/disk.h"
#include "tests/lib/qcow2-image.h"

#define PATH "/sim/disk.qcow2"
#define CLUSTER 4096u
#define GUESTS 40u

static const char options[] =
	"{\"driver\": \"qcow2\", \"node-name\": \"disk\","
	" \"discard\": \"unmap\", \"file\": {\"driver\": \"file\","
	" \"filename\": \"" PATH "\", \"discard\": \"unmap\"}}";

struct lie {
	const char *victim;
	bool as_data;		/* named by L2; else: said to be free */
	uint64_t host;
	int write_result;
	bool ok;
};

static uint64_t get64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

/* The odd clusters are holes, the even ones data. */
static enum image_cluster kind(void *arg, uint64_t n)
{
	(void)arg;
	return n % 2 ? IMAGE_HOLE : IMAGE_DATA;
}

static uint64_t find(const unsigned char *data, const char *victim)
{
	uint64_t l1 = get64(data + 40), table = get64(data + 48);

	if (!strcmp(victim, "header"))
		return 0;
	if (!strcmp(victim, "L1 table"))
		return l1;
	if (!strcmp(victim, "L2 table"))
		return get64(data + l1) & UINT64_C(0xfffffffffffe00);
	if (!strcmp(victim, "refcount table"))
		return table;
	return get64(data + table);
}

static void make(struct lie *lie)
{
	const struct image_spec spec = {
		.version = 3,
		.cluster_bits = 12,
		.refcount_order = 4,
		.size = GUESTS * CLUSTER,
		.kind = kind,
	};
	void *mem;
	uint64_t size = image_build(&spec, &mem), l2, block, entry;
	unsigned char *data = mem;

	lie->host = find(data, lie->victim);
	l2 = find(data, "L2 table");
	block = find(data, "refcount block");
	if (lie->as_data) {
		entry = htobe64(lie->host | UINT64_C(1) << 63);
		memcpy(data + l2, &entry, sizeof(entry));
	} else {
		memset(data + block + lie->host / CLUSTER * 2, 0, 2);
	}
	sim_file_create(PATH, 0);
	sim_file_set(PATH, data, size);
	free(mem);
}

/* Whether guest bytes lie in the victim's cluster. */
static bool is_hurt(const struct lie *lie)
{
	unsigned char guest[512];
	void *data;
	uint64_t size = sim_file_get(PATH, &data);
	bool hurt = false;

	for (uint64_t s = 0; s < GUESTS * CLUSTER / 512; s++) {
		model_fill(s, 7, guest);
		for (uint64_t i = 0; i < CLUSTER; i += 512)
			hurt |= lie->host + i + 512 <= size &&
				!memcmp((char *)data + lie->host + i, guest,
					512);
	}
	free(data);
	return hurt;
}

static void body(void *arg)
{
	struct lie *lie = arg;
	struct error *err = NULL;
	unsigned char *buf = aligned_alloc(4096, CLUSTER);
	struct disk d;
	int ret = 0;

	assert(buf);
	if (disk_open(&d, options, DISK_WRITABLE, 0, &err) < 0) {
		/* to refuse the image is as good */
		error_clear(&err);
		free(buf);
		lie->write_result = -1;
		return;
	}
	/* the first cluster is the one that the image lies about */
	for (uint64_t n = 0; n < GUESTS && ret == 0;
	     n += lie->as_data ? GUESTS : 1) {
		for (unsigned i = 0; i < CLUSTER / 512; i++)
			model_fill(n * 8 + i, 7, buf + i * 512);
		ret = disk_request(&d, REQ_WRITE, 0, n * CLUSTER, CLUSTER, buf);
	}
	lie->write_result = ret;
	(void)disk_request(&d, REQ_FLUSH, 0, 0, 0, NULL);
	disk_close(&d);
	free(buf);
}

static bool run(const char *victim, bool as_data)
{
	struct lie lie = { .victim = victim, .as_data = as_data };

	make(&lie);
	test_run(2, 1, body, &lie);
	lie.ok = !is_hurt(&lie) && (!as_data || lie.write_result < 0);
	if (!lie.ok)
		printf("%s %s: the write gave %d, guest bytes there: %d\n",
		       victim, as_data ? "named as data" : "said to be free",
		       lie.write_result, is_hurt(&lie));
	sim_file_remove(PATH);
	return lie.ok;
}

int main(void)
{
	static const char *const victims[] = {
		"header", "L1 table", "L2 table", "refcount table",
		"refcount block",
	};
	unsigned passed = 0, failed = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(victims); i++) {
		run(victims[i], true) ? passed++ : failed++;
		run(victims[i], false) ? passed++ : failed++;
	}
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
