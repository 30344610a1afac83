/* SPDX-License-Identifier: MIT */
/*
 * export.c - the export type "fuse": a node as a regular file, and, where that
 * is asked for, a loop device on it (A18).
 *
 * Main thread, coroutines. Only glue: options and query here, the file's life
 * in file.c.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/nested.h"
#include "export/read-only.h"
#include "export/users.h"
#include "fuse/file.h"
#include "fuse/fuse.h"
#include "graph/export.h"
#include "graph/node.h"
#include "graph/root.h"
#include "runtime/json.h"

#define OPT(field) offsetof(struct fuse_options, field)

enum { ALLOW_OFF, ALLOW_ON, ALLOW_AUTO };
static const char *const allow_values[] = { "off", "on", "auto", NULL };

static const struct option fuse_option_table[] = {
	{ .name = "mountpoint", .type = OPT_STRING, .offset = OPT(mountpoint),
	  .help = "the regular file that becomes the node" },
	{ .name = "growable", .type = OPT_BOOL, .offset = OPT(growable),
	  .help = "writes past the end make it grow: not supported" },
	{ .name = "allow-other", .type = OPT_ENUM, .offset = OPT(allow_other),
	  .def = "auto", .values = allow_values,
	  .help = "other users too, as the file's mode says" },
	{ .name = "queues", .type = OPT_UINT, .offset = OPT(queues),
	  .def = "1", .lowest = 1, .highest = FUSE_QUEUES_MAX,
	  .help = "I/O threads that serve it, at most all" },
	{ .name = "depth", .type = OPT_UINT, .offset = OPT(depth),
	  .def = "128", .lowest = 1, .highest = 4096,
	  .help = "requests of one queue at a time" },
	{ .name = "logical-block-size", .type = OPT_UINT,
	  .offset = OPT(logical_block_size), .def = "1",
	  .lowest = 1, .highest = 4096,
	  .help = "bytes, a power of two; other requests are refused" },
	{ .name = "block-device", .type = OPT_BOOL, .offset = OPT(block_device),
	  .help = "put a loop device on the file" },
	{ .name = "device-id", .type = OPT_UINT, .offset = OPT(device_id),
	  .def = DEVICE_ID_ANY_TEXT,
	  .help = "N of /dev/loopN; default: one that is free" },
	{ .name = "partition-scan", .type = OPT_BOOL,
	  .offset = OPT(partition_scan), .def = "true",
	  .help = "of the loop device: look for a partition table" },
	{ .name = NULL },
};

static const struct root_ops fuse_root_ops = {
	.kind = "export",
	.gated = true,
};

/* The export's state: a file may outlive it where it is stuck. */
struct fuse_export {
	struct fuse_file *file;
};

static const struct export_type fuse_export_type;

static struct fuse_file *fuse_file_of(const struct export *exp)
{
	return ((struct fuse_export *)exp->state)->file;
}

static int check_mountpoint(const char *path, struct error **err)
{
	if (strlen(path) >= USERS_PATH_MAX)
		return error_set(err, ENAMETOOLONG, "mountpoint is longer than "
				 "%d bytes", USERS_PATH_MAX - 1);
	for (struct export *e = NULL; (e = export_each(e)) != NULL;) {
		const struct fuse_file *f = e->type == &fuse_export_type ?
					    fuse_file_of(e) : NULL;

		if (f && !strcmp(f->path, path))
			return error_set(err, EEXIST, "There already is a FUSE "
					 "export on '%s'", path);
	}
	return 0;
}

/* The daemon's directory may be another one later, and is another daemon's. */
static int fuse_make_absolute(struct export *exp, struct error **err)
{
	struct fuse_options *opts = exp->opts;
	char *here, *path;

	if (!opts->mountpoint || opts->mountpoint[0] == '/')
		return 0;
	here = getcwd(NULL, 0);
	if (!here)
		return error_set(err, errno, "Cannot tell where mountpoint "
				 "'%s' is: %s", opts->mountpoint,
				 strerror(errno));
	if (asprintf(&path, "%s/%s", strcmp(here, "/") ? here : "",
		     opts->mountpoint) < 0)
		abort();
	free(here);
	free(opts->mountpoint);
	opts->mountpoint = path;
	json_object_set_new(exp->given, "mountpoint", json_text(path));
	return 0;
}

static int fuse_check_options(const struct export *exp, struct error **err)
{
	const struct fuse_options *opts = exp->opts;

	if (!is_pow2(opts->logical_block_size))
		return error_set(err, EINVAL,
				 "logical-block-size %u of export '%s' is not "
				 "a power of two", opts->logical_block_size,
				 exp->id);
	if (opts->block_device && opts->logical_block_size < 512)
		return error_set(err, EINVAL, "export '%s': the blocks of a "
				 "block device are at least 512 bytes",
				 exp->id);
	if (opts->growable)
		return error_set(err, ENOTSUP, "export '%s': growable is not "
				 "supported, nodes cannot grow", exp->id);
	if (opts->device_id != DEVICE_ID_ANY && !opts->block_device)
		return error_set(err, EINVAL, "export '%s': device-id %u is "
				 "that of a block device, and block-device is "
				 "off", exp->id, opts->device_id);
	if (!opts->mountpoint && !opts->block_device)
		return error_set(err, EINVAL,
				 "Parameter 'mountpoint' is missing");
	if (export_refuse_taken("loop", opts->device_id, err))
		return -EBUSY;
	return opts->mountpoint ? check_mountpoint(opts->mountpoint, err) : 0;
}

static void fuse_file_free(struct fuse_file *f)
{
	free(f->export_id);
	free(f->path);
	free(f);
}

static uint64_t loop_completed(struct disk *disk)
{
	struct fuse_file *f = container_of(disk, struct fuse_file, loop.disk);
	uint64_t sum = 0;
	unsigned i;

	f->readers++;
	for (i = 0; i < f->queues; i++) {
		struct fuse_queue_stats stats;

		co_fuse_queue_stats(&f->queue[i], &stats);
		sum += stats.completed;
	}
	f->readers--;
	return sum;
}

static struct fuse_file *fuse_file_new(const struct export *exp,
				       struct node *node)
{
	struct fuse_file *f = calloc(1, sizeof(*f));
	const struct fuse_options *opts = exp->opts;

	if (!f)
		return NULL;
	f->export_id = strdup(exp->id);
	f->opts = *opts;
	f->path = opts->mountpoint ? strdup(opts->mountpoint) :
				     fuse_default_path(exp->id);
	if (!f->path || !f->export_id) {
		fuse_file_free(f);
		return NULL;
	}
	f->common.shape.size = align_down(node->size, opts->logical_block_size);
	f->common.shape.allocated = node_chain_allocated(node);
	f->common.shape.writable = exp->writable;
	f->common.shape.allow_other = opts->allow_other != ALLOW_OFF;
	f->common.owner.mode = exp->writable ? 0600 : 0400;
	f->common.owner.uid = geteuid();
	f->common.owner.gid = getegid();
	f->common.tells_closes = opts->block_device;
	f->loop.file = f->path;
	f->loop.writable = exp->writable;
	f->loop.wanted = opts->device_id;
	f->loop.partition_scan = opts->partition_scan;
	f->loop.block_size = opts->logical_block_size;
	f->loop.disk.completed = loop_completed;
	return f;
}

struct available_job {
	struct error **err;
	int rc;
};

static void fuse_available_run(void *arg)
{
	struct available_job *job = arg;

	job->rc = fuse_available(job->err);
	if (!job->rc)
		job->rc = loop_available(job->err);
}

/* As a block device: with a loop device on it. */
static int fuse_type_available(struct error **err)
{
	struct available_job job = { .err = err };

	co_blocking(fuse_available_run, &job);
	return job.rc;
}

static int fuse_open(struct export *exp, struct node *node, struct error **err)
{
	struct fuse_export *state = exp->state;
	struct fuse_file *f;
	int rc = co_refuse_nested(exp, node, err);

	if (!rc)
		rc = fuse_make_absolute(exp, err);
	if (!rc)
		rc = fuse_check_options(exp, err);
	if (rc)
		return rc;
	f = fuse_file_new(exp, node);
	if (!f)
		return error_set(err, ENOMEM, "no memory for export '%s'",
				 exp->id);
	/* its place is taken from here on */
	state->file = f;
	rc = co_fuse_file_open(f, err);
	if (rc)
		goto free_file;
	f->common.root = export_root_new(exp, &fuse_root_ops, f, node,
					 PERM_ALL, f->opts.logical_block_size,
					 fuse_file_threads(f), err);
	f->loop.disk.root = f->common.root;
	if (!f->common.root) {
		rc = *err && (*err)->code ? -(*err)->code : -EPERM;
		/* it was not shown yet: nothing keeps it */
		if (co_fuse_file_close(f))
			goto free_file;
		state->file = NULL;
	}
	return rc;

free_file:
	state->file = NULL;
	fuse_file_free(f);
	return rc;
}

static int fuse_start(struct export *exp, struct error **err)
{
	struct fuse_file *f = fuse_file_of(exp);
	int rc = co_fuse_file_start(f, err);

	if (!rc && f->loop.disk.name[0]) {
		snprintf(exp->device, sizeof(exp->device), "/dev/%s",
			 f->loop.disk.name);
		exp->diskseq = f->loop.seq;
	}
	if (rc && !co_fuse_file_close(f))
		export_set_stuck(exp);
	return rc;
}

static int fuse_stop(struct export *exp, enum export_stop mode,
		     struct error **err)
{
	struct fuse_file *f = fuse_file_of(exp);
	int rc = co_fuse_file_stop(f, mode, err);

	if (rc && (f->state == FUSE_STUCK || f->loop.stuck))
		export_set_stuck(exp);
	return rc;
}

static int fuse_resize(struct export *exp, uint64_t size, struct error **err)
{
	return co_fuse_file_resize(fuse_file_of(exp), size, err);
}

static int fuse_check_idle(struct export *exp, bool patient,
			   struct error **err)
{
	return co_fuse_file_idle(fuse_file_of(exp), patient, err);
}

static bool fuse_is_gone(struct export *exp)
{
	return co_fuse_file_is_gone(fuse_file_of(exp));
}

static int fuse_close(struct export *exp, struct error **err)
{
	struct fuse_export *state = exp->state;
	struct fuse_file *f = state->file;
	int rc;

	exp->root = NULL;
	if (!co_fuse_file_close(f)) {
		state->file = NULL;
		return 0;
	}
	rc = co_export_root_end(exp, f->common.root, err);
	/* another may have its place */
	state->file = NULL;
	fuse_file_free(f);
	return rc;
}

static void fuse_query(struct export *exp, json_t *object)
{
	struct fuse_file *f = fuse_file_of(exp);

	if (exp->device[0])
		json_object_set_new(object, "device",
				    json_string(exp->device));
	json_object_set_new(object, "mountpoint", json_text(f->path));
	json_object_set_new(object, "size",
			    json_integer((json_int_t)
					 fuse_size(&f->common.shape)));
	json_object_set_new(object, "queues", json_integer(f->queues));
	json_object_set_new(object, "depth", json_integer(f->opts.depth));
	json_object_set_new(object, "logical-block-size",
			    json_integer(f->opts.logical_block_size));
	json_object_set_new(object, "zero-copy", json_false());
	json_object_set_new(object, "zero-copy-reason",
			    json_string("FUSE has none"));
	if (f->loop.disk.name[0])
		json_object_set_new(object, "direct",
				    json_boolean(f->loop.direct));
	if (f->loop.note)
		json_object_set_new(object, "note",
				    json_text(f->loop.note));
}

/* Whoever writes all the same is refused by the root. */
static int fuse_show_writable(struct export *exp, bool writable,
			      struct error **err)
{
	/* of a file alone the kernel keeps no such mark */
	return exp->device[0] ?
		co_disk_mark_read_only(exp->device, !writable, err) : 0;
}

static const struct export_type fuse_export_type = {
	.name = "fuse",
	.state_size = sizeof(struct fuse_export),
	.options = fuse_option_table,
	.options_size = sizeof(struct fuse_options),
	.local = true,
	.available = fuse_type_available,
	.open = fuse_open,
	.start = fuse_start,
	.stop = fuse_stop,
	.resize = fuse_resize,
	.show_writable = fuse_show_writable,
	.check_idle = fuse_check_idle,
	.is_gone = fuse_is_gone,
	.close = fuse_close,
	.query = fuse_query,
};

void fuse_register(const char *dir)
{
	fuse_set_mount_dir(dir);
	export_type_register(&fuse_export_type);
}
