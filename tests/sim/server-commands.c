/* SPDX-License-Identifier: MIT */
/*
 * server-commands.c - random control commands of eight clients at once, legal
 * or not, through the daemon's own table of commands, while three disks are
 * written: every wait of a command is a place where another's runs, files fail
 * at times, and the daemon leaves in the middle or when all was deleted (A32,
 * A39, B13).
 *
 *	server-commands [quick|check|soak] [-s SEED] [-n SEEDS] [-v]
 *
 * A seed is a few lives of the daemon on the same disks. At a life's end no
 * node, export, job, file or coroutine is left, and every write that was
 * acknowledged is in its image. Where the daemon said that it lost something,
 * or the power was cut while it left, what a flush had covered is.
 *
 * What has no place in the simulation is a toy here: exports (requests come
 * from coroutines of the I/O threads), the NBD server, TLS, sockets, signals.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/driver.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "graph/job.h"
#include "nbd/nbd.h"
#include "runtime/late.h"
#include "runtime/sim.h"
#include "server/change.h"
#include "server/commands.h"
#include "server/deadline.h"
#include "server/leave.h"
#include "server/log.h"
#include "server/monitor.h"
#include "server/object-tls.h"
#include "server/process.h"
#include "server/qmp.h"
#include "server/reports.h"
#include "server/running.h"
#include "server/schema.h"
#include "server/signals.h"
#include "server/statelog.h"
#include "server/statelog-file.h"
#include "tests/lib/crew.h"
#include "tests/lib/disk.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/mode.h"

#define THREADS 2
#define CLIENTS 8
#define DISKS 3
#define LAYERS 5
#define LIVES 3
#define DISK_BYTES (1u << 20)
#define SECTORS (DISK_BYTES / MODEL_SECTOR)
#define MS 1000000ull
/* Of simulated time, past every deadline: whatever goes on then never ends. */
#define LIFE_NS (600000 * MS)
/* Seeds of one child process: its end looks for memory that was lost. */
#define BATCH 20
/* Of real time. */
#define BATCH_S 600

/*
 * A disk and what must be in it. Its first image is followed by overlays, each
 * of which is its alone and blank until a snapshot has put it on top: from then
 * on writes go there, and what is below is found by its header.
 */
struct written {
	const char *id, *type, *driver;
	struct layer {
		const char *node, *path;
	} layers[LAYERS];
	unsigned top;
	bool moves;	/* a snapshot of it is under way */
	struct disk_model model;
	bool lost;	/* the daemon said so: what a flush covered is there */
};

#define OVERLAY(n) { n, "/sim/" n ".qcow2" }
static struct written disks[DISKS] = {
	{ .id = "x0", .type = "nbd", .driver = "qcow2",
	  .layers = { { "d0", "/sim/d0.qcow2" }, OVERLAY("d0-1"),
		      OVERLAY("d0-2"), OVERLAY("d0-3"), OVERLAY("d0-4") } },
	{ .id = "x1", .type = "ublk", .driver = "qcow2",
	  .layers = { { "d1", "/sim/d1.qcow2" }, OVERLAY("d1-1"),
		      OVERLAY("d1-2"), OVERLAY("d1-3"), OVERLAY("d1-4") } },
	{ .id = "x2", .type = "fuse", .driver = "raw",
	  .layers = { { "d2", "/sim/d2.raw" }, OVERLAY("d2-1"),
		      OVERLAY("d2-2"), OVERLAY("d2-3"), OVERLAY("d2-4") } },
};

/* One life of the daemon. */
static struct {
	unsigned most, sent;	/* commands */
	bool faults, logs, cleans;
	bool cuts;		/* the power, while it leaves */
	bool leaving;		/* an end was asked for */
	bool over;		/* clients stop */
	bool sticks;		/* exports may get stuck */
	bool whole;
	const char *liked;	/* a node that half of the commands name */
	/* Commands under way that name as a child what a snapshot of a disk
	 * makes a base: after it that would be another disk. */
	unsigned naming;
	struct crew clients;
	struct statelog *log;
	struct wait_event ended;
} life;

/* What all seeds did, for the parent to see. */
static struct totals {
	uint64_t seed;
	unsigned lives, commands, done, snapshots, writes, lost, faults;
} *totals;

static bool verbose;
static char log_path[80];

/* ---- the daemon beside the graph ---- */

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list args;

	(void)level;
	if (!verbose)
		return;
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

void log_error(enum log_level level, struct error **err)
{
	log_write(level, "%s", (*err)->text);
	error_clear(err);
}

void co_log_stop_async(void)
{
}

void process_unlock(void)
{
}

void co_signals_stop(void)
{
	co_yield();
}

static struct written *disk_of_layer(const char *name)
{
	for (unsigned i = 0; i < DISKS; i++)
		for (unsigned k = 0; k < LAYERS; k++)
			if (!strcmp(name, disks[i].layers[k].node))
				return &disks[i];
	return NULL;
}

static const char *layer_driver(const struct written *d, unsigned layer)
{
	return layer ? "qcow2" : d->driver;
}

/* A close that failed: a node of the disk's, or a file, which has no name. */
void monitor_event(const char *name, json_t *data)
{
	const char *node = json_string_value(json_object_get(data,
							     "node-name"));

	if (!strcmp(name, "BLKGRAPH_NODE_CLOSE_FAILED")) {
		assert(life.faults && node);
		for (unsigned i = 0; i < DISKS; i++)
			if (*node == '#' || disk_of_layer(node) == &disks[i])
				disks[i].lost = true;
	}
	log_write(LOG_INFO, "event %s %s", name, node ? node : "");
	json_decref(data);
}

bool monitor_shut_door(void)
{
	return false;
}

void monitor_open_door(void)
{
}

bool co_monitor_stop(uint64_t timeout_ns)
{
	uint64_t end = clock_ns() + timeout_ns;

	life.over = true;
	while (life.clients.working && clock_ns() < end)
		co_sleep(MS);
	return !life.clients.working;
}

static json_t *no_chardev(struct error **err)
{
	error_set(err, ENOTSUP, "there are no sockets here");
	return NULL;
}

json_t *cmd_chardev_add(json_t *args, struct error **err)
{
	(void)args;
	return no_chardev(err);
}

json_t *cmd_chardev_remove(json_t *args, struct error **err)
{
	(void)args;
	return no_chardev(err);
}

json_t *cmd_query_chardev(json_t *args, struct error **err)
{
	(void)args;
	return no_chardev(err);
}

json_t *cmd_query_chardev_backends(json_t *args, struct error **err)
{
	(void)args;
	return no_chardev(err);
}

static void wait_a_while(void)
{
	while (sim_random_below(2))
		co_yield();
	if (!sim_random_below(4))
		co_sleep(sim_random_below(3 * MS));
}

/* Credentials that take a while. */
static int slow_object(struct object *obj, struct error **err)
{
	wait_a_while();
	return sim_random_below(4) ? 0 :
		error_set(err, EIO, "object '%s' has no file", obj->id);
}

static const struct option no_options[] = { { .name = NULL } };

const struct object_type object_tls_x509 = {
	.name = "tls-creds-x509", .options = no_options, .open = slow_object,
};

const struct object_type object_tls_psk = {
	.name = "tls-creds-psk", .options = no_options, .open = slow_object,
};

struct object *object_tls_creds(const char *id, const struct nbd_creds **creds,
				struct error **err)
{
	struct object *obj = object_find(id);

	*creds = NULL;
	if (!obj)
		error_set(err, ENOENT, "No TLS credentials with id '%s'", id);
	return obj;
}

static struct {
	bool running, stopping;
} nbd;

bool nbd_server_running(void)
{
	return nbd.running && !nbd.stopping;
}

int co_nbd_server_start(const struct nbd_server_options *opts,
			struct error **err)
{
	(void)opts;
	if (nbd.running)
		return error_set(err, EBUSY, "it is still being stopped");
	if (!sim_random_below(32))
		return error_set(err, EADDRINUSE, "the address is taken");
	nbd.running = true;
	return 0;
}

int nbd_server_stopping(struct error **err)
{
	if (!nbd_server_running())
		return error_set(err, ENOTCONN, "NBD server not running");
	nbd.stopping = true;
	return 0;
}

int co_nbd_server_stop(uint64_t timeout_ns, struct error **err)
{
	(void)timeout_ns;
	(void)err;
	assert(nbd.running && nbd.stopping);
	wait_a_while();
	nbd.running = nbd.stopping = false;
	return 0;
}

/* ---- exports, and the load on them ---- */

struct door {
	struct export *exp;
	struct written *disk;	/* whose bytes it changes; NULL: it reads */
	bool other;		/* no bytes of a disk's are below it */
	uint64_t size;
	bool stop;
	struct crew crew;
	struct user {
		struct crew_member member;
		struct door *door;
		char *buf;
	} users[THREADS];
};

static const struct root_ops door_root_ops = { .kind = "export",
					       .gated = true };

static int door_submit(struct user *u, enum req_op op, unsigned flags,
		       uint64_t sector, uint64_t count)
{
	struct request req = {
		.op = (uint8_t)op,
		.flags = (uint8_t)flags,
		.offset = sector * MODEL_SECTOR,
		.len = (uint32_t)(count * MODEL_SECTOR),
		.buf = op == REQ_READ || op == REQ_WRITE ? u->buf : NULL,
		.fixed = IO_NOT_FIXED,
	};
	int ret = co_root_submit(u->door->exp->root, &req);

	assert(ret >= 0 || life.faults || !u->door->disk);
	/* an errno, no word that steers inside */
	assert(ret > -1000);
	return ret;
}

static void disk_read(struct user *u, uint64_t sector, uint64_t count)
{
	const struct written *d = u->door->disk;
	char text[200];

	if (door_submit(u, REQ_READ, 0, sector, count) < 0 || d->lost)
		return;
	for (uint64_t i = 0; i < count; i++) {
		const char *bytes = u->buf + i * MODEL_SECTOR;

		if (model_allows_now(&d->model, sector + i, bytes))
			continue;
		model_describe(&d->model, sector + i, text, sizeof(text));
		printf("%s: %s and reads as %lld\n", d->id, text,
		       (long long)model_value(sector + i, bytes));
		abort();
	}
}

static void disk_write(struct user *u, uint64_t sector, uint64_t count,
		       enum req_op op, bool fua)
{
	struct disk_model *m = &u->door->disk->model;
	uint32_t value = op == REQ_WRITE ? model_new_value(m) : 0;
	int ret;

	for (uint64_t i = 0; i < count; i++)
		model_fill(sector + i, value, u->buf + i * MODEL_SECTOR);
	model_start(m, sector, count, value, op == REQ_DISCARD);
	ret = door_submit(u, op, fua ? REQ_FUA : 0, sector, count);
	model_end(m, sector, count, ret >= 0, fua);
	totals->writes += ret >= 0;
}

static void disk_flush(struct user *u)
{
	uint64_t at = model_flush_start(&u->door->disk->model);

	if (door_submit(u, REQ_FLUSH, 0, 0, 0) >= 0 && !u->door->disk->lost)
		model_flush_end(&u->door->disk->model, at);
}

static void disk_step(struct user *u)
{
	struct disk_model *m = &u->door->disk->model;
	uint64_t count = 1 + sim_random_below(16);
	uint64_t sector = sim_random_below(SECTORS - count + 1);
	uint64_t what = sim_random_below(16);

	/* a disk that has lost something is only looked at, at the end */
	if (u->door->disk->lost)
		return;
	if (!what) {
		disk_flush(u);
		return;
	}
	if (!model_claim(m, sector, count))
		return;
	if (what < 5)
		disk_read(u, sector, count);
	else
		disk_write(u, sector, count, what == 5 ? REQ_ZEROES :
			   what == 6 ? REQ_DISCARD : REQ_WRITE,
			   what == 7);
	model_unclaim(m, sector, count);
}

static void other_step(struct user *u)
{
	uint64_t all = u->door->size / MODEL_SECTOR;
	uint64_t count = 1 + sim_random_below(16);
	bool writes = u->door->other && u->door->exp->writable;

	if (all < count)
		return;
	(void)door_submit(u, writes ? (enum req_op)sim_random_below(4) :
			  REQ_READ, 0, sim_random_below(all - count + 1),
			  count);
}

static void door_use(void *arg)
{
	struct user *u = arg;

	u->buf = aligned_alloc(4096, 16 * MODEL_SECTOR);
	assert(u->buf);
	memset(u->buf, 1, 16 * MODEL_SECTOR);
	/* less and less, where time passes since somebody waits for it */
	for (unsigned n = 0; !u->door->stop; n++) {
		if (u->door->disk)
			disk_step(u);
		else
			other_step(u);
		co_sleep(1 + sim_random_below((2 * MS) << min(n / 32, 10u)));
	}
	free(u->buf);
}

/* NULL: not the disk as it is, or where a snapshot decides that just now. */
static struct written *disk_shown_by(const struct node *node)
{
	struct written *d = disk_of_layer(node->name);

	return d && !d->moves && !strcmp(d->layers[d->top].node, node->name) ?
		d : NULL;
}

static bool no_disk_below(const struct node *node)
{
	if (disk_of_layer(node->name))
		return false;
	for (const struct edge *e = node->children; e; e = e->next_child)
		if (!no_disk_below(e->child))
			return false;
	return true;
}

/* Nobody else's failing is a reason not to be told. */
static bool door_luck(const struct export *exp, const char *what,
		      struct error **err)
{
	if (sim_random_below(24))
		return true;
	error_set(err, ENODEV, "export '%s': no %s", exp->id, what);
	return false;
}

static int door_stuck(struct export *exp, struct error **err)
{
	export_set_stuck(exp);
	return error_set(err, ETIMEDOUT, "export '%s' is stuck", exp->id);
}

static int door_undo(struct export *exp)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct root *root = exp->root;

	exp->root = NULL;
	(void)!co_export_root_end(exp, root, &ignored);
	return -ENODEV;
}

static int door_open(struct export *exp, struct node *node, struct error **err)
{
	struct door *d = exp->state;

	if (!strcmp(exp->type->name, "nbd") && !nbd_server_running())
		return error_set(err, ENOTCONN, "NBD server not running");
	d->exp = exp;
	wait_a_while();
	if (life.sticks && !sim_random_below(24))
		return door_stuck(exp, err);
	if (!door_luck(exp, "threads", err))
		return -ENODEV;
	if (!export_root_new(exp, &door_root_ops, exp, node, PERM_ALL,
			     MODEL_SECTOR, 2u | 4u, err))
		return -EPERM;
	wait_a_while();
	if (!door_luck(exp, "number", err))
		return door_undo(exp);
	return 0;
}

static int door_start(struct export *exp, struct error **err)
{
	struct door *d = exp->state;
	struct node *node = exp->root->edge.child;

	wait_a_while();
	if (!strcmp(exp->type->name, "nbd") && !nbd_server_running())
		return error_set(err, ENOTCONN, "NBD server not running");
	if (!door_luck(exp, "device", err))
		return -ENODEV;
	if (life.sticks && !sim_random_below(24))
		return door_stuck(exp, err);
	node = exp->root->edge.child;
	d->other = no_disk_below(node);
	d->size = node->size;
	d->disk = exp->writable ? disk_shown_by(node_skip_filters(node)) :
		NULL;
	for (unsigned i = 0; i < THREADS; i++) {
		d->users[i].door = d;
		crew_start(&d->crew, &d->users[i].member, 1 + i, door_use,
			   &d->users[i]);
	}
	return 0;
}

static int door_stop(struct export *exp, enum export_stop mode,
		     struct error **err)
{
	struct door *d = exp->state;

	wait_a_while();
	if (mode == EXPORT_STOP_SAFE && !sim_random_below(5))
		return error_set(err, EBUSY, "export '%s' is in use", exp->id);
	if (life.sticks && !sim_random_below(24))
		return door_stuck(exp, err);
	d->stop = true;
	crew_wait(&d->crew);
	wait_a_while();
	return 0;
}

static int door_idle(struct export *exp, bool patient, struct error **err)
{
	uint64_t how = sim_random_below(8);

	co_yield();
	if (!how)
		return error_set(err, EBUSY, "export '%s' is in use", exp->id);
	return how == 1 && patient ? -EAGAIN : 0;
}

static int door_close(struct export *exp, struct error **err)
{
	struct root *root = exp->root;

	if (root == exp->stand_in)
		return 0;
	wait_a_while();
	exp->root = NULL;
	return co_export_root_end(exp, root, err);
}

static void door_query(struct export *exp, json_t *object)
{
	const struct door *d = exp->state;

	json_t *more = strcmp(exp->type->name, "nbd") ?
		json_pack("{s:s,s:i,s:i,s:b,s:s}", "device", "/dev/toy",
			  "queues", THREADS, "logical-block-size",
			  (int)MODEL_SECTOR, "zero-copy", 0,
			  "zero-copy-reason", "a toy") :
		json_pack("{s:s,s:i}", "name", exp->id, "clients", 0);

	wait_a_while();
	assert(d->exp == exp);
	json_object_update(object, more);
	json_decref(more);
}

static int door_available(struct error **err)
{
	wait_a_while();
	return sim_random_below(8) ? 0 : error_set(err, ENODEV, "no module");
}

struct door_options {
	char *name, *mountpoint;
	bool block_device;
	uint32_t block_size;
};

#define OPTION(option, kind, member) \
	{ .name = option, .type = kind, .help = "a toy's", \
	  .offset = offsetof(struct door_options, member) }
static const struct option door_options[] = {
	OPTION("name", OPT_STRING, name),
	OPTION("mountpoint", OPT_STRING, mountpoint),
	OPTION("block-device", OPT_BOOL, block_device),
	OPTION("logical-block-size", OPT_UINT, block_size),
	{ .name = NULL },
};

#define DOOR(word) \
	.name = word, .state_size = sizeof(struct door), \
	.options = door_options, \
	.options_size = sizeof(struct door_options), .open = door_open, \
	.start = door_start, .stop = door_stop, .close = door_close, \
	.query = door_query
static const struct export_type doors[] = {
	{ DOOR("nbd") },
	{ DOOR("ublk"), .available = door_available, .check_idle = door_idle },
	{ DOOR("fuse"), .available = door_available, .check_idle = door_idle },
	{ DOOR("kernel-nbd"), .available = door_available,
	  .check_idle = door_idle },
};

/* ---- commands ---- */

/* No storage is silent here, nor do commands wait for each other. */
static bool tells_of_a_wait(const char *text)
{
	return strstr(text, "does not answer") || strstr(text, "has kept it");
}

/* Sends one, and gives whether it was done; takes over args. */
static bool call(const char *name, json_t *args)
{
	struct qmp_session session = { .commands = command_table,
				       .negotiated = true };
	const struct command *cmd = command_find(command_table, name);
	struct error *err = NULL;
	json_t *reply, *got, *error;
	bool done;

	assert(args);
	life.sent++;
	totals->commands++;
	reply = qmp_handle(&session, json_pack("{s:s,s:o}", "execute", name,
					       "arguments", args));
	got = json_object_get(reply, "return");
	error = json_object_get(reply, "error");
	assert(!got != !error);
	/* a reply is what the schema says */
	if (got && !type_check(command_gives(cmd), NULL, &got, FROM_JSON,
			       &err)) {
		printf("%s gives what it must not: %s\n", name, err->text);
		abort();
	}
	assert(got || *json_string_value(json_object_get(error, "desc")));
	assert(got || !tells_of_a_wait(json_string_value(json_object_get(
						 error, "desc"))));
	log_write(LOG_INFO, "%s: %s", name, got ? "done" :
		  json_string_value(json_object_get(error, "desc")));
	done = got;
	totals->done += done;
	json_decref(reply);
	return done;
}

static const char *const names[] = { "n0", "n1", "n2", "n3", "n4", "n5" };
/* Images that are no disk's, nor ever filters above one. */
static const char *const bases[] = { "s0", "s1" };
static const char *const groups[] = { "g0", "g1" };
static const char *const images[] = {
	"/sim/a.raw", "/sim/none", "/sim/base.qcow2", "/sim/top.qcow2",
	"/sim/made.qcow2",
};
static const char *const exports[] = { "e", "f", "top", "top-2", "x0", "x1",
				       "x2" };

#define ONE_OF(list) (list)[sim_random_below(ARRAY_SIZE(list))]

/* Any node's, but for what would put other bytes into a disk. */
static const char *any_name(void)
{
	uint64_t i = sim_random_below(ARRAY_SIZE(names) + DISKS + 3);
	const struct written *d;

	/* so that they meet */
	if (life.liked && sim_random_below(2))
		return life.liked;
	if (i < ARRAY_SIZE(names))
		return names[i];
	i -= ARRAY_SIZE(names);
	if (i >= DISKS)
		return i == DISKS ? ONE_OF(bases) : "made";
	d = &disks[i];
	return d->layers[sim_random_below(2) ? d->top :
			 sim_random_below(LAYERS)].node;
}

/* The same, but for those whose base or header makes a disk what it is. */
static const char *no_layer(void)
{
	const char *name = any_name();

	return disk_of_layer(name) ? ONE_OF(names) : name;
}

static json_t *some_child(void)
{
	if (sim_random_below(10) < 7)
		return json_string(ONE_OF(names));
	return json_pack("{s:s,s:i}", "driver", "null-co", "size", 65536);
}

static json_t *image_node(const char *path)
{
	return json_pack("{s:s,s:s}", "driver", "file", "filename", path);
}

static const char *const filters[] = { "nop", "throttle", "copy-on-read",
				       "delay", "blkdebug" };

/* But for the child, which insertion gives it. */
static void put_filter_options(json_t *options, const char *driver)
{
	if (!strcmp(driver, "throttle"))
		json_object_set_new(options, "throttle-group",
				    json_string(ONE_OF(groups)));
	if (!strcmp(driver, "copy-on-read") && !sim_random_below(3))
		json_object_set_new(options, "bottom",
				    json_string(any_name()));
	if (!strcmp(driver, "delay"))
		json_object_update_new(options, json_pack("{s:i,s:i}",
			"read-ns", (int)sim_random_below(100000),
			"flush-random-ns", (int)sim_random_below(100000)));
	if (!strcmp(driver, "blkdebug"))
		json_object_update_new(options, json_pack("{s:i,s:i}",
			"max-transfer", 512 << sim_random_below(6),
			"align", 256 << sim_random_below(5)));
}

static void command_add(void)
{
	static const char *const drivers[] = { "null-co", "raw", "raw", "nop",
					       "nop", "throttle", "file",
					       "qcow2", "copy-on-read",
					       "delay", "blkdebug" };
	const char *driver = ONE_OF(drivers);
	json_t *args = json_pack("{s:s,s:s}", "node-name", ONE_OF(names),
				 "driver", driver);

	put_filter_options(args, driver);
	if (!strcmp(driver, "blkdebug"))
		json_object_set_new(args, "image", some_child());
	else if (strcmp(driver, "file") && strcmp(driver, "null-co"))
		json_object_set_new(args, "file", some_child());
	if (!strcmp(driver, "raw") && !sim_random_below(3))
		json_object_set_new(args, "offset", json_integer(
				    512 << sim_random_below(22)));
	if (!strcmp(driver, "file"))
		json_object_set_new(args, "filename",
				    json_string(images[sim_random_below(2)]));
	if (!strcmp(driver, "qcow2"))
		json_object_set_new(args, "file",
				    image_node(ONE_OF(images)));
	if (!strcmp(driver, "qcow2") && !sim_random_below(3))
		json_object_set_new(args, "backing", sim_random_below(2) ?
				    json_null() : json_string(ONE_OF(names)));
	if (sim_random_below(2))
		json_object_set_new(args, "read-only",
				    json_boolean(sim_random_below(10) < 7));
	call("blockdev-add", args);
}

/* Of what has one or several children that are called so, or none. */
static void name_link(json_t *args)
{
	static const char *const links[] = { "root", "file", "backing" };

	if (sim_random_below(10) < 3)
		json_object_set_new(args, "parent", json_string(
			sim_random_below(2) ? any_name() : ONE_OF(exports)));
	if (!sim_random_below(3))
		json_object_set_new(args, "child",
				    json_string(ONE_OF(links)));
}

static void command_insert(void)
{
	const char *driver = ONE_OF(filters);
	json_t *options = json_pack("{s:s}", "driver", driver);
	json_t *args = json_pack("{s:o}", "options", options);

	put_filter_options(options, driver);
	if (sim_random_below(10) < 6)
		json_object_set_new(options, "node-name",
				    json_string(ONE_OF(names)));
	if (sim_random_below(10) < 3)
		json_object_set_new(args, "id", json_string(ONE_OF(exports)));
	if (sim_random_below(10) < 6)
		json_object_set_new(args, "node-name",
				    json_string(any_name()));
	name_link(args);
	call("blkgraph-insert", args);
}

static void command_remove(void)
{
	json_t *args = json_pack("{s:s}", "node-name", sim_random_below(7) ?
				 ONE_OF(names) : ONE_OF(filters));

	if (sim_random_below(10) < 3)
		json_object_set_new(args, "id", json_string(ONE_OF(exports)));
	name_link(args);
	call("blkgraph-remove", args);
}

/* With the children that it has, since others would put other bytes into a
 * disk; but for the backing image of what is none. */
static json_t *reopen_options(void)
{
	const char *name = any_name();
	const struct node *node = node_find(name);
	json_t *options;
	struct edge *e;

	if (!node)
		return json_pack("{s:s,s:s}", "driver", "null-co", "node-name",
				 name);
	options = json_pack("{s:s,s:s,s:b,s:b,s:s,s:{s:b,s:b}}", "driver",
			    node->driver->name, "node-name", name,
			    "read-only", !sim_random_below(3),
			    "auto-read-only", !sim_random_below(3),
			    "discard", sim_random_below(4) ? "unmap" :
			    "ignore", "cache", "direct", sim_random_below(2),
			    "no-flush", 0);
	json_object_update(options, node->given);
	for (e = node->children; e; e = e->next_child)
		json_object_set_new(options, e->name,
				    json_string(e->child->name));
	if (!strcmp(node->driver->name, "qcow2") && !disk_of_layer(name) &&
	    sim_random_below(2))
		json_object_set_new(options, "backing", sim_random_below(2) ?
				    json_null() : json_string(any_name()));
	return options;
}

static bool disk_moves(void)
{
	for (unsigned i = 0; i < DISKS; i++)
		if (disks[i].moves)
			return true;
	return false;
}

static void command_reopen(void)
{
	json_t *list;

	if (disk_moves())
		return;
	list = json_array();
	do
		json_array_append_new(list, reopen_options());
	while (!sim_random_below(3));
	life.naming++;
	call("blockdev-reopen", json_pack("{s:o}", "options", list));
	life.naming--;
}

/* One of the exports that show the node; NULL: none does. */
static const char *export_on(const struct node *node)
{
	for (unsigned i = 0; i < ARRAY_SIZE(exports); i++) {
		const struct export *exp = export_find(exports[i]);

		if (exp && exp->root && exp->root->edge.child == node)
			return exports[i];
	}
	return NULL;
}

/* As above: a filter goes out for one export alone; and what is no disk's base
 * gets another one. */
static void command_replace(void)
{
	const struct node *node = node_find(ONE_OF(names));
	const char *out = node && node_filtered_child(node) ?
			  export_on(node) : NULL;

	if (out && disk_moves())
		return;
	life.naming++;
	call("blockdev-replace", json_pack(
		"{s:s,s:s,s:s}", "parent", out ? out : no_layer(), "child",
		out ? "root" : "backing", "new-child",
		out ? node_filtered_child(node)->name : any_name()));
	life.naming--;
}

static void command_header(void)
{
	call("change-backing-file", json_pack(
		"{s:s,s:s,s:s}", "device", sim_random_below(2) ? any_name() :
		ONE_OF(exports), "image-node-name", no_layer(),
		"backing-file", ONE_OF(images)));
}

/* Above an image that is no disk's: what its exports show is no matter. */
static json_t *base_snapshot(const char **type)
{
	*type = sim_random_below(2) ? "blockdev-snapshot" :
				      "blockdev-snapshot-sync";
	if (!strcmp(*type, "blockdev-snapshot"))
		return json_pack("{s:s,s:s}", "node", ONE_OF(bases), "overlay",
				 sim_random_below(2) ? ONE_OF(names) :
				 ONE_OF(bases));
	return json_pack("{s:s,s:s,s:s,s:s}", "node-name", ONE_OF(bases),
			 "snapshot-node-name", sim_random_below(2) ?
			 ONE_OF(names) : ONE_OF(bases), "snapshot-file",
			 ONE_OF(images), "mode", "existing");
}

/* One at a time for each disk, so that it is known which overlay is next. */
static json_t *disk_snapshot(struct written *d, const char **type)
{
	const struct layer *top = &d->layers[d->top], *next = top + 1;

	d->moves = true;
	if (sim_random_below(2)) {
		*type = "blockdev-snapshot-sync";
		return json_pack("{s:s,s:s,s:s,s:s}", "node-name", top->node,
				 "snapshot-node-name", next->node,
				 "snapshot-file", next->path, "mode",
				 "existing");
	}
	*type = "blockdev-snapshot";
	call("blockdev-add", json_pack(
		"{s:s,s:s,s:n,s:s,s:o}", "driver", "qcow2", "node-name",
		next->node, "backing", "discard", "unmap", "file",
		image_node(next->path)));
	return json_pack("{s:s,s:s}", "node", top->node, "overlay",
			 next->node);
}

static json_t *random_action(bool moves[DISKS], const char **type)
{
	uint64_t i = sim_random_below(DISKS + 7);

	if (i < DISKS && !life.naming && !disks[i].moves &&
	    disks[i].top + 1 < LAYERS) {
		moves[i] = true;
		return disk_snapshot(&disks[i], type);
	}
	if (i < DISKS + 2)
		return base_snapshot(type);
	if (i == DISKS + 5 && !disk_moves()) {
		*type = "blockdev-reopen";
		return json_pack("{s:[o]}", "options", reopen_options());
	}
	if (i >= DISKS + 5) {
		*type = "blockdev-replace";
		return json_pack("{s:s,s:s,s:s}", "parent", no_layer(),
				 "child", "backing", "new-child", no_layer());
	}
	*type = i == DISKS + 2 ? "blockdev-del" : i == DISKS + 3 ?
		"blkgraph-insert" : "blockdev-add";
	if (i == DISKS + 2)
		return json_pack("{s:s}", "node-name", any_name());
	if (i == DISKS + 3)
		return json_pack("{s:s,s:{s:s}}", "node-name", any_name(),
				 "options", "driver", "nop");
	return json_pack("{s:s,s:s,s:o}", "driver", "qcow2", "node-name",
			 ONE_OF(bases), "file", image_node(ONE_OF(images)));
}

static void command_snapshot(void)
{
	json_t *actions = json_array(), *args;
	bool moves[DISKS] = { false }, done;
	const char *type;

	args = random_action(moves, &type);
	if (sim_random_below(2)) {
		json_decref(actions);
		done = call(type, args);
	} else {
		for (;;) {
			json_array_append_new(actions, json_pack(
				"{s:s,s:o}", "type", type, "data", args));
			if (sim_random_below(2))
				break;
			args = random_action(moves, &type);
		}
		done = call("transaction", json_pack("{s:o}", "actions",
						     actions));
	}
	for (unsigned i = 0; i < DISKS; i++) {
		if (!moves[i])
			continue;
		disks[i].moves = false;
		disks[i].top += done;
		totals->snapshots += done;
	}
}

static void command_export(void)
{
	call("block-export-add", json_pack(
		"{s:s,s:s,s:s,s:b}", "type", ONE_OF(doors).name, "id",
		ONE_OF(exports), "node-name", any_name(), "writable",
		sim_random_below(10) < 7));
}

static void command_attach(void)
{
	static const char *const ways[] = { "fuse", "ublk", "nbd", "auto" };

	call("blkgraph-attach", json_pack("{s:s,s:s}", "filename",
					  ONE_OF(images), "via",
					  ONE_OF(ways)));
}

static void command_map(void)
{
	call("blkgraph-map", sim_random_below(2) ?
	     json_pack("{s:s}", "id", ONE_OF(exports)) :
	     json_pack("{s:s}", "filename", ONE_OF(images)));
}

/* Into a file of its own, or a node that nobody puts above a disk. */
static void command_create(void)
{
	const char *job = sim_random_below(2) ? "j0" : "j1";

	if (sim_random_below(3) == 0)
		call("blockdev-add", json_pack("{s:s,s:s,s:s}", "driver",
			"file", "node-name", "made", "filename",
			"/sim/made.qcow2"));
	else if (sim_random_below(2))
		call("blockdev-create", json_pack(
			"{s:s,s:{s:s,s:i,s:s}}", "job-id", job, "options",
			"driver", "file", "size", 0, "filename",
			"/sim/made.qcow2"));
	else
		call("blockdev-create", json_pack(
			"{s:s,s:{s:s,s:i,s:s}}", "job-id", job, "options",
			"driver", "qcow2", "size", 1 << 20, "file", "made"));
}

static void command_job(void)
{
	static const char *const verbs[] = {
		"job-cancel", "job-pause", "job-resume", "job-finalize",
		"job-complete", "job-dismiss", "job-dismiss",
	};

	call(ONE_OF(verbs), json_pack("{s:s}", "id", sim_random_below(2) ?
				      "j0" : "j1"));
}

/* Limits that hold up, if not for so long that an end takes its deadline (three
 * requests in a second), that nobody reaches, and that are refused. */
static void command_group(void)
{
	static const int rates[] = { 0, 0, 3, 200, 1000000, -1 };
	const char *id = ONE_OF(groups);
	json_int_t rate = ONE_OF(rates);
	json_t *limits = sim_random_below(2) ?
		json_pack("{s:I}", "iops-total", rate) :
		json_pack("{s:I}", "bps-write", rate * 16 * MODEL_SECTOR);
	char path[32];

	snprintf(path, sizeof(path), "/objects/%s", id);
	switch (sim_random_below(5)) {
	case 0:
		json_decref(limits);
		call("object-del", json_pack("{s:s}", "id", id));
		break;
	case 1: case 2:
		call("object-add", json_pack("{s:s,s:s,s:o}", "qom-type",
					     "throttle-group", "id", id,
					     "limits", limits));
		break;
	default:
		call("qom-set", json_pack("{s:s,s:s,s:o}", "path", path,
					  "property", "limits", "value",
					  limits));
	}
}

static void command_object(void)
{
	static const char *const ids[] = { "s", "t" };
	const char *id = ONE_OF(ids);

	if (sim_random_below(2))
		command_group();
	else if (sim_random_below(2))
		call("object-del", json_pack("{s:s}", "id", id));
	else if (*id == 's')
		call("object-add", json_pack("{s:s,s:s,s:s}", "qom-type",
					     "secret", "id", id, "data",
					     "word"));
	else
		call("object-add", json_pack("{s:s,s:s}", "qom-type",
					     "tls-creds-psk", "id", id));
}

static void command_server(void)
{
	json_t *args;

	if (sim_random_below(3) == 0) {
		call("nbd-server-stop", json_object());
		return;
	}
	args = json_pack("{s:{s:s,s:{s:s}}}", "addr", "type", "unix", "data",
			 "path", "/sim/socket");
	if (sim_random_below(3) == 0)
		json_object_set_new(args, "tls-creds", json_string("t"));
	call("nbd-server-start", args);
}

static void command_query(void)
{
	static const char *const queries[] = {
		"query-named-block-nodes", "x-debug-query-block-graph",
		"query-block-exports", "query-block-exports", "query-jobs",
		"query-blockstats", "query-block", "query-version",
		"query-commands", "query-chardev",
	};

	call(ONE_OF(queries), json_object());
}

static void command_random(void)
{
	uint64_t kind = sim_random_below(82);

	if (kind < 12)
		command_add();
	else if (kind < 20)
		call("blockdev-del", json_pack("{s:s}", "node-name",
					       any_name()));
	else if (kind < 28)
		command_insert();
	else if (kind < 35)
		command_remove();
	else if (kind < 41)
		command_export();
	else if (kind < 46)
		call("block-export-del", json_pack(
			"{s:s,s:s}", "id", ONE_OF(exports), "mode",
			sim_random_below(2) ? "safe" : "hard"));
	else if (kind < 49)
		command_query();
	else if (kind < 50)
		call("blkgraph-info", json_pack("{s:s}", "filename",
						ONE_OF(images)));
	else if (kind < 51)
		call("blkgraph-check", json_pack("{s:s}", "filename",
						 ONE_OF(images)));
	else if (kind < 53)
		command_map();
	else if (kind < 55)
		command_create();
	else if (kind < 57)
		command_job();
	else if (kind < 59)
		command_object();
	else if (kind < 61)
		command_server();
	else if (kind < 64)
		command_attach();
	else if (kind < 72)
		command_reopen();
	else if (kind < 74)
		command_replace();
	else if (kind < 76)
		command_header();
	else
		command_snapshot();
}

/* ---- clients ---- */

static void client(void *arg)
{
	(void)arg;
	while (!life.over && life.sent < life.most) {
		command_random();
		/* time stands still while anybody can run: who sleeps meets
		 * nobody */
		if (!sim_random_below(32))
			co_sleep(sim_random_below(2 * MS));
		else
			co_yield();
	}
}

/* Keeps a disk exported, whatever others do to it. */
static void disk_owner(void *arg)
{
	const struct written *d = arg;
	const struct layer *top;

	while (!life.over && !life.leaving && life.sent < life.most) {
		if (!export_find(d->id) && !d->lost) {
			top = &d->layers[d->top];
			call("blockdev-add", json_pack(
				"{s:s,s:s,s:s,s:o}", "driver",
				layer_driver(d, d->top), "node-name",
				top->node, "discard", "unmap", "file",
				image_node(top->path)));
			call("block-export-add", json_pack(
				"{s:s,s:s,s:s,s:b}", "type", d->type, "id",
				d->id, "node-name", top->node, "writable",
				1));
		}
		co_sleep(1 + sim_random_below(10 * MS));
	}
}

/* ---- ends ---- */

/* Whether all have gone, or all that are stuck. */
static bool delete_exports(bool stuck_only)
{
	char ids[64][32];
	unsigned n = 0;
	bool gone = true;

	for (struct export *e = NULL; (e = export_next(e)) != NULL && n < 64;)
		if (!stuck_only || e->life == EXPORT_STUCK)
			snprintf(ids[n++], sizeof(ids[0]), "%s", e->id);
	while (n--)
		gone &= call("block-export-del", json_pack(
			"{s:s,s:s}", "id", ids[n], "mode", "hard"));
	return gone;
}

static void delete_nodes(void)
{
	char (*all)[NODE_NAME_MAX + 1];
	unsigned n = 0;

	for (struct node *node = node_next(NULL); node; node = node_next(node))
		n++;
	all = calloc(n + 1, sizeof(*all));
	assert(all);
	n = 0;
	for (struct node *node = node_next(NULL); node; node = node_next(node))
		strcpy(all[n++], node->name);
	while (n--)
		call("blockdev-del", json_pack("{s:s}", "node-name", all[n]));
	free(all);
}

/* What shall be gone when everybody has ended what he began. */
static void delete_all(void)
{
	unsigned rounds = 0;

	while (life.clients.working > 1)
		co_sleep(MS);
	while (export_next(NULL)) {
		(void)delete_exports(false);
		assert(++rounds < 100);
	}
	for (rounds = 0; node_next(NULL); rounds++) {
		delete_nodes();
		assert(rounds < 50);
	}
}

/* Leaves in the middle, or when the others have ended. */
static void quitter(void *arg)
{
	unsigned at = *(unsigned *)arg;

	while (life.sent < at)
		co_sleep(MS);
	life.sticks = false;
	if (life.cleans)
		delete_all();
	while (!delete_exports(true))
		co_sleep(MS);
	life.leaving = true;
	if (life.cuts)
		sim_power_cut_at(sim_write_count() + 1 +
				 sim_random_below(20));
	while (!leave_asked()) {
		call("quit", json_object());
		co_sleep(MS);
	}
}

static void tell_running(const char *name)
{
	printf("under way: %s\n", name);
}

static void watchdog(void *arg)
{
	(void)arg;
	if (co_wait_event(&life.ended, LIFE_NS))
		return;
	printf("the life does not end, %u of %u commands\n", life.sent,
	       life.most);
	running_tell(tell_running);
	abort();
}

/* ---- one life ---- */

static int inject(void *arg, const struct io *io)
{
	(void)arg;
	if (sim_random_below(400))
		return 0;
	totals->faults++;
	return io->op == IO_WRITE && sim_random_below(2) ? -ENOSPC : -EIO;
}

static int log_fault(const char *name)
{
	(void)name;
	return life.faults && !sim_random_below(40) ? ENOSPC : 0;
}

static void tell_late(const struct error *news)
{
	log_write(LOG_WARNING, "late: %s", news->text);
}

static void log_begin(void)
{
	struct error *err = NULL;
	struct statelog_past past;

	life.log = life.logs ? statelog_new(log_path) : NULL;
	if (life.log) {
		statelog_file_fault = NULL;
		assert(co_statelog_load(life.log, &past, &err) == 0);
		assert(!past.damaged);
		json_decref(past.state);
		co_statelog_close(life.log, true);
		statelog_file_fault = log_fault;
	}
	change_set_log(life.log);
}

static void count_coroutines(void *arg)
{
	*(unsigned *)arg = CO_MAX_PER_THREAD - co_available();
}

/* Who was told that his bytes are safe, or that all is gone, can rely on it. */
static void check_nothing_left(void)
{
	unsigned count;

	assert(!node_unclosed(NULL) && !root_first());
	assert(!export_each(NULL) && !job_first() && !late_count());
	assert(!sim_files_open() && !sim_in_flight());
	assert(!life.whole || !object_first());
	object_del_all();
	assert(!object_first() && !nbd.running);
	for (unsigned t = 0; t <= THREADS; t++) {
		co_call(thread_by_index(t), count_coroutines, &count);
		assert(count == (t == MAIN_THREAD ? 1 : 0));
	}
}

static void body_life(void *arg)
{
	struct crew_member clients[CLIENTS + DISKS + 1];
	struct crew_member *m = clients;
	unsigned quit_at;

	(void)arg;
	deadline_start(30, tell_late);
	log_begin();
	job_events_start();
	graph_events_start();
	leave_start();
	life.ended = (struct wait_event) { 0 };
	life.liked = sim_random_below(2) ? any_name() : NULL;
	if (!co_spawn(watchdog, NULL))
		abort();
	quit_at = life.cleans ? life.most :
		(unsigned)sim_random_below(life.most) + 1;
	if (life.faults && !life.cuts)
		sim_set_fault(inject, NULL);
	call("nbd-server-start", json_pack("{s:{s:s,s:{s:s}}}", "addr", "type",
					   "unix", "data", "path",
					   "/sim/socket"));
	for (unsigned i = 0; i < CLIENTS; i++)
		crew_start(&life.clients, m++, MAIN_THREAD, client, NULL);
	for (unsigned i = 0; i < DISKS; i++)
		crew_start(&life.clients, m++, MAIN_THREAD, disk_owner,
			   &disks[i]);
	crew_start(&life.clients, m++, MAIN_THREAD, quitter, &quit_at);
	co_leave_wait();
	life.whole = co_leave_rest(life.log);
	crew_wait(&life.clients);
	if (life.log)
		statelog_free(life.log);
	change_set_log(NULL);
	sim_set_fault(NULL, NULL);
	sim_power_cut_at(0);
	wait_event_set(&life.ended);
	co_sleep(MS);
	assert(life.whole || life.faults);
	reports_stop();
	check_nothing_left();
}

/* ---- what is in the images ---- */

static void create(const char *driver, const char *path, json_t *more)
{
	json_t *options = json_pack("{s:s,s:s,s:i}", "driver", "file",
				    "filename", path, "size", 0);
	struct error *err = NULL;

	if (!strcmp(driver, "raw"))
		json_object_set_new(options, "size", json_integer(DISK_BYTES));
	assert(call("blockdev-create", json_pack("{s:s,s:o}", "job-id", "j",
						 "options", options)));
	while (job_first()->status != JOB_CONCLUDED)
		co_sleep(MS);
	assert(!job_first()->err);
	assert(call("job-dismiss", json_pack("{s:s}", "id", "j")));
	if (strcmp(driver, "qcow2"))
		return;
	options = json_pack("{s:s,s:o,s:i}", "driver", "qcow2", "file",
			    image_node(path), "size", DISK_BYTES);
	json_object_update(options, more);
	assert(call("blockdev-create", json_pack("{s:s,s:o}", "job-id", "j",
						 "options", options)));
	while (job_first()->status != JOB_CONCLUDED)
		co_sleep(MS);
	assert(!job_first()->err);
	assert(call("job-dismiss", json_pack("{s:s}", "id", "j")));
	assert(!err);
	json_decref(more);
}

static void body_make(void *arg)
{
	(void)arg;
	deadline_start(30, tell_late);
	leave_start();
	create("raw", "/sim/a.raw", NULL);
	create("qcow2", "/sim/base.qcow2", json_object());
	create("qcow2", "/sim/top.qcow2", json_pack(
		"{s:s,s:s}", "backing-file", "/sim/base.qcow2", "backing-fmt",
		"qcow2"));
	create("qcow2", disks[0].layers[0].path, json_pack(
		"{s:i}", "cluster-size", 65536));
	create("qcow2", disks[1].layers[0].path, json_pack(
		"{s:i,s:b}", "cluster-size", 4096, "lazy-refcounts",
		(int)sim_random_below(2)));
	create("raw", disks[2].layers[0].path, NULL);
	create("qcow2", "/sim/blank.qcow2", json_object());
}

/* The overlays, blank. */
static void make_overlays(void)
{
	void *blank;
	uint64_t bytes = sim_file_get("/sim/blank.qcow2", &blank);

	for (unsigned i = 0; i < DISKS; i++) {
		disks[i].top = 0;
		for (unsigned k = 1; k < LAYERS; k++)
			sim_file_set(disks[i].layers[k].path, blank, bytes);
	}
	free(blank);
}

static void open_layer(const struct written *d, unsigned layer,
		       struct disk *disk)
{
	struct error *err = NULL;
	char *options;

	if (asprintf(&options, "{\"driver\": \"%s\", \"file\": "
		     "{\"driver\": \"file\", \"filename\": \"%s\"}}",
		     layer_driver(d, layer), d->layers[layer].path) < 0)
		abort();
	if (disk_open(disk, options, PERM_CONSISTENT_READ, 0, &err) < 0) {
		printf("%s: %s\n", d->layers[layer].path, err->text);
		abort();
	}
	free(options);
}

/* What is there is what the next life begins with. */
static void verify(struct written *d)
{
	char *buf = aligned_alloc(4096, DISK_BYTES), text[200];
	struct disk_model next;
	struct disk disk;

	model_init(&next, DISK_BYTES);
	next.next_value = d->model.next_value;
	if (!buf)
		abort();
	open_layer(d, d->top, &disk);
	for (uint32_t at = 0; at < DISK_BYTES; at += 65536)
		assert(disk_request(&disk, REQ_READ, 0, at, 65536, buf + at) ==
		       0);
	disk_close(&disk);
	for (uint64_t i = 0; i < SECTORS; i++) {
		const char *bytes = buf + i * MODEL_SECTOR;

		if (d->lost ? model_allows_cut(&d->model, i, bytes) :
		    model_allows_now(&d->model, i, bytes)) {
			model_set(&next, i, (uint32_t)model_value(i, bytes));
			continue;
		}
		model_describe(&d->model, i, text, sizeof(text));
		printf("%s%s: %s and holds %lld\n", d->layers[d->top].path,
		       d->lost ?
		       ", of which something was lost" : "", text,
		       (long long)model_value(i, bytes));
		abort();
	}
	model_free(&d->model);
	d->model = next;
	free(buf);
}

static void check_image(const char *path)
{
	struct error *err = NULL;
	json_t *args = json_pack("{s:s}", "filename", path);
	json_t *got = cmd_check(args, &err);

	if (!got || json_integer_value(json_object_get(got, "corruptions")) ||
	    (!life.faults &&
	     json_integer_value(json_object_get(got, "leaks")))) {
		printf("%s: %s\n", path, err ? err->text :
		       json_dumps(got, 0));
		abort();
	}
	json_decref(args);
	json_decref(got);
}

static void check_layers(const struct written *d)
{
	struct disk disk;

	for (unsigned k = 0; k <= d->top; k++) {
		if (strcmp(layer_driver(d, k), "qcow2"))
			continue;
		/* is mended where a close had failed */
		open_layer(d, k, &disk);
		disk_close(&disk);
		check_image(d->layers[k].path);
	}
}

static void body_verify(void *arg)
{
	(void)arg;
	deadline_start(30, tell_late);
	leave_start();
	for (unsigned i = 0; i < DISKS; i++) {
		disks[i].lost |= !life.whole || life.cuts;
		totals->lost += disks[i].lost;
		verify(&disks[i]);
		check_layers(&disks[i]);
	}
	check_nothing_left();
}

/* ---- seeds ---- */

static void run_seed(uint64_t seed)
{
	totals->seed = seed;
	if (verbose)
		printf("seed %llu\n", (unsigned long long)seed);
	sim_wait_rate(0);
	for (unsigned i = 0; i < ARRAY_SIZE(images); i++)
		sim_file_remove(images[i]);
	sim_file_remove("/sim/blank.qcow2");
	for (unsigned i = 0; i < DISKS; i++)
		for (unsigned k = 0; k < LAYERS; k++)
			sim_file_remove(disks[i].layers[k].path);
	test_run(THREADS, seed, body_make, NULL);
	make_overlays();
	for (unsigned i = 0; i < DISKS; i++) {
		model_init(&disks[i].model, DISK_BYTES);
		disks[i].model.next_value = 1;
	}
	for (unsigned i = 0; i < LIVES; i++) {
		memset(&life, 0, sizeof(life));
		life.cuts = seed % 4 == 1;
		life.faults = life.cuts || seed % 4 == 3;
		life.logs = (seed + i) % 3 == 0;
		life.cleans = (seed + i) % 5 < 2;
		life.sticks = (seed / 4 + i) % 2;
		life.most = 40 + (unsigned)((seed * 37 + i * 101) % 200);
		for (unsigned d = 0; d < DISKS; d++)
			disks[d].lost = false;
		sim_wait_rate(1 + (unsigned)((seed + i) % 4));
		totals->lives++;
		test_run(THREADS, seed * LIVES + i, body_life, NULL);
		sim_wait_rate(0);
		test_run(THREADS, seed, body_verify, NULL);
	}
	for (unsigned i = 0; i < DISKS; i++)
		model_free(&disks[i].model);
}

static void run_batch(uint64_t from, uint64_t count)
{
	driver_register_all();
	for (size_t i = 0; i < ARRAY_SIZE(doors); i++)
		export_type_register(&doors[i]);
	schema_start();
	for (uint64_t i = 0; i < count; i++)
		run_seed(from + i);
}

/* Whether all was well; a child dies of what is wrong, or is late. */
static bool batch(uint64_t from, uint64_t count)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setvbuf(stdout, NULL, _IOLBF, 0);
		alarm(BATCH_S);
		run_batch(from, count);
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	return status == 0;
}

int main(int argc, char **argv)
{
	static const uint64_t amounts[] = { 20, 80, 8000 };
	uint64_t seeds = amounts[test_mode(&argc, argv)], seed = 1, done = 0;
	unsigned failed = 0;
	char dir[] = "/tmp/server-commands-XXXXXX";
	int opt;

	while ((opt = getopt(argc, argv, "s:n:v")) != -1) {
		switch (opt) {
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': seeds = strtoull(optarg, NULL, 0); break;
		case 'v': verbose = true; break;
		default: return 2;
		}
	}
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED || !mkdtemp(dir))
		return 2;
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	while (done < seeds) {
		uint64_t count = min((uint64_t)BATCH, seeds - done);

		if (!batch(seed + done, count)) {
			failed++;
			printf("seed %llu fails: server-commands -n 1 -s "
			       "%llu\n", (unsigned long long)totals->seed,
			       (unsigned long long)totals->seed);
			/* those behind it are not left out */
			count = totals->seed - (seed + done) + 1;
		}
		done += count;
	}
	unlink(log_path);
	rmdir(dir);
	printf("%u lives, %u commands, %u of them done, %u disks' snapshots, "
	       "%u writes, %u faults, %u disks lost something\n",
	       totals->lives, totals->commands, totals->done,
	       totals->snapshots, totals->writes, totals->faults,
	       totals->lost);
	printf("%u passed, %u failed, 0 skipped\n",
	       (unsigned)seeds - failed, failed);
	return failed ? 1 : 0;
}
