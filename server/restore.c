/* SPDX-License-Identifier: MIT */
/*
 * restore.c - nodes, objects and exports again, from what snapshot.c wrote.
 *
 * Main thread, coroutines. The log is our own, but it lay on a disk: whatever
 * it says goes through the same checks as a client's command.
 *
 * Things are made in rounds: each that has what it needs; until a round makes
 * none. So their order in the log does not matter, nor does a circle in it.
 */
#include "server/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/export.h"
#include "graph/node.h"
#include "runtime/json.h"
#include "server/address.h"
#include "server/command.h"
#include "server/deadline.h"
#include "server/object.h"

static void PRINTF(2, 3) lose(struct snapshot *out, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	json_array_append_new(out->lost, json_text(text));
	free(text);
}

/* The name behind "nodes/" and so on; NULL: it is another kind of thing. */
static const char *key_name(const char *key, const char *kind)
{
	size_t len = strlen(kind);

	return !strncmp(key, kind, len) && key[len] == '/' ? key + len + 1 :
		NULL;
}

/* --- nodes ------------------------------------------------------------ */

/* Options without children that are not there yet; false: some are not. */
static bool children_are_there(json_t *options)
{
	const char *name = json_string_value(json_object_get(options,
							     "driver"));
	const struct driver *driver = name ? driver_find(name) : NULL;
	const struct child_decl *decl = driver ? driver->children : NULL;

	for (; decl && decl->name; decl++) {
		json_t *child = json_object_get(options, decl->name);

		if (json_is_string(child) &&
		    !node_find(json_string_value(child)))
			return false;
	}
	return true;
}

static struct node *restore_node(json_t *entry, struct error **err)
{
	unsigned flags = NODE_REBUILD;
	struct node *node;

	if (arg_bool(entry, "guessed", false))
		flags |= NODE_GUESSED;
	if (arg_bool(entry, "by-header", false))
		flags |= NODE_BY_HEADER;
	node = node_open(json_object_get(entry, "options"), flags, err);
	if (!node)
		return NULL;
	node->implicit = arg_bool(entry, "implicit", false);
	node->shareable = arg_bool(entry, "shareable", false);
	if (arg_bool(entry, "held", false))
		node_hold(node);
	return node;
}

/* Until its parents, or an export, are there. */
static void keep_node(struct snapshot *out, struct node *node)
{
	out->nodes = reallocarray(out->nodes, out->node_count + 1,
				  sizeof(struct node *));
	if (!out->nodes)
		abort();
	out->nodes[out->node_count++] = node;
}

/* Whether one was made; those that were tried leave the list. */
static bool restore_node_round(json_t *left, struct snapshot *out)
{
	bool made = false;
	const char *key;
	json_t *entry;
	void *tmp;

	json_object_foreach_safe(left, tmp, key, entry) {
		const char *name = key_name(key, "nodes");
		struct error *err CLEANUP_ERROR = NULL;
		json_t *options = json_object_get(entry, "options");
		struct node *node;

		if (!children_are_there(options))
			continue;
		if (!json_is_object(options)) {
			lose(out, "Node '%s': the log has no options of it",
			     name);
		} else if (strcmp(name, arg_string(options, "node-name", ""))) {
			lose(out, "Node '%s': the log has another's options",
			     name);
		} else if (arg_bool(options, "temporary", false)) {
			lose(out, "Node '%s': it was temporary, and ended with "
			     "its daemon", name);
		} else {
			node = co_open_by_deadline(restore_node, entry, name,
						   &err);
			if (node)
				keep_node(out, node);
			else
				lose(out, "Node '%s': %s", name, err->text);
		}
		made = true;
		json_object_del(left, key);
	}
	return made;
}

/* --- objects ---------------------------------------------------------- */

static bool has_secrets(json_t *options)
{
	const char *name;
	json_t *value;

	json_object_foreach(options, name, value)
		if (json_is_null(value))
			return true;
	return false;
}

/* The last round tells why; before it what an object needs may still come. */
static bool restore_object_round(json_t *left, bool last, struct snapshot *out)
{
	bool made = false;
	const char *key;
	json_t *entry;
	void *tmp;

	json_object_foreach_safe(left, tmp, key, entry) {
		json_t *options = json_object_get(entry, "options");
		const char *id = key_name(key, "objects");
		struct error *err CLEANUP_ERROR = NULL;
		struct object *obj;

		obj = json_is_object(options) && !has_secrets(options) ?
			object_add(options, &err) : NULL;
		if (!obj && !last)
			continue;
		if (!obj)
			lose(out, "Object '%s': %s", id, err ? err->text :
			     json_is_object(options) ?
			     "a secret is in no log, it has to be given again" :
			     "the log has no options of it");
		else
			obj->held = arg_bool(entry, "held", true);
		made |= obj != NULL;
		json_object_del(left, key);
	}
	return made;
}

/* --- exports ---------------------------------------------------------- */

static bool check_command(const char *name, json_t *args, struct error **err)
{
	if (json_is_object(args))
		return command_check_args(command_find(command_table, name),
					  args, FROM_JSON, err);
	error_set(err, EINVAL, "the log has no options of it");
	return false;
}

static void restore_export(const char *id, json_t *entry, struct snapshot *out)
{
	json_t *options = json_object_get(entry, "options");
	struct error *err CLEANUP_ERROR = NULL;
	const char *node;

	if (!check_command("block-export-add", options, &err)) {
		lose(out, "Export '%s': %s", id, err->text);
		return;
	}
	node = arg_string(options, "node-name", "");
	if (strcmp(id, arg_string(options, "id", "")))
		lose(out, "Export '%s': the log has another's options", id);
	else if (!node_find(node))
		lose(out, "Export '%s': its node '%s' is not there", id, node);
	else
		json_object_set(out->exports, id, options);
}

/* ---------------------------------------------------------------------- */

void co_snapshot_restore(json_t *state, struct snapshot *out)
{
	json_auto_t *nodes = json_object(), *objects = json_object();
	struct error *err CLEANUP_ERROR = NULL;
	const char *key, *name;
	json_t *entry;

	*out = (struct snapshot) {
		.exports = json_object(),
		.lost = json_array(),
	};
	json_object_foreach(state, key, entry) {
		if (key_name(key, "nodes"))
			json_object_set(nodes, key, entry);
		if (key_name(key, "objects"))
			json_object_set(objects, key, entry);
	}
	while (restore_object_round(objects, false, out))
		;
	restore_object_round(objects, true, out);
	while (restore_node_round(nodes, out))
		;
	json_object_foreach(nodes, key, entry)
		lose(out, "Node '%s': what it is on is not there",
		     key_name(key, "nodes"));
	json_object_foreach(state, key, entry)
		if ((name = key_name(key, "exports")) != NULL)
			restore_export(name, entry, out);
	entry = json_object_get(state, "nbd/server");
	if (entry && check_command("nbd-server-start", entry, &err))
		out->nbd_server = json_deep_copy(entry);
	else if (entry)
		lose(out, "NBD server: %s", err->text);
}

void co_snapshot_release(struct snapshot *out)
{
	/* what a node is on was made before it */
	while (out->node_count) {
		struct error *ignored CLEANUP_ERROR = NULL;

		/* what was lost is heard by who listens for closes */
		(void)!co_node_put(out->nodes[--out->node_count], "opener",
				   &ignored);
	}
	object_unused_all();
	free(out->nodes);
	json_decref(out->exports);
	json_decref(out->nbd_server);
	json_decref(out->lost);
	*out = (struct snapshot) { 0 };
}
