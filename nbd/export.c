/* SPDX-License-Identifier: MIT */
/*
 * export.c - the export type "nbd": a node under a name at the server. Main
 * thread, coroutines.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/nested.h"
#include "graph/export.h"
#include "graph/node.h"
#include "nbd/server.h"
#include "runtime/json.h"

#define PREFERRED_BLOCK 4096u
/* From the end of the connections to the last answer of the graph. */
#define END_TIMEOUT_NS SECONDS(10)

struct nbd_export_options {
	char *name, *description;
	bool depth, writethrough;
};

struct nbd_export {
	struct nbd_target target;
	struct nbd_offer offer;
	struct nbd_export *next;	/* on offer */
};

#define OPT(field) offsetof(struct nbd_export_options, field)

static const struct option nbd_option_table[] = {
	{ .name = "name", .type = OPT_STRING, .offset = OPT(name),
	  .help = "what clients ask for; default: the node's name" },
	{ .name = "description", .type = OPT_STRING,
	  .offset = OPT(description), .help = "for people" },
	{ .name = "allocation-depth", .type = OPT_BOOL, .offset = OPT(depth),
	  .help = "offer the context qemu:allocation-depth" },
	{ .name = "writethrough", .type = OPT_BOOL,
	  .offset = OPT(writethrough),
	  .help = "every write is durable when it is answered" },
	{ .name = NULL },
};

static const struct root_ops nbd_root_ops = {
	.kind = "export",
	.gated = true,
	.abandoned = nbd_request_abandoned,
};

static struct nbd_export *offered;

/* ---- what is on offer ---- */

static struct nbd_export *offer_owner(const struct nbd_offer *offer)
{
	struct nbd_export *e = offered;

	while (&e->offer != offer)
		e = e->next;
	return e;
}

struct nbd_target *nbd_export_target(const struct nbd_offer *offer)
{
	return &offer_owner(offer)->target;
}

static const struct nbd_offer *offer_find(void *arg, const char *name)
{
	const struct nbd_export *e = offered;

	(void)arg;
	while (e && strcmp(e->offer.name, name))
		e = e->next;
	return e ? &e->offer : NULL;
}

static const struct nbd_offer *offer_next(void *arg,
					  const struct nbd_offer *prev)
{
	const struct nbd_export *e = prev ? offer_owner(prev)->next : offered;

	(void)arg;
	return e ? &e->offer : NULL;
}

const struct nbd_catalogue nbd_exports = {
	.find = offer_find,
	.next = offer_next,
};

static void withdraw(struct nbd_export *e)
{
	struct nbd_export **at = &offered;

	while (*at && *at != e)
		at = &(*at)->next;
	if (*at)
		*at = e->next;
}

/* ---- the export type ---- */

static int check(const struct nbd_offer *offer, struct error **err)
{
	if (!nbd_server_running())
		return error_set(err, ENOTCONN, "NBD server not running");
	if (strlen(offer->name) > NBD_STRING_MAX)
		return error_set(err, EINVAL, "export name '%s' too long",
				 offer->name);
	if (offer->description && strlen(offer->description) > NBD_STRING_MAX)
		return error_set(err, EINVAL, "description '%s' too long",
				 offer->description);
	if (offer_find(NULL, offer->name))
		return error_set(err, EEXIST, "NBD server already has export "
				 "named '%s'", offer->name);
	return 0;
}

static void fill_offer(struct nbd_offer *offer, const struct export *exp,
		       const struct node *node)
{
	const struct nbd_export_options *opts = exp->opts;

	offer->name = opts->name;
	offer->description = opts->description;
	offer->size = node->size;
	offer->min_block = nbd_target_granularity(node);
	offer->preferred_block = max(offer->min_block, PREFERRED_BLOCK);
	offer->writable = exp->writable;
	offer->rotational = node->limits.rotational;
	offer->depth = opts->depth;
}

static int nbd_open(struct export *exp, struct node *node, struct error **err)
{
	struct nbd_export_options *opts = exp->opts;
	struct nbd_export *e = exp->state;
	int rc = co_refuse_nested(exp, node, err);

	if (rc < 0)
		return rc;
	/* it keeps this name also when another node is above later */
	if (!opts->name) {
		opts->name = strdup(node->name);
		json_object_set_new(exp->given, "name",
				    json_string(node->name));
	}
	fill_offer(&e->offer, exp, node);
	rc = check(&e->offer, err);
	if (rc < 0)
		return rc;
	e->target.root = export_root_new(exp, &nbd_root_ops, e, node,
					 PERM_ALL & ~(unsigned)PERM_RESIZE,
					 e->offer.min_block,
					 nbd_target_threads(), err);
	if (!exp->root)
		return *err && (*err)->code ? -(*err)->code : -EPERM;
	e->target.size = e->offer.size;
	e->target.writable = exp->writable;
	e->target.writethrough = opts->writethrough;
	return 0;
}

static int nbd_start(struct export *exp, struct error **err)
{
	struct nbd_export *e = exp->state;
	/* both may have changed while root_new waited */
	int rc = check(&e->offer, err);

	if (rc < 0)
		return rc;
	e->next = offered;
	offered = e;
	return 0;
}

static int nbd_stop(struct export *exp, enum export_stop mode,
		    struct error **err)
{
	struct nbd_export *e = exp->state;

	if (mode == EXPORT_STOP_SAFE && e->target.count)
		return error_set(err, EBUSY, "export '%s' still in use",
				 exp->id);
	withdraw(e);
	if (co_nbd_target_close(&e->target, END_TIMEOUT_NS))
		return 0;
	export_set_stuck(exp);
	return error_set(err, ETIMEDOUT, "export '%s' has no clients any more, "
			 "but its storage has requests that do not end",
			 exp->id);
}

static int nbd_close(struct export *exp, struct error **err)
{
	struct nbd_export *e = exp->state;

	exp->root = NULL;
	return co_export_root_end(exp, e->target.root, err);
}

/* Clients that are there learn it when they connect again: NBD has no word for
 * it. */
static int nbd_resize(struct export *exp, uint64_t size, struct error **err)
{
	struct nbd_export *e = exp->state;

	(void)err;
	e->offer.size = size;
	nbd_target_resize(&e->target, size);
	return 0;
}

/* To clients that come; those that are there have been told, and are refused
 * what the export may not do any more. */
static int nbd_show_writable(struct export *exp, bool writable,
			     struct error **err)
{
	struct nbd_export *e = exp->state;

	(void)err;
	e->offer.writable = writable;
	e->target.writable = writable;
	return 0;
}

static void nbd_query(struct export *exp, json_t *object)
{
	const struct nbd_export *e = exp->state;

	json_object_set_new(object, "name", json_text(e->offer.name));
	json_object_set_new(object, "clients", json_integer(e->target.count));
}

static const struct export_type nbd_export_type = {
	.name = "nbd",
	.state_size = sizeof(struct nbd_export),
	.options = nbd_option_table,
	.options_size = sizeof(struct nbd_export_options),
	.open = nbd_open,
	.start = nbd_start,
	.stop = nbd_stop,
	.resize = nbd_resize,
	.show_writable = nbd_show_writable,
	.becomes_writable = true,
	.close = nbd_close,
	.query = nbd_query,
};

void nbd_register(void)
{
	export_type_register(&nbd_export_type);
}
