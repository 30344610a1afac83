/* SPDX-License-Identifier: MIT */
/*
 * info.c - what an image says about itself: its header, and the lists of its
 * snapshots and bitmaps, with the members that qemu-img info has for them.
 *
 * Main thread. The lists are read where an image is only looked at, straight
 * from the file; an image that has any is read-only with us. They are hostile
 * (A26): bounded by the file, by LIST_MAX entries and NAME_MAX_SHOWN bytes, so
 * an answer has a bound too.
 */
#include "drivers/format/qcow2/info.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include "drivers/format/qcow2/qcow2.h"
#include "runtime/json.h"

#define LIST_MAX 128u
#define NAME_MAX_SHOWN 255u
#define ENTRY_MAX 64u

void qcow2_info(struct node *node, json_t *object)
{
	const struct qcow2 *s = node->state;
	const struct qcow2_header *h = &s->header;
	uint64_t bits = __atomic_load_n(&h->incompatible, __ATOMIC_RELAXED);
	bool corrupt = bits & QCOW2_INCOMPAT_CORRUPT || s->lost ||
		       __atomic_load_n(&s->corrupt, __ATOMIC_ACQUIRE);
	uint64_t leaked = __atomic_load_n(&s->leaked, __ATOMIC_RELAXED);
	json_t *data = json_object();

	if (leaked)
		json_object_set_new(data, "leaked-clusters",
				    json_integer((json_int_t)leaked));
	json_object_set_new(data, "compat",
			    json_string(s->v3 ? "1.1" : "0.10"));
	json_object_set_new(data, "refcount-bits",
			    json_integer(1 << s->geo.refcount_order));
	json_object_set_new(data, "compression-type",
			    json_string(h->compression == QCOW2_ZSTD ?
					"zstd" : "zlib"));
	if (s->v3) {
		json_object_set_new(data, "lazy-refcounts",
			json_boolean(h->compatible &
				     QCOW2_COMPAT_LAZY_REFCOUNTS));
		json_object_set_new(data, "corrupt", json_boolean(corrupt));
		json_object_set_new(data, "extended-l2", json_false());
	}
	json_object_set_new(object, "cluster-size",
			    json_integer(s->geo.cluster_size));
	json_object_set_new(object, "dirty-flag",
			    json_boolean(bits & QCOW2_INCOMPAT_DIRTY));
	json_object_set_new(object, "format-specific",
			    json_pack("{s:s, s:o}", "type", "qcow2", "data",
				      data));
}

/* --- lists --- */

/* A table of the file whose entries have no fixed length. */
struct list {
	struct edge *file;
	const char *what;
	uint64_t at, end;	/* next byte, and where it must end */
	uint8_t entry[ENTRY_MAX];
	struct error **err;
};

static int list_invalid(const struct list *l)
{
	return error_set(l->err, EUCLEAN, "The %s is not valid at offset %"
			 PRIu64, l->what, l->at);
}

/* len bytes at `at`, which lies before the end. */
static int co_list_read(struct list *l, uint64_t at, uint32_t len, void *buf)
{
	int ret;

	if (at > l->end || len > l->end - at)
		return list_invalid(l);
	ret = len ? co_edge_read(l->file, at, len, buf) : 0;
	if (ret < 0)
		return error_set(l->err, -ret, "Could not read the %s: %s",
				 l->what, strerror(-ret));
	return 0;
}

/* A name of any bytes. */
static json_t *co_list_name(struct list *l, uint64_t at, uint32_t len)
{
	uint8_t text[NAME_MAX_SHOWN];

	len = min(len, NAME_MAX_SHOWN);
	if (co_list_read(l, at, len, text) < 0)
		return NULL;
	return json_text_of((const char *)text, len);
}

static json_t *snapshot_describe(const uint8_t *e, uint32_t extra)
{
	uint64_t clock = be64_at(e + QCOW2_SNAPSHOT_CLOCK_NS);
	uint64_t vm = be32_at(e + QCOW2_SNAPSHOT_VM_BYTES_32);
	json_t *object;

	if (extra >= 8)
		vm = be64_at(e + QCOW2_SNAPSHOT_VM_BYTES);
	object = json_pack("{s:I, s:I, s:I, s:I, s:I}",
		"vm-state-size", (json_int_t)vm,
		"date-sec", (json_int_t)be32_at(e + QCOW2_SNAPSHOT_DATE_S),
		"date-nsec", (json_int_t)be32_at(e + QCOW2_SNAPSHOT_DATE_NS),
		"vm-clock-sec", (json_int_t)(clock / 1000000000),
		"vm-clock-nsec", (json_int_t)(clock % 1000000000));
	/* ours: the disk may have had another size */
	if (extra >= 16)
		json_object_set_new(object, "disk-size", json_integer(
			(json_int_t)be64_at(e + QCOW2_SNAPSHOT_DISK_BYTES)));
	return object;
}

static json_t *co_next_snapshot(struct list *l)
{
	uint8_t *e = l->entry;
	uint32_t extra, id_len, name_len;
	json_t *object, *id, *name;
	uint64_t at;

	if (co_list_read(l, l->at, QCOW2_SNAPSHOT_BYTES, e) < 0)
		return NULL;
	extra = be32_at(e + QCOW2_SNAPSHOT_EXTRA_LEN);
	if (extra > QCOW2_SNAPSHOT_EXTRA_MAX) {
		list_invalid(l);
		return NULL;
	}
	at = l->at + QCOW2_SNAPSHOT_BYTES;
	if (co_list_read(l, at, min(extra, 16u), e + QCOW2_SNAPSHOT_BYTES) < 0)
		return NULL;
	id_len = be16_at(e + QCOW2_SNAPSHOT_ID_LEN);
	name_len = be16_at(e + QCOW2_SNAPSHOT_NAME_LEN);
	at += extra;
	id = co_list_name(l, at, id_len);
	name = id ? co_list_name(l, at + id_len, name_len) : NULL;
	if (!name) {
		json_decref(id);
		return NULL;
	}
	l->at = align_up(at + id_len + name_len, 8);
	object = json_pack("{s:o, s:o}", "id", id, "name", name);
	json_object_update_new(object, snapshot_describe(e, extra));
	return object;
}

static json_t *co_next_bitmap(struct list *l)
{
	uint8_t *e = l->entry;
	uint32_t flags, extra, name_len;
	json_t *name, *list;

	if (co_list_read(l, l->at, QCOW2_BITMAP_BYTES, e) < 0)
		return NULL;
	flags = be32_at(e + QCOW2_BITMAP_FLAGS);
	extra = be32_at(e + QCOW2_BITMAP_EXTRA_LEN);
	name_len = be16_at(e + QCOW2_BITMAP_NAME_LEN);
	if (e[QCOW2_BITMAP_GRANULARITY] > 31) {
		list_invalid(l);
		return NULL;
	}
	name = co_list_name(l, l->at + QCOW2_BITMAP_BYTES + extra, name_len);
	if (!name)
		return NULL;
	l->at = align_up(l->at + QCOW2_BITMAP_BYTES + extra + name_len, 8);
	list = json_array();
	if (flags & QCOW2_BITMAP_IN_USE)
		json_array_append_new(list, json_string("in-use"));
	if (flags & QCOW2_BITMAP_AUTO)
		json_array_append_new(list, json_string("auto"));
	return json_pack("{s:o, s:o, s:I}", "name", name, "flags", list,
			 "granularity",
			 (json_int_t)1 << e[QCOW2_BITMAP_GRANULARITY]);
}

/* The first LIST_MAX of `count` entries; NULL and *err. */
static json_t *co_list(struct list *l, json_t *(*co_next)(struct list *),
		       uint32_t count)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < min(count, LIST_MAX); i++) {
		json_t *one = co_next(l);

		if (!one) {
			json_decref(all);
			return NULL;
		}
		json_array_append_new(all, one);
	}
	return all;
}

static int co_put_list(struct list *l, json_t *(*co_next)(struct list *),
		       uint32_t count, json_t *object, const char *name)
{
	char counted[32];
	json_t *all;

	if (!count)
		return 0;
	snprintf(counted, sizeof(counted), "%s-count", name);
	json_object_set_new(object, counted, json_integer(count));
	all = co_list(l, co_next, count);
	if (!all)
		return -EUCLEAN;
	json_object_set_new(object, name, all);
	return 0;
}

int qcow2_contents(struct node *node, json_t *object, struct error **err)
{
	struct qcow2 *s = node->state;
	const struct qcow2_header *h = &s->header;
	uint64_t size = qcow2_file(s)->child->size;
	struct list l = {
		.file = qcow2_file(s), .what = "snapshot table",
		.at = h->snapshots_offset, .end = size, .err = err,
	};
	json_t *data = json_object_get(json_object_get(object,
				       "format-specific"), "data");
	int ret = co_put_list(&l, co_next_snapshot, h->snapshots, object,
			      "snapshots");

	if (ret < 0)
		return ret;
	l.what = "bitmap directory";
	l.at = h->bitmaps_offset;
	if (l.at <= size)
		l.end = l.at + min(size - l.at, h->bitmaps_bytes);
	return co_put_list(&l, co_next_bitmap, h->bitmaps, data, "bitmaps");
}
