/* SPDX-License-Identifier: MIT */
/*
 * attach.c - an image file as a device, in one step (A18): on failure neither
 * node nor export is left.
 *
 * Main thread. The node has no hold: it lives as long as its export (G1).
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/arrival.h"
#include "export/held.h"
#include "graph/export.h"
#include "graph/graph.h"
#include "runtime/io.h"
#include "runtime/json.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/gone.h"
#include "server/deadline.h"
#include "server/lacks.h"
#include "server/log.h"
#include "server/temporary.h"
#include "server/window.h"

#define EXPORT_ID_MAX 31	/* bytes */

/* The id of an attach that is under way. */
struct attach_id {
	char id[EXPORT_ID_MAX + 1];
	struct export_promise promise;
};

/* Ids are made of what is harmless in a path and begin with a letter. */
static void attach_id_from_file(char *id, size_t size, const char *filename)
{
	const char *base = strrchr(filename, '/');
	size_t len = 0;

	base = base ? base + 1 : filename;
	if (!isalpha((unsigned char)*base))
		id[len++] = 'd';
	for (; *base && *base != '.' && len < size - 1; base++) {
		bool plain = isalnum((unsigned char)*base) || *base == '-';

		id[len++] = plain ? *base : '_';
	}
	id[len] = 0;
}

/* After the file, with a number where that is taken: "disk", "disk-2". */
static void attach_choose_id(struct attach_id *p, const char *filename)
{
	char stem[EXPORT_ID_MAX - 7];

	attach_id_from_file(stem, sizeof(stem), filename);
	snprintf(p->id, sizeof(p->id), "%s", stem);
	for (unsigned n = 2; export_id_is_taken(p->id); n++)
		snprintf(p->id, sizeof(p->id), "%s-%u", stem, n % 1000000);
}

static int attach_take_id(struct attach_id *p, json_t *args,
			  struct error **err)
{
	const char *id = arg_string(args, "id", NULL);

	if (!id) {
		attach_choose_id(p, arg_string(args, "filename", ""));
		return 0;
	}
	if (strlen(id) > EXPORT_ID_MAX)
		return error_set(err, EINVAL, "a device's name has at most %d "
				 "bytes, and '%s' has %zu", EXPORT_ID_MAX, id,
				 strlen(id));
	if (export_id_is_taken(id)) {
		const struct export *exp = export_find(id);

		return error_set(err, EEXIST, "there is a device '%s' already"
				 "%s%s", id, exp && *exp->device ? ": " : "",
				 exp ? exp->device : "");
	}
	strcpy(p->id, id);
	return 0;
}

/* What others hold is not written to, and read by who insists alone. */
static int attach_refuse_held(json_t *args, const json_t *options,
			      struct error **err)
{
	const char *filename = arg_string(args, "filename", "");
	bool read_only = arg_bool(args, "read-only", false);
	json_t *file = json_object_get(options, "file");
	const char *driver = json_string_value(
		json_object_get(file ? file : options, "driver"));

	if (strcmp(driver, "host_device") ||
	    (read_only && arg_bool(args, "force", false)))
		return 0;
	return co_refuse_held(filename, read_only ?
			      "; --force shows it read-only all the same" :
			      arg_bool(args, "force", false) ?
			      "; --force is for what is only read, with "
			      "--read-only" : "", err);
}

/* Paths of the devices below the node's own storage. */
static void attach_collect_devices(const struct node *node, bool own,
				   json_t *paths)
{
	const struct node *primary = node_primary_child(node);

	if (!own && !strcmp(node->driver->name, "host_device"))
		json_array_append_new(paths, json_string(node->filename));
	for (const struct edge *e = node->children; e; e = e->next_child)
		attach_collect_devices(e->child, own && e->child == primary,
				       paths);
}

/* A device that others write to changes below what lies above it, so it is no
 * backing of anything but for who insists. */
static int attach_refuse_written(json_t *args, const struct node *node,
				 struct error **err)
{
	json_auto_t *paths = json_array();
	char advice[400];
	json_t *path;
	size_t i;
	int rc = 0;

	if (arg_bool(args, "force", false))
		return 0;
	snprintf(advice, sizeof(advice), "; '%.300s' lies on it as it was; "
		 "--force attaches that all the same",
		 arg_string(args, "filename", ""));
	attach_collect_devices(node, true, paths);
	json_array_foreach(paths, i, path)
		if (rc == 0)
			rc = co_refuse_written(json_string_value(path), advice,
					       err);
	return rc;
}

static struct node *attach_open(json_t *args, struct error **err)
{
	const char *filename = arg_string(args, "filename", "");
	const char *cache = arg_string(args, "cache", "none");
	const char *name = arg_string(args, "node-name", NULL);
	bool temporary = arg_bool(args, "temporary", false), guessed = false;
	struct error *ignored CLEANUP_ERROR = NULL;
	json_auto_t *options = node_options_for_file(
		filename, arg_string(args, "format", NULL),
		temporary || arg_bool(args, "read-only", false),
		!strcmp(cache, "none"), &guessed, err);
	struct node *node;

	if (!options || attach_refuse_held(args, options, err) < 0)
		return NULL;
	/* it is the name of what is shown */
	if (name && !window_wanted(args) && !temporary)
		json_object_set_new(options, "node-name", json_text(name));
	node = open_image(options, NODE_SHARE | (guessed ? NODE_GUESSED : 0),
			  filename, err);
	if (node && attach_refuse_written(args, node, err) < 0) {
		(void)!co_node_put(node, "opener", &ignored);
		return NULL;
	}
	if (node && window_wanted(args))
		node = co_window_open(node, args, temporary ? NULL : name,
				      filename, err);
	if (node && temporary)
		node = co_temporary_above(node, name, err);
	return node;
}

/* The first that the machine can make, then all, the best first. */
const struct attach_way attach_ways[] = {
	{ "auto", NULL }, { "ublk", "ublk" }, { "nbd", "kernel-nbd" },
	{ "fuse", "fuse" }, { NULL, NULL }
};

/*
 * The type that `via` asks for, or the first that this machine can make. The
 * error says of each why it is not to be had.
 */
static const struct export_type *attach_choose_type(const char *via,
						    struct error **err)
{
	char why[600] = "";

	for (const struct attach_way *way = attach_ways; way->via; way++) {
		const struct export_type *type;
		struct error *one CLEANUP_ERROR = NULL;
		size_t len = strlen(why);

		if (!way->type ||
		    (strcmp(via, "auto") && strcmp(via, way->via)))
			continue;
		type = export_type_find(way->type);
		if (type->available(&one) == 0)
			return type;
		snprintf(why + len, sizeof(why) - len, "%svia %s: %s",
			 len ? "; " : "", way->via, one->text);
	}
	error_set(err, ENODEV, "This machine cannot make a block device %s",
		  why);
	return NULL;
}

/* Wishes that only ublk can fulfil are no reason to refuse the others. */
static void attach_fit_options(json_t *options, const struct export_type *type,
			       bool chosen)
{
	if (strcmp(type->name, "ublk"))
		json_object_del(options, "zero-copy");
	if (!strcmp(type->name, "kernel-nbd") && !chosen)
		json_object_del(options, "depth");
	if (strcmp(type->name, "fuse"))
		return;
	/* a file with a loop device on it */
	json_object_set_new(options, "block-device", json_true());
	if (!json_object_get(options, "logical-block-size"))
		json_object_set_new(options, "logical-block-size",
				    json_integer(512));
}

/* What attach does not use itself is the export type's: queues, depth, ... */
static json_t *attach_export_options(json_t *args, const char *id,
				     const struct export_type *type,
				     const struct node *node)
{
	static const char *const own[] = {
		"filename", "format", "read-only", "cache", "node-name", "via",
		"offset", "size-limit", "partition", "force", "temporary",
	};
	json_t *options = json_copy(args);

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		json_object_del(options, own[i]);
	json_object_set_new(options, "type", json_string(type->name));
	json_object_set_new(options, "id", json_string(id));
	json_object_set_new(options, "node-name", json_string(node->name));
	json_object_set_new(options, "writable",
			    json_boolean(!node->read_only));
	attach_fit_options(options, type,
			   strcmp(arg_string(args, "via", "auto"), "auto"));
	/* two disks on one image would each undo what the other does */
	if (!json_object_get(options, "exclusive"))
		json_object_set_new(options, "exclusive", json_true());
	return options;
}

static bool attach_uses_file(const struct node *node,
			     const struct file_info *info)
{
	if (node->driver->kind == DRIVER_PROTOCOL && node->ino == info->ino &&
	    node->dev == info->dev)
		return true;
	for (const struct edge *e = node->children; e; e = e->next_child)
		if (attach_uses_file(e->child, info))
			return true;
	return false;
}

void command_name_user(const char *filename, struct error **err)
{
	struct file_info info;
	struct export *exp = NULL;
	struct file *file;
	int rc;

	if ((*err)->code != EAGAIN && (*err)->code != EPERM)
		return;
	if (co_file_open(filename, O_RDONLY, 0, &file) < 0)
		return;
	rc = co_file_info(file, &info);
	co_file_close(file);
	if (rc < 0)
		return;
	while ((exp = export_next(exp)) != NULL) {
		if (!attach_uses_file(exp->root->edge.child, &info))
			continue;
		error_clear(err);
		error_set(err, EBUSY, "'%s' is in use: device '%s'%s%s shows "
			  "it", filename, exp->id, *exp->device ? ", " : "",
			  exp->device);
		return;
	}
}

/* What a part of a disk, or what is thrown away, is shown of. */
static const struct node *attach_image(const struct node *node, json_t *args)
{
	if (node->temporary)
		node = node_cow_child(node);
	return window_wanted(args) ? node_skip_filters(node->file->child) :
		node;
}

/* Why a device that was to be written to is read-only; NULL: it is not, or was
 * not to be. */
static json_t *attach_why_read_only(const struct node *node, json_t *args)
{
	json_t *why;
	char *text;

	if (!node->read_only || arg_bool(args, "read-only", false) ||
	    arg_bool(args, "temporary", false))
		return NULL;
	while (node->file)
		node = node->file->child;
	if (asprintf(&text, !strcmp(node->driver->name, "host_device") ?
		     "the device '%s' is read-only" :
		     "'%s' lies on a read-only file system",
		     node->filename) < 0)
		abort();
	why = json_text(text);
	free(text);
	return why;
}

/* That udevd does not run is news once, to who gave a name, as which the disk
 * is now found nowhere under /dev. */
static void forget_note(json_t *shown, bool named)
{
	static bool told;

	if (strcmp(arg_string(shown, "note", ""), ARRIVAL_NO_UDEVD))
		return;
	if (!named || told)
		json_object_del(shown, "note");
	told |= named;
}

static json_t *attach_with_id(json_t *args, struct attach_id *id,
			      struct error **err)
{
	const struct export_type *type;
	struct node *node = co_open_by_deadline(
		attach_open, args, arg_string(args, "filename", ""), err);
	struct error *ignored CLEANUP_ERROR = NULL;
	json_auto_t *options = NULL, *why = NULL;
	const struct node *image;
	const char *format;
	struct export *exp;
	uint64_t size;
	json_t *shown;
	bool guessed;

	if (!node) {
		export_id_release(&id->promise);
		return NULL;
	}
	image = attach_image(node, args);
	format = image->driver->name;
	guessed = image->guessed;
	size = node->size;
	why = attach_why_read_only(image, args);
	log_node_warning(node);
	type = attach_choose_type(arg_string(args, "via", "auto"), err);
	if (type)
		options = attach_export_options(args, id->id, type, node);
	/* kept, or broken: nobody else runs before the export has it */
	export_id_release(&id->promise);
	exp = type ? export_add(options, err) : NULL;
	if (!exp) {
		(void)!co_node_put(node, "opener", &ignored);
		return NULL;
	}
	node_put(node, "opener");
	lacks_tell();
	if (arg_bool(args, "temporary", false))
		log_write(LOG_INFO, "Device '%s' is temporary: what is written "
			  "to it, in '%s', ends with it and with this daemon",
			  exp->id, temporary_dir());
	export_get(exp, "command");
	shown = export_describe(exp);
	export_put(exp, "command");
	forget_note(shown, json_object_get(args, "id"));
	json_object_set_new(shown, "format", json_string(format));
	json_object_set_new(shown, "guessed", json_boolean(guessed));
	json_object_set_new(shown, "disk-size",
			    json_integer((json_int_t)size));
	if (why)
		json_object_set(shown, "read-only-reason", why);
	return shown;
}

json_t *cmd_attach(json_t *args, struct error **err)
{
	struct attach_id id;
	uint64_t settled;
	json_t *result;

	if (arg_bool(args, "temporary", false) &&
	    arg_bool(args, "read-only", false)) {
		error_set(err, EINVAL, "Parameter 'temporary' is for what is "
			  "written, and nothing is with 'read-only'");
		return NULL;
	}
	if (attach_take_id(&id, args, err) < 0)
		return NULL;
	id.promise.id = id.id;
	export_id_promise(&id.promise);
	settled = co_gone_settle(id.id);
	result = attach_with_id(args, &id, err);
	if (result)
		gone_replaced(id.id, settled);
	else
		command_name_user(arg_string(args, "filename", ""), err);
	return result;
}
