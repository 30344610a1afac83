/* SPDX-License-Identifier: MIT */
/*
 * deadline.c - opening nodes, and asking images, by a deadline. Main thread.
 *
 * Neither open(2) nor a read can be taken back, so what is late is left alone,
 * with a copy of its arguments, and who asked is told. Repeating the command
 * then may find the work done: an image whose refcounts were being rebuilt,
 * say.
 */
#include "server/deadline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "graph/node.h"
#include "runtime/co.h"

#define NS_PER_S 1000000000ull

struct work {
	/* one of the two, and what it gave */
	struct node *(*open)(json_t *args, struct error **err);
	struct node *node;
	json_t *(*ask)(json_t *args, uint64_t *progress, struct error **err);
	json_t *answer;
	json_t *args;
	struct error *err;
	uint64_t progress, seen;
	struct timer timer;
	struct co *waiter;
	bool done;
	bool woken;		/* the waiter; it has one token */
	bool late;		/* nobody waits any more */
	struct work *next;
};

static unsigned deadline_s;
static void (*tell)(const struct error *news);
static unsigned late_count;
static struct work *waited_for;
static bool leaving;

void deadline_start(unsigned seconds, void (*tell_late)(const struct error *))
{
	deadline_s = seconds;
	tell = tell_late;
}

unsigned deadline_count_late(void)
{
	return late_count;
}

static void work_free(struct work *w)
{
	json_decref(w->args);
	json_decref(w->answer);
	error_clear(&w->err);
	free(w);
}

static void work_undo(struct work *w)
{
	if (w->node) {
		error_set(&w->err, ETIMEDOUT, "Node '%s', which opened past "
			  "its deadline, is closed again", w->node->name);
		w->node->held = false;
		node_unref(w->node);
	}
	late_count--;
	if (w->err)
		tell(w->err);
	work_free(w);
}

static void work_wake(struct work *w)
{
	if (!w->waiter || w->woken)
		return;
	w->woken = true;
	co_wake(w->waiter);
}

static void work_run(void *arg)
{
	struct work *w = arg;

	if (w->open)
		w->node = w->open(w->args, &w->err);
	else
		w->answer = w->ask(w->args, &w->progress, &w->err);
	w->done = true;
	if (w->late)
		work_undo(w);
	else
		work_wake(w);
}

static void work_expire(struct timer *timer)
{
	struct work *w = container_of(timer, struct work, timer);

	if (w->progress == w->seen) {
		work_wake(w);
		return;
	}
	w->seen = w->progress;
	timer_start(&w->timer, deadline_s * NS_PER_S, work_expire);
}

static void co_work_wait(struct work *w)
{
	struct work **at;

	w->next = waited_for;
	waited_for = w;
	w->waiter = co_self();
	timer_start(&w->timer, deadline_s * NS_PER_S, work_expire);
	co_wait();
	timer_stop(&w->timer);
	for (at = &waited_for; *at != w; at = &(*at)->next)
		;
	*at = w->next;
}

void deadline_leave(void)
{
	leaving = true;
	for (struct work *w = waited_for; w; w = w->next)
		work_wake(w);
}

/* False, and *err: it did not end well, or has not ended. */
static bool co_work(struct work *w, json_t *args, const char *what,
		    struct error **err)
{
	w->args = json_deep_copy(args);
	if (!co_spawn(work_run, w)) {
		error_set(err, ENOMEM, "No stack to open '%s'", what);
		work_free(w);
		return false;
	}
	if (!w->done && !leaving)
		co_work_wait(w);
	if (w->done && !w->err)
		return true;
	if (w->done) {
		error_propagate(err, &w->err);
		work_free(w);
		return false;
	}
	w->late = true;
	late_count++;
	if (leaving)
		error_set(err, ESHUTDOWN, "blkgraphd is leaving: '%s' takes "
			  "too long", what);
	else if (w->open)
		error_set(err, ETIMEDOUT, "Opening '%s' takes longer than %u s"
			  " and is undone when it ends", what, deadline_s);
	else
		error_set(err, ETIMEDOUT, "'%s' has not answered for %u s",
			  what, deadline_s);
	return false;
}

static struct work *work_new(void)
{
	struct work *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	return w;
}

struct node *co_open_by_deadline(struct node *(*fn)(json_t *, struct error **),
				 json_t *args, const char *what,
				 struct error **err)
{
	struct work *w = work_new();
	struct node *node;

	w->open = fn;
	if (!co_work(w, args, what, err))
		return NULL;
	node = w->node;
	work_free(w);
	return node;
}

json_t *co_ask_by_deadline(json_t *(*fn)(json_t *args, uint64_t *progress,
					 struct error **err),
			   json_t *args, const char *what, struct error **err)
{
	struct work *w = work_new();
	json_t *answer;

	w->ask = fn;
	if (!co_work(w, args, what, err))
		return NULL;
	answer = json_incref(w->answer);
	work_free(w);
	return answer;
}
