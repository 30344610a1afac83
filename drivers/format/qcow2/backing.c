/* SPDX-License-Identifier: MIT */
/*
 * backing.c - makes the header name another image below, or none.
 *
 * Main thread, coroutine, while the image is used. What of it does not fit into
 * sector 0 is durable before that is written, and goes where the header as it
 * was has nothing, so at any cut the image names the one or the other (Q10).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/format/qcow2/qcow2.h"

/* Where the two differ last, behind sector 0; 0: nowhere. */
static uint32_t changed_end(const struct qcow2 *s, const uint8_t *from,
			    const uint8_t *to)
{
	uint32_t end = s->geo.cluster_size;

	while (end > QCOW2_HEADER_BYTES && from[end - 1] == to[end - 1])
		end--;
	return end > QCOW2_HEADER_BYTES ? end : 0;
}

static void use_names(struct qcow2_header *h, const char *name,
		      const char *format)
{
	snprintf(h->backing, sizeof(h->backing), "%s", name ? name : "");
	snprintf(h->backing_format, sizeof(h->backing_format), "%s",
		 format ? format : "");
	h->backing_len = (uint16_t)strlen(h->backing);
}

/* Lock held; `to` has sector 0 as it is to be. */
static int co_switch_sector(struct qcow2 *s, const uint8_t *to)
{
	uint8_t old[QCOW2_HEADER_BYTES];
	int ret;

	memcpy(old, s->sector, sizeof(old));
	memcpy(s->sector, to, sizeof(old));
	ret = qcow2_write_header(s);
	if (ret == 0)
		ret = co_edge_flush(qcow2_file(s));
	if (ret < 0)
		memcpy(s->sector, old, sizeof(old));
	return ret;
}

/* Lock held; from, to: room for a cluster each. */
static int co_rename(struct qcow2 *s, const char *name, const char *format,
		     uint8_t *from, uint8_t *to)
{
	uint32_t end;
	int ret = co_edge_read(qcow2_file(s), 0, s->geo.cluster_size, from);

	if (ret < 0)
		return ret;
	ret = qcow2_header_rename(&s->header, from, name, format, to);
	if (ret < 0)
		return ret;
	end = changed_end(s, from, to);
	if (end) {
		ret = co_edge_write(qcow2_file(s), QCOW2_HEADER_BYTES,
				    end - QCOW2_HEADER_BYTES,
				    to + QCOW2_HEADER_BYTES, 0);
		if (ret == 0)
			ret = co_edge_flush(qcow2_file(s));
		if (ret < 0)
			return ret;
	}
	ret = co_switch_sector(s, to);
	if (ret == 0)
		use_names(&s->header, name, format);
	return ret;
}

int qcow2_set_backing(struct node *node, const char *name, const char *format,
		      struct error **err)
{
	struct qcow2 *s = node->state;
	uint32_t size = s->geo.cluster_size;
	uint8_t *from;
	int ret;

	if (name && (!*name || strlen(name) > QCOW2_BACKING_NAME_MAX))
		return error_set(err, EINVAL, "Backing file name '%s' has not"
				 " 1 to %d bytes", name,
				 QCOW2_BACKING_NAME_MAX);
	from = malloc(2 * (size_t)size);
	if (!from)
		return error_set(err, ENOMEM, "Out of memory");
	co_lock(&s->lock);
	ret = s->corrupt ? -EIO : co_rename(s, name, format, from, from + size);
	co_unlock(&s->lock);
	free(from);
	if (ret == -ENOSPC)
		return error_set(err, ENOSPC, "The backing file name '%s' does"
				 " not fit into the header of node '%s'",
				 name ? name : "", node->name);
	if (ret < 0)
		return error_set(err, -ret, "Could not write the header of node"
				 " '%s': %s", node->name, strerror(-ret));
	return 0;
}
