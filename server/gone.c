/* SPDX-License-Identifier: MIT */
/*
 * gone.c - see gone.h. Main thread, coroutines.
 */
#include "server/gone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/export.h"
#include "graph/graph.h"
#include "runtime/co.h"
#include "runtime/wait.h"
#include "server/change.h"
#include "server/commands.h"
#include "server/leave.h"
#include "server/log.h"
#include "server/monitor.h"
#include "server/running.h"

#define LET_GO_LOOK_NS 5000000ull

struct gone {
	json_t *shown;		/* as of its last moment */
	bool ended;		/* else it is being let go */
	uint64_t number;	/* of all that there were */
	struct gone *next;
};

static struct gone *gone;
static uint64_t gone_count;	/* that there were */

static const char *gone_member(const struct gone *g, const char *name)
{
	const char *value = json_string_value(json_object_get(g->shown, name));

	return value ? value : "";
}

/* The empty name is nobody's: a file has no device. */
static struct gone *gone_find(const char *name)
{
	struct gone *g = *name ? gone : NULL;

	while (g && strcmp(gone_member(g, "id"), name) &&
	       strcmp(gone_member(g, "device"), name))
		g = g->next;
	return g;
}

static void gone_unlink(struct gone *g)
{
	struct gone **at;

	for (at = &gone; *at != g; at = &(*at)->next)
		;
	*at = g->next;
	json_decref(g->shown);
	free(g);
}

bool gone_is_any(void)
{
	return gone;
}

bool gone_is_known(const char *name)
{
	return gone_find(name);
}

bool gone_is_ending(const char *id)
{
	const struct gone *g = gone_find(id);

	return g && !g->ended;
}

void gone_list(json_t *list)
{
	for (const struct gone *g = gone; g; g = g->next)
		/* at the begin of its end it still is one of them; and so is
		 * one that takes its place, at once */
		if (!export_find(gone_member(g, "id")))
			json_array_append(list, g->shown);
}

/* The one of this name; NULL: none, or none any more. */
static struct gone *co_gone_let_go(const char *name)
{
	struct gone *g;

	while ((g = gone_find(name)) != NULL && !g->ended)
		co_sleep(LET_GO_LOOK_NS);
	return g;
}

static void gone_forget(struct gone *g)
{
	monitor_event("BLOCK_EXPORT_DELETED",
		      json_pack("{s:O}", "id", json_object_get(g->shown,
							       "id")));
	gone_unlink(g);
}

bool co_gone_forget(const char *name)
{
	struct gone *g = co_gone_let_go(name);

	if (g)
		gone_forget(g);
	return g;
}

uint64_t co_gone_settle(const char *id)
{
	co_gone_let_go(id);
	return gone_count;
}

void gone_replaced(const char *id, uint64_t settled)
{
	struct gone *g = gone;

	/* what took its place may have been taken away as well */
	while (g && (strcmp(gone_member(g, "id"), id) != 0 ||
		     g->number > settled))
		g = g->next;
	if (g)
		gone_forget(g);
}

/* raw over a file filters it, and is an image all the same. */
static const struct node *gone_image(const struct node *node)
{
	const struct node *child;

	while (strcmp(node->driver->name, "raw") != 0 &&
	       (child = node_filtered_child(node)) != NULL)
		node = child;
	return node;
}

/* The nodes go with it, so what is to be shown of them is kept. */
static json_t *gone_describe(struct export *exp)
{
	json_t *shown = export_describe(exp);
	const char *name = gone_image(exp->root->edge.child)->name;
	json_auto_t *nodes = graph_query_nodes(true);
	json_t *node;
	size_t i;

	json_array_foreach(nodes, i, node) {
		if (strcmp(name, json_string_value(
				json_object_get(node, "node-name"))) != 0)
			continue;
		json_object_set(shown, "format", json_object_get(node, "drv"));
		json_object_set(shown, "file", json_object_get(node, "file"));
	}
	json_object_set_new(shown, "gone", json_true());
	json_object_del(shown, "requests");
	return shown;
}

static void gone_say(const struct gone *g, const struct error *loss)
{
	const char *device = gone_member(g, "device");

	if (!*device)
		device = gone_member(g, "mountpoint");
	log_write(LOG_WARNING, "%s was taken away by another program, so '%s' "
		  "is let go%s%s", device, gone_member(g, "file"),
		  loss ? "; " : "", loss ? loss->text : "");
	monitor_event("BLKGRAPH_EXPORT_GONE",
		      json_pack("{s:s,s:s}", "id", gone_member(g, "id"),
				"device", device));
}

/* Takes the reference over. */
static void co_gone_end(struct export *exp)
{
	struct error *loss CLEANUP_ERROR = NULL, *err CLEANUP_ERROR = NULL;
	struct gone *g;

	/* another has begun to end it meanwhile */
	if (exp->life != EXPORT_RUNNING) {
		export_put(exp, "gone");
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g)
		abort();
	g->number = ++gone_count;
	g->shown = gone_describe(exp);
	/* or its end would wait for us */
	export_put(exp, "gone");
	g->next = gone;
	gone = g;
	if (co_export_end(exp, true, &loss, &err) == 0) {
		g->ended = true;
		gone_say(g, loss);
	} else {
		log_error(LOG_ERROR, &err);
		gone_unlink(g);
	}
}

static void co_gone_look(void *arg)
{
	static const char name[] = "block-export-del";
	struct error *err CLEANUP_ERROR = NULL;
	struct export *exp = arg;
	struct change change;
	struct running self;
	json_auto_t *args = json_pack("{s:s,s:s}", "id", exp->id, "mode",
				      "hard");

	/* whoever makes it run has it until he waits */
	co_yield();
	/* leaving ends it as well */
	if (running_begin(&self, name, true, &err) < 0) {
		export_put(exp, "gone");
		return;
	}
	if (exp->life == EXPORT_RUNNING && exp->type->is_gone(exp) &&
	    co_change_begin(&change, name, args, CHANGE_REMOVES, &err) == 0) {
		co_gone_end(exp);
		co_change_end(&change);
	} else {
		export_put(exp, "gone");
	}
	running_end(&self);
}

void gone_suspect(struct export *exp)
{
	export_get(exp, "gone");
	if (!co_spawn(co_gone_look, exp))
		export_put(exp, "gone");
}
