/* SPDX-License-Identifier: MIT */
/*
 * backing.c - from names to files: what headers name, what users name.
 *
 * Main thread, coroutines. An image is hostile input: a name in it is a plain
 * file name, never a protocol or JSON, and an image whose format was guessed
 * opens nothing at all (A26).
 */
#include "graph/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/magic.h"
#include "graph/walk.h"
#include "runtime/json.h"
#include "runtime/storage.h"

#define SECTOR 512u
#define NEITHER_KIND "'%s' is neither a regular file nor a block device"

/* ---- identity ---- */

void node_identify(struct node *node)
{
	struct node *primary = node_primary_child(node);
	struct file_info info;

	if (primary) {
		node->dev = primary->dev;
		node->ino = primary->ino;
		return;
	}
	if (!node->driver->identify ||
	    node->driver->identify(node, &info) < 0)
		return;
	node->dev = info.dev;
	node->ino = info.ino;
}

/* ---- looking at files ---- */

struct look {
	struct file_info info;
	const struct magic *magic;	/* what its bytes say; NULL: nothing */
};

static bool has_qcow2_name(const char *path)
{
	size_t len = strlen(path), suffix = strlen(".qcow2");

	return len > suffix && !strcmp(path + len - suffix, ".qcow2");
}

static int co_look_at_bytes(struct file *f, struct look *look)
{
	unsigned char bytes[MAGIC_BYTES];
	int ret = co_file_read(f, 0, bytes, sizeof(bytes));

	if (ret < 0)
		return ret;
	look->magic = magic_of_start(bytes);
	if (look->magic || look->info.size < sizeof(bytes))
		return 0;
	ret = co_file_read(f, look->info.size - sizeof(bytes), bytes,
			   sizeof(bytes));
	if (ret == 0)
		look->magic = magic_of_end(bytes);
	return ret;
}

/* The bytes are asked where neither a format nor the name says what it is. */
static int co_look(const char *path, const char *format, struct look *look,
		   struct error **err)
{
	char text[STORAGE_TEXT_MAX];
	struct file *f;
	int ret;

	look->magic = NULL;
	ret = co_file_open(path, O_RDONLY, 0, &f);
	if (ret == -ENOTBLK)
		return error_set(err, EINVAL, NEITHER_KIND, path);
	if (ret < 0)
		return error_set(err, -ret, "Could not open '%s': %s", path,
				 storage_why(ret, text));
	ret = co_file_info(f, &look->info);
	if (ret == 0 && look->info.kind != FILE_CHAR && !format &&
	    !has_qcow2_name(path))
		ret = co_look_at_bytes(f, look);
	co_file_close(f);
	if (ret < 0)
		return error_set(err, -ret, "Could not read '%s': %s", path,
				 strerror(-ret));
	if (look->info.kind == FILE_CHAR)
		return error_set(err, EINVAL, NEITHER_KIND, path);
	return 0;
}

/*
 * The format; the file's name and contents decide where nothing else does.
 * NULL: it has one that no driver reads, and is not raw for that.
 */
static const char *choose_format(const char *path, const char *format,
				 const struct look *look, bool *guessed)
{
	*guessed = false;
	if (format)
		return format;
	if (has_qcow2_name(path))
		return "qcow2";
	*guessed = true;
	return look->magic ? look->magic->format : "raw";
}

static json_t *backing_options(const char *path, const char *format,
			       const struct look *look)
{
	const struct driver *driver = driver_find(format);
	const char *protocol = look->info.kind == FILE_BLOCK ? "host_device"
							     : "file";

	/* "-f file": the bytes, without a format */
	if (driver && driver->kind == DRIVER_PROTOCOL)
		return json_pack("{s:s, s:o}", "driver", protocol, "filename",
				 json_text(path));
	return json_pack("{s:s, s:{s:s, s:o}}", "driver", format, "file",
			 "driver", protocol, "filename", json_text(path));
}

/* "qcow2, raw" */
static void list_formats(char *text, size_t size)
{
	const struct driver *driver;
	size_t len = 0;

	text[0] = 0;
	for (unsigned i = 0; (driver = driver_at(i)) != NULL; i++)
		if (driver->kind == DRIVER_FORMAT && len < size)
			len += (size_t)snprintf(text + len, size - len, "%s%s",
						len ? ", " : "",
						driver->name);
}

static int unknown_format(const char *format, const char *path,
			  struct error **err)
{
	char known[200];

	list_formats(known, sizeof(known));
	return error_set(err, EINVAL, "There is no format '%s' for '%s', only"
			 " %s", format, path, known);
}

json_t *node_options_for_file(const char *path, const char *format,
			      bool read_only, bool direct, bool *guessed,
			      struct error **err)
{
	const struct driver *driver;
	struct look look;
	json_t *options;

	if (co_look(path, format, &look, err) < 0)
		return NULL;
	format = choose_format(path, format, &look, guessed);
	if (!format) {
		error_set(err, ENOTSUP, "'%s' is a %s image, which blkgraph"
			  " cannot read; -f raw attaches the container itself",
			  path, look.magic->name);
		return NULL;
	}
	driver = driver_find(format);
	if (!driver || driver->kind == DRIVER_FILTER) {
		unknown_format(format, path, err);
		return NULL;
	}
	options = backing_options(path, format, &look);
	json_object_set_new(options, "read-only", json_boolean(
			    read_only || look.info.write_protected));
	/* O_DIRECT could not write the last block of such a file whole */
	if ((driver->kind == DRIVER_PROTOCOL || !strcmp(format, "raw")) &&
	    !is_aligned(look.info.size, SECTOR))
		direct = false;
	json_object_set_new(options, "discard", json_string("unmap"));
	json_object_set_new(options, "cache", json_pack("{s:b}", "direct",
							direct));
	return options;
}

/* ---- backing files ---- */

const char *own_file_name(const struct node *node)
{
	while (node && !node->filename)
		node = node_primary_child(node);
	return node ? node->filename : NULL;
}

static bool names_protocol(const char *name)
{
	size_t plain = strcspn(name, ":/");

	return name[plain] == ':';
}

static char *backing_path(const struct node *node, struct error **err)
{
	const char *name = node->header_backing, *own, *slash;
	char *path;

	/* a plain name after all, in the words of some tools */
	if (!strncmp(name, "file:", 5))
		name += 5;
	else if (names_protocol(name)) {
		error_set(err, EINVAL, "The header of node '%s' names '%s' as"
			  " its backing file; only plain local file names are"
			  " opened from an image, so give the backing node"
			  " explicitly", node->name, name);
		return NULL;
	}
	own = own_file_name(node);
	slash = own ? strrchr(own, '/') : NULL;
	if (name[0] == '/') {
		path = strdup(name);
		if (!path)
			abort();
		return path;
	}
	if (!*name) {
		error_set(err, EINVAL, "The header of node '%s' names '%s' as"
			  " its backing file, which is no file", node->name,
			  node->header_backing);
		return NULL;
	}
	if (!slash) {
		error_set(err, EINVAL, "Cannot use relative backing file names"
			  " for '%s'", node->name);
		return NULL;
	}
	if (asprintf(&path, "%.*s/%s", (int)(slash - own), own, name) < 0)
		abort();
	return path;
}

/* The driver that the header's format means; NULL where it names none. */
static int backing_format(const struct node *node, const char **format,
			  struct error **err)
{
	const char *name = node->header_backing_format;
	const struct driver *driver;

	*format = NULL;
	if (!name || !*name)
		return 0;
	driver = driver_find(name);
	if (!driver || driver->kind == DRIVER_FILTER)
		return error_set(err, EINVAL, "The header of node '%s' says"
				 " that its backing file '%s' has the format"
				 " '%s', which is not supported", node->name,
				 node->header_backing, name);
	/* some tools write the protocol where they mean raw */
	*format = driver->kind == DRIVER_PROTOCOL ? "raw" : driver->name;
	return 0;
}

static int check_cycle(const struct node *node, struct node *const *chain,
		       unsigned count, const struct look *look,
		       const char *path, struct error **err)
{
	for (unsigned i = 0; i < count; i++)
		if (chain[i]->ino == look->info.ino &&
		    chain[i]->dev == look->info.dev)
			return error_set(err, ELOOP, "Backing file '%s' of node"
					 " '%s' is an image above it in the"
					 " same chain", path, node->name);
	return 0;
}

static int backing_describe(const struct node *node, struct node *const *chain,
			    unsigned count, struct backing_file *file,
			    struct error **err)
{
	const char *format;
	struct look look;
	int ret;

	ret = backing_format(node, &format, err);
	if (ret == 0)
		ret = co_look(file->path, format, &look, err);
	if (ret == 0)
		ret = check_cycle(node, chain, count, &look, file->path, err);
	if (ret < 0)
		return ret;
	format = choose_format(file->path, format, &look, &file->guessed);
	if (!format)
		return error_set(err, ENOTSUP, "The backing file '%s' of node"
				 " '%s' is a %s image, which blkgraph cannot"
				 " read; it is taken as it is where the header"
				 " says that its format is raw", file->path,
				 node->name, look.magic->name);
	file->driver = driver_find(format);
	file->dev = look.info.dev;
	file->ino = look.info.ino;
	if (!file->driver)
		return unknown_format(format, file->path, err);
	file->options = backing_options(file->path, format, &look);
	return 0;
}

int backing_resolve(const struct node *node, struct node *const *chain,
		    unsigned count, struct backing_file *file,
		    struct error **err)
{
	int ret;

	memset(file, 0, sizeof(*file));
	if (node->guessed)
		return error_set(err, EPERM, "The format of '%s' was guessed as"
				 " '%s' and the image names the backing file"
				 " '%s'; to open it, give the format with"
				 " -f %s", own_file_name(node) ?
				 own_file_name(node) : node->name,
				 node->driver->name, node->header_backing,
				 node->driver->name);
	file->path = backing_path(node, err);
	if (!file->path)
		return -EINVAL;
	ret = backing_describe(node, chain, count, file, err);
	if (ret < 0)
		backing_file_free(file);
	return ret;
}

void backing_file_free(struct backing_file *file)
{
	free(file->path);
	json_decref(file->options);
	memset(file, 0, sizeof(*file));
}

const char *backing_name_of(struct node *node, const char **format)
{
	const struct node *image = node_skip_filters(node);
	bool raw = image->driver->kind != DRIVER_FORMAT;

	*format = raw ? "raw" : image->driver->name;
	/* a raw image that is no filter is a part of its file */
	if (!raw && !strcmp(*format, "raw"))
		return NULL;
	/* a temporary file has no name, but that of its folder */
	return image->temporary ? NULL : own_file_name(image);
}

bool co_backing_is(const struct node *overlay, const struct node *node)
{
	struct error *ignored CLEANUP_ERROR = NULL;
	struct backing_file file;
	bool same;

	if (backing_resolve(overlay, NULL, 0, &file, &ignored) < 0)
		return false;
	same = file.ino && file.dev == node->dev && file.ino == node->ino;
	backing_file_free(&file);
	return same;
}

static char *copy_or_null(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		abort();
	return copy;
}

int co_backing_rename(struct node *node, const char *name, const char *format,
		      struct error **err)
{
	char *new_name, *new_format;
	int ret;

	if (!node->driver->set_backing)
		return error_set(err, ENOTSUP, "Images of node '%s', a '%s',"
				 " name no backing file", node->name,
				 node->driver->name);
	if (node->read_only)
		return error_set(err, EACCES, "The header of node '%s' cannot"
				 " be changed: it is read-only", node->name);
	/* they may be the node's own, which go */
	new_name = copy_or_null(name);
	new_format = copy_or_null(format);
	co_node_busy(node);
	ret = node->driver->set_backing(node, new_name, new_format, err);
	node_idle(node);
	if (ret < 0) {
		free(new_name);
		free(new_format);
		return ret;
	}
	free(node->header_backing);
	free(node->header_backing_format);
	node->header_backing = new_name;
	node->header_backing_format = new_format;
	return 0;
}

struct node *backing_find_shared(const struct node *overlay,
				 const struct backing_file *file)
{
	struct node *node = NULL;

	while ((node = node_next(node)) != NULL)
		if (node->shareable && node->read_only &&
		    node->driver == file->driver &&
		    node->guessed == file->guessed &&
		    node->dev == file->dev && node->ino == file->ino &&
		    node->cache_direct == overlay->cache_direct &&
		    node->no_flush == overlay->no_flush &&
		    node->force_share == overlay->force_share)
			return node;
	return NULL;
}
