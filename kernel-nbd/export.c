/* SPDX-License-Identifier: MIT */
/*
 * export.c - the export type "kernel-nbd": /dev/nbdN for a node (A18).
 *
 * Main thread, coroutines. One end of each socket pair is served by the NBD
 * server's transmission (nbd/target.h), the other is the kernel's. Calls into
 * the kernel run on helper threads, those that may not return with a deadline
 * (K1); I/O threads serve the device meanwhile.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "export/sole.h"
#include "export/nested.h"
#include "export/read-only.h"
#include "export/arrival.h"
#include "graph/export.h"
#include "graph/node.h"
#include "kernel-nbd/kernel-nbd.h"
#include "kernel-nbd/netlink.h"
#include "nbd/protocol.h"
#include "nbd/target.h"
#include "runtime/json.h"
#include "runtime/late.h"

/* From the last close to a free device: the kernel's own work. */
#define GONE_NS SECONDS(10)
#define POLL_NS 5000000ull
/* From the end of the connections to the last answer of the graph. */
#define END_NS SECONDS(10)
/* Others may be quicker to take the device that was free. */
#define DEVICES_MAX 4096u
#define QUEUES_HOLD_MAX 20	/* seconds */
#define SOCKET_BYTES (8 << 20)

struct knbd_options {
	uint32_t id;			/* or DEVICE_ID_ANY */
	uint32_t queues;
	uint32_t logical_block_size;	/* bytes */
};

struct knbd {
	struct nbd_target target;
	struct disk disk;	/* name empty: not connected */
	unsigned index;
	uint32_t id;		/* of the options */
	uint32_t block_size;
	unsigned queues;
	char backend[KNBD_BACKEND_MAX];
	char name[64];		/* under /dev/blkgraph */
	uint64_t flags;
	const char *note;	/* what the user should know; static */
	bool connecting;	/* CONNECT passed its deadline */
	bool disconnected;
	/* What does not end, and since when; NULL: nothing. */
	const char *stuck_in;
	uint64_t stuck_since_ns;
};

/* The export's state: a device may outlive it where it is stuck. */
struct knbd_export {
	struct knbd *k;
};

static struct knbd *knbd_of(const struct export *exp)
{
	return ((struct knbd_export *)exp->state)->k;
}

#define OPT(field) offsetof(struct knbd_options, field)

static const struct option knbd_option_table[] = {
	{ .name = "device-id", .type = OPT_UINT, .offset = OPT(id),
	  .def = DEVICE_ID_ANY_TEXT,
	  .help = "N of /dev/nbdN; default: the first free one" },
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
	.abandoned = nbd_request_abandoned,
};

struct available_job {
	struct error **err;
	int rc;
};

static void knbd_available_run(void *arg)
{
	struct available_job *job = arg;

	job->rc = knbd_available(job->err);
}

static int co_knbd_available(struct error **err)
{
	struct available_job job = { .err = err };

	co_blocking(knbd_available_run, &job);
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
	struct knbd_export *state = exp->state;
	struct knbd *k;
	int rc;

	if (!is_pow2(opts->logical_block_size))
		return error_set(err, EINVAL,
				 "logical-block-size %u of export '%s' is not "
				 "a power of two", opts->logical_block_size,
				 exp->id);
	rc = opts->queues == 1 ? 0 :
	     export_bound_holds(exp, QUEUES_HOLD_MAX, "with more than one queue"
				" the kernel's NBD client takes one that does "
				"not answer for 30 s for dead", err);
	if (!rc)
		rc = co_refuse_nested(exp, node, err);
	if (!rc)
		rc = export_refuse_taken("nbd", opts->id, err);
	if (!rc)
		rc = co_knbd_available(err);
	if (rc)
		return rc;
	k = calloc(1, sizeof(*k));
	if (!k)
		return error_set(err, ENOMEM, "no memory for export '%s'",
				 exp->id);
	k->id = opts->id;
	k->block_size = opts->logical_block_size;
	k->queues = opts->queues;
	k->disk.completed = disk_completed;
	k->target.size = align_down(node->size, k->block_size);
	k->target.writable = exp->writable;
	k->flags = server_flags(k, node);
	snprintf(k->backend, sizeof(k->backend), "blkgraph:%d:%s",
		 (int)getpid(), exp->id);
	snprintf(k->name, sizeof(k->name), "%s", exp->id);
	k->target.root = export_root_new(exp, &knbd_root_ops, k, node,
					 PERM_ALL, k->block_size,
					 nbd_target_threads(), err);
	if (!k->target.root) {
		free(k);
		return *err && (*err)->code ? -(*err)->code : -EPERM;
	}
	k->disk.root = k->target.root;
	state->k = k;
	return 0;
}

/* What did not end within a time stays, and is said to. */
static int knbd_stuck(struct knbd *k, const char *in, uint64_t waited_ns,
		      struct error **err)
{
	if (!k->stuck_in)
		k->stuck_since_ns = clock_ns() - waited_ns;
	k->stuck_in = in;
	return error_set(err, ETIMEDOUT, "%s%s is stuck: %s has not "
			 "returned for %llu s", k->disk.name[0] ? "/dev/" : "",
			 k->disk.name[0] ? k->disk.name : k->backend, in,
			 (unsigned long long)
			 (clock_ns() - k->stuck_since_ns) / SECONDS(1));
}

/* --- start --- */

static void knbd_close_sockets(struct knbd_connect *c)
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

static void knbd_conn_ended(void *arg)
{
	export_lost(((struct knbd *)arg)->target.root);
}

/* Serves one end of each pair; the others are the connection's. */
static int offer(struct knbd *k, struct knbd_connect *c, struct error **err)
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
		service.ended = knbd_conn_ended;
		service.arg = k;
		rc = nbd_target_serve(&k->target, &service, err);
		if (rc)
			close(pair[0]);
		c->fd[c->sockets++] = pair[1];
	}
	return rc;
}

struct connect_job {
	struct late work;
	struct knbd *k;
	struct knbd_connect c;
	char backend[KNBD_BACKEND_MAX];
	char name[32];		/* the export's id */
	char disk[16];
	uint32_t wanted;	/* or DEVICE_ID_ANY */
	unsigned index;
	struct arrival arrival;
	struct error *err;
	int rc;
};

/* -EBUSY, without a sentence: somebody has this one. */
static int connect_one(struct connect_job *job)
{
	int rc;

	if (knbd_in_use(job->index))
		return -EBUSY;
	snprintf(job->disk, sizeof(job->disk), "nbd%u", job->index);
	disk_unmark(job->disk);
	arrival_begin(&job->arrival, job->disk, job->name);
	rc = knbd_connect(&job->c, job->index, &job->err);
	if (!rc)
		return 0;
	arrival_end(&job->arrival);
	arrival_forget(job->disk);
	return rc;
}

static void knbd_say_taken(struct connect_job *job)
{
	char backend[KNBD_BACKEND_MAX];

	if (job->wanted == DEVICE_ID_ANY)
		error_set(&job->err, EBUSY, "all of %u NBD devices are in use",
			  DEVICES_MAX);
	else if (knbd_backend(job->wanted, backend))
		error_set(&job->err, EBUSY, "/dev/nbd%u is taken, by '%s'",
			  job->wanted, backend);
	else
		error_set(&job->err, EBUSY, "/dev/nbd%u is taken: it has a "
			  "client already", job->wanted);
}

static void knbd_connect_run(struct late *late)
{
	struct connect_job *job = container_of(late, struct connect_job, work);
	bool any = job->wanted == DEVICE_ID_ANY;

	job->index = any ? 0 : job->wanted;
	job->rc = connect_one(job);
	while (any && job->rc == -EBUSY && ++job->index < DEVICES_MAX)
		job->rc = connect_one(job);
	if (job->rc == -EBUSY)
		knbd_say_taken(job);
}

static void connect_free(struct connect_job *job)
{
	knbd_close_sockets(&job->c);
	error_clear(&job->err);
	free(job);
}

static void connect_undo_run(void *arg)
{
	struct connect_job *job = arg;
	int rc = knbd_disconnect(job->index, &job->err);

	/* what else: the next start looks at it again */
	(void)rc;
	arrival_end(&job->arrival);
	arrival_forget(job->disk);
}

/* Nobody waits for this device: it goes again. */
static void connect_late(struct late *late)
{
	struct connect_job *job = container_of(late, struct connect_job, work);

	if (!job->rc)
		co_blocking(connect_undo_run, job);
	job->k->connecting = false;
	connect_free(job);
}

static void connect_arrival_run(void *arg)
{
	struct connect_job *job = arg;

	job->rc = arrival_wait(&job->arrival, &job->err);
	arrival_end(&job->arrival);
}

static struct connect_job *connect_new(struct knbd *k, const char *id)
{
	struct connect_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->work.call = knbd_connect_run;
	job->work.undo = connect_late;
	job->k = k;
	job->wanted = k->id;
	strcpy(job->backend, k->backend);
	snprintf(job->name, sizeof(job->name), "%s", id);
	job->c.backend = job->backend;
	job->c.size = k->target.size;
	job->c.block_size = k->block_size;
	job->c.flags = k->flags;
	return job;
}

static int co_connect(struct export *exp, struct error **err)
{
	struct error *late CLEANUP_ERROR = NULL;
	struct knbd *k = knbd_of(exp);
	struct connect_job *job = connect_new(k, exp->id);
	int rc;

	if (!job)
		return error_set(err, ENOMEM, "no memory for export '%s'",
				 exp->id);
	rc = offer(k, &job->c, err);
	if (rc)
		goto out;
	k->connecting = true;
	if (!co_late(&job->work, LATE_NS, &late, "NBD_CMD_CONNECT for export "
		     "'%s'", exp->id))
		return knbd_stuck(k, "NBD_CMD_CONNECT", LATE_NS, err);
	k->connecting = false;
	if (!job->rc) {
		k->index = job->index;
		strcpy(k->disk.name, job->disk);
		snprintf(exp->device, sizeof(exp->device), "/dev/%s",
			 k->disk.name);
		/* the kernel has its own by now */
		knbd_close_sockets(&job->c);
		job->c.sockets = 0;
		co_blocking(connect_arrival_run, job);
		k->note = job->arrival.note;
	}
	rc = job->rc;
	if (job->err)
		error_propagate(err, &job->err);
out:
	connect_free(job);
	return rc;
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

struct disconnect_job {
	struct late work;
	unsigned index;
	char disk[16];
	struct error *err;
	int rc;
};

static void disconnect_run(struct late *late)
{
	struct disconnect_job *job = container_of(late, struct disconnect_job,
						  work);

	arrival_forget(job->disk);
	disk_unmark(job->disk);
	job->rc = knbd_disconnect(job->index, &job->err);
}

static void disconnect_late(struct late *late)
{
	struct disconnect_job *job = container_of(late, struct disconnect_job,
						  work);

	error_clear(&job->err);
	free(job);
}

static int co_disconnect(struct knbd *k, struct error **err)
{
	struct disconnect_job *job = calloc(1, sizeof(*job));
	struct error *late CLEANUP_ERROR = NULL;
	int rc;

	if (!job)
		return error_set(err, ENOMEM, "no memory to detach /dev/%s",
				 k->disk.name);
	job->work.call = disconnect_run;
	job->work.undo = disconnect_late;
	job->index = k->index;
	strcpy(job->disk, k->disk.name);
	if (!co_late(&job->work, LATE_NS, &late, "NBD_CMD_DISCONNECT of "
		     "/dev/%s", k->disk.name))
		return knbd_stuck(k, "NBD_CMD_DISCONNECT", LATE_NS, err);
	rc = job->rc;
	if (job->err)
		error_propagate(err, &job->err);
	free(job);
	return rc;
}

/* Once: 0 it is disconnected, -EAGAIN somebody was there who will go. */
static int co_disconnect_unused(void *arg, bool patient, struct error **err)
{
	struct sole_open *sole = NULL;
	struct knbd *k = arg;
	int rc;

	if (!co_is_ours(k))
		return 0;
	rc = co_sole_open(&k->disk, &sole, err);
	if (rc == -EBUSY)
		return co_disk_judge_users(&k->disk, NULL, true, patient, err);
	if (rc)
		return rc == -ENODEV ? 0 : rc;
	/* shared openers are not kept out by ours: look, then be quick */
	rc = co_disk_judge_users(&k->disk, sole, false, patient, err);
	if (!rc)
		rc = co_disconnect(k, err);
	co_sole_close(sole);
	return rc;
}

static void announce_run(void *arg)
{
	knbd_announce(((struct knbd *)arg)->index);
}

static void knbd_lost_run(void *arg)
{
	const struct knbd *k = arg;

	arrival_lost(k->disk.name, k->name);
}

/* K3: the number is another's only when the kernel has let go of it. */
static void co_wait_gone(struct knbd *k)
{
	uint64_t end = clock_ns() + GONE_NS;

	while (co_is_ours(k) && clock_ns() < end)
		co_sleep(POLL_NS);
	co_blocking(announce_run, k);
}

/* Connections end with their requests, unless the graph keeps those. */
static int co_end(struct knbd *k, struct error **err)
{
	if (!co_nbd_target_close(&k->target, END_NS))
		return knbd_stuck(k, "a request to its storage", END_NS,
				  err);
	k->stuck_in = NULL;
	k->disk.name[0] = '\0';
	return 0;
}

static int co_halt(struct knbd *k, enum export_stop mode, struct error **err)
{
	bool ours;
	int rc = 0;

	if (k->connecting)
		return knbd_stuck(k, k->stuck_in, 0, err);
	/* by an earlier call; somebody may have it open still */
	if (k->disconnected || !k->disk.name[0])
		return co_end(k, err);
	ours = co_is_ours(k);
	if (k->stuck_in && ours)
		return knbd_stuck(k, k->stuck_in, 0, err);
	if (!ours)
		co_blocking(knbd_lost_run, k);
	if (mode == EXPORT_STOP_SAFE)
		rc = co_disk_retry(co_disconnect_unused, k, err);
	else if (ours)
		rc = co_disconnect(k, err);
	if (rc)
		return rc;
	k->disconnected = true;
	/* after a forced stop the last opener may stay as long as he likes */
	if (mode == EXPORT_STOP_SAFE)
		co_wait_gone(k);
	else if (!k->target.count)
		co_blocking(announce_run, k);
	return co_end(k, err);
}

static int knbd_start(struct export *exp, struct error **err)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct knbd *k = knbd_of(exp);
	int rc = co_connect(exp, err);

	if (!rc)
		return 0;
	if (co_halt(k, EXPORT_STOP_HARD, &ignored) < 0)
		export_set_stuck(exp);
	return rc;
}

static int knbd_stop(struct export *exp, enum export_stop mode,
		     struct error **err)
{
	struct knbd *k = knbd_of(exp);
	int rc = co_halt(k, mode, err);

	if (rc && k->stuck_in)
		export_set_stuck(exp);
	return rc;
}

static int knbd_check_idle(struct export *exp, bool patient,
			   struct error **err)
{
	struct knbd *k = knbd_of(exp);

	/* of what is being disconnected there is no user left to ask about */
	return !k->disk.name[0] || k->stuck_in ? 0 :
		co_disk_idle(&k->disk, patient, err);
}

/* Without a connection it can do nothing, whoever has it open still. */
static bool knbd_is_gone(struct export *exp)
{
	const struct knbd *k = knbd_of(exp);

	return k->disk.name[0] && !k->disconnected && !k->target.count;
}

static int knbd_close(struct export *exp, struct error **err)
{
	struct knbd_export *state = exp->state;
	struct knbd *k = state->k;
	int rc;

	state->k = NULL;
	exp->root = NULL;
	/* it was stopped, or its start was */
	assert(!k->target.count && !k->connecting);
	rc = co_export_root_end(exp, k->target.root, err);
	free(k);
	return rc;
}

/* --- resize --- */

struct size_job {
	struct late work;
	unsigned index;
	char backend[KNBD_BACKEND_MAX];
	uint64_t size;
	struct error *err;
	int rc;
};

static void size_run(struct late *late)
{
	struct size_job *job = container_of(late, struct size_job, work);

	job->rc = knbd_resize(job->index, job->backend, job->size, &job->err);
}

static void size_late(struct late *late)
{
	struct size_job *job = container_of(late, struct size_job, work);

	error_clear(&job->err);
	free(job);
}

/* The kernel waits for the requests in flight, which we serve meanwhile. */
static int co_tell_size(struct knbd *k, uint64_t size, struct error **err)
{
	struct size_job *job = calloc(1, sizeof(*job));
	int rc;

	if (!job)
		return error_set(err, ENOMEM, "no memory to resize /dev/%s",
				 k->disk.name);
	job->work.call = size_run;
	job->work.undo = size_late;
	job->index = k->index;
	job->size = size;
	strcpy(job->backend, k->backend);
	if (!co_late(&job->work, LATE_NS, err, "NBD_CMD_RECONFIGURE of "
		     "/dev/%s", k->disk.name))
		return -ETIMEDOUT;
	rc = job->rc;
	if (job->err)
		error_propagate(err, &job->err);
	free(job);
	return rc;
}

static int knbd_resize_export(struct export *exp, uint64_t size,
			      struct error **err)
{
	struct knbd *k = knbd_of(exp);
	uint64_t before = k->target.size;
	int rc;

	size = align_down(size, k->block_size);
	/* the kernel never has more than its connections */
	if (size > before)
		nbd_target_resize(&k->target, size);
	rc = co_tell_size(k, size, err);
	nbd_target_resize(&k->target, rc ? before : size);
	return rc;
}

static void knbd_query(struct export *exp, json_t *object)
{
	const struct knbd *k = knbd_of(exp);

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
		json_object_set_new(object, "note", json_text(k->note));
	if (k->stuck_in)
		json_object_set_new(object, "stuck-in",
				    json_string(k->stuck_in));
}

/* Whoever writes all the same is refused by the root. */
static int knbd_show_writable(struct export *exp, bool writable,
			      struct error **err)
{
	return co_disk_mark_read_only(exp->device, !writable, err);
}

static const struct export_type knbd_export_type = {
	.name = "kernel-nbd",
	.state_size = sizeof(struct knbd_export),
	.options = knbd_option_table,
	.options_size = sizeof(struct knbd_options),
	.local = true,
	.available = co_knbd_available,
	.open = knbd_open,
	.start = knbd_start,
	.stop = knbd_stop,
	.resize = knbd_resize_export,
	.show_writable = knbd_show_writable,
	.check_idle = knbd_check_idle,
	.is_gone = knbd_is_gone,
	.close = knbd_close,
	.query = knbd_query,
};

void kernel_nbd_register(void)
{
	export_type_register(&knbd_export_type);
}
