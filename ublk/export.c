/* SPDX-License-Identifier: MIT */
/*
 * export.c - the export type "ublk": /dev/ublkbN for a node (A18).
 *
 * Main thread, coroutines. Only glue: options and query here, the device's
 * life in device.c and stop.c.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/nested.h"
#include "export/read-only.h"
#include "graph/export.h"
#include "graph/node.h"
#include "graph/root.h"
#include "runtime/json.h"
#include "ublk/control.h"
#include "ublk/device.h"
#include "export/payload.h"
#include "ublk/ublk.h"

#define OPT(field) offsetof(struct ublk_options, field)

static const struct option ublk_option_table[] = {
	{ .name = "device-id", .type = OPT_UINT, .offset = OPT(id),
	  .def = DEVICE_ID_ANY_TEXT,
	  .help = "N of /dev/ublkbN; default: the first free one" },
	{ .name = "queues", .type = OPT_UINT, .offset = OPT(queues),
	  .def = "1", .lowest = 1, .highest = UBLK_QUEUES_MAX,
	  .help = "hardware queues; at most one for each CPU is used" },
	{ .name = "depth", .type = OPT_UINT, .offset = OPT(depth),
	  .def = "128", .lowest = 1, .highest = UBLK_MAX_QUEUE_DEPTH,
	  .help = "requests of one queue at a time" },
	{ .name = "logical-block-size", .type = OPT_UINT,
	  .offset = OPT(logical_block_size), .def = "512",
	  .lowest = 512, .highest = 4096,
	  .help = "bytes, a power of two" },
	{ .name = "zero-copy", .type = OPT_BOOL, .offset = OPT(zero_copy),
	  .def = "true", .help = "where the kernel offers it" },
	{ .name = "partition-scan", .type = OPT_BOOL,
	  .offset = OPT(partition_scan), .def = "true",
	  .help = "look for a partition table at the start" },
	{ .name = NULL },
};

static const struct root_ops ublk_root_ops = {
	.kind = "export",
	.gated = true,
	.materialise = ublk_queue_materialise,
};

/* The export's state: a device may outlive it where it is stuck (U8). */
struct ublk_export {
	struct ublk_device *dev;
};

static struct ublk_device *device_of(const struct export *exp)
{
	return ((struct ublk_export *)exp->state)->dev;
}

static int ublk_check_options(const struct export *exp,
			      struct ublk_options *opts, struct error **err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (!is_pow2(opts->logical_block_size))
		return error_set(err, EINVAL,
				 "logical-block-size %u of export '%s' is not "
				 "a power of two", opts->logical_block_size,
				 exp->id);
	/* the kernel makes no more queues than CPUs */
	if (cpus > 0 && opts->queues > (unsigned long)cpus)
		opts->queues = (uint32_t)cpus;
	if (opts->partition_scan ||
	    ublk_features() & UBLK_F_NO_AUTO_PART_SCAN)
		return 0;
	return error_set(err, ENOTSUP, "export '%s': this kernel's ublk cannot "
			 "leave out the partition scan", exp->id);
}

static int ublk_available(struct error **err)
{
	return co_ublk_control_open(true, err);
}

static void device_free(struct ublk_device *dev)
{
	free(dev->export_id);
	free(dev);
}

static int ublk_open(struct export *exp, struct node *node, struct error **err)
{
	struct ublk_export *state = exp->state;
	struct ublk_device *dev;
	int rc = co_ublk_control_open(true, err);

	if (rc)
		return rc;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return error_set(err, ENOMEM, "no memory for export '%s'",
				 exp->id);
	dev->export_id = strdup(exp->id);
	dev->opts = *(struct ublk_options *)exp->opts;
	rc = co_refuse_nested(exp, node, err);
	if (!rc)
		rc = export_refuse_taken("ublkb", dev->opts.id, err);
	if (!rc)
		rc = ublk_check_options(exp, &dev->opts, err);
	dev->queues = dev->opts.queues;
	if (!rc)
		rc = co_ublk_device_open(dev, &node->limits, node->size,
					 exp->writable, err);
	if (rc && dev->state == UBLK_STUCK)
		goto stuck;
	if (rc)
		goto free_device;
	dev->root = export_root_new(exp, &ublk_root_ops, dev, node, PERM_ALL,
				    dev->opts.logical_block_size,
				    ublk_device_threads(dev), err);
	dev->disk.root = dev->root;
	if (!dev->root) {
		rc = *err && (*err)->code ? -(*err)->code : -EPERM;
		if (co_ublk_device_close(dev))
			goto free_device;
		goto stuck;
	}
	snprintf(exp->device, sizeof(exp->device), "/dev/%s", dev->disk.name);
	state->dev = dev;
	return 0;

stuck:
	state->dev = dev;
	export_set_stuck(exp);
	return rc;

free_device:
	device_free(dev);
	return rc;
}

static int ublk_start(struct export *exp, struct error **err)
{
	struct ublk_device *dev = device_of(exp);
	int rc = co_ublk_device_start(dev, err);

	if (rc && !co_ublk_device_close(dev))
		export_set_stuck(exp);
	return rc;
}

static int ublk_stop_export(struct export *exp, enum export_stop mode,
			    struct error **err)
{
	struct ublk_device *dev = device_of(exp);
	int rc = co_ublk_device_stop(dev, mode, err);

	if (rc && dev->state == UBLK_STUCK)
		export_set_stuck(exp);
	return rc;
}

static int ublk_check_idle(struct export *exp, bool patient,
			   struct error **err)
{
	return co_ublk_device_idle(device_of(exp), patient, err);
}

/* The kernel gives tags back only when it stops the device. */
static bool ublk_is_gone(struct export *exp)
{
	const struct ublk_device *dev = device_of(exp);

	for (unsigned i = 0; dev->state == UBLK_LIVE && i < dev->queues; i++)
		if (!dev->queue[i].fetching)
			return true;
	return false;
}

static int ublk_close(struct export *exp, struct error **err)
{
	struct ublk_export *state = exp->state;
	struct ublk_device *dev = state->dev;
	int rc;

	state->dev = NULL;
	exp->root = NULL;
	if (!co_ublk_device_close(dev))
		return 0;
	rc = dev->root ? co_export_root_end(exp, dev->root, err) : 0;
	device_free(dev);
	return rc;
}

static int ublk_resizable(struct export *exp, struct error **err)
{
	if (device_of(exp)->flags & UBLK_F_UPDATE_SIZE)
		return 0;
	return error_set(err, ENOTSUP, "the size of %s cannot change while it"
			 " is attached: this kernel's ublk cannot do that"
			 " (Linux 6.16 can; so can 'attach --via nbd')",
			 exp->device);
}

static int ublk_resize(struct export *exp, uint64_t size, struct error **err)
{
	struct ublk_device *dev = device_of(exp);
	int rc;

	size = align_down(size, dev->opts.logical_block_size);
	rc = co_ublk_update_size(dev->id, size, err);
	if (!rc)
		dev->size = size;
	return rc;
}

static void add_text(json_t *object, const char *key, const char *text)
{
	if (text)
		json_object_set_new(object, key, json_text(text));
}

static json_t *query_queues(struct ublk_device *dev)
{
	json_t *list = json_array();
	unsigned i;

	dev->readers++;
	for (i = 0; i < dev->queues; i++) {
		struct ublk_queue *q = &dev->queue[i];
		struct ublk_queue_stats stats = { 0 };
		json_t *one = json_object();

		co_ublk_queue_stats(q, &stats);
		json_object_set_new(one, "thread",
				    json_integer(thread_index(q->thread)));
		json_object_set_new(one, "requests",
				    json_integer((json_int_t)stats.completed));
		json_object_set_new(one, "copied",
				    json_integer((json_int_t)stats.copied));
		json_array_append_new(list, one);
	}
	dev->readers--;
	return list;
}

static void ublk_query(struct export *exp, json_t *object)
{
	struct ublk_device *dev = device_of(exp);
	char features[32];

	if (exp->device[0])
		add_text(object, "device", exp->device);
	json_object_set_new(object, "device-id", json_integer(dev->id));
	json_object_set_new(object, "size", json_integer((json_int_t)
							 dev->size));
	json_object_set_new(object, "queues", json_integer(dev->queues));
	json_object_set_new(object, "depth", json_integer(dev->opts.depth));
	json_object_set_new(object, "logical-block-size",
			    json_integer(dev->opts.logical_block_size));
	snprintf(features, sizeof(features), "%#llx",
		 (unsigned long long)dev->flags);
	add_text(object, "features", features);
	json_object_set_new(object, "zero-copy", json_boolean(dev->zero_copy));
	if (!dev->zero_copy)
		add_text(object, "zero-copy-reason", dev->copy_reason);
	add_text(object, "note", dev->note);
	if (dev->state == UBLK_STUCK)
		add_text(object, "stuck-in", dev->stuck_in);
	if (dev->state == UBLK_LIVE)
		json_object_set_new(object, "queue", query_queues(dev));
}

/* Whoever writes all the same is refused by the root. */
static int ublk_show_writable(struct export *exp, bool writable,
			      struct error **err)
{
	return co_disk_mark_read_only(exp->device, !writable, err);
}

static const struct export_type ublk_export_type = {
	.name = "ublk",
	.state_size = sizeof(struct ublk_export),
	.options = ublk_option_table,
	.options_size = sizeof(struct ublk_options),
	.local = true,
	.available = ublk_available,
	.open = ublk_open,
	.start = ublk_start,
	.stop = ublk_stop_export,
	.resize = ublk_resize,
	.show_writable = ublk_show_writable,
	.resizable = ublk_resizable,
	.check_idle = ublk_check_idle,
	.is_gone = ublk_is_gone,
	.close = ublk_close,
	.query = ublk_query,
};

void ublk_register(void)
{
	export_type_register(&ublk_export_type);
}

void ublk_stop(void)
{
	ublk_control_close();
}
