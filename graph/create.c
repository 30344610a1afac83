/* SPDX-License-Identifier: MIT */
/*
 * create.c - the job that makes images (create.h). Main thread.
 *
 * A format is given its file through a root of the job's own, which shares
 * nothing: nobody reads or writes there until the image is whole.
 */
#include "graph/create.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/job.h"
#include "runtime/late.h"

#define CREATE_GRANULARITY 512u

#define CANCEL_NS SECONDS(5)

/* Its own once the job has given it up (A38), else the job's. */
struct create {
	struct late work;
	const struct driver *driver;
	void *opts;
	json_t *file;		/* name or options; NULL: none */
	char *root_name;	/* "job 'j'" */
	struct error *err;
	int ret;
};

static const struct root_ops create_root_ops = {
	.kind = "job",
	.stays = true,
};

/* ---- the work ---- */

static struct node *co_file_node(const struct create *c, struct error **err)
{
	struct node *node;

	if (json_is_object(c->file))
		return node_open(c->file, 0, err);
	node = node_find(json_string_value(c->file));
	if (node)
		node_get(node, "opener");
	else
		error_set(err, ENOENT, "Cannot find device='%s' nor"
			  " node-name='%s'", json_string_value(c->file),
			  json_string_value(c->file));
	return node;
}

static int co_create_in(const struct create *c, struct node *node,
			struct error **err)
{
	const unsigned perm = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE;
	struct root *root = root_new(&create_root_ops, NULL, c->root_name,
				     node, perm, 0, CREATE_GRANULARITY,
				     UINT64_C(1) << MAIN_THREAD, err);
	int ret;

	if (!root)
		return -EPERM;
	co_root_busy(root);
	ret = c->driver->create(c->opts, &root->edge, err);
	root_idle(root);
	root_free(root);
	return ret;
}

/* What the close could not write is part of what was to be made. */
static int co_create_on_file(const struct create *c, struct error **err)
{
	struct error *loss CLEANUP_ERROR = NULL;
	struct node *node = co_file_node(c, err);
	int ret, closed;

	if (!node)
		return -EINVAL;
	ret = co_create_in(c, node, err);
	closed = co_node_put(node, "opener", &loss);
	if (ret < 0 || closed == 0)
		return ret;
	error_propagate(err, &loss);
	return closed;
}

static void create_free(struct create *c)
{
	options_free(c->driver->create_options, c->opts);
	free(c->opts);
	json_decref(c->file);
	error_clear(&c->err);
	free(c->root_name);
	free(c);
}

static void create_work(struct late *work)
{
	struct create *c = container_of(work, struct create, work);

	c->ret = c->file ? co_create_on_file(c, &c->err) :
		c->driver->create(c->opts, NULL, &c->err);
}

static void create_undo(struct late *work)
{
	create_free(container_of(work, struct create, work));
}

static int create_run(struct job *job, struct error **err)
{
	struct error *late CLEANUP_ERROR = NULL;
	struct create *c = job->owner;

	job->total = 1;
	if (!co_late(&c->work, WAIT_FOREVER, &late, "Creating in job '%s'",
		     job->id)) {
		job->owner = NULL;
		return error_set(err, ECANCELED, "Cancelled while its storage "
				 "does not answer: what is under way goes on");
	}
	job->current = 1;
	if (c->err)
		error_propagate(err, &c->err);
	return c->ret;
}

static void create_cancel(struct job *job)
{
	struct create *c = job->owner;

	if (c)
		late_hurry(&c->work, CANCEL_NS);
}

static void create_job_free(struct job *job)
{
	if (job->owner)
		create_free(job->owner);
}

static const struct job_ops create_ops = {
	.type = "create",
	.run = create_run,
	.cancel = create_cancel,
	.free = create_job_free,
};

/* ---- its options ---- */

static int take_file(json_t *options, struct create *c, struct error **err)
{
	json_t *file = json_object_get(options, "file");

	if (c->driver->kind == DRIVER_PROTOCOL)
		return 0;
	if (!file)
		return error_set(err, EINVAL, "Parameter 'file' is missing");
	if (!json_is_string(file) && !json_is_object(file))
		return error_set(err, EINVAL, "Invalid parameter type for"
				 " 'file', expected: BlockdevRef");
	c->file = json_incref(file);
	json_object_del(options, "file");
	return 0;
}

static int create_parse(json_t *options, struct create *c, struct error **err)
{
	const struct driver *driver = c->driver;
	int ret;

	c->opts = calloc(1, driver->create_size);
	if (!c->opts)
		abort();
	ret = take_file(options, c, err);
	if (ret == 0)
		ret = options_parse(options, driver->create_options, NULL,
				    c->opts, err);
	if (ret == 0 && json_object_size(options))
		ret = error_set(err, EINVAL, "Parameter '%s' is unexpected",
				json_object_iter_key(
				json_object_iter(options)));
	return ret;
}

int co_create_in_node(json_t *options, struct node *node, const char *who,
		      struct error **err)
{
	json_auto_t *copy = json_deep_copy(options);
	struct create *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		abort();
	c->driver = driver_take(copy, err);
	assert(c->driver && c->driver->kind == DRIVER_FORMAT &&
	       c->driver->create);
	c->root_name = strdup(who);
	json_object_set_new(copy, "file", json_string(node->name));
	ret = create_parse(copy, c, err);
	if (ret == 0)
		ret = co_create_in(c, node, err);
	create_free(c);
	return ret;
}

/* who: of its root; taken over. */
static struct create *create_new(char *who, json_t *options,
				 struct error **err)
{
	json_auto_t *copy = json_deep_copy(options);
	const struct driver *driver = driver_take(copy, err);
	struct create *c = NULL;

	if (driver && !driver->create)
		error_set(err, ENOTSUP,
			  "Driver does not support blockdev-create");
	else if (driver)
		c = calloc(1, sizeof(*c));
	if (!c) {
		assert(*err);
		free(who);
		return NULL;
	}
	c->driver = driver;
	c->root_name = who;
	c->work.run = create_work;
	c->work.undo = create_undo;
	if (create_parse(copy, c, err) == 0)
		return c;
	create_free(c);
	return NULL;
}

int create_start(const char *job_id, json_t *options, struct error **err)
{
	struct create *c;
	struct job *job;
	char *who;
	int ret;

	if (asprintf(&who, "job '%s'", job_id) < 0)
		abort();
	c = create_new(who, options, err);
	if (!c)
		return -EINVAL;
	job = job_new(&create_ops, job_id, JOB_MANUAL_DISMISS, c, err);
	ret = job ? job_start(job, err) : -EINVAL;
	if (ret < 0)
		create_free(c);
	return ret;
}

int co_create_image(const char *who, json_t *options, struct error **err)
{
	char *name = strdup(who);
	struct create *c;
	int ret;

	if (!name)
		abort();
	c = create_new(name, options, err);
	if (!c)
		return -EINVAL;
	if (!co_late(&c->work, late_bound_ns(), err, "Creating for %s", who))
		return -ETIMEDOUT;
	ret = c->ret;
	if (c->err)
		error_propagate(err, &c->err);
	create_free(c);
	return ret;
}
