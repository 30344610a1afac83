/* SPDX-License-Identifier: MIT */
/*
 * nested.c - see nested.h. Main thread; looking runs on a helper, with a
 * deadline: a loop device's file may lie on storage that does not answer.
 */
#include "export/nested.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "export/host-mounts.h"
#include "export/served.h"
#include "export/users.h"
#include "graph/export.h"
#include "graph/node.h"
#include "runtime/late.h"

#define LOOK_NS SECONDS(10)

/* A file system or device that a node's data is on. */
struct nested_place {
	dev_t dev;
	char *filename;		/* one of the files there */
};

struct nested_job {
	struct late work;
	size_t count, room;
	struct nested_place *places;
	int error;		/* of entering the users' namespace */
	const struct nested_place *found;
	char on[USERS_PATH_MAX];
};

static void nested_free(struct nested_job *job)
{
	for (size_t i = 0; i < job->count; i++)
		free(job->places[i].filename);
	free(job->places);
	free(job);
}

static void nested_undo(struct late *work)
{
	nested_free(container_of(work, struct nested_job, work));
}

static void nested_add(struct nested_job *job, const struct node *node)
{
	struct nested_place *place;

	for (size_t i = 0; i < job->count; i++)
		if (job->places[i].dev == (dev_t)node->dev)
			return;
	if (job->count == job->room) {
		job->room = job->room ? 2 * job->room : 8;
		job->places = realloc(job->places,
				      job->room * sizeof(*job->places));
		if (!job->places)
			abort();
	}
	place = &job->places[job->count++];
	place->dev = (dev_t)node->dev;
	place->filename = strdup(node->filename);
	if (!place->filename)
		abort();
}

/* What has no file has no place, and what has children is where they are. */
static void nested_collect(struct nested_job *job, const struct node *node)
{
	if (!node->children && node->filename && node->dev)
		nested_add(job, node);
	for (const struct edge *e = node->children; e; e = e->next_child)
		nested_collect(job, e->child);
}

static void nested_look(void *arg)
{
	struct nested_job *job = arg;

	for (size_t i = 0; i < job->count && !job->found; i++)
		if (served_below("", job->places[i].dev, SERVED_BY_US, job->on,
				 sizeof(job->on)))
			job->found = &job->places[i];
}

static void nested_run(struct late *work)
{
	struct nested_job *job = container_of(work, struct nested_job, work);

	/* our mounts are where users are */
	job->error = host_mounts_run(nested_look, job);
}

int co_refuse_nested(const struct export *exp, struct node *node,
		     struct error **err)
{
	struct nested_job *job = calloc(1, sizeof(*job));
	int rc = 0;

	if (!job)
		abort();
	job->work.call = nested_run;
	job->work.undo = nested_undo;
	nested_collect(job, node);
	if (!co_late(&job->work, LOOK_NS, err, "Looking what export '%s' lies "
		     "on", exp->id))
		return -ETIMEDOUT;
	if (job->error)
		rc = error_set(err, job->error, "cannot tell for export '%s' "
			       "what '%s' lies on: %s", exp->id, node->name,
			       strerror(job->error));
	else if (job->found)
		rc = error_set(err, EBUSY, "export '%s' cannot be made: '%s' "
			       "lies on %s, which this daemon serves; another "
			       "daemon can serve it", exp->id,
			       job->found->filename, job->on);
	nested_free(job);
	return rc;
}
