/* SPDX-License-Identifier: MIT */
/*
 * opening.c - opening nodes by a deadline. Main thread.
 *
 * Neither open(2) nor a read can be taken back, so what is late is left alone:
 * it goes on in a coroutine of its own, with a copy of its arguments, and who
 * asked is told. Repeating the command then may find the work done: an image
 * whose refcounts were being rebuilt, say.
 */
#include "server/opening.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "graph/node.h"
#include "runtime/co.h"

#define NS_PER_S 1000000000ull

struct opening {
	struct node *(*fn)(json_t *args, struct error **err);
	json_t *args;
	struct node *node;
	struct error *err;
	struct timer timer;
	struct co *waiter;
	bool done;
	bool woken;		/* the waiter; it has one token */
	bool late;		/* nobody waits any more */
};

static unsigned deadline_s;
static void (*tell)(const struct error *news);
static unsigned late_count;

void opening_start(unsigned seconds, void (*tell_late)(const struct error *))
{
	deadline_s = seconds;
	tell = tell_late;
}

unsigned opening_count_late(void)
{
	return late_count;
}

static void opening_free(struct opening *o)
{
	json_decref(o->args);
	error_clear(&o->err);
	free(o);
}

static void opening_undo(struct opening *o)
{
	if (o->node) {
		error_set(&o->err, ETIMEDOUT, "Node '%s', which opened past "
			  "its deadline, is closed again", o->node->name);
		o->node->held = false;
		node_unref(o->node);
	}
	late_count--;
	tell(o->err);
	opening_free(o);
}

static void opening_wake(struct opening *o)
{
	if (!o->waiter || o->woken)
		return;
	o->woken = true;
	co_wake(o->waiter);
}

static void opening_run(void *arg)
{
	struct opening *o = arg;

	o->node = o->fn(o->args, &o->err);
	o->done = true;
	if (o->late)
		opening_undo(o);
	else
		opening_wake(o);
}

static void opening_expire(struct timer *timer)
{
	opening_wake(container_of(timer, struct opening, timer));
}

struct node *co_open_by_deadline(struct node *(*fn)(json_t *, struct error **),
				 json_t *args, const char *what,
				 struct error **err)
{
	struct opening *o = calloc(1, sizeof(*o));
	struct node *node;

	if (!o)
		abort();
	o->fn = fn;
	o->args = json_deep_copy(args);
	if (!co_spawn(opening_run, o)) {
		opening_free(o);
		error_set(err, ENOMEM, "No stack to open '%s'", what);
		return NULL;
	}
	if (!o->done) {
		o->waiter = co_self();
		timer_start(&o->timer, deadline_s * NS_PER_S, opening_expire);
		co_wait();
		timer_stop(&o->timer);
	}
	if (!o->done) {
		o->late = true;
		late_count++;
		error_set(err, ETIMEDOUT, "Opening '%s' takes longer than %u s"
			  " and is undone when it ends", what, deadline_s);
		return NULL;
	}
	node = o->node;
	if (!node)
		error_propagate(err, &o->err);
	opening_free(o);
	return node;
}
