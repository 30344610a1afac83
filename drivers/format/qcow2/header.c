/* SPDX-License-Identifier: MIT */
/*
 * header.c - parses and changes the header (header.h). Pure: no I/O, so that
 * it can be fuzzed. Every number is checked before the next one is derived
 * from it.
 */
#include "drivers/format/qcow2/header.h"

#include <errno.h>
#include <inttypes.h>

static int bad(struct error **err, const char *field, uint64_t value)
{
	return error_set(err, EUCLEAN, "qcow2 header: invalid %s %" PRIu64,
			 field, value);
}

int qcow2_header_extent(const uint8_t *buf, uint32_t *len, struct error **err)
{
	uint32_t version = be32_at(buf + QCOW2_H_VERSION);
	uint32_t bits = be32_at(buf + QCOW2_H_CLUSTER_BITS);

	if (be32_at(buf + QCOW2_H_MAGIC) != QCOW2_MAGIC)
		return error_set(err, EINVAL, "Image is not in qcow2 format");
	if (version != 2 && version != 3)
		return error_set(err, ENOTSUP,
				 "qcow2 version %" PRIu32 " is not supported",
				 version);
	if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX)
		return bad(err, "cluster bits", bits);
	*len = 1u << bits;
	return 0;
}

static int parse_fields(const uint8_t *buf, struct qcow2_header *h,
			struct error **err)
{
	uint32_t bits = be32_at(buf + QCOW2_H_CLUSTER_BITS);
	uint32_t order = 4;

	h->version = be32_at(buf + QCOW2_H_VERSION);
	h->length = QCOW2_H_V2_LEN;
	if (h->version == 3) {
		h->incompatible = be64_at(buf + QCOW2_H_INCOMPATIBLE);
		h->compatible = be64_at(buf + QCOW2_H_COMPATIBLE);
		h->autoclear = be64_at(buf + QCOW2_H_AUTOCLEAR);
		order = be32_at(buf + QCOW2_H_REFCOUNT_ORDER);
		h->length = be32_at(buf + QCOW2_H_LEN);
		if (h->length < QCOW2_H_V3_LEN || h->length > 1u << bits ||
		    h->length % 8)
			return bad(err, "header length", h->length);
	}
	if (order > QCOW2_REFCOUNT_ORDER_MAX)
		return bad(err, "refcount order", order);
	h->geo = qcow2_geometry_make(bits, order);
	if (h->length > QCOW2_H_COMPRESSION)
		h->compression = buf[QCOW2_H_COMPRESSION];
	h->size = be64_at(buf + QCOW2_H_SIZE);
	h->l1_entries = be32_at(buf + QCOW2_H_L1_ENTRIES);
	h->l1_offset = be64_at(buf + QCOW2_H_L1_OFFSET);
	h->reftable_offset = be64_at(buf + QCOW2_H_REFTABLE_OFFSET);
	h->reftable_clusters = be32_at(buf + QCOW2_H_REFTABLE_CLUSTERS);
	h->snapshots = be32_at(buf + QCOW2_H_SNAPSHOTS);
	h->snapshots_offset = be64_at(buf + QCOW2_H_SNAPSHOTS_OFFSET);
	return 0;
}

/* Incompatible bits: known, the feature table's name for it, or the number. */
static int refuse_feature(const uint8_t *names, uint32_t len, uint64_t bits,
			  struct error **err)
{
	int bit = __builtin_ctzll(bits);

	if (bits & QCOW2_INCOMPAT_DATA_FILE)
		return error_set(err, ENOTSUP, "qcow2 feature"
				 " 'external data file' is not supported");
	if (bits & QCOW2_INCOMPAT_EXTENDED_L2)
		return error_set(err, ENOTSUP, "qcow2 feature"
				 " 'extended L2 entries' is not supported");
	for (; len >= 48; names += 48, len -= 48) {
		char name[47];

		if (names[0] != 0 || names[1] != bit)
			continue;
		memcpy(name, names + 2, 46);
		name[46] = 0;
		/* the image's text must not control a terminal */
		for (char *p = name; *p; p++)
			if (*p < ' ' || *p > '~')
				*p = '?';
		return error_set(err, ENOTSUP,
				 "qcow2 feature '%s' is not supported", name);
	}
	return error_set(err, ENOTSUP,
			 "qcow2 incompatible feature bit %d is not supported",
			 bit);
}

static int check_features(const struct qcow2_header *h, const uint8_t *buf,
			  const uint8_t *names, uint32_t names_len,
			  struct error **err)
{
	const uint64_t known = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT |
			       QCOW2_INCOMPAT_COMPRESSION;
	uint32_t crypt = be32_at(buf + QCOW2_H_CRYPT);

	if (h->incompatible & ~known)
		return refuse_feature(names, names_len,
				      h->incompatible & ~known, err);
	if (crypt > 2)
		return bad(err, "encryption method", crypt);
	if (crypt)
		return error_set(err, ENOTSUP, "qcow2 feature"
				 " 'encryption (%s)' is not supported",
				 crypt == 1 ? "AES" : "LUKS");
	if (h->compression > QCOW2_ZSTD)
		return error_set(err, ENOTSUP, "qcow2 compression type %u"
				 " is not supported", h->compression);
	if (h->compression != QCOW2_ZLIB &&
	    !(h->incompatible & QCOW2_INCOMPAT_COMPRESSION))
		return bad(err, "compression type without its feature bit",
			   h->compression);
	return 0;
}

/* Whether len bytes at a cluster's start can be a table of the image. */
static bool table_ok(const struct qcow2_header *h, uint64_t offset,
		     uint64_t len)
{
	return is_aligned(offset, h->geo.cluster_size) &&
	       offset >= h->geo.cluster_size && offset < QCOW2_OFFSET_LIMIT &&
	       len <= QCOW2_OFFSET_LIMIT - offset;
}

static int check_tables(const struct qcow2_header *h, uint64_t file_size,
			struct error **err)
{
	uint64_t l1_bytes = h->l1_entries * UINT64_C(8);
	uint64_t reftable_bytes = (uint64_t)h->reftable_clusters *
				  h->geo.cluster_size;
	uint64_t end = align_up(min(file_size, QCOW2_OFFSET_LIMIT),
				h->geo.cluster_size);

	if (h->size > INT64_MAX - (uint64_t)h->geo.cluster_size)
		return bad(err, "disk size", h->size);
	if (l1_bytes > QCOW2_L1_BYTES_MAX)
		return bad(err, "L1 table size", h->l1_entries);
	if (h->l1_entries < qcow2_l1_needed(&h->geo, h->size))
		return error_set(err, EUCLEAN, "qcow2 header: L1 table of %"
				 PRIu32 " entries is too small for %" PRIu64
				 " bytes", h->l1_entries, h->size);
	if (l1_bytes && (!table_ok(h, h->l1_offset, l1_bytes) ||
			 h->l1_offset + l1_bytes > file_size))
		return bad(err, "L1 table offset", h->l1_offset);
	if (!h->reftable_clusters || reftable_bytes > QCOW2_REFTABLE_BYTES_MAX)
		return bad(err, "refcount table size", h->reftable_clusters);
	if (!table_ok(h, h->reftable_offset, reftable_bytes) ||
	    h->reftable_offset + reftable_bytes > end)
		return bad(err, "refcount table offset", h->reftable_offset);
	if (h->snapshots > QCOW2_SNAPSHOTS_MAX)
		return bad(err, "number of snapshots", h->snapshots);
	if (h->snapshots && !table_ok(h, h->snapshots_offset, 0))
		return bad(err, "snapshot table offset", h->snapshots_offset);
	return 0;
}

static int parse_backing(const uint8_t *buf, struct qcow2_header *h,
			 struct error **err)
{
	uint64_t offset = be64_at(buf + QCOW2_H_BACKING_OFFSET);
	uint32_t len = be32_at(buf + QCOW2_H_BACKING_LEN);

	if (!offset)
		return 0;
	if (offset < h->length || offset > h->geo.cluster_size)
		return bad(err, "backing file name offset", offset);
	if (len > QCOW2_BACKING_NAME_MAX || len > h->geo.cluster_size - offset)
		return bad(err, "backing file name length", len);
	if (memchr(buf + offset, 0, len))
		return error_set(err, EUCLEAN, "qcow2 header: backing file name"
				 " contains a zero byte");
	memcpy(h->backing, buf + offset, len);
	h->backing[len] = 0;
	h->backing_len = (uint16_t)len;
	return 0;
}

static int parse_bitmaps(const uint8_t *data, uint32_t len,
			 struct qcow2_header *h, struct error **err)
{
	if (len != QCOW2_B_LEN)
		return bad(err, "bitmaps extension length", len);
	/* without its autoclear bit the extension is stale by definition */
	if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	h->bitmaps = be32_at(data + QCOW2_B_COUNT);
	h->bitmaps_bytes = be64_at(data + QCOW2_B_DIRECTORY_BYTES);
	h->bitmaps_offset = be64_at(data + QCOW2_B_DIRECTORY_OFFSET);
	if (!h->bitmaps || h->bitmaps > QCOW2_BITMAPS_MAX)
		return bad(err, "number of bitmaps", h->bitmaps);
	if (h->bitmaps_bytes > QCOW2_BITMAPS_BYTES_MAX)
		return bad(err, "bitmap directory size", h->bitmaps_bytes);
	if (!table_ok(h, h->bitmaps_offset, h->bitmaps_bytes))
		return bad(err, "bitmap directory offset", h->bitmaps_offset);
	return 0;
}

/* Walks the extensions up to the end mark, the backing name or the cluster's
 * end. *names gets the feature name table. */
static int parse_extensions(const uint8_t *buf, struct qcow2_header *h,
			    const uint8_t **names, uint32_t *names_len,
			    struct error **err)
{
	uint64_t backing = be64_at(buf + QCOW2_H_BACKING_OFFSET);
	uint32_t end = backing ? (uint32_t)backing : h->geo.cluster_size;
	uint32_t at = h->length;
	int ret = 0;

	while (end - at >= 8 && !ret) {
		uint32_t type = be32_at(buf + at);
		uint32_t len = be32_at(buf + at + 4);
		const uint8_t *data = buf + at + 8;

		at += 8;
		if (type == QCOW2_EXT_END)
			break;
		if (len > end - at)
			return bad(err, "header extension length", len);
		if (type == QCOW2_EXT_FEATURE_NAMES) {
			*names = data;
			*names_len = len;
		} else if (type == QCOW2_EXT_BACKING_FORMAT) {
			if (len >= sizeof(h->backing_format))
				return bad(err, "backing format length", len);
			memcpy(h->backing_format, data, len);
			h->backing_format[len] = 0;
		} else if (type == QCOW2_EXT_BITMAPS) {
			ret = parse_bitmaps(data, len, h, err);
		}
		/* data is padded to 8 bytes; at most 7 past a checked len */
		at = min(end, (uint32_t)align_up((uint64_t)at + len, 8));
	}
	return ret;
}

int qcow2_header_parse(const uint8_t *buf, uint64_t file_size,
		       struct qcow2_header *out, struct error **err)
{
	const uint8_t *names = NULL;
	uint32_t extent, names_len = 0;
	struct qcow2_header h = { 0 };
	int ret;

	ret = qcow2_header_extent(buf, &extent, err);
	if (ret < 0)
		return ret;
	ret = parse_fields(buf, &h, err);
	if (ret < 0)
		return ret;
	ret = parse_backing(buf, &h, err);
	if (ret < 0)
		return ret;
	ret = parse_extensions(buf, &h, &names, &names_len, err);
	if (ret < 0)
		return ret;
	ret = check_features(&h, buf, names, names_len, err);
	if (ret < 0)
		return ret;
	ret = check_tables(&h, file_size, err);
	if (ret < 0)
		return ret;
	*out = h;
	return 0;
}

int qcow2_header_writable(const struct qcow2_header *h, struct error **err)
{
	if (h->incompatible & QCOW2_INCOMPAT_CORRUPT)
		return error_set(err, EUCLEAN, "qcow2 image is marked corrupt"
				 " and can only be opened read-only");
	if (h->snapshots)
		return error_set(err, ENOTSUP, "qcow2 image has %" PRIu32
				 " internal snapshots and can only be opened"
				 " read-only", h->snapshots);
	if (h->bitmaps)
		return error_set(err, ENOTSUP, "qcow2 image has %" PRIu32
				 " persistent bitmaps and can only be opened"
				 " read-only", h->bitmaps);
	return 0;
}

void qcow2_header_store(const struct qcow2_header *h, uint8_t *sector)
{
	be64_put(sector + QCOW2_H_SIZE, h->size);
	be32_put(sector + QCOW2_H_L1_ENTRIES, h->l1_entries);
	be64_put(sector + QCOW2_H_L1_OFFSET, h->l1_offset);
	be64_put(sector + QCOW2_H_REFTABLE_OFFSET, h->reftable_offset);
	be32_put(sector + QCOW2_H_REFTABLE_CLUSTERS, h->reftable_clusters);
	if (h->version < 3)
		return;
	be64_put(sector + QCOW2_H_INCOMPATIBLE, h->incompatible);
	be64_put(sector + QCOW2_H_COMPATIBLE, h->compatible);
	be64_put(sector + QCOW2_H_AUTOCLEAR, h->autoclear);
}

/* --- another backing name --- */

/* What of a first cluster is read. */
struct header_use {
	uint32_t list_end;		/* extensions end, with their mark */
	uint32_t name, name_end;	/* the backing file's */
};

static struct header_use header_use(const struct qcow2_header *h,
				    const uint8_t *buf)
{
	struct header_use use = { .name = (uint32_t)
				  be64_at(buf + QCOW2_H_BACKING_OFFSET) };
	uint32_t end = use.name ? use.name : h->geo.cluster_size;
	uint32_t at = h->length;

	use.name_end = use.name +
		       (use.name ? be32_at(buf + QCOW2_H_BACKING_LEN) : 0);
	while (end - at >= 8 && be32_at(buf + at) != QCOW2_EXT_END)
		at = min(end, (uint32_t)align_up((uint64_t)at + 8 +
						 be32_at(buf + at + 4), 8));
	use.list_end = min(end, at + 8);
	return use;
}

static bool header_uses(const struct header_use *use, uint32_t at)
{
	return at < use->list_end || (at >= use->name && at < use->name_end);
}

/* One extension at *at, which moves behind it. */
static int put_extension(const struct qcow2_header *h, uint8_t *to,
			 uint32_t *at, uint32_t type, const void *data,
			 uint32_t len)
{
	uint64_t end = *at + 8 + align_up((uint64_t)len, 8);

	if (end > h->geo.cluster_size)
		return -ENOSPC;
	memset(to + *at, 0, end - *at);
	be32_put(to + *at, type);
	be32_put(to + *at + 4, len);
	memcpy(to + *at + 8, data, len);
	*at = (uint32_t)end;
	return 0;
}

/* The list with that format first; the end of it, or -ENOSPC. */
static int64_t put_list(const struct qcow2_header *h, const uint8_t *from,
			const struct header_use *use, const char *format,
			bool feature_names, uint8_t *to)
{
	uint32_t at = h->length, in = h->length;
	int ret = 0;

	if (format)
		ret = put_extension(h, to, &at, QCOW2_EXT_BACKING_FORMAT,
				    format, (uint32_t)strlen(format));
	while (ret == 0 && in + 8 < use->list_end) {
		uint32_t type = be32_at(from + in);
		uint32_t len = be32_at(from + in + 4);

		if (type != QCOW2_EXT_BACKING_FORMAT &&
		    (type != QCOW2_EXT_FEATURE_NAMES || feature_names))
			ret = put_extension(h, to, &at, type, from + in + 8,
					    len);
		in += 8 + (uint32_t)align_up((uint64_t)len, 8);
	}
	if (ret == 0)
		ret = put_extension(h, to, &at, QCOW2_EXT_END, "", 0);
	return ret < 0 ? ret : (int64_t)at;
}

/* behind: the name goes where the old header has nothing at all. */
static int try_rename(const struct qcow2_header *h, const uint8_t *from,
		      const char *name, const char *format, bool feature_names,
		      bool behind, uint8_t *to)
{
	struct header_use use = header_use(h, from);
	uint32_t size = h->geo.cluster_size, place;
	uint32_t len = name ? (uint32_t)strlen(name) : 0;
	int64_t end;

	memcpy(to, from, size);
	end = put_list(h, from, &use, format, feature_names, to);
	if (end < 0)
		return (int)end;
	place = (uint32_t)end;
	if (behind) {
		place = max(place, use.list_end);
		place = max(place, use.name_end);
	}
	if (len > size - place)
		return -ENOSPC;
	be64_put(to + QCOW2_H_BACKING_OFFSET, name ? place : 0);
	be32_put(to + QCOW2_H_BACKING_LEN, len);
	if (name)
		memcpy(to + place, name, len);
	for (uint32_t i = QCOW2_HEADER_BYTES; i < size; i++)
		if (to[i] != from[i] && header_uses(&use, i))
			return -ENOSPC;
	return 0;
}

int qcow2_header_rename(const struct qcow2_header *h, const uint8_t *from,
			const char *name, const char *format, uint8_t *to)
{
	int ret = -ENOSPC;

	for (int way = 0; way < 4 && ret < 0; way++)
		ret = try_rename(h, from, name, format, way < 2, way % 2, to);
	return ret;
}
