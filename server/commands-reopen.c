/* SPDX-License-Identifier: MIT */
/*
 * commands-reopen.c - whether a disk that is in use can be written to, and
 * whether its image goes through the page cache: blockdev-reopen for people,
 * who know a device and not which of its nodes were opened with which (C5).
 *
 * Main thread, coroutines.
 */
#include <errno.h>
#include <string.h>

#include "export/held.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "graph/generic.h"
#include "graph/reopen.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/pause.h"

/* Of a node that was not opened with its parent: what it was given, and what
 * is wanted now; what was opened with it follows. */
static json_t *node_wish(const struct node *node, const bool *read_only,
			 const char *cache)
{
	json_t *options = generic_given(node), *old;

	if (read_only)
		json_object_set_new(options, "read-only",
				    json_boolean(*read_only));
	old = json_object_get(options, "cache");
	if (cache && !old) {
		old = json_object();
		json_object_set_new(options, "cache", old);
	}
	if (cache)
		json_object_set_new(old, "direct",
				    json_boolean(!strcmp(cache, "none")));
	return options;
}

/* Whether anybody but whoever is above it in the disk writes to the node. */
static bool has_other_writer(const struct node *node, const struct edge *ours)
{
	for (const struct edge *e = node->parents; e; e = e->next_parent)
		if (e != ours && e->perm & (PERM_WRITE | PERM_WRITE_UNCHANGED))
			return true;
	return false;
}

/* From the node that the export shows down to the image's file; backing images
 * that were not opened with it are others' matter. */
static json_t *disk_wishes(const struct export *exp, const bool *read_only,
			   const char *cache)
{
	const struct edge *e = &exp->root->edge;
	json_t *wishes = json_array();
	const struct node *above = NULL;

	while (e) {
		const struct node *node = e->child;

		if (read_only && has_other_writer(node, e))
			read_only = NULL;
		if ((read_only || cache) &&
		    (!above || node->inherits_from != above))
			json_array_append_new(wishes, node_wish(
					      node, read_only, cache));
		above = node;
		for (e = node->children; e && !(e->role & ROLE_PRIMARY);)
			e = e->next_child;
	}
	return wishes;
}

/* Who has it mounted would lose what he goes on to write. */
static int refuse_while_written(const struct export *exp, json_t *args,
				struct error **err)
{
	if (!exp->device[0] || arg_bool(args, "force", false))
		return 0;
	return co_refuse_written(exp->device, "; --force makes it read-only "
				 "all the same, and fails what is written",
				 err);
}

static int co_reopen_disk(struct export *exp, json_t *args,
			  struct change_stats *stats, struct error **err)
{
	bool writable = arg_bool(args, "writable", exp->writable);
	const char *cache = arg_string(args, "cache", NULL);
	bool read_only = !writable, changes = writable != exp->writable;
	json_auto_t *wishes = NULL;
	struct reopen *list;
	int ret = 0;

	if (changes && !writable)
		ret = refuse_while_written(exp, args, err);
	if (ret < 0)
		return ret;
	if (!export_is_found(exp) || !exp->root)
		return error_set(err, ENOENT, "Export '%s' is not found",
				 exp->id);
	wishes = disk_wishes(exp, changes ? &read_only : NULL, cache);
	list = reopen_by_options(wishes, err);
	if (*err)
		return -EINVAL;
	return co_export_reopen(exp, writable, list, stats, err);
}

json_t *cmd_reopen(json_t *args, struct error **err)
{
	const char *id = arg_string(args, "id", "");
	struct export *exp = export_by_name(id, err);
	struct change_stats stats = { 0 };
	json_t *result = NULL;

	if (!exp)
		return NULL;
	if (!json_object_get(args, "writable") &&
	    !json_object_get(args, "cache")) {
		error_set(err, EINVAL, "Either 'writable' or 'cache' must say "
			  "what changes of device '%s'", id);
		return NULL;
	}
	export_get(exp, "command");
	if (co_reopen_disk(exp, args, &stats, err) == 0)
		result = with_pause(json_pack("{s:b}", "writable",
					      exp->writable), &stats);
	export_put(exp, "command");
	return result;
}
