/* SPDX-License-Identifier: MIT */
/*
 * deadline.c - opening nodes, and asking images, as late work. Main thread.
 *
 * What is late goes on with a copy of its arguments, and who asked is told.
 * Repeating the command then may find the work done: an image whose refcounts
 * were being rebuilt, say.
 */
#include "server/deadline.h"

#include <errno.h>
#include <stdlib.h>

#include "graph/node.h"
#include "runtime/late.h"
#include "runtime/storage.h"

struct image_work {
	struct late late;
	/* one of the two, and what it gave */
	struct node *(*open)(json_t *args, struct error **err);
	struct node *node;
	json_t *(*ask)(json_t *args, uint64_t *progress, struct error **err);
	json_t *answer;
	json_t *args;
	struct error *err;
	uint64_t progress;
};

static uint64_t deadline_ns;
static void (*tell)(const struct error *news);

void deadline_start(unsigned seconds, void (*tell_late)(const struct error *))
{
	deadline_ns = SECONDS(seconds);
	tell = tell_late;
	storage_set_patience(deadline_ns);
	late_set_bound(deadline_ns);
}

static void image_work_run(struct late *late)
{
	struct image_work *w = container_of(late, struct image_work, late);

	if (w->open)
		w->node = w->open(w->args, &w->err);
	else
		w->answer = w->ask(w->args, &w->progress, &w->err);
}

static void image_work_free(struct image_work *w)
{
	json_decref(w->args);
	json_decref(w->answer);
	error_clear(&w->err);
	free(w);
}

static void image_work_undo(struct late *late)
{
	struct image_work *w = container_of(late, struct image_work, late);

	if (w->node) {
		error_set(&w->err, ETIMEDOUT, "Node '%s', which opened past "
			  "its deadline, is closed again", w->node->name);
		node_let_go(w->node);
		node_put(w->node, "opener");
	}
	if (w->err)
		tell(w->err);
	image_work_free(w);
}

static uint64_t image_work_progress(struct late *late)
{
	return container_of(late, struct image_work, late)->progress;
}

/* NULL, and *err: it did not end well, or has not ended. */
static struct image_work *co_image_work(const struct image_work *like,
					json_t *args, const char *what,
					struct error **err)
{
	struct image_work *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	*w = *like;
	w->args = json_deep_copy(args);
	w->late.run = image_work_run;
	w->late.undo = image_work_undo;
	w->late.progress = image_work_progress;
	w->late.gives_way = true;
	if (!co_late(&w->late, deadline_ns, err, w->open ? "Opening '%s'" :
		     "Looking at '%s'", what))
		return NULL;
	if (!w->err)
		return w;
	error_propagate(err, &w->err);
	image_work_free(w);
	return NULL;
}

struct node *co_open_by_deadline(struct node *(*fn)(json_t *, struct error **),
				 json_t *args, const char *what,
				 struct error **err)
{
	const struct image_work like = { .open = fn };
	struct image_work *w = co_image_work(&like, args, what, err);
	struct node *node = NULL;

	if (w) {
		node = w->node;
		image_work_free(w);
	}
	return node;
}

json_t *co_ask_by_deadline(json_t *(*fn)(json_t *args, uint64_t *progress,
					 struct error **err),
			   json_t *args, const char *what, struct error **err)
{
	const struct image_work like = { .ask = fn };
	struct image_work *w = co_image_work(&like, args, what, err);
	json_t *answer = NULL;

	if (w) {
		answer = json_incref(w->answer);
		image_work_free(w);
	}
	return answer;
}
