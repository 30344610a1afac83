/* SPDX-License-Identifier: MIT */
/*
 * export.c - the export type "kernel-nbd": /dev/nbdN for a node (A18).
 *
 * Main thread, coroutines. One end of each socket pair is served by the NBD
 * server's transmission (nbd/target.h), the other is the kernel's. Calls into
 * the kernel run on helper threads; I/O threads serve the device meanwhile.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "export/hold.h"
#include "export/settle.h"
#include "graph/export.h"
#include "graph/node.h"
#include "kernel-nbd/kernel-nbd.h"
#include "kernel-nbd/netlink.h"
#include "nbd/protocol.h"
#include "nbd/target.h"

/* From the last close to a free device: the kernel's own work. */
#define GONE_NS SECONDS(10)
#define POLL_NS 5000000ull
/* Others may be quicker to take the device that was free. */
#define DEVICES_MAX 4096u
#define SOCKET_BYTES (8 << 20)

struct knbd_options {
	uint32_t queues;
	uint32_t logical_block_size;	/* bytes */
};

struct knbd {
	struct nbd_target target;
	struct disk disk;	/* name empty: not connected */
	unsigned index;
	uint32_t block_size;
	unsigned queues;
	char backend[KNBD_BACKEND_MAX];
	uint64_t flags;
	const char *note;	/* what the user should know; static */
};

#define OPT(field) offsetof(struct knbd_options, field)

static const struct option knbd_option_table[] = {
	{ .name = "queues", .type = OPT_UINT, .offset = OPT(queues),
	  .def = "1", .lowest = 1, .highest = KNBD_SOCKETS_MAX,
	  .help = "connections, each a hardware queue" },
	{ .name = "logical-block-size", .type = OPT_UINT,
	  .offset = OPT(logical_block_size), .def = "512",
	  .lowest = 512, .highest = 4096, .help = "bytes, a power of two" },
	{ .name = NULL },
};

static const struct root_ops knbd_root_ops = {
	.kind = "export",
	.gated = true,
};

struct available_job {
	struct error **err;
	int rc;
};

static void available_run(void *arg)
{
	struct available_job *job = arg;

	job->rc = knbd_available(job->err);
}

static int co_knbd_available(struct error **err)
{
	struct available_job job = { .err = err };

	co_blocking(available_run, &job);
	return job.rc;
}

struct completed_job {
	unsigned index;
	uint64_t completed;
};

static void completed_run(void *arg)
{
	struct completed_job *job = arg;

	job->completed = knbd_completed(job->index);
}

static uint64_t disk_completed(struct disk *disk)
{
	struct completed_job job = {
		.index = container_of(disk, struct knbd, disk)->index,
	};

	co_blocking(completed_run, &job);
	return job.completed;
}

static uint64_t server_flags(const struct knbd *k, const struct node *node)
{
	uint64_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
			 NBD_FLAG_CAN_MULTI_CONN;

	if (!k->target.writable)
		flags |= NBD_FLAG_READ_ONLY;
	else
		flags |= NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
			 NBD_FLAG_SEND_WRITE_ZEROES;
	if (node->limits.rotational)
		flags |= NBD_FLAG_ROTATIONAL;
	return flags;
}

static int knbd_open(struct export *exp, struct node *node, struct error **err)
{
	const struct knbd_options *opts = exp->opts;
	struct knbd *k = exp->state;
	int rc;

	if (!is_pow2(opts->logical_block_size))
		return error_set(err, EINVAL,
				 "logical-block-size %u of export '%s' is not "
				 "a power of two", opts->logical_block_size,
				 exp->id);
	rc = co_knbd_available(err);
	if (rc)
		return rc;
	k->block_size = opts->logical_block_size;
	k->queues = opts->queues;
	k->disk.completed = disk_completed;
	k->target.size = align_down(node->size, k->block_size);
	k->target.writable = exp->writable;
	k->flags = server_flags(k, node);
	snprintf(k->backend, sizeof(k->backend), "blkgraph:%d:%s",
		 (int)getpid(), exp->id);
	k->target.root = export_root_new(exp, &knbd_root_ops, k, node,
					 PERM_ALL, k->block_size,
					 nbd_target_threads(), err);
	if (!k->target.root)
		return *err && (*err)->code ? -(*err)->code : -EPERM;
	return 0;
}

/* --- start --- */

static void close_all(struct knbd_connect *c)
{
	for (unsigned i = 0; i < c->sockets; i++)
		close(c->fd[i]);
}

/*
 * Room for the largest requests: before 6.13 the kernel may send a request
 * again, as another, when a signal interrupts it in the middle of one.
 */
static void widen(int fd)
{
	int bytes = SOCKET_BYTES;

	/* past the system's limit, where we may; what is had will do */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* Serves one end of each pair; the others are the connection's. */
static int serve(struct knbd *k, struct knbd_connect *c, struct error **err)
{
	int rc = 0;

	while (c->sockets < k->queues && !rc) {
		struct nbd_service service = { 0 };
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return error_set(err, errno, "no pair of sockets: %s",
					 strerror(errno));
		widen(pair[0]);
		widen(pair[1]);
		service.stream.fd = pair[0];
		rc = nbd_target_serve(&k->target, &service, err);
		if (rc)
			close(pair[0]);
		c->fd[c->sockets++] = pair[1];
	}
	return rc;
}

struct connect_job {
	struct knbd *k;
	struct knbd_connect c;
	struct settle settle;
	const char *name;
	struct error **err;
	int rc;
};

static void connect_run(void *arg)
{
	struct connect_job *job = arg;
	struct knbd *k = job->k;

	job->rc = -EBUSY;
	for (k->index = 0; job->rc == -EBUSY && k->index < DEVICES_MAX;
	     k->index++) {
		if (knbd_in_use(k->index))
			continue;
		snprintf(k->disk.name, sizeof(k->disk.name), "nbd%u", k->index);
		settle_begin(&job->settle, k->disk.name, job->name);
		job->rc = knbd_connect(&job->c, k->index, job->err);
		if (!job->rc)
			return;
		settle_end(&job->settle);
		settle_forget(k->disk.name);
	}
	k->disk.name[0] = '\0';
	if (job->rc == -EBUSY)
		error_set(job->err, EBUSY, "all of %u NBD devices are in use",
			  DEVICES_MAX);
}

static void settle_run(void *arg)
{
	struct connect_job *job = arg;

	job->rc = settle_wait(&job->settle, job->err);
	job->k->note = job->settle.note;
	settle_end(&job->settle);
}

static int knbd_start(struct export *exp, struct error **err)
{
	struct knbd *k = exp->state;
	struct connect_job job = {
		.k = k, .name = exp->id, .err = err,
		.c = {
			.backend = k->backend,
			.size = k->target.size,
			.block_size = k->block_size,
			.flags = k->flags,
		},
	};

	job.rc = serve(k, &job.c, err);
	if (!job.rc)
		co_blocking(connect_run, &job);
	close_all(&job.c);
	if (job.rc)
		return job.rc;
	snprintf(exp->device, sizeof(exp->device), "/dev/%s", k->disk.name);
	co_blocking(settle_run, &job);
	return job.rc;
}

/* --- stop --- */

struct device_job {
	struct knbd *k;
	struct error **err;
	int rc;
	bool ours;
};

/* Somebody may have disconnected it, and the number be another's now. */
static void ours_run(void *arg)
{
	struct device_job *job = arg;
	char backend[KNBD_BACKEND_MAX];

	job->ours = knbd_in_use(job->k->index) &&
		    knbd_backend(job->k->index, backend) &&
		    !strcmp(backend, job->k->backend);
}

static bool co_is_ours(struct knbd *k)
{
	struct device_job job = { .k = k };

	co_blocking(ours_run, &job);
	return job.ours;
}

static void disconnect_run(void *arg)
{
	struct device_job *job = arg;

	settle_forget(job->k->disk.name);
	job->rc = knbd_disconnect(job->k->index, job->err);
}

static int co_disconnect(struct knbd *k, struct error **err)
{
	struct device_job job = { .k = k, .err = err };

	co_blocking(disconnect_run, &job);
	return job.rc;
}

/* Once: 0 it is disconnected, -EAGAIN somebody was there who will go. */
static int co_disconnect_unused(void *arg, bool patient, struct error **err)
{
	struct disk_hold *hold = NULL;
	struct knbd *k = arg;
	int rc;

	if (!co_is_ours(k))
		return 0;
	rc = co_disk_hold(&k->disk, &hold, err);
	if (rc == -EBUSY)
		return co_disk_judge_users(&k->disk, NULL, true, patient, err);
	if (rc)
		return rc == -ENODEV ? 0 : rc;
	/* shared openers are not kept out by ours: look, then be quick */
	rc = co_disk_judge_users(&k->disk, hold, false, patient, err);
	if (!rc)
		rc = co_disconnect(k, err);
	co_disk_release(hold);
	return rc;
}

static void announce_run(void *arg)
{
	knbd_announce(((struct knbd *)arg)->index);
}

/* K3: the number is another's only when the kernel has let go of it. */
static void co_wait_gone(struct knbd *k)
{
	uint64_t end = clock_ns() + GONE_NS;

	while (co_is_ours(k) && clock_ns() < end)
		co_sleep(POLL_NS);
	co_blocking(announce_run, k);
}

static int knbd_stop(struct export *exp, enum export_stop mode,
		     struct error **err)
{
	struct knbd *k = exp->state;
	int rc = 0;

	if (mode == EXPORT_STOP_SAFE)
		rc = co_disk_retry(co_disconnect_unused, k, err);
	else if (co_is_ours(k))
		rc = co_disconnect(k, err);
	if (rc)
		return rc;
	/* after a forced stop the last opener may stay as long as he likes */
	if (mode == EXPORT_STOP_SAFE)
		co_wait_gone(k);
	k->disk.name[0] = '\0';
	co_nbd_target_close(&k->target);
	return 0;
}

static int knbd_check_idle(struct export *exp, struct error **err)
{
	return co_disk_idle(&((struct knbd *)exp->state)->disk, err);
}

static void knbd_close(struct export *exp)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct knbd *k = exp->state;

	if (!k->target.root)
		return;
	if (k->disk.name[0] && co_is_ours(k) && co_disconnect(k, &ignored))
		error_clear(&ignored);
	co_nbd_target_close(&k->target);
	exp->root = NULL;
	root_free(k->target.root);
	k->target.root = NULL;
}

static void knbd_query(struct export *exp, json_t *object)
{
	const struct knbd *k = exp->state;

	json_object_set_new(object, "device", json_string(exp->device));
	json_object_set_new(object, "size",
			    json_integer((json_int_t)k->target.size));
	json_object_set_new(object, "queues", json_integer(k->queues));
	json_object_set_new(object, "logical-block-size",
			    json_integer(k->block_size));
	json_object_set_new(object, "zero-copy", json_false());
	json_object_set_new(object, "zero-copy-reason",
			    json_string("NBD has none"));
	if (k->note)
		json_object_set_new(object, "note", json_string(k->note));
}

static const struct export_type knbd_export_type = {
	.name = "kernel-nbd",
	.state_size = sizeof(struct knbd),
	.options = knbd_option_table,
	.options_size = sizeof(struct knbd_options),
	.available = co_knbd_available,
	.open = knbd_open,
	.start = knbd_start,
	.stop = knbd_stop,
	.check_idle = knbd_check_idle,
	.close = knbd_close,
	.query = knbd_query,
};

void kernel_nbd_register(void)
{
	export_type_register(&knbd_export_type);
}
